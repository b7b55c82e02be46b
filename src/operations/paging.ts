// Pages of the list operations, in the order of (created_at, id): rows that are created meanwhile come on a later page.
import { bounds } from "../limits.ts";
import { all, and, type Statement, sql, step } from "../sql.ts";
import { type Entity, type RowOf, tables } from "./rows.ts";

interface PageInput {
  readonly limit: number;
  readonly cursor?: string | undefined;
}

/** Returns a page of the rows that meet all conditions, and the cursor of the next page if there is one. */
export const listPage = step(function* <Name extends Entity>(
  entity: Name,
  input: PageInput,
  ...conditions: readonly (Statement | undefined)[]
) {
  const limit = Math.min(input.limit, bounds.pageRowsMax);
  const rows = yield* all<RowOf[Name]>(sql`
    SELECT * FROM ${tables[entity]}
    WHERE ${and(...conditions, afterCursor(input.cursor))}
    ORDER BY created_at, id LIMIT ${limit + 1}`);
  return pageOf(rows, limit, (last) => `${last.created_at}_${last.id}`);
});

/** Returns the condition for the rows after a cursor. The input schema has checked the cursor's form. */
function afterCursor(cursor: string | undefined): Statement | undefined {
  if (cursor === undefined) return undefined;
  const [ms, id] = cursor.split("_") as [string, string];
  return sql`(created_at, id) > (${new Date(Number(ms))}, ${id})`;
}

/** Returns a page of at most `limit` rows. One row more than the limit shows that there is a next page. */
export function pageOf<Row>(rows: readonly Row[], limit: number, cursorOf: (last: Row) => string) {
  const items = rows.slice(0, limit);
  const last = items.at(-1);
  return { items, nextCursor: rows.length > limit && last !== undefined ? cursorOf(last) : undefined };
}
