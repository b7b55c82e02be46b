// Repeats calls of the store that failed for a reason that passes by itself.
import { StoreError } from "../index.ts";
import { sleep } from "../realTime.ts";

/** The pause before a call is repeated, unless the store names one. */
const retryAfterMs = 500;

/**
 * Checks whether a failure passes by itself: the store is busy, or its database thread or server has died and is being
 * replaced, in which case the outcome is unknown.
 */
export function passes(error: unknown): error is StoreError {
  return error instanceof StoreError && (error.retryable || error.outcome === "unknown");
}

/** Pauses before a call that failed is repeated. Ends early when the signal fires. */
export async function pauseAfter({ details }: StoreError, signal: AbortSignal): Promise<void> {
  await sleep(Number(details.retryAfterMs ?? retryAfterMs), { signal });
}

/**
 * Makes a call again and again until it is answered, or fails for good, or the signal fires. The call must be one that can
 * be repeated, because an answer may have been lost. Fails as it failed last.
 */
export async function persistently<Answer>(call: () => Promise<Answer>, signal: AbortSignal): Promise<Answer> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!passes(error) || signal.aborted) throw error;
      await pauseAfter(error, signal);
    }
  }
}
