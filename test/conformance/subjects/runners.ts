// Runners: registering by boot id, heartbeats, draining, stalling, being gone.
import assert from "node:assert/strict";
import { newId, type Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { endOfFeed, fails, subject } from "../suite.ts";

export function runnersConformance(backend: TestedBackend): void {
  subject(backend, "runners", ({ test }) => {
    const stateOf = async (store: Store, runnerId: string) =>
      (await store.runners.list({ limit: 500 })).items.find(({ id }) => id === runnerId)?.state;

    test("register creates a runner with its labels", async ({ store, clock }) => {
      const bootId = newId();
      const before = clock.now();
      const row = await store.runners.register({
        name: "r",
        bootId,
        host: "h",
        pid: 7,
        labels: { os: "linux" },
        ttlMs: 5_000,
      });
      assert.deepEqual(
        [row.bootId, row.host, row.pid, row.labels, row.state, row.version],
        [bootId, "h", 7, { os: "linux" }, "online", 1],
      );
      // The store's clock may differ from this one: it may be that of another machine.
      const grantedAtMs = row.expiresAt.getTime() - 5_000;
      assert.ok(grantedAtMs >= before - 50 && grantedAtMs <= clock.now() + 50, `${grantedAtMs - before}`);
    });

    test("registering a boot id again updates the same runner", async ({ store }) => {
      const bootId = newId();
      const first = await store.runners.register({ name: "before", bootId });
      const second = await store.runners.register({ name: "after", bootId });
      assert.deepEqual([second.id, second.name, second.version], [first.id, "after", 2]);
    });

    test("repeating a registration renews the runner and records no change", async ({ store, clock }) => {
      const [bootId, labels] = [newId(), { os: "linux" }];
      const first = await store.runners.register({ name: "r", bootId, labels });
      const { nextSeq } = await store.changes.since({ limit: 0 });
      clock.advance(1_000);
      const second = await store.runners.register({ name: "r", bootId, labels });
      assert.deepEqual([second.version, second.updatedAt], [first.version, first.updatedAt]);
      assert.ok(second.expiresAt > first.expiresAt);
      assert.deepEqual((await store.changes.since({ after: nextSeq, entity: "runner" })).changes, []);
    });

    test("registering a runner with an id that exists is a conflict", async ({ store }) => {
      const { runner } = await fixtures(store).runner();
      await fails(store.runners.register({ id: runner.id, name: "r" }), "conflict", { reason: "exists" });
    });

    test("heartbeat renews the runner and all leases that it holds", async ({ store, clock }) => {
      const { runner, claim } = await fixtures(store).claim();
      const { worktree, fence } = await fixtures(store).lease({ runnerId: runner.id });
      clock.advance(30_000);
      const beat = await store.runners.heartbeat({
        runnerId: runner.id,
        ttlMs: 90_000,
        worktrees: [{ id: worktree.id, fence }],
        commands: [{ id: claim.command.id, fence: claim.fence }],
      });
      assert.deepEqual([beat.lost, beat.cancel], [[], []]);
      assert.deepEqual((await store.worktrees.get({ worktreeId: worktree.id })).leaseExpiresAt, beat.expiresAt);
      assert.deepEqual((await store.commands.get({ commandId: claim.command.id })).leaseExpiresAt, beat.expiresAt);
    });

    test("heartbeat reports the leases that the runner has lost, and does not renew them", async ({ store, clock }) => {
      const { runner, claim } = await fixtures(store).claim();
      const { runner: other } = await fixtures(store).runner();
      const { worktree: foreign, fence } = await fixtures(store).lease({ runnerId: other.id });
      const gone = { id: newId(), fence: 3 };
      const beat = await store.runners.heartbeat({
        runnerId: runner.id,
        worktrees: [{ id: foreign.id, fence }, gone],
        commands: [{ id: claim.command.id, fence: claim.fence + 1 }],
      });
      assert.deepEqual(beat.lost, [
        { kind: "worktree", id: foreign.id, fence },
        { kind: "worktree", ...gone },
        { kind: "command", id: claim.command.id, fence: claim.fence + 1 },
      ]);
      clock.advance(60_001);
      await store.maintenance.reap();
      const late = await store.runners.heartbeat({
        runnerId: runner.id,
        commands: [{ id: claim.command.id, fence: claim.fence }],
      });
      assert.deepEqual(late.lost, [{ kind: "command", id: claim.command.id, fence: claim.fence }]);
    });

    test("a late heartbeat renews the leases that nobody has taken", async ({ store, clock }) => {
      const { runner, claim } = await fixtures(store).claim();
      const { worktree, fence } = await fixtures(store).lease({ runnerId: runner.id, ttlMs: 20_000 });
      clock.advance(60_001);
      const held = {
        runnerId: runner.id,
        worktrees: [{ id: worktree.id, fence }],
        commands: [{ id: claim.command.id, fence: claim.fence }],
      };
      assert.deepEqual((await store.runners.heartbeat(held)).lost, []);
      const pass = await store.maintenance.reap();
      assert.ok(!pass.worktrees.includes(worktree.id) && !pass.commands.includes(claim.command.id));
      assert.deepEqual((await store.runners.heartbeat(held)).lost, []);
    });

    test("heartbeat lists a cancelled command until it is finished", async ({ store }) => {
      const { runner, claim } = await fixtures(store).claim();
      const held = { id: claim.command.id, fence: claim.fence };
      await store.commands.cancel({ commandId: held.id });
      for (let beat = 0; beat < 2; beat++) {
        assert.deepEqual((await store.runners.heartbeat({ runnerId: runner.id, commands: [held] })).cancel, [held.id]);
      }
      await store.commands.finish({ commandId: held.id, fence: held.fence, outcome: "cancelled" });
      const { cancel, lost } = await store.runners.heartbeat({ runnerId: runner.id, commands: [held] });
      assert.deepEqual([cancel, lost], [[], [{ kind: "command", ...held }]]);
    });

    test("heartbeats add no changes", async ({ store }) => {
      const { runner } = await fixtures(store).runner();
      const nextSeq = await endOfFeed(store);
      await store.runners.heartbeat({ runnerId: runner.id });
      assert.equal(await endOfFeed(store), nextSeq);
    });

    test("an unknown runner is not_found", async ({ store }) => {
      await fails(store.runners.heartbeat({ runnerId: newId() }), "not_found", { entity: "runner" });
      await fails(store.runners.drain({ runnerId: newId() }), "not_found", { entity: "runner" });
      await fails(store.commands.claim({ runnerId: newId() }), "not_found", { entity: "runner" });
    });

    test("a draining runner gets no more commands and keeps those it has; draining it again changes nothing", async ({
      store,
    }) => {
      const { runner, claim } = await fixtures(store).claim();
      const row = await store.runners.drain({ runnerId: runner.id });
      assert.equal(row.state, "draining");
      assert.deepEqual(await store.runners.drain({ runnerId: runner.id }), row);
      await fails(store.commands.claim({ runnerId: runner.id }), "invalid_transition", { state: "draining" });
      const beat = await store.runners.heartbeat({
        runnerId: runner.id,
        commands: [{ id: claim.command.id, fence: claim.fence }],
      });
      assert.deepEqual(beat.lost, []);
      assert.equal(await stateOf(store, runner.id), "draining");
      await store.commands.finish({ commandId: claim.command.id, fence: claim.fence, outcome: "succeeded" });
    });

    test("a runner without heartbeats is stalled, and is online again after its next heartbeat", async ({
      store,
      clock,
    }) => {
      const { runner } = await fixtures(store).runner({ ttlMs: 20_000 });
      clock.advance(20_001);
      assert.ok((await store.maintenance.reap()).runners.includes(runner.id));
      assert.equal(await stateOf(store, runner.id), "stalled");
      await store.runners.heartbeat({ runnerId: runner.id });
      assert.equal(await stateOf(store, runner.id), "online");
    });

    for (const sign of ["heartbeat", "claim"] as const) {
      test(`a stalled runner that is online again by a ${sign} has a new version, and a row of changes`, async ({
        store,
        clock,
      }) => {
        const { session } = await fixtures(store).session();
        const { runner } = await fixtures(store).runner({ ttlMs: 20_000 });
        clock.advance(20_001);
        await store.maintenance.reap();
        const after = await endOfFeed(store);
        const calls = {
          heartbeat: () => store.runners.heartbeat({ runnerId: runner.id }),
          claim: () => store.commands.claim({ runnerId: runner.id, sessionId: session.id }),
        };
        for (let n = 0; n < 2; n++) await calls[sign]();
        const { changes } = await store.changes.since({ after });
        assert.deepEqual(
          changes.filter(({ entityId }) => entityId === runner.id).map(({ op, entityVersion }) => [op, entityVersion]),
          [["online", 3]],
        );
        const row = (await store.runners.list({ limit: 500 })).items.find(({ id }) => id === runner.id);
        assert.deepEqual([row?.state, row?.version], ["online", 3]);
      });
    }

    test("a claim is a sign of life of its runner, and never shortens its time", async ({ store, clock }) => {
      const { session } = await fixtures(store).session();
      const claimBy = (runnerId: string) => store.commands.claim({ runnerId, sessionId: session.id, ttlMs: 20_000 });
      const { runner } = await fixtures(store).runner({ ttlMs: 20_000 });
      const { runner: lasting } = await fixtures(store).runner({ ttlMs: 3_600_000 });
      for (let n = 0; n < 4; n++) {
        clock.advance(15_000);
        for (const { id } of [runner, lasting]) assert.equal(await claimBy(id), undefined);
        const { runners } = await store.maintenance.reap();
        assert.ok(!runners.includes(runner.id) && !runners.includes(lasting.id));
      }
      clock.advance(20_001);
      const { runners } = await store.maintenance.reap();
      assert.deepEqual([runners.includes(runner.id), runners.includes(lasting.id)], [true, false]);
    });

    test("a claim that waits keeps its runner alive", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const { runner } = await fixtures(store).runner({ ttlMs: 1_000 });
      const claimed = store.commands.claim({
        runnerId: runner.id,
        sessionId: session.id,
        ttlMs: 1_000,
        waitMs: 60_000,
      });
      const expiryOf = async () =>
        (await store.runners.list({ limit: 500 })).items.find(({ id }) => id === runner.id)?.expiresAt as Date;
      while ((await expiryOf()) <= runner.expiresAt) await new Promise((resolve) => setTimeout(resolve, 20));
      await store.commands.enqueue({ sessionId: session.id, commands: [{ argv: ["true"] }] });
      assert.notEqual(await claimed, undefined);
    });

    test("a draining runner that missed heartbeats is still draining after its next one", async ({ store, clock }) => {
      const { runner } = await fixtures(store).runner({ ttlMs: 20_000 });
      await store.runners.drain({ runnerId: runner.id });
      clock.advance(20_001);
      await store.maintenance.reap();
      await store.runners.heartbeat({ runnerId: runner.id });
      await fails(store.commands.claim({ runnerId: runner.id }), "invalid_transition", { state: "draining" });
    });

    test("a runner without heartbeats for long enough, draining or not, is gone, and needs a new boot id", async ({
      store,
      clock,
    }) => {
      const { runner } = await fixtures(store).runner({ ttlMs: 20_000 });
      const { runner: drained } = await fixtures(store).runner({ ttlMs: 20_000 });
      await store.runners.drain({ runnerId: drained.id });
      clock.advance(20_001);
      await store.maintenance.reap();
      clock.advance(300_001);
      await store.maintenance.reap();
      for (const { id, bootId } of [runner, drained]) {
        assert.equal(await stateOf(store, id), "gone");
        await fails(store.runners.heartbeat({ runnerId: id }), "invalid_transition", { state: "gone" });
        await fails(store.runners.drain({ runnerId: id }), "invalid_transition", { state: "gone" });
        await fails(store.worktrees.reserve({ repositoryId: newId(), runnerId: id }), "not_found");
        await fails(store.runners.register({ name: "r", bootId }), "invalid_transition", { state: "gone" });
      }
      assert.equal((await store.runners.register({ name: runner.name })).state, "online");
    });

    test("list filters by state", async ({ store }) => {
      const { runner } = await fixtures(store).runner();
      await store.runners.drain({ runnerId: runner.id });
      const draining = (await store.runners.list({ state: "draining", limit: 500 })).items;
      assert.ok(draining.some(({ id }) => id === runner.id));
      assert.ok(draining.every(({ state }) => state === "draining"));
    });
  });
}
