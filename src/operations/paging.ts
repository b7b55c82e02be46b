// How list operations page: by (created_at, id), newest last, so that rows made meanwhile come on a later page.
import { bounds } from "../limits.ts";
import { all, and, type Statement, sql, step } from "../sql.ts";
import { type Entity, type RowOf, tables } from "./rows.ts";

interface PageInput {
  readonly limit: number;
  readonly cursor?: string | undefined;
}

/** The condition that starts after the cursor. Cursors were checked by the input schema. */
export function afterCursor(cursor: string | undefined): Statement | undefined {
  if (cursor === undefined) return undefined;
  const [ms, id] = cursor.split("_") as [string, string];
  return sql`(created_at, id) > (${new Date(Number(ms))}, ${id})`;
}

/** One row more than asked for tells whether there is a next page. */
export const listPage = step(function* <Name extends Entity>(
  entity: Name,
  input: PageInput,
  ...conditions: readonly (Statement | undefined)[]
) {
  const limit = Math.min(input.limit, bounds.pageRowsMax);
  const rows = yield* all<RowOf[Name]>(
    sql`SELECT * FROM ${tables[entity]} WHERE ${and(...conditions, afterCursor(input.cursor))} ORDER BY created_at, id LIMIT ${limit + 1}`,
  );
  const items = rows.slice(0, limit);
  const last = items.at(-1);
  return { items, nextCursor: rows.length > limit && last !== undefined ? `${last.created_at}_${last.id}` : undefined };
});
