import type { Context } from "../context.ts";
import type { SessionRow } from "../model/sessions.ts";
import type { Release } from "../model/vocabulary.ts";
import { releases, type WorktreeRow } from "../model/worktrees.ts";
import { fail } from "../operation.ts";
import { present } from "../present.ts";
import { all, and, change, first, forUpdate, one, skipLocked, sql, step, when } from "../sql.ts";
import { leaseLost } from "./failures.ts";
import { dateOrNull, lockRow } from "./rows.ts";
import { openSessionStates, tryLockSession, unbindWorktree } from "./sessionState.ts";
import { freeWorktreeTopic } from "./topics.ts";

/**
 * Ends leases whose time is over, at most so many; of one repository when named. What another transaction holds is left
 * to it.
 */
export const expireWorktreeLeases = step(function* (context: Context, limit: number, repositoryId?: string) {
  const expired = yield* all<{ id: string; fence: number; session_id: string | null }>(sql`
    SELECT id, fence, (
      SELECT sessions.id FROM sessions
      WHERE worktree_id = worktrees.id AND worktree_fence = worktrees.fence AND sessions.state IN (${openSessionStates})
    ) AS session_id FROM worktrees
    WHERE lease_expires_at IS NOT NULL AND lease_expires_at <= ${context.now} AND ${and(when(repositoryId, (id) => sql`repository_id = ${id}`))}
    ORDER BY lease_expires_at LIMIT ${limit}`);
  const ended: string[] = [];
  for (const { id, fence, session_id } of expired) {
    const session = session_id === null ? undefined : yield* tryLockSession(session_id);
    if (session_id !== null && session === undefined) continue;
    // It may have been renewed or released meanwhile.
    const row = yield* first<WorktreeRow>(sql`
      SELECT * FROM worktrees WHERE id = ${id} AND fence = ${fence} AND lease_expires_at <= ${context.now} ${skipLocked}`);
    if (row === undefined) continue;
    yield* expireWorktreeLease(row, session, context);
    ended.push(id);
  }
  return ended;
});

export const expireWorktreeLease = step(function* (
  row: WorktreeRow,
  session: SessionRow | undefined,
  context: Context,
) {
  yield* endWorktreeLease(row, session, row.state === "leased" ? "dirty" : "quarantined", "expire", context);
});

/**
 * Of a tree in this state, which may be removed: it is counted out of its repository, whose lock comes before all
 * others.
 */
export const lockRepositoryOfWorktree = step(function* (worktreeId: string, state: WorktreeRow["state"]) {
  yield* first(
    sql`SELECT id FROM repositories WHERE id = (SELECT repository_id FROM worktrees WHERE id = ${worktreeId} AND state = ${state}) ${forUpdate}`,
  );
});

export const requireWorktreeLease = step(function* (worktreeId: string, fence: number, now: Date) {
  const row = yield* lockRow("worktree", worktreeId);
  checkWorktreeLease(row, fence, now);
  return row;
});

export function checkWorktreeLease(row: WorktreeRow, fence: number, now: Date): void {
  if (row.fence !== fence || row.lease_expires_at === null) leaseLost(row, fence);
  if (row.lease_expires_at <= now.getTime()) fail("lease_expired", { expiredAt: new Date(row.lease_expires_at) });
}

export function stateAfterRelease(state: WorktreeRow["state"], to: Release): WorktreeRow["state"] {
  if (state === "creating") return to === "clean" ? "removed" : "quarantined";
  return state === "evicting" ? "quarantined" : releases[to];
}

/** The same release again, for the same fence. */
export function isSameRelease(state: WorktreeRow["state"], to: Release): boolean {
  return state === releases[to] || state === (to === "clean" ? "removed" : "quarantined");
}

/** Ends a lease, whatever the reason, and the binding of the session that held the tree under it. */
export const endWorktreeLease = step(function* (
  before: WorktreeRow,
  session: SessionRow | undefined,
  state: WorktreeRow["state"],
  op: string,
  context: Context,
  reason?: string,
) {
  const row = yield* saveWorktree(
    before,
    { state, lease_runner_id: null, lease_owner: null, leased_at: null, lease_expires_at: null },
    op,
    context,
    reason,
    session?.id,
  );
  if (state === "removed") {
    yield* change(sql`UPDATE repositories SET worktree_count = worktree_count - 1 WHERE id = ${row.repository_id}`);
  }
  if (session !== undefined) yield* unbindWorktree(session, context);
  context.wake(freeWorktreeTopic(row.repository_id));
  return row;
});

type WorktreeChanges = Partial<
  Pick<
    WorktreeRow,
    | "state"
    | "commit_sha"
    | "environment_hash"
    | "size_bytes"
    | "pinned"
    | "lease_runner_id"
    | "lease_owner"
    | "leased_at"
    | "lease_expires_at"
  >
>;

export function worktreeFacts(input: {
  commitSha?: string | undefined;
  environmentHash?: string | undefined;
  sizeBytes?: number | undefined;
  pinned?: boolean | undefined;
}): WorktreeChanges {
  return present({
    commit_sha: input.commitSha,
    environment_hash: input.environmentHash,
    size_bytes: input.sizeBytes,
    pinned: input.pinned === undefined ? undefined : Number(input.pinned),
  });
}

/** Recorded in the history of the session that holds the tree, if one does. */
export const saveLeasedWorktree = step(function* (
  before: WorktreeRow,
  changes: WorktreeChanges,
  op: string,
  context: Context,
) {
  const session = yield* first<{ id: string }>(sql`
    SELECT id FROM sessions WHERE worktree_id = ${before.id} AND worktree_fence = ${before.fence} AND state IN (${openSessionStates})`);
  return yield* saveWorktree(before, changes, op, context, undefined, session?.id);
});

export const saveWorktree = step(function* (
  before: WorktreeRow,
  changes: WorktreeChanges,
  op: string,
  { now, changed }: Context,
  reason?: string,
  sessionId?: string,
) {
  const row = { ...before, ...changes };
  const stored = yield* one<WorktreeRow>(sql`
    UPDATE worktrees SET state = ${row.state}, commit_sha = ${row.commit_sha}, environment_hash = ${row.environment_hash}, size_bytes = ${row.size_bytes},
      pinned = ${row.pinned === 1}, lease_runner_id = ${row.lease_runner_id}, lease_owner = ${row.lease_owner},
      leased_at = ${dateOrNull(row.leased_at)},
      lease_expires_at = ${dateOrNull(row.lease_expires_at)},
      version = version + 1, updated_at = ${now}
    WHERE id = ${row.id} RETURNING *`);
  changed({
    entity: "worktree",
    id: row.id,
    op,
    version: stored.version,
    fence: stored.fence,
    sessionId,
    detail: { state: stored.state, reason },
  });
  return stored;
});
