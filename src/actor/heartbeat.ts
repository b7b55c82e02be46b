// The heartbeat of the database thread: a time in shared memory. The thread writes it regularly, and its owner reads it
// without a message or a queue in between, so it sees at once when the thread's event loop is blocked (D-020).
import { realTime } from "../realTime.ts";

export function createHeartbeat(): SharedArrayBuffer {
  const heartbeat = new SharedArrayBuffer(8);
  beat(heartbeat);
  return heartbeat;
}

/** Beats for as long as the thread lives. */
export function keepBeating(heartbeat: SharedArrayBuffer, everyMs: number): void {
  beat(heartbeat);
  realTime.setInterval(() => beat(heartbeat), Math.max(1, everyMs)).unref();
}

/** Returns the time since the last beat. */
export function beatAgoMs(heartbeat: SharedArrayBuffer): number {
  const beatAt = Atomics.load(new BigInt64Array(heartbeat), 0);
  return Math.max(0, Number((realTime.hrtime() - beatAt) / 1_000_000n));
}

/** Writes the time of a monotonic clock that all threads of the process share. */
function beat(heartbeat: SharedArrayBuffer): void {
  Atomics.store(new BigInt64Array(heartbeat), 0, realTime.hrtime());
}
