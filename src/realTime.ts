// The functions of time, taken when the package is loaded. A test may install fake timers later (node:test, jest,
// vitest), and then nothing would move a store that used the global ones. Time that a test moves is a test clock.
import { performance } from "node:perf_hooks";
import { hrtime, nextTick } from "node:process";
import * as timers from "node:timers";

const dateNow = Date.now.bind(Date);
const { bigint } = hrtime;

/** All code of the package that may run in the thread of a test takes time from here, and not from globals. */
export const realTime = {
  setTimeout: timers.setTimeout,
  clearTimeout: timers.clearTimeout,
  setInterval: timers.setInterval,
  clearInterval: timers.clearInterval,
  setImmediate: timers.setImmediate,
  nextTick,
  /** Returns the milliseconds since 1970-01-01 UTC. */
  now: (): number => dateNow(),
  /** Returns the milliseconds since a fixed moment, which differs between threads. It never jumps. */
  elapsed: performance.now.bind(performance) as () => number,
  /** Returns the nanoseconds since a fixed moment that all threads of the process share. */
  hrtime: (): bigint => bigint(),
};

/** Resolves after this time, or when the signal fires. With `ref: false`, it does not keep the process alive. */
export function sleep(ms: number, { ref = true, signal }: { ref?: boolean; signal?: AbortSignal } = {}): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const end = (): void => {
      realTime.clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = realTime.setTimeout(end, ms);
    if (!ref) timer.unref();
    signal?.addEventListener("abort", end, { once: true });
  });
}
