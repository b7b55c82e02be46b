// The server's time as this process knows it, so that processes on several hosts agree on when a lease ends (D-045).

import { type Clock, systemClock } from "../clock.ts";
import { realTime } from "../realTime.ts";

/**
 * A clock that is set from readings of the server's clock, and advances by elapsed time between them. The wall clock of
 * this host does not affect it.
 */
export interface ServerClock {
  /** True when the next transaction should read the server's clock. */
  readonly due: boolean;
  /** Sets the clock from a reading. `askedAtMs` is the value of performance.now() when the query was sent. */
  set(serverMs: number, askedAtMs: number): void;
  /** True when the last reading is so old that a transaction has to wait for a new one. */
  readonly stale: boolean;
  now(): Date;
}

/** The query for the server's time in milliseconds. */
export const timeQuery = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now";

/** The interval at which transactions read the server's clock. */
const readIntervalMs = 100;
/** The age at which a reading is too old to be used. */
const readingAgeMaxMs = 1_000;
/** The longest round trip whose reading is precise enough to replace one that can still be used. */
const preciseRoundTripMs = 5;

/**
 * Creates the clock of one store. A test's clock shifts it. `watched` is the same clock as a Clock, in which the store
 * detects jumps.
 */
export function createServerClock(clock: Clock): { server: ServerClock; watched: Clock } {
  let serverMs = 0;
  let readAtMs = Number.NEGATIVE_INFINITY;
  const movedMs = () => (clock === systemClock ? 0 : clock.now() - realTime.now());
  const nowMs = () => serverMs + realTime.elapsed() - readAtMs + movedMs();
  return {
    server: {
      get due() {
        return realTime.elapsed() - readAtMs > readIntervalMs;
      },
      set(ms, askedAtMs) {
        const answeredAtMs = realTime.elapsed();
        // A reading that took long to arrive is less precise than a recent one that did not.
        if (answeredAtMs - askedAtMs > preciseRoundTripMs && answeredAtMs - readAtMs < readingAgeMaxMs) return;
        serverMs = ms;
        // The server read its clock somewhere in between. With the middle, the error is at most half of the round trip.
        readAtMs = (askedAtMs + answeredAtMs) / 2;
      },
      get stale() {
        return realTime.elapsed() - readAtMs > readingAgeMaxMs;
      },
      now: () => new Date(Math.floor(nowMs())),
    },
    watched: { ...clock, now: nowMs },
  };
}
