// Owners of files. What root creates for the user of a server must belong to that user, who could not open it
// otherwise; and a message about missing rights says whose file it is.

import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fchownSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  statSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join, resolve, sep } from "node:path";
import { StoreError } from "../errors.ts";

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** The owner and the permissions of a file. */
export interface Rights extends Owner {
  readonly mode: number;
}

/** Returns the rights of a file or folder, or undefined when there is none. */
export function rightsOf(path: string): Rights | undefined {
  const found = lstatSync(path, { throwIfNoEntry: false });
  return found && { uid: found.uid, gid: found.gid, mode: found.mode & 0o777 };
}

/** Returns the owner of the folder that holds a path, or of the nearest folder above it that exists. */
export function ownerAbove(path: string): Owner {
  const folder = dirname(resolve(path));
  const found = statSync(folder, { throwIfNoEntry: false });
  if (found?.isDirectory() || folder === dirname(folder)) return { uid: found?.uid ?? 0, gid: found?.gid ?? 0 };
  return ownerAbove(folder);
}

/**
 * Gives an open file or folder, which this process has created, to an owner. Only root can; another user can at most
 * choose among its own groups. Returns the error when root may not do so either, as on some network file systems.
 */
export function giveTo(fd: number, owner: Owner): NodeJS.ErrnoException | undefined {
  const { uid, gid } = fstatSync(fd);
  if (process.getuid === undefined || (uid === owner.uid && gid === owner.gid)) return undefined;
  const isRoot = process.getuid() === 0;
  try {
    fchownSync(fd, isRoot ? owner.uid : uid, owner.gid);
    return undefined;
  } catch (error) {
    return isRoot ? (error as NodeJS.ErrnoException) : undefined;
  }
}

/** Does the same as `giveTo` for a file that its owner must be able to open. Fails with incompatible. */
export function mustGiveTo(fd: number, owner: Owner, path: string): void {
  const error = giveTo(fd, owner);
  if (error === undefined) return;
  throw new StoreError(
    "incompatible",
    `${path} cannot be given to user ${owner.uid}, group ${owner.gid} (${error.code}): run this command as that user`,
    { cause: error },
  );
}

/**
 * Creates a folder and the missing ones above it, mode 0700. Each new one belongs to `owner`: by default to the owner
 * of the nearest folder above that exists.
 */
export function makeFolder(path: string, owner: Owner = ownerAbove(path)): void {
  const missing: string[] = [];
  for (let folder = resolve(path); !existsSync(folder) && folder !== dirname(folder); folder = dirname(folder))
    missing.unshift(folder);
  if (missing.length === 0 && !statSync(path).isDirectory())
    throw Object.assign(new Error("not a folder"), { code: "ENOTDIR", syscall: "mkdir" });
  for (const folder of missing) makeOneFolder(folder, owner);
}

/** Keeps the folder of the default URL out of the git repository around it. */
function keepOutOfGit(folder: string, owner: Owner): void {
  try {
    const fd = openSync(join(folder, ".gitignore"), "wx", 0o600);
    try {
      writeSync(fd, "*\n");
      if (process.getuid?.() === 0) giveTo(fd, owner);
    } finally {
      closeSync(fd);
    }
  } catch {
    // The store works without.
  }
}

function makeOneFolder(path: string, owner: Owner): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    // Another process has created it meanwhile.
    if ((error as NodeJS.ErrnoException).code === "EEXIST" && statSync(path).isDirectory()) return;
    throw error;
  }
  if (basename(path) === ".artifacts") keepOutOfGit(path, owner);
  if (process.getuid?.() !== 0) return;
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    giveTo(fd, owner);
  } finally {
    closeSync(fd);
  }
}

/**
 * Says whose rights keep this process from reading and writing a file, or from creating it, and what to do: "FILE
 * belongs to user 0 (mode 600), and this process runs as user 1000: ...". Returns undefined when rights are not the
 * reason.
 */
export function describeMissingRights(path: string, wanted = constants.R_OK | constants.W_OK): string | undefined {
  const file = resolve(path);
  for (const folder of foldersAbove(file)) {
    if (isRefused(folder, constants.X_OK)) return describe(folder);
    if (rightsOf(folder) === undefined) return undefined;
  }
  if (isRefused(file, wanted)) return describe(file);
  // SQLite and a new file need the folder too.
  const folder = dirname(file);
  return (wanted & constants.W_OK) !== 0 && isRefused(folder, constants.W_OK) ? describe(folder) : undefined;
}

/**
 * Returns the message for a file that this process may not use, from what `describeMissingRights` has found. `failed`
 * says what cannot be done.
 */
export function refusalOf(path: string, failed: string, rights: string): string {
  return rights.startsWith(`${path} `) ? rights : `${path} ${failed}: ${rights}`;
}

/** Returns the folders above a path, from the root down. */
function foldersAbove(path: string): readonly string[] {
  const parts = dirname(path).split(sep);
  return parts.map((_, at) => parts.slice(0, at + 1).join(sep) || sep);
}

function isRefused(path: string, wanted: number): boolean {
  try {
    accessSync(path, wanted);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EACCES";
  }
}

function describe(path: string): string | undefined {
  const { uid, mode } = rightsOf(path) as Rights;
  const self = process.getuid?.();
  if (self === undefined) return undefined;
  const remedy = uid === self ? "change its mode" : `run this as user ${uid}, or change its owner or mode`;
  return `${path} belongs to user ${uid} (mode ${mode.toString(8)}), and this process runs as user ${self}: ${remedy}`;
}
