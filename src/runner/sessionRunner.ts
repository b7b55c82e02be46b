// A registered runner, as the functions that run sessions need it.
import { join } from "node:path";
import { type StoreServerAddress, serverOf } from "../index.ts";
import { type Artifacts, artifacts } from "./artifacts/collectArtifacts.ts";
import { defaultSink } from "./artifacts/serverSink.ts";
import type { RunnerEvent } from "./events.ts";
import type { KeepAlive } from "./keepAlive.ts";
import type { RunnerParts, RunnerStore } from "./options.ts";
import { folderOf } from "./ownFolder.ts";
import type { ProcessGuard } from "./process/guard.ts";
import { type Worktrees, worktrees } from "./worktrees.ts";

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
  /** Fires then, with this state as its reason. */
  readonly refused: AbortSignal;
  /** Fires when the runner should stop what it runs, and give it back. */
  readonly interrupted: AbortSignal;
  readonly onEvent: (event: RunnerEvent) => void;
}

export interface SessionRunnerOptions extends RunnerParts {
  /** The id of the runner, which is registered. */
  readonly runnerId: string;
  readonly keepAlive: KeepAlive;
  /** Kills the programs if this process dies. Without it, they outlive it. */
  readonly guard?: ProcessGuard | undefined;
  /** The server of the store, for a port to a remote one. */
  readonly server?: StoreServerAddress | undefined;
  /** Fires when the runner should claim nothing more. */
  readonly draining?: AbortSignal;
  /** Fires when the runner should stop what it runs, and give it back. */
  readonly interrupted?: AbortSignal;
}

/** Returns what `runSession` needs: a registered runner with its worktrees and its place for artifacts. */
export function sessionRunner(store: RunnerStore, options: SessionRunnerOptions): SessionRunner {
  const { runnerId, keepAlive, guard, draining, interrupted, server: _, ...parts } = options;
  const refused = new AbortController();
  const folder = folderOf(parts);
  const sink = parts.sink ?? defaultSink(join(folder, "artifacts"), options.server ?? serverOf(store));
  return {
    store,
    runnerId,
    keepAlive,
    worktrees: worktrees(store, { ...parts, folder, runnerId, keepAlive, guard }),
    parts,
    artifacts: (parts.artifacts ?? []).length === 0 ? undefined : artifacts(store, { sink }),
    guard,
    draining: AbortSignal.any([keepAlive.gone, refused.signal, ...(draining === undefined ? [] : [draining])]),
    onRefused: (state) => refused.abort(state),
    refused: refused.signal,
    interrupted: interrupted ?? new AbortController().signal,
    onEvent: parts.onEvent ?? (() => undefined),
  };
}
