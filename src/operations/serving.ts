// The time at which a server last served the store. A lease measures the silence of its holder, and silence counts only
// while somebody listened: what follows when nobody served for a while, or when the clock was set (D-082).
import { z } from "zod";
import { after } from "../clock.ts";
import type { Context } from "../context.ts";
import { integer, record } from "../model/codec.ts";
import { Moment } from "../model/fields.ts";
import { operation } from "../operation.ts";
import {
  all,
  change,
  changeEach,
  first,
  forUpdate,
  milliseconds,
  type Statement,
  skipLocked,
  sql,
  step,
  timestamp,
  valueList,
} from "../sql.ts";
import { priorityStepMs } from "./sessionState.ts";

/**
 * The expiries that earlier grace periods have given, oldest first. What expires at exactly one of them has had its
 * grace and was not renewed since. It gets no other one, or a server that fails again and again would keep the leases of
 * dead holders for ever.
 */
type Graces = readonly Date[];

/** The number of expiries to remember. Pauses that count are seconds apart, so these reach back beyond any grace. */
const gracesMax = 64;

/**
 * Follows the clock when it may have moved while nobody served: moves times with a clock that was set, and gives what
 * was alive a grace period. The server calls it before its first write, and when its clocks show a pause or a jump; no
 * port reaches it.
 *
 * Input    gapMs: the time without service that counts as a pause. aliveAt: the time at which the caller certainly
 *          served. jumpMs: the time by which the caller saw the clock go ahead or, if negative, back
 * Result   pausedMs: the time since the store was last served; 0 when there was no pause and no jump, or when another
 *          process has followed it. setBackMs: the time by which the clock was set back
 */
export const followClock = operation({
  access: "write",
  lane: "background",
  input: z.strictObject({ gapMs: z.number().min(0), aliveAt: Moment.optional(), jumpMs: z.number() }),
  output: record({ pausedMs: integer, setBackMs: integer }),
  errors: [],
  *run({ gapMs, aliveAt, jumpMs: seenJumpMs }, context) {
    const { now, limits } = context;
    // The row exists from now on. Under its lock, one of several processes that see the same pause acts, and the others
    // find that the store was served just now.
    const inserted = yield* change(sql`
      INSERT INTO store_meta (
        key,
        value
      ) VALUES (
        'served_at',
        ${String(now.getTime())}
      )
      ON CONFLICT (key) DO NOTHING`);
    if (inserted > 0) yield* change(setMeta("served_uptime", formatUptime(context)));
    const rows = yield* all<{ key: string; value: string }>(sql`
      SELECT key, value FROM store_meta WHERE key IN ('served_at', 'served_uptime', 'graces')
      ORDER BY key DESC ${forUpdate}`);
    const value = (name: string) => rows.find(({ key }) => key === name)?.value;
    const servedAtMs = Number(value("served_at"));
    const graces = readGraces(value("graces"));
    const aheadMs = servedAtMs - now.getTime();
    const jumpMs = Math.round(jumpSince(servedAtMs, value("served_uptime"), context) ?? seenJumpMs);
    const moved = (byMs: number) => graces.map((grace) => after(grace, byMs));
    if (aheadMs > limits.clockJumpMs) {
      const backMs = Math.max(aheadMs, -jumpMs);
      yield* moveBack(backMs, graces, context);
      yield* saveServedAt(moved(-backMs), context);
      return { pausedMs: 0, setBackMs: backMs };
    }
    if (-aheadMs <= gapMs) return { pausedMs: 0, setBackMs: 0 };
    const lastMs = Math.max(servedAtMs, Math.min(aliveAt?.getTime() ?? 0, now.getTime()));
    const pausedMs = now.getTime() - lastMs;
    const aheadByMs = jumpMs > limits.clockJumpMs ? Math.min(jumpMs, pausedMs) : 0;
    if (aheadByMs > 0) yield* moveAhead(aheadByMs, new Date(lastMs), context);
    const until = after(now, limits.clockGraceMs);
    yield* grantGrace(new Date(lastMs + aheadByMs), until, moved(aheadByMs), context);
    yield* saveServedAt([...moved(aheadByMs), until].slice(-gracesMax), context);
    return { pausedMs, setBackMs: 0 };
  },
});

/**
 * Returns the time by which the clock was set since the store was last served: wall time has passed, and elapsed time
 * has not. Undefined when that was on another machine, or before this one started.
 */
function jumpSince(servedAtMs: number, servedUptime: string | undefined, context: Context): number | undefined {
  const { uptime } = context.serverState;
  const [start, ms] = servedUptime?.split(" ") ?? [];
  if (uptime === undefined || start !== uptime.start) return undefined;
  return context.now.getTime() - servedAtMs - (uptime.ms - Number(ms));
}

function readGraces(value: string | undefined): Graces {
  return value === undefined || value === "" ? [] : value.split(" ").map((ms) => new Date(Number(ms)));
}

/** Returns the condition that a time passes exactly `offsetMs` before one of the graces. */
function isGrace(column: Statement, graces: Graces, offsetMs = 0): Statement {
  if (graces.length === 0) return sql`FALSE`;
  return sql`${column} IN (${valueList(graces.map((grace) => after(grace, -offsetMs)))})`;
}

const saveServedAt = step(function* (graces: Graces, context: Context) {
  yield* changeEach([
    sql`UPDATE store_meta SET value = ${String(context.now.getTime())} WHERE key = 'served_at'`,
    setMeta("served_uptime", formatUptime(context)),
    setMeta("graces", graces.map((grace) => grace.getTime()).join(" ")),
  ]);
});

const setMeta = (key: string, value: string): Statement => sql`
  INSERT INTO store_meta (
    key,
    value
  ) VALUES (
    ${key},
    ${value}
  )
  ON CONFLICT (key) DO UPDATE SET value = excluded.value`;

function formatUptime({ serverState: { uptime } }: Context): string {
  return uptime === undefined ? "" : `${uptime.start} ${uptime.ms}`;
}

/**
 * Records that the store is served now. Each pass of the reaper calls it. It writes only when the last record is
 * `limits.servedEveryMs` old and something could expire, so an idle store stays as it is.
 */
export const noteServed = step(function* (context: Context) {
  const { now, limits } = context;
  const beginning = new Date(0);
  const noted = yield* change(sql`
    UPDATE store_meta SET value = ${String(now.getTime())}
    WHERE key IN (
      SELECT key FROM store_meta
      WHERE key = 'served_at'
        AND CASE key WHEN 'served_at' THEN CAST(value AS bigint) END <= ${now.getTime() - limits.servedEveryMs}
        AND (
          EXISTS (SELECT 1 FROM worktrees WHERE lease_expires_at > ${beginning})
          OR EXISTS (SELECT 1 FROM commands WHERE lease_expires_at > ${beginning})
          OR EXISTS (SELECT 1 FROM feed_consumers WHERE lease_expires_at > ${beginning})
          OR EXISTS (SELECT 1 FROM environments WHERE lease_expires_at > ${beginning})
          OR EXISTS (SELECT 1 FROM debug_sessions WHERE bridge_expires_at > ${beginning})
          OR EXISTS (
            SELECT 1 FROM runners
            WHERE state IN ('online', 'draining', 'stalled') AND state <> 'gone' AND expires_at > ${beginning}
          )
          OR EXISTS (
            SELECT 1 FROM sessions
            WHERE expires_at > ${beginning} AND ended_at IS NULL AND active_commands = 0 AND queued_commands = 0
          )
          OR EXISTS (SELECT 1 FROM sessions WHERE deadline_at > ${beginning} AND ended_at IS NULL)
        )
      ${skipLocked})`);
  if (noted > 0) yield* change(setMeta("served_uptime", formatUptime(context)));
});

/** Returns the time after which at most `count` keys expire, which all expire after `moment`. */
const newestKeysAfter = step(function* (moment: Date, count: number) {
  const next = yield* first<{ expires_at: number }>(sql`
    SELECT expires_at FROM idempotency_keys WHERE expires_at > ${moment}
    ORDER BY expires_at DESC LIMIT 1 OFFSET ${count}`);
  return next === undefined ? moment : new Date(next.expires_at);
});

/**
 * Moves times on by as much as the clock was set ahead, so that what remains is what remained before. What had expired
 * at `aliveAt` stays as it is.
 */
const moveAhead = step(function* (aheadMs: number, aliveAt: Date, { limits }: Context) {
  const ahead = sql`${aheadMs}${milliseconds}`;
  const keysAfter = yield* newestKeysAfter(aliveAt, limits.clockKeys);
  const lived = (column: Statement, offsetMs = 0): Statement => sql`${column} > ${after(aliveAt, -offsetMs)}`;
  const [expiresAt, leaseExpiresAt, bridgeExpiresAt] = [sql`expires_at`, sql`lease_expires_at`, sql`bridge_expires_at`];
  // The statements follow the order of locks: runners, sessions, commands, worktrees, environments.
  yield* changeEach([
    sql`
      UPDATE runners SET expires_at = expires_at + ${ahead}
      WHERE state IN ('online', 'draining', 'stalled') AND state <> 'gone' AND ${lived(expiresAt, limits.runnerGoneMs)}`,
    sql`
      UPDATE sessions SET expires_at = expires_at + ${ahead}
      WHERE expires_at IS NOT NULL AND ended_at IS NULL AND active_commands = 0 AND queued_commands = 0
        AND ${lived(expiresAt)}`,
    sql`
      UPDATE sessions SET deadline_at = deadline_at + ${ahead}
      WHERE deadline_at IS NOT NULL AND ended_at IS NULL AND ${lived(sql`deadline_at`)}`,
    sql`
      UPDATE commands SET lease_expires_at = lease_expires_at + ${ahead}
      WHERE ${leaseExpiresAt} IS NOT NULL AND ${lived(leaseExpiresAt)}`,
    // Also those whose runners were asked to stop them, and had time for it.
    sql`
      UPDATE commands SET stop_at = stop_at + ${ahead}
      WHERE stop_at IS NOT NULL AND ${lived(sql`stop_at`, limits.stopGraceMs)}`,
    sql`
      UPDATE worktrees SET lease_expires_at = lease_expires_at + ${ahead}
      WHERE ${leaseExpiresAt} IS NOT NULL AND ${lived(leaseExpiresAt)}`,
    sql`
      UPDATE feed_consumers SET lease_expires_at = lease_expires_at + ${ahead}
      WHERE ${leaseExpiresAt} IS NOT NULL AND ${lived(leaseExpiresAt)}`,
    sql`
      UPDATE environments SET lease_expires_at = lease_expires_at + ${ahead}
      WHERE ${leaseExpiresAt} IS NOT NULL AND ${lived(leaseExpiresAt)}`,
    sql`
      UPDATE debug_sessions SET bridge_expires_at = bridge_expires_at + ${ahead}
      WHERE ${bridgeExpiresAt} IS NOT NULL AND ${lived(bridgeExpiresAt)}`,
    sql`
      UPDATE artifacts SET expires_at = expires_at + ${ahead}
      WHERE expires_at IS NOT NULL AND NOT pinned AND state <> 'failed' AND state <> 'deleted'
        AND ${lived(expiresAt)}`,
    sql`UPDATE idempotency_keys SET expires_at = expires_at + ${ahead} WHERE expires_at > ${keysAfter}`,
  ]);
});

/**
 * Extends what had not expired at `aliveAt`, so that it lasts at least until `until`. Tokens and the retention of
 * artifacts end at a date, whoever serves, and stay as they are.
 */
const grantGrace = step(function* (aliveAt: Date, until: Date, graces: Graces, { now, limits }: Context) {
  const { runnerGoneMs, stopGraceMs, clockGraceMs } = limits;
  const keysAfter = yield* newestKeysAfter(aliveAt, limits.clockKeys);
  /** The condition for a time that passes `offsetMs` after the value of the column. */
  const passes = (column: Statement, offsetMs = 0): Statement => sql`
    ${column} > ${after(aliveAt, -offsetMs)} AND ${column} < ${after(until, -offsetMs)}
    AND NOT ${isGrace(column, graces, offsetMs)}`;
  const [expiresAt, leaseExpiresAt, bridgeExpiresAt] = [sql`expires_at`, sql`lease_expires_at`, sql`bridge_expires_at`];
  // The statements follow the order of locks: runners, sessions, commands, worktrees, environments.
  yield* changeEach([
    sql`
      UPDATE runners SET expires_at = ${until}
      WHERE state IN ('online', 'draining') AND state <> 'gone' AND ${passes(expiresAt)}`,
    // Silent runners, which are gone some time after their expiry.
    sql`
      UPDATE runners SET expires_at = ${after(until, -runnerGoneMs)}
      WHERE state IN ('stalled', 'draining') AND state <> 'gone' AND ${passes(expiresAt, runnerGoneMs)}`,
    sql`
      UPDATE sessions SET expires_at = ${until}
      WHERE expires_at IS NOT NULL AND ended_at IS NULL AND active_commands = 0 AND queued_commands = 0
        AND ${passes(expiresAt)}`,
    sql`
      UPDATE sessions SET deadline_at = ${until}
      WHERE deadline_at IS NOT NULL AND ended_at IS NULL AND ${passes(sql`deadline_at`)}`,
    sql`UPDATE commands SET lease_expires_at = ${until} WHERE ${leaseExpiresAt} IS NOT NULL AND ${passes(leaseExpiresAt)}`,
    sql`UPDATE commands SET stop_at = ${until} WHERE stop_at IS NOT NULL AND ${passes(sql`stop_at`)}`,
    // A runner that had been asked to stop its command gets the whole time for it, once.
    sql`
      UPDATE commands SET stop_at = ${now}
      WHERE stop_at IS NOT NULL AND stop_at > ${after(aliveAt, -stopGraceMs)} AND stop_at <= ${aliveAt}
        AND NOT ${isGrace(sql`stop_at`, graces, clockGraceMs)}`,
    sql`UPDATE worktrees SET lease_expires_at = ${until} WHERE ${leaseExpiresAt} IS NOT NULL AND ${passes(leaseExpiresAt)}`,
    sql`
      UPDATE feed_consumers SET lease_expires_at = ${until}
      WHERE ${leaseExpiresAt} IS NOT NULL AND ${passes(leaseExpiresAt)}`,
    sql`
      UPDATE environments SET lease_expires_at = ${until}
      WHERE ${leaseExpiresAt} IS NOT NULL AND ${passes(leaseExpiresAt)}`,
    sql`
      UPDATE debug_sessions SET bridge_expires_at = ${until}
      WHERE ${bridgeExpiresAt} IS NOT NULL AND ${passes(bridgeExpiresAt)}`,
    sql`
      UPDATE artifacts SET expires_at = ${until}
      WHERE expires_at IS NOT NULL AND NOT pinned AND state <> 'failed' AND state <> 'deleted' AND state = 'pending'
        AND ${passes(expiresAt)}`,
    sql`UPDATE idempotency_keys SET expires_at = ${until} WHERE ${passes(expiresAt)} AND expires_at > ${keysAfter}`,
  ]);
});

/**
 * Moves times back by as much as the clock was set back, so that what remains of a lease is what remained before.
 * Where the length of a time is known, it is the bound of what remains.
 */
const moveBack = step(function* (backMs: number, graces: Graces, { now, limits }: Context) {
  const back = sql`${backMs}${milliseconds}`;
  const from = sql`${now}${timestamp}`;
  const formerNow = after(now, backMs);
  const keysAfter = yield* newestKeysAfter(after(now, limits.idempotencyMs), limits.clockKeys);
  yield* changeEach([
    sql`
      UPDATE runners SET expires_at = expires_at - ${back}
      WHERE state IN ('online', 'draining', 'stalled') AND state <> 'gone'
        AND expires_at > ${after(now, -limits.runnerGoneMs)}`,
    sql`
      UPDATE sessions SET expires_at = ${from} + idle_ttl_ms${milliseconds}
      WHERE expires_at IS NOT NULL AND ended_at IS NULL AND active_commands = 0 AND queued_commands = 0
        AND expires_at > ${now} AND expires_at > ${from} + idle_ttl_ms${milliseconds}`,
    // Sessions that wait for a runner: one that was queued after the new time would come after all later ones.
    sql`
      UPDATE sessions SET ready_at = ready_at - ${back}
      WHERE ready_at IS NOT NULL AND state IN ('pending', 'running')
        AND ready_at + ready_priority * ${priorityStepMs}${milliseconds} > ${now}`,
    // Those whose next command pauses before another attempt, and these commands. A time that a client has named stays.
    sql`
      UPDATE sessions SET due_at = due_at - ${back}
      WHERE due_at IS NOT NULL AND due_at > ${now} AND EXISTS (
        SELECT 1 FROM commands
        WHERE session_id = sessions.id AND state = 'queued' AND failed_attempts > 0 AND not_before = sessions.due_at
      )`,
    sql`
      UPDATE sessions SET
        deadline_at = CASE WHEN created_at > ${now} THEN ${from} + (deadline_at - created_at) ELSE deadline_at - ${back} END
      WHERE deadline_at IS NOT NULL AND ended_at IS NULL AND deadline_at > ${now}
        AND (created_at > ${now} OR ${isGrace(sql`deadline_at`, graces)})`,
    sql`
      UPDATE commands SET not_before = not_before - ${back}
      WHERE id IN (
        SELECT commands.id FROM sessions CROSS JOIN commands
        WHERE sessions.due_at IS NOT NULL AND commands.session_id = sessions.id AND commands.state = 'queued'
          AND commands.failed_attempts > 0 AND commands.not_before = sessions.due_at + ${back}
      )`,
    sql`UPDATE commands SET lease_expires_at = lease_expires_at - ${back} WHERE lease_expires_at > ${now}`,
    // A runner that was asked to stop its command stays asked.
    sql`UPDATE commands SET stop_at = stop_at - ${back} WHERE stop_at > ${now} AND stop_at <= ${formerNow}`,
    sql`
      UPDATE commands SET stop_at = ${from} + timeout_ms${milliseconds}
      WHERE stop_at > ${now} AND timeout_ms IS NOT NULL AND stop_at > ${from} + timeout_ms${milliseconds}`,
    sql`UPDATE worktrees SET lease_expires_at = lease_expires_at - ${back} WHERE lease_expires_at > ${now}`,
    sql`UPDATE feed_consumers SET lease_expires_at = lease_expires_at - ${back} WHERE lease_expires_at > ${now}`,
    sql`UPDATE environments SET lease_expires_at = lease_expires_at - ${back} WHERE lease_expires_at > ${now}`,
    sql`UPDATE debug_sessions SET bridge_expires_at = bridge_expires_at - ${back} WHERE bridge_expires_at > ${now}`,
    sql`
      UPDATE artifacts SET expires_at = expires_at - ${back}
      WHERE expires_at IS NOT NULL AND NOT pinned AND state <> 'failed' AND state <> 'deleted'
        AND expires_at > ${now}`,
    sql`
      UPDATE idempotency_keys SET expires_at = ${after(now, limits.idempotencyMs)}
      WHERE expires_at > ${keysAfter}`,
  ]);
});
