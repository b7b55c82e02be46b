// The settings of a session. Each connection pins all that change the meaning of a statement or of its answer, because
// the server, the database and the role may set them: https://www.postgresql.org/docs/current/runtime-config-client.html

import type { Synchronous } from "../driver.ts";
import type { Limits } from "../limits.ts";

/** Returns the statements that a connection begins with. `synchronous` and the limits are those of the store. */
export function sessionSettings(limits: Limits, synchronous: Synchronous): string {
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
  return [
    // A hot standby runs nothing at the level that a server may have as its default.
    "BEGIN ISOLATION LEVEL READ COMMITTED",
    ...Object.entries(settings).map(([name, value]) => `SET ${name} = ${value}`),
    // PostgreSQL 17 and newer.
    "SELECT set_config('transaction_timeout', '0', false) WHERE current_setting('transaction_timeout', true) IS NOT NULL",
    "COMMIT",
  ].join("; ");
}
