// Opens a SQLite file that this process may read and not write: one on a read-only file system, or without the rights
// to write it or its folder. SQLite needs a -shm file beside a database in WAL mode, which cannot be created there
// (D-095): https://www.sqlite.org/wal.html#readonly

import { closeSync, constants, existsSync, openSync, readFileSync, readSync, statSync } from "node:fs";
import Database from "better-sqlite3";
import { StoreError } from "../errors.ts";
import { readError } from "../files/privateFile.ts";
import { connect } from "./connection.ts";
import { describeReadOnly } from "./file.ts";
import { fileIdentity } from "./openFile.ts";

/** The largest file that is read into memory. */
const inMemoryBytesMax = 1_073_741_824;

/** Builds the error for writing to a database for the reason that `describeReadOnly` has given. */
export function readOnlyError(reason: string): StoreError {
  return new StoreError("read_only", `read-only: ${reason}`, { details: { reason: "read_only" } });
}

/**
 * Opens a file for reading only, and creates nothing beside it. While a server has the file open, or has been killed,
 * its -shm file exists, and the connection sees what the server commits. Otherwise the file is read into memory, and
 * the connection shows it as it was.
 *
 * Fails    incompatible when the WAL holds changes that cannot be read, or when the file is too large | busy | as
 *          `connect`
 */
export function connectToRead(path: string, busyMs: number): Database.Database {
  for (let tries = 0; tries < readTries; tries++) {
    // A file that is not in WAL mode needs nothing beside it.
    if (existsSync(`${path}-shm`) || !isInWalMode(path)) return connect(path, busyMs, { readonly: true });
    if (sizeOf(`${path}-wal`) > 0)
      throw new StoreError(
        "incompatible",
        `${path}-wal holds changes that cannot be read in a folder that cannot be written: copy ${path} and ${path}-wal to another folder, and open the copy`,
      );
    const db = readIntoMemory(path);
    if (db !== undefined) return db;
  }
  throw new StoreError("busy", `${path} changes again and again while it is read: try again`);
}

const readTries = 5;

/** Opens a file that exists, for reading only when it cannot be written. */
export function connectAsAllowed(path: string, busyMs: number): Database.Database {
  return (describeReadOnly(path) === undefined ? connect : connectToRead)(path, busyMs);
}

/** Returns undefined when the file has changed meanwhile. */
function readIntoMemory(path: string): Database.Database | undefined {
  const bytes = sizeOf(path);
  if (bytes > inMemoryBytesMax)
    throw new StoreError(
      "incompatible",
      `${path} is read-only and takes ${bytes} bytes, more than are read into memory: copy it to a folder that can be written, and open the copy`,
    );
  const before = stateOf(path);
  const content = reading(path, () => readFileSync(path));
  if (stateOf(path) !== before || sizeOf(`${path}-wal`) > 0) return undefined;
  // A database in memory has no WAL: https://www.sqlite.org/c3ref/deserialize.html
  content.fill(rollbackFormat, formatAt, formatAt + 2);
  return new Database(content, { readonly: true });
}

/**
 * The place in the header of a file of the two bytes that say whether it is in WAL mode:
 * https://www.sqlite.org/fileformat.html#file_format_version_numbers
 */
const formatAt = 18;
const [rollbackFormat, walFormat] = [1, 2];

/** Reads a part of the file. No connection has it open, which would lose its locks when the file is closed. */
function isInWalMode(path: string): boolean {
  return reading(path, () => {
    const fd = openSync(path, constants.O_RDONLY);
    try {
      const format = Buffer.alloc(1);
      readSync(fd, format, { position: formatAt });
      return format[0] === walFormat;
    } finally {
      closeSync(fd);
    }
  });
}

function reading<Result>(path: string, read: () => Result): Result {
  try {
    return read();
  } catch (error) {
    throw readError(error as NodeJS.ErrnoException, path);
  }
}

/** Returns a text that changes when the file is written or replaced. */
function stateOf(path: string): string | undefined {
  const found = statSync(path, { throwIfNoEntry: false });
  return found && `${fileIdentity(path)} ${found.size} ${found.mtimeMs}`;
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
