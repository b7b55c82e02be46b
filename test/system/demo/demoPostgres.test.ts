// The demo on PostgreSQL: the same work, also by two processes at once.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { dropDatabase, newDatabase } from "../../support/postgres.ts";
import { run, runProcess, withStore, workingFolder } from "../cli/commandLine.ts";

test("two processes share the work of one database: every command runs once, and every worktree has one row", async (t) => {
  const url = await newDatabase();
  t.after(() => dropDatabase(url));
  const { folder } = workingFolder(t, { commits: 6 });
  const args = ["demo", "--runners", "2", "--commits", "6", "--url", url];
  const ended = await Promise.all([runProcess(folder, args), runProcess(folder, args)]);
  for (const { code, stderr } of ended) assert.equal(code, 0, stderr);
  for (const { stdout } of ended) {
    assert.match(stdout, /^sessions {2}6: 6 completed$/m);
    assert.match(stdout, /^commands {2}12: 12 succeeded/m);
  }
  for (const { stderr } of ended)
    assert.ok(!stderr.includes(new URL(url).password === "" ? "\u0000" : `:${new URL(url).password}@`), stderr);
  await withStore(url, async (store) => {
    const commands = (await store.commands.list({ limit: 500 })).items;
    assert.equal(commands.length, 24);
    assert.ok(commands.every(({ state, attempt }) => state === "succeeded" && attempt === 1));
    const worktrees = (await store.worktrees.list({ limit: 500 })).items;
    assert.equal(new Set(worktrees.map(({ path }) => path)).size, worktrees.length);
    // The process that stops first may release a worktree without cleaning it. No worktree is leased any more.
    for (const { state, path } of worktrees) {
      assert.ok(
        state === "removed" || (["idle", "dirty"].includes(state) && existsSync(join(path, ".git"))),
        `${state} ${path}`,
      );
    }
    const runners = (await store.runners.list()).items;
    assert.equal(new Set(runners.map(({ pid }) => pid)).size, 2);
    const { rows } = await store.maintenance.stats();
    const { queued = 0, running = 0, cancelling = 0 } = rows.commands as Record<string, number>;
    assert.deepEqual([queued, running, cancelling], [0, 0, 0]);
  });
});

test("a wrong password is reported in one sentence that does not contain it", async (t) => {
  const { folder } = workingFolder(t);
  const wrong = new URL(await newDatabase());
  t.after(() => dropDatabase(wrong.href));
  const right = wrong.password;
  wrong.password = "hunter2";
  const { code, stdout, stderr } = await run(folder, ["demo", "--url", wrong.href]);
  assert.equal(code, 1);
  assert.equal(stdout, "");
  assert.match(
    stderr,
    /^debug-server-db: postgres:\/\/\S+: the server refuses this user or password: correct the URL \([^\n]*\)\n$/,
  );
  assert.ok(!stderr.includes("hunter2"));
  wrong.password = right;
});
