// A registered runner, as the functions that run sessions need it.
import type { Artifacts } from "./artifacts/collectArtifacts.ts";
import type { RunnerEvent } from "./events.ts";
import type { KeepAlive } from "./keepAlive.ts";
import type { RunnerParts, RunnerStore } from "./options.ts";
import type { ProcessGuard } from "./process/guard.ts";
import type { Worktrees } from "./worktrees.ts";

/** A registered runner with all that it needs to run sessions. */
export interface SessionRunner {
  readonly store: RunnerStore;
  readonly runnerId: string;
  readonly keepAlive: KeepAlive;
  readonly worktrees: Worktrees;
  readonly parts: RunnerParts;
  readonly artifacts?: Artifacts | undefined;
  readonly guard?: ProcessGuard | undefined;
  /** Fires when the runner should claim nothing more. */
  readonly draining: AbortSignal;
  /** Called when the store lets this runner claim nothing more, with the state that the store has of it. */
  readonly onRefused: (state: unknown) => void;
  /** Fires when the runner should stop what it runs, and give it back. */
  readonly interrupted: AbortSignal;
  readonly onEvent: (event: RunnerEvent) => void;
}
