// The file of a SQLite database. We create it instead of SQLite, so that only its owner can read it and no link is
// followed (D-037).

import { accessSync, closeSync, constants, lstatSync, openSync } from "node:fs";
import { dirname } from "node:path";
import { StoreError } from "../errors.ts";
import { describeMissingRights, giveTo, makeFolder, ownerAbove, refusalOf } from "../files/ownership.ts";
import { fileError } from "../files/privateFile.ts";
import { quote } from "../shell.ts";

/**
 * Creates the file (mode 0600) and its folder (mode 0700) unless they exist. Returns true when it created the file.
 * What root creates belongs to the owner of the folder above it.
 *
 * Fails    incompatible when the path is not a regular file, or when nothing exists and `create` is false |
 *          storage_full
 */
export function prepareFile(path: string, create: boolean): boolean {
  try {
    if (create) makeFolder(dirname(path));
    const existing = lstatSync(path, { throwIfNoEntry: false });
    if (existing?.isFile()) return false;
    if (existing !== undefined) throw notRegular(path);
    if (!create)
      throw new StoreError(
        "incompatible",
        `${path} does not exist: run debug-server-db migrate upgrade head --url ${quote(`sqlite:${path}`)}`,
      );
    const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
    const fd = openSync(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    giveTo(fd, ownerAbove(path));
    closeSync(fd);
    return true;
  } catch (error) {
    // Another process created it at the same moment.
    if ((error as NodeJS.ErrnoException).code === "EEXIST" && lstatSync(path).isFile()) return false;
    throw error instanceof StoreError ? error : fileError(error as NodeJS.ErrnoException, path);
  }
}

/**
 * Returns true when a file exists at the path. Fails with incompatible when it is a link or a folder. A link is never
 * followed, because it may lead to another user's file.
 */
export function fileExists(path: string): boolean {
  try {
    const existing = lstatSync(path, { throwIfNoEntry: false });
    if (existing !== undefined && !existing.isFile()) throw notRegular(path);
    return existing !== undefined;
  } catch (error) {
    throw error instanceof StoreError ? error : fileError(error as NodeJS.ErrnoException, path);
  }
}

function notRegular(path: string): StoreError {
  return new StoreError("incompatible", `${path} is not a regular file: name a file, not a link or folder`);
}

/**
 * Says why this process cannot write the file of a database as SQLite does, and what to do. Returns undefined when it
 * can, or when there is no file.
 */
export function describeReadOnly(path: string): string | undefined {
  const errors = [path, dirname(path)].map(writeError);
  if (errors[0] === "ENOENT" || errors.every((code) => code === undefined)) return undefined;
  // A file can be written in a folder that cannot, if a server has made the -shm and the -wal already.
  if (["", "-shm", "-wal"].every((suffix) => writeError(`${path}${suffix}`) === undefined)) return undefined;
  if (errors.includes("EROFS")) return `${path} is on a read-only file system: mount it so that it can be written`;
  return describeMissingRights(path) ?? `${path}, or its folder, cannot be written: change its permissions`;
}

function writeError(path: string): string | undefined {
  try {
    accessSync(path, constants.W_OK);
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code;
  }
}

/**
 * Returns the error with the path in front of its message, unless the message names it already. If this process may not
 * use the file, the message says whose it is instead.
 */
export function withPath(error: StoreError, path: string): StoreError {
  const { code, details, message } = error;
  const refused = /^SQLITE_(?:CANTOPEN|READONLY|PERM)/.test(String(details.sqliteCode));
  const rights = refused ? describeMissingRights(path) : undefined;
  if (rights !== undefined)
    return new StoreError(code, refusalOf(path, "cannot be opened", rights), { details, cause: error });
  if (message.includes(path)) return error;
  const readOnly = refused ? describeReadOnly(path) : undefined;
  if (readOnly !== undefined) return new StoreError("read_only", readOnly, { details, cause: error });
  return new StoreError(code, `${path}: ${message}`, { details, cause: error });
}
