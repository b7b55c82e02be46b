// One runner, in a thread of the pool: claims commands until its signal fires, and runs the commands of a session one
// after the other in one worktree. It claims from every session in the store, so it also finishes what a killed process
// left behind.
import { hostname } from "node:os";
import { type Claim, type RunnerContext, StoreError } from "../index.ts";
import { Heartbeat, leaseTtlMs, type StopReason } from "../runner/keepAlive.ts";
import { execute, type Runner } from "../runner/runSession.ts";
import { type HeldWorktree, releaseWorktree } from "../runner/worktrees.ts";

/** The operations that a runner may call. */
export const runnerOperations = [
  "repositories.get",
  "runners.*",
  "worktrees.*",
  "commands.*",
  "logs.append",
  "artifacts.*",
];

export interface RunnerAssignment {
  readonly runnerId: string;
  readonly name: string;
  /** The folder for the files of sessions. */
  readonly filesRoot: string;
}

/** The reason of the pool's signal: after `done` a runner claims nothing more; `interrupted` also stops what runs. */
export type RunnerStop = "done" | Extract<StopReason, "interrupted">;

const claimWaitMs = 60_000;

export default async function run(
  { runnerId, name, filesRoot }: RunnerAssignment,
  { store, signal }: RunnerContext,
): Promise<void> {
  await store.runners.register({ id: runnerId, name, host: hostname(), pid: process.pid, ttlMs: leaseTtlMs });
  const heartbeat = new Heartbeat(store, runnerId);
  const runner: Runner = { store, runnerId, filesRoot, heartbeat, interrupted: interruptedOf(signal) };
  try {
    for (let claim = await nextClaim(runner, signal); claim !== undefined; claim = await nextClaim(runner, signal)) {
      await runSession(runner, claim, signal);
    }
  } finally {
    heartbeat.stop();
    await store.runners.drain({ runnerId });
  }
}

/** Returns a signal that fires only when the pool's signal fires with `interrupted`. */
function interruptedOf(signal: AbortSignal): AbortSignal {
  const interrupted = new AbortController();
  const forward = () => {
    if (signal.reason === ("interrupted" satisfies RunnerStop)) interrupted.abort("interrupted" satisfies StopReason);
  };
  if (signal.aborted) forward();
  else signal.addEventListener("abort", forward, { once: true });
  return interrupted.signal;
}

/** Waits for a command to claim. Returns undefined when the runner must stop. */
async function nextClaim({ store, runnerId }: Runner, signal: AbortSignal): Promise<Claim | undefined> {
  while (!signal.aborted) {
    try {
      const claim = await store.commands.claim({ runnerId, ttlMs: leaseTtlMs, waitMs: claimWaitMs }, { signal });
      if (claim !== undefined) return claim;
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      // The runner was drained, or its computer slept so long that it is gone.
      if (error.code === "aborted" || error.code === "invalid_transition") return undefined;
      throw error;
    }
  }
  return undefined;
}

/**
 * Runs the commands of a session. While this runner leases its worktree, no other runner can claim from the session.
 */
async function runSession(runner: Runner, first: Claim, signal: AbortSignal): Promise<void> {
  const { store, runnerId, heartbeat } = runner;
  let worktree: HeldWorktree | undefined;
  for (let claim: Claim | undefined = first; claim !== undefined; ) {
    const executed = await execute(runner, claim, worktree);
    worktree = executed.worktree;
    const continues =
      executed.remainingCommands > 0 && worktree !== undefined && !worktree.lease.lost && !signal.aborted;
    claim = continues
      ? await store.commands.claim({ runnerId, ttlMs: leaseTtlMs, sessionId: claim.session.id })
      : undefined;
    if (claim !== undefined || worktree === undefined) continue;
    if (executed.release === undefined) heartbeat.drop(worktree.lease);
    else await releaseWorktree(runner, worktree.lease, executed.release);
  }
}
