// One place of a runner: registers, claims sessions one after the other, and registers again when it was lost.
import { hostname } from "node:os";
import { newId, StoreError, type StoreServerAddress } from "../index.ts";
import { sleep } from "../realTime.ts";
import { nextClaim } from "./claims.ts";
import { messageOf } from "./events.ts";
import { keepAlive } from "./keepAlive.ts";
import type { RunnerParts, RunnerStore } from "./options.ts";
import { folderOf } from "./ownFolder.ts";
import { persistently } from "./persistently.ts";
import { placeOf } from "./place.ts";
import type { ProcessGuard } from "./process/guard.ts";
import { runSession } from "./runSession.ts";
import { sessionRunner } from "./sessionRunner.ts";

export interface Place {
  readonly name: string;
  readonly parts: RunnerParts;
  readonly guard?: ProcessGuard | undefined;
  /** The server of the store, for a port to a remote one. */
  readonly server?: StoreServerAddress | undefined;
  /** Fires when nothing more should be claimed. */
  readonly draining: AbortSignal;
  /** Fires when what runs should be stopped and given back. */
  readonly interrupted: AbortSignal;
}

/** The time that one claim waits for a command. It is repeated. */
const claimWaitMs = 60_000;
/** The time after which a runner that was lost registers again. */
const registerAgainMs = 2_000;

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
async function runAsOne(store: RunnerStore, { name, parts, ...signals }: Place): Promise<unknown> {
  const { ttlMs = 30_000, labels = {}, onEvent = () => undefined, place = placeOf(folderOf(parts)) } = parts;
  const self = { id: newId(), name, host: hostname(), place, labels, pid: process.pid, ttlMs };
  const registered = await persistently(() => store.runners.register(self), signals.draining).catch(
    (error: unknown) => {
      // Asked to stop while the store did not answer.
      if (!signals.draining.aborted) throw error;
    },
  );
  if (registered === undefined) return undefined;
  const { id: runnerId } = registered;
  const alive = keepAlive(store, {
    runnerId,
    ttlMs,
    onError: ({ message }) => onEvent({ type: "problem", message: `heartbeat: ${message}` }),
  });
  onEvent({ type: "registered", runnerId, name });
  const runner = sessionRunner(store, { ...parts, ...signals, place, runnerId, keepAlive: alive });
  try {
    for (;;) {
      const claim = await nextClaim(runner, { waitMs: claimWaitMs });
      if (claim !== undefined) await runSession(runner, claim);
      else if (runner.draining.aborted) break;
    }
  } finally {
    alive.close();
    await store.runners.drain({ runnerId }).catch((error: unknown) => {
      // One that is gone cannot be drained, and need not be.
      if (!(error instanceof StoreError && error.code === "invalid_transition"))
        onEvent({ type: "problem", message: messageOf(error) });
    });
    onEvent({ type: "stopped", runnerId });
  }
  return runner.refused.reason;
}
