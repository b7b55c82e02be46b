// Waits for SQLite's locks while a database is opened or restored. It blocks the thread, which serves no calls then.

import type Database from "better-sqlite3";
import type { Limits } from "../limits.ts";
import { realTime } from "../realTime.ts";
import { translate } from "./errors.ts";

/** Runs a function in a transaction that holds the write lock. */
export function inImmediateTransaction<Result>(
  db: Database.Database,
  { busyGiveUpMs }: Pick<Limits, "busyGiveUpMs">,
  run: () => Result,
): Result {
  return retryWhileBusy(busyGiveUpMs, () => db.transaction(run).immediate());
}

/** Repeats a function while it fails with busy. Each attempt waits for SQLite's own busy timeout. */
export function retryWhileBusy<Result>(giveUpMs: number, run: () => Result): Result {
  const overAt = realTime.elapsed() + giveUpMs;
  for (;;) {
    try {
      return run();
    } catch (error) {
      if (translate(error).code !== "busy" || realTime.elapsed() > overAt) throw error;
      // Sleeps for 5 ms without giving up the thread.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
}
