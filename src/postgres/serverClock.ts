// The server's time as this process knows it, so that processes on several hosts agree on when a lease ends (D-045).

import { type Clock, systemClock } from "../clock.ts";

/**
 * A clock that transactions set now and then by the server's, and that runs on by elapsed time in between, so that it
 * never jumps.
 */
export interface ServerClock {
  /** True when the next transaction is to read the server's clock. */
  readonly due: boolean;
  /** Takes over a reading in milliseconds. `askedAtMs`: when the server was asked, by performance.now(). */
  read(serverMs: number, askedAtMs: number): void;
  /** True when the last reading is so old that a transaction has to wait for a new one. */
  readonly stale: boolean;
  now(): Date;
}

/** The query for the server's time in milliseconds. */
export const askTime = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now";

/** The interval at which the server's clock is read, and the time for which a reading is good. */
const readEveryMs = 100;
const readingMs = 1_000;
/** A round trip that is short enough for its reading to replace a fresh one. */
const preciseMs = 5;

/**
 * Creates the clock of one store, moved by a test's clock if there is one. `watched` is the same clock, for the watch
 * on clock jumps.
 */
export function createServerClock(clock: Clock): { server: ServerClock; watched: Clock } {
  let serverMs = 0;
  let readAtMs = Number.NEGATIVE_INFINITY;
  const movedMs = () => (clock === systemClock ? 0 : clock.now() - Date.now());
  const nowMs = () => serverMs + performance.now() - readAtMs + movedMs();
  return {
    server: {
      get due() {
        return performance.now() - readAtMs > readEveryMs;
      },
      read(ms, askedAtMs) {
        const answeredAtMs = performance.now();
        // A reading that took long to arrive is less precise than an older one that did not.
        if (answeredAtMs - askedAtMs > preciseMs && answeredAtMs - readAtMs < readingMs) return;
        serverMs = ms;
        // The server read its clock somewhere in between. With the middle, the error is at most half of the round trip.
        readAtMs = (askedAtMs + answeredAtMs) / 2;
      },
      get stale() {
        return performance.now() - readAtMs > readingMs;
      },
      now: () => new Date(Math.floor(nowMs())),
    },
    watched: { now: nowMs, elapsed: () => clock.elapsed() },
  };
}
