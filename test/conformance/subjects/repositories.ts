// Repositories: made and changed by name, archived, found again.
import assert from "node:assert/strict";
import { newId } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { endOfFeed, fails, subject } from "../suite.ts";

export function repositoriesConformance(backend: TestedBackend): void {
  subject(backend, "repositories", ({ test }) => {
    test("upsert makes a repository with its defaults", async ({ store }) => {
      const row = await store.repositories.upsert({ name: `made ${newId()}` });
      assert.equal(row.version, 1);
      assert.deepEqual(
        [
          row.defaultBranch,
          row.maxWorktrees,
          row.worktreeCount,
          row.remoteUrl,
          row.description,
          row.settings,
          row.archivedAt,
        ],
        ["main", 16, 0, null, null, null, null],
      );
      assert.ok(row.createdAt instanceof Date);
      assert.deepEqual(row.updatedAt, row.createdAt);
    });

    test("upsert by the same name changes what is given and keeps the rest", async ({ store }) => {
      const name = `kept ${newId()}`;
      const made = await store.repositories.upsert({
        name,
        description: "first",
        remoteUrl: "https://git.example/a.git",
        maxWorktrees: 3,
      });
      const changed = await store.repositories.upsert({ name, description: "second" });
      assert.equal(changed.id, made.id);
      assert.deepEqual(
        [changed.description, changed.remoteUrl, changed.maxWorktrees, changed.version],
        ["second", "https://git.example/a.git", 3, 2],
      );
    });

    test("an upsert that changes nothing bumps no version and records no change", async ({ store }) => {
      const input = { name: `same ${newId()}`, description: "d", settings: { at: new Date(0), tags: new Set(["a"]) } };
      const made = await store.repositories.upsert(input);
      const nextSeq = await endOfFeed(store);
      assert.deepEqual(await store.repositories.upsert(input), made);
      assert.deepEqual((await store.changes.since({ after: nextSeq })).changes, []);
    });

    test("names are one name in any case and any composition", async ({ store }) => {
      const made = await store.repositories.upsert({ name: "Über-Repo" });
      const found = await store.repositories.find({ name: "U\u0308BER-repo" });
      assert.equal(found?.id, made.id);
      assert.equal((await store.repositories.upsert({ name: "über-repo" })).name, "über-repo");
    });

    test("null clears a field, absence keeps it", async ({ store }) => {
      const name = `cleared ${newId()}`;
      await store.repositories.upsert({ name, description: "d", worktreeRoot: "/srv" });
      const row = await store.repositories.upsert({ name, description: null });
      assert.deepEqual([row.description, row.worktreeRoot], [null, "/srv"]);
    });

    test("eight first upserts of one name make one row", async ({ store }) => {
      const name = `raced ${newId()}`;
      const rows = await Promise.all(
        Array.from({ length: 8 }, (_, index) => store.repositories.upsert({ name, description: `${index}` })),
      );
      assert.equal(new Set(rows.map(({ id }) => id)).size, 1);
      assert.deepEqual(rows.map(({ version }) => version).sort(), [1, 2, 3, 4, 5, 6, 7, 8]);
    });

    test("an id that another repository has is a conflict", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      await fails(store.repositories.upsert({ id: repository.id, name: `other ${newId()}` }), "conflict", {
        reason: "exists",
      });
    });

    test("an archived repository takes no session and no worktree", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      const archived = await store.repositories.archive({ repositoryId: repository.id });
      assert.ok(archived.archivedAt instanceof Date);
      const { commitSha } = fixtures(store);
      await fails(store.sessions.create({ repositoryId: repository.id, commitSha }), "invalid_transition", {
        state: "archived",
      });
      await fails(store.worktrees.reserve({ repositoryId: repository.id, owner: "o" }), "invalid_transition", {
        state: "archived",
      });
      await fails(
        store.worktrees.register({ repositoryId: repository.id, path: `/x/${newId()}` }),
        "invalid_transition",
        { state: "archived" },
      );
    });

    test("archiving twice changes nothing the second time", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      const first = await store.repositories.archive({ repositoryId: repository.id });
      assert.deepEqual(await store.repositories.archive({ repositoryId: repository.id }), first);
    });

    test("an archived repository that is named again is in use again", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      await store.repositories.archive({ repositoryId: repository.id });
      assert.equal((await store.repositories.upsert({ name: repository.name })).archivedAt, null);
    });

    test("list shows archived repositories only when asked to", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      await store.repositories.archive({ repositoryId: repository.id });
      const idsOf = async (includeArchived: boolean) =>
        (await store.repositories.list({ includeArchived, limit: 500 })).items.map(({ id }) => id);
      assert.ok(!(await idsOf(false)).includes(repository.id));
      assert.ok((await idsOf(true)).includes(repository.id));
    });

    test("an expectedVersion on a name that nobody has is refused and makes nothing", async ({ store }) => {
      const name = `absent ${newId()}`;
      await fails(store.repositories.upsert({ name, expectedVersion: 1 }), "conflict", { reason: "version" });
      assert.equal(await store.repositories.find({ name }), undefined);
    });
  });
}
