// Results are bounded in bytes: a page ends before it grows too large, and one transaction returns no more than fits.
import assert from "node:assert/strict";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { endOfFeed, fails, subject } from "../suite.ts";

/** Text of 240 KB, in two parts: one argument has at most 128 KiB. */
const filler = ["x".repeat(120_000), "y".repeat(120_000)];

/** A JSON value of somewhat less than 250 KB. */
const large = { text: "x".repeat(240_000) };

export function sizesConformance(backend: TestedBackend): void {
  subject(backend, "sizes", ({ test, alone }) => {
    test("a page ends at 1 MiB of JSON, and the pages together have every row once, in both orders", async ({
      store,
    }) => {
      const { session } = await fixtures(store).session();
      const sessionId = session.id;
      const ids: string[] = [];
      for (let n = 0; n < 12; n++) {
        const argv = n === 5 ? ["a", ...filler] : [`${n}`, ...filler];
        const env = n % 2 === 0 ? { A: filler[0] as string, B: filler[1] as string } : undefined;
        const [command] = await store.commands.enqueue({ sessionId, commands: [{ argv, ...(env && { env }) }] });
        ids.push(command?.id as string);
      }
      for (const order of ["asc", "desc"] as const) {
        const found: string[] = [];
        let pages = 0;
        for (let cursor: string | undefined; ; ) {
          const page = await store.commands.list({ sessionId, order, limit: 500, ...(cursor && { cursor }) });
          assert.ok(Buffer.byteLength(JSON.stringify(page.items)) < 1_100_000);
          assert.ok(page.items.length > 0);
          found.push(...page.items.map(({ id }) => id));
          pages++;
          cursor = page.nextCursor;
          if (cursor === undefined) break;
        }
        assert.deepEqual(found, order === "asc" ? ids : ids.toReversed());
        assert.ok(pages >= 5, `${pages} pages`);
      }
      const all: string[] = [];
      for await (const { id } of store.commands.all({ sessionId })) all.push(id);
      assert.deepEqual(all, ids);
    });

    test("a row that is larger than a page is a page", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const sessionId = session.id;
      const argv = filler;
      const env = { A: filler[0] as string, B: filler[1] as string };
      const secretEnvKeys = Array.from({ length: 100 }, (_, n) => `${n}${"K".repeat(200)}`);
      for (let n = 0; n < 3; n++) await store.commands.enqueue({ sessionId, commands: [{ argv, env, secretEnvKeys }] });
      const first = await store.commands.list({ sessionId, limit: 1 });
      assert.deepEqual([first.items.length, typeof first.nextCursor], [1, "string"]);
      const all = await store.commands.list({ sessionId });
      assert.equal(all.items.length, 1 + 1);
      const rest = await store.commands.list({ sessionId, cursor: all.nextCursor as string });
      assert.deepEqual([rest.items.length, rest.nextCursor], [1, undefined]);
    });

    alone("the pages of every list with JSON end at bytes", async ({ store }) => {
      const given = fixtures(store);
      const { session } = await given.session();
      const { runner } = await given.runner();
      const sessionId = session.id;
      for (let n = 0; n < 7; n++) {
        const { repository } = await given.repository({ settings: large });
        await given.session({ repositoryId: repository.id, metadata: large });
        await store.artifacts.record({
          sessionId,
          name: `${n}`,
          uri: `file:///${n}`,
          sha256: "a".repeat(64),
          sizeBytes: 1,
          metadata: large,
        });
        await store.runners.register({ name: runner.name, labels: Object.fromEntries(labels) });
      }
      const pages = {
        repositories: await store.repositories.list({ order: "desc" }),
        sessions: await store.sessions.list({ order: "desc" }),
        artifacts: await store.artifacts.list({ sessionId }),
        runners: await store.runners.list({ order: "desc" }),
      };
      for (const [name, { items, nextCursor }] of Object.entries(pages))
        assert.deepEqual([name, items.length, typeof nextCursor], [name, 4, "string"]);
    });

    alone(
      "a transaction whose lists exceed limits.resultBytes fails as a whole",
      async ({ store }) => {
        const { session } = await fixtures(store).session();
        const sessionId = session.id;
        for (let n = 0; n < 4; n++) await store.commands.enqueue({ sessionId, commands: [{ argv: filler }] });
        const read = (count: number) =>
          store.atomically((tx) => {
            for (let n = 0; n < count; n++) tx.commands.list({ sessionId });
          });
        const pages = (await read(3)) as readonly { items: readonly unknown[] }[];
        assert.deepEqual(
          pages.map(({ items }) => items.length),
          [4, 4, 4],
        );
        const error = await fails(read(5), "invalid_input", {}, "rolled_back");
        assert.match(error.message, /results of one transaction exceed 4000000 bytes/);
      },
      { limits: { resultBytes: 4_000_000 } },
    );

    alone(
      "single rows and the results of writes count toward limits.resultBytes of a transaction too",
      async ({ store }) => {
        const { session } = await fixtures(store).session({ metadata: large });
        const sessionId = session.id;
        const calls = (reads: number, writes: number) =>
          store.atomically((tx) => {
            for (let n = 0; n < reads; n++) tx.sessions.get({ sessionId });
            for (let n = 0; n < writes; n++) tx.sessions.touch({ sessionId });
          });
        assert.equal((await calls(2, 2)).length, 4);
        await fails(calls(6, 0), "invalid_input", { index: 4 }, "rolled_back");
        await fails(calls(0, 6), "invalid_input", { index: 4 }, "rolled_back");
      },
      { limits: { resultBytes: 1_000_000 } },
    );

    test("pages of long texts end at bytes too, and so do pages of the feed", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const sessionId = session.id;
      const [uri, description] = [`file:///${"u".repeat(4_000)}`, "d".repeat(10_000)];
      const names = Array.from({ length: 300 }, (_, n) => `artifact ${n}`);
      for (const name of names)
        await store.artifacts.record({ sessionId, name, uri, description, sha256: "a".repeat(64), sizeBytes: 1 });
      const { items, nextCursor } = await store.artifacts.list({ sessionId, limit: 500 });
      assert.deepEqual([items.length < 80, typeof nextCursor], [true, "string"]);
      const found: string[] = [];
      for await (const { name } of store.artifacts.all({ sessionId })) found.push(name);
      // The clock of a database server may be read a millisecond earlier by the next connection.
      assert.deepEqual(found.toSorted(), names.toSorted());

      await store.sessions.cancel({ sessionId });
      const after = await endOfFeed(store);
      await store.sessions.delete({ sessionId });
      const ends: unknown[] = [];
      const pages: number[] = [];
      // PostgreSQL shows changes once no older transaction is open, in whatever database of the server.
      for (let seq = after; ends.length < names.length; ) {
        const page = await store.changes.since({ after: seq, sessionId });
        assert.ok(JSON.stringify(page.changes).length < 1_300_000);
        pages.push(page.changes.length);
        for (const { op, entity, detail } of page.changes)
          if (entity === "artifact" && op === "delete") ends.push(detail?.name);
        seq = page.nextSeq;
      }
      // PostgreSQL deletes the rows of a step in any order.
      assert.deepEqual(ends.toSorted(), names.toSorted());
      // Together they have more than 1 MiB.
      assert.ok(Math.max(...pages) < 300, `pages of ${pages}`);
    });

    test("debug.get returns fewer events than asked for when their bodies exceed 1 MiB, and follow returns all", async ({
      store,
    }) => {
      const { debugSessionId, adapterRun } = await fixtures(store).debugSession();
      const body = { data: Array.from({ length: 30 }, () => "x".repeat(1_000)) };
      for (let seq = 10; seq < 60; seq++)
        await store.debug.applyEvent({ debugSessionId, adapterRun, seq, event: "custom", body });
      const { events, debugSession } = await store.debug.get({ debugSessionId, events: 500 });
      assert.ok(events.length >= 30 && events.length < 40, `${events.length} events`);
      const last = events.at(-1)?.position as number;
      assert.equal(events[0]?.position, last - events.length + 1);
      const followed: number[] = [];
      for await (const { position } of store.debug.follow({ debugSessionId, limit: 500 })) {
        followed.push(position);
        if (position === last) break;
      }
      assert.deepEqual(
        followed,
        Array.from({ length: last }, (_, index) => index + 1),
      );
      assert.equal(debugSession.id, debugSessionId);
    });

    test("the breakpoints of a debug session take at most 1 MiB", async ({ store }) => {
      const { debugSessionId } = await fixtures(store).debugSession();
      const set = (sourcePath: string, count: number) =>
        store.debug.setBreakpoints({
          debugSessionId,
          sourcePath,
          breakpoints: Array.from({ length: count }, (_, line) => ({ line: line + 1, condition: "x".repeat(9_000) })),
        });
      assert.equal((await set("/a.ts", 60)).length, 60);
      const error = await fails(set("/b.ts", 60), "invalid_input", {}, "rolled_back");
      assert.match(error.message, /may take 1048576/);
      assert.equal((await store.debug.get({ debugSessionId })).breakpoints.length, 60);
      assert.equal((await set("/b.ts", 40)).length, 40);
    });
  });
}

/** Labels of somewhat less than 250 KB. */
const labels = Array.from({ length: 240 }, (_, n): [string, string] => [`label-${n}`, "x".repeat(1_000)]);
