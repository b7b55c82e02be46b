// How a session's row moves: every operation that touches a session goes through here, so that counters, readiness and
// state agree (D-031).
import type { Context } from "../context.ts";
import { isOpen, type SessionRow } from "../model/sessions.ts";
import { type Release, type SessionState, sessionStates } from "../model/vocabulary.ts";
import { releases } from "../model/worktrees.ts";
import { after } from "../operation.ts";
import { first, forUpdate, one, type Statement, skipLocked, sql, step, words } from "../sql.ts";
import { cancelCommandsOf } from "./commandState.ts";
import { closeDebugSessions } from "./debugState.ts";
import { requireState } from "./failures.ts";
import { dateOrNull, lockRow } from "./rows.ts";
import { claimableTopic, freeWorktreeTopic, sessionTopic } from "./topics.ts";

/** The states of an open session, for `state IN (...)`. */
export const openSessionStates: Statement = words(sessionStates.filter(isOpen));

/** Undefined while another transaction holds it: the reaper waits for nobody, and takes it another time (D-030). */
export const tryLockSession = step(function* (sessionId: string) {
  return yield* first<SessionRow>(sql`SELECT * FROM sessions WHERE id = ${sessionId} ${skipLocked}`);
});

/** One that takes new work. */
export const lockOpenSession = step(function* (sessionId: string) {
  const row = yield* lockRow("session", sessionId);
  requireState(row, "session", ["pending", "running"]);
  return row;
});

/**
 * Writes a session's row, and works out what follows from it: when it expires, and whether a runner may claim from it
 * (D-025). With an `op` the change is recorded and the version grows; counters and activity alone are no change of
 * their own.
 */
export const saveSession = step(function* (
  before: SessionRow,
  changes: Partial<SessionRow>,
  context: Context,
  op?: string,
  reason?: string,
) {
  const { now, changed, wake } = context;
  const row = { ...before, ...changes };
  const claimable =
    (row.state === "pending" || row.state === "running") &&
    row.queued_commands > 0 &&
    row.active_commands < row.max_parallel;
  const head = claimable
    ? yield* first<{ priority: number; queued_at: number }>(sql`
    SELECT priority, queued_at FROM commands WHERE session_id = ${row.id} AND state = 'queued' ORDER BY sequence LIMIT 1`)
    : undefined;
  const stored = yield* one<SessionRow>(sql`
    UPDATE sessions SET state = ${row.state}, end_reason = ${row.end_reason}, worktree_id = ${row.worktree_id}, worktree_fence = ${row.worktree_fence},
      next_sequence = ${row.next_sequence}, queued_commands = ${row.queued_commands}, active_commands = ${row.active_commands},
      failed_commands = ${row.failed_commands}, ready_priority = ${head?.priority ?? null}, ready_at = ${head === undefined ? null : new Date(head.queued_at)},
      last_activity_at = ${now}, expires_at = ${row.idle_ttl_ms === null ? null : after(now, row.idle_ttl_ms)},
      started_at = ${dateOrNull(row.started_at)}, ended_at = ${dateOrNull(row.ended_at)},
      version = version + ${op === undefined ? 0 : 1}, updated_at = ${now}
    WHERE id = ${row.id} RETURNING *`);
  if (op !== undefined) {
    const detail = { state: stored.state, reason };
    changed({
      entity: "session",
      id: row.id,
      op,
      version: stored.version,
      fence: stored.worktree_fence ?? undefined,
      sessionId: row.id,
      detail,
    });
    wake(sessionTopic(row.id));
  }
  if (head !== undefined) wake(claimableTopic);
  return stored;
});

export const bindWorktree = step(function* (
  session: SessionRow,
  worktree: { readonly id: string; readonly fence: number },
  context: Context,
) {
  yield* saveSession(session, { worktree_id: worktree.id, worktree_fence: worktree.fence }, context, "bind");
});

/**
 * The open session that holds the tree under this fence, if any; asked for before the tree is locked. A grant binds its
 * session in its own transaction, so one that is not there now will never be.
 */
export const lockBoundSession = step(function* (worktreeId: string, fence: number) {
  return yield* first<SessionRow>(sql`
    SELECT * FROM sessions WHERE worktree_id = ${worktreeId} AND worktree_fence = ${fence} AND state IN (${openSessionStates}) ${forUpdate}`);
});

/** It holds its tree no longer; its commands may be claimed by any runner (D-028). */
export const unbindWorktree = step(function* (session: SessionRow, context: Context) {
  yield* saveSession(session, { worktree_id: null, worktree_fence: null }, context, "unbind");
});

/**
 * Ends a session: queued commands are cancelled, active ones asked to stop, its debug sessions closed, the worktree
 * given back once none is active. The ended row keeps worktree and fence, to tell later where it ran (D-027).
 */
export const endSession = step(function* (
  session: SessionRow,
  asked: SessionState,
  context: Context,
  reason: string | undefined,
  to: Release = "dirty",
) {
  const cancelledCommands = yield* cancelCommandsOf(session.id, context);
  const state = asked === "cancelled" && session.active_commands > 0 ? "cancelling" : asked;
  const ended = yield* saveSession(
    session,
    {
      state,
      end_reason: reason ?? session.end_reason,
      ended_at: isOpen(state) ? null : context.now.getTime(),
      queued_commands: 0,
      failed_commands: session.failed_commands + cancelledCommands,
    },
    context,
    state === "cancelling" ? "cancelling" : "end",
    reason,
  );
  if (ended.active_commands === 0) yield* releaseWorktreeOf(ended, to, context);
  // Last, because locks are taken in one order.
  yield* closeDebugSessions(session.id, context);
  return ended;
});

/**
 * Called when a command is no longer active: an ending session may have ended with it, and an autoComplete one may be
 * done.
 */
export const settleSession = step(function* (session: SessionRow, to: Release | undefined, context: Context) {
  if (session.active_commands > 0) return session;
  if (session.state === "cancelling") return yield* endSession(session, "cancelled", context, undefined, to);
  if (!isOpen(session.state)) {
    yield* releaseWorktreeOf(session, to ?? "dirty", context);
    return session;
  }
  if (session.auto_complete === 0 || session.queued_commands > 0) return session;
  return yield* endSession(session, session.failed_commands > 0 ? "failed" : "completed", context, undefined, to);
});

/** Releases the tree that an ended session held, unless it was released, reaped or granted anew before. */
const releaseWorktreeOf = step(function* (session: SessionRow, to: Release, { now, changed, wake }: Context) {
  if (session.worktree_id === null) return;
  const row = yield* first<{ id: string; version: number; fence: number; repository_id: string }>(sql`
    UPDATE worktrees SET state = ${releases[to]}, lease_runner_id = NULL, lease_owner = NULL, leased_at = NULL, lease_expires_at = NULL,
      version = version + 1, updated_at = ${now}
    WHERE id = ${session.worktree_id} AND fence = ${session.worktree_fence} AND state = 'leased' RETURNING id, version, fence, repository_id`);
  if (row === undefined) return;
  changed({
    entity: "worktree",
    id: row.id,
    op: "release",
    version: row.version,
    fence: row.fence,
    sessionId: session.id,
    detail: { state: releases[to] },
  });
  wake(freeWorktreeTopic(row.repository_id));
});
