// The stores of the model test.
import { join } from "node:path";
import type { Store } from "../../../src/index.ts";
import { openStore } from "../../../src/index.ts";
import { attachStore } from "../../../src/store.ts";
import { openTestStore, testClock } from "../../../src/testing/index.ts";
import { dropDatabase, newDatabase } from "../../support/postgres.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { startThread } from "../../system/faults/databaseThread.ts";
import type { Tested } from "./run.ts";
import { limits as times } from "./state.ts";

/**
 * The reaper runs only when a step calls it. The clock is moved on purpose: the store must take it neither for a jump,
 * nor, after a death of its thread, for a time in which nobody served.
 */
const never = 2 ** 31 - 1;
const limits = {
  ...times,
  reapEveryMs: 0,
  pruneEveryMs: 0,
  clockJumpMs: never,
  servedEveryMs: never,
  callMs: 120_000,
} as const;

/** Three clients: more calls are never made together. */
const three = (connect: () => Store): readonly Store[] => [connect(), connect(), connect()];

export async function openMemory(): Promise<Tested> {
  const clock = testClock();
  const store = await openTestStore({ clock, limits });
  return { clock, clients: three(() => attachStore(store.connect())), isSerial: true, close: () => store.close() };
}

/** Opens a file in a thread that dies when a step asks for it. */
export async function openFile(): Promise<Tested> {
  const clock = testClock();
  const path = join(temporaryFolder(), "store.db");
  const start = () => startThread(path, { limits, clock: clock.shared });
  let thread = await start();
  let clients = three(thread.connect);
  const end = async () => {
    await thread.worker.terminate();
    await thread.exited;
  };
  return {
    clock,
    isSerial: true,
    get clients() {
      return clients;
    },
    async die() {
      await end();
      thread = await start();
      clients = three(thread.connect);
    },
    close: end,
  };
}

export async function openPostgres(): Promise<Tested> {
  const clock = testClock();
  const url = await newDatabase();
  const store = await openStore({ url, clock, limits });
  return {
    clock,
    clients: three(() => attachStore(store.connect())),
    isSerial: false,
    async close() {
      await store.close();
      await dropDatabase(url);
    },
  };
}
