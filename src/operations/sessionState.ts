// Changes of a session's row. Every operation that changes a session goes through this file, so that its state, its
// counters, and what runners may claim from it agree (D-031).

import type { Context } from "../context.ts";
import type { LabelSet } from "../model/labels.ts";
import { isOpen, type SessionRow } from "../model/sessions.ts";
import type { Release, SessionState } from "../model/vocabulary.ts";
import type { WorktreeRow } from "../model/worktrees.ts";
import { all, change, first, forUpdate, one, skipLocked, sql, step } from "../sql.ts";
import { cancelCommandsOf, cancelQueuedCommandsOf } from "./commandState.ts";
import { closeDebugSessions } from "./debugState.ts";
import { requireState } from "./failures.ts";
import { lockRow } from "./rows.ts";
import { writeRow } from "./rowWrite.ts";
import { openSessionStates } from "./sessionActivity.ts";
import { endTokensOf } from "./tokenState.ts";
import { heldTopic, readyTopic, sessionTopic } from "./topics.ts";
import {
  endLease,
  lockRepositoryOfNewWorktree,
  stateAfterSession,
  tryLockRepositoryOfNewWorktree,
} from "./worktreeLease.ts";

/**
 * Locks and returns a session with what its end would change, or returns undefined when another transaction has locked
 * some of that. The reaper uses it, because it never waits for a lock: it ends with its next pass what it skips in this
 * one (D-030).
 */
export const tryLockSession = step(function* (sessionId: string) {
  const session = yield* first<SessionRow>(sql`SELECT * FROM sessions WHERE id = ${sessionId} ${skipLocked}`);
  if (session === undefined) return undefined;
  return (yield* tryLockRepositoryOfNewWorktree(session.worktree_id, session.worktree_fence)) ? session : undefined;
});

/** Locks and returns a session that the caller may end, or fails with `not_found`. */
export const lockSessionToEnd = step(function* (sessionId: string) {
  yield* lockRepositoryOfNewWorktree(sessionId);
  return yield* lockRow("session", sessionId);
});

/** Locks and returns a session, or fails with `invalid_transition` when it takes no new work. */
export const lockOpenSession = step(function* (sessionId: string) {
  const row = yield* lockRow("session", sessionId);
  requireState(row, "session", ["pending", "running"]);
  return row;
});

/**
 * Writes changed columns of a session, and derives from them when the session expires and whether a runner may claim
 * from it (D-025). With an `op`, the write also raises the version and adds a row to the change feed; changes of
 * counters and of the last activity need neither. Pass as `added` the first of the commands that were added to the end of
 * the queue.
 */
export const saveSession = step(function* (
  before: SessionRow,
  changes: Partial<SessionRow>,
  context: Context,
  op?: string,
  reason?: string,
  added?: Head,
) {
  const { now, changed, wake } = context;
  const row = { ...before, ...changes };
  const isClaimable =
    (row.state === "pending" || row.state === "running") &&
    row.queued_commands > 0 &&
    row.active_commands < row.max_parallel;
  const head = isClaimable
    ? (knownHead(before as ReadySessionRow, changes, added, now) ??
      (yield* first<Head>(sql`
        SELECT priority, queued_at, requires, not_before FROM commands
        WHERE session_id = ${row.id} AND state = 'queued'
        ORDER BY sequence LIMIT 1`)))
    : undefined;
  const stored = yield* writeRow<ReadySessionRow>(
    "session",
    before as ReadySessionRow,
    {
      ...changes,
      ...readiness(before as ReadySessionRow, head, now),
      last_activity_at: now.getTime(),
      ...(row.idle_ttl_ms === null ? {} : { expires_at: now.getTime() + row.idle_ttl_ms }),
    },
    context,
    op === undefined ? 0 : 1,
  );
  if (op !== undefined) {
    changed({
      entity: "session",
      id: row.id,
      op,
      version: stored.version,
      fence: stored.worktree_fence ?? undefined,
      sessionId: row.id,
      detail: { state: stored.state, reason },
    });
    wake(sessionTopic(row.id));
  }
  if (stored.ready_at !== null) yield* wakeClaims(stored, context);
  return stored;
});

/**
 * Makes sessions ready whose next command has only waited for its time, at most `limit`, and wakes claims for them. Skips
 * sessions that another transaction has locked: it changes them, or makes them ready itself. Changes nothing that callers
 * see.
 */
export const promoteDue = step(function* (limit: number, context: Context) {
  const { now } = context;
  const due = yield* all<ReadySessionRow>(sql`
    SELECT * FROM sessions
    WHERE due_at IS NOT NULL AND due_at <= ${now}
    ORDER BY due_at LIMIT ${limit} ${skipLocked}`);
  for (const session of due) {
    const head = yield* one<Head>(sql`
      SELECT priority, queued_at, requires, not_before FROM commands
      WHERE session_id = ${session.id} AND state = 'queued'
      ORDER BY sequence LIMIT 1`);
    const ready = { ...session, ...readiness(session, head, now) };
    yield* change(sql`
      UPDATE sessions SET
        ready_at = ${new Date(ready.ready_at as number)},
        ready_priority = ${ready.ready_priority},
        ready_requires = ${ready.ready_requires},
        due_at = NULL
      WHERE id = ${session.id}`);
    yield* wakeClaims(ready, context);
  }
  return due.length;
});

/** Cancels what waits in a session after a failure, if the session wants that, and returns the counters that change. */
export const stopAfter = step(function* (session: SessionRow, hasFailed: boolean, context: Context) {
  if (!hasFailed || session.on_failure !== "stop" || session.queued_commands === 0) return {};
  yield* cancelQueuedCommandsOf(session.id, "command_failed", context);
  return { queued_commands: 0 };
});

/** Wakes claims that may take the next command of a session: those of any runner, or of the one that holds its worktree. */
export const wakeClaims = step(function* (session: ReadySessionRow, { wake }: Context) {
  const { id, worktree_id, worktree_fence, ready_requires } = session;
  if (worktree_id === null) return wake(readyTopic(id, ready_requires));
  const holder = yield* first<Pick<WorktreeRow, "lease_runner_id">>(
    sql`SELECT lease_runner_id FROM worktrees WHERE id = ${worktree_id} AND fence = ${worktree_fence}`,
  );
  if (holder !== undefined && holder.lease_runner_id !== null) wake(heldTopic(holder.lease_runner_id, id));
});

/** A session with the columns that say what may be claimed from it. */
export type ReadySessionRow = SessionRow & {
  readonly ready_at: number | null;
  readonly ready_priority: number | null;
  /** The labels that the next command requires of a runner; none while there is nothing to claim. */
  readonly ready_requires: LabelSet;
  /** The time of the next command, while it is this time alone for which it waits. */
  readonly due_at: number | null;
};

/** Returns the columns that say what may be claimed from a session, as far as they change. */
function readiness(before: ReadySessionRow, head: Head | undefined, now: Date): Partial<ReadySessionRow> {
  const due_at = head?.not_before != null && head.not_before > now.getTime() ? head.not_before : null;
  const isReady = head !== undefined && due_at === null;
  const ready_priority = isReady ? head.priority : null;
  const ready_at = isReady ? countsFrom(head, now).getTime() : null;
  const ready_requires = isReady ? head.requires : "";
  return {
    ...(due_at === before.due_at ? {} : { due_at }),
    ...(ready_requires === before.ready_requires ? {} : { ready_requires }),
    ...(ready_priority === before.ready_priority ? {} : { ready_priority }),
    ...(ready_at === before.ready_at ? {} : { ready_at }),
  };
}

/** The command at the head of a session's queue. */
interface Head {
  readonly priority: number;
  readonly queued_at: number;
  readonly requires: LabelSet;
  readonly not_before: number | null;
}

/** Returns the command at the head of the queue as far as the session's row tells, or undefined. */
function knownHead(
  { queued_commands, ready_at, ready_priority, ready_requires }: ReadySessionRow,
  changes: Partial<SessionRow>,
  added: Head | undefined,
  now: Date,
): Head | undefined {
  if (added !== undefined && queued_commands === 0) return added;
  const isSame = added !== undefined || changes.queued_commands === undefined;
  if (!isSame || ready_at === null || ready_priority === null) return undefined;
  const queued_at = ready_at + ready_priority * priorityStepMs;
  // A later time is one from before the clock was set back, and the command's own time may be later still.
  return queued_at < now.getTime()
    ? { priority: ready_priority, queued_at, requires: ready_requires, not_before: null }
    : undefined;
}

/** The time of waiting that one step of priority is worth (D-098). */
export const priorityStepMs = 60_000;

/**
 * Returns the time from which a command counts as queued: a minute earlier for each step of its priority. One with a time
 * of its own counts from then. A command that was queued before the clock was set back is as old as one that is queued now.
 */
function countsFrom({ queued_at, not_before, priority }: Head, now: Date): Date {
  return new Date(Math.min(Math.max(queued_at, not_before ?? 0), now.getTime()) - priority * priorityStepMs);
}

/** Binds a session to a worktree that was just leased for it. */
export const bindWorktree = step(function* (
  session: SessionRow,
  worktree: { readonly id: string; readonly fence: number },
  context: Context,
) {
  yield* saveSession(session, { worktree_id: worktree.id, worktree_fence: worktree.fence }, context, "bind");
});

/**
 * Locks and returns the open session that holds a worktree under this fence, or returns undefined. Call it
 * before locking the worktree, because sessions come first in the order of locks. A lease is granted and bound in one
 * transaction, so no session can be bound to this lease after none was found here.
 */
export const lockBoundSession = step(function* (worktreeId: string, fence: number) {
  return yield* first<SessionRow>(sql`
    SELECT * FROM sessions
    WHERE worktree_id = ${worktreeId} AND worktree_fence = ${fence} AND state IN (${openSessionStates})
    ${forUpdate}`);
});

/** Unbinds a session from its worktree. From then on any runner may claim its commands (D-028). */
export const unbindWorktree = step(function* (session: SessionRow, context: Context) {
  return yield* saveSession(session, { worktree_id: null, worktree_fence: null }, context, "unbind");
});

/** The state in which the runner of a session's last command says that it leaves the worktree. */
interface RunnerRelease {
  readonly runnerId: string | null;
  readonly to: Release;
}

/**
 * Ends a session: cancels its queued commands, asks the runners of active ones to stop them, closes its debug sessions,
 * and releases its worktree once no command is active. The row keeps worktree and fence as a record of where the
 * session ran (D-027). The session was locked by lockSessionToEnd, lockCommand or tryLockSession, because the end may
 * remove a worktree that is still being created.
 */
export const endSession = step(function* (
  session: SessionRow,
  outcome: SessionState,
  context: Context,
  reason: string | undefined,
  release?: RunnerRelease,
) {
  yield* cancelCommandsOf(session.id, context);
  const state = outcome === "cancelled" && session.active_commands > 0 ? "cancelling" : outcome;
  const row = yield* saveSession(
    session,
    {
      state,
      end_reason: reason ?? session.end_reason,
      ended_at: isOpen(state) ? null : context.now.getTime(),
      queued_commands: 0,
    },
    context,
    state === "cancelling" ? "cancelling" : "end",
    reason,
  );
  if (row.active_commands === 0) yield* releaseWorktreeOf(row, release, context);
  if (!isOpen(state)) yield* endTokensOf(session.id, context);
  // Debug sessions come last in the order of locks.
  yield* closeDebugSessions(session.id, context);
  return row;
});

/**
 * Continues a session after one of its commands has ended. Once no command is active, a session in cancelling ends as
 * cancelled, an ended session releases its worktree, and a session with autoComplete ends unless commands are queued.
 */
export const settleSession = step(function* (
  session: SessionRow,
  release: RunnerRelease | undefined,
  context: Context,
) {
  if (session.active_commands > 0) return session;
  if (session.state === "cancelling") return yield* endSession(session, "cancelled", context, undefined, release);
  if (!isOpen(session.state)) {
    yield* releaseWorktreeOf(session, release, context);
    return session;
  }
  if (session.auto_complete === 0 || session.queued_commands > 0) return session;
  return yield* endSession(session, yield* outcomeOf(session), context, undefined, release);
});

/** Returns the result of a session whose last command has ended. Cancelled commands have not failed (D-080). */
const outcomeOf = step(function* ({ id, failed_commands }: SessionRow) {
  if (failed_commands > 0) return "failed" as const;
  const succeeded = yield* first(
    sql`SELECT id FROM commands WHERE session_id = ${id} AND state = 'succeeded' ORDER BY sequence LIMIT 1`,
  );
  return succeeded === undefined ? ("cancelled" as const) : ("completed" as const);
});

/**
 * Releases the worktree of a session, unless its lease has ended or the worktree was leased again. A `release` says in
 * which state the worktree is, but not that of a worktree that another runner holds (D-078).
 */
const releaseWorktreeOf = step(function* (session: SessionRow, release: RunnerRelease | undefined, context: Context) {
  if (session.worktree_id === null) return;
  const row = yield* first<WorktreeRow>(sql`
    SELECT * FROM worktrees
    WHERE id = ${session.worktree_id} AND fence = ${session.worktree_fence} AND state IN ('leased', 'creating')
    ${forUpdate}`);
  if (row === undefined) return;
  const byHolder = row.lease_runner_id === null || row.lease_runner_id === release?.runnerId ? release?.to : undefined;
  const state = stateAfterSession(row.state, byHolder);
  yield* endLease(row, { state, op: "release", sessionId: session.id, isByHolder: byHolder !== undefined }, context);
});
