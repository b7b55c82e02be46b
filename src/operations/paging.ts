// Pages of the list operations, in the order of (created_at, id) or its reverse. A row that is created meanwhile is at
// the newest end, so it moves no other row.
import { bounds } from "../limits.ts";
import { formatCursor, type Position, parseCursor, valuesOf } from "../model/cursors.ts";
import type { Order } from "../model/vocabulary.ts";
import { all, and, first, merge, type SqlValue, type Statement, sql, step, when } from "../sql.ts";
import { countWithin, type Entity, largeBytesOf, type RowOf, tables } from "./rows.ts";

export interface PageInput {
  readonly order: Order;
  readonly since?: Date | undefined;
  readonly until?: Date | undefined;
  readonly limit: number;
  readonly cursor?: string | undefined;
}

/** Conditions of which a row must meet one; undefined when the caller does not use the filter. */
type Filter = readonly Statement[] | undefined;

interface Lookup<Name extends string> {
  readonly filters: Readonly<Record<Name, Filter>>;
  /** The indexes in the order of the list, by the filters whose columns come before that order: the best one first. */
  readonly indexes: readonly (readonly NoInfer<Name>[])[];
  /** The order of the list, by default that of its own columns `created_at` and `id`. */
  readonly key?: Key;
}

/**
 * The number of rows that one page may read past. An index finds the rows of one or two filters; those that another
 * filter leaves out are read in vain, and the search for a rare row must not hold up other calls (D-096).
 */
const scanRowsMax = 5_000;

/** Returns the filter of a column by one value, or by several. */
export function filter<Value extends SqlValue>(column: Statement, value: Value | readonly Value[] | undefined): Filter {
  return value === undefined ? undefined : valuesOf<Value>(value).map((one) => sql`${column} = ${one}`);
}

/**
 * Returns a page of the rows that pass all filters, and the cursor of the next page if there is one. The rows are read
 * along the first index whose filters are present; for several values, along it several times, merged. With a filter
 * that this index does not know, a page ends after `scanRowsMax` rows, and may then be short or empty. Every page ends
 * before the JSON and the texts of its rows exceed `bounds.pageBytes`, but has a row if there is one.
 */
export const listPage = step(function* <Name extends Entity, Filters extends string>(
  entity: Name,
  input: PageInput,
  { filters, indexes, key = timeKey }: Lookup<Filters>,
) {
  const limit = Math.min(input.limit, bounds.pageRowsMax);
  const { from = tables[entity], row = sql`*` } = key;
  const names = (Object.keys(filters) as Filters[]).filter((name) => filters[name] !== undefined);
  const index = indexes.find((columns) => columns.every((name) => names.includes(name))) ?? [];
  const indexed = combinationsOf(index.map((name) => filters[name] as readonly Statement[]));
  const position = input.cursor === undefined ? undefined : parseCursor(entity, input, input.cursor);
  const { start, end, others } = key.rangeOf(input, position);
  const conditions = names.filter((name) => !index.includes(name)).map((name) => anyOf(filters[name] as Filter));
  for (const condition of others) if (condition !== undefined) conditions.push(anyOf([condition]));

  const select = (columns: Statement, ...where: readonly (Statement | undefined)[]): Statement => {
    const parts = indexed.map((found) => sql`SELECT ${columns} FROM ${from} WHERE ${and(found, start, ...where)}`);
    return merge(parts, input.order === "asc" ? key.ascending : key.descending);
  };
  const lastRead =
    conditions.length === 0
      ? undefined
      : yield* first<Keyed>(sql`${select(key.columns, end)} LIMIT 1 OFFSET ${scanRowsMax - 1}`);
  const upTo = lastRead === undefined ? end : key.upTo(lastRead, input.order);
  const bytes = (largeBytesOf as Partial<Record<Entity, Statement>>)[entity];
  // The sizes come first: rows that a page has no room for are not read.
  const sizes =
    bytes === undefined || limit === 1
      ? []
      : yield* all<{ bytes: number }>(
          sql`${select(sql`${key.columns}, ${bytes} AS bytes`, upTo, ...conditions)} LIMIT ${limit}`,
        );
  const count = sizes.length === 0 ? limit : countWithin(sizes, bounds.pageBytes);
  const isCut = count < sizes.length;
  const rows = yield* all<RowOf[Name]>(sql`${select(row, upTo, ...conditions)} LIMIT ${isCut ? count : limit + 1}`);
  const items = rows.slice(0, count);
  const last = isCut || rows.length > count ? (items.at(-1) as Keyed | undefined) : lastRead;
  const nextCursor = last === undefined ? undefined : formatCursor(entity, input, key.positionOf(last));
  return { items, nextCursor };
});

/** The columns of a row that give its position in a list. */
export interface Keyed {
  readonly id: string;
  readonly created_at: number;
  readonly sequence: number;
}

/** The order of a list. A range has one bound on each side, so that an index leads to its first row. */
export interface Key {
  /** The tables to read, where they are not that of the rows alone, and the columns of the rows among all. */
  readonly from?: Statement;
  readonly row?: Statement;
  readonly columns: Statement;
  readonly ascending: Statement;
  readonly descending: Statement;
  positionOf(row: Keyed): Position;
  /** Returns the bounds of the rows after a position, and the conditions that are no bounds of this key. */
  rangeOf(input: PageInput, position: Position | undefined): Range;
  /** Returns the bound after which no row is read: this row is the last one. */
  upTo(row: Keyed, order: Order): Statement;
}

export interface Range {
  readonly start: Statement | undefined;
  readonly end: Statement | undefined;
  readonly others: readonly (Statement | undefined)[];
}

/** The names of the columns that hold the time of creation and the id. */
interface TimeColumns {
  readonly at: Statement;
  readonly id: Statement;
}

/** Returns the order of the time of creation, where these columns hold it. */
export function timeKeyOf({ at, id }: TimeColumns): Key {
  const isSince = (time: Date) => sql`${at} >= ${time}`;
  const isBefore = (time: Date) => sql`${at} < ${time}`;
  return {
    columns: sql`${at} AS created_at, ${id} AS id`,
    ascending: sql`${at}, ${id}`,
    descending: sql`${at} DESC, ${id} DESC`,
    positionOf: ({ created_at, id }) => ({ at: created_at, id }),
    rangeOf({ order, since, until }, position) {
      // A cursor lies in the range, so it replaces the bound at which the list starts, unless that bound has moved since.
      if (order === "asc") {
        const isInRange = position !== undefined && (since === undefined || position.at >= since.getTime());
        const start = isInRange
          ? sql`(${at}, ${id}) > (${new Date(position.at)}, ${position.id})`
          : when(since, isSince);
        return { start, end: when(until, isBefore), others: [] };
      }
      const isInRange = position !== undefined && (until === undefined || position.at < until.getTime());
      const start = isInRange
        ? sql`(${at}, ${id}) < (${new Date(position.at)}, ${position.id})`
        : when(until, isBefore);
      return { start, end: when(since, isSince), others: [] };
    },
    upTo: (row, order) =>
      order === "asc"
        ? sql`(${at}, ${id}) <= (${new Date(row.created_at)}, ${row.id})`
        : sql`(${at}, ${id}) >= (${new Date(row.created_at)}, ${row.id})`,
  };
}

const timeKey = timeKeyOf({ at: sql`created_at`, id: sql`id` });

/** The order of `sequence`, which is also that of the time of creation. */
export const sequenceKey: Key = {
  columns: sql`sequence, id`,
  ascending: sql`sequence`,
  descending: sql`sequence DESC`,
  positionOf: ({ sequence, id }) => ({ at: sequence, id }),
  rangeOf: ({ order, since, until }, position) => ({
    start: when(position, ({ at }) => (order === "asc" ? sql`sequence > ${at}` : sql`sequence < ${at}`)),
    end: undefined,
    others: [when(since, (time) => sql`created_at >= ${time}`), when(until, (time) => sql`created_at < ${time}`)],
  }),
  upTo: ({ sequence }, order) => (order === "asc" ? sql`sequence <= ${sequence}` : sql`sequence >= ${sequence}`),
};

/** Returns each combination of one condition of every filter. */
function combinationsOf(filters: readonly (readonly Statement[])[]): readonly (Statement | undefined)[] {
  return filters.reduce<readonly (Statement | undefined)[]>(
    (found, conditions) => found.flatMap((one) => conditions.map((condition) => and(one, condition))),
    [undefined],
  );
}

/** Joins conditions with OR, in a form that makes no planner choose the index of one of them. */
function anyOf(conditions: Filter): Statement {
  const joined = (conditions ?? []).reduce((either, condition) => sql`${either} OR ${condition}`);
  return sql`(${joined}) IS TRUE`;
}
