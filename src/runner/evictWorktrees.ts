// Removes worktrees that nobody uses: from disk, and then from the store.
import { join, resolve } from "node:path";
import type { Repository, Store } from "../index.ts";
import { realTime } from "../realTime.ts";
import { messageOf } from "./events.ts";
import { removeWorktree } from "./git/checkout.ts";
import { removeLeftovers } from "./git/removeTree.ts";
import { openRepository } from "./git/repository.ts";
import { adoptWorktrees, placeOf } from "./place.ts";
import { sourceOf } from "./worktrees.ts";

export interface EvictWorktreesOptions {
  readonly repository: Repository;
  /** The folder of the runner that made them. */
  readonly folder: string;
  /** The place of that runner. Defaults to that of a runner of this host with this folder. */
  readonly place?: string;
  /** The name under which the store shows who removes them. */
  readonly owner: string;
  /** Only those that nobody has used for this time, in milliseconds. Defaults to 0. */
  readonly unusedForMs?: number;
  /** Only those that are quarantined, instead of those that are free. Defaults to false. */
  readonly quarantined?: boolean;
  readonly signal?: AbortSignal;
}

export interface EvictedWorktrees {
  readonly removed: number;
  /** One line for each that could not be removed. The store has it as quarantined a minute later. */
  readonly problems: readonly string[];
}

/**
 * Removes the worktrees of a repository in one place that nobody uses and that are not pinned. Must run on the machine
 * that has their directories. Fails as the store fails.
 */
export async function evictWorktrees(
  store: Pick<Store, "worktrees">,
  options: EvictWorktreesOptions,
): Promise<EvictedWorktrees> {
  const { repository, folder, owner, unusedForMs = 0, quarantined = false } = options;
  const { signal = new AbortController().signal, place = placeOf(resolve(folder)) } = options;
  const { id, worktreeRoot } = repository;
  const { gitDir } = await openRepository(sourceOf(repository), { mirrorsFolder: join(folder, "mirrors"), signal });
  const worktreesRoot = worktreeRoot ?? join(folder, "worktrees");
  await removeLeftovers(worktreesRoot);
  await adoptWorktrees(store, { repositoryId: id, place, worktreesRoot });
  const problems: string[] = [];
  const startedAtMs = realTime.elapsed();
  for (let removed = 0; ; ) {
    // What was free when this began is older than this, so a worktree that is used meanwhile stays.
    const sinceMs = Math.ceil(realTime.elapsed() - startedAtMs);
    const evicting = await store.worktrees.evictUnused({
      repositoryId: id,
      owner,
      place,
      unusedForMs: unusedForMs + sinceMs,
      quarantined,
    });
    if (evicting.length === 0) return { removed, problems };
    for (const { id: worktreeId, fence, path } of evicting) {
      signal.throwIfAborted();
      try {
        await removeWorktree({ gitDir, worktreesRoot, path });
        await store.worktrees.completeEvict({ worktreeId, fence });
        removed++;
      } catch (error) {
        problems.push(`${path}: ${messageOf(error)}`);
      }
    }
  }
}
