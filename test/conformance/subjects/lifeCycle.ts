// Life cycle: opening, closing, closing twice, calls after closing, reopening.
import assert from "node:assert/strict";
import { newId } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { bytes, collect, fails, subject } from "../suite.ts";

export function lifeCycleConformance(backend: TestedBackend): void {
  subject(backend, "life cycle", ({ alone }) => {
    alone("after close every kind of call fails with closed, and closing again succeeds", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      await store.close();
      await fails(store.repositories.get({ repositoryId: repository.id }), "closed", {}, "not_run");
      await fails(store.repositories.upsert({ name: newId() }), "closed", {}, "not_run");
      await fails(
        store.atomically((tx) => tx.repositories.upsert({ name: newId() })),
        "closed",
        {},
        "not_run",
      );
      await fails(collect(store.changes.watch()), "closed");
      await store.close();
      await store[Symbol.asyncDispose]();
    });

    alone("Symbol.asyncDispose closes the store", async ({ store }) => {
      await store[Symbol.asyncDispose]();
      await fails(store.repositories.find({ name: "n" }), "closed");
    });

    alone(
      "calls made before close are answered",
      async (opened) => {
        const { store } = opened;
        const { repository } = await fixtures(store).repository();
        const calls = Array.from({ length: 20 }, (_, n) =>
          store.repositories.upsert({ name: repository.name, description: `${n}` }),
        );
        const closed = store.close();
        assert.deepEqual(
          (await Promise.all(calls)).map(({ version }) => version),
          Array.from({ length: 20 }, (_, n) => n + 2),
        );
        await closed;
      },
      { needs: "drains" },
    );

    alone(
      "a call that could wait but need not is answered too",
      async ({ store }) => {
        const { repository } = await fixtures(store).repository();
        const { command } = await fixtures(store).command();
        const { runner } = await fixtures(store).runner();
        const reserved = store.worktrees.reserve({ repositoryId: repository.id, owner: "o" });
        const claimed = store.commands.claim({ runnerId: runner.id });
        const closed = store.close();
        assert.deepEqual([(await reserved).fence, (await claimed)?.command.id], [1, command.id]);
        await closed;
      },
      { needs: "drains" },
    );

    alone(
      "two simultaneous calls to close close the store once, and both wait for it",
      async ({ store }) => {
        const calls = Promise.allSettled(
          Array.from({ length: 100 }, (_, n) => store.repositories.upsert({ name: `${n}` })),
        );
        const begunAtMs = performance.now();
        await Promise.all([store.close(), store.close()]);
        assert.ok(performance.now() - begunAtMs < 50_000, "the first call waited for its deadline");
        await calls;
      },
      { limits: { closeMs: 60_000 } },
    );

    alone("calls that wait while the store is closed fail with closed", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const waiting = store.sessions.wait({ sessionId: session.id });
      const watching = collect(store.changes.watch({ after: (await store.changes.since()).nextSeq }));
      const settled = Promise.allSettled([waiting, watching]);
      while (((await store.maintenance.stats()).serving.parked ?? 0) < 2) await new Promise(setImmediate);
      await store.close();
      for (const one of await settled) {
        assert.ok(one.status === "rejected");
        assert.deepEqual([one.reason.code, one.reason.outcome], ["closed", "not_run"]);
      }
    });

    alone("closing one client leaves the others open", async (opened) => {
      const other = await opened.connect();
      await other.close();
      await fails(other.repositories.find({ name: "n" }), "closed");
      const { repository } = await fixtures(opened.store).repository();
      assert.ok(repository.version === 1);
    });

    alone(
      "acknowledged writes are still there after the store is reopened",
      async (opened) => {
        const { claim } = await fixtures(opened.store).claim();
        const held = { commandId: claim.command.id, fence: claim.fence };
        await opened.store.logs.append({ ...held, offset: 0, data: bytes("kept\n") });
        const { worktree, fence } = await fixtures(opened.store).lease({ ttlMs: 600_000 });
        const before = await opened.store.changes.since();
        await opened.reopen();
        const { store } = opened;
        assert.deepEqual(await store.changes.since(), before);
        assert.deepEqual(await store.commands.get({ commandId: held.commandId }), claim.command);
        assert.deepEqual(await store.worktrees.get({ worktreeId: worktree.id }), worktree);
        await store.worktrees.renew({ worktreeId: worktree.id, fence });
        assert.equal((await store.logs.append({ ...held, offset: 5, data: bytes("more\n") })).ackOffset, 10);
        await store.repositories.upsert({ name: newId() });
        assert.deepEqual(
          (await store.changes.since({ after: before.nextSeq })).changes.map(({ seq }) => seq),
          [before.nextSeq + 1],
        );
      },
      { needs: "persists" },
    );
  });
}
