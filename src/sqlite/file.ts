// The file of a SQLite database. We create it instead of SQLite, so that only its owner can read it and no link is
// followed (D-037).

import { closeSync, constants, lstatSync, mkdirSync, openSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { StoreError } from "../errors.ts";
import { fileError } from "../files/privateFile.ts";

/**
 * Creates the file (mode 0600) and its folder (mode 0700) unless they exist. Returns true when it created the file.
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
        `${path} does not exist: run debug-server-db migrate upgrade head, or open it with migrate "create"`,
      );
    const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
    closeSync(openSync(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600));
    return true;
  } catch (error) {
    // Another process created it at the same moment.
    if ((error as NodeJS.ErrnoException).code === "EEXIST" && lstatSync(path).isFile()) return false;
    throw error instanceof StoreError ? error : fileError(error as NodeJS.ErrnoException, path);
  }
}

function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    // Node reports EEXIST when the path is a file.
    throw (error as NodeJS.ErrnoException).code === "EEXIST"
      ? Object.assign(new Error("not a folder"), { code: "ENOTDIR" })
      : error;
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
 * Returns the device and inode of the file at a path, or undefined when there is none. They change when a restore
 * replaces the file.
 */
export function fileIdentity(path: string): string | undefined {
  const existing = statSync(path, { throwIfNoEntry: false });
  return existing && `${existing.dev} ${existing.ino}`;
}

/** Returns the error with the path in front of its message, unless the message names it already. */
export function withPath(error: StoreError, path: string): StoreError {
  if (error.message.startsWith(path)) return error;
  return new StoreError(error.code, `${path}: ${error.message}`, { details: error.details, cause: error });
}
