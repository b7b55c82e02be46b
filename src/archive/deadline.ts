// Requests to a log archive, which is code of the caller: it may throw, reject, or never answer.
import { realTime } from "../realTime.ts";

/** Resolves to the answer of the archive. Fails as the archive, and when it has not answered in time. */
export async function ask<Answer>(request: () => Promise<Answer>, ms: number, signal?: AbortSignal): Promise<Answer> {
  const { promise: ended, reject } = Promise.withResolvers<never>();
  const timer = realTime.setTimeout(() => reject(new Error(`the log archive did not answer within ${ms} ms`)), ms);
  const onAbort = (): void => reject(new Error("the store is closing"));
  signal?.addEventListener("abort", onAbort);
  try {
    if (signal?.aborted) onAbort();
    const answer = Promise.resolve().then(request);
    // It may fail when nobody waits for it any more.
    answer.catch(() => undefined);
    return await Promise.race([answer, ended]);
  } finally {
    realTime.clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  }
}
