// A worktree in which a command may still run: it keeps its holder, whatever the time of its lease (D-079).
import assert from "node:assert/strict";
import type { Lease, Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { fails, subject } from "../suite.ts";

export function worktreesInUseConformance(backend: TestedBackend): void {
  subject(backend, "worktrees: a lease that runs out while a command runs", ({ test }) => {
    const environmentHash = "in use";
    const ttlMs = 20_000;
    /** Starts one of two commands in the only worktree of a repository. The lease of the worktree is the shorter one. */
    const running = async (store: Store, commandTtlMs = 600_000) => {
      const { repository } = await fixtures(store).repository({ maxWorktrees: 1 });
      const { runner } = await fixtures(store).runner({ ttlMs: 600_000 });
      const { session, lease } = await store.sessions.create({
        repositoryId: repository.id,
        commitSha: "a".repeat(40),
        maxParallel: 2,
        reserve: { runnerId: runner.id, ttlMs },
        commands: [{ argv: ["true"] }, { argv: ["true"] }],
      });
      const { worktree, fence } = lease as Lease;
      await store.worktrees.ready({ worktreeId: worktree.id, fence });
      const claim = await store.commands.claim({ runnerId: runner.id, sessionId: session.id, ttlMs: commandTtlMs });
      const command = { commandId: claim?.command.id as string, fence: claim?.fence as number };
      return {
        sessionId: session.id,
        runnerId: runner.id,
        held: { worktreeId: worktree.id, fence },
        command,
        /** A heartbeat that names the command only, as a runner may send it. */
        beat: () =>
          store.runners.heartbeat({
            runnerId: runner.id,
            commands: [{ id: command.commandId, fence: command.fence }],
            ttlMs: 600_000,
          }),
        stateOf: async () => (await store.worktrees.get({ worktreeId: worktree.id })).state,
        other: () => store.worktrees.reserve({ repositoryId: repository.id, owner: "other", environmentHash }),
      };
    };

    test("the worktree of an active command is granted to nobody, even if heartbeats do not name it", async ({
      store,
      clock,
    }) => {
      const { sessionId, held, command, beat, stateOf, other } = await running(store);
      clock.advance(ttlMs + 1);
      await store.maintenance.reap();
      assert.equal(await stateOf(), "leased");
      const full = await fails(other(), "capacity_exhausted", { earliestExpiryAt: null, inUse: 1, quarantined: 0 });
      assert.equal(full.retryable, true);
      assert.deepEqual((await beat()).lost, []);
      const { runner: idle } = await fixtures(store).runner();
      assert.equal(await store.commands.claim({ runnerId: idle.id, sessionId }), undefined);
      await store.commands.finish({ ...command, outcome: "succeeded" });
      assert.equal((await other()).worktree.id, held.worktreeId);
      assert.equal((await store.sessions.get({ sessionId })).worktreeId, null);
    });

    test("a session that has ended keeps its worktree until its last command ends", async ({ store, clock }) => {
      const { sessionId, command, stateOf, other } = await running(store);
      await store.sessions.complete({ sessionId });
      clock.advance(ttlMs + 1);
      await store.maintenance.reap();
      assert.equal(await stateOf(), "leased");
      await fails(other(), "capacity_exhausted");
      await store.commands.finish({ ...command, outcome: "cancelled", release: "clean" });
      assert.equal(await stateOf(), "idle");
    });

    test("both leases end together when the time of the command has passed too", async ({ store, clock }) => {
      const late = await running(store, ttlMs);
      clock.advance(ttlMs + 1);
      // Until then the runner may still renew its command, and so the worktree is not granted before.
      await fails(late.other(), "capacity_exhausted");
      assert.deepEqual((await late.beat()).lost, []);
      const gone = await running(store, ttlMs);
      clock.advance(ttlMs + 1);
      await store.maintenance.reap();
      assert.deepEqual([await late.stateOf(), await gone.stateOf()], ["leased", "dirty"]);
      const { state } = await store.commands.get({ commandId: gone.command.commandId });
      assert.equal(state, "queued", "its claim never reached the runner");
    });

    test("a session gets no second worktree while its command may still run in the first one", async ({
      store,
      clock,
    }) => {
      const { sessionId, runnerId, held, command } = await running(store);
      const { repositoryId } = await store.sessions.get({ sessionId });
      const again = () => store.worktrees.reserve({ repositoryId, sessionId, runnerId, environmentHash });
      clock.advance(ttlMs + 1);
      await fails(again(), "conflict", { reason: "bound", worktreeId: held.worktreeId });
      await store.commands.finish({ ...command, outcome: "succeeded" });
      assert.equal((await again()).fence, held.fence + 1);
    });

    test("an expired lease is found behind one under which a command runs", async ({ store, clock }) => {
      const { sessionId, held } = await running(store);
      const { repositoryId } = await store.sessions.get({ sessionId });
      await store.repositories.upsert({ name: (await store.repositories.get({ repositoryId })).name, maxWorktrees: 2 });
      const { worktree } = await fixtures(store).lease({ repositoryId, ttlMs: ttlMs + 1 });
      clock.advance(ttlMs + 2);
      const { worktree: granted } = await store.worktrees.reserve({ repositoryId, owner: "other" });
      assert.equal(granted.id, worktree.id);
      assert.notEqual(granted.id, held.worktreeId);
    });
  });
}
