// The worktrees of a runner: it deletes what it made for a session that has ended, and touches nothing that may have
// another holder.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { keepAlive, worktrees } from "../../../src/runner/index.ts";
import { fixtures, openTestStore, testClock } from "../../../src/testing/index.ts";
import { git, workingFolder } from "../cli/commandLine.ts";

const ttlMs = 15_000;

/** Creates a session on a git repository, and a holder for which something happens before it reports `ready`. */
async function holding(t: TestContext) {
  const { folder } = workingFolder(t);
  const clock = testClock();
  const store = await openTestStore({ clock });
  t.after(() => store.close());
  const { repository } = await fixtures(store).repository({
    remoteUrl: join(folder, ".git"),
    worktreeRoot: join(folder, "worktrees"),
  });
  const { runner } = await fixtures(store).runner({ ttlMs: 600_000 });
  const commitSha = git(folder, "rev-parse", "HEAD").trim();
  const { session } = await fixtures(store).session({ repositoryId: repository.id, commitSha });
  const alive = keepAlive(store, { runnerId: runner.id, ttlMs, intervalMs: 60_000 });
  t.after(() => alive.close());
  const options = { runnerId: runner.id, keepAlive: alive, folder: join(folder, "runner") };
  const { signal } = new AbortController();
  const before = async (happens: (worktreeId: string) => Promise<unknown>) => {
    const ready: typeof store.worktrees.ready = async (input) => {
      await happens(input.worktreeId);
      return await store.worktrees.ready(input);
    };
    const trees = worktrees({ repositories: store.repositories, worktrees: { ...store.worktrees, ready } }, options);
    await assert.rejects(trees.acquire(session, { signal }), { code: "lease_lost" });
    const [worktree] = (await store.worktrees.list({ repositoryId: repository.id })).items;
    return worktree as NonNullable<typeof worktree>;
  };
  return { store, clock, session, alive, trees: worktrees(store, options), before };
}

test("a worktree whose session ends while it is made is deleted, with and without a heartbeat in between", async (t) => {
  for (const beats of [false, true]) {
    const { store, session, alive, before } = await holding(t);
    const worktree = await before(async () => {
      await store.sessions.cancel({ sessionId: session.id });
      if (beats) await alive.beat();
    });
    assert.deepEqual([worktree.state, existsSync(worktree.path)], ["removed", false]);
  }
});

test("a worktree that is lost by time while it is made is left alone, because it may have another holder", async (t) => {
  for (const beats of [false, true]) {
    const { store, clock, alive, before } = await holding(t);
    const worktree = await before(async (worktreeId) => {
      clock.advance(ttlMs + 1);
      await store.maintenance.reap();
      await store.worktrees.restore({ worktreeId });
      if (beats) await alive.beat();
    });
    assert.deepEqual([worktree.state, existsSync(worktree.path)], ["dirty", true]);
  }
});

test("the commit is reported under each lease, and forgotten with a worktree that is not clean", async (t) => {
  const { store, session, trees } = await holding(t);
  const { signal } = new AbortController();
  for (const to of ["clean", "clean", "dirty"] as const) {
    const worktree = await trees.acquire(session, { signal });
    await trees.release(worktree, to);
    const { commitSha } = await store.worktrees.get({ worktreeId: worktree.holding.id });
    assert.equal(commitSha, to === "clean" ? session.commitSha : null);
  }
});

test("a worktree that a killed runner was making is removed, and its place is free again; others stay quarantined", async (t) => {
  for (const kind of ["being made", "to be inspected"] as const) {
    const { store, clock, session, trees } = await holding(t);
    const { repositoryId } = session;
    const { name } = await store.repositories.get({ repositoryId });
    await store.repositories.upsert({ name, maxWorktrees: kind === "being made" ? 1 : 2 });
    const { worktree, fence } = await store.worktrees.reserve({ repositoryId, owner: "killed", ttlMs });
    mkdirSync(worktree.path, { recursive: true });
    if (kind === "being made") {
      writeFileSync(`${worktree.path}.unfinished`, "");
      clock.advance(ttlMs + 1);
      await store.maintenance.reap();
    } else await store.worktrees.release({ worktreeId: worktree.id, fence, to: "keep" });
    assert.equal((await store.worktrees.get({ worktreeId: worktree.id })).state, "quarantined");
    const held = await trees.acquire(session, { signal: new AbortController().signal });
    await trees.release(held, "clean");
    assert.notEqual(held.path, worktree.path);
    const { state } = await store.worktrees.get({ worktreeId: worktree.id });
    assert.deepEqual(
      [state, existsSync(worktree.path), existsSync(`${worktree.path}.unfinished`)],
      kind === "being made" ? ["removed", false, false] : ["quarantined", true, false],
    );
  }
});
