// The one source of time. Wall time dates rows; elapsed time shows whether the wall clock has jumped.
import { randomInt } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { realTime } from "./realTime.ts";

export interface Clock {
  /** Returns the milliseconds since 1970-01-01 UTC. */
  now(): number;
  /** Returns the milliseconds since a fixed moment. It never jumps. */
  elapsed(): number;
  /** True when pauses of the process count: always, except for a clock that tests move. */
  readonly pauses: boolean;
  /**
   * Calls the listener soon after each move of a clock that tests move, until the returned function is called. Other
   * clocks do not have it: timers tell when their time has passed.
   */
  onMoved?(listener: () => void): () => void;
  /** Returns the elapsed time that all processes of the machine share, or undefined when they share none. */
  uptime(): Uptime | undefined;
}

/** The elapsed time since the machine started. */
export interface Uptime {
  /** Names the start of the machine: times of different starts cannot be compared. */
  readonly start: string;
  readonly ms: number;
}

export const systemClock: Clock = {
  now: () => realTime.now(),
  elapsed: () => realTime.elapsed(),
  pauses: true,
  uptime: () => (machineStart === undefined ? undefined : { start: machineStart, ms: uptimeMs() }),
};

const uptimeMs = (): number => Number(realTime.hrtime() / 1_000_000n);

/**
 * The name of the machine's start. Linux has one, where containers may also have elapsed times of their own:
 * https://www.man7.org/linux/man-pages/man7/time_namespaces.7.html
 */
const machineStart = readMachineStart();

function readMachineStart(): string | undefined {
  try {
    const start = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    return `${start}/${readlinkSync("/proc/self/ns/time")}`;
  } catch {
    return undefined;
  }
}

/** Returns the moment that lies `ms` milliseconds after another. */
export function after(moment: Date, ms: number): Date {
  return new Date(moment.getTime() + ms);
}

/** A clock that tests move, also from another thread. */
export interface TestClock extends Clock {
  /** Lets time pass. Calls that wait end when their time is over by this clock. */
  advance(ms: number): void;
  /** Changes the wall clock, while elapsed time goes on as before. */
  jump(ms: number): void;
  /** The memory of the clock. A clock that another thread creates with it moves along. */
  readonly shared: SharedArrayBuffer;
}

/** The memory of a test clock: two offsets of 8 bytes, the number of its moves, and the name of its start. */
const [advanced, jumped, clockBytes] = [0, 1, 24];

/**
 * Creates a test clock. Its offsets live in shared memory, so that a clock in another thread with the same memory sees
 * each move at once. Nothing else moves it: its time goes on with that of the system, whatever fake timers or dates a
 * test has installed.
 */
export function testClock(shared: SharedArrayBuffer = new SharedArrayBuffer(clockBytes)): TestClock {
  const offsetsMs = new BigInt64Array(shared, 0, 2);
  const moves = new Int32Array(shared, 16, 1);
  const start = new Int32Array(shared, 20, 1);
  Atomics.compareExchange(start, 0, 0, randomInt(1, 2 ** 31 - 1));
  const offset = (index: number): number => Number(Atomics.load(offsetsMs, index));
  const move = (index: number, ms: number): void => {
    Atomics.add(offsetsMs, index, BigInt(ms));
    Atomics.add(moves, 0, 1);
    Atomics.notify(moves, 0);
  };
  return {
    now: () => systemClock.now() + offset(advanced) + offset(jumped),
    elapsed: () => systemClock.elapsed() + offset(advanced),
    pauses: false,
    onMoved: (listener) => onMoved(moves, listener),
    uptime: () => ({ start: `test-${Atomics.load(start, 0)}`, ms: uptimeMs() + offset(advanced) }),
    advance: (ms) => move(advanced, ms),
    jump: (ms) => move(jumped, ms),
    shared,
  };
}

/** Calls the listener after the number in shared memory has changed, until the returned function is called. */
function onMoved(moves: Int32Array<SharedArrayBuffer>, listener: () => void): () => void {
  let stopped = false;
  const watch = async (): Promise<void> => {
    let seen = Atomics.load(moves, 0);
    while (!stopped) {
      // Does not wait when the number is another one already, so no move is missed.
      await Atomics.waitAsync(moves, 0, seen).value;
      if (stopped || Atomics.load(moves, 0) === seen) continue;
      seen = Atomics.load(moves, 0);
      listener();
    }
  };
  void watch();
  return () => {
    stopped = true;
    // Ends the wait above. Other watches of this clock find no move and wait again.
    Atomics.notify(moves, 0);
  };
}
