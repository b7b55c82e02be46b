// Worktrees of sessions: the lease in the store and the folder on disk, acquired and released together.
import { join } from "node:path";
import { type Lease, newId, type Release, type Repository, type Session, type Store, StoreError } from "../index.ts";
import { present } from "../present.ts";
import { inheritedEnvironment } from "./environment.ts";
import {
  type CheckedOut,
  checkOut,
  inspectWorktree,
  type RemoveOptions,
  removeWorktree,
  requireBelow,
} from "./git/checkout.ts";
import { GitError } from "./git/git.ts";
import { removeLeftovers } from "./git/removeTree.ts";
import { openRepository } from "./git/repository.ts";
import { type Holding, type KeepAlive, untilConfirmed } from "./keepAlive.ts";
import { passes, pauseAfter, persistently } from "./persistently.ts";
import { adoptWorktrees } from "./place.ts";
import type { ProcessGuard } from "./process/guard.ts";
import { isUnfinished, markUnfinished, unmarkUnfinished } from "./unfinished.ts";

export interface WorktreesOptions {
  readonly runnerId: string;
  readonly keepAlive: KeepAlive;
  /** Kills git when this process dies. Without it, git goes on, and may write in a worktree that somebody else has. */
  readonly guard?: ProcessGuard | undefined;
  /** The folder for mirrors of remote repositories, and for worktrees of repositories without a `worktreeRoot`. */
  readonly folder: string;
  /**
   * The place with which the runner is registered. Worktrees in the folders of this runner that the store has in no
   * place, or in that of this host, are then taken into it. Without it, they stay where they are.
   */
  readonly place?: string | undefined;
  readonly submodules?: boolean;
  /** The variables that programs in a worktree inherit from this process; see `inheritedVariables`. */
  readonly inherit?: readonly string[] | "all";
  /** Variables for every program. */
  readonly env?: Readonly<Record<string, string>>;
}

/** A worktree that this runner holds. */
export interface HeldWorktree {
  readonly path: string;
  /** The way in which it got to its commit. */
  readonly how: CheckedOut["how"];
  /** Remarks about the checkout, such as submodules that were left out. */
  readonly notes: readonly string[];
  readonly holding: Holding;
}

export interface Worktrees {
  /**
   * Reserves a worktree for a session, waits for one if all are in use, and checks out the session's commit. Fails with a
   * StoreError, a GitError or the reason of the signal, and releases the lease then. A worktree that is in no folder of
   * this runner is not touched.
   */
  acquire(session: Session, options: { readonly signal: AbortSignal }): Promise<HeldWorktree>;
  /** Returns the variables for programs in the worktree. */
  environmentOf(path: string): Readonly<Record<string, string>>;
  /** Asks git how the commands have left the worktree, reports its commit, and returns the state to release it in. */
  inspect(worktree: HeldWorktree): Promise<Release>;
  /** Ends the lease, unless it has ended already with its session or by its time. */
  release(worktree: HeldWorktree, to: Release): Promise<void>;
}

/** The longest wait of one call for a worktree when all are in use; it is repeated. */
const reserveWaitMs = 10_000;

type WorktreeStore = Pick<Store, "repositories" | "worktrees">;

/** Returns the worktrees of a registered runner. */
export function worktrees(store: WorktreeStore, options: WorktreesOptions): Worktrees {
  return new RunnerWorktrees(store, options);
}

class RunnerWorktrees implements Worktrees {
  readonly #store: WorktreeStore;
  readonly #options: WorktreesOptions;
  /** The repositories in which nothing is left of runners that had been killed before this one began. */
  readonly #recovered = new Set<string>();

  constructor(store: WorktreeStore, options: WorktreesOptions) {
    this.#store = store;
    this.#options = options;
  }

  async acquire(session: Session, { signal }: { readonly signal: AbortSignal }): Promise<HeldWorktree> {
    const { keepAlive, folder, guard, submodules = false } = this.#options;
    const { repositoryId } = session;
    const repository = await persistently(() => this.#store.repositories.get({ repositoryId }), signal);
    const source = await openRepository(sourceOf(repository), {
      mirrorsFolder: join(folder, "mirrors"),
      signal,
      guard,
    });
    const lease = await this.#reserve(session, repository, source.gitDir, signal);
    const { worktree, fence, needsScrub } = lease;
    const isNew = worktree.state === "creating";
    const holding = keepAlive.hold({ kind: "worktree", id: worktree.id, fence });
    const { path } = worktree;
    const worktreesRoot = repository.worktreeRoot ?? join(folder, "worktrees");
    let mayTouch = false;
    try {
      const stop = AbortSignal.any([signal, holding.signal]);
      // Nothing is touched before it is known for how long the lease still lasts.
      await untilConfirmed(holding, stop);
      await requireBelow(worktreesRoot, path, source.gitDir);
      mayTouch = true;
      if (isNew) await markUnfinished(path);
      const { commitSha } = session;
      const at = { repository: source, worktreesRoot, path, commitSha };
      const checkedOut = await checkOut({ ...at, needsScrub, submodules, signal: stop, guard, holdings: [holding] });
      const report = isNew ? this.#store.worktrees.ready : this.#store.worktrees.update;
      // Also for a worktree that had this commit: what is not reported under a lease is unknown after it.
      await persistently(() => report({ worktreeId: worktree.id, fence, commitSha }), stop);
      if (isNew) await unmarkUnfinished(path);
      return { path, ...checkedOut, holding };
    } catch (error) {
      if (!mayTouch) await this.release({ holding }, isNew || !needsScrub ? "clean" : "dirty");
      else await this.#abandon(holding, isNew, { gitDir: source.gitDir, worktreesRoot, path, guard });
      throw error;
    }
  }

  environmentOf(path: string): Readonly<Record<string, string>> {
    return { ...inheritedEnvironment(path, this.#options.inherit), ...this.#options.env };
  }

  async inspect({ path, holding }: HeldWorktree): Promise<Release> {
    const { id: worktreeId, fence } = holding;
    const run = { signal: holding.signal, guard: this.#options.guard, holdings: [holding] };
    const { commitSha, isClean } = await inspectWorktree(path, run);
    if (!holding.isLost)
      await unlessLost(() => this.#store.worktrees.update({ worktreeId, fence, commitSha }), holding.lost);
    return isClean ? "clean" : "dirty";
  }

  async release({ holding }: Pick<HeldWorktree, "holding">, to: Release): Promise<void> {
    if (holding.isLost) return holding.drop();
    // The commit of a worktree that is not clean is unknown: a command may have checked out another one.
    const facts = to === "clean" ? {} : { commitSha: null };
    const { id: worktreeId, fence } = holding;
    try {
      // Renewed until then: the end of the lease ends the attempts.
      await unlessLost(() => this.#store.worktrees.release({ worktreeId, fence, to, ...facts }), holding.lost);
    } finally {
      holding.drop();
    }
  }

  /** Reserves a worktree, or returns the one that was reserved for the session together with it. */
  async #reserve(
    session: Session,
    repository: Repository,
    gitDir: string,
    signal: AbortSignal,
  ): Promise<Pick<Lease, "worktree" | "fence" | "needsScrub">> {
    const { runnerId, keepAlive, folder } = this.#options;
    const { worktreeRoot } = repository;
    const { id: sessionId, repositoryId, commitSha, worktreeId, worktreeFence } = session;
    if (worktreeId !== null && worktreeFence !== null) {
      const worktree = await persistently(() => this.#store.worktrees.get({ worktreeId }), signal);
      return { worktree, fence: worktreeFence, needsScrub: true };
    }
    if (!this.#recovered.has(repositoryId)) await this.#recover(repository, gitDir);
    const asked = {
      repositoryId,
      sessionId,
      runnerId,
      commitSha,
      ttlMs: keepAlive.ttlMs,
      waitMs: reserveWaitMs,
      // A repository without a root has no place for a new worktree; this one is used by nobody else.
      ...(worktreeRoot === null ? { path: join(folder, "worktrees", newId()) } : {}),
    };
    for (;;) {
      signal.throwIfAborted();
      try {
        return await this.#store.worktrees.reserve(asked, { signal });
      } catch (error) {
        if (passes(error) && error.code !== "capacity_exhausted") {
          await pauseAfter(error, signal);
          continue;
        }
        if (!(error instanceof StoreError) || error.code !== "capacity_exhausted") throw error;
        const isRecovered = Number(error.details.quarantined) > 0 && (await this.#recover(repository, gitDir));
        // All are in use. If all are quarantined, none becomes free by itself, and the error is final.
        if (!isRecovered && !error.retryable) throw error;
      }
    }
  }

  /**
   * Takes worktrees of a repository into the place of this runner, and removes those that runners of this machine were
   * making when they were killed. The store has quarantined them, because nobody knows what is in their folders. Returns
   * true if there was one.
   */
  async #recover(repository: Repository, gitDir: string): Promise<boolean> {
    const { runnerId, folder, place, guard } = this.#options;
    const { id: repositoryId, worktreeRoot } = repository;
    const worktreesRoot = worktreeRoot ?? join(folder, "worktrees");
    this.#recovered.add(repositoryId);
    await removeLeftovers(worktreesRoot);
    if (place !== undefined) await adoptWorktrees(this.#store, { repositoryId, place, worktreesRoot });
    const filter = { repositoryId, state: "quarantined", ...present({ place }) } as const;
    const { items } = await this.#store.worktrees.list({ ...filter, limit: 500 });
    let isRecovered = false;
    for (const { id: worktreeId, path } of items.filter((worktree) => isUnfinished(worktree.path))) {
      try {
        const evicting = await this.#store.worktrees.evict({ repositoryId, worktreeId, runnerId });
        if (evicting === undefined) continue;
        await removeWorktree({ gitDir, worktreesRoot, path, guard });
        await this.#store.worktrees.completeEvict({ worktreeId, fence: evicting.fence });
        await unmarkUnfinished(path);
        isRecovered = true;
      } catch (error) {
        // Another runner of this machine removes it, or it cannot be removed: then it stays quarantined.
        if (!(error instanceof StoreError) && !(error instanceof GitError)) throw error;
      }
    }
    return isRecovered;
  }

  /** Removes a worktree that was being created; one that existed is scrubbed by its next holder. */
  async #abandon(holding: Holding, isNew: boolean, place: RemoveOptions): Promise<void> {
    if (!isNew || !(await this.#isOurs(holding))) return await this.release({ holding }, "dirty");
    // Nobody else can have it: either it is held still, or it is removed for the store.
    const isDeleted = await removeWorktree(place).then(
      () => true,
      () => false,
    );
    if (isDeleted) await unmarkUnfinished(place.path);
    await this.release({ holding }, isDeleted ? "clean" : "broken");
  }

  /**
   * Checks whether nobody else can have the directory of a worktree that was being created. If its session has ended, the
   * worktree is removed (D-085). If its lease has run out, it may have been restored and granted to another holder.
   */
  async #isOurs({ id: worktreeId, fence }: Holding): Promise<boolean> {
    try {
      const { state, fence: current } = await this.#store.worktrees.get({ worktreeId });
      return state === "removed" || (state === "creating" && current === fence);
    } catch (error) {
      if (error instanceof StoreError) return false;
      throw error;
    }
  }
}

/** Returns the path or URL of a repository. */
export function sourceOf({ name, remoteUrl }: Repository): string {
  if (remoteUrl !== null) return remoteUrl;
  throw new GitError(`repository ${name} has no remoteUrl: set it to a path of this machine, or to a URL`);
}

async function unlessLost(call: () => Promise<unknown>, lost: AbortSignal): Promise<void> {
  try {
    await persistently(call, lost);
  } catch (error) {
    if (!(error instanceof StoreError && error.code === "lease_lost")) throw error;
  }
}
