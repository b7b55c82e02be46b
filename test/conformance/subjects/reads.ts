// Reads: pages without gaps or duplicates, filters, find and get.
import assert from "node:assert/strict";
import { newId, type Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { fails, subject } from "../suite.ts";

interface Page {
  readonly items: readonly { readonly id: string; readonly createdAt: Date }[];
  readonly nextCursor: string | undefined;
}

export function readsConformance(backend: TestedBackend): void {
  const lists = (store: Store, repositoryId: string) =>
    ({
      repositories: (paging: { limit: number; cursor?: string }) =>
        store.repositories.list({ includeArchived: true, ...paging }),
      runners: (paging: { limit: number; cursor?: string }) => store.runners.list(paging),
      worktrees: (paging: { limit: number; cursor?: string }) => store.worktrees.list({ repositoryId, ...paging }),
      "all worktrees": (paging: { limit: number; cursor?: string }) => store.worktrees.list(paging),
      sessions: (paging: { limit: number; cursor?: string }) => store.sessions.list({ repositoryId, ...paging }),
      "all sessions": (paging: { limit: number; cursor?: string }) =>
        store.sessions.list({ state: "pending", ...paging }),
      commands: (paging: { limit: number; cursor?: string }) => store.commands.list(paging),
    }) as Readonly<Record<string, (paging: { limit: number; cursor?: string }) => Promise<Page>>>;

  const pages = async (
    list: (paging: { limit: number; cursor?: string }) => Promise<Page>,
    limit: number,
    meanwhile?: () => Promise<unknown>,
  ) => {
    const items: Page["items"][number][] = [];
    for (let cursor: string | undefined; ; ) {
      const page: Page = await list(cursor === undefined ? { limit } : { limit, cursor });
      assert.ok(page.items.length <= limit);
      items.push(...page.items);
      assert.ok(items.length < 2_000, "the cursor does not move");
      if (page.nextCursor === undefined) return items;
      assert.equal(page.items.length, limit);
      cursor = page.nextCursor;
      await meanwhile?.();
    }
  };

  subject(backend, "reads", ({ test, alone }) => {
    alone("every list returns each row once, oldest first, for any page size", async ({ store, clock }) => {
      const { repository } = await fixtures(store).repository();
      for (let n = 0; n < 7; n++) {
        // Some rows share their millisecond, so that the id decides their order.
        await Promise.all(
          [1, 2].map(() => fixtures(store).session({ repositoryId: repository.id, commands: [{ argv: ["a"] }] })),
        );
        await Promise.all([fixtures(store).runner(), fixtures(store).repository()]);
        await Promise.all(
          [1, 2].map(() => store.worktrees.register({ repositoryId: repository.id, path: `/p/${newId()}` })),
        );
        if (n % 2 === 0) clock.advance(5);
      }
      for (const [name, list] of Object.entries(lists(store, repository.id))) {
        const all = await pages(list, 500);
        assert.ok(all.length >= 7, name);
        for (const limit of [1, 2, 3, all.length])
          assert.deepEqual(await pages(list, limit), all, `${name} by ${limit}`);
        const ordered = [...all].sort(
          (a, b) => a.createdAt.getTime() - b.createdAt.getTime() || (a.id < b.id ? -1 : 1),
        );
        assert.deepEqual(
          all.map(({ id }) => id),
          ordered.map(({ id }) => id),
          name,
        );
      }
    });

    test("rows that are created between two pages are on a later page, and no row is returned twice", async ({
      store,
      clock,
    }) => {
      const { repository } = await fixtures(store).repository();
      const make = async () => (await fixtures(store).session({ repositoryId: repository.id })).session.id;
      const before = [await make(), await make(), await make(), await make(), await make()];
      let made = 0;
      const items = await pages(
        (paging) => store.sessions.list({ repositoryId: repository.id, ...paging }),
        2,
        async () => {
          clock.advance(1);
          if (made++ < 2) await make();
        },
      );
      const ids = items.map(({ id }) => id);
      assert.equal(new Set(ids).size, ids.length);
      for (const id of before) assert.ok(ids.includes(id));
      assert.equal(ids.length, 7);
    });

    test("the page of an empty list has no cursor", async ({ store }) => {
      assert.deepEqual(await store.worktrees.list({ repositoryId: newId() }), { items: [], nextCursor: undefined });
    });

    test("a page has 50 rows by default", async ({ store }) => {
      const { session } = await fixtures(store).session();
      await store.commands.enqueue({
        sessionId: session.id,
        commands: Array.from({ length: 51 }, () => ({ argv: ["a"] })),
      });
      const { items, nextCursor } = await store.commands.list({ sessionId: session.id });
      assert.equal(items.length, 50);
      assert.ok(nextCursor !== undefined);
    });

    test("find returns undefined where get fails with not_found", async ({ store }) => {
      assert.equal(await store.repositories.find({ name: newId() }), undefined);
      await fails(store.repositories.get({ repositoryId: newId() }), "not_found", { entity: "repository" });
      await fails(store.sessions.get({ sessionId: newId() }), "not_found", { entity: "session" });
      await fails(store.commands.get({ commandId: newId() }), "not_found", { entity: "command" });
      await fails(store.worktrees.get({ worktreeId: newId() }), "not_found", { entity: "worktree" });
    });

    test("filters join by AND", async ({ store }) => {
      const { session } = await fixtures(store).session({ commands: [{ argv: ["a"] }, { argv: ["b"] }] });
      const [first] = (await store.commands.list({ sessionId: session.id, limit: 1 })).items;
      await store.commands.cancel({ commandId: first?.id as string });
      const states = async (state: "queued" | "cancelled" | "lost") =>
        (await store.commands.list({ sessionId: session.id, state })).items.map(({ sequence }) => sequence);
      assert.deepEqual(await Promise.all([states("queued"), states("cancelled"), states("lost")]), [[2], [1], []]);
    });

    test("a client reads its own writes, and the writes of others that were answered before", async (opened) => {
      const other = await opened.connect();
      const { repository } = await fixtures(opened.store).repository();
      assert.deepEqual(await other.repositories.get({ repositoryId: repository.id }), repository);
      const changed = await other.repositories.upsert({ name: repository.name, description: "changed" });
      assert.deepEqual(await opened.store.repositories.get({ repositoryId: repository.id }), changed);
    });
  });
}
