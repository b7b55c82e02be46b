// One runner, in a thread of the pool: claims commands until it is told to stop, and runs the commands of a session one after the other in one
// worktree. It runs whatever is claimable in the store, so work that an ended process left behind is done too.
import { hostname } from "node:os";
import { StoreError } from "../errors.ts";
import type { Claim } from "../model/commands.ts";
import type { RunnerContext } from "../runners/thread.ts";
import { execute, type Worker } from "./execution.ts";
import { Heartbeat, leaseTtlMs, type StopReason } from "./heartbeat.ts";
import { giveBack, type Tree } from "./tree.ts";

/** What a runner may reach. */
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
  /** Where files that belong to sessions are kept. */
  readonly filesRoot: string;
}

/** Why the pool's signal fires: `done`, nothing more is to be claimed, but what runs may end; `interrupted`, stop. */
export type RunnerStop = "done" | Extract<StopReason, "interrupted">;

const claimWaitMs = 60_000;

export default async function run(
  { runnerId, name, filesRoot }: RunnerAssignment,
  { store, signal }: RunnerContext,
): Promise<void> {
  await store.runners.register({ id: runnerId, name, host: hostname(), pid: process.pid, ttlMs: leaseTtlMs });
  const heartbeat = new Heartbeat(store, runnerId);
  const worker: Worker = { store, runnerId, filesRoot, heartbeat, interrupted: interruptOf(signal) };
  try {
    for (let claim = await nextClaim(worker, signal); claim !== undefined; claim = await nextClaim(worker, signal)) {
      await runSession(worker, claim, signal);
    }
  } finally {
    heartbeat.stop();
    await store.runners.drain({ runnerId });
  }
}

function interruptOf(signal: AbortSignal): AbortSignal {
  const interrupted = new AbortController();
  const pass = () => {
    if (signal.reason === ("interrupted" satisfies RunnerStop)) interrupted.abort("interrupted" satisfies StopReason);
  };
  if (signal.aborted) pass();
  else signal.addEventListener("abort", pass, { once: true });
  return interrupted.signal;
}

/** Undefined when the runner is to stop. */
async function nextClaim({ store, runnerId, heartbeat }: Worker, signal: AbortSignal): Promise<Claim | undefined> {
  while (!signal.aborted) {
    try {
      const claim = await store.commands.claim({ runnerId, ttlMs: leaseTtlMs, waitMs: claimWaitMs }, { signal });
      if (claim !== undefined) return claim;
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      if (error.code === "aborted") return undefined;
      if (error.code !== "invalid_transition") throw error;
      // Somebody drained it, or it slept so long that it counts as stalled.
      if (error.details.state !== "stalled") return undefined;
      await heartbeat.beat();
    }
  }
  return undefined;
}

/** While this runner leases the session's tree nobody else can claim from the session, so it goes on with it before anything else. */
async function runSession(worker: Worker, first: Claim, signal: AbortSignal): Promise<void> {
  const { store, runnerId, heartbeat } = worker;
  let tree: Tree | undefined;
  for (let claim: Claim | undefined = first; claim !== undefined; ) {
    const executed = await execute(worker, claim, tree);
    tree = executed.tree;
    const goesOn = executed.remainingCommands > 0 && tree !== undefined && !tree.holding.lost && !signal.aborted;
    claim = goesOn
      ? await store.commands.claim({ runnerId, ttlMs: leaseTtlMs, sessionId: claim.session.id })
      : undefined;
    if (claim !== undefined || tree === undefined) continue;
    if (executed.release === undefined) heartbeat.drop(tree.holding);
    else await giveBack(worker, tree.holding, executed.release);
  }
}
