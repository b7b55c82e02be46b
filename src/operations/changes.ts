// The change feed, which is also the audit log: one row for each row that an operation changed, numbered in the order
// of the commits. Operations only announce changes (`context.changed`); the dispatcher writes them at the end of the
// transaction (recordChanges).
import { z } from "zod";
import type { Caller } from "../caller.ts";
import type { Change, CountOf } from "../context.ts";
import { bounds } from "../limits.ts";
import { ChangePage, type ChangeRow } from "../model/changes.ts";
import type { RawOf } from "../model/codec.ts";
import { Id, WaitMs } from "../model/fields.ts";
import { fail, NotYet, operation } from "../operation.ts";
import { all, and, changeEach, first, type SqlValue, Statement, sql, step, when } from "../sql.ts";
import { additionOf } from "./counters.ts";
import { countWithin, textBytes } from "./rows.ts";
import { changesTopic, entityChangesTopic, sessionChangesTopic } from "./topics.ts";

const filters = {
  /** The last sequence number that the caller has seen; 0 starts at the oldest row. */
  after: z.int().min(0).default(0),
  entity: z.string().max(50).optional(),
  sessionId: Id.optional(),
  limit: z.int().min(1).max(bounds.pageRowsMax).default(bounds.pageRowsMax),
};

/**
 * The number of rows that one call may read to find those of one entity. No index exists for entities, and the search
 * for a rare one must not hold up other calls. An index exists for sessions (D-035).
 */
const scanRowsMax = 10_000;

/** The size of the largest rows of changes: most of it is a URI or a path in the detail. */
const rowBytesMax = 32 * 1024;
const resultBytes = ({ limit }: { readonly limit: number }): number => Math.min(limit * rowBytesMax, bounds.pageBytes);

/**
 * Lists the changes after a cursor, in the order of their commits.
 *
 * Input    limit: 0 .. 500; with 0 the page is empty, and nextSeq is the current end of the feed, whatever the cursor
 * Result   { changes, nextSeq }: pass nextSeq as `after` to continue. With `entity` but no `sessionId`, an empty page
 *          is the last one only if nextSeq has not grown. Within `atomically`, nextSeq is the cursor of the
 *          snapshot that the other reads see; changes made by the same transaction come after it. A page ends after
 *          1 MiB of details
 * Fails    feed_truncated { floor, newest } when rows after the cursor were pruned, or when the cursor is after the
 *          newest row, as it may be after a restore; never with limit 0
 * Cost     3 statements by key; with `entity` alone, at most 10 000 rows are read
 */
export const since = operation({
  access: "read",
  input: z.strictObject({ ...filters, limit: z.int().min(0).max(bounds.pageRowsMax).default(bounds.pageRowsMax) }),
  output: ChangePage,
  errors: ["feed_truncated"],
  readsChanges: true,
  resultBytes,
  extent: ({ limit }) => (limit > bounds.pageRows ? "page" : "rows"),
  *run(input) {
    return yield* readChanges(input);
  },
});

/**
 * Follows the changes after a cursor as they happen, without gaps or duplicates.
 *
 * Fails    feed_truncated { floor, newest } as changes.since
 */
export const watch = operation({
  access: "read",
  input: z.strictObject({ ...filters, waitMs: WaitMs.default(20_000) }),
  output: ChangePage,
  errors: ["feed_truncated"],
  readsChanges: true,
  resultBytes,
  waitMs: (input) => input.waitMs,
  stream: {
    items: (page): ChangeRow[] => page.changes,
    next: (input, page) => ({ ...input, after: page.nextSeq }),
  },
  *run(input) {
    const page = yield* readChanges(input);
    const isAtEnd = input.sessionId !== undefined || page.nextSeq - input.after < scanRowsMax;
    return page.changes.length === 0 && isAtEnd ? new NotYet([topicOf(input)], page) : page;
  },
});

/** Returns the topic of the changes that pass the filters, and perhaps of others. */
function topicOf({ entity, sessionId }: Pick<Filters, "entity" | "sessionId">): string {
  if (sessionId !== undefined) return sessionChangesTopic(sessionId);
  return entity === undefined ? changesTopic : entityChangesTopic(entity);
}

type Filters = { after: number; entity?: string | undefined; sessionId?: string | undefined; limit: number };

const readChanges = step(function* ({ after, entity, sessionId, limit }: Filters) {
  const meta = yield* first<{ value: string }>(sql`SELECT value FROM store_meta WHERE key = 'feed_floor'`);
  const floor = Number(meta?.value ?? 0);
  const newest = (yield* first<{ seq: number }>(sql`SELECT seq FROM changes ORDER BY seq DESC LIMIT 1`))?.seq ?? floor;
  if (limit === 0) return { changes: [], nextSeq: newest };
  if (after < floor)
    fail("feed_truncated", { floor, newest }, `changes up to ${floor} were pruned, and ${after} is before that`);
  // Numbers only grow and every cursor is that of a committed row, so this cursor is from before a restore, or from
  // another store. To wait here would skip the changes that get the numbers up to it.
  if (after > newest)
    fail(
      "feed_truncated",
      { floor, newest },
      `the newest change is ${newest}, and ${after} is after that: the store was restored, or it is another store`,
    );
  const until = sessionId === undefined && entity !== undefined ? Math.min(newest, after + scanRowsMax) : newest;
  const conditions = and(
    sql`seq > ${after} AND seq <= ${until}`,
    when(entity, (value) => sql`entity = ${value}`),
    when(sessionId, (value) => sql`session_id = ${value}`),
  );
  // Followers near the end of the feed ask for few rows, whose sizes do not matter.
  const sizes =
    Math.min(limit, until - after) * rowBytesMax <= bounds.pageBytes
      ? []
      : yield* all<{ bytes: number }>(sql`
          SELECT ${textBytes(sql`detail`)} AS bytes FROM changes WHERE ${conditions} ORDER BY seq LIMIT ${limit}`);
  const count = sizes.length === 0 ? limit : countWithin(sizes, bounds.pageBytes);
  const changes = yield* all<RawOf<typeof ChangeRow>>(sql`
    SELECT * FROM changes WHERE ${conditions} ORDER BY seq LIMIT ${count}`);
  // A full page ends at its last row. A page that is not full has read everything up to `until`.
  const isFull = changes.length === limit || count < sizes.length;
  const nextSeq = isFull ? (changes.at(-1)?.seq ?? after) : Math.max(after, until);
  return { changes, nextSeq };
});

/** A change with the call that has made it. */
export interface MadeChange {
  readonly change: Change;
  readonly caller: Caller;
  readonly at: Date;
}

/** Returns the topics that a change touches. */
export function topicsOfChange({ entity, sessionId }: Change): readonly string[] {
  const topics = [changesTopic, entityChangesTopic(entity)];
  return sessionId ? [...topics, sessionChangesTopic(sessionId)] : topics;
}

const columns = [
  "at",
  "entity",
  "entity_id",
  "op",
  "entity_version",
  "fence",
  "actor",
  "request_id",
  "session_id",
  "detail",
] as const;

/** The texts of the statements that insert a number of rows: a few, so that each is prepared once. */
const inserts = [64, 16, 4, 1].map((rows) => {
  const row = `(${columns.map(() => "\u0000").join(", ")})`;
  const text = `INSERT INTO changes (${columns.join(", ")}) VALUES ${Array(rows).fill(row).join(", ")}`;
  return { rows, strings: text.split("\u0000") };
});

/**
 * Writes the changes of all calls of a transaction, in their order, and what they have counted. Runs last in the
 * transaction, so that on PostgreSQL too the sequence numbers follow the order of the commits (D-044), and nobody waits
 * longer for the row of a counter than for the lock of the feed (D-114).
 */
export const recordChanges = step(function* (made: readonly MadeChange[], counts: readonly CountOf[]) {
  const statements: Statement[] = [];
  for (let start = 0; start < made.length; ) {
    const left = made.length - start;
    const { rows, strings } = inserts.find((insert) => insert.rows <= left) as (typeof inserts)[number];
    statements.push(new Statement(strings, made.slice(start, start + rows).flatMap(valuesOf)));
    start += rows;
  }
  const addition = additionOf(counts);
  if (addition !== undefined) statements.push(addition);
  yield* changeEach(statements);
});

/** Returns the values of a row, in the order of the columns. */
function valuesOf({ change, caller, at }: MadeChange): SqlValue[] {
  const { entity, id, op, version, fence, sessionId, detail } = change;
  return [
    at,
    entity,
    id,
    op,
    version,
    fence ?? null,
    caller.actor ?? null,
    caller.requestId ?? null,
    sessionId ?? null,
    detail === undefined ? null : JSON.stringify({ json: detail }),
  ];
}
