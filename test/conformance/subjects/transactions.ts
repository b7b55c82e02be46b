// atomically: all calls or none, in order, in one message.
import assert from "node:assert/strict";
import { newId, type Session, type Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { bytes, endOfFeed, fails, subject } from "../suite.ts";

const argv = ["true"];

export function transactionsConformance(backend: TestedBackend): void {
  subject(backend, "transactions", ({ test }) => {
    const { commitSha } = fixtures({} as Store);

    test("calls may depend on each other by ids that the caller chose, and results come in their order", async ({
      store,
    }) => {
      const { repository } = await fixtures(store).repository();
      const id = newId();
      const [created, commands, session, found] = await store.atomically((tx) => {
        tx.sessions.create({ id, repositoryId: repository.id, commitSha });
        tx.commands.enqueue({ sessionId: id, commands: [{ argv }] });
        tx.sessions.get({ sessionId: id });
        tx.repositories.find({ name: "there is none" });
      });
      assert.deepEqual([created.session.id, commands[0].sessionId, found], [id, id, undefined]);
      assert.equal((session as Session).queuedCommands, 1);
      assert.deepEqual(await store.sessions.get({ sessionId: id }), session);
    });

    test("a failure undoes all calls and names the first call that failed", async ({ store }) => {
      const names = [newId(), newId(), newId()];
      const nextSeq = await endOfFeed(store);
      const repositoryId = newId();
      const error = await fails(
        store.atomically((tx) => {
          tx.repositories.upsert({ name: names[0] as string });
          tx.repositories.upsert({ name: names[1] as string });
          tx.repositories.archive({ repositoryId });
          tx.repositories.upsert({ name: names[2] as string });
          tx.repositories.archive({ repositoryId: newId() });
        }),
        "not_found",
        { index: 2, id: repositoryId },
        "rolled_back",
      );
      assert.equal(error.operation, "repositories.archive");
      for (const name of names) assert.equal(await store.repositories.find({ name }), undefined);
      assert.deepEqual((await store.changes.since({ after: nextSeq })).changes, []);
    });

    test("calls of the same tick as a transaction that fails are kept", async ({ store }) => {
      const [before, inside, after] = [newId(), newId(), newId()];
      const settled = await Promise.allSettled([
        store.repositories.upsert({ name: before }),
        store.atomically((tx) => {
          tx.repositories.upsert({ name: inside });
          tx.repositories.get({ repositoryId: newId() });
        }),
        store.repositories.upsert({ name: after }),
      ]);
      assert.deepEqual(
        settled.map(({ status }) => status),
        ["fulfilled", "rejected", "fulfilled"],
      );
      const found = await Promise.all([before, inside, after].map((name) => store.repositories.find({ name })));
      assert.deepEqual(
        found.map((row) => row?.name),
        [before, undefined, after],
      );
    });

    test("a call that finds nothing and may not wait undoes the others", async ({ store }) => {
      const { repository } = await fixtures(store).repository({ maxWorktrees: 0 });
      const { session } = await fixtures(store).session();
      const name = newId();
      await fails(
        store.atomically((tx) => {
          tx.repositories.upsert({ name });
          tx.worktrees.reserve({ repositoryId: repository.id, owner: "o" });
        }),
        "capacity_exhausted",
        { index: 1, earliestExpiryAt: null },
        "rolled_back",
      );
      await fails(
        store.atomically((tx) => {
          tx.repositories.upsert({ name });
          tx.sessions.wait({ sessionId: session.id, timeoutMs: 0 });
        }),
        "deadline_exceeded",
        { index: 1 },
      );
      assert.equal(await store.repositories.find({ name }), undefined);
    });

    test("a claim within a transaction that finds nothing is undefined, and the other calls are kept", async ({
      store,
    }) => {
      const { runner } = await fixtures(store).runner();
      const { session } = await fixtures(store).session();
      const [claim, touched] = await store.atomically((tx) => {
        tx.commands.claim({ runnerId: runner.id, sessionId: session.id });
        tx.sessions.touch({ sessionId: session.id, start: true });
      });
      assert.deepEqual([claim, touched.state], [undefined, "running"]);
    });

    test("a call within a transaction that asks to wait is refused with its index", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const { runner } = await fixtures(store).runner();
      const name = newId();
      for (const wait of [
        (tx: Parameters<Parameters<Store["atomically"]>[0]>[0]) => tx.sessions.wait({ sessionId: session.id }),
        (tx: Parameters<Parameters<Store["atomically"]>[0]>[0]) =>
          tx.commands.claim({ runnerId: runner.id, waitMs: 1 }),
      ]) {
        const call = store.atomically((tx) => {
          tx.repositories.upsert({ name });
          wait(tx);
        });
        await fails(call, "invalid_input", { index: 1 }, "not_run");
      }
      assert.equal(await store.repositories.find({ name }), undefined);
    });

    test("an async function is refused, and nothing runs", async ({ store }) => {
      const name = newId();
      await fails(
        store.atomically(async (tx) => {
          tx.repositories.upsert({ name });
        }),
        "invalid_input",
      );
      await fails(
        store.atomically(async () => {
          throw new Error("only atomically handles this");
        }),
        "invalid_input",
      );
      assert.equal(await store.repositories.find({ name }), undefined);
    });

    test("a call on a transaction that has been sent throws and does not run", async ({ store }) => {
      const names = [newId(), newId()] as const;
      let leaked: Parameters<Parameters<Store["atomically"]>[0]>[0] | undefined;
      await store.atomically((tx) => {
        leaked = tx;
        tx.repositories.upsert({ name: names[0] });
      });
      assert.throws(() => leaked?.repositories.upsert({ name: names[1] }), { code: "invalid_input" });
      assert.equal(await store.repositories.find({ name: names[1] }), undefined);
    });

    test("a function that throws sends nothing", async ({ store }) => {
      const name = newId();
      const thrown = new Error("mine");
      const call = store.atomically((tx) => {
        tx.repositories.upsert({ name });
        throw thrown;
      });
      await assert.rejects(call, thrown);
      assert.equal(await store.repositories.find({ name }), undefined);
    });

    test("an invalid call within a transaction is refused before anything is sent", async ({ store }) => {
      const name = newId();
      const error = await fails(
        store.atomically((tx) => {
          tx.repositories.upsert({ name });
          tx.sessions.get({ sessionId: "bad" });
        }),
        "invalid_input",
        {},
        "not_run",
      );
      assert.equal(error.operation, "sessions.get");
      assert.equal(await store.repositories.find({ name }), undefined);
    });

    test("a transaction without calls sends no message and returns an empty list", async ({ store }) => {
      assert.deepEqual(await store.atomically(() => undefined), []);
    });

    test("two transactions on one row both succeed, one after the other", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const enqueueTwice = () =>
        store.atomically((tx) => {
          tx.commands.enqueue({ sessionId: session.id, commands: [{ argv }] });
          tx.commands.enqueue({ sessionId: session.id, commands: [{ argv }] });
        });
      const results = await Promise.all([enqueueTwice(), enqueueTwice(), enqueueTwice()]);
      assert.deepEqual(
        results.map((rows) => rows.map(([row]) => row.sequence)),
        [
          [1, 2],
          [3, 4],
          [5, 6],
        ],
      );
    });

    test("the actor and request id of a transaction apply to its calls, unless a call has its own", async ({
      store,
    }) => {
      const nextSeq = await endOfFeed(store);
      await store.atomically(
        (tx) => {
          tx.repositories.upsert({ name: newId() });
          tx.repositories.upsert({ name: newId() }, { actor: "bob" });
        },
        { actor: "ada", requestId: "r" },
      );
      const { changes } = await store.changes.since({ after: nextSeq });
      assert.deepEqual(
        changes.map(({ actor, requestId }) => [actor, requestId]),
        [
          ["ada", "r"],
          ["bob", "r"],
        ],
      );
    });

    test("a snapshot and its cursor describe the same moment", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      const racing = Promise.all(
        Array.from({ length: 20 }, (_, n) => store.repositories.upsert({ name: repository.name, description: `${n}` })),
      );
      const [row, { nextSeq }] = await store.atomically((tx) => {
        tx.repositories.get({ repositoryId: repository.id });
        tx.changes.since({ after: 0, entity: "none" });
      });
      await racing;
      const after = (await store.changes.since({ after: nextSeq })).changes.filter(
        ({ entityId }) => entityId === repository.id,
      );
      assert.equal(row.version + after.length, (await store.repositories.get({ repositoryId: repository.id })).version);
    });

    test("logs, claims and worktrees work within transactions too", async ({ store }) => {
      const { claim } = await fixtures(store).claim();
      const held = { commandId: claim.command.id, fence: claim.fence };
      await fails(
        store.atomically((tx) => {
          tx.logs.append({ ...held, offset: 0, data: bytes("all of it\n") });
          tx.commands.finish({ ...held, outcome: "succeeded", logOffset: 11 });
        }),
        "log_gap",
        { index: 1, expectedOffset: 10 },
      );
      assert.equal((await store.logs.read({ commandId: claim.command.id })).nextOffset, 0);
      const [, finished] = await store.atomically((tx) => {
        tx.logs.append({ ...held, offset: 0, data: bytes("all of it\n") });
        tx.commands.finish({ ...held, outcome: "succeeded", logOffset: 10 });
      });
      assert.equal(finished.command.state, "succeeded");
    });
  });
}
