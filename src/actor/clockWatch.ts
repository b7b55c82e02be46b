// Notices when time has passed in which the server could not serve, or when the wall clock was set. Then the store
// follows the clock before anything else is written, so that no holder loses a lease by it (D-021, D-082).

import { anonymous } from "../caller.ts";
import type { Clock } from "../clock.ts";
import type { Limits } from "../limits.ts";
import type { Call } from "../operation.ts";
import { followClock } from "../operations/serving.ts";
import { realTime } from "../realTime.ts";

export interface ClockWatch {
  /** Checks the time of a transaction. False when the call of `due` must run before anything is written. */
  isSteady(now: Date): boolean;
  /** Returns the call that must run before any write; undefined when time is as it should be. */
  due(): Call | undefined;
  /** Called with the result of the call of `due`. Returns true when there was something to follow. */
  followed(result: unknown): boolean;
  /** Called at the end of every other transaction. */
  settled(): void;
  stop(): void;
}

/**
 * Watches for three things: the server is new, so nobody may have served before; the wall clock has moved away from
 * elapsed time; and the process did not run, as after SIGSTOP, where both clocks agree. A timer that is late shows the
 * last one. A clock that tests move is not watched for it: its tests end leases, however busy the machine is.
 */
export function createClockWatch(clock: Clock, limits: Limits): ClockWatch {
  const { clockJumpMs, servedEveryMs } = limits;
  const currentOffsetMs = (nowMs = clock.now()): number => nowMs - clock.elapsed();
  let isNew = true;
  let moved = false;
  let offsetMs = currentOffsetMs();
  let aliveAtMs = clock.now();
  let tickedAtMs = realTime.elapsed();
  const noteAlive = (): void => {
    const nowMs = clock.now();
    moved ||= Math.abs(currentOffsetMs(nowMs) - offsetMs) > clockJumpMs;
    moved ||= clock.pauses && realTime.elapsed() - tickedAtMs > clockJumpMs;
    if (moved) return;
    tickedAtMs = realTime.elapsed();
    aliveAtMs = nowMs;
  };
  const tickMs = Math.min(Math.max(clockJumpMs / 2, tickMsMin), tickMsMax);
  const timer = clock.pauses ? realTime.setInterval(noteAlive, tickMs) : undefined;
  timer?.unref();
  return {
    isSteady(now) {
      moved ||= Math.abs(currentOffsetMs(now.getTime()) - offsetMs) > clockJumpMs;
      moved ||= clock.pauses && realTime.elapsed() - tickedAtMs > clockJumpMs;
      return !moved && !isNew;
    },
    due() {
      noteAlive();
      if (!moved && !isNew) return undefined;
      const input = isNew
        ? { gapMs: 2 * servedEveryMs, jumpMs: 0 }
        : { gapMs: clockJumpMs, aliveAt: new Date(aliveAtMs), jumpMs: currentOffsetMs() - offsetMs };
      const waitMs = 0;
      return {
        name: "maintenance.followClock",
        operation: followClock,
        input: input as never,
        caller: anonymous,
        waitMs,
      };
    },
    followed(result) {
      [isNew, moved] = [false, false];
      offsetMs = currentOffsetMs();
      aliveAtMs = clock.now();
      tickedAtMs = realTime.elapsed();
      const { pausedMs, setBackMs } = followClock.open(followClock.output.fromWire(result), undefined);
      return pausedMs > 0 || setBackMs > 0;
    },
    settled() {
      noteAlive();
      // Small drifts do not add up to a jump.
      if (!moved) offsetMs = currentOffsetMs();
    },
    stop: () => realTime.clearInterval(timer),
  };
}

/** The bounds of the interval at which the process shows that it runs. */
const [tickMsMin, tickMsMax] = [10, 1_000];
