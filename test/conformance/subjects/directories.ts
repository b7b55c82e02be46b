// Directories: one directory has one path, wherever a path is passed (D-087).
import assert from "node:assert/strict";
import { newId } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { fails, subject } from "../suite.ts";

export function directoriesConformance(backend: TestedBackend): void {
  subject(backend, "directories", ({ test }) => {
    test("one directory in several forms is one worktree, and no other repository can have it", async ({ store }) => {
      const [{ repository }, { repository: other }] = [
        await fixtures(store).repository(),
        await fixtures(store).repository(),
      ];
      const name = newId();
      const path = `/srv/${name}/a`;
      const forms = [`/srv/${name}/a/`, `/srv//${name}/a`, `/srv/./${name}/b/../a`, `/../srv/${name}/a/.`];
      const worktree = await store.worktrees.register({ repositoryId: repository.id, path: forms[0] as string });
      assert.equal(worktree.path, path);
      for (const form of [path, ...forms]) {
        const again = await store.worktrees.register({ repositoryId: repository.id, path: form });
        assert.equal(again.id, worktree.id, form);
        const details = { reason: "path", worktreeId: worktree.id };
        await fails(store.worktrees.register({ repositoryId: other.id, path: form }), "conflict", details);
        await fails(store.worktrees.reserve({ repositoryId: other.id, owner: "o", path: form }), "conflict", details);
        const reserve = { owner: "o", path: form };
        const { commitSha } = fixtures(store);
        await fails(store.sessions.create({ repositoryId: other.id, commitSha, reserve }), "conflict", details);
      }
    });

    test("the worktreeRoot is stored in normal form, and a new worktree lies in it", async ({ store }) => {
      for (const [form, root, separator] of [
        [`/srv/${newId()}`, undefined, "/"],
        ["/srv/roots/", "/srv/roots", "/"],
        ["/", "/", ""],
        ["d:/roots/", "D:\\roots", "\\"],
      ] as const) {
        const { repository } = await fixtures(store).repository({ worktreeRoot: form });
        assert.equal(repository.worktreeRoot, root ?? form);
        const { worktree } = await store.worktrees.reserve({ repositoryId: repository.id, owner: "o" });
        assert.equal(worktree.path, `${repository.worktreeRoot}${separator}${worktree.id}`);
        const { version } = repository;
        const again = await store.repositories.upsert({ name: repository.name, worktreeRoot: form });
        assert.equal(again.version, version, "the same root in another form changes nothing");
      }
    });

    test("a relative path is refused", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      for (const path of ["a", "./a", "../a", "~/a", "C:a"]) {
        const error = await fails(store.worktrees.register({ repositoryId: repository.id, path }), "invalid_input");
        assert.match(error.message, /path: must be an absolute path, such as /);
        await fails(store.worktrees.reserve({ repositoryId: repository.id, owner: "o", path }), "invalid_input");
        await fails(store.repositories.upsert({ name: repository.name, worktreeRoot: path }), "invalid_input");
      }
    });
  });
}
