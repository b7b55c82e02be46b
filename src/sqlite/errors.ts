// Translates SQLite's result codes into the errors of this package.
import { databaseError, type ErrorTableRow, idExists } from "../driverOutcome.ts";
import { StoreError } from "../errors.ts";
import { present } from "../present.ts";
import { lacksSpace } from "./space.ts";

/**
 * The result codes that callers can tell apart; each row covers its extended codes too:
 * https://www.sqlite.org/rescode.html
 */
const codes: readonly ErrorTableRow[] = [
  ["SQLITE_FULL", "storage_full", "the disk is full, or the database file has reached its size limit"],
  ["SQLITE_BUSY", "busy", "another process holds the write lock"],
  ["SQLITE_PROTOCOL", "busy", "other processes hold the lock of the WAL"],
  ["SQLITE_IOERR", "io_error", "the disk or its file system failed"],
  ["SQLITE_CONSTRAINT", "constraint", "the database refused the row"],
  ["SQLITE_CORRUPT", "corrupt", "the database file is damaged"],
  ["SQLITE_NOTADB", "incompatible", "the file is not a SQLite database"],
  ["SQLITE_READONLY", "read_only", "the database file, or its folder, is read-only"],
  ["SQLITE_CANTOPEN", "incompatible", "the database file cannot be opened"],
  ["SQLITE_PERM", "incompatible", "there is no permission to open the database file"],
  ["SQLITE_TOOBIG", "invalid_input", "a value is too large"],
];

/** The codes behind which a quota or a limit of file sizes may stand. */
const maybeFull: readonly (string | undefined)[] = ["SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE"];

const quotaReached = [
  "SQLITE_IOERR",
  "storage_full",
  "no space is left for the database file: a quota, or a limit of file sizes, has been reached",
] as const satisfies ErrorTableRow;

/**
 * Returns a StoreError unchanged, and wraps any other error in one that has SQLite's code as `details.sqliteCode`. With
 * the path of the file that was written, a quota is told from other I/O errors.
 */
export function translate(error: unknown, path?: string): StoreError {
  if (error instanceof StoreError) return error;
  const { code } = error as { code?: unknown };
  const sqliteCode = typeof code === "string" ? code : undefined;
  const row = rowOf(sqliteCode, path);
  return databaseError(error, row ?? ["", "internal", "SQLite failed"], present({ sqliteCode }));
}

function rowOf(sqliteCode: string | undefined, path: string | undefined): ErrorTableRow | undefined {
  if (sqliteCode === "SQLITE_CONSTRAINT_PRIMARYKEY") return idExists;
  if (path !== undefined && maybeFull.includes(sqliteCode) && lacksSpace(path)) return quotaReached;
  return codes.find(([prefix]) => sqliteCode?.startsWith(prefix));
}
