// Runs of the demo on a git repository, and what they leave in the store and in worktrees.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite, test } from "node:test";
import type { Store } from "../../../src/storeTypes.ts";
import {
  git,
  hasScript,
  isAlive,
  run,
  runOnTerminal,
  runProcess,
  withStore,
  workingFolder,
} from "../cli/commandLine.ts";

const few = ["--runners", "2", "--commits", "3"];
/** One thread is enough for one commit. */
const alone = ["demo", "--runners", "1"];

async function readAll(store: Store) {
  const sessions = (await store.sessions.list({ limit: 500 })).items;
  const commands = (await store.commands.list({ limit: 500 })).items;
  const worktrees = (await store.worktrees.list({ limit: 500 })).items;
  return { sessions, commands, worktrees };
}

async function logOf(store: Store, commandId: string, stream?: string): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of store.logs.follow({ commandId }))
    if (stream === undefined || chunk.stream === stream) chunks.push(chunk.data);
  return Buffer.concat(chunks);
}

suite("demo", { concurrency: 2 }, () => {
  test("on a terminal, the progress is redrawn, and replaced by the table at the end", {
    skip: hasScript() ? false : "there is no script of util-linux",
  }, async (t) => {
    const { folder, url } = workingFolder(t, { commits: 2 });
    const { code, output } = await runOnTerminal(folder, ["demo", "--runners", "2"]);
    assert.equal(code, 0, output);
    const bars = output.match(/[━─]+.*?(\d+)\/4 commands {2}(\d)\/2 sessions/g) ?? [];
    assert.ok(bars.length > 1, output);
    assert.ok(
      output.includes("\x1b[3A\r\x1b[J"),
      "each drawing clears the lines of the one before: a bar and two runners",
    );
    assert.match(output, /runner-1 .*\r?\n.*runner-2 /);
    const last = output.slice(output.lastIndexOf("\x1b[J"));
    assert.ok(!/[━─]/.test(last), "the bar is cleared at the end");
    assert.ok(last.includes("4: 4 succeeded"), last);
    await withStore(url, async (store) => assert.equal((await readAll(store)).commands.length, 4));
  });

  test("the first run creates worktrees, and the second one reuses them", async (t) => {
    const { folder, url } = workingFolder(t, { commits: 4 });
    const first = await run(folder, ["demo", ...few]);
    assert.equal(first.code, 0, first.stderr);
    const worktrees = readdirSync(join(folder, ".artifacts/worktrees"), { recursive: false });
    assert.equal(worktrees.length, 1);
    const made = await withStore(url, async (store) => {
      const { sessions, commands, worktrees } = await readAll(store);
      const newest = git(folder, "rev-list", "--max-count=3", "HEAD").trim().split("\n");
      assert.deepEqual(sessions.map(({ commitSha }) => commitSha).sort(), newest.sort());
      assert.deepEqual(new Set(sessions.map(({ state }) => state)), new Set(["completed"]));
      assert.deepEqual(
        commands.map(({ state, exitCode }) => `${state} ${exitCode}`),
        Array(6).fill("succeeded 0"),
      );
      for (const session of sessions) {
        const own = commands
          .filter(({ sessionId }) => sessionId === session.id)
          .sort((left, right) => left.sequence - right.sequence);
        const [show, version] = own.map(({ id }) => id) as [string, string];
        assert.equal((await logOf(store, show, "stdout")).toString(), git(folder, "show", "--stat", session.commitSha));
        assert.equal((await logOf(store, version)).toString(), `${process.version}\n`);
        assert.equal(
          new Set(own.map(({ runnerId }) => runnerId)).size,
          1,
          "a session keeps its worktree, and so its runner, from command to command",
        );
      }
      assert.ok(
        worktrees.length <= 2 &&
          worktrees.every(({ state, path }) => state === "idle" && existsSync(join(path, ".git"))),
      );
      return worktrees;
    });
    assert.match(first.stdout, /^sessions {2}3: 3 completed$/m);
    assert.match(first.stdout, /^commands {2}6: 6 succeeded/m);

    const second = await run(folder, ["demo", ...few]);
    assert.equal(second.code, 0, second.stderr);
    await withStore(url, async (store) => {
      const { worktrees } = await readAll(store);
      const known = new Set(made.map(({ id }) => id));
      const added = worktrees.filter(({ id }) => !known.delete(id)).length;
      assert.equal(known.size, 0);
      // If one runner did all the work of the first run, the other one needs its first worktree now.
      assert.ok(worktrees.length <= 2);
      assert.match(second.stdout, new RegExp(`^worktrees \\d used, ${added} created, reused ${3 - added}×$`, "m"));
      assert.equal(
        worktrees.reduce((sum, { useCount }) => sum + useCount, 0),
        6,
      );
    });
  });

  test("a linked worktree belongs to the same repository", async (t) => {
    const { folder, url } = workingFolder(t);
    git(folder, "worktree", "add", "--quiet", "--detach", join(folder, "linked"));
    const one = [...alone, "--commits", "1"];
    const direct = await run(folder, one);
    const linked = await run(join(folder, "linked"), [...one, "--url", url]);
    assert.deepEqual([direct.code, linked.code], [0, 0], linked.stderr);
    await withStore(url, async (store) => {
      const { items } = await store.repositories.list();
      assert.deepEqual(
        items.map(({ remoteUrl }) => remoteUrl),
        [join(folder, ".git")],
      );
    });
  });

  test("without a terminal, stdout receives the table, and stderr one line per command, without colors", async (t) => {
    const { folder } = workingFolder(t, { commits: 1 });
    const { code, stdout, stderr } = await runProcess(folder, ["demo"]);
    assert.equal(code, 0, stderr);
    assert.match(
      stderr,
      /^.+: the newest 1 commit, 4 runners, sqlite:\.artifacts\/data\/metadata\.db\n1\/2 {2}succeeded .*\n2\/2 {2}succeeded .*\n$/,
    );
    assert.match(stdout, /^commit +subject +worktree +command +outcome +exit/);
    assert.ok(!`${stdout}${stderr}`.includes("\u001b"));
  });

  test("when a command fails, its exit code is in the table, and the run exits with 1", async (t) => {
    const { folder, url } = workingFolder(t, { commits: 1 });
    const { code, stdout } = await run(folder, [
      ...alone,
      "--command",
      "sh",
      "--",
      "-c",
      "echo out; echo on stderr >&2; exit 7",
    ]);
    assert.equal(code, 1);
    assert.match(stdout, /sh -c echo out.* failed +7 /);
    assert.match(stdout, /^sessions {2}1: 1 failed$/m);
    await withStore(url, async (store) => {
      const failed = (await readAll(store)).commands.find(({ sequence }) => sequence === 3);
      assert.deepEqual([failed?.state, failed?.exitCode, failed?.signal], ["failed", 7, null]);
      assert.equal((await logOf(store, failed?.id ?? "", "stdout")).toString(), "out\n");
      assert.equal((await logOf(store, failed?.id ?? "", "stderr")).toString(), "on stderr\n");
    });
  });

  test("the table shows the signal that ended a program", async (t) => {
    const { folder } = workingFolder(t, { commits: 1 });
    const { code, stdout } = await run(folder, [...alone, "--command", "sh", "--", "-c", "kill -KILL $$"]);
    assert.equal(code, 1);
    assert.match(stdout, /failed +SIGKILL /);
  });

  test("the table shows a program that does not exist", async (t) => {
    const { folder } = workingFolder(t, { commits: 1 });
    const { code, stdout, stderr } = await run(folder, [...alone, "--command", "no-such-program"]);
    assert.equal(code, 1);
    assert.match(stdout, /failed .* no-such-program: no such program$/m);
    assert.doesNotMatch(stderr, /^ {4}at /m);
  });

  test("a log written in many pieces is complete and in order", async (t) => {
    const { folder, url } = workingFolder(t, { commits: 1 });
    const script = "for (let i = 0; i < 50000; i++) process.stdout.write(i + '\\n')";
    const { code } = await run(folder, [...alone, "--command", process.execPath, "--", "-e", script]);
    assert.equal(code, 0);
    const expected = createHash("sha256");
    for (let number = 0; number < 50_000; number++) expected.update(`${number}\n`);
    await withStore(url, async (store) => {
      const long = (await readAll(store)).commands.find(({ sequence }) => sequence === 3);
      const log = await logOf(store, long?.id ?? "", "stdout");
      assert.equal(createHash("sha256").update(log).digest("hex"), expected.digest("hex"));
    });
  });

  test("background processes of a program are stopped when it ends", async (t) => {
    const { folder, url } = workingFolder(t, { commits: 1 });
    const { code } = await run(folder, [...alone, "--command", "sh", "--", "-c", "sleep 60 & echo $!"]);
    assert.equal(code, 0);
    await withStore(url, async (store) => {
      const parent = (await readAll(store)).commands.find(({ sequence }) => sequence === 3);
      const pid = Number((await logOf(store, parent?.id ?? "")).toString());
      assert.ok(pid > 0 && !isAlive(pid));
    });
  });

  test("a worktree is created again after its folder was removed by hand", async (t) => {
    const { folder, url } = workingFolder(t, { commits: 1 });
    await run(folder, alone);
    const [worktree] = await withStore(url, async (store) => (await readAll(store)).worktrees);
    rmSync(worktree?.path ?? "", { recursive: true });
    const { code, stderr } = await run(folder, alone);
    assert.equal(code, 0, stderr);
    assert.equal(git(worktree?.path ?? "", "rev-parse", "HEAD"), git(folder, "rev-parse", "HEAD"));
    await withStore(url, async (store) => {
      const { worktrees, commands } = await readAll(store);
      assert.deepEqual(
        worktrees.map(({ id, useCount }) => [id, useCount]),
        [[worktree?.id, 2]],
      );
      assert.match((await logOf(store, commands[2]?.id ?? "", "system")).toString(), /: created again, at /);
    });
  });

  test("a worktree is created again after it lost its .git, and the repository around it is not touched", async (t) => {
    const { folder, url } = workingFolder(t, { commits: 2 });
    const dirty = [...alone, "--commits", "1", "--command", "touch", "left-over"];
    await run(folder, dirty);
    const [worktree] = await withStore(url, async (store) => (await readAll(store)).worktrees);
    assert.equal(worktree?.state, "dirty");
    rmSync(join(worktree?.path ?? "", ".git"));
    writeFileSync(join(folder, "file-1.txt"), "work that was not committed\n");
    const { code, stderr } = await run(folder, [...alone, "--commits", "1"]);
    assert.equal(code, 0, stderr);
    assert.equal(readFileSync(join(folder, "file-1.txt"), "utf8"), "work that was not committed\n");
    assert.equal(git(worktree?.path ?? "", "rev-parse", "--show-toplevel").trim(), worktree?.path);
  });

  test("changes of a command are gone for the next session", async (t) => {
    const { folder, url } = workingFolder(t, { commits: 1 });
    await run(folder, [...alone, "--command", "sh", "--", "-c", "echo more >> file-1.txt; touch left-over"]);
    const { code } = await run(folder, [...alone, "--command", "sh", "--", "-c", "ls; cat file-1.txt"]);
    assert.equal(code, 0);
    await withStore(url, async (store) => {
      const { commands, worktrees } = await readAll(store);
      assert.equal((await logOf(store, commands.at(-1)?.id ?? "")).toString(), "file-1.txt\nline 1\n");
      assert.deepEqual(
        worktrees.map(({ state }) => state),
        ["idle"],
      );
    });
  });

  test("a command that checks out another commit does not affect the next session", async (t) => {
    const { folder } = workingFolder(t, { commits: 2 });
    const one = [...alone, "--commits", "1"];
    await run(folder, [...one, "--command", "git", "checkout", "HEAD~1"]);
    const { code, stderr } = await run(folder, [...one, "--command", "test", "--", "-e", "file-2.txt"]);
    assert.equal(code, 0, stderr);
  });

  test("--clean removes what the demo made, and a store that holds nothing else", async (t) => {
    const { folder, url } = workingFolder(t, { commits: 2 });
    assert.equal((await run(folder, ["demo", ...few])).code, 0);
    const cleaned = await run(folder, ["demo", "--clean"]);
    assert.deepEqual([cleaned.code, cleaned.stderr], [0, ""]);
    assert.match(
      cleaned.stdout,
      /^removed \d worktrees of .+\nremoved 2 sessions with their commands and logs\nremoved .+\n$/,
    );
    assert.equal(existsSync(join(folder, ".artifacts")), false);
    assert.deepEqual(git(folder, "worktree", "list").trim().split("\n").length, 1);
    const again = await run(folder, ["demo", "--clean"]);
    assert.deepEqual([again.code, again.stdout], [0, "there is nothing to remove\n"]);
    // A store with something else keeps it.
    await run(folder, ["demo", ...few]);
    await withStore(url, (store) => store.accounts.create({ name: "ops", kind: "human" }));
    const kept = await run(folder, ["demo", "--clean"]);
    assert.match(kept.stdout, /the store itself stays, because it holds more\n$/);
    await withStore(url, async (store) => {
      assert.deepEqual(
        (await store.accounts.list()).items.map(({ name }) => name),
        ["ops"],
      );
      assert.deepEqual((await readAll(store)).sessions, []);
    });
  });
});
