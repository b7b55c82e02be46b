// The stores of the model test.
import { attachStore } from "../../../src/store.ts";
import { openTestStore, testClock } from "../../../src/testing/index.ts";
import type { Tested } from "./run.ts";
import { limits as times } from "./state.ts";

/** The reaper runs only when a step calls it. The clock is moved on purpose, so the store must not take it for a jump. */
const limits = { ...times, reapEveryMs: 0, clockJumpMs: 2 ** 31 - 1, callMs: 120_000 } as const;

export async function openMemory(): Promise<Tested> {
  const clock = testClock();
  const store = await openTestStore({ clock, limits });
  const clients = [store, attachStore(store.connect()), attachStore(store.connect())];
  return { clock, clients, close: () => store.close() };
}
