// One place of a runner: registers, claims sessions one after the other, and registers again when it was lost.
import { hostname } from "node:os";
import { join, resolve } from "node:path";
import { newId } from "../index.ts";
import { sleep } from "../realTime.ts";
import { artifacts } from "./artifacts/collectArtifacts.ts";
import { localSink } from "./artifacts/sink.ts";
import { nextClaim } from "./claims.ts";
import { messageOf } from "./events.ts";
import { keepAlive } from "./keepAlive.ts";
import type { RunnerParts, RunnerStore } from "./options.ts";
import { persistently } from "./persistently.ts";
import type { ProcessGuard } from "./process/guard.ts";
import { runSession } from "./runSession.ts";
import type { SessionRunner } from "./sessionRunner.ts";
import { worktrees } from "./worktrees.ts";

export interface Place {
  readonly name: string;
  readonly parts: RunnerParts;
  readonly guard?: ProcessGuard | undefined;
  /** Fires when nothing more should be claimed. */
  readonly draining: AbortSignal;
  /** Fires when what runs should be stopped and given back. */
  readonly interrupted: AbortSignal;
}

/** The time that one claim waits for a command. It is repeated. */
const claimWaitMs = 60_000;
/** The time after which a runner that could not register tries again. */
const registerAgainMs = 2_000;

/** Returns the folder of a runner. */
export function folderOf({ folder }: RunnerParts): string {
  return resolve(folder ?? join(".artifacts", "runner"));
}

/** Runs sessions until `draining` fires and the last one has ended. Fails when the store is closed or refuses a runner. */
export async function runLoop(store: RunnerStore, place: Place): Promise<void> {
  while (!place.draining.aborted) {
    // Somebody has drained this runner, and wants no other one in its place.
    if ((await runAsOne(store, place)) === "draining") return;
    // It is gone for the store, for example because its computer slept for long: it comes back as another runner.
    await sleep(registerAgainMs, { signal: place.draining });
  }
}

/** Runs sessions as one registered runner, until it drains or is gone. Returns the state in which the store refused it. */
async function runAsOne(store: RunnerStore, { name, parts, guard, draining, interrupted }: Place): Promise<unknown> {
  const refused = new AbortController();
  const { ttlMs = 30_000, onEvent = () => undefined } = parts;
  const folder = folderOf(parts);
  const self = { id: newId(), name, host: hostname(), pid: process.pid, ttlMs };
  const { id: runnerId } = await persistently(() => store.runners.register(self), draining);
  const alive = keepAlive(store, {
    runnerId,
    ttlMs,
    onError: ({ message }) => onEvent({ type: "problem", message: `heartbeat: ${message}` }),
  });
  onEvent({ type: "registered", runnerId, name });
  const runner: SessionRunner = {
    store,
    runnerId,
    keepAlive: alive,
    worktrees: worktrees(store, { ...parts, folder, runnerId, keepAlive: alive }),
    parts,
    artifacts:
      (parts.artifacts ?? []).length === 0
        ? undefined
        : artifacts(store, { sink: parts.sink ?? localSink(join(folder, "artifacts")) }),
    guard,
    draining: AbortSignal.any([draining, alive.gone, refused.signal]),
    onRefused: (state) => refused.abort(state),
    interrupted,
    onEvent,
  };
  try {
    for (;;) {
      const claim = await nextClaim(runner, { waitMs: claimWaitMs });
      if (claim !== undefined) await runSession(runner, claim);
      else if (runner.draining.aborted) break;
    }
  } finally {
    alive.close();
    await store.runners.drain({ runnerId }).catch((error: unknown) => {
      onEvent({ type: "problem", message: messageOf(error) });
    });
    onEvent({ type: "stopped", runnerId });
  }
  return refused.signal.reason;
}
