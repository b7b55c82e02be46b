// A process in which every function of time is replaced by one that never runs anything, as by fake timers that a test
// does not move. Uses a store that was opened before, and one that is opened then.
import { writeSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import timers from "node:timers";
import { openTestStore, testClock } from "../../src/testing/index.ts";
import { useInTime } from "./timedUse.ts";

/** Replaces what jest, vitest and others replace, wherever code may have it from. */
function stopTime(): void {
  const names = [
    "setTimeout",
    "setInterval",
    "setImmediate",
    "clearTimeout",
    "clearInterval",
    "clearImmediate",
  ] as const;
  const stopped = (() => ({ ref: () => {}, unref: () => {} })) as never;
  for (const name of names) {
    globalThis[name] = stopped;
    timers[name] = stopped;
  }
  globalThis.queueMicrotask = stopped;
  process.nextTick = stopped;
  process.hrtime = Object.assign(() => [0, 0], { bigint: () => 0n }) as never;
  performance.now = () => 0;
  Date.now = () => 0;
  syncBuiltinESMExports();
}

const clocks = [testClock(), testClock()] as const;
const opened = openTestStore({ clock: clocks[0] });
stopTime();
await useInTime(opened, clocks[0]);
writeSync(1, "opened before: used\n");
await useInTime(openTestStore({ clock: clocks[1] }), clocks[1]);
writeSync(1, "opened after: used\n");
