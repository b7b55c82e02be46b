// The row of a worktree, and the end of a lease: the one place that decides what becomes of the state, of the facts and
// of the repository's count of worktrees. Sessions that end and holders that release both come here.
import type { Context } from "../context.ts";
import type { SessionRow } from "../model/sessions.ts";
import type { Release, WorktreeState } from "../model/vocabulary.ts";
import { releases, type WorktreeRow } from "../model/worktrees.ts";
import { present } from "../present.ts";
import { first, forUpdate, type Statement, skipLocked, sql, step } from "../sql.ts";
import { type Changeable, changedFields } from "./changeDetail.ts";
import { writeRow } from "./rowWrite.ts";
import { freeWorktreeTopic } from "./topics.ts";
import { uncountWorktree } from "./worktreeCounts.ts";

/** The facts that a holder reports about its worktree: a value, null when it is unknown, or nothing. */
interface ReportedFacts {
  readonly commitSha?: string | null | undefined;
  readonly environmentHash?: string | null | undefined;
  readonly sizeBytes?: number | undefined;
  readonly pinned?: boolean | undefined;
}

export const unknownFacts = {
  commit_sha: null,
  commit_fence: null,
  environment_hash: null,
  environment_fence: null,
} as const satisfies Partial<WorktreeRow>;

/**
 * Returns the columns for the facts that are present in a report. Each fact is kept with the fencing token of the lease
 * under which it was reported (D-078).
 */
export function worktreeFacts(reported: ReportedFacts, fence: number): Partial<WorktreeRow> {
  const { commitSha, environmentHash, sizeBytes, pinned } = reported;
  const fenceOf = (fact: string | null | undefined) => (typeof fact === "string" ? fence : fact);
  return present({
    commit_sha: commitSha,
    commit_fence: fenceOf(commitSha),
    environment_hash: environmentHash,
    environment_fence: fenceOf(environmentHash),
    size_bytes: sizeBytes,
    pinned: pinned === undefined ? undefined : Number(pinned),
  });
}

/** The facts that `changes` shows when they change. The lease has columns of its own there. */
const changeable: Changeable = {
  place: "plain",
  commitSha: "plain",
  environmentHash: "plain",
  sizeBytes: "plain",
  pinned: "flag",
};

/** Writes changed columns of a worktree, raises its version, and adds a row to the change feed. */
export const saveWorktree = step(function* (
  before: WorktreeRow,
  changes: Partial<WorktreeRow>,
  op: string,
  context: Context,
  reason?: string,
  sessionId?: string,
) {
  const stored = yield* writeRow("worktree", before, changes, context);
  context.changed({
    entity: "worktree",
    id: before.id,
    op,
    version: stored.version,
    fence: stored.fence,
    sessionId,
    detail: {
      state: stored.state,
      // The row of a removed worktree may be deleted one day; then only the change feed knows its directory.
      path: stored.state === "removed" ? stored.path : undefined,
      reason,
      ...changedFields(changeable, before, stored),
    },
  });
  return stored;
});

export interface LeaseEnd {
  readonly state: WorktreeState;
  readonly op: string;
  readonly reason?: string | undefined;
  readonly sessionId?: string | undefined;
  /** True when the holder itself has ended the lease, so that what it reported under the lease is still true. */
  readonly isByHolder?: boolean | undefined;
  /** The facts that the holder reports with the end of the lease. */
  readonly facts?: Partial<WorktreeRow> | undefined;
}

/**
 * Ends a lease, and makes room for another worktree when this one is removed with it. The caller has locked the
 * repository then.
 */
export const endLease = step(function* (before: WorktreeRow, end: LeaseEnd, context: Context) {
  const row = yield* saveWorktree(
    before,
    {
      ...end.facts,
      ...factsToForget({ ...before, ...end.facts }, end),
      state: end.state,
      lease_runner_id: null,
      lease_owner: null,
      leased_at: null,
      lease_expires_at: null,
      last_used_at: context.now.getTime(),
      ended_from: before.state,
    },
    end.op,
    context,
    end.reason,
    end.sessionId,
  );
  if (end.state === "removed") yield* uncountWorktree(row);
  context.wake(freeWorktreeTopic(row));
  return row;
});

/**
 * Returns the columns of the facts that are unknown from now on. A fact outlives a lease only if the holder reported it
 * under this lease, and has itself given the worktree back for use (D-078).
 */
function factsToForget(before: WorktreeRow, { state, isByHolder = false }: LeaseEnd): Partial<WorktreeRow> {
  if (!isByHolder || (state !== "idle" && state !== "dirty")) return unknownFacts;
  const { commit_sha, commit_fence, environment_hash, environment_fence } = unknownFacts;
  return {
    ...(before.commit_fence === before.fence ? {} : { commit_sha, commit_fence }),
    ...(before.environment_fence === before.fence ? {} : { environment_hash, environment_fence }),
  };
}

/** Locks and returns the worktree that a session leases, which it may do after its end too. */
export const lockLeaseOf = step(function* ({ worktree_id, worktree_fence }: SessionRow) {
  if (worktree_id === null) return undefined;
  return yield* first<WorktreeRow>(sql`
    SELECT * FROM worktrees
    WHERE id = ${worktree_id} AND fence = ${worktree_fence} AND lease_expires_at IS NOT NULL
    ${forUpdate}`);
});

/**
 * Locks the worktree that a session leases, if there is one. Returns false when another transaction has locked it. For
 * the reaper, which never waits for a lock (D-030).
 */
export const tryLockLeaseOf = step(function* ({ worktree_id, worktree_fence }: SessionRow) {
  if (worktree_id === null) return true;
  const leased = sql`
    SELECT id FROM worktrees WHERE id = ${worktree_id} AND fence = ${worktree_fence} AND lease_expires_at IS NOT NULL`;
  return (yield* first(sql`${leased} ${skipLocked}`)) !== undefined || (yield* first(leased)) === undefined;
});

/** Returns the state that follows a release. */
export function stateAfterRelease(state: WorktreeState, to: Release): WorktreeState {
  if (state === "creating") return to === "clean" ? "removed" : "quarantined";
  return state === "evicting" ? "quarantined" : releases[to];
}

/**
 * Returns the state that follows when the session of a worktree has ended. Nobody can use a directory that was still
 * being created, so the worktree is removed, unless its holder asks for an inspection (D-085).
 */
export function stateAfterSession(state: WorktreeState, release: Release = "dirty"): WorktreeState {
  return state === "creating" && releases[release] !== "quarantined" ? "removed" : releases[release];
}

/** Checks whether a release of this kind has led to this row, so that the call repeats an earlier one. */
export function isSameRelease({ state, ended_from }: WorktreeRow, to: Release): boolean {
  return ended_from !== null && stateAfterRelease(ended_from, to) === state;
}

/**
 * Locks the repository of a session whose worktree is still being created. Whoever may end a session calls it first,
 * because the end of the session removes such a worktree, the removal changes the repository's count of worktrees, and
 * repositories come first in the order of locks (D-041).
 *
 * The session is not locked yet, so it can still be bound to a new worktree after this look. Then the count is changed
 * without the lock taken here, out of order. That is a deadlock only if a third transaction, which holds the repository
 * and waits for the session, is there at the same moment. PostgreSQL ends one of them, and the driver runs it again; it
 * then finds the new worktree here. To lock the repository at the end of every session would close this gap, and would
 * make all sessions of a repository end one after the other.
 */
export const lockRepositoryOfNewWorktree = step(function* (sessionId: string | Statement) {
  yield* first(sql`
    SELECT id FROM repositories
    WHERE id = (
      SELECT worktrees.repository_id
      FROM sessions JOIN worktrees ON worktrees.id = sessions.worktree_id AND worktrees.fence = sessions.worktree_fence
      WHERE sessions.id = ${sessionId} AND worktrees.state = 'creating')
    ${forUpdate}`);
});

/**
 * Does for the reaper what lockRepositoryOfNewWorktree does, for a session that it has locked: returns false when it
 * would have to wait, so that the reaper leaves the session for its next pass (D-030). The binding of a locked session
 * cannot change, and no worktree returns to `creating`, so this look has no gap.
 */
export const tryLockRepositoryOfNewWorktree = step(function* (worktreeId: string | null, fence: number | null) {
  if (worktreeId === null) return true;
  const worktree = yield* first<{ repository_id: string }>(sql`
    SELECT repository_id FROM worktrees WHERE id = ${worktreeId} AND fence = ${fence} AND state = 'creating'`);
  if (worktree === undefined) return true;
  const repository = yield* first(sql`
    SELECT id FROM repositories WHERE id = ${worktree.repository_id} ${skipLocked}`);
  return repository !== undefined;
});
