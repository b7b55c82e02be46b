// Changes of updates: the feed tells every field that differs, no secret, and nothing large.
import assert from "node:assert/strict";
import { newId, type Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { endOfFeed, subject } from "../suite.ts";

/** Returns operation and detail of each change of a row since a cursor. */
async function changesOf(store: Store, after: number, id: string) {
  const { changes } = await store.changes.since({ after });
  return changes.filter(({ entityId }) => entityId === id).map(({ op, detail }) => [op, detail]);
}

export function changeDetailConformance(backend: TestedBackend): void {
  subject(backend, "changes: what an update has changed", ({ test }) => {
    test("an upsert of a repository tells each field that differs, from what and to what", async ({ store }) => {
      const after = await endOfFeed(store);
      const name = `told ${newId()}`;
      const { id } = await store.repositories.upsert({ name, defaultBranch: "main", maxWorktrees: 3 });
      await store.repositories.upsert({
        name: name.toUpperCase(),
        defaultBranch: "dev",
        description: "now",
        maxWorktrees: 3,
      });
      await store.repositories.upsert({ name, worktreeRoot: "/srv/a/", description: null });
      const { archivedAt } = await store.repositories.archive({ repositoryId: id });
      await store.repositories.upsert({ name });
      await store.repositories.rename({ repositoryId: id, name: `${name}!` });
      assert.deepEqual(await changesOf(store, after, id), [
        ["create", null],
        [
          "update",
          {
            changed: {
              name: { from: name, to: name.toUpperCase() },
              defaultBranch: { from: "main", to: "dev" },
              description: { from: null, to: "now" },
            },
          },
        ],
        [
          "update",
          {
            changed: {
              name: { from: name.toUpperCase(), to: name },
              description: { from: "now", to: null },
              worktreeRoot: { from: null, to: "/srv/a" },
            },
          },
        ],
        ["archive", null],
        ["update", { changed: { archivedAt: { from: archivedAt?.toISOString(), to: null } } }],
        ["rename", { changed: { name: { from: name, to: `${name}!` } } }],
      ]);
    });

    test("secrets are masked, long text is cut, and JSON is only named", async ({ store }) => {
      const after = await endOfFeed(store);
      const name = `masked ${newId()}`;
      const secret = `s3cret${newId().replaceAll("-", "")}`;
      const { id } = await store.repositories.upsert({ name, remoteUrl: `https://ada:${secret}@git.example/a.git` });
      await store.repositories.upsert({
        name,
        remoteUrl: `https://${secret}@git.example/b.git?access_token=${secret}#${secret}`,
        description: `API_TOKEN=${secret} ${"long ".repeat(1_000)}`,
        settings: { password: secret, big: "x".repeat(10_000) },
        worktreeRoot: `/${"w".repeat(4_000)}`,
      });
      await store.repositories.upsert({
        name,
        remoteUrl: `ssh://git:${secret}/${secret}@git.example/c.git`,
        settings: null,
      });
      const rows = await changesOf(store, after, id);
      assert.ok(!JSON.stringify(rows).includes(secret));
      const [, first, second] = rows as [unknown, [string, { changed: Record<string, { to?: string }> }], unknown];
      const { changed } = first[1];
      assert.deepEqual(changed.remoteUrl, {
        from: "https://ada:***@git.example/a.git",
        to: "https://***@git.example/b.git?***",
      });
      assert.match(changed.description?.to as string, /^API_TOKEN=\*\*\* long .*…$/);
      assert.deepEqual([changed.description?.to?.length, changed.worktreeRoot?.to?.length], [200, 200]);
      assert.deepEqual(changed.settings, {});
      assert.deepEqual(second, [
        "update",
        {
          changed: {
            remoteUrl: { from: "https://***@git.example/b.git?***", to: "ssh://git:***@git.example/c.git" },
            settings: {},
          },
        },
      ]);
    });

    test("a runner that registers again, facts of a worktree, and a rotated token tell what has changed", async ({
      store,
    }) => {
      const after = await endOfFeed(store);
      const input = { bootId: newId(), name: "r", host: "h", pid: 1 };
      const runner = await store.runners.register(input);
      await store.runners.drain({ runnerId: runner.id });
      await store.runners.register({ ...input, pid: 2, labels: { zone: "a" } });
      await store.runners.register({ ...input, pid: 2, labels: { zone: "a" } });
      assert.deepEqual(await changesOf(store, after, runner.id), [
        ["register", { name: "r", host: "h", place: "h", pid: 1 }],
        ["drain", null],
        ["register", { changed: { pid: { from: 1, to: 2 }, labels: {}, state: { from: "draining", to: "online" } } }],
      ]);

      const { worktree, fence } = await fixtures(store).lease();
      const before = await endOfFeed(store);
      const commitSha = "f".repeat(40);
      await store.worktrees.update({ worktreeId: worktree.id, fence, commitSha, sizeBytes: 5 });
      const [update] = await changesOf(store, before, worktree.id);
      const [op, detail] = update as [string, { changed: Record<string, unknown> }];
      const { changed } = detail;
      assert.equal(op, "update");
      assert.deepEqual(changed.commitSha, { from: worktree.commitSha, to: commitSha });
      assert.deepEqual(changed.sizeBytes, { from: null, to: 5 });
      const release = { worktreeId: worktree.id, fence, commitSha: "e".repeat(40), to: "clean" } as const;
      await store.worktrees.release(release);
      const [, released] = (await changesOf(store, before, worktree.id)).at(-1) as [string, typeof detail];
      assert.deepEqual(released.changed, { commitSha: { from: commitSha, to: release.commitSha } });

      const { token } = await fixtures(store).token();
      const rotated = await store.tokens.rotate({ tokenId: token.id });
      const old = (await store.tokens.list({ accountId: token.accountId })).items.find(({ id }) => id === token.id);
      assert.deepEqual((await changesOf(store, before, token.id)).at(-1), [
        "rotate",
        {
          rotatedTo: rotated.token.id,
          changed: { expiresAt: { from: token.expiresAt, to: old?.expiresAt?.toISOString() } },
        },
      ]);
    });
  });
}
