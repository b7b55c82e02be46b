// Claims commands for a runner, through everything that passes by itself.
import { type Claim, StoreError } from "../index.ts";
import { passes, pauseAfter } from "./persistently.ts";
import type { SessionRunner } from "./sessionRunner.ts";

export interface NextClaim {
  /** Only from this session. */
  readonly sessionId?: string;
  /** The time to wait for a command, in milliseconds. */
  readonly waitMs: number;
}

/**
 * Claims the next command. Returns undefined when there is none in time, when the runner drains, or when the store does
 * not know it as online any more. Fails with a StoreError that does not pass by itself, such as `closed`.
 */
export async function nextClaim(runner: SessionRunner, { sessionId, waitMs }: NextClaim): Promise<Claim | undefined> {
  const { store, runnerId, keepAlive, draining } = runner;
  const signal = AbortSignal.any([draining, keepAlive.gone]);
  while (!signal.aborted) {
    try {
      const asked = { runnerId, ttlMs: keepAlive.ttlMs, waitMs, ...(sessionId === undefined ? {} : { sessionId }) };
      return await store.commands.claim(asked, { signal });
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      if (error.code === "invalid_transition" || error.code === "not_found") runner.onRefused(error.details.state);
      if (error.code === "aborted" || error.code === "invalid_transition" || error.code === "not_found")
        return undefined;
      // A claim whose answer was lost reaches nobody, and the store gives the command to the next one (D-083).
      if (!passes(error)) throw error;
      runner.onEvent({ type: "problem", message: `claim: ${error.message}` });
      await pauseAfter(error, signal);
    }
  }
  return undefined;
}
