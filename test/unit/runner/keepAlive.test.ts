// One heartbeat keeps alive what a runner holds, and each holding learns when its work must stop.
import assert from "node:assert/strict";
import { once } from "node:events";
import { suite, type TestContext, test } from "node:test";
import { newId, StoreError } from "../../../src/index.ts";
import { type KeepAliveOptions, keepAlive } from "../../../src/runner/keepAlive.ts";
import { fixtures, openTestStore, stubStore, testClock } from "../../../src/testing/index.ts";

const worktree = { kind: "worktree", id: newId(), fence: 1 } as const;
const runnerId = newId();

async function claimed(t: TestContext, options: Partial<KeepAliveOptions> = {}) {
  const clock = testClock();
  const store = await openTestStore({ clock });
  t.after(() => store.close());
  const { claim } = await fixtures(store).claim({ maxAttempts: 3 });
  const alive = keepAlive(store, { runnerId: claim.command.runnerId as string, intervalMs: 20, ...options });
  t.after(() => alive.close());
  const { id: commandId } = claim.command;
  const holding = alive.hold({ kind: "command", id: commandId, fence: claim.fence });
  return { store, clock, claim, commandId, alive, holding };
}

suite("keepAlive", { concurrency: true }, () => {
  test("heartbeats renew a lease for as long as it is held", async (t) => {
    const { store, clock, commandId, holding } = await claimed(t);
    for (let hour = 0; hour < 3; hour++) {
      clock.advance(20_000);
      await new Promise<void>((resolve) => {
        const end = holding.onRenewed((remainingMs) => {
          assert.ok(remainingMs > 29_000 && remainingMs <= 30_000);
          end();
          resolve();
        });
      });
    }
    await store.maintenance.reap();
    assert.equal((await store.commands.get({ commandId })).state, "running");
    assert.equal(holding.signal.aborted, false);
  });

  test("a command that is cancelled fires with `cancelled`, and keeps its lease", async (t) => {
    const { store, commandId, holding } = await claimed(t);
    await store.commands.cancel({ commandId });
    await once(holding.signal, "abort");
    assert.deepEqual([holding.signal.reason, holding.isLost], ["cancelled", false]);
    assert.ok(holding.remainingMs() > 0);
  });

  test("a command that was ended by force fires with `lost`", async (t) => {
    const { store, commandId, holding } = await claimed(t);
    await store.commands.cancel({ commandId, force: true });
    await once(holding.signal, "abort");
    assert.deepEqual([holding.signal.reason, holding.isLost, holding.remainingMs()], ["lost", true, 0]);
  });

  test("a holding that was cancelled can still become lost", async (t) => {
    const { store, commandId, holding } = await claimed(t);
    await store.commands.cancel({ commandId });
    await once(holding.signal, "abort");
    await store.commands.cancel({ commandId, force: true });
    await once(holding.lost, "abort");
    assert.deepEqual([holding.signal.reason, holding.isLost], ["cancelled", true]);
  });

  test("a command over its timeout fires with `timed_out`, without the store", async (t) => {
    const { alive, claim, commandId } = await claimed(t, { intervalMs: 10_000 });
    const holding = alive.hold({ kind: "command", id: commandId, fence: claim.fence, timeoutMs: 30 });
    await once(holding.signal, "abort");
    assert.equal(holding.signal.reason, "timed_out");
  });

  test("a command that the store wants stopped after its session's deadline fires with `deadline`", async (t) => {
    const { store, alive, claim, commandId, holding: first } = await claimed(t);
    first.drop();
    const holding = alive.hold({ kind: "command", id: commandId, fence: claim.fence, deadlineMs: 0 });
    await alive.beat();
    assert.equal(holding.signal.aborted, false);
    await store.commands.cancel({ commandId });
    await once(holding.signal, "abort");
    assert.equal(holding.signal.reason, "deadline");
  });

  test("a limit of many years does not fire at once", async (t) => {
    const { alive, claim, commandId } = await claimed(t);
    const holding = alive.hold({ kind: "command", id: commandId, fence: claim.fence, timeoutMs: 2 ** 40 });
    await alive.beat();
    assert.equal(holding.signal.aborted, false);
  });

  test("without an answer of the store, a holding is lost when its lease may have run out", async (t) => {
    const errors: string[] = [];
    const store = stubStore({
      runners: {
        heartbeat: () => {
          throw new StoreError("busy", "not now");
        },
      },
    });
    const alive = keepAlive(store, {
      runnerId,
      ttlMs: 1_000,
      intervalMs: 100,
      onError: ({ code }) => errors.push(code),
    });
    t.after(() => alive.close());
    const startedAtMs = performance.now();
    const holding = alive.hold(worktree);
    await once(holding.signal, "abort");
    const tookMs = performance.now() - startedAtMs;
    assert.equal(holding.signal.reason, "lost");
    assert.ok(tookMs > 950, `after ${tookMs} ms`);
    assert.ok(errors.length > 1 && errors.every((code) => code === "busy"), "it was tried again");
  });

  test("everything is lost when the store knows the runner as gone", async (t) => {
    const { alive, store, clock, holding } = await claimed(t, { intervalMs: 10_000 });
    // The heartbeat that confirms the lease; the next one is far.
    await new Promise<unknown>((resolve) => holding.onRenewed(resolve));
    clock.advance(3_600_000);
    await store.maintenance.reap();
    await store.maintenance.reap();
    await alive.beat();
    assert.deepEqual([alive.gone.aborted, holding.signal.reason], [true, "lost"]);
    assert.equal(alive.hold(worktree).isLost, true);
  });

  test("one heartbeat names everything that is held, and nothing that was dropped", async (t) => {
    const sent: { worktrees: unknown; commands: unknown }[] = [];
    const store = stubStore({
      runners: {
        heartbeat: ({ worktrees = [], commands = [] }) => {
          sent.push({ worktrees, commands });
          return { expiresAt: new Date(), lost: [], cancel: [] };
        },
      },
    });
    const alive = keepAlive(store, { runnerId, intervalMs: 60_000 });
    t.after(() => alive.close());
    alive.hold(worktree);
    const command = { kind: "command", id: newId(), fence: 7 } as const;
    alive.hold(command);
    alive.hold({ kind: "command", id: newId(), fence: 1 }).drop();
    await alive.beat();
    assert.deepEqual(sent, [{ worktrees: [{ id: worktree.id, fence: 1 }], commands: [{ id: command.id, fence: 7 }] }]);
  });

  test("what is dropped while a heartbeat is on its way is not renewed by its answer", async (t) => {
    const answer = Promise.withResolvers<{ expiresAt: Date; lost: never[]; cancel: never[] }>();
    const alive = keepAlive(stubStore({ runners: { heartbeat: () => answer.promise } }), {
      runnerId,
      ttlMs: 1_000,
      intervalMs: 60_000,
    });
    t.after(() => alive.close());
    const holding = alive.hold(worktree);
    const beaten = alive.beat();
    let renewals = 0;
    holding.drop();
    holding.onRenewed(() => renewals++);
    answer.resolve({ expiresAt: new Date(), lost: [], cancel: [] });
    await beaten;
    assert.equal(renewals, 0);
  });

  test("a holding is confirmed by its first renewal, and its time counts from when that was asked for", async (t) => {
    const answer = Promise.withResolvers<{ expiresAt: Date; lost: never[]; cancel: never[] }>();
    const alive = keepAlive(stubStore({ runners: { heartbeat: () => answer.promise } }), { runnerId, ttlMs: 60_000 });
    t.after(() => alive.close());
    const [holding, dropped] = [alive.hold(worktree), alive.hold({ kind: "command", id: newId(), fence: 1 })];
    const settled: string[] = [];
    const waits = [
      holding.confirmed.then(() => settled.push(`held for ${Math.ceil(holding.remainingMs() / 60_000)} minute`)),
      dropped.confirmed.then(() => settled.push("dropped")),
    ];
    dropped.drop();
    await waits[1];
    assert.deepEqual(settled, ["dropped"]);
    answer.resolve({ expiresAt: new Date(), lost: [], cancel: [] });
    await waits[0];
    assert.deepEqual(settled, ["dropped", "held for 1 minute"]);
  });

  test("a time that is too short for heartbeats is refused", () => {
    assert.throws(() => keepAlive(stubStore({}), { runnerId, ttlMs: 10 }), /ttlMs: 10 is too short: at least 1000/);
  });
});
