// Translates PostgreSQL's SQLSTATEs, and the loss of a connection, into the errors of this package.
import pg from "pg";
import { databaseError, type ErrorTableRow, idExists, TransactionLost } from "../driverOutcome.ts";
import { StoreError } from "../errors.ts";
import { present } from "../present.ts";

/**
 * The SQLSTATEs that callers can tell apart; each row covers all codes that begin with it:
 * https://www.postgresql.org/docs/current/errcodes-appendix.html
 */
const codes: readonly ErrorTableRow[] = [
  ["23", "constraint", "the database refused the row"],
  ["40", "busy", "the transaction conflicted with others too often"],
  ["55000", "busy", "the database does not accept connections"],
  ["55P03", "busy", "another transaction has locked the row for too long"],
  ["57014", "deadline_exceeded", "the statement took too long"],
  ["57", "busy", "the server is shutting down or starting"],
  ["08", "busy", "the server cannot be reached"],
  ["53100", "storage_full", "the server's disk is full"],
  ["53300", "busy", "the server has no connection left: raise its max_connections, or lower limits.connections"],
  ["53", "busy", "the server is out of resources"],
  ["58", "io_error", "the server's disk or its file system failed"],
  ["28", "incompatible", "the server refuses this user or password: correct the URL"],
  ["3D000", "incompatible", "there is no such database: create it with createdb, or correct the URL"],
  [
    "3F000",
    "incompatible",
    "there is no such schema, or the user may not use it: create it, GRANT USAGE on it, or correct the search_path",
  ],
  [
    "42501",
    "incompatible",
    "the user lacks a privilege: GRANT SELECT, INSERT, UPDATE and DELETE on all tables of the schema, and USAGE on the schema",
  ],
  ["42P01", "incompatible", "a table is missing: run debug-server-db migrate check, and restore a backup"],
  ["42703", "incompatible", "a column is missing: run debug-server-db migrate check, and restore a backup"],
  ["XX001", "corrupt", "the database is damaged"],
  ["XX002", "corrupt", "an index of the database is damaged"],
];

/**
 * Returns a StoreError unchanged, and wraps any other error in one that has PostgreSQL's code as `details.sqlState`.
 */
export function translate(error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  if (isReadOnly(error)) return readOnlyServer(error);
  const refused = refusalOf(error);
  if (refused !== undefined) return new StoreError("incompatible", refused, { cause: error });
  if (isLost(error))
    return new StoreError("busy", `the server cannot be reached (${(error as Error).message})`, { cause: error });
  const { code: sqlState, constraint } = error as { code?: string; constraint?: string };
  const row =
    sqlState === "23505" && constraint?.endsWith("_pkey") === true
      ? idExists
      : codes.find(([prefix]) => sqlState?.startsWith(prefix));
  return databaseError(error, row ?? ["", "internal", "PostgreSQL failed"], present({ sqlState }));
}

/**
 * Returns true when the connection is lost, is about to be closed, or cannot be used any more because its prepared
 * statements refer to an older schema (0A000). The last query may or may not have run.
 */
export function isLost(error: unknown): boolean {
  if (!(error instanceof pg.DatabaseError)) return !(error instanceof StoreError);
  return /^(?:08|57P0|25P03|25P04|0A000)/.test(error.code ?? "");
}

/**
 * Returns the sentence for a failure to connect that no repetition mends, or undefined. The codes of TLS are those of
 * https://nodejs.org/api/tls.html#x509-certificate-error-codes
 */
function refusalOf(error: unknown): string | undefined {
  if (error instanceof pg.DatabaseError || error instanceof StoreError) return undefined;
  const { code = "", message } = error as { readonly code?: string; readonly message: string };
  if (/CERT|^UNABLE_TO_|^HOSTNAME_MISMATCH/.test(code))
    return `the certificate of the server cannot be verified: name the file of its authority with sslrootcert, and the host as the certificate does (${message})`;
  if (/^ERR_(?:SSL|TLS|OSSL)_/.test(code) || code === "EPROTO")
    return `no encrypted connection to the server is possible: correct sslmode, or the certificates of the URL (${message})`;
  if (message.includes("does not support SSL"))
    return "the server does not encrypt connections: turn ssl on there, or use sslmode=disable";
  // An answer of the driver to the server's request for a password.
  if (message.startsWith("SASL"))
    return `the server refuses this password, or there is none: put it into the URL, into PGPASSWORD or into ~/.pgpass (${message})`;
  return undefined;
}

/** Builds the error for a URL from which the driver can make no connection, such as one that names a missing file. */
export function unusableUrl(error: unknown): StoreError {
  const { code, message } = error as { readonly code?: string; readonly message: string };
  const reason = code === undefined ? message : `a file of sslcert, sslkey or sslrootcert cannot be read (${message})`;
  return new StoreError("incompatible", `the URL cannot be used: ${reason}`, { cause: error });
}

/** Returns true when the server refused to write: it is a standby, or its database is read-only. */
export function isReadOnly(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.code === "25006";
}

/** Builds the error for a server that cannot be written. It may be retried, because a failover passes. */
export function readOnlyServer(cause?: unknown): StoreError {
  return new StoreError("read_only", "the server is read-only: connect to the primary", {
    retryable: true,
    details: { sqlState: "25006" },
    cause,
  });
}

/** Returns true when the server's queue of notifications has no room, because somebody has not read it for long. */
export function isQueueFull(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.code === "54000";
}

/** Returns true when the query waited for a lock for too long. */
export function isLockTimeout(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.code === "55P03";
}

/** Thrown in place of an error of `pg`, which could be mistaken for an error that the body has thrown itself. */
export class QueryFailed extends Error {
  constructor(cause: unknown) {
    super("a query failed", { cause });
  }
}

/** A failed query after which the connection cannot be used any more. */
export class ConnectionLost extends QueryFailed {}

/** A query that a server refused because it is read-only. Another one may be behind the same address soon. */
export class ServerReadOnly extends QueryFailed {}

/** Throws the error of a query as one of the classes above. */
export function rethrow(error: unknown): never {
  if (isReadOnly(error)) throw new ServerReadOnly(error);
  throw isLost(error) ? new ConnectionLost(error) : new QueryFailed(error);
}

/** Builds the TransactionLost for an error of the server. `index` is that of the failed body in its job. */
export function transactionLost(cause: unknown, index = 0): TransactionLost {
  return new TransactionLost(translate(cause), index, isTransient(cause));
}

/**
 * Returns true for an error that does not occur when the same transaction runs again: a serialization failure, a
 * deadlock, or a name that another transaction took after the body had looked for it, and which it finds next time.
 */
function isTransient(error: unknown): boolean {
  if (!(error instanceof pg.DatabaseError)) return false;
  const { code, constraint } = error;
  return code === "40001" || code === "40P01" || (code === "23505" && constraint?.endsWith("_name_key_key") === true);
}
