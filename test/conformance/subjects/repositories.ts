// Repositories: upserting by name, archiving, finding.
import assert from "node:assert/strict";
import { newId, type Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { endOfFeed, fails, subject } from "../suite.ts";

export function repositoriesConformance(backend: TestedBackend): void {
  subject(backend, "repositories", ({ test }) => {
    test("upsert creates a repository with defaults", async ({ store }) => {
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

    test("upsert of an existing name changes the fields that are present and keeps the others", async ({ store }) => {
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

    test("an upsert that changes nothing raises no version and adds no change", async ({ store }) => {
      const input = { name: `same ${newId()}`, description: "d", settings: { at: new Date(0), tags: new Set(["a"]) } };
      const made = await store.repositories.upsert(input);
      const nextSeq = await endOfFeed(store);
      assert.deepEqual(await store.repositories.upsert(input), made);
      assert.deepEqual((await store.changes.since({ after: nextSeq })).changes, []);
    });

    test("a name is unique in any case and any Unicode composition", async ({ store }) => {
      const made = await store.repositories.upsert({ name: "Über-Repo" });
      const found = await store.repositories.find({ name: "U\u0308BER-repo" });
      assert.equal(found?.id, made.id);
      assert.equal((await store.repositories.upsert({ name: "über-repo" })).name, "über-repo");
    });

    test("null clears a field, and an absent field stays", async ({ store }) => {
      const name = `cleared ${newId()}`;
      await store.repositories.upsert({ name, description: "d", worktreeRoot: "/srv" });
      const row = await store.repositories.upsert({ name, description: null });
      assert.deepEqual([row.description, row.worktreeRoot], [null, "/srv"]);
    });

    test("eight simultaneous first upserts of a name create one row", async ({ store }) => {
      const name = `raced ${newId()}`;
      const rows = await Promise.all(
        Array.from({ length: 8 }, (_, index) => store.repositories.upsert({ name, description: `${index}` })),
      );
      assert.equal(new Set(rows.map(({ id }) => id)).size, 1);
      assert.deepEqual(rows.map(({ version }) => version).sort(), [1, 2, 3, 4, 5, 6, 7, 8]);
    });

    test("of simultaneous first upserts of a name, one creates it, and each other tells what it has changed", async ({
      store,
      connect,
    }) => {
      const clients = [store, await connect()];
      const upserts = (name: string, description: (index: number) => string) =>
        Promise.all(
          Array.from({ length: 8 }, (_, index) =>
            (clients[index % 2] as Store).repositories.upsert({ name, description: description(index) }),
          ),
        );
      const after = await endOfFeed(store);
      const [row] = await upserts(`told ${newId()}`, String);
      const { changes } = await store.changes.since({ after });
      const [first, ...others] = changes.filter(({ entityId }) => entityId === row?.id);
      assert.deepEqual([first?.op, others.length], ["create", 7]);
      for (const { op, detail } of others) {
        assert.equal(op, "update");
        assert.ok((detail as { changed?: { description?: unknown } } | null)?.changed?.description);
      }
      const same = await upserts(`told ${newId()}`, () => "same");
      assert.deepEqual(new Set(same.map(({ version }) => version)), new Set([1]));
    });

    test("creating a repository with an id that exists is a conflict", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      await fails(store.repositories.upsert({ id: repository.id, name: `other ${newId()}` }), "conflict", {
        reason: "exists",
      });
    });

    test("an archived repository accepts no session and no worktree", async ({ store }) => {
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

    test("archiving a repository again changes nothing", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      const input = { repositoryId: repository.id, expectedVersion: repository.version };
      const first = await store.repositories.archive(input);
      assert.deepEqual(await store.repositories.archive({ repositoryId: repository.id }), first);
      assert.deepEqual(await store.repositories.archive(input), first);
    });

    test("upsert of an archived repository takes it back into use", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      await store.repositories.archive({ repositoryId: repository.id });
      assert.equal((await store.repositories.upsert({ name: repository.name })).archivedAt, null);
    });

    test("an upsert with expectedVersion that is repeated changes nothing, and one that would change fails", async ({
      store,
    }) => {
      const { repository } = await fixtures(store).repository();
      const input = { name: repository.name, description: "d", expectedVersion: repository.version };
      const changed = await store.repositories.upsert(input);
      assert.deepEqual(await store.repositories.upsert(input), changed);
      await fails(store.repositories.upsert({ ...input, description: "e" }), "conflict", { reason: "version" });
    });

    test("rename gives a repository another name, or its own in other letter case", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      const { repository: other } = await fixtures(store).repository();
      const repositoryId = repository.id;
      const name = `Renamed ${newId()}`;
      const renamed = await store.repositories.rename({ repositoryId, name, expectedVersion: 1 });
      assert.deepEqual(renamed, { ...repository, name, version: 2, updatedAt: renamed.updatedAt });
      assert.deepEqual(await store.repositories.rename({ repositoryId, name, expectedVersion: 1 }), renamed);
      assert.equal(await store.repositories.find({ name: repository.name }), undefined);
      const upper = await store.repositories.rename({ repositoryId, name: name.toUpperCase() });
      assert.deepEqual(await store.repositories.find({ name }), upper);
      const taken = { reason: "name", repositoryId: other.id };
      await fails(store.repositories.rename({ repositoryId, name: other.name.toUpperCase() }), "conflict", taken);
      await fails(store.repositories.rename({ repositoryId, name: newId(), expectedVersion: 2 }), "conflict", {
        reason: "version",
        currentVersion: 3,
      });
    });

    test("of eight repositories that are renamed to one name at once, one gets it", async ({ store }) => {
      const rows = await Promise.all(Array.from({ length: 8 }, () => fixtures(store).repository()));
      const name = `Raced ${newId()}`;
      const settled = await Promise.allSettled(
        rows.map(({ repository }) => store.repositories.rename({ repositoryId: repository.id, name })),
      );
      assert.equal(settled.filter(({ status }) => status === "fulfilled").length, 1);
      for (const one of settled) {
        if (one.status === "rejected")
          assert.deepEqual([one.reason.code, one.reason.details.reason], ["conflict", "name"]);
      }
    });

    test("list returns archived repositories only with includeArchived", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      await store.repositories.archive({ repositoryId: repository.id });
      const idsOf = async (includeArchived: boolean) => {
        const ids: string[] = [];
        for await (const { id } of store.repositories.all({ includeArchived, limit: 500 })) ids.push(id);
        return ids;
      };
      assert.ok(!(await idsOf(false)).includes(repository.id));
      assert.ok((await idsOf(true)).includes(repository.id));
    });

    test("an expectedVersion for a new name is refused, and nothing is created", async ({ store }) => {
      const name = `absent ${newId()}`;
      await fails(store.repositories.upsert({ name, expectedVersion: 1 }), "conflict", { reason: "version" });
      assert.equal(await store.repositories.find({ name }), undefined);
    });
  });
}
