// A store for tests: the real operations on SQLite in memory, in the caller's thread, with the same encoding and
// constraints, and a clock that tests move.
import { once } from "node:events";
import { MessageChannel } from "node:worker_threads";
import { inProcessStore } from "../actor/inProcess.ts";
import { createServer } from "../actor/server.ts";
import { openArchive } from "../archive/chooseArchive.ts";
import type { LogArchive } from "../archive/logArchive.ts";
import { backUpOnline } from "../backup/online.ts";
import { type TestClock, testClock } from "../clock.ts";
import { StoreError } from "../errors.ts";
import type { StoreEvent } from "../events.ts";
import { checkLimits, checkMaxBytes, type Limits } from "../limits.ts";
import { checkNodeVersion } from "../package.ts";
import { realTime } from "../realTime.ts";
import { openSqlite } from "../sqlite/open.ts";
import type { OwnedStore } from "../storeTypes.ts";

export interface TestStoreOptions {
  /** The clock of the store; `clock.advance(ms)` lets leases and tokens expire. */
  readonly clock?: TestClock;
  /** Limits of the store. Unless `reapEveryMs` or `pruneEveryMs` is set, reaper and pruner run only when called. */
  readonly limits?: Partial<Limits>;
  readonly maxBytes?: number;
  /** The archive that sealed logs move to: a folder, or an object with put, get and delete. */
  readonly logArchive?: { readonly folder: string } | LogArchive;
  readonly onEvent?: (event: StoreEvent) => void;
}

/**
 * Opens a store for tests. Fake timers that are installed after this package was loaded do not reach it. Fails with
 * `invalid_input` when they were installed before.
 */
export async function openTestStore(options: TestStoreOptions = {}): Promise<OwnedStore> {
  checkNodeVersion();
  timersRun ??= checkTimers();
  if (!(await timersRun))
    throw new StoreError(
      "invalid_input",
      "fake timers were installed before debug-server-db was loaded, and it would never run: import it first",
    );
  const clock = options.clock ?? testClock();
  const limits = checkLimits({ reapEveryMs: 0, pruneEveryMs: 0, ...options.limits });
  const onEvent = options.onEvent ?? (() => undefined);
  const file = {
    path: ":memory:",
    migrate: "create",
    synchronous: "full",
    maxBytes: checkMaxBytes(options.maxBytes),
  } as const;
  const driver = openSqlite({ ...file, clock, limits, onEvent });
  const movesLogs = options.logArchive !== undefined;
  const logArchive = openArchive({ archive: options.logArchive, movesLogs });
  const server = createServer({ drivers: [driver], clock, limits, shared: false, logArchive, movesLogs, onEvent });
  return inProcessStore(server, limits, (backup = {}) => backUpOnline(":memory:", backup, server.backUp));
}

let timersRun: Promise<boolean> | undefined;

/**
 * Checks whether the timers that the package has taken run by themselves. Messages between ports pass in every turn of
 * the event loop, and no fake timers hold them up, so a timer that has not run after many of them never will.
 */
async function checkTimers(): Promise<boolean> {
  let left = 3;
  realTime.nextTick(() => left--);
  realTime.setImmediate(() => left--);
  realTime.setTimeout(() => left--, 1);
  const { port1, port2 } = new MessageChannel();
  try {
    for (let turns = 0; left > 0 && turns < turnsMax; turns++) {
      const arrived = once(port2, "message");
      port1.postMessage(undefined);
      await arrived;
    }
  } finally {
    port1.close();
  }
  return left === 0;
}

const turnsMax = 20_000;
