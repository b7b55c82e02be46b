// Gives the driver time for the upkeep of its file, between groups: it looks at intervals, and shrinks the file in short
// steps that take a small share of the time.

import type { Upkeep } from "../driver.ts";
import type { Limits } from "../limits.ts";
import { realTime } from "../realTime.ts";

/**
 * Starts the upkeep and returns a function that stops it. A step waits while `isBusy` returns true. With an
 * `upkeepEveryMs` of 0 nothing runs.
 */
export function startUpkeep(
  upkeep: Upkeep,
  { upkeepEveryMs, upkeepPercent }: Pick<Limits, "upkeepEveryMs" | "upkeepPercent">,
  isBusy: () => boolean,
): () => void {
  if (upkeepEveryMs === 0) return () => undefined;
  let timer: NodeJS.Timeout;
  const schedule = (run: () => void, delayMs: number): void => {
    timer = realTime.setTimeout(run, delayMs);
    timer.unref();
  };
  const look = (): void => {
    if (upkeep.look()) step();
    else schedule(look, upkeepEveryMs);
  };
  const step = (): void => {
    if (isBusy()) {
      schedule(step, busyPauseMs);
      return;
    }
    const startedMs = realTime.elapsed();
    const isMore = upkeep.shrink();
    const tookMs = realTime.elapsed() - startedMs;
    if (isMore) schedule(step, Math.ceil((tookMs * (100 - Math.min(100, upkeepPercent))) / upkeepPercent));
    else schedule(look, upkeepEveryMs);
  };
  schedule(look, upkeepEveryMs);
  return () => realTime.clearTimeout(timer);
}

/** The pause after which a server that was busy is looked at again. */
const busyPauseMs = 20;
