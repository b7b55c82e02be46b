// The one source of time. Wall time dates rows; elapsed time shows whether the wall clock has jumped.

export interface Clock {
  /** Returns the milliseconds since 1970-01-01 UTC. */
  now(): number;
  /** Returns the milliseconds since a fixed moment. It never jumps. */
  elapsed(): number;
  /** True when pauses of the process count: always, except for a clock that tests move. */
  readonly pauses: boolean;
}

export const systemClock: Clock = { now: () => Date.now(), elapsed: () => performance.now(), pauses: true };

/** Returns the moment that lies `ms` milliseconds after another. */
export function after(moment: Date, ms: number): Date {
  return new Date(moment.getTime() + ms);
}

/** A clock that tests move, also from another thread. */
export interface TestClock extends Clock {
  /** Lets time pass. */
  advance(ms: number): void;
  /** Changes the wall clock, while elapsed time goes on as before. */
  jump(ms: number): void;
  /** The memory of the clock. A clock that another thread creates with it moves along. */
  readonly shared: SharedArrayBuffer;
}

/**
 * Creates a test clock. Its offsets live in shared memory, so that a clock in another thread with the same memory sees
 * each move at once.
 */
export function testClock(shared: SharedArrayBuffer = new SharedArrayBuffer(16)): TestClock {
  const [advanced, jumped] = [0, 1];
  const offsetsMs = new BigInt64Array(shared);
  const offset = (index: number): number => Number(Atomics.load(offsetsMs, index));
  const add = (index: number, ms: number): void => void Atomics.add(offsetsMs, index, BigInt(ms));
  return {
    now: () => systemClock.now() + offset(advanced) + offset(jumped),
    elapsed: () => systemClock.elapsed() + offset(advanced),
    pauses: false,
    advance: (ms) => add(advanced, ms),
    jump: (ms) => add(jumped, ms),
    shared,
  };
}
