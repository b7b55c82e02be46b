// Uses a test store in every way in which it needs time by itself.
import assert from "node:assert/strict";
import type { OwnedStore } from "../../src/index.ts";
import { fixtures, type TestClock } from "../../src/testing/index.ts";

/** The error of a wait whose time is over. */
export const notEnded = { code: "deadline_exceeded", message: /has not ended yet/ };

/** Runs groups and ticks, lets deadlines and waits pass, moves the clock, and closes the store. */
export async function useInTime(opened: Promise<OwnedStore>, clock: TestClock): Promise<void> {
  const store = await opened;
  const { session } = await fixtures(store).session();
  const wait = (timeoutMs: number, options?: { timeoutMs: number }) =>
    store.sessions.wait({ sessionId: session.id, timeoutMs }, options);
  await Promise.all([assert.rejects(wait(20), notEnded), store.repositories.upsert({ name: "a" })]);
  await assert.rejects(wait(60_000, { timeoutMs: 20 }), { code: "deadline_exceeded" });
  const waiting = assert.rejects(wait(60_000), notEnded);
  clock.advance(60_000);
  await waiting;
  await store.close();
}
