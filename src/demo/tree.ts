// The worktree of one session: its lease and its folder, taken and given back together.

import { StoreError } from "../errors.ts";
import type { Session } from "../model/sessions.ts";
import type { Release } from "../model/vocabulary.ts";
import type { Lease } from "../model/worktrees.ts";
import type { Store } from "../storeTypes.ts";
import { type Checkout, type Made, makeTree, removeTree, reuseTree } from "./checkout.ts";
import { type Heartbeat, type Holding, leaseTtlMs } from "./heartbeat.ts";

/** How long to wait for a tree when all are in use. */
const treeWaitMs = 600_000;

export interface Tree {
  readonly path: string;
  readonly made: Made;
  readonly holding: Holding;
}

export interface Holder {
  readonly store: Pick<Store, "repositories" | "worktrees">;
  readonly runnerId: string;
  readonly heartbeat: Heartbeat;
}

/** Fails with a StoreError or a GitError; the lease is given back then. */
export async function takeTree(holder: Holder, session: Session, stop: AbortSignal): Promise<Tree> {
  const { store, runnerId, heartbeat } = holder;
  const { repositoryId, id: sessionId, commitSha } = session;
  const { remoteUrl, worktreeRoot } = await store.repositories.get({ repositoryId });
  const lease = await store.worktrees.reserve(
    { repositoryId, sessionId, runnerId, ttlMs: leaseTtlMs, waitMs: treeWaitMs },
    { signal: stop },
  );
  const { worktree, fence } = lease;
  const holding = heartbeat.hold("worktree", worktree.id, fence);
  const signal = AbortSignal.any([stop, holding.stop]);
  const checkout = {
    gitDir: remoteUrl ?? "",
    worktreesRoot: worktreeRoot ?? worktree.path,
    path: worktree.path,
    commitSha,
    signal,
  };
  try {
    const made = lease.match === "created" ? await makeTree(checkout) : await reuseTree(checkout, lease.needsScrub);
    if (lease.match === "created") await store.worktrees.ready({ worktreeId: worktree.id, fence, commitSha });
    else if (lease.needsSync || made === "made anew")
      await store.worktrees.update({ worktreeId: worktree.id, fence, commitSha });
    return { path: worktree.path, made, holding };
  } catch (error) {
    await giveUp(holder, holding, lease, checkout);
    throw error;
  }
}

/** A tree that was being made is removed, with what there is of it; one that was there is scrubbed by its next user. */
async function giveUp(holder: Holder, holding: Holding, lease: Lease, checkout: Checkout): Promise<void> {
  if (lease.match !== "created" || holding.lost) return await giveBack(holder, holding, "dirty");
  const removed = await removeTree(checkout).then(
    () => true,
    () => false,
  );
  await giveBack(holder, holding, removed ? "clean" : "broken");
}

/** Ends the lease. That the end of the session has ended it already, or its time, is fine. */
export async function giveBack({ store, heartbeat }: Holder, holding: Holding, to: Release): Promise<void> {
  heartbeat.drop(holding);
  if (holding.lost) return;
  try {
    await store.worktrees.release({ worktreeId: holding.id, fence: holding.fence, to });
  } catch (error) {
    if (!(error instanceof StoreError && error.code === "lease_lost")) throw error;
  }
}
