// A runner that starts again replaces its former self, whose leases end at once.
import assert from "node:assert/strict";
import { newId, type Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { endOfFeed, fails, subject } from "../suite.ts";

export function runnerReplacementConformance(backend: TestedBackend): void {
  subject(backend, "runners that replace their former selves", ({ test, alone }) => {
    const opsSince = async (store: Store, after: number, entityId: string) =>
      (await store.changes.since({ after, limit: 500 })).changes
        .filter((change) => change.entityId === entityId)
        .map(({ op, detail }) => ({ op, detail }));

    test("the former self is gone, its command is queued again, and its worktrees are free", async ({ store }) => {
      const { runner, claim, session } = await fixtures(store).claim({ maxAttempts: 2 });
      const ready = await fixtures(store).lease({ runnerId: runner.id });
      const repositoryId = ready.worktree.repositoryId;
      const creating = await store.worktrees.reserve({ repositoryId, runnerId: runner.id });
      const { runner: other } = await fixtures(store).runner();
      const foreign = await fixtures(store).lease({ repositoryId, runnerId: other.id });
      const after = await endOfFeed(store);

      const { name } = runner;
      const successor = await store.runners.register({ name, replaces: runner.id });

      assert.equal((await store.runners.get({ runnerId: runner.id })).state, "gone");
      const command = await store.commands.get({ commandId: claim.command.id });
      assert.deepEqual([command.state, command.attempt], ["queued", 1]);
      const attempts = await store.commands.attempts({ commandId: command.id });
      assert.deepEqual(
        attempts.map(({ outcome, logState }) => [outcome, logState]),
        [["lost", "sealed"]],
      );
      const stateOf = async (worktreeId: string) => (await store.worktrees.get({ worktreeId })).state;
      assert.equal(await stateOf(ready.worktree.id), "dirty");
      assert.equal(await stateOf(creating.worktree.id), "quarantined");
      assert.equal(await stateOf(foreign.worktree.id), "leased");
      assert.deepEqual(await opsSince(store, after, runner.id), [{ op: "gone", detail: { replacedBy: successor.id } }]);
      assert.deepEqual(
        (await opsSince(store, after, command.id)).map(({ op }) => op),
        ["requeue"],
      );
      const again = await store.commands.claim({ runnerId: successor.id, sessionId: session.id });
      assert.deepEqual([again?.command.id, again?.command.attempt], [command.id, 2]);
    });

    test("what the former self still reports is refused", async ({ store }) => {
      const { runner, claim } = await fixtures(store).claim({ maxAttempts: 2 });
      const { worktree, fence } = await fixtures(store).lease({ runnerId: runner.id });
      await store.runners.register({ name: runner.name, replaces: runner.id });
      const held = { commandId: claim.command.id, fence: claim.fence };
      await fails(store.commands.finish({ ...held, outcome: "succeeded" }), "lease_lost");
      await fails(store.logs.append({ ...held, offset: 0, data: new Uint8Array([1]) }), "lease_lost");
      await fails(store.worktrees.renew({ worktreeId: worktree.id, fence }), "lease_lost");
      await fails(store.worktrees.release({ worktreeId: worktree.id, fence, to: "clean" }), "lease_lost");
      await fails(store.runners.heartbeat({ runnerId: runner.id }), "invalid_transition", { state: "gone" });
      await fails(store.commands.claim({ runnerId: runner.id }), "invalid_transition", { state: "gone" });
    });

    test("a command without attempts left is lost, and one that was cancelled is cancelled", async ({ store }) => {
      const { runner, claim } = await fixtures(store).claim();
      const { session: other } = await fixtures(store).command();
      const cancelled = await store.commands.claim({ runnerId: runner.id, sessionId: other.id });
      if (cancelled === undefined) throw new Error("there is nothing to claim");
      await store.commands.cancel({ commandId: cancelled.command.id });
      await store.runners.register({ name: runner.name, replaces: runner.id });
      const stateOf = async (commandId: string) => {
        const { state, endReason } = await store.commands.get({ commandId });
        return { state, endReason };
      };
      assert.deepEqual(await stateOf(claim.command.id), { state: "lost", endReason: "runner_replaced" });
      assert.equal((await stateOf(cancelled.command.id)).state, "cancelled");
    });

    test("a session loses the worktree of the former self, and goes on with the new one", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      const { runner } = await fixtures(store).runner();
      const { session, lease } = await store.sessions.create({
        repositoryId: repository.id,
        commitSha: fixtures(store).commitSha,
        commands: [{ argv: ["true"], maxAttempts: 2 }],
        reserve: { runnerId: runner.id },
      });
      const claim = await store.commands.claim({ runnerId: runner.id, sessionId: session.id });
      assert.ok(claim !== undefined && lease !== null);
      const { id: runnerId } = await store.runners.register({ name: runner.name, replaces: runner.id });
      assert.equal((await store.sessions.get({ sessionId: session.id })).worktreeId, null);
      assert.notEqual((await store.worktrees.get({ worktreeId: lease.worktree.id })).state, "leased");
      assert.ok((await store.commands.claim({ runnerId, sessionId: session.id })) !== undefined);
    });

    test("a claim of the former self that waits ends at once", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const { runner } = await fixtures(store).runner();
      // A claim with a short ttlMs runs now and then to renew its runner.
      const claim = fails(
        store.commands.claim({ runnerId: runner.id, sessionId: session.id, ttlMs: 3_600_000, waitMs: 10_000 }),
        "invalid_transition",
        { state: "gone" },
      );
      await store.runners.register({ name: runner.name, replaces: runner.id });
      await claim;
    });

    test("repeating the registration changes nothing more", async ({ store }) => {
      const { runner } = await fixtures(store).claim();
      const input = { name: runner.name, bootId: newId(), replaces: runner.id };
      const first = await store.runners.register(input);
      const { runner: claimant, claim } = await fixtures(store).claim();
      const after = await endOfFeed(store);
      assert.equal((await store.runners.register(input)).id, first.id);
      assert.deepEqual(await opsSince(store, after, runner.id), []);
      // A third run may name any of the earlier ones.
      await store.runners.register({ ...input, bootId: newId() });
      const beat = await store.runners.heartbeat({
        runnerId: claimant.id,
        commands: [{ id: claim.command.id, fence: claim.fence }],
      });
      assert.deepEqual(beat.lost, []);
    });

    test("only an earlier run of the same name is replaced, and nothing happens otherwise", async ({ store }) => {
      const { runner } = await fixtures(store).claim();
      const bootId = newId();
      const registerAs = (name: string, replaces: string) => store.runners.register({ name, bootId, replaces });
      await fails(registerAs("someone-else", runner.id), "conflict", { reason: "other_name", name: runner.name });
      await fails(registerAs(runner.name, newId()), "not_found", { entity: "runner" });
      assert.equal((await store.runners.get({ runnerId: runner.id })).state, "online");
      const named = await store.runners.list({ name: runner.name });
      assert.deepEqual(
        named.items.map(({ id }) => id),
        [runner.id],
      );
      const itself = { id: newId(), name: runner.name, bootId };
      await fails(store.runners.register({ ...itself, replaces: itself.id }), "invalid_input");
      await store.runners.register(itself);
      await fails(store.runners.register({ name: runner.name, bootId, replaces: itself.id }), "invalid_input");
    });

    const manyLeases = async ({ store }: { readonly store: Store }) => {
      const { runner } = await fixtures(store).runner();
      const { repository } = await fixtures(store).repository({ maxWorktrees: 10 });
      const lease = () => fixtures(store).lease({ repositoryId: repository.id, runnerId: runner.id });
      const trees = [];
      for (let n = 0; n < 5; n++) trees.push(await lease());
      const states = async () => {
        const { items } = await store.worktrees.list({ repositoryId: repository.id });
        return items.map(({ state }) => state).toSorted();
      };
      await store.runners.register({ name: runner.name, replaces: runner.id });
      assert.deepEqual(await states(), ["dirty", "dirty", "leased", "leased", "leased"]);
      while ((await store.maintenance.reap()).more);
      assert.deepEqual(await states(), Array(5).fill("dirty"));
    };
    alone("the leases that one call does not end have expired, and the reaper ends them", manyLeases, {
      limits: { reapRows: 2, reapEveryMs: 0 },
    });
  });
}
