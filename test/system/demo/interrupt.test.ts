// An interrupted run ends in time, and leaves no program running and no lease behind.
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { isFinal } from "../../../src/model/commands.ts";
import {
  isAlive,
  type Running,
  run,
  startProcess,
  type WorkingFolder,
  withStore,
  workingFolder,
} from "../cli/commandLine.ts";
import { until } from "../faults/until.ts";

/** The time that an interrupted run may take, far below that of its programs. On a quiet machine it takes a second. */
const inTimeMs = 15_000;

/** A program that prints its process id, so that a test knows that it runs. */
const sleeps = ["--command", "sh", "--", "-c", "echo $$; exec sleep 60"];
const sleepsOn = ["--command", "sh", "--", "-c", "trap '' TERM; echo $$; while :; do sleep 1; done"];

/** Waits until every session's third command has written its process id. */
async function pidsOf({ url }: WorkingFolder, running: Running): Promise<number[]> {
  await running.said("the newest");
  return await withStore(url, async (store) => {
    const { items } = await store.commands.list({ limit: 500 });
    const long = items.filter(({ sequence, state }) => sequence === 3 && !isFinal(state));
    return await Promise.all(
      long.map(async ({ id }) => {
        for await (const { stream, data } of store.logs.follow({ commandId: id }))
          if (stream === "stdout") return Number(Buffer.from(data).toString());
        throw new Error("the command ended without a word");
      }),
    );
  });
}

async function assertGivenBack(url: string): Promise<void> {
  await withStore(url, async (store) => {
    const worktrees = (await store.worktrees.list({ limit: 500 })).items;
    assert.deepEqual(
      worktrees.filter(({ leaseExpiresAt }) => leaseExpiresAt !== null),
      [],
    );
    assert.deepEqual(
      [...new Set(worktrees.map(({ state }) => state))].filter(
        (state) => state !== "idle" && state !== "dirty" && state !== "removed",
      ),
      [],
    );
    const commands = (await store.commands.list({ limit: 500 })).items;
    assert.deepEqual(
      commands.filter(({ state }) => !isFinal(state)),
      [],
    );
    const sessions = (await store.sessions.list({ limit: 500 })).items;
    assert.deepEqual(new Set(sessions.map(({ state }) => state)), new Set(["cancelled"]));
  });
}

suite("interrupt", () => {
  for (const [name, signal, command] of [
    ["Ctrl-C", "SIGINT", sleeps],
    ["SIGTERM", "SIGTERM", sleeps],
    ["Ctrl-C with a program that ignores SIGTERM", "SIGINT", sleepsOn],
  ] as const) {
    test(`${name} ends the run, its programs and its leases in time`, async (t) => {
      const here = workingFolder(t, { commits: 2 });
      const running = startProcess(here.folder, ["demo", "--runners", "2", ...command]);
      const pids = await pidsOf(here, running);
      assert.equal(pids.filter(isAlive).length, 2);
      const atMs = performance.now();
      running.kill(signal);
      const { code, stdout, stderr } = await running.ended;
      const tookMs = performance.now() - atMs;
      assert.equal(code, 130, stderr);
      assert.ok(tookMs < inTimeMs, `it took ${Math.round(tookMs)} ms`);
      assert.deepEqual(pids.filter(isAlive), []);
      assert.match(stderr, /\ndebug-server-db: interrupted: .+\n$/);
      assert.match(stdout, /^sessions {2}2: 2 cancelled$/m);
      await assertGivenBack(here.url);
    });
  }

  test("an interrupt before the runners have begun ends the run", async (t) => {
    const here = workingFolder(t, { commits: 2 });
    const running = startProcess(here.folder, ["demo"]);
    await running.said("the newest");
    running.kill("SIGINT");
    const { code, stderr } = await running.ended;
    assert.equal(code, 130, stderr);
    await assertGivenBack(here.url);
  });

  test("the run after an interrupt reuses the worktrees", async (t) => {
    const here = workingFolder(t, { commits: 2 });
    const running = startProcess(here.folder, ["demo", "--runners", "2", ...sleeps]);
    await pidsOf(here, running);
    running.kill("SIGINT");
    await running.ended;
    const { code, stdout, stderr } = await run(here.folder, ["demo", "--runners", "2"]);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^worktrees [12] used, 0 created, reused 2×$/m);
  });

  test("after a kill, the next run cancels the sessions that were left open, and completes its own", async (t) => {
    const here = workingFolder(t, { commits: 1 });
    const running = startProcess(here.folder, ["demo", "--runners", "1", ...sleeps]);
    const pids = await pidsOf(here, running);
    running.kill("SIGKILL");
    await running.ended;
    // The killed run cannot stop the program, but its guardian does.
    await until(() => !pids.some(isAlive));
    const { code, stderr } = await run(here.folder, ["demo", "--runners", "1"]);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /^1 session of a killed run: cancelled$/m);
  });
});
