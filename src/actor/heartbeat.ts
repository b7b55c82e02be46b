// The database thread's heart: it writes the time into shared memory, and whoever shares that sees at once whether it
// still turns its loop. No message and no queue lies between (D-020).

export function newHeart(): SharedArrayBuffer {
  const heart = new SharedArrayBuffer(8);
  beat(heart);
  return heart;
}

/** Of one clock for all threads of the process. */
export function beat(heart: SharedArrayBuffer): void {
  Atomics.store(new BigInt64Array(heart), 0, process.hrtime.bigint());
}

export function beatAgoMs(heart: SharedArrayBuffer): number {
  return Math.max(0, Number((process.hrtime.bigint() - Atomics.load(new BigInt64Array(heart), 0)) / 1_000_000n));
}

/** Returns what stops it. */
export function keepBeating(heart: SharedArrayBuffer, everyMs: number): () => void {
  beat(heart);
  const timer = setInterval(() => beat(heart), Math.max(1, everyMs));
  timer.unref();
  return () => clearInterval(timer);
}
