// The worktree of one session: its lease in the store and its folder on disk, acquired and released together.
import { dirname, join } from "node:path";
import { type Lease, type Release, type Session, type Store, StoreError } from "../index.ts";
import { type CheckedOut, checkOut, removeWorktree } from "./git/checkout.ts";
import { openRepository } from "./git/repository.ts";
import { type Heartbeat, type HeldLease, leaseTtlMs } from "./keepAlive.ts";

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
  const signal = AbortSignal.any([stop, lease.stop]);
  const { path } = worktree;
  const worktreesRoot = worktreeRoot ?? dirname(path);
  const place: Place = { gitDir: undefined, worktreesRoot, path };
  try {
    const mirrorsFolder = join(dirname(worktreesRoot), "mirrors");
    const repository = await openRepository(remoteUrl ?? "", { mirrorsFolder, signal });
    place.gitDir = repository.gitDir;
    const { needsScrub } = granted;
    const checkedOut = await checkOut({ repository, worktreesRoot, path, commitSha, needsScrub, signal });
    const report = isNew ? store.worktrees.ready : store.worktrees.update;
    // Also for a worktree that had this commit: what is not reported under a lease is unknown after it.
    await report({ worktreeId: worktree.id, fence, commitSha });
    return { path: worktree.path, checkedOut, lease };
  } catch (error) {
    await abandon(holder, lease, granted, place);
    throw error;
  }
}

interface Place {
  gitDir: string | undefined;
  readonly worktreesRoot: string;
  readonly path: string;
}

/** Removes a worktree that was being created; one that existed is scrubbed by its next holder. */
async function abandon(holder: Holder, lease: HeldLease, { match }: Lease, place: Place): Promise<void> {
  if (match !== "created" || !(await isOurs(holder, lease))) return await releaseWorktree(holder, lease, "dirty");
  const { gitDir, worktreesRoot, path } = place;
  // Without a repository nothing was made.
  const isDeleted =
    gitDir === undefined ||
    (await removeWorktree({ gitDir, worktreesRoot, path }).then(
      () => true,
      () => false,
    ));
  await releaseWorktree(holder, lease, isDeleted ? "clean" : "broken");
}

/**
 * Checks whether nobody else can have the directory of a worktree that was being created. If its session has ended, the
 * worktree is removed (D-085). If its lease has run out, it may have been restored and granted to another holder.
 */
async function isOurs({ store }: Holder, { id: worktreeId, fence }: HeldLease): Promise<boolean> {
  try {
    const { state, fence: current } = await store.worktrees.get({ worktreeId });
    return state === "removed" || (state === "creating" && current === fence);
  } catch (error) {
    if (error instanceof StoreError) return false;
    throw error;
  }
}

/**
 * Ends the lease, unless it has ended already with its session or by its time. The commit of a worktree that is not
 * clean is unknown: a command may have checked out another one.
 */
export async function releaseWorktree({ store, heartbeat }: Holder, lease: HeldLease, to: Release): Promise<void> {
  heartbeat.drop(lease);
  if (lease.lost) return;
  const facts = to === "clean" ? {} : { commitSha: null };
  await unlessLost(store.worktrees.release({ worktreeId: lease.id, fence: lease.fence, to, ...facts }));
}

/** Reports the commit that a worktree has after its commands, or null when it is not known. */
export async function reportCommit({ store }: Holder, lease: HeldLease, commitSha: string | null): Promise<void> {
  if (lease.lost) return;
  await unlessLost(store.worktrees.update({ worktreeId: lease.id, fence: lease.fence, commitSha }));
}

async function unlessLost(call: Promise<unknown>): Promise<void> {
  try {
    await call;
  } catch (error) {
    if (!(error instanceof StoreError && error.code === "lease_lost")) throw error;
  }
}
