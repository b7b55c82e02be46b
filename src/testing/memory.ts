// The real operations on SQLite in memory, in the caller's thread: same encoding, same constraints, no file, and time that tests move.
import { inProcessStore } from "../actor/inProcess.ts";
import { createServer } from "../actor/server.ts";
import { backUpOnline } from "../backup/online.ts";
import { type TestClock, testClock } from "../clock.ts";
import type { StoreEvent } from "../events.ts";
import { checkLimits, type Limits } from "../limits.ts";
import { openSqlite } from "../sqlite/open.ts";
import { checkMaxBytes } from "../store.ts";
import type { OwnedStore } from "../storeTypes.ts";

export interface TestStoreOptions {
  /** Makes expiry a matter of `clock.advance(ms)`. */
  readonly clock?: TestClock;
  /** The reaper runs only when called, unless `reapEveryMs` is set. */
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
