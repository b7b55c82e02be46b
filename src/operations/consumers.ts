// Consumers of the change feed that say how far they have read, so that retention does not remove what they still need.
// On the wire these operations belong to `changes`.
import { z } from "zod";
import type { Context } from "../context.ts";
import { bounds } from "../limits.ts";
import { list, type RawOf, record } from "../model/codec.ts";
import { Name } from "../model/fields.ts";
import { newId } from "../model/ids.ts";
import { FeedConsumer } from "../model/retention.ts";
import { fail, operation } from "../operation.ts";
import { all, change, first, forUpdate, sql, step } from "../sql.ts";

interface Row {
  readonly id: string;
  readonly name: string;
  readonly seq: number;
  readonly version: number;
  readonly created_at: number;
  readonly updated_at: number;
}

/**
 * Records how far a consumer of the change feed has read, and registers it with its first call. Until it has read a
 * change, retention keeps that change, at most for `changesHeldMs` (maintenance.setRetention).
 *
 * Input    consumer: its name. seq: that of the last change that it has handled, or a nextSeq; it may be lower than
 *          before, after a restore
 * Fails    conflict { reason: "consumers" } when there are 100 others
 * Effect   one row of feed_consumers; a row of changes only when the consumer is new
 * Cost     1 statement by unique index
 */
export const checkpoint = operation({
  access: "write",
  input: z.strictObject({ consumer: Name, seq: z.int().min(0) }),
  output: record({}),
  errors: ["conflict"],
  *run({ consumer, seq }, context) {
    // When two transactions add the consumer, the one that comes second finds it.
    while (!(yield* move(consumer, seq, context)) && !(yield* register(consumer, seq, context)));
    return {};
  },
});

const move = step(function* (name: string, seq: number, { now }: Context) {
  return yield* change(sql`
    UPDATE feed_consumers SET
      seq = ${seq},
      updated_at = ${now}
    WHERE name = ${name}`);
});

const register = step(function* (name: string, seq: number, { now, changed }: Context) {
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
 *          is left; null when there is none
 * Cost     2 statements along an index, with a search by primary key for each consumer, at most 100
 */
export const consumers = operation({
  access: "read",
  input: z.strictObject({}),
  output: record({ consumers: list(FeedConsumer) }),
  errors: [],
  readsChanges: true,
  *run(_input, { now }) {
    const newest = yield* newestChange();
    const rows = yield* all<Row & { readonly next_at: number | null }>(sql`
      SELECT feed_consumers.*,
        (SELECT at FROM changes WHERE changes.seq > feed_consumers.seq ORDER BY changes.seq LIMIT 1) AS next_at
      FROM feed_consumers
      ORDER BY seq, name LIMIT ${bounds.feedConsumers}`);
    return {
      consumers: rows.map(
        ({ id, name, seq, version, created_at, updated_at, next_at }): RawOf<typeof FeedConsumer> => ({
          id,
          name,
          seq,
          lag: Math.max(0, newest - seq),
          lagMs: next_at === null ? null : now.getTime() - next_at,
          version,
          createdAt: created_at,
          updatedAt: updated_at,
        }),
      ),
    };
  },
});

/** Returns the number of the newest change, also when retention has removed it. */
const newestChange = step(function* () {
  const newest = yield* first<{ seq: number }>(sql`SELECT seq FROM changes ORDER BY seq DESC LIMIT 1`);
  if (newest !== undefined) return newest.seq;
  const floor = yield* first<{ value: string }>(sql`SELECT value FROM store_meta WHERE key = 'feed_floor'`);
  return Number(floor?.value ?? 0);
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
  *run({ consumer }, { changed }) {
    const row = yield* first<Row>(sql`SELECT * FROM feed_consumers WHERE name = ${consumer} ${forUpdate}`);
    if (row === undefined) return {};
    yield* change(sql`DELETE FROM feed_consumers WHERE id = ${row.id}`);
    changed({ entity: "consumer", id: row.id, op: "delete", version: row.version + 1, detail: { name: row.name } });
    return {};
  },
});
