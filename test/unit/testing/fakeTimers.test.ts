// A test store works under fake timers, and only its own clock moves it.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { it } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { fixtures, openTestStore, testClock } from "../../../src/testing/index.ts";
import { notEnded, useInTime } from "../../support/timedUse.ts";

it("node's fake timers, installed before or after a store is opened", async ({ mock }) => {
  const clocks = [testClock(), testClock()] as const;
  const before = openTestStore({ clock: clocks[0] });
  mock.timers.enable();
  await useInTime(before, clocks[0]);
  await useInTime(openTestStore({ clock: clocks[1] }), clocks[1]);
  const store = await openTestStore();
  const { createdAt } = await store.repositories.upsert({ name: "a" });
  assert.ok(createdAt.getTime() > 1_700_000_000_000, "rows have the time of the test clock and not the mocked one");
  mock.timers.tick(86_400_000);
  const { updatedAt } = await store.repositories.upsert({ name: "a", description: "b" });
  assert.ok(updatedAt.getTime() - createdAt.getTime() < 80_000_000);
  await store.close();
});

it("fake timers that replace everything, in globals and in Node's modules", async () => {
  const program = fileURLToPath(new URL("../../support/stoppedTime.ts", import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [program], { timeout: 60_000 });
  assert.equal(stdout, "opened before: used\nopened after: used\n");
});

it("fake timers from before the package was loaded are refused with the reason", async () => {
  const url = JSON.stringify(new URL("../../../src/testing/index.ts", import.meta.url).href);
  for (const fake of [
    "mock.timers.enable();",
    'mock.timers.enable({ apis: ["setTimeout"] });',
    'mock.timers.enable({ apis: ["setImmediate"] });',
    // As jest does.
    "const { nextTick } = process; process.nextTick = () => undefined; setTimeout(() => (process.nextTick = nextTick), 2_000);",
  ]) {
    const program = `
      import { mock } from "node:test";
      ${fake}
      const { openTestStore } = await import(${url});
      await openTestStore().catch(({ code, message }) => console.log(code, message));`;
    const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", program]);
    assert.match(stdout, /^invalid_input fake timers were installed before debug-server-db was loaded/);
  }
});

it("a clock moves its own stores and no others", async () => {
  const [clock, other] = [testClock(), testClock()];
  const stores = await Promise.all([
    openTestStore({ clock }),
    openTestStore({ clock }),
    openTestStore({ clock: other }),
  ]);
  const ended: number[] = [];
  const waits = stores.map(async (store, index) => {
    const { session } = await fixtures(store).session();
    await assert.rejects(store.sessions.wait({ sessionId: session.id, timeoutMs: 60_000 }), notEnded);
    ended.push(index);
  });
  for (const store of stores) {
    let parked = 0;
    while (parked === 0) ({ parked = 0 } = (await store.maintenance.stats()).serving);
  }
  clock.advance(59_000);
  await Promise.all(stores.map((store) => store.maintenance.stats()));
  assert.deepEqual(ended, []);
  clock.advance(1_000);
  await Promise.all(waits.slice(0, 2));
  assert.deepEqual(ended.toSorted(), [0, 1]);
  other.advance(60_000);
  await Promise.all(waits);
  await Promise.all(stores.map((store) => store.close()));
});
