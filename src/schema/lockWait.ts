// Waits for locks that other processes hold, without blocking the event loop. Knows no database.

import { StoreError } from "../errors.ts";
import { realTime, sleep } from "../realTime.ts";

/** The options for waiting for the locks of other processes. */
export interface LockWait {
  readonly lockTimeoutMs: number;
  /** Aborts the wait, and the work after it between two steps. */
  readonly signal?: AbortSignal | undefined;
  /** Called once, when the wait takes long. */
  readonly onWait?: (() => void) | undefined;
}

/** The time after which `onWait` is called. */
const noticeAfterMs = 500;

/**
 * Repeats an attempt while it returns a busy error. Fails with the last error when the time is over, and with aborted
 * when the signal aborts.
 */
export async function waitForLock(
  { lockTimeoutMs, signal, onWait }: LockWait,
  attempt: () => Promise<StoreError | undefined>,
): Promise<void> {
  const startedAt = realTime.elapsed();
  let noticed = false;
  for (;;) {
    const failure = await attempt();
    if (failure === undefined) return;
    const waitedMs = realTime.elapsed() - startedAt;
    if (failure.code !== "busy" || waitedMs > lockTimeoutMs) throw failure;
    if (waitedMs > noticeAfterMs && !noticed) {
      noticed = true;
      onWait?.();
    }
    // The random part separates processes that wait for each other.
    await sleep(10 + Math.random() * 20);
    if (signal?.aborted)
      throw new StoreError(
        "aborted",
        "interrupted while waiting for other processes that use the database; nothing was changed",
      );
  }
}

/** Yields to the event loop, so that signals can arrive between two steps. Fails with aborted when one has. */
export async function checkSignal({ signal }: LockWait): Promise<void> {
  await sleep(0);
  if (signal?.aborted) throw new StoreError("aborted", "interrupted; nothing was changed", { outcome: "rolled_back" });
}
