// Upkeep that the server runs by itself: it ends what has expired. The reaper never waits for a lock: it leaves rows that
// another transaction holds for its next pass.
import { z } from "zod";
import { after } from "../clock.ts";
import type { Context } from "../context.ts";
import type { CommandRow } from "../model/commands.ts";
import { Reaped } from "../model/reaped.ts";
import type { SessionRow } from "../model/sessions.ts";
import { operation } from "../operation.ts";
import { all, first, skipLocked, sql, step } from "../sql.ts";
import { expireArtifacts } from "./artifactState.ts";
import { expireCommandLeases } from "./commandExpiry.ts";
import { reapRequests } from "./debugRequestState.ts";
import { reapBridges } from "./debugState.ts";
import { expireEnvironmentLeases } from "./environmentState.ts";
import { endByForce, settleForcedSession } from "./forcedEnd.ts";
import { expireKeys } from "./idempotency.ts";
import { noteServed } from "./serving.ts";
import { endSession, promoteDue, tryLockSession } from "./sessionState.ts";
import { tryLockLeaseOf, tryLockRepositoryOfNewWorktree } from "./worktreeLease.ts";
import { expireWorktreeLeases } from "./worktreeState.ts";

/**
 * Ends what has expired: leases of worktrees, environments and commands, commands that their runners did not stop in time, idle
 * sessions and those past their deadline, runners without heartbeats, artifacts, debug sessions whose bridge is lost,
 * requests to debuggers, and idempotency keys. Lets commands be claimed whose time has come. The server runs it every second.
 *
 * Result   the ids of the ended rows by kind, and the number of keys. more: a kind has reached its bound, so another
 *          call will end more
 * Effect   a leased worktree becomes dirty, and one in creating or evicting quarantined, unless a command of its session
 *          is active; a command is queued again
 *          while attempts remain or when its claim never reached its runner, and is otherwise lost; one that its runner
 *          did not stop is timed_out or cancelled, and the worktree of its session quarantined; an environment that
 *          was being built has failed, and whoever waits for it builds it; a pending artifact fails, a ready one is deleted unless it is pinned
 * Cost     at most limits.reapRows rows of each kind, each found by an index, with at most 16 statements each; rows
 *          that another transaction holds are left for the next pass; lane background
 */
export const reap = operation({
  access: "write",
  lane: "background",
  input: z.strictObject({}),
  output: Reaped,
  errors: [],
  *run(_input, context) {
    const limit = context.limits.reapRows;
    const commands = yield* reapCommands(limit, context);
    const worktrees = yield* expireWorktreeLeases(context, { limit });
    const sessions = yield* reapSessions(limit, context);
    const ids = {
      commands,
      worktrees,
      sessions: sessions.ids,
      runners: yield* reapRunners(limit, context),
      artifacts: yield* expireArtifacts(limit, context),
      debugSessions: yield* reapBridges(limit, context),
      debugRequests: yield* reapRequests(limit, context),
      environments: yield* expireEnvironmentLeases(context, { limit }),
    };
    const due = yield* promoteDue(limit, context);
    const keys = yield* expireKeys(limit, context);
    yield* noteServed(context);
    const isFull = [...Object.values(ids).map(({ length }) => length), keys, due].some((count) => count >= limit);
    return { ...ids, keys, more: isFull || sessions.isCut ? 1 : 0 };
  },
});

const reapCommands = step(function* (limit: number, context: Context) {
  const expired = yield* expireCommandLeases(context, { limit });
  return [...expired, ...(yield* stopCommands(limit - expired.length, context))];
});

/** Ends the commands that their runners were asked to stop, and have not stopped in time (D-079). */
const stopCommands = step(function* (limit: number, context: Context) {
  const before = after(context.now, -context.limits.stopGraceMs);
  const overdue = yield* all<Pick<CommandRow, "id" | "session_id">>(sql`
    SELECT id, session_id FROM commands
    WHERE stop_at IS NOT NULL AND stop_at <= ${before}
    ORDER BY stop_at LIMIT ${limit}`);
  const ids: string[] = [];
  for (const { id, session_id } of overdue) {
    const session = yield* tryLockSession(session_id);
    if (session === undefined) continue;
    const row = yield* first<CommandRow>(
      sql`SELECT * FROM commands WHERE id = ${id} AND stop_at <= ${before} ${skipLocked}`,
    );
    if (row === undefined || !(yield* tryLockWorkOf(session))) continue;
    yield* settleForcedSession(yield* endByForce(session, [row], context), context);
    ids.push(id);
  }
  return ids;
});

/**
 * Ends sessions whose idle timeout has passed and that have neither an active nor a queued command, and sessions whose
 * deadline has passed, as long as few enough commands end with them.
 */
const reapSessions = step(function* (limit: number, context: Context) {
  const idle = yield* all<SessionRow>(sql`
    SELECT * FROM sessions
    WHERE expires_at IS NOT NULL AND ended_at IS NULL AND active_commands = 0 AND queued_commands = 0
      AND expires_at <= ${context.now}
    ORDER BY expires_at LIMIT ${limit} ${skipLocked}`);
  const { ids } = yield* expireSessions(idle, "idle", context);
  // A session that is cancelling ends with its commands, which have been asked to stop.
  const overdue = yield* all<SessionRow>(sql`
    SELECT * FROM sessions
    WHERE deadline_at IS NOT NULL AND ended_at IS NULL AND state <> 'cancelling'
      AND deadline_at <= ${context.now}
    ORDER BY deadline_at LIMIT ${limit - ids.length} ${skipLocked}`);
  const expired = yield* expireSessions(overdue, "deadline", context);
  return { ids: [...ids, ...expired.ids], isCut: expired.isCut };
});

const expireSessions = step(function* (sessions: readonly SessionRow[], reason: string, context: Context) {
  const ids: string[] = [];
  let commands = 0;
  for (const session of sessions) {
    const { worktree_id, worktree_fence, queued_commands } = session;
    // The commands that wait end with the session. Those of many sessions would hold up other calls.
    commands += queued_commands;
    if (ids.length > 0 && commands > context.limits.queuedCommands) return { ids, isCut: true };
    if (!(yield* tryLockRepositoryOfNewWorktree(worktree_id, worktree_fence))) continue;
    if (!(yield* tryLockWorkOf(session))) continue;
    yield* endSession(session, "expired", context, reason);
    ids.push(session.id);
  }
  return { ids, isCut: false };
});

/**
 * Locks what the end of a session changes: its active commands, and the worktree that it leases. Returns false when
 * another transaction has locked a part of it.
 */
const tryLockWorkOf = step(function* (session: SessionRow) {
  if (session.active_commands > 0) {
    const locked = yield* all(sql`
      SELECT id FROM commands
      WHERE session_id = ${session.id} AND lease_expires_at IS NOT NULL
      ORDER BY id ${skipLocked}`);
    if (locked.length < session.active_commands) return false;
  }
  return yield* tryLockLeaseOf(session);
});

/** Marks runners without heartbeats as stalled, and later as gone. */
const reapRunners = step(function* (limit: number, { now, limits, changed, counted }: Context) {
  const ids: string[] = [];
  for (const [from, to, before] of [
    ["stalled", "gone", after(now, -limits.runnerGoneMs)],
    // A draining runner never becomes stalled: the next heartbeat would set it online, and it would get new work.
    ["draining", "gone", after(now, -limits.runnerGoneMs)],
    ["online", "stalled", now],
  ] as const) {
    // `state <> 'gone'` is the condition of the partial index runners_expiry; a parameter alone does not imply it.
    const rows = yield* all<{ id: string; version: number }>(sql`
      UPDATE runners SET
        state = ${to},
        version = version + 1,
        updated_at = ${now}
      WHERE id IN (
        SELECT id FROM runners
        WHERE state = ${from} AND state <> 'gone' AND expires_at <= ${before}
        ORDER BY expires_at LIMIT ${limit} ${skipLocked})
      RETURNING id, version`);
    counted("runner", from, to, rows.length);
    for (const { id, version } of rows) changed({ entity: "runner", id, op: to, version });
    ids.push(...rows.map(({ id }) => id));
  }
  return ids;
});
