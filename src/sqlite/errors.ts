// Translates SQLite's result codes into the errors of this package.
import { StoreError } from "../errors.ts";

/** https://www.sqlite.org/rescode.html; a code stands for its extended codes too. */
const codes: readonly (readonly [
  prefix: string,
  code: ConstructorParameters<typeof StoreError>[0],
  message: string,
])[] = [
  ["SQLITE_FULL", "storage_full", "the disk, or the database file's size limit, is full"],
  ["SQLITE_BUSY", "busy", "another process holds the write lock"],
  // Callers choose ids, so one that is taken is theirs to know of.
  ["SQLITE_CONSTRAINT_PRIMARYKEY", "conflict", "a row with this id exists"],
  ["SQLITE_CONSTRAINT", "constraint", "the database refused the row"],
  ["SQLITE_CORRUPT", "corrupt", "the database file is damaged"],
  ["SQLITE_NOTADB", "incompatible", "the file is not a SQLite database"],
  ["SQLITE_READONLY", "incompatible", "the database file, or its folder, is read-only"],
  ["SQLITE_CANTOPEN", "incompatible", "the database file cannot be opened"],
  ["SQLITE_PERM", "incompatible", "the database file may not be opened"],
  ["SQLITE_TOOBIG", "invalid_input", "a value is too large"],
];

export function translate(error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  const sqliteCode = (error as { code?: unknown }).code;
  const [, code, message] = codes.find(
    ([prefix]) => typeof sqliteCode === "string" && sqliteCode.startsWith(prefix),
  ) ?? ["", "internal", "SQLite failed"];
  const details = {
    ...(typeof sqliteCode === "string" ? { sqliteCode } : {}),
    ...(code === "conflict" ? { reason: "exists" } : {}),
  };
  return new StoreError(code as "internal", `${message} (${(error as Error).message})`, { cause: error, details });
}
