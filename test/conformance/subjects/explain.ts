// Why a queued command has not started.
import assert from "node:assert/strict";
import { newId, type Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { cancelAll, fails, subject } from "../suite.ts";

const argv = ["true"];

export function explainConformance(backend: TestedBackend): void {
  subject(backend, "commands: explain", ({ alone }) => {
    const reasonsOf = async (store: Store, commandId: string | undefined) =>
      (await store.commands.explain({ commandId: commandId as string })).reasons;

    alone("names what holds a command up, and nothing for one that is not queued", async ({ store, clock }) => {
      const given = fixtures(store);
      const { session, commands } = await given.session({ maxParallel: 1, commands: [{ argv }, { argv }, { argv }] });
      const [first, second, third] = commands.map(({ id }) => id);
      assert.deepEqual(await reasonsOf(store, first), [{ kind: "no_runner" }]);
      const { runner } = await given.runner({ ttlMs: 60_000 });
      assert.deepEqual(await reasonsOf(store, first), [{ kind: "queue", ahead: 0 }]);
      assert.deepEqual(await reasonsOf(store, third), [
        { kind: "predecessors", commands: 2, commandId: first },
        { kind: "queue", ahead: 0 },
      ]);
      await store.commands.claim({ runnerId: runner.id });
      const explained = await store.commands.explain({ commandId: first as string });
      assert.deepEqual(explained, { command: await store.commands.get({ commandId: first as string }), reasons: [] });
      assert.deepEqual(await reasonsOf(store, second), [{ kind: "max_parallel", active: 1, maxParallel: 1 }]);
      // Silent for long, the runner is no longer online, whether the reaper has been there or not.
      await clock.advance(60_001);
      const gone = [{ kind: "max_parallel", active: 1, maxParallel: 1 }, { kind: "no_runner" }];
      assert.deepEqual(await reasonsOf(store, second), gone);
      await store.sessions.cancel({ sessionId: session.id });
      assert.deepEqual(await reasonsOf(store, second), []);
      await fails(store.commands.explain({ commandId: newId() }), "not_found", { entity: "command" });
    });

    alone("counts the sessions that a runner claims from before", async ({ store, clock }) => {
      const given = fixtures(store);
      await given.runner({ labels: { gpu: "2", os: "linux" } });
      const queued = async (requires: string[], more: object = {}) => {
        const [command] = (await given.session({ commands: [{ argv, requires, ...more }] })).commands;
        await clock.advance(10);
        return command?.id;
      };
      const plain = [await queued([]), await queued([])];
      const [gpu, linux, both] = [
        await queued(["gpu=2"]),
        await queued(["os=linux"]),
        await queued(["gpu=2", "os=linux"]),
      ];
      const last = await queued([]);
      const urgent = await queued([], { priority: 1 });
      const expected = [
        [plain[0], 1],
        [plain[1], 2],
        [gpu, 3],
        [linux, 3],
        [both, 5],
        [last, 3],
        [urgent, 0],
      ] as const;
      for (const [id, ahead] of expected) assert.deepEqual(await reasonsOf(store, id), [{ kind: "queue", ahead }]);
      await cancelAll(store);
    });

    alone("names the labels that no runner has", async ({ store }) => {
      const given = fixtures(store);
      await given.runner({ labels: { os: "linux" } });
      await given.runner({ labels: { gpu: "" } });
      const { commands } = await given.session({
        commands: [{ argv, requires: ["gpu", "os=linux", "tpu"] }, { argv }],
      });
      const [head, behind] = commands.map(({ id }) => id);
      const lacking = { kind: "labels", commandId: head, requires: ["gpu", "os=linux", "tpu"], runners: 2 };
      assert.deepEqual(await reasonsOf(store, head), [{ ...lacking, missing: ["tpu"] }]);
      assert.deepEqual(await reasonsOf(store, behind), [
        { kind: "predecessors", commands: 1, commandId: head },
        { ...lacking, missing: ["tpu"] },
      ]);
      // Each label is there, but no runner has both.
      const [other] = (await given.session({ commands: [{ argv, requires: ["gpu", "os"] }] })).commands;
      const apart = { kind: "labels", commandId: other?.id, requires: ["gpu", "os"], missing: [], runners: 2 };
      assert.deepEqual(await reasonsOf(store, other?.id), [apart]);
    });

    alone("names the holder of the worktree that does not claim", async ({ store }) => {
      const given = fixtures(store);
      const { runner } = await given.runner({ labels: { os: "linux" }, ttlMs: 3_600_000 });
      await given.runner({ labels: { gpu: "" } });
      const owned = await given.session({ reserve: { owner: "ann" }, commands: [{ argv }] });
      const holder = { kind: "worktree", worktreeId: owned.session.worktreeId, owner: "ann" };
      assert.deepEqual(await reasonsOf(store, owned.commands[0]?.id), [
        { ...holder, runnerId: null, runnerState: null, missing: [] },
      ]);
      const { session, commands } = await given.session({
        reserve: { runnerId: runner.id, ttlMs: 3_600_000 },
        commands: [{ argv }, { argv, requires: ["gpu"] }],
      });
      const [plain, gpu] = commands.map(({ id }) => id);
      assert.deepEqual(await reasonsOf(store, plain), [{ kind: "queue", ahead: 0 }]);
      await store.commands.cancel({ commandId: plain as string });
      const byRunner = {
        kind: "worktree",
        worktreeId: session.worktreeId,
        owner: (await store.worktrees.get({ worktreeId: session.worktreeId as string })).leaseOwner,
        runnerId: runner.id,
      };
      assert.deepEqual(await reasonsOf(store, gpu), [{ ...byRunner, runnerState: "online", missing: ["gpu"] }]);
      await store.runners.drain({ runnerId: runner.id });
      assert.deepEqual(await reasonsOf(store, gpu), [{ ...byRunner, runnerState: "draining", missing: ["gpu"] }]);
    });
  });
}
