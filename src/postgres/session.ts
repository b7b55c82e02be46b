// The settings of a session, and the schema that it works in. Each connection pins all that change the meaning of a
// statement or of its answer, because the server, the database and the role may set them (D-164):
// https://www.postgresql.org/docs/current/runtime-config-client.html
import type pg from "pg";
import type { Synchronous } from "../driver.ts";
import { StoreError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { ledgerColumns, ledgerTable } from "../schema/ledger.ts";
import { readOnlyServer } from "./errors.ts";

/** The schema of a store. The first connection finds it, and all later ones of the process work in the same. */
export interface PinnedSchema {
  name: string | undefined;
}

export interface SessionOptions {
  readonly limits: Limits;
  /** `full`: a commit is acknowledged when it is on disk. `normal`: a crash of the server may lose the last commits. */
  readonly synchronous: Synchronous;
  readonly schema: PinnedSchema;
  /** True for a process that only reads, which may do that on a standby. */
  readonly readsOnly?: boolean | undefined;
}

/**
 * Begins a session. Fails with read_only on a standby, and with incompatible when the schema has gone or cannot be used.
 */
export async function beginSession(
  client: pg.Client,
  { limits, synchronous, schema, readsOnly = false }: SessionOptions,
): Promise<void> {
  // They share a round trip. The first has no query, because a hot standby runs none at the isolation level that a server
  // may have as its default.
  const [, , { rows }] = await Promise.all([
    client.query(settingsOf(limits, synchronous)),
    client.query(noTransactionTimeout),
    client.query<Surroundings>(surroundings, [ledgerTable, ledgerColumns]),
  ]);
  const { standby, ours, current } = rows[0] as Surroundings;
  if (standby === 1 && !readsOnly) throw readOnlyServer();
  const name = schema.name ?? ours ?? current;
  // Without a schema, whoever needs one gets the error of the server.
  if (name === null) return;
  await client.query("SELECT set_config('search_path', quote_ident($1), false)", [name]);
  const { rows: now } = await client.query<{ name: string | null }>("SELECT current_schema() AS name");
  if (now[0]?.name !== name)
    throw new StoreError(
      "incompatible",
      `the schema ${name} is missing, or the user may not use it: create it, or GRANT USAGE on it`,
      { details: { reason: "schema_missing" } },
    );
  schema.name = name;
}

/** Lifts a limit that PostgreSQL 17 and newer have. */
const noTransactionTimeout =
  "SELECT set_config('transaction_timeout', '0', false) WHERE current_setting('transaction_timeout', true) IS NOT NULL";

interface Surroundings {
  readonly standby: number;
  /** The first schema of the search path that holds a store. */
  readonly ours: string | null;
  /** The schema in which PostgreSQL would create tables. */
  readonly current: string | null;
}

/** A schema that was created later may come before that of the store, such as one with the name of the user. */
const surroundings = `
  SELECT pg_is_in_recovery() AS standby, current_schema() AS current, (
    SELECT path.name
    FROM unnest(current_schemas(false)) WITH ORDINALITY AS path (name, place)
      JOIN pg_namespace n ON n.nspname = path.name
      JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = $1
    WHERE cardinality($2::text[]) = (
      SELECT count(*) FROM pg_attribute
      WHERE attrelid = c.oid AND attname = ANY ($2) AND attnum > 0 AND NOT attisdropped)
    ORDER BY path.place LIMIT 1) AS ours`;

/** Returns the statements that a session begins with. */
function settingsOf(limits: Limits, synchronous: Synchronous): string {
  const settings = {
    // First, so that the limits of the server end none of the others.
    statement_timeout: limits.statementMs,
    lock_timeout: limits.lockMs,
    idle_in_transaction_session_timeout: limits.statementMs * 2,
    idle_session_timeout: 0,
    client_encoding: "'UTF8'",
    standard_conforming_strings: "on",
    // How values are written, which `parsers` of connection.ts read.
    bytea_output: "'hex'",
    DateStyle: "'ISO, YMD'",
    IntervalStyle: "'iso_8601'",
    TimeZone: "'UTC'",
    extra_float_digits: 1,
    transform_null_equals: "off",
    // Rows that a policy hides are an error, and not absent.
    row_security: "off",
    default_transaction_isolation: "'read committed'",
    default_transaction_deferrable: "off",
    synchronous_commit: synchronous === "full" ? "on" : "off",
  };
  return Object.entries(settings)
    .map(([name, value]) => `SET ${name} = ${value}`)
    .join("; ");
}
