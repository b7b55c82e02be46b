// Reads and writes the ledger of applied migrations. The bodies are the same for every engine, for a store that creates
// its schema and for the command line that migrates it. Knows no database.
import { type Details, StoreError } from "../errors.ts";
import { messageOf } from "../model/realms.ts";
import { packageVersion } from "../package.ts";
import { all, type Body, change, changeEach, Statement, sql, step } from "../sql.ts";
import { createdTables, type Migration, statementsOf } from "./migrationFiles.ts";

export interface TableShape {
  readonly name: string;
  readonly columns: readonly string[];
  /** The default of each column that has one, as an expression of SQL. */
  readonly defaults: ReadonlyMap<string, string>;
}

/** A table, index, trigger or view, as its engine defines it. */
/** Groups the columns of all tables by their table. */
export function tableShapes(
  columns: readonly { readonly name: string; readonly column: string; readonly default: string | null }[],
): readonly TableShape[] {
  return [...Map.groupBy(columns, ({ name }) => name)].map(([name, rows]) => ({
    name,
    columns: rows.map(({ column }) => column),
    defaults: new Map(rows.flatMap((row) => (row.default === null ? [] : [[row.column, row.default] as const]))),
  }));
}

export interface SchemaObject {
  /** The table that the object is, or belongs to; of others, such as views, their own name. */
  readonly of: string;
  readonly type: string;
  readonly name: string;
  readonly definition: string;
}

/** A row that breaks a foreign key, or a foreign key that rows may break. */
export interface Violation {
  /** The table with the foreign key, and the one to which it leads. */
  readonly child: string;
  readonly parent: string;
  readonly text: string;
}

/** The queries by which an engine reads its own schema. */
export interface Catalog {
  tables(): Body<readonly TableShape[]>;
  /** Returns true when none of the tables is ours or has the name of a table that the migrations create. */
  isNew(tables: readonly TableShape[], migrations: readonly Migration[]): boolean;
  /** Reads all objects except the ledger, in a fixed order. */
  objects(): Body<readonly SchemaObject[]>;
  /** Describes the rows that break a foreign key, one text each. */
  violations(): Body<readonly Violation[]>;
  /** The statements that mark the database as ours, and create the ledger unless it exists. */
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
  /** The known migrations that are not applied. */
  readonly pending: readonly Migration[];
  /** The applied migrations whose file has changed since. */
  readonly edited: readonly Migration[];
  /** The applied migrations that only a later version knows. */
  readonly newer: readonly AppliedMigration[];
  /** The migrations that are not applied although a later one is. */
  readonly skipped: readonly Migration[];
}

export const ledgerTable = "schema_migrations";
/** The columns by which our ledger is told from that of another program. */
export const ledgerColumns = ["revision", "name", "sha256", "applied_at", "duration_ms", "applied_by"];

/** The tables that describe the store itself, or are derived from others, and hold no user data. */
export const ownTables: readonly string[] = [ledgerTable, "store_meta", "counters"];

/**
 * Reads the ledger and compares it with the known migrations. Fails with incompatible when there is no ledger, or it is
 * not ours.
 */
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

/**
 * Returns true when the database has a ledger. Fails with incompatible when a table of that name belongs to another
 * program.
 */
export function hasLedger(tables: readonly TableShape[]): boolean {
  const ledger = tables.find(({ name }) => name === ledgerTable);
  if (ledger !== undefined && !ledgerColumns.every((column) => ledger.columns.includes(column))) {
    throw new StoreError(
      "incompatible",
      `this database belongs to another program, which has a ${ledgerTable} of its own: name another database`,
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

/** Fails with incompatible unless the schema is at the head of these migrations. */
export function requireHead(history: History, migrations: readonly Migration[]): void {
  requireSound(history, migrations);
  if (history.pending.length === 0) return;
  const [revision, head] = [history.applied.at(-1)?.revision ?? "none", migrations.at(-1)?.revision ?? "none"];
  const message = `the schema is at revision ${revision}, but this version of debug-server-db needs ${head}: run debug-server-db migrate upgrade head`;
  throw new StoreError("incompatible", message, { details: { reason: "schema_older", revision, head } });
}

/** Fails with incompatible unless the applied migrations are the first of these, unchanged. */
export function requireSound({ newer, edited, skipped }: History, migrations: readonly Migration[]): void {
  const head = migrations.at(-1)?.revision ?? "none";
  if (newer[0] !== undefined) {
    const { revision } = newer.at(-1) as AppliedMigration;
    const message = `the schema is at revision ${revision}, which is newer than this version of debug-server-db (${packageVersion}, revision ${head}): install a newer version, or restore a backup`;
    throw new StoreError("incompatible", message, { details: { reason: "schema_newer", revision, head } });
  }
  if (edited[0] !== undefined) {
    const { file, revision } = edited[0];
    const message = `${file} was edited after it was applied: restore the file and add a new migration, or, if the schema matches the file, run debug-server-db migrate stamp REV`;
    throw new StoreError("incompatible", message, { details: { reason: "migration_edited", revision, file } });
  }
  if (skipped[0] !== undefined) {
    const { file, revision } = skipped[0];
    const message = `${file} is not applied, although a later migration is: give it a number after the last one`;
    throw new StoreError("incompatible", message, { details: { reason: "migration_skipped", revision, file } });
  }
}

/** Applies a migration and adds it to the ledger. Returns the time that its statements took, in milliseconds. */
export const applyMigration = step(function* (migration: Migration, now: () => number) {
  const startedAt = now();
  yield* runPart(migration, "up");
  const durationMs = Math.max(0, now() - startedAt);
  yield* addEntry(migration, startedAt, durationMs);
  return durationMs;
});

/** Undoes a migration and removes it from the ledger. Returns the time that this took, in milliseconds. */
export const revertMigration = step(function* (migration: Migration, now: () => number) {
  const startedAt = now();
  yield* runPart(migration, "down");
  yield* change(sql`DELETE FROM schema_migrations WHERE revision = ${migration.revision}`);
  return Math.max(0, now() - startedAt);
});

/**
 * Rewrites the ledger so that it records exactly these migrations as applied. Correct entries stay as they are. Creates
 * the ledger first unless it exists.
 */
export const stampMigrations = step(function* (catalog: Catalog, migrations: readonly Migration[], now: () => number) {
  yield* changeEach(catalog.setUp.map(plainStatement));
  const entries = yield* all<AppliedMigration>(sql`SELECT revision, sha256 FROM schema_migrations`);
  const valid = entries.filter(({ revision, sha256 }) =>
    migrations.some((migration) => migration.revision === revision && migration.sha256 === sha256),
  );
  for (const { revision } of entries)
    if (!valid.some((entry) => entry.revision === revision))
      yield* change(sql`DELETE FROM schema_migrations WHERE revision = ${revision}`);
  for (const migration of migrations)
    if (!valid.some(({ revision }) => revision === migration.revision)) yield* addEntry(migration, now(), 0);
});

/** Applies all migrations to a database without tables. */
export const createSchema = step(function* (catalog: Catalog, migrations: readonly Migration[], now: () => number) {
  yield* changeEach(catalog.setUp.map(plainStatement));
  for (const migration of migrations) yield* applyMigration(migration, now);
  yield* requireNoViolations(catalog, migrations);
});

/**
 * Fails with constraint when rows break a foreign key. SQLite does not check foreign keys while migrations run. A key between
 * two tables of others is their own affair; one from a table of theirs to ours counts unless `countsOthers` is false.
 */
export const requireNoViolations = step(function* (
  catalog: Catalog,
  migrations: readonly Migration[],
  countsOthers = true,
) {
  const ours = createdTables(migrations);
  const violations = (yield* catalog.violations()).filter(
    ({ child, parent }) => ours.includes(child) || (countsOthers && ours.includes(parent)),
  );
  if (violations.length === 0) return;
  const texts = violations.slice(0, 5).map(({ text }) => text);
  throw new StoreError("constraint", `the migration leaves rows that break a foreign key: ${texts.join(", ")}`, {
    outcome: "rolled_back",
  });
});

const addEntry = step(function* ({ revision, name, sha256 }: Migration, appliedAt: number, durationMs: number) {
  yield* change(sql`
    INSERT INTO schema_migrations (
      revision,
      name,
      sha256,
      applied_at,
      duration_ms,
      applied_by
    ) VALUES (
      ${revision},
      ${name},
      ${sha256},
      ${Math.round(appliedAt)},
      ${Math.round(durationMs)},
      ${packageVersion}
    )`);
});

/**
 * Runs one part of a migration. A failed statement is thrown into this body, which adds the file and the line (D-060);
 * the caller then rolls back.
 */
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
  const reason = messageOf(cause ?? error);
  return new StoreError(code, `${file}, ${place}: ${reason}; nothing was changed`, {
    cause: error,
    outcome: "rolled_back",
    details: { file, ...where, reason },
  });
}

/** Turns a text without values into a statement. */
export function plainStatement(text: string): Statement {
  return new Statement([text], []);
}
