// Retention of the change feed: its oldest rows go, and its floor rises in the same transaction. A consumer that has not
// read them yet holds them up, but not for ever.
import { after } from "../clock.ts";
import { bounds } from "../limits.ts";
import type { Retention } from "../model/retention.ts";
import { all, change, first, type Statement, skipLocked, sql, step } from "../sql.ts";
import { notePruned, nothing, refused, type Walk, type Walked } from "./pruneWalk.ts";

/** Removes the oldest rows of the feed. Rows go in their order, so one that stays keeps those after it. */
export const walkChanges = step(function* (walk: Walk) {
  const { position, limit, dryRun, settings, context } = walk;
  if (settings.changesMs === null) return nothing;
  const floor = yield* readFloor(dryRun ? sql`` : skipLocked);
  // Another transaction prunes the feed.
  if (floor === undefined) return nothing;
  const from = dryRun ? Math.max(position.part ?? 0, floor) : floor;
  const rows = yield* all<{ seq: number; at: number }>(sql`
    SELECT seq, at FROM changes WHERE seq > ${from} ORDER BY seq LIMIT ${limit}`);
  const due = prefix(rows, ({ at }) => at <= after(context.now, -(settings.changesMs as number)).getTime());
  if (due.length === 0) return nothing;
  const consumers = yield* readConsumers();
  const unheldUpTo = consumers[0]?.seq ?? Number.POSITIVE_INFINITY;
  const heldSince = heldUntil(settings, context.now);
  const gone = prefix(due, ({ seq, at }) => seq <= unheldUpTo || at <= heldSince);
  const firstHeld = due[gone.length];
  const heldBy =
    firstHeld === undefined ? [] : consumers.filter(({ seq }) => seq < firstHeld.seq).map(({ name }) => name);
  const last = gone.at(-1);
  if (last === undefined) return { ...nothing, heldBy };
  const walked: Walked = {
    used: gone.length,
    rows: gone.length,
    next: gone.length < limit ? undefined : { part: last.seq },
    heldBy,
  };
  if (dryRun) return walked;
  if (!(yield* walk.mayRemove())) return refused;
  yield* change(sql`DELETE FROM changes WHERE seq <= ${last.seq}`);
  yield* change(sql`UPDATE store_meta SET value = ${String(last.seq)} WHERE key = 'feed_floor'`);
  yield* notePruned("changes", gone.length, [], context);
  return walked;
});

const readFloor = step(function* (lock: Statement) {
  const meta = yield* first<{ value: string }>(sql`SELECT value FROM store_meta WHERE key = 'feed_floor' ${lock}`);
  return meta === undefined ? undefined : Number(meta.value);
});

/** Returns the consumers of the feed, the one that is furthest behind first. */
const readConsumers = step(function* () {
  return yield* all<{ name: string; seq: number }>(
    sql`SELECT name, seq FROM feed_consumers ORDER BY seq, name LIMIT ${bounds.feedConsumers}`,
  );
});

/** Returns the time up to which changes go although a consumer has not read them. */
function heldUntil({ changesMs, changesHeldMs }: Retention, now: Date): number {
  if (changesHeldMs === null) return Number.NEGATIVE_INFINITY;
  return after(now, -Math.max(changesMs ?? 0, changesHeldMs)).getTime();
}

/**
 * Returns the names of the consumers that keep rows of the feed beyond their time, the one that is furthest behind
 * first.
 */
export const consumersBehind = step(function* ({ changesMs }: Retention, now: Date) {
  if (changesMs === null) return [];
  const behind: string[] = [];
  for (const { name, seq } of yield* readConsumers()) {
    const next = yield* first<{ at: number }>(sql`SELECT at FROM changes WHERE seq > ${seq} ORDER BY seq LIMIT 1`);
    if (next === undefined || next.at > after(now, -changesMs).getTime()) break;
    behind.push(name);
  }
  return behind;
});

function prefix<Row>(rows: readonly Row[], belongs: (row: Row) => boolean): readonly Row[] {
  const end = rows.findIndex((row) => !belongs(row));
  return end === -1 ? rows : rows.slice(0, end);
}
