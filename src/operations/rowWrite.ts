// Writes new rows, and changed columns of locked rows. The row that is stored is known without reading it: a new one is
// written with all of its columns, and nobody else changes one that is locked.
import type { Context } from "../context.ts";
import { StoreError } from "../errors.ts";
import { change, insert, type SqlValue, Statement, step } from "../sql.ts";
import { type Entity, tables } from "./rows.ts";

/** A row that has a version, as a driver returns it. */
interface Versioned {
  readonly id: string;
  readonly version: number;
}

/** A row of an entity whose states are counted. */
interface Stated {
  readonly state?: string;
}

/** The columns that hold booleans. Those that hold times end with `_at`. */
const flags: ReadonlySet<string> = new Set(["pinned"]);

/**
 * Writes these columns of a row that the caller has locked, and the time of the change, and returns the new row. Names
 * no other column, because SQLite rewrites an index when one of its columns is named, whether the value changes or not.
 * With `raises` 0 the version stays. Counts a new state.
 */
export const writeRow = step(function* <Row extends Versioned>(
  entity: Entity,
  before: Row,
  changes: Partial<Row>,
  { now, counted }: Pick<Context, "now" | "counted">,
  raises: 0 | 1 = 1,
) {
  const written = { ...changes, ...(raises === 1 ? { version: before.version + 1 } : {}), updated_at: now.getTime() };
  const count = yield* change(update(entity, before, written));
  if (count !== 1)
    throw new StoreError(
      "internal",
      `${entity} ${before.id} has changed since it was read: is it locked, or saved twice?`,
    );
  const { state } = changes as Stated;
  if (state !== undefined) counted(entity, (before as Stated).state, state);
  return { ...before, ...written } as Row;
});

/** The texts of the updates so far, by table and columns. Their number is bounded, because the code names the columns. */
const updates = new Map<string, readonly string[]>();

function update(entity: Entity, { id, version }: Versioned, columns: Readonly<Record<string, unknown>>): Statement {
  const names = Object.keys(columns);
  const key = `${entity} ${names.join(" ")}`;
  let strings = updates.get(key);
  if (strings === undefined) {
    const [table] = tables[entity].strings;
    strings = [
      ...names.map((name, index) => `${index === 0 ? `UPDATE ${table} SET` : ","} ${name} = `),
      " WHERE id = ",
      " AND version = ",
      "",
    ];
    updates.set(key, strings);
  }
  const values: SqlValue[] = names.map((name) => parameterOf(name, columns[name] as SqlValue));
  return new Statement(strings, [...values, id, version]);
}

/** The numbers of rows that one INSERT may write: a few, so that the number of texts stays small. */
const insertSizes = [64, 16, 4, 1] as const;

/**
 * Writes and counts new rows of one shape, in as few statements as there are sizes for. Returns false when a row with the id of one
 * of them exists; the caller then fails, which undoes the others.
 */
export const insertRows = step(function* <Row extends { readonly id: string; readonly state: string }>(
  entity: Entity,
  rows: readonly Row[],
  { counted }: Pick<Context, "counted">,
) {
  for (let start = 0, size = 0; start < rows.length; start += size) {
    const left = rows.length - start;
    size = insertSizes.find((one) => one <= left) as number;
    // PostgreSQL could run nothing more in a transaction in which the constraint was broken.
    if ((yield* insert(insertion(entity, rows.slice(start, start + size)), size)) < size) return false;
  }
  for (const { state } of rows) counted(entity, undefined, state);
  return true;
});

/** The texts of the inserts so far, by table, number of rows and columns. */
const inserts = new Map<string, readonly string[]>();

function insertion(entity: Entity, rows: readonly object[]): Statement {
  const names = Object.keys(rows[0] as object);
  const key = `${entity} ${rows.length} ${names.join(" ")}`;
  let strings = inserts.get(key);
  if (strings === undefined) {
    const [table] = tables[entity].strings;
    const separators = rows.flatMap((_, row) => names.map((_, column) => (column > 0 ? ", " : row > 0 ? "), (" : "")));
    strings = [
      `INSERT INTO ${table} (${names.join(", ")}) VALUES (`,
      ...separators.slice(1),
      ") ON CONFLICT (id) DO NOTHING",
    ];
    inserts.set(key, strings);
  }
  const values = rows.flatMap((row) =>
    names.map((name) => parameterOf(name, (row as Record<string, SqlValue>)[name] as SqlValue)),
  );
  return new Statement(strings, values);
}

/** Converts a value of a row to a parameter of a statement. */
function parameterOf(column: string, value: SqlValue): SqlValue {
  if (typeof value !== "number") return value;
  if (column.endsWith("_at")) return new Date(value);
  if (column === "not_before") return new Date(value);
  return flags.has(column) ? value === 1 : value;
}
