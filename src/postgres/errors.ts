// Translates PostgreSQL's SQLSTATEs, and the loss of a connection, into the errors of this package.
import pg from "pg";
import { StoreError } from "../errors.ts";

/** https://www.postgresql.org/docs/current/errcodes-appendix.html; a code stands for all that begin with it. */
const codes: readonly (readonly [
  prefix: string,
  code: ConstructorParameters<typeof StoreError>[0],
  message: string,
])[] = [
  ["23", "constraint", "the database refused the row"],
  ["40", "busy", "the transaction met another one too often"],
  ["55P03", "busy", "another transaction holds the row for too long"],
  ["57014", "deadline_exceeded", "the statement took too long"],
  ["57", "busy", "the server is shutting down or starting"],
  ["08", "busy", "the server cannot be reached"],
  ["53100", "storage_full", "the server's disk is full"],
  ["53300", "busy", "the server has no connection left: raise its max_connections, or lower limits.connections"],
  ["53", "busy", "the server has not enough resources"],
  ["28", "incompatible", "the server refuses this user or password: correct the URL"],
  ["3D000", "incompatible", "there is no such database: make it with createdb, or correct the URL"],
  ["3F000", "incompatible", "there is no such schema: make it, or correct the search_path"],
  ["42501", "incompatible", "the user lacks a right: grant it"],
  ["25006", "incompatible", "the server is read-only: name the primary"],
  ["XX001", "corrupt", "the database is damaged"],
  ["XX002", "corrupt", "an index of the database is damaged"],
];

export function translate(error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  if (isLost(error))
    return new StoreError("busy", `the server cannot be reached (${(error as Error).message})`, { cause: error });
  const { code: sqlState, constraint } = error as { code?: string; constraint?: string };
  // Callers choose ids, so one that is taken is theirs to know of.
  const taken = sqlState === "23505" && constraint?.endsWith("_pkey") === true;
  const [, code, message] = taken
    ? ["", "conflict", "a row with this id exists"]
    : (codes.find(([prefix]) => sqlState?.startsWith(prefix)) ?? ["", "internal", "PostgreSQL failed"]);
  const details = { ...(sqlState === undefined ? {} : { sqlState }), ...(taken ? { reason: "exists" } : {}) };
  return new StoreError(code as "internal", `${message} (${(error as Error).message})`, { cause: error, details });
}

/**
 * The connection is gone, or will be, or is of no more use because its prepared statements are of an older schema (0A000): what was asked last may
 * have been done or not.
 */
export function isLost(error: unknown): boolean {
  if (!(error instanceof pg.DatabaseError)) return !(error instanceof StoreError);
  return /^(?:08|57P0|0A000)/.test(error.code ?? "");
}

/** Undone because of other transactions; the same again may succeed. */
export function isTransient(error: unknown): boolean {
  return error instanceof pg.DatabaseError && /^(?:40001|40P01)/.test(error.code ?? "");
}
