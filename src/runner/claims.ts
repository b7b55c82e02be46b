// Claims commands for a runner, through everything that passes by itself.
import { type Claim, StoreError } from "../index.ts";
import { sleep } from "../realTime.ts";
import type { SessionRunner } from "./sessionRunner.ts";

export interface NextClaim {
  /** Only from this session. */
  readonly sessionId?: string;
  /** The time to wait for a command, in milliseconds. */
  readonly waitMs: number;
}

/** The time after which a claim that failed is tried again, unless the store names one. */
const retryAfterMs = 500;

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
      if (error.code === "aborted" || error.code === "invalid_transition" || error.code === "not_found")
        return undefined;
      if (!error.retryable) throw error;
      runner.onEvent({ type: "problem", message: `claim: ${error.message}` });
      await sleep(Number(error.details.retryAfterMs ?? retryAfterMs), { signal });
    }
  }
  return undefined;
}
