// The change feed, which is also the audit log: one row for each row that an operation changed, numbered in the order
// of the commits. Operations only announce changes (`context.changed`); the dispatcher writes them at the end of the
// transaction (recordChanges).
import { z } from "zod";
import type { Caller } from "../caller.ts";
import type { Change, CountOf, Use } from "../context.ts";
import { bounds } from "../limits.ts";
import { ChangePage, type ChangeRow, ExportPage } from "../model/changes.ts";
import { WaitMs } from "../model/fields.ts";
import { NotYet, operation } from "../operation.ts";
import { changeEach, type SqlValue, Statement, step } from "../sql.ts";
import { additionOf } from "./counters.ts";
import { feedBytes, feedFilters, feedTopics, readChanges } from "./feedRead.ts";
import { changesTopic, entityChangesTopic, sessionChangesTopic } from "./topics.ts";
import { additionsOfUses } from "./usage.ts";

const cursor = {
  ...feedFilters,
  /** The last sequence number that the caller has seen; 0 starts at the oldest row. */
  after: z.int().min(0).default(0),
  limit: z.int().min(1).max(bounds.pageRowsMax).default(bounds.pageRowsMax),
};

const extent = ({ limit }: { readonly limit: number }) => (limit > bounds.pageRows ? "page" : "rows");

/**
 * Lists the changes after a cursor, in the order of their commits.
 *
 * Input    limit: 0 .. 500; with 0 the page is empty, and nextSeq is the current end of the feed, whatever the cursor
 * Result   { changes, nextSeq }: pass nextSeq as `after` to continue. With filters other than `sessionId`, an empty page
 *          is the last one only if nextSeq has not grown. Within `atomically`, nextSeq is the cursor of the
 *          snapshot that the other reads see; changes made by the same transaction come after it. A page ends after
 *          1 MiB of details
 * Fails    feed_truncated { floor, newest } when rows after the cursor were pruned, or when the cursor is after the
 *          newest row, as it may be after a restore; never with limit 0
 * Cost     3 statements by key; with filters other than `sessionId`, at most 10 000 rows are read
 */
export const since = operation({
  access: "read",
  input: z.strictObject({ ...cursor, limit: z.int().min(0).max(bounds.pageRowsMax).default(bounds.pageRowsMax) }),
  output: ChangePage,
  errors: ["feed_truncated"],
  readsChanges: true,
  resultBytes: feedBytes,
  extent,
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
  input: z.strictObject({ ...cursor, waitMs: WaitMs.default(20_000) }),
  output: ChangePage,
  errors: ["feed_truncated"],
  readsChanges: true,
  resultBytes: feedBytes,
  waitMs: (input) => input.waitMs,
  stream: {
    items: (page): ChangeRow[] => page.changes,
    next: (input, page) => ({ ...input, after: page.nextSeq }),
  },
  *run({ waitMs: _, ...input }) {
    const page = yield* readChanges(input);
    const isAtEnd = page.nextSeq === page.end;
    return page.changes.length === 0 && isAtEnd ? new NotYet(feedTopics(input), page) : page;
  },
});

export { exportChanges as export };

/**
 * Iterates over the changes that the feed has, from the oldest on, and ends with the newest: for an audit.
 *
 * Input    after: the last sequence number that the caller has; without it, the iteration starts at the oldest row. end:
 *          the last sequence number to read; without it, that of the newest row when the iteration begins
 * Fails    feed_truncated { floor, newest } as changes.since, also when rows are pruned before the iteration reaches them
 * Cost     for each page as changes.since
 */
const exportChanges = operation({
  access: "read",
  input: z.strictObject({
    ...cursor,
    after: z.int().min(0).optional(),
    end: z.int().min(0).optional(),
  }),
  output: ExportPage,
  errors: ["feed_truncated"],
  readsChanges: true,
  resultBytes: feedBytes,
  extent,
  stream: {
    items: (page): ChangeRow[] => page.changes,
    next: (input, { nextSeq, end }) => (nextSeq < end ? { ...input, after: nextSeq, end } : undefined),
  },
  *run(input) {
    return yield* readChanges(input);
  },
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
 * Writes the changes of all calls of a transaction, in their order, and what they have counted and used. Runs last in the
 * transaction, so that on PostgreSQL too the sequence numbers follow the order of the commits (D-044), and nobody waits
 * longer for the row of a counter than for the lock of the feed (D-114).
 */
export const recordChanges = step(function* (
  made: readonly MadeChange[],
  counts: readonly CountOf[],
  uses: readonly Use[],
) {
  const statements: Statement[] = [];
  for (let start = 0; start < made.length; ) {
    const left = made.length - start;
    const { rows, strings } = inserts.find((insert) => insert.rows <= left) as (typeof inserts)[number];
    statements.push(new Statement(strings, made.slice(start, start + rows).flatMap(valuesOf)));
    start += rows;
  }
  const addition = additionOf(counts);
  if (addition !== undefined) statements.push(addition);
  statements.push(...additionsOfUses(uses));
  yield* changeEach(statements);
});

/** Returns the values of a row, in the order of the columns. */
function valuesOf({ change, caller, at }: MadeChange): SqlValue[] {
  const { entity, id, op, version, fence, sessionId, detail, storedDetail } = change;
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
    storedDetail ?? (detail === undefined ? null : JSON.stringify({ json: detail })),
  ];
}
