// Pages: `all` iterates over the rows of every page of `list`, in its order and with its filters, and reads no page
// before it is needed.
import assert from "node:assert/strict";
import { newId, type Session, type Store } from "../../../src/index.ts";
import { operations } from "../../../src/operations/table.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { collect, fails, subject, take } from "../suite.ts";

interface Row {
  readonly id: string;
}

interface Lists {
  list(input: object): Promise<{ readonly items: readonly Row[] }>;
  all(input: object): AsyncGenerator<Row, void, undefined>;
}

const lists = Object.entries(operations).flatMap(([entity, verbs]) =>
  "list" in verbs ? [[entity, verbs.list] as const] : [],
);

/** Creates `count` sessions of a repository that no other test uses. */
async function sessionsOf(store: Store, count: number) {
  const { repository } = await fixtures(store).repository();
  const repositoryId = repository.id;
  const ids: string[] = [];
  for (let n = 0; n < count; n++) ids.push((await fixtures(store).session({ repositoryId })).session.id);
  return { repositoryId, ids };
}

const idsOf = async (rows: AsyncIterable<Row>) => (await collect(rows)).map(({ id }) => id);

export function pagesConformance(backend: TestedBackend): void {
  subject(backend, "pages", ({ test, alone }) => {
    alone("all returns the rows of list in the same order, for every entity and page size", async ({ store }) => {
      const given = fixtures(store);
      const { session } = await given.claim();
      for (const n of [1, 2, 3]) {
        await Promise.all([given.runner(), given.worktree(), given.session(), given.token()]);
        await given.command({ sessionId: session.id });
        await given.artifact({ sessionId: session.id });
        await given.debugSession({ sessionId: session.id, name: `debug-${n}` });
      }
      let listsOfSeveralPages = 0;
      for (const [entity, { inputSchema }] of lists) {
        const { list, all } = (store as unknown as Record<string, Lists>)[entity] as Lists;
        const filter = inputSchema.safeParse({}).success ? {} : { sessionId: session.id };
        const { items } = await list({ ...filter, limit: 500 });
        if (items.length > 2) listsOfSeveralPages++;
        for (const limit of [1, 2, 500])
          assert.deepEqual(await collect(all({ ...filter, limit })), items, `${entity} by ${limit}`);
      }
      assert.ok(listsOfSeveralPages >= 9);
    });

    test("all applies the filters, and starts after a cursor", async ({ store }) => {
      const { repositoryId, ids } = await sessionsOf(store, 5);
      const [first, ...others] = ids as [string, ...string[]];
      await store.sessions.cancel({ sessionId: first });
      assert.deepEqual(await idsOf(store.sessions.all({ repositoryId, state: "pending", limit: 2 })), others);
      const { nextCursor } = await store.sessions.list({ repositoryId, limit: 2 });
      assert.deepEqual(
        await idsOf(store.sessions.all({ repositoryId, limit: 2, cursor: nextCursor as string })),
        ids.slice(2),
      );
    });

    test("without a limit a page has 50 rows, and all continues after it", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const commands = Array.from({ length: 120 }, () => ({ argv: ["a"] }));
      await store.commands.enqueue({ sessionId: session.id, commands });
      const sequences = (await collect(store.commands.all({ sessionId: session.id }))).map(({ sequence }) => sequence);
      assert.deepEqual(
        sequences,
        commands.map((_, index) => index + 1),
      );
    });

    test("rows that are created while the loop runs come last", async ({ store, clock }) => {
      const { repositoryId, ids } = await sessionsOf(store, 3);
      const seen: string[] = [];
      for await (const { id } of store.sessions.all({ repositoryId, limit: 2 })) {
        seen.push(id);
        if (seen.length > 2) continue;
        clock.advance(1);
        ids.push((await fixtures(store).session({ repositoryId })).session.id);
      }
      assert.deepEqual(seen, ids);
    });

    test("a page is read only when the loop reaches it, and break ends the iteration", async ({ store, clock }) => {
      const { repositoryId, ids } = await sessionsOf(store, 2);
      const rows: AsyncGenerator<Session, void, undefined> = store.sessions.all({ repositoryId, limit: 2 });
      const late = (await fixtures(store).session({ repositoryId })).session.id;
      assert.deepEqual(
        (await take(rows, 2)).map(({ id }) => id),
        ids,
      );
      assert.deepEqual(await rows.next(), { done: true, value: undefined });

      const others = store.sessions.all({ repositoryId, limit: 3 });
      for (const id of [...ids, late]) assert.equal((await others.next()).value?.id, id);
      clock.advance(1);
      const { session } = await fixtures(store).session({ repositoryId });
      assert.equal((await others.next()).done, true, `${session.id} came after the last page was read`);
    });

    test("an empty list has no rows", async ({ store }) => {
      assert.deepEqual(await collect(store.worktrees.all({ repositoryId: newId() })), []);
    });

    test("a signal ends the iteration before the next row", async ({ store }) => {
      const { repositoryId } = await sessionsOf(store, 3);
      for (const [limit, rowsBefore] of [
        [3, 1],
        [1, 1],
        [2, 2],
        [3, 0],
      ] as const) {
        const abort = new AbortController();
        const rows = store.sessions.all({ repositoryId, limit }, { signal: abort.signal });
        for (let n = 0; n < rowsBefore; n++) assert.equal((await rows.next()).done, false);
        abort.abort();
        const error = await fails(rows.next(), "aborted", {}, "not_run");
        assert.equal(error.operation, "sessions.list");
        assert.equal((await rows.next()).done, true);
      }
    });

    test("all refuses the input that list refuses, when its first row is requested", async (opened) => {
      const rows = opened.store.sessions.all({ limit: 0 });
      assert.equal((await fails(rows.next(), "invalid_input")).operation, "sessions.list");
      const port = await opened.connect({ operations: ["sessions.list"] });
      const { repositoryId, ids } = await sessionsOf(opened.store, 1);
      assert.deepEqual(await idsOf(port.sessions.all({ repositoryId })), ids);
      await fails(collect(port.commands.all()), "unknown_operation");
      await port.close();
    });
  });
}
