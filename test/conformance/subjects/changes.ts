// The change feed: one row for each change, in the order of the commits, without gaps or duplicates.
import assert from "node:assert/strict";
import { type ChangeRow, newId, type Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { bytes, collect, endOfFeed, fails, parked, subject, take } from "../suite.ts";

export function changesConformance(backend: TestedBackend): void {
  subject(backend, "changes", ({ test, alone }) => {
    const line = ({ entity, op, entityVersion }: ChangeRow) => `${entity} ${op} ${entityVersion}`;

    test("every change is a row with actor, operation, version and fence; renewals and logs add no rows", async ({
      store,
    }) => {
      const nextSeq = await endOfFeed(store);
      const { claim, runner } = await fixtures(store).claim();
      const held = { commandId: claim.command.id, fence: claim.fence };
      await store.logs.append({ ...held, offset: 0, data: bytes("x") });
      await store.runners.heartbeat({ runnerId: runner.id, commands: [{ id: held.commandId, fence: held.fence }] });
      await store.sessions.touch({ sessionId: claim.session.id });
      await store.commands.finish({ ...held, outcome: "failed", exitCode: 1 });
      await store.sessions.complete({ sessionId: claim.session.id, reason: "done" });
      const { changes } = await store.changes.since({ after: nextSeq });
      assert.deepEqual(changes.map(line), [
        "repository create 1",
        "session create 1",
        "command enqueue 1",
        "runner register 1",
        "command claim 2",
        "session start 2",
        "command finish 3",
        "session end 3",
      ]);
      const [, session, command, , claimed, , finished, ended] = changes as ChangeRow[];
      assert.deepEqual(
        [session?.entityId, session?.sessionId, command?.sessionId],
        [claim.session.id, claim.session.id, claim.session.id],
      );
      assert.deepEqual(
        [claimed?.fence, claimed?.detail, finished?.detail],
        [claim.fence, { runnerId: runner.id }, { outcome: "failed" }],
      );
      assert.deepEqual(ended?.detail, { state: "completed", reason: "done" });
      assert.ok(changes.every(({ at }) => at instanceof Date));
    });

    test("changes of a session's worktree belong to the session's history, which is found without reading other rows", async ({
      store,
    }) => {
      const nextSeq = await endOfFeed(store);
      const { session, lease } = await fixtures(store).session({ reserve: { owner: "o" } });
      const held = { worktreeId: lease?.worktree.id as string, fence: lease?.fence as number };
      await store.worktrees.ready(held);
      await fixtures(store).lease();
      await store.worktrees.update({ ...held, sizeBytes: 1 });
      await store.worktrees.release({ ...held, to: "clean" });
      await store.worktrees.reserve({ repositoryId: session.repositoryId, owner: "another" });
      const { changes, nextSeq: last } = await store.changes.since({ after: nextSeq, sessionId: session.id });
      assert.deepEqual(changes.map(line), [
        "session create 1",
        "worktree create 1",
        "session bind 2",
        "worktree ready 2",
        "worktree update 3",
        "worktree release 4",
        "session unbind 3",
      ]);
      assert.equal(last, await endOfFeed(store));
    });

    test("the feed contains no secrets of a command", async ({ store }) => {
      const nextSeq = await endOfFeed(store);
      await fixtures(store).command({
        argv: ["login", "hunter2"],
        env: { TOKEN: "hunter2" },
        secretEnvKeys: ["PASSWORD"],
      });
      assert.doesNotMatch(JSON.stringify((await store.changes.since({ after: nextSeq })).changes), /hunter2|PASSWORD/);
    });

    test("sequence numbers have no gaps while several clients write", async (opened) => {
      const { store } = opened;
      const other = await opened.connect();
      const nextSeq = await endOfFeed(store);
      await Promise.allSettled(
        Array.from({ length: 60 }, (_, n) => {
          const client = n % 2 === 0 ? store : other;
          return n % 5 === 0
            ? client.sessions.cancel({ sessionId: newId() })
            : client.repositories.upsert({ name: `${nextSeq} ${n}` });
        }),
      );
      const { changes, nextSeq: last } = await store.changes.since({ after: nextSeq });
      assert.deepEqual(
        changes.map(({ seq }) => seq),
        Array.from({ length: 48 }, (_, n) => nextSeq + 1 + n),
      );
      assert.equal(last, nextSeq + 48);
    });

    test("pages join without gaps, and a filter moves the cursor past the rows that it excludes", async ({ store }) => {
      const nextSeq = await endOfFeed(store);
      const { session } = await fixtures(store).session();
      for (let n = 0; n < 5; n++) await fixtures(store).repository();
      const all = (await store.changes.since({ after: nextSeq })).changes;
      const paged: ChangeRow[] = [];
      for (let after = nextSeq; ; ) {
        const page = await store.changes.since({ after, limit: 2 });
        if (page.changes.length === 0) break;
        paged.push(...page.changes);
        after = page.nextSeq;
      }
      assert.deepEqual(paged, all);
      const ofSession = await store.changes.since({ after: nextSeq, sessionId: session.id });
      assert.deepEqual(
        ofSession.changes,
        all.filter(({ sessionId }) => sessionId === session.id),
      );
      const ofEntity = await store.changes.since({ after: nextSeq, entity: "session" });
      assert.deepEqual(ofEntity.changes.map(line), ["session create 1"]);
      assert.equal(ofEntity.nextSeq, all.at(-1)?.seq);
      assert.deepEqual(await store.changes.since({ after: ofEntity.nextSeq }), {
        changes: [],
        nextSeq: ofEntity.nextSeq,
      });
    });

    test("watch returns past and new changes without gaps or duplicates", async ({ store }) => {
      const nextSeq = await endOfFeed(store);
      await store.repositories.upsert({ name: newId() });
      const watching = take(store.changes.watch({ after: nextSeq, waitMs: 60_000, limit: 3 }), 30);
      const name = newId();
      for (let n = 0; n < 29; n++) {
        const call = store.repositories.upsert({ name, description: `${n}` });
        if (n % 4 === 0) await call;
      }
      assert.deepEqual(
        (await watching).map(({ seq }) => seq),
        Array.from({ length: 30 }, (_, n) => nextSeq + 1 + n),
      );
    });

    test("with limit 0, since returns the end of the feed, and watch is refused", async ({ store }) => {
      await fixtures(store).repository();
      const { changes, nextSeq } = await store.changes.since({ limit: 0 });
      assert.deepEqual([changes, nextSeq], [[], await endOfFeed(store)]);
      await fails(collect(store.changes.watch({ limit: 0 })), "invalid_input");
    });

    alone(
      "a cursor after the newest change fails, because changes with the numbers up to it would be skipped",
      async ({ store }) => {
        await fails(store.changes.since({ after: 1 }), "feed_truncated", { floor: 0, newest: 0 });
        await fixtures(store).session();
        const { nextSeq } = await store.changes.since({ limit: 0 });
        assert.deepEqual(await store.changes.since({ after: nextSeq }), { changes: [], nextSeq });
        for (const filter of [{}, { entity: "session" }, { sessionId: newId() }]) {
          const input = { ...filter, after: nextSeq + 1 };
          await fails(store.changes.since(input), "feed_truncated", { floor: 0, newest: nextSeq });
          await fails(collect(store.changes.watch(input)), "feed_truncated", { floor: 0, newest: nextSeq });
          assert.deepEqual(await store.changes.since({ ...input, limit: 0 }), { changes: [], nextSeq });
        }
      },
    );

    test("watch with a filter returns only matching rows", async ({ store }) => {
      const nextSeq = await endOfFeed(store);
      const { session } = await fixtures(store).session();
      const watching = take(store.changes.watch({ after: nextSeq, sessionId: session.id }), 2);
      await store.repositories.upsert({ name: newId() });
      await store.sessions.cancel({ sessionId: session.id });
      assert.deepEqual((await watching).map(line), ["session create 1", "session end 2"]);
    });

    test("watch continues after a wait without changes", async ({ store }) => {
      const nextSeq = await endOfFeed(store);
      const { session } = await fixtures(store).session();
      const watching = take(store.changes.watch({ after: nextSeq, entity: "runner", waitMs: 1 }), 1);
      await fails(store.sessions.wait({ sessionId: session.id, timeoutMs: 15 }), "deadline_exceeded");
      const { runner } = await fixtures(store).runner();
      assert.equal((await watching)[0]?.entityId, runner.id);
    });

    alone("filters select by entity, id, operation, actor and time, alone and together", async ({ store, clock }) => {
      const consumer = "filters";
      await store.changes.checkpoint({ consumer, seq: 0 });
      const { repository } = await fixtures(store).repository();
      clock.advance(10_000);
      const { runner } = await fixtures(store).runner();
      await store.runners.drain({ runnerId: runner.id }, { actor: "ada" });
      clock.advance(10_000);
      await store.repositories.archive({ repositoryId: repository.id }, { actor: "ada" });
      const { changes: all } = await store.changes.since();
      type Row = ChangeRow;
      const [consuming, created, registered, drained, archived] = all as [Row, Row, Row, Row, Row];
      assert.equal(all.length, 5);
      const cases: [Parameters<Store["changes"]["export"]>[0], ChangeRow[]][] = [
        [{ entity: "runner" }, [registered, drained]],
        [{ entity: ["runner", "repository"] }, [created, registered, drained, archived]],
        [{ entityId: repository.id }, [created, archived]],
        [{ op: "drain" }, [drained]],
        [{ op: ["archive", "create", "none"] }, [consuming, created, archived]],
        [{ actor: "ada" }, [drained, archived]],
        [{ since: registered.at }, [registered, drained, archived]],
        [{ until: registered.at }, [consuming, created]],
        [{ since: registered.at, until: archived.at }, [registered, drained]],
        [
          { entity: "repository", actor: "ada", since: archived.at, op: "archive", entityId: repository.id },
          [archived],
        ],
        [{ entity: "repository", op: "drain" }, []],
      ];
      for (const [filter, expected] of cases) {
        const what = JSON.stringify(filter);
        assert.deepEqual((await store.changes.since(filter)).changes, expected, what);
        assert.deepEqual(await collect(store.changes.export(filter)), expected, what);
        if (expected.length > 0)
          assert.deepEqual(await take(store.changes.watch(filter), expected.length), expected, what);
        const { changes, fence } = await store.changes.consume({ ...filter, consumer, waitMs: 0 });
        assert.deepEqual(changes, expected, what);
        if (fence !== null) await store.changes.checkpoint({ consumer, seq: 0, fence, release: true });
      }
      await fails(store.changes.since({ entity: [] }), "invalid_input");
      await fails(store.changes.since({ since: new Date(Number.NaN) }), "invalid_input");
    });

    test("a watcher of several entities and of an actor waits for what passes its filters", async ({ store }) => {
      const after = await endOfFeed(store);
      const watching = take(store.changes.watch({ after, entity: ["runner", "event"], actor: "ada" }), 2);
      const acting = take(store.changes.watch({ after, actor: "ada", op: "register" }), 1);
      await parked(store, 2);
      await fixtures(store).runner();
      await store.changes.publish({ topic: "a" }, { actor: "ada" });
      await store.runners.register({ name: newId() }, { actor: "ada" });
      assert.deepEqual((await watching).map(line), ["event a 1", "runner register 1"]);
      assert.deepEqual((await acting).map(line), ["runner register 1"]);
    });

    alone("an export begins at the oldest row and ends with the one that was the newest", async ({ store, clock }) => {
      await store.maintenance.setRetention({ changesMs: 1_000 });
      for (let n = 0; n < 3; n++) await fixtures(store).repository();
      clock.advance(1_001);
      await store.maintenance.prune({ kinds: ["changes"] });
      for (let n = 0; n < 3; n++) await fixtures(store).repository();
      const newest = await endOfFeed(store);
      const seqs: number[] = [];
      for await (const { seq } of store.changes.export({ limit: 2 })) {
        if (seqs.length < 5) await fixtures(store).repository();
        seqs.push(seq);
      }
      assert.equal(seqs.at(-1), newest);
      assert.deepEqual(
        seqs,
        seqs.map((_, index) => newest - seqs.length + 1 + index),
      );
      await fails(collect(store.changes.export({ after: 0 })), "feed_truncated", { floor: seqs[0] && seqs[0] - 1 });
      assert.deepEqual(
        (await collect(store.changes.export({ after: newest - 2, end: newest - 1 }))).map(({ seq }) => seq),
        [newest - 1],
      );
      assert.deepEqual(await collect(store.changes.export({ after: newest, end: newest })), []);
    });

    alone("an empty feed starts at 0", async ({ store }) => {
      assert.deepEqual(await store.changes.since(), { changes: [], nextSeq: 0 });
      await store.repositories.upsert({ name: "first" });
      assert.deepEqual(
        (await store.changes.since()).changes.map(({ seq }) => seq),
        [1],
      );
    });
  });
}
