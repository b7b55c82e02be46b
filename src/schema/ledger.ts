// The ledger of applied migrations, and what follows from it, as bodies: the same on every engine, whether a driver makes a new database
// or the command line moves one. Knows no database.
import { type Details, StoreError } from "../errors.ts";
import { packageVersion } from "../package.ts";
import { all, type Body, change, changeEach, Statement, sql, step } from "../sql.ts";
import { type Migration, statementsOf } from "./migrationFiles.ts";

export interface TableShape {
  readonly name: string;
  readonly columns: readonly string[];
}

/** A table, index, trigger or view, as its engine defines it. */
export interface SchemaObject {
  readonly type: string;
  readonly name: string;
  readonly definition: string;
}

/** What an engine says of its own schema, without the ledger. */
export interface Catalog {
  tables(): Body<readonly TableShape[]>;
  /** Whether none of these tables is ours, or in the way of one that the migrations create. */
  isNew(tables: readonly TableShape[], migrations: readonly Migration[]): boolean;
  objects(): Body<readonly SchemaObject[]>;
  /** What breaks a foreign key, in words. */
  violations(): Body<readonly string[]>;
  /** Marks the database as ours, and makes the ledger unless it is there. */
  readonly setUp: readonly string[];
}

export interface AppliedMigration {
  readonly revision: string;
  readonly name: string;
  readonly sha256: string;
  readonly applied_at: number;
  readonly duration_ms: number;
  readonly applied_by: string;
}

export interface History {
  readonly applied: readonly AppliedMigration[];
  /** Known, and not applied. */
  readonly pending: readonly Migration[];
  /** Applied, and changed since. */
  readonly edited: readonly Migration[];
  /** Applied by a later version. */
  readonly newer: readonly AppliedMigration[];
  /** Not applied, although a later one is. */
  readonly skipped: readonly Migration[];
}

export const ledgerTable = "schema_migrations";
const ledgerColumns = ["revision", "name", "sha256", "applied_at", "duration_ms", "applied_by"];

/** Tables that say something of the store and hold nothing of its users. */
export const ownTables: readonly string[] = [ledgerTable, "store_meta"];

/** Fails incompatible when there is no ledger, or it is not ours. */
export const readHistory = step(function* (catalog: Catalog, migrations: readonly Migration[]) {
  const tables = yield* catalog.tables();
  if (catalog.isNew(tables, migrations))
    throw new StoreError("incompatible", "the database is empty: run debug-server-db migrate upgrade head");
  if (!hasLedger(tables)) {
    const message = `there is no table ${ledgerTable}: restore a backup, or, if you know which revision the schema has, run debug-server-db migrate stamp REV`;
    throw new StoreError("incompatible", message, { details: { reason: "no_ledger" } });
  }
  const applied = yield* all<AppliedMigration>(sql`
    SELECT revision, name, sha256, applied_at, duration_ms, applied_by FROM schema_migrations ORDER BY revision`);
  return compareHistory(applied, migrations);
});

/** Fails incompatible when another program keeps a table of the same name. */
export function hasLedger(tables: readonly TableShape[]): boolean {
  const ledger = tables.find(({ name }) => name === ledgerTable);
  if (ledger !== undefined && !ledgerColumns.every((column) => ledger.columns.includes(column))) {
    throw new StoreError(
      "incompatible",
      `this database belongs to another program, whose ${ledgerTable} it holds: name another one`,
    );
  }
  return ledger !== undefined;
}

function compareHistory(applied: readonly AppliedMigration[], migrations: readonly Migration[]): History {
  const known = new Map(migrations.map((migration) => [migration.revision, migration]));
  const sums = new Map(applied.map(({ revision, sha256 }) => [revision, sha256]));
  const last = applied.at(-1)?.revision ?? "";
  return {
    applied,
    pending: migrations.filter(({ revision }) => !sums.has(revision)),
    edited: migrations.filter(({ revision, sha256 }) => sums.has(revision) && sums.get(revision) !== sha256),
    newer: applied.filter(({ revision }) => !known.has(revision)),
    skipped: migrations.filter(({ revision }) => !sums.has(revision) && revision < last),
  };
}

/** Fails incompatible when the schema is older, newer or other than the migrations that this code brings. */
export function requireHead(history: History, migrations: readonly Migration[]): void {
  requireSound(history, migrations);
  if (history.pending.length === 0) return;
  const [at, head] = [history.applied.at(-1)?.revision ?? "none", migrations.at(-1)?.revision ?? "none"];
  const message = `the schema is at revision ${at}, and this version of debug-server-db needs ${head}: run debug-server-db migrate upgrade head`;
  throw new StoreError("incompatible", message, { details: { reason: "schema_older", revision: at, head } });
}

/** Fails incompatible unless what was applied is what the first of these migrations say. */
export function requireSound({ newer, edited, skipped }: History, migrations: readonly Migration[]): void {
  const head = migrations.at(-1)?.revision ?? "none";
  if (newer[0] !== undefined) {
    const { revision } = newer.at(-1) as AppliedMigration;
    const message = `the schema is at revision ${revision}, which is newer than this version of debug-server-db (${packageVersion}, revision ${head}): install a newer version, or restore a backup`;
    throw new StoreError("incompatible", message, { details: { reason: "schema_newer", revision, head } });
  }
  if (edited[0] !== undefined) {
    const { file, revision } = edited[0];
    const message = `${file} was edited after it had been applied: put it back as it was and add a new migration, or, if the schema agrees with it, run debug-server-db migrate stamp REV`;
    throw new StoreError("incompatible", message, { details: { reason: "migration_edited", revision, file } });
  }
  if (skipped[0] !== undefined) {
    const { file, revision } = skipped[0];
    const message = `${file} was not applied, although a later one was: number it after the last one`;
    throw new StoreError("incompatible", message, { details: { reason: "migration_skipped", revision, file } });
  }
}

/** Applies one migration and enters it in the ledger. Gives how long its statements took. */
export const applyMigration = step(function* (migration: Migration, now: () => number) {
  const startedAt = now();
  yield* runPart(migration, "up");
  const durationMs = Math.max(0, now() - startedAt);
  yield* enter(migration, startedAt, durationMs);
  return durationMs;
});

/** Undoes one migration and strikes it from the ledger. */
export const revertMigration = step(function* (migration: Migration, now: () => number) {
  const startedAt = now();
  yield* runPart(migration, "down");
  yield* change(sql`DELETE FROM schema_migrations WHERE revision = ${migration.revision}`);
  return Math.max(0, now() - startedAt);
});

/** Makes the ledger say that exactly these were applied. What it says rightly already stays as it is. */
export const stampMigrations = step(function* (catalog: Catalog, migrations: readonly Migration[], now: () => number) {
  yield* changeEach(catalog.setUp.map(plainStatement));
  const entries = yield* all<AppliedMigration>(sql`SELECT revision, sha256 FROM schema_migrations`);
  const right = entries.filter(({ revision, sha256 }) =>
    migrations.some((migration) => migration.revision === revision && migration.sha256 === sha256),
  );
  for (const { revision } of entries)
    if (!right.some((entry) => entry.revision === revision))
      yield* change(sql`DELETE FROM schema_migrations WHERE revision = ${revision}`);
  for (const migration of migrations)
    if (!right.some(({ revision }) => revision === migration.revision)) yield* enter(migration, now(), 0);
});

/** All migrations on a database without tables. */
export const createSchema = step(function* (catalog: Catalog, migrations: readonly Migration[], now: () => number) {
  yield* changeEach(catalog.setUp.map(plainStatement));
  for (const migration of migrations) yield* applyMigration(migration, now);
  yield* requireNoViolations(catalog);
});

export const requireNoViolations = step(function* (catalog: Catalog) {
  const violations = yield* catalog.violations();
  if (violations.length > 0) {
    throw new StoreError(
      "constraint",
      `the migration leaves rows that break a foreign key: ${violations.slice(0, 5).join(", ")}`,
      { outcome: "rolled_back" },
    );
  }
});

const enter = step(function* ({ revision, name, sha256 }: Migration, appliedAt: number, durationMs: number) {
  yield* change(sql`
    INSERT INTO schema_migrations (revision, name, sha256, applied_at, duration_ms, applied_by)
    VALUES (${revision}, ${name}, ${sha256}, ${Math.round(appliedAt)}, ${Math.round(durationMs)}, ${packageVersion})`);
});

/** Runners of migrations throw a failure into the body, which says where it happened (D-060); the transaction is over either way. */
const runPart = step(function* (migration: Migration, part: "up" | "down") {
  const statements = statementsOf(migration, part);
  for (const [index, { text, line }] of statements.entries()) {
    try {
      yield* change(plainStatement(text));
    } catch (error) {
      const place = `line ${line}, statement ${index + 1} of ${statements.length} of its ${part} part, "${(text.split("\n", 1)[0] as string).slice(0, 100)}"`;
      throw failedAt(migration.file, place, { part, statement: index + 1, line }, error);
    }
  }
});

function failedAt(file: string, place: string, where: Details, error: unknown): StoreError {
  const { code, cause } = error instanceof StoreError ? error : new StoreError("internal", undefined, { cause: error });
  const reason = cause instanceof Error ? cause.message : (error as Error).message;
  return new StoreError(code, `${file}, ${place}: ${reason}; nothing was changed`, {
    cause: error,
    outcome: "rolled_back",
    details: { file, ...where, reason },
  });
}

export function plainStatement(text: string): Statement {
  return new Statement([text], []);
}
