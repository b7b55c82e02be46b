// Time comes into the store from one place. Wall time dates rows; elapsed time tells a jump of the wall clock from time that passed.

export interface Clock {
  /** Milliseconds since 1970-01-01 UTC. */
  now(): number;
  /** Milliseconds since some fixed moment; never jumps. */
  elapsed(): number;
}

export const systemClock: Clock = { now: () => Date.now(), elapsed: () => performance.now() };

/** A clock that tests move: `advance` lets time pass, `jump` turns the wall clock. It can be shared between threads. */
export interface TestClock extends Clock {
  advance(ms: number): void;
  jump(ms: number): void;
  readonly shared: SharedArrayBuffer;
}

/** Offsets live in shared memory, so that a thread that is given `shared` sees each move at once. */
export function testClock(shared: SharedArrayBuffer = new SharedArrayBuffer(16)): TestClock {
  const [advanced, jumped] = [0, 1];
  const offsetsMs = new BigInt64Array(shared);
  const offset = (index: number): number => Number(Atomics.load(offsetsMs, index));
  const add = (index: number, ms: number): void => void Atomics.add(offsetsMs, index, BigInt(ms));
  return {
    now: () => systemClock.now() + offset(advanced) + offset(jumped),
    elapsed: () => systemClock.elapsed() + offset(advanced),
    advance: (ms) => add(advanced, ms),
    jump: (ms) => add(jumped, ms),
    shared,
  };
}
