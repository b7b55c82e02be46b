// The worktree of one session: its lease in the store and its folder on disk, acquired and released together.
import { type Lease, type Release, type Session, type Store, StoreError } from "../index.ts";
import { type CheckedOut, type Checkout, createWorktree, removeWorktree, reuseWorktree } from "./checkout.ts";
import { type Heartbeat, type HeldLease, leaseTtlMs } from "./heartbeat.ts";

/** The longest wait for a worktree when all are in use. */
const reserveWaitMs = 600_000;

export interface HeldWorktree {
  readonly path: string;
  readonly checkedOut: CheckedOut;
  readonly lease: HeldLease;
}

export interface Holder {
  readonly store: Pick<Store, "repositories" | "worktrees">;
  readonly runnerId: string;
  readonly heartbeat: Heartbeat;
}

/**
 * Reserves a worktree and checks out the session's commit. Fails with a StoreError or a GitError, and releases the
 * lease then.
 */
export async function acquireWorktree(holder: Holder, session: Session, stop: AbortSignal): Promise<HeldWorktree> {
  const { store, runnerId, heartbeat } = holder;
  const { repositoryId, id: sessionId, commitSha } = session;
  const { remoteUrl, worktreeRoot } = await store.repositories.get({ repositoryId });
  const granted = await store.worktrees.reserve(
    { repositoryId, sessionId, runnerId, ttlMs: leaseTtlMs, waitMs: reserveWaitMs },
    { signal: stop },
  );
  const { worktree, fence } = granted;
  const isNew = granted.match === "created";
  const lease = heartbeat.hold("worktree", worktree.id, fence);
  const checkout = {
    gitDir: remoteUrl ?? "",
    worktreesRoot: worktreeRoot ?? worktree.path,
    path: worktree.path,
    commitSha,
    signal: AbortSignal.any([stop, lease.stop]),
  };
  try {
    const checkedOut = isNew ? await createWorktree(checkout) : await reuseWorktree(checkout, granted.needsScrub);
    if (isNew) await store.worktrees.ready({ worktreeId: worktree.id, fence, commitSha });
    else if (granted.needsSync || checkedOut === "created again")
      await store.worktrees.update({ worktreeId: worktree.id, fence, commitSha });
    return { path: worktree.path, checkedOut, lease };
  } catch (error) {
    await abandon(holder, lease, granted, checkout);
    throw error;
  }
}

/** Removes a worktree that was being created; one that existed is scrubbed by its next holder. */
async function abandon(holder: Holder, lease: HeldLease, { match }: Lease, checkout: Checkout): Promise<void> {
  if (match !== "created" || lease.lost) return await releaseWorktree(holder, lease, "dirty");
  const isRemoved = await removeWorktree(checkout).then(
    () => true,
    () => false,
  );
  await releaseWorktree(holder, lease, isRemoved ? "clean" : "broken");
}

/** Ends the lease, unless it has ended already with its session or by its time. */
export async function releaseWorktree({ store, heartbeat }: Holder, lease: HeldLease, to: Release): Promise<void> {
  heartbeat.drop(lease);
  if (lease.lost) return;
  try {
    await store.worktrees.release({ worktreeId: lease.id, fence: lease.fence, to });
  } catch (error) {
    if (!(error instanceof StoreError && error.code === "lease_lost")) throw error;
  }
}
