import { z } from "zod";
import type { Caller } from "../caller.ts";
import type { Change, Context } from "../context.ts";
import { bounds } from "../limits.ts";
import { ChangePage, type ChangeRow } from "../model/changes.ts";
import type { RawOf } from "../model/codec.ts";
import { Id, WaitMs } from "../model/fields.ts";
import { fail, NotYet, operation } from "../operation.ts";
import { all, and, changeEach, first, sql, step, when } from "../sql.ts";
import { changesTopic } from "./topics.ts";

const filters = {
  /** The last sequence number that was seen; 0 for everything there is. */
  after: z.int().min(0).default(0),
  entity: z.string().max(50).optional(),
  sessionId: Id.optional(),
  limit: z.int().min(1).max(bounds.pageRowsMax).default(bounds.pageRowsMax),
};

/** How far one call looks for rows of an entity, so that a rare one does not hold up everybody. Those of a session have an index (D-035). */
const scanRowsMax = 10_000;

/**
 * Changes after a cursor, in the order of their commits.
 *
 * Input    limit: 0 .. 500; 0 asks for the cursor alone, nextSeq is then where the feed ends now
 * Result   { changes, nextSeq }: ask on from nextSeq; with an entity alone a page may be empty and not the last while nextSeq grows. Read in one `atomically` with other reads, nextSeq is the cursor of that snapshot;
 *          changes of the same `atomically` come after it
 * Fails    feed_truncated { floor } when rows after the cursor were pruned
 * Cost     3 statements by key; with an entity alone at most 10 000 rows looked at
 */
export const since = operation({
  access: "read",
  input: z.strictObject({ ...filters, limit: z.int().min(0).max(bounds.pageRowsMax).default(bounds.pageRowsMax) }),
  output: ChangePage,
  errors: ["feed_truncated"],
  readsChanges: true,
  *run(input) {
    return yield* readChanges(input);
  },
});

/**
 * Changes as they happen: from the cursor on, without gap or repetition.
 *
 * Fails    feed_truncated { floor }
 */
export const watch = operation({
  access: "read",
  input: z.strictObject({ ...filters, waitMs: WaitMs.default(20_000) }),
  output: ChangePage,
  errors: ["feed_truncated"],
  readsChanges: true,
  waitMs: (input) => input.waitMs,
  stream: {
    items: (page): ChangeRow[] => page.changes,
    next: (input, page) => ({ ...input, after: page.nextSeq }),
  },
  *run(input) {
    const page = yield* readChanges(input);
    const lookedAtAll = input.sessionId !== undefined || page.nextSeq - input.after < scanRowsMax;
    return page.changes.length === 0 && lookedAtAll ? new NotYet([changesTopic], page) : page;
  },
});

type Filters = { after: number; entity?: string | undefined; sessionId?: string | undefined; limit: number };

const readChanges = step(function* ({ after, entity, sessionId, limit }: Filters) {
  const meta = yield* first<{ value: string }>(sql`SELECT value FROM store_meta WHERE key = 'feed_floor'`);
  const floor = Number(meta?.value ?? 0);
  if (after < floor) fail("feed_truncated", { floor }, `changes up to ${floor} were pruned`);
  const newest = (yield* first<{ seq: number }>(sql`SELECT seq FROM changes ORDER BY seq DESC LIMIT 1`))?.seq ?? after;
  if (limit === 0) return { changes: [], nextSeq: newest };
  const until = sessionId === undefined && entity !== undefined ? Math.min(newest, after + scanRowsMax) : newest;
  const changes = yield* all<RawOf<typeof ChangeRow>>(sql`
    SELECT * FROM changes WHERE ${and(
      sql`seq > ${after} AND seq <= ${until}`,
      when(entity, (value) => sql`entity = ${value}`),
      when(sessionId, (value) => sql`session_id = ${value}`),
    )} ORDER BY seq LIMIT ${limit}`);
  // A full page ends at its last row; otherwise everything up to there was looked at.
  const nextSeq = changes.length === limit ? (changes.at(-1)?.seq ?? after) : Math.max(after, until);
  return { changes, nextSeq };
});

/**
 * Run last in a transaction, so that on PostgreSQL too the order of sequence numbers is the order of commits (D-044).
 */
export const recordChanges = step(function* (
  changes: readonly Change[],
  { actor, requestId }: Caller,
  { now, wake }: Context,
) {
  yield* changeEach(
    changes.map(
      ({ entity, id, op, version, fence, sessionId, detail }) => sql`
        INSERT INTO changes (at, entity, entity_id, op, entity_version, fence, actor, request_id, session_id, detail)
        VALUES (${now}, ${entity}, ${id}, ${op}, ${version}, ${fence ?? null}, ${actor ?? null}, ${requestId ?? null}, ${sessionId ?? null},
          ${detail === undefined ? null : JSON.stringify({ json: detail })})`,
    ),
  );
  wake(changesTopic);
});
