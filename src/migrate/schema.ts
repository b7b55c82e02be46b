// Is a database at the schema that this code needs? A new one is made so, in one transaction; any other difference is refused with what to do.
import { StoreError } from "../errors.ts";
import { packageVersion } from "../package.ts";
import type { Migration } from "./files.ts";

/** What is needed of a connection; a driver supplies it. */
export interface SchemaConnection {
  exec(sql: string): void;
  all(sql: string, ...values: readonly (string | number)[]): unknown[];
}

const ledger = `CREATE TABLE schema_migrations (
  revision TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  applied_at INTEGER NOT NULL,
  duration_ms INTEGER NOT NULL,
  applied_by TEXT NOT NULL
) STRICT`;

/** Applies all migrations to a database without tables. Runs inside a transaction that the caller has begun. */
export function createSchema(connection: SchemaConnection, migrations: readonly Migration[], now: () => number): void {
  connection.exec(ledger);
  for (const { revision, name, sha256, up } of migrations) {
    const startedAt = now();
    connection.exec(up);
    connection.all(
      "INSERT INTO schema_migrations (revision, name, sha256, applied_at, duration_ms, applied_by) VALUES (?, ?, ?, ?, ?, ?) RETURNING revision",
      revision,
      name,
      sha256,
      startedAt,
      now() - startedAt,
      packageVersion,
    );
  }
}

/** Fails incompatible when the schema is older, newer or other than the migrations that this code brings. */
export function checkSchema(connection: SchemaConnection, migrations: readonly Migration[]): void {
  const applied = connection.all("SELECT revision FROM schema_migrations ORDER BY revision") as { revision: string }[];
  checkRevisions(
    applied.map(({ revision }) => revision),
    migrations,
  );
}

export function checkRevisions(applied: readonly string[], migrations: readonly Migration[]): void {
  const known = migrations.map(({ revision }) => revision);
  const head = known.at(-1) ?? "none";
  const at = applied.at(-1) ?? "none";
  const newer = applied.find((revision) => !known.includes(revision));
  if (newer !== undefined) {
    const message = `the schema is at revision ${newer}, which is newer than this version of debug-server-db (${packageVersion}, revision ${head}): install a newer version, or restore a backup`;
    throw new StoreError("incompatible", message, { details: { reason: "schema_newer", revision: newer, head } });
  }
  if (applied.length < known.length) {
    const message = `the schema is at revision ${at}, and this version of debug-server-db needs ${head}: run debug-server-db migrate upgrade head`;
    throw new StoreError("incompatible", message, { details: { reason: "schema_older", revision: at, head } });
  }
}
