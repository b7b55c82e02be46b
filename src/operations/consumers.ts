// Consumers of the change feed that say how far they have read, so that retention does not remove what they still need.
// On the wire these operations belong to `changes`.
import { z } from "zod";
import { after } from "../clock.ts";
import type { Context } from "../context.ts";
import { bounds } from "../limits.ts";
import { list, type RawOf, record } from "../model/codec.ts";
import { Fence, LeaseTtl, Name } from "../model/fields.ts";
import { newId } from "../model/ids.ts";
import { FeedConsumer } from "../model/retention.ts";
import { fail, operation } from "../operation.ts";
import { all, change, first, forUpdate, sql, step } from "../sql.ts";
import { feedRange } from "./feedRead.ts";
import { consumerTopic } from "./topics.ts";

/** The row of a consumer. While `lease_expires_at` is in the future, somebody holds its position. */
export interface ConsumerRow {
  readonly id: string;
  readonly name: string;
  readonly seq: number;
  readonly owner: string | null;
  readonly fence: number;
  readonly lease_expires_at: number | null;
  readonly version: number;
  readonly created_at: number;
  readonly updated_at: number;
}

/**
 * Records how far a consumer of the change feed has read, and registers it with its first call. Until it has read a
 * change, retention keeps that change, at most for `changesHeldMs` (maintenance.setRetention).
 *
 * Input    consumer: its name. seq: that of the last change that it has handled, or a nextSeq; it may be lower than
 *          before, after a restore, but under a lease a lower one changes nothing. fence: that of changes.consume, whose
 *          lease is renewed by ttlMs, or ended with `release`, so that another holder need not wait for its end
 * Fails    lease_lost { currentFence } when the lease of the fence is over | conflict { reason: "leased" } without a
 *          fence while somebody has a lease | conflict { reason: "consumers" } when there are 100 others
 * Effect   one row of feed_consumers; a row of changes only when the consumer is new
 * Cost     1 statement by unique index
 */
export const checkpoint = operation({
  access: "write",
  input: z.strictObject({
    consumer: Name,
    seq: z.int().min(0),
    fence: Fence.optional(),
    ttlMs: LeaseTtl.default(60_000),
    release: z.boolean().default(false),
  }),
  output: record({}),
  errors: ["conflict", "lease_lost"],
  *run({ consumer, seq, fence, ttlMs, release }, context) {
    if (release || fence === undefined) context.wake(consumerTopic(consumer));
    if (fence !== undefined) {
      const lease = release ? undefined : after(context.now, ttlMs);
      if (yield* acknowledge(consumer, seq, fence, lease, context)) return {};
      const row = yield* findConsumer(consumer);
      // Repeating a release changes nothing.
      if (release && row?.fence === fence && row.seq >= seq) return {};
      return consumerLost(consumer, fence, row);
    }
    while (!(yield* move(consumer, seq, context))) {
      const row = yield* findConsumer(consumer);
      if (row === undefined) {
        // When two transactions add the consumer, the one that comes second finds it.
        if (yield* registerConsumer(consumer, seq, context)) break;
      } else if (isLeased(row, context)) {
        const message = `somebody reads as consumer ${consumer} now: pass the fence of its lease, or wait for its end`;
        fail("conflict", { reason: "leased", expiresAt: new Date(row.lease_expires_at as number) }, message);
      }
    }
    return {};
  },
});

/** Moves a consumer on, and renews or ends its lease. Returns 0 when the lease is over. */
const acknowledge = step(function* (
  name: string,
  seq: number,
  fence: number,
  expiresAt: Date | undefined,
  { now }: Context,
) {
  const owner = expiresAt === undefined ? sql`${null}` : sql`owner`;
  return yield* change(sql`
    UPDATE feed_consumers SET
      seq = CASE WHEN seq < ${seq} THEN ${seq} ELSE seq END,
      owner = ${owner},
      lease_expires_at = ${expiresAt ?? null},
      updated_at = ${now}
    WHERE name = ${name} AND fence = ${fence} AND lease_expires_at > ${now}`);
});

/** Moves a consumer that nobody holds. A lease that has run out is ended, so that its former holder cannot move it back. */
const move = step(function* (name: string, seq: number, { now }: Context) {
  return yield* change(sql`
    UPDATE feed_consumers SET
      seq = ${seq},
      owner = ${null},
      lease_expires_at = ${null},
      updated_at = ${now}
    WHERE name = ${name} AND (lease_expires_at IS NULL OR lease_expires_at <= ${now})`);
});

/** Finds a consumer by its name and locks its row. */
export const findConsumer = step(function* (name: string) {
  return yield* first<ConsumerRow>(sql`SELECT * FROM feed_consumers WHERE name = ${name} ${forUpdate}`);
});

export function isLeased({ lease_expires_at }: ConsumerRow, { now }: Context): boolean {
  return lease_expires_at !== null && lease_expires_at > now.getTime();
}

/** Fails with `lease_lost`: the fencing token is not, or no longer, that of a lease on the consumer. */
export function consumerLost(name: string, fence: number, row: ConsumerRow | undefined): never {
  const reason =
    row === undefined
      ? "it was forgotten"
      : row.fence === fence
        ? "the lease ran out or was released"
        : `the current fence is ${row.fence}`;
  const message = `fence ${fence} holds no lease on consumer ${name}: ${reason}`;
  fail("lease_lost", { currentFence: row?.fence ?? null }, message);
}

/** Registers a consumer. Returns 0 when another transaction has just done so. */
export const registerConsumer = step(function* (name: string, seq: number, { now, changed }: Context) {
  const others = yield* all<{ id: string }>(
    sql`SELECT id FROM feed_consumers ORDER BY seq, name LIMIT ${bounds.feedConsumers}`,
  );
  if (others.length === bounds.feedConsumers) {
    const message = `${others.length} consumers are registered: forget those that do not read any more`;
    fail("conflict", { reason: "consumers" }, message);
  }
  const id = newId();
  const added = yield* change(sql`
    INSERT INTO feed_consumers (
      id,
      name,
      seq,
      created_at,
      updated_at
    ) VALUES (
      ${id},
      ${name},
      ${seq},
      ${now},
      ${now}
    )
    ON CONFLICT (name) DO NOTHING`);
  if (added > 0) changed({ entity: "consumer", id, op: "create", version: 1, detail: { name } });
  return added;
});

/**
 * Lists the registered consumers of the change feed, the one that is furthest behind first.
 *
 * Result   lag: the number of changes after its seq, also of those that were pruned. lagMs: the age of the first one that
 *          is left; null when there is none. owner, leaseExpiresAt: of the lease, while there is one
 * Cost     3 statements along an index, with a search by primary key for each consumer, at most 100
 */
export const consumers = operation({
  access: "read",
  input: z.strictObject({}),
  output: record({ consumers: list(FeedConsumer) }),
  errors: [],
  readsChanges: true,
  *run(_input, context) {
    const { newest } = yield* feedRange();
    const rows = yield* all<ConsumerRow & { readonly next_at: number | null }>(sql`
      SELECT feed_consumers.*,
        (SELECT at FROM changes WHERE changes.seq > feed_consumers.seq ORDER BY changes.seq LIMIT 1) AS next_at
      FROM feed_consumers
      ORDER BY seq, name LIMIT ${bounds.feedConsumers}`);
    return {
      consumers: rows.map(
        ({ next_at, ...row }): RawOf<typeof FeedConsumer> => ({
          id: row.id,
          name: row.name,
          seq: row.seq,
          lag: Math.max(0, newest - row.seq),
          lagMs: next_at === null ? null : context.now.getTime() - next_at,
          owner: isLeased(row, context) ? row.owner : null,
          fence: row.fence,
          leaseExpiresAt: isLeased(row, context) ? row.lease_expires_at : null,
          version: row.version,
          createdAt: row.created_at,
          updatedAt: row.updated_at,
        }),
      ),
    };
  },
});

/**
 * Forgets a consumer of the change feed. Forgetting one that is not registered succeeds.
 *
 * Effect   the row of feed_consumers is deleted; one row of changes
 */
export const forget = operation({
  access: "write",
  input: z.strictObject({ consumer: Name }),
  output: record({}),
  errors: [],
  *run({ consumer }, context) {
    const row = yield* findConsumer(consumer);
    if (row === undefined) return {};
    yield* change(sql`DELETE FROM feed_consumers WHERE id = ${row.id}`);
    context.wake(consumerTopic(consumer));
    const { id, name, version } = row;
    context.changed({ entity: "consumer", id, op: "delete", version: version + 1, detail: { name } });
    return {};
  },
});
