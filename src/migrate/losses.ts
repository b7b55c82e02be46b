// Finds the data that a downgrade would delete, by running it, rolling it back, and counting (D-063). Knows no
// database.
import { StoreError } from "../errors.ts";
import { type Catalog, ownTables, plainStatement, revertMigration, type TableShape } from "../schema/ledger.ts";
import type { Migration } from "../schema/migrationFiles.ts";
import { all, change, quoteName, step } from "../sql.ts";

/** Data that a downgrade deletes. Values that a migration overwrites are not found. */
export interface Loss {
  readonly table: string;
  /** Absent when whole rows are deleted. */
  readonly column?: string;
  readonly rows: number;
}

/**
 * Finds the losses of a downgrade: runs it within a savepoint to find the rows, columns and tables that it deletes,
 * rolls back, and counts the values in the deleted columns. A value that is its column's default was never written, so
 * it is not counted.
 */
export const lossesOf = step(function* (catalog: Catalog, route: readonly Migration[], now: () => number) {
  const before = yield* contents(catalog);
  yield* change(plainStatement("SAVEPOINT probe"));
  for (const migration of route) yield* revertMigration(migration, now);
  const after = yield* contents(catalog);
  yield* change(plainStatement("ROLLBACK TO SAVEPOINT probe"));
  yield* change(plainStatement("RELEASE SAVEPOINT probe"));
  const losses: Loss[] = [];
  for (const [table, { columns, defaults, rows }] of before) {
    const remaining = after.get(table);
    const rowsLeft = remaining?.rows ?? 0;
    if (rowsLeft < rows) losses.push({ table, rows: rows - rowsLeft });
    if (remaining === undefined) continue;
    for (const column of columns.filter((name) => !remaining.columns.includes(name))) {
      const values = yield* countValues(table, column, defaults.get(column));
      if (values > 0) losses.push({ table, column, rows: values });
    }
  }
  return losses;
});

const contents = step(function* (catalog: Catalog) {
  const tables = new Map<string, TableShape & { readonly rows: number }>();
  for (const shape of yield* catalog.tables()) {
    const { name } = shape;
    if (!ownTables.includes(name))
      tables.set(name, { ...shape, rows: yield* count(`SELECT count(*) AS count FROM ${quoteName(name)}`) });
  }
  return tables;
});

/** Counts the values of a column that are not its default, an expression of SQL. As text, because JSON cannot be compared. */
const countValues = step(function* (table: string, column: string, standard: string | undefined) {
  const condition =
    standard === undefined ? "" : ` WHERE CAST(${quoteName(column)} AS text) <> CAST((${standard}) AS text)`;
  return yield* count(`SELECT count(${quoteName(column)}) AS count FROM ${quoteName(table)}${condition}`);
});

const count = step(function* (text: string) {
  const [row] = yield* all<{ count: number | string }>(plainStatement(text));
  return Number(row?.count);
});

/** Returns true when any table with user data has a row. */
export const holdsData = step(function* (catalog: Catalog) {
  for (const { name } of yield* catalog.tables()) {
    if (
      !ownTables.includes(name) &&
      (yield* all(plainStatement(`SELECT 1 FROM ${quoteName(name)} LIMIT 1`))).length > 0
    )
      return true;
  }
  return false;
});

/** Builds the error for a downgrade that would delete data without permission. */
export function dataLossError(losses: readonly Loss[]): StoreError {
  const message = `this downgrade drops data: ${losses.map(describeLoss).join(", ")}; nothing was changed. To allow it, add --allow-data-loss`;
  return new StoreError("conflict", message, { outcome: "rolled_back", details: { reason: "data_loss", losses } });
}

export function describeLoss({ table, column, rows }: Loss): string {
  const [unit, location] = column === undefined ? ["row", table] : ["value", `${table}.${column}`];
  return `${rows} ${unit}${rows === 1 ? "" : "s"} of ${location}`;
}
