// A store for tests: the real operations on SQLite in memory, in the caller's thread, with the same encoding and
// constraints, and a clock that tests move.
import { inProcessStore } from "../actor/inProcess.ts";
import { createServer } from "../actor/server.ts";
import { backUpOnline } from "../backup/online.ts";
import { type TestClock, testClock } from "../clock.ts";
import type { StoreEvent } from "../events.ts";
import { checkLimits, checkMaxBytes, type Limits } from "../limits.ts";
import { openSqlite } from "../sqlite/open.ts";
import type { OwnedStore } from "../storeTypes.ts";

export interface TestStoreOptions {
  /** The clock of the store; `clock.advance(ms)` lets leases and tokens expire. */
  readonly clock?: TestClock;
  /** Limits of the store. Unless `reapEveryMs` is set, the reaper runs only when it is called. */
  readonly limits?: Partial<Limits>;
  readonly maxBytes?: number;
  readonly onEvent?: (event: StoreEvent) => void;
}

export async function openTestStore(options: TestStoreOptions = {}): Promise<OwnedStore> {
  const clock = options.clock ?? testClock();
  const limits = checkLimits({ reapEveryMs: 0, ...options.limits });
  const onEvent = options.onEvent ?? (() => undefined);
  const file = {
    path: ":memory:",
    migrate: "create",
    synchronous: "full",
    maxBytes: checkMaxBytes(options.maxBytes),
  } as const;
  const driver = openSqlite({ ...file, clock, limits, onSecondServer: () => undefined });
  const server = createServer({ drivers: [driver], clock, limits, shared: false, onEvent });
  return inProcessStore(server, limits, (backup = {}) => backUpOnline(":memory:", backup, server.backUp));
}
