// The demo as a holder of worktrees: it deletes what it made for a session that has ended, and touches nothing that may
// have another holder.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { Heartbeat, leaseTtlMs } from "../../../src/runner/keepAlive.ts";
import { acquireWorktree, type Holder, releaseWorktree } from "../../../src/runner/worktrees.ts";
import { fixtures, openTestStore, testClock } from "../../../src/testing/index.ts";
import { git, workingFolder } from "../cli/commandLine.ts";

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
  const heartbeat = new Heartbeat(store, runner.id);
  t.after(() => heartbeat.stop());
  const before = async (happens: (worktreeId: string) => Promise<unknown>) => {
    const ready: typeof store.worktrees.ready = async (input) => {
      await happens(input.worktreeId);
      return await store.worktrees.ready(input);
    };
    const holder: Holder = {
      store: { repositories: store.repositories, worktrees: { ...store.worktrees, ready } },
      runnerId: runner.id,
      heartbeat,
    };
    await assert.rejects(acquireWorktree(holder, session, new AbortController().signal), { code: "lease_lost" });
    const [worktree] = (await store.worktrees.list({ repositoryId: repository.id })).items;
    return worktree as NonNullable<typeof worktree>;
  };
  return { store, clock, session, runnerId: runner.id, heartbeat, before };
}

test("a worktree whose session ends while it is made is deleted, with and without a heartbeat in between", async (t) => {
  for (const beats of [false, true]) {
    const { store, session, heartbeat, before } = await holding(t);
    const worktree = await before(async () => {
      await store.sessions.cancel({ sessionId: session.id });
      if (beats) await heartbeat.beat();
    });
    assert.deepEqual([worktree.state, existsSync(worktree.path)], ["removed", false]);
  }
});

test("a worktree that is lost by time while it is made is left alone, because it may have another holder", async (t) => {
  for (const beats of [false, true]) {
    const { store, clock, heartbeat, before } = await holding(t);
    const worktree = await before(async (worktreeId) => {
      clock.advance(leaseTtlMs + 1);
      await store.maintenance.reap();
      await store.worktrees.restore({ worktreeId });
      if (beats) await heartbeat.beat();
    });
    assert.deepEqual([worktree.state, existsSync(worktree.path)], ["dirty", true]);
  }
});

test("the demo reports the commit under each lease, and forgets it with a worktree that is not clean", async (t) => {
  const { store, session, runnerId, heartbeat } = await holding(t);
  const holder = { store, runnerId, heartbeat };
  const { signal } = new AbortController();
  for (const to of ["clean", "clean", "dirty"] as const) {
    const { lease } = await acquireWorktree(holder, session, signal);
    await releaseWorktree(holder, lease, to);
    const { commitSha } = await store.worktrees.get({ worktreeId: lease.id });
    assert.equal(commitSha, to === "clean" ? session.commitSha : null);
  }
});
