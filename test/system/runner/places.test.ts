// Runners of one store with different folders: each gets worktrees in its own, and takes over those from before there
// were places.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { suite, type TestContext, test } from "node:test";
import { openStore } from "../../../src/index.ts";
import {
  evictWorktrees,
  type RunnerEvent,
  type StartedRunner,
  type StartRunnerOptions,
  startRunner,
} from "../../../src/runner/index.ts";
import { placeOf } from "../../../src/runner/place.ts";
import { git, workingFolder } from "../cli/commandLine.ts";
import { until } from "../faults/until.ts";

/** Opens a store with a repository that has no folder of its own for worktrees. */
async function setUp(t: TestContext) {
  const { folder, url } = workingFolder(t, { commits: 1 });
  const store = await openStore({ url });
  const runners: StartedRunner[] = [];
  t.after(async () => {
    await Promise.all(runners.map((runner) => runner.close({ drainMs: 0 })));
    await store.close();
  });
  const remoteUrl = join(folder, ".git");
  const { id: repositoryId } = await store.repositories.upsert({ name: "app", remoteUrl, maxWorktrees: 1 });
  const commitSha = git(folder, "rev-parse", "HEAD").trim();
  const folderOf = (name: string) => join(folder, ".artifacts", name);
  const start = async (name: string, options: StartRunnerOptions = {}) => {
    const events: RunnerEvent[] = [];
    const onEvent = (event: RunnerEvent) => events.push(event);
    const runner = await startRunner(store, {
      folder: folderOf(name),
      concurrency: 1,
      idleMs: 0,
      signals: false,
      onEvent,
      ...options,
    });
    runners.push(runner);
    const how = () => events.flatMap((event) => (event.type === "worktree_ready" ? [event.how] : []));
    return { runner, events, how, close: () => runner.close() };
  };
  const run = async () => {
    const argv = ["sh", "-c", "pwd"];
    const { session } = await store.sessions.create({
      repositoryId,
      commitSha,
      autoComplete: true,
      commands: [{ argv }],
    });
    return session;
  };
  const ended = async (session: { readonly id: string }) =>
    (await store.sessions.wait({ sessionId: session.id, timeoutMs: 60_000 })).state;
  const worktrees = async () => {
    const { items } = await store.worktrees.list({ repositoryId });
    return items.filter(({ state }) => state !== "removed");
  };
  return { store, repositoryId, folderOf, start, run, ended, worktrees };
}

suite("places of runners", { concurrency: 3 }, () => {
  test("two runners with folders of their own run commands of one repository, each in its own worktree", async (t) => {
    const { start, run, ended, worktrees, folderOf } = await setUp(t);
    const order: string[][] = [];
    for (const name of ["a", "b", "a"]) {
      const runner = await start(name);
      assert.equal(await ended(await run()), "completed", name);
      await runner.close();
      order.push(runner.how() as string[]);
    }
    assert.deepEqual(order, [["created"], ["created"], ["reused"]]);
    const rows = await worktrees();
    assert.deepEqual(
      rows.map(({ place }) => place),
      ["a", "b"].map((name) => `${hostname()}:${folderOf(name)}`),
    );
    assert.ok(rows.every(({ place, path }) => path.startsWith(place.slice(place.indexOf(":") + 1))));
  });

  test("both run at once, although the repository allows one worktree: in each place", async (t) => {
    const { start, run, ended, worktrees } = await setUp(t);
    await start("a");
    await start("b");
    const sessions = await Promise.all([run(), run(), run(), run()]);
    assert.deepEqual(new Set(await Promise.all(sessions.map(ended))), new Set(["completed"]));
    assert.ok((await worktrees()).length <= 2);
  });

  test("a runner takes over the worktrees in its folder from before there were places, and no others", async (t) => {
    const { store, start, run, ended, worktrees } = await setUp(t);
    for (const former of ["", hostname()]) {
      const before = await start("a", { place: former });
      assert.equal(await ended(await run()), "completed");
      await before.close();
      const [{ id, place } = assert.fail()] = await worktrees();
      assert.equal(place, former);
      // One of another folder has it not.
      const other = await start("b");
      assert.equal(await ended(await run()), "completed");
      await other.close();
      const again = await start("a");
      assert.equal(await ended(await run()), "completed");
      await again.close();
      assert.deepEqual(again.how(), ["reused"]);
      const rows = await worktrees();
      assert.equal(rows.find((row) => row.id === id)?.place.endsWith("/a"), true);
      for (const { repositoryId, id: worktreeId, path, place: there } of rows) {
        assert.ok(existsSync(path));
        const { fence = 0 } =
          (await store.worktrees.evict({ repositoryId, worktreeId, owner: "test", place: there })) ?? {};
        await store.worktrees.completeEvict({ worktreeId, fence });
      }
    }
  });

  test("a command whose worktree is in the folder of another runner is given back, and runs there", async (t) => {
    const { store, start, run, ended, worktrees } = await setUp(t);
    const place = "one name for two folders";
    const first = await start("a", { place });
    assert.equal(await ended(await run()), "completed");
    await first.close();
    const [{ id, path } = assert.fail()] = await worktrees();
    const wrong = await start("b", { place });
    const session = await run();
    await until(() => wrong.events.some(({ type }) => type === "handed_back"));
    await wrong.close();
    const back = wrong.events.find((event) => event.type === "handed_back");
    assert.match(back?.type === "handed_back" ? (back.reason ?? "") : "", /is not below .*\/b\/worktrees/);
    assert.ok(existsSync(path));
    assert.equal((await store.worktrees.get({ worktreeId: id })).leaseExpiresAt, null);
    const right = await start("a", { place });
    assert.equal(await ended(session), "completed");
    assert.equal((await store.commands.list({ sessionId: session.id })).items[0]?.attempt, 2);
    await right.close();
  });

  test("evictWorktrees removes those of its folder", async (t) => {
    const { store, start, run, ended, worktrees, folderOf, repositoryId } = await setUp(t);
    for (const name of ["a", "b"]) {
      const runner = await start(name);
      assert.equal(await ended(await run()), "completed");
      await runner.close();
    }
    const repository = await store.repositories.get({ repositoryId });
    const evicted = await evictWorktrees(store, { repository, folder: folderOf("a"), owner: "nightly" });
    assert.deepEqual(evicted, { removed: 1, problems: [] });
    assert.deepEqual(
      (await worktrees()).map(({ place, path }) => [place.endsWith("/b"), existsSync(path)]),
      [[true, true]],
    );
  });

  test("the place of a folder is one that the store accepts, however the folder is called", async (t) => {
    const { store } = await setUp(t);
    assert.equal(placeOf("/srv/runner"), `${hostname()}:/srv/runner`);
    const places = [`/srv/${"a".repeat(300)}`, `/srv/${"a".repeat(300)}b`, "/srv/a\nb", "/srv/a\u202eb", "/srv/\ud800"];
    const stored = await Promise.all(
      places.map(async (folder) => (await store.runners.register({ name: "r", place: placeOf(folder) })).place),
    );
    assert.equal(new Set(stored).size, places.length);
  });
});
