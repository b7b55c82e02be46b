// Changes of a worktree's row, except grants (reservation.ts) and releases at the end of a session (sessionState.ts).
// After each change, the lease, the binding of the session, the repository's count of worktrees and the change feed
// agree. The row itself is written in worktreeLease.ts.
import type { Context } from "../context.ts";
import type { SessionRow } from "../model/sessions.ts";
import type { WorktreeState } from "../model/vocabulary.ts";
import type { WorktreeRow } from "../model/worktrees.ts";
import { all, and, first, forUpdate, type Statement, skipLocked, sql, step, when } from "../sql.ts";
import { leaseLost } from "./failures.ts";
import { lockRow } from "./rows.ts";
import { keepSessionActive, openSessionStates } from "./sessionActivity.ts";
import { lockBoundSession, tryLockSession, unbindWorktree } from "./sessionState.ts";
import { endLease, type LeaseEnd, saveWorktree } from "./worktreeLease.ts";

interface WorktreeExpiry {
  readonly limit: number;
  /** The runner whose leases end. All runners by default. */
  readonly runnerId?: string;
  /** The reason that the rows of changes show. */
  readonly reason?: string;
}

/**
 * Returns the worktrees whose leases have expired, the oldest first, and their open sessions. A worktree whose session
 * has an active command keeps its holder, because the command may still run in it (D-079).
 */
const expiredLeases = step(function* (condition: Statement, limit: number, { now }: Context) {
  return yield* all<{ id: string; fence: number; session_id: string | null }>(sql`
    SELECT
      id,
      fence,
      (
        SELECT sessions.id FROM sessions
        WHERE worktree_id = worktrees.id AND worktree_fence = worktrees.fence
          AND sessions.state IN (${openSessionStates})
      ) AS session_id
    FROM worktrees
    WHERE lease_expires_at IS NOT NULL AND lease_expires_at <= ${now} AND ${condition}
      AND NOT EXISTS (
        SELECT 1 FROM sessions
        WHERE worktree_id = worktrees.id AND worktree_fence = worktrees.fence AND active_commands > 0
      )
    ORDER BY lease_expires_at LIMIT ${limit}`);
});

/**
 * Returns the condition for a worktree whose lease has expired. The rows were read without a lock, so a lease may have
 * been renewed or released since.
 */
const isExpired = ({ id, fence }: { readonly id: string; readonly fence: number }, { now }: Context): Statement =>
  sql`id = ${id} AND fence = ${fence} AND lease_expires_at <= ${now}`;

/**
 * Ends at most `limit` expired leases. Skips rows that another transaction has locked: a caller that never waits for a
 * lock cannot deadlock.
 */
export const expireWorktreeLeases = step(function* (context: Context, { limit, runnerId, reason }: WorktreeExpiry) {
  const ofHolder = and(when(runnerId, (id) => sql`(lease_runner_id = ${id}) IS TRUE`));
  const endedIds: string[] = [];
  for (const expired of yield* expiredLeases(ofHolder, limit, context)) {
    const { id, session_id } = expired;
    const session = session_id === null ? undefined : yield* tryLockSession(session_id);
    // A runner may have claimed a command since the rows were read. A session that has ended starts none.
    if (session_id !== null && (session === undefined || session.active_commands > 0)) continue;
    const row = yield* first<WorktreeRow>(
      sql`SELECT * FROM worktrees WHERE ${isExpired(expired, context)} ${skipLocked}`,
    );
    if (row === undefined) continue;
    yield* expireWorktreeLease(row, session, context, reason);
    endedIds.push(id);
  }
  return endedIds;
});

/**
 * Ends the lease of a repository's worktree in a place that expired first. Returns false when none has expired. The caller
 * has locked the repository, and may wait for the session and the worktree (D-105).
 */
export const expireOldestWorktreeLease = step(function* (repositoryId: string, place: string, context: Context) {
  for (;;) {
    const there = sql`repository_id = ${repositoryId} AND place = ${place}`;
    const [expired] = yield* expiredLeases(there, 1, context);
    if (expired === undefined) return false;
    const session = yield* lockBoundSession(expired.id, expired.fence);
    // What has changed since the row was read is not found again.
    if (session !== undefined && session.active_commands > 0) continue;
    const row = yield* first<WorktreeRow>(
      sql`SELECT * FROM worktrees WHERE ${isExpired(expired, context)} ${forUpdate}`,
    );
    if (row === undefined) continue;
    yield* expireWorktreeLease(row, session, context);
    return true;
  }
});

/**
 * Ends an expired lease. A worktree that was being created or evicted is quarantined, because the state of its
 * directory is unknown.
 */
export const expireWorktreeLease = step(function* (
  row: WorktreeRow,
  session: SessionRow | undefined,
  context: Context,
  reason?: string,
) {
  const state = row.state === "leased" ? "dirty" : "quarantined";
  yield* endWorktreeLease(row, session, { state, op: "expire", reason }, context);
});

/**
 * Locks the repository of a worktree, if the worktree is in the state from which the caller may remove it. Removing a
 * worktree decrements the repository's counter, and repositories come first in the order of locks.
 */
export const lockRepositoryOfWorktree = step(function* (worktreeId: string, state: WorktreeState) {
  yield* first(sql`
    SELECT id FROM repositories
    WHERE id = (SELECT repository_id FROM worktrees WHERE id = ${worktreeId} AND state = ${state})
    ${forUpdate}`);
});

/** Locks and returns a worktree, or fails unless it is leased under this fence. */
export const requireWorktreeLease = step(function* (worktreeId: string, fence: number) {
  const row = yield* lockRow("worktree", worktreeId);
  checkWorktreeLease(row, fence);
  return row;
});

/**
 * Fails with `lease_lost` unless the worktree is leased under this fence. The time of the lease does not matter: its
 * holder has it until somebody takes it (D-081).
 */
export function checkWorktreeLease(row: WorktreeRow, fence: number): void {
  if (row.fence !== fence || row.lease_expires_at === null) leaseLost(row, fence);
}

/**
 * Ends a lease for any reason, and unbinds the session that held the worktree under it. What the holder reported is
 * unknown afterwards, unless `isByHolder` says that the holder itself ends the lease (D-078).
 */
export const endWorktreeLease = step(function* (
  before: WorktreeRow,
  session: SessionRow | undefined,
  end: Omit<LeaseEnd, "sessionId">,
  context: Context,
) {
  const row = yield* endLease(before, { ...end, sessionId: session?.id }, context);
  if (session !== undefined) yield* unbindWorktree(session, context);
  return row;
});

/**
 * Saves a leased worktree for its holder. The change belongs to the history of the session that holds the worktree, if
 * any, and counts as activity of that session.
 */
export const saveLeasedWorktree = step(function* (
  before: WorktreeRow,
  changes: Partial<WorktreeRow>,
  op: string,
  context: Context,
) {
  const session = yield* first<{ id: string }>(sql`
    SELECT id FROM sessions
    WHERE worktree_id = ${before.id} AND worktree_fence = ${before.fence} AND state IN (${openSessionStates})`);
  if (session !== undefined) yield* keepSessionActive(session.id, context);
  return yield* saveWorktree(before, changes, op, context, undefined, session?.id);
});
