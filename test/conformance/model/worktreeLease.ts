// The model of a worktree's row: the facts about it, and the end of its lease.
import { countWorktrees } from "./repositories.ts";
import { Failure, get, raised, type Session, type State, type Worktree } from "./state.ts";

interface Facts {
  readonly commitSha?: string | null | undefined;
  readonly environmentHash?: string | null | undefined;
  readonly sizeBytes?: number | undefined;
  readonly pinned?: boolean | undefined;
}

/** Returns the worktree with the facts that a holder reports under its fencing token. */
export function withFacts(row: Worktree, { commitSha, environmentHash, sizeBytes, pinned }: Facts): Worktree {
  const fenceOf = (fact: string | null | undefined, before: number | null) =>
    fact === undefined ? before : fact === null ? null : row.fence;
  return {
    ...row,
    ...(commitSha === undefined ? {} : { commitSha }),
    ...(environmentHash === undefined ? {} : { environmentHash }),
    ...(sizeBytes === undefined ? {} : { sizeBytes }),
    ...(pinned === undefined ? {} : { pinned }),
    hidden: {
      ...row.hidden,
      commitFence: fenceOf(commitSha, row.hidden.commitFence),
      environmentFence: fenceOf(environmentHash, row.hidden.environmentFence),
    },
  };
}

export function withoutCommit(row: Worktree): Worktree {
  return { ...row, commitSha: null, hidden: { ...row.hidden, commitFence: null } };
}

export function withoutEnvironment(row: Worktree): Worktree {
  return { ...row, environmentHash: null, hidden: { ...row.hidden, environmentFence: null } };
}

export function saveWorktree(state: State, row: Worktree, op: string, sessionId?: string): Worktree {
  const saved = raised(row, {}, state.now);
  state.put("worktrees", saved.id, saved);
  state.change("worktree", saved, op, sessionId);
  return saved;
}

/** Returns the worktree that is leased under this fencing token. */
export function leasedWorktree(state: State, id: string, fence: number): Worktree {
  const row = get(state.worktrees, "worktree", id);
  requireLease(row, fence);
  return row;
}

export function requireLease(row: Worktree, fence: number): void {
  if (row.fence !== fence || row.leaseExpiresAt === null) throw lost(row);
}

export function lost({ fence, state }: { readonly fence: number; readonly state: string }): Failure {
  return new Failure("lease_lost", { currentFence: fence, state });
}

interface End {
  readonly to: Worktree["state"];
  readonly op: string;
  readonly sessionId?: string | undefined;
  /** True when the holder itself gives the worktree back. */
  readonly isByHolder?: boolean;
}

/** Ends a lease. What is known of the worktree afterwards is what its holder reported, if it gave it back for use. */
export function endLease(state: State, before: Worktree, { to, op, sessionId, isByHolder = false }: End): Worktree {
  const isBack = isByHolder && (to === "idle" || to === "dirty");
  let row = before;
  if (!isBack || row.hidden.commitFence !== row.fence) row = withoutCommit(row);
  if (!isBack || row.hidden.environmentFence !== row.fence) row = withoutEnvironment(row);
  if (to === "removed") countWorktrees(state, row.repositoryId, -1);
  return saveWorktree(
    state,
    {
      ...row,
      state: to,
      leaseRunnerId: null,
      leaseOwner: null,
      leasedAt: null,
      leaseExpiresAt: null,
      lastUsedAt: state.now,
      hidden: { ...row.hidden, endedFrom: before.state },
    },
    op,
    sessionId,
  );
}

/** Returns the worktree that a session leases, also one that has ended. */
export function leaseOf(state: State, { worktreeId, worktreeFence }: Session): Worktree | undefined {
  const row = worktreeId === null ? undefined : state.worktrees.get(worktreeId);
  return row !== undefined && row.fence === worktreeFence && row.leaseExpiresAt !== null ? row : undefined;
}

export const releases = { clean: "idle", dirty: "dirty", keep: "quarantined", broken: "quarantined" } as const;
export type Release = keyof typeof releases;

/** Returns the state in which a release leaves a worktree. */
export function afterRelease(from: string, to: Release): Worktree["state"] {
  if (from === "creating") return to === "clean" ? "removed" : "quarantined";
  return from === "evicting" ? "quarantined" : releases[to];
}
