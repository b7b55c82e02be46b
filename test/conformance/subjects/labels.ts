// Labels: a runner gets only commands whose required labels it has, the longest wait first.
import assert from "node:assert/strict";
import { newId, type Store } from "../../../src/index.ts";
import { bounds } from "../../../src/limits.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { cancelAll, fails, parked, subject } from "../suite.ts";

const argv = ["true"];
const linux = { os: "linux", gpu: "2" };

/** Queues a command in a session of its own, and returns the id of the session. */
async function queued(store: Store, requires: readonly string[], more: object = {}): Promise<string> {
  const { session } = await fixtures(store).session();
  await store.commands.enqueue({ sessionId: session.id, commands: [{ argv, requires, ...more }] });
  return session.id;
}

const runnerWith = async (store: Store, labels: Record<string, string> = {}) =>
  (await fixtures(store).runner({ labels, ttlMs: 3_600_000 })).runner.id;

const claimOf = async (store: Store, runnerId: string) => (await store.commands.claim({ runnerId }))?.session.id;

export function labelsConformance(backend: TestedBackend): void {
  subject(backend, "labels", ({ test, alone }) => {
    test("a runner gets only what it has all labels for: a key with any value, or key=value", async ({ store }) => {
      await cancelAll(store);
      const plain = await runnerWith(store);
      const mac = await runnerWith(store, { os: "mac" });
      const gpu = await runnerWith(store, linux);
      const cases = [
        [["os"], [mac, gpu]],
        [["os=linux"], [gpu]],
        [["os=mac"], [mac]],
        [["gpu", "os=linux"], [gpu]],
        [["gpu=1", "os=linux"], []],
        [["os="], []],
        [["linux"], []],
        [[], [plain, mac, gpu]],
      ] as const;
      for (const [requires, expected] of cases)
        for (const runnerId of [plain, mac, gpu]) {
          const sessionId = await queued(store, requires);
          const got = await claimOf(store, runnerId);
          const ofSession = (await store.commands.claim({ runnerId: gpu, sessionId }))?.session.id;
          assert.equal(got, expected.some((id) => id === runnerId) ? sessionId : undefined, `${requires}`);
          const byName = got === undefined && expected.some((id) => id === gpu);
          assert.equal(ofSession, byName ? sessionId : undefined, `${requires}, by name`);
          await cancelAll(store);
        }
    });

    test("a command shows its labels with those of its session, and the session its own", async ({ store }) => {
      const { session } = await fixtures(store).session({ requires: ["os=linux", "gpu", "gpu"] });
      assert.deepEqual(session.requires, ["gpu", "os=linux"]);
      const [command] = await store.commands.enqueue({
        sessionId: session.id,
        commands: [{ argv, requires: ["zone=a", "gpu"] }],
      });
      assert.deepEqual(command?.requires, ["gpu", "os=linux", "zone=a"]);
      assert.deepEqual(await store.commands.get({ commandId: command?.id as string }), command);
      const { commands } = await fixtures(store).session({ requires: ["gpu"], commands: [{ argv }] });
      assert.deepEqual(commands[0]?.requires, ["gpu"]);
      const free = await fixtures(store).session({ commands: [{ argv }] });
      assert.deepEqual([free.session.requires, free.commands[0]?.requires], [[], []]);
    });

    test("of all that a runner can do, the longest wait goes first", async ({ store, clock }) => {
      await cancelAll(store);
      const runnerId = await runnerWith(store, linux);
      const sessionIds: string[] = [];
      for (const requires of [["gpu"], [], ["os=linux"], ["gpu"], ["gpu", "os"], []]) {
        sessionIds.push(await queued(store, requires));
        await clock.advance(10);
      }
      const urgent = await queued(store, ["os"], { priority: 1 });
      for (const sessionId of [urgent, ...sessionIds, undefined])
        assert.equal(await claimOf(store, runnerId), sessionId);
    });

    test("the labels of the command at the head of the queue count", async ({ store }) => {
      await cancelAll(store);
      const [plain, gpu] = [await runnerWith(store), await runnerWith(store, linux)];
      const { session } = await fixtures(store).session({ maxParallel: 3 });
      const commands = [{ argv }, { argv, requires: ["gpu"] }, { argv }];
      await store.commands.enqueue({ sessionId: session.id, commands });
      assert.equal(await claimOf(store, plain), session.id);
      assert.equal(await claimOf(store, plain), undefined);
      assert.equal(await claimOf(store, gpu), session.id);
      assert.equal(await claimOf(store, plain), session.id);
    });

    test("a worktree of a runner does not make up for a label", async ({ store }) => {
      await cancelAll(store);
      const runnerId = await runnerWith(store, { os: "linux" });
      const { session: first } = await fixtures(store).session({ reserve: { runnerId } });
      const { session: second } = await fixtures(store).session({ reserve: { runnerId } });
      await store.commands.enqueue({ sessionId: first.id, commands: [{ argv, requires: ["gpu"] }] });
      assert.equal(await claimOf(store, runnerId), undefined);
      await store.commands.enqueue({ sessionId: second.id, commands: [{ argv, requires: ["os"] }] });
      assert.equal(await claimOf(store, runnerId), second.id);
      assert.equal(await claimOf(store, runnerId), undefined);
      assert.equal(await store.commands.claim({ runnerId, sessionId: first.id }), undefined);
    });

    test("labels have a key, no characters that cannot be seen, and a length", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const long = "x".repeat(bounds.labelLength);
      const most = Array.from({ length: bounds.requiredLabels }, (_, n) => `label-${n}`);
      for (const requires of [
        ["=x"],
        [""],
        ["a\nb"],
        [`${long}x`],
        [...most, "one-more"],
        Array(6)
          .fill(0)
          .map((_, n) => `${n}${long.slice(1)}`),
      ])
        await fails(store.commands.enqueue({ sessionId: session.id, commands: [{ argv, requires }] }), "invalid_input");
      for (const requires of [[long], most])
        await store.commands.enqueue({ sessionId: session.id, commands: [{ argv, requires }] });
      await fails(store.runners.register({ name: "r", labels: { "a=b": "c" } }), "invalid_input");
    });

    alone("the sets of labels of commands that have not ended have a bound", async ({ store }) => {
      const { session } = await fixtures(store).session({ maxParallel: 1_000 });
      const enqueue = (...sets: string[]) =>
        store.commands.enqueue({ sessionId: session.id, commands: sets.map((label) => ({ argv, requires: [label] })) });
      const commands = await enqueue(...Array.from({ length: bounds.labelSets - 1 }, (_, n) => `set-${n}`));
      await fails(enqueue("set-a", "set-b"), "invalid_input", { labelSets: bounds.labelSets - 1 });
      await enqueue("set-a", "set-a", "set-1");
      await fails(enqueue("set-b"), "invalid_input", { labelSets: bounds.labelSets });
      // One that runs counts, because it may be queued again.
      const runnerId = await runnerWith(store, { "set-0": "" });
      const claim = await store.commands.claim({ runnerId });
      assert.equal(claim?.command.id, commands[0]?.id);
      await fails(enqueue("set-b"), "invalid_input");
      await store.commands.finish({ commandId: claim?.command.id as string, fence: 1, outcome: "succeeded" });
      await enqueue("set-b");
    });

    alone(
      "a command wakes one of the claims of runners that have its labels, and no other",
      async ({ store }) => {
        const aborter = new AbortController();
        const claims: Promise<unknown>[] = [];
        for (let n = 0; n < 24; n++) {
          const runnerId = await runnerWith(store, [linux, { os: "linux" }, {}][n % 3]);
          const claim = store.commands.claim({ runnerId, ...lasting }, { signal: aborter.signal });
          claims.push(claim.then((found) => found && { ...found, runnerId, index: n % 3 }));
        }
        await parked(store, 24);
        const runs = async () => (await store.maintenance.stats()).serving.calls as number;
        const cases = [
          [["gpu"], 0],
          [["gpu=2", "os"], 0],
          [["gpu"], 0],
        ] as const;
        for (const [requires, index] of cases) {
          const { session } = await fixtures(store).session();
          const before = await runs();
          const settled = Promise.race(claims);
          await store.commands.enqueue({ sessionId: session.id, commands: [{ argv, requires }] });
          const found = (await settled) as { session: { id: string }; index: number; runnerId: string };
          assert.deepEqual([found.session.id, found.index], [session.id, index]);
          for (const claim of [...claims]) {
            const done = await Promise.race([claim, undefined]);
            if (done !== undefined) claims.splice(claims.indexOf(claim), 1);
          }
          assert.ok((await runs()) - before <= 8);
        }
        // Nobody has these labels, so nobody looks.
        await store.commands.enqueue({
          sessionId: (await fixtures(store).session()).session.id,
          commands: [{ argv, requires: ["tpu"] }],
        });
        await parked(store, 21);
        aborter.abort();
        await Promise.allSettled(claims);
      },
      { limits },
    );

    alone(
      "a runner that registers with further labels gets what waits for them, also by a claim that waits",
      async ({ store }) => {
        const registration = { name: "r", bootId: newId(), ttlMs: 3_600_000 };
        const { id: runnerId } = await store.runners.register(registration);
        const sessionId = await queued(store, ["gpu"]);
        const claim = store.commands.claim({ runnerId, ...lasting });
        await parked(store, 1);
        await store.runners.register({ ...registration, labels: { gpu: "" } });
        assert.equal((await claim)?.session.id, sessionId);
      },
      { limits },
    );
  });
}

/** A claim with a short ttlMs runs now and then to renew its runner. */
const lasting = { ttlMs: 3_600_000, waitMs: 600_000 };
/** Nothing but a commit wakes a call that waits. */
const limits = { rewakeMs: 600_000, dataVersionPollMs: 600_000, reapEveryMs: 0 };
