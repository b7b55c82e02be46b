// Reading the change feed as a named consumer, whose position the store keeps: one holder of its lease at a time reads on
// from there, and only that one moves it. On the wire this operation belongs to `changes`.
import { z } from "zod";
import { after } from "../clock.ts";
import type { Context } from "../context.ts";
import { bounds } from "../limits.ts";
import { ConsumedPage } from "../model/changes.ts";
import { Fence, filledText, LeaseTtl, Name, WaitMs } from "../model/fields.ts";
import { feedStarts } from "../model/vocabulary.ts";
import { NotYet, operation } from "../operation.ts";
import { change, sql, step } from "../sql.ts";
import { type ConsumerRow, consumerLost, findConsumer, isLeased, registerConsumer } from "./consumers.ts";
import { feedBytes, feedFilters, feedRange, feedTopics, readChanges } from "./feedRead.ts";
import { consumerTopic } from "./topics.ts";

/**
 * The rows that a waiting consumer leaves behind it, and the time for which it does, before it records that none of them
 * passes its filters. To record each of them would add a write to every change of others.
 */
const [passedRowsMax, passedMs] = [1_000, 60_000];

/**
 * Takes the next changes of a consumer, in order, with a lease on its position, and acknowledges those that were taken
 * before. A consumer is registered by its first call. What is not acknowledged when the lease is over is taken again, by
 * whoever asks first: every change at least once.
 *
 * Input    consumer: its name; all calls for it have the same filters. fence, handled: those of the page before; the changes
 *          up to handled count as done, and the lease goes on. Without a fence nothing is acknowledged. owner: who asks,
 *          for people. start: where a consumer begins that is new: at the newest change or at the oldest row. ttlMs: the
 *          length of the lease. waitMs: the time to wait for a change, and for another holder
 * Result   { changes, nextSeq, fence, expiresAt }: handle the changes before expiresAt, then pass fence, and nextSeq as
 *          handled. A page without changes has no lease, and the fence null; ask again
 * Fails    lease_lost { currentFence } when the lease is over before the changes up to handled were acknowledged: they
 *          are, or will be, taken again | feed_truncated { floor, newest } when changes that the consumer has not taken were
 *          pruned, or the store was restored: decide, and set its position with changes.checkpoint
 *          | conflict { reason: "consumers" } when there are 100 others
 * Effect   one row of feed_consumers; a row of changes only when the consumer is new
 * Cost     4 statements by key, and 1 when there are changes; with filters other than `sessionId`, at most 10 000 rows are
 *          read
 */
export const consume = operation({
  access: "write",
  input: z.strictObject({
    ...feedFilters,
    consumer: Name,
    owner: filledText(200).optional(),
    fence: Fence.nullable().optional(),
    handled: z.int().min(0).optional(),
    start: z.enum(feedStarts).default("newest"),
    limit: z.int().min(1).max(bounds.pageRowsMax).default(bounds.pageRows),
    ttlMs: LeaseTtl.default(60_000),
    waitMs: WaitMs.default(20_000),
  }),
  output: ConsumedPage,
  errors: ["lease_lost", "feed_truncated", "conflict"],
  readsChanges: true,
  resultBytes: feedBytes,
  waitMs: (input) => input.waitMs,
  *run({ consumer, owner, fence, handled, start, limit, ttlMs, waitMs: _, ...filters }, context) {
    const row = yield* findOrRegister(consumer, start, fence, handled, context);
    const isHolder = isLeased(row, context) && row.fence === fence;
    if (!isHolder && fence && handled !== undefined && handled > row.seq) consumerLost(consumer, fence, row);
    if (!isHolder && isLeased(row, context)) {
      const leftMs = (row.lease_expires_at as number) - context.now.getTime();
      return new NotYet([consumerTopic(consumer)], nothing(row.seq), { againMs: leftMs });
    }
    const seq = isHolder ? Math.max(row.seq, handled ?? 0) : row.seq;
    const { changes, nextSeq, end } = yield* readChanges({ ...filters, after: seq, limit });
    if (changes.length > 0) {
      const expiresAt = after(context.now, ttlMs);
      const lease = { owner: owner ?? null, fence: isHolder ? row.fence : row.fence + 1, expiresAt };
      yield* moveConsumer(row, seq, lease, context);
      return { changes, nextSeq, fence: lease.fence, expiresAt: expiresAt.getTime() };
    }
    // Nobody needs a lease on nothing. Without one, each process that waits is as near to the next change.
    const isDue = nextSeq - row.seq >= passedRowsMax || context.now.getTime() - row.updated_at >= passedMs;
    if (isHolder || (nextSeq > row.seq && isDue)) yield* moveConsumer(row, nextSeq, undefined, context);
    if (isHolder) context.wake(consumerTopic(consumer));
    return nextSeq < end ? nothing(nextSeq) : new NotYet(feedTopics(filters), nothing(nextSeq));
  },
});

const nothing = (nextSeq: number) => ({ changes: [], nextSeq, fence: null, expiresAt: null });

/** Finds a consumer and locks its row. One that is new is registered, unless the caller has held it. */
const findOrRegister = step(function* (
  name: string,
  start: "newest" | "oldest",
  fence: number | null | undefined,
  handled: number | undefined,
  context: Context,
) {
  for (;;) {
    const row = yield* findConsumer(name);
    if (row !== undefined) return row;
    if (fence && handled !== undefined) consumerLost(name, fence, row);
    const { floor, newest } = yield* feedRange();
    // When two transactions add the consumer, the one that comes second finds it.
    yield* registerConsumer(name, start === "newest" ? newest : floor, context);
  }
});

interface ConsumerLease {
  readonly owner: string | null;
  readonly fence: number;
  readonly expiresAt: Date;
}

/** Moves a consumer to a number of the feed, under a lease or without one. */
const moveConsumer = step(function* (
  { id, fence }: ConsumerRow,
  seq: number,
  lease: ConsumerLease | undefined,
  { now }: Context,
) {
  yield* change(sql`
    UPDATE feed_consumers SET
      seq = ${seq},
      owner = ${lease?.owner ?? null},
      fence = ${lease?.fence ?? fence},
      lease_expires_at = ${lease?.expiresAt ?? null},
      updated_at = ${now}
    WHERE id = ${id}`);
});
