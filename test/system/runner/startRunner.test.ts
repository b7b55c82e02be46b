// A runner from its start to its end: what commands get, how they end, and what is left.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { suite, type TestContext, test } from "node:test";
import { pathToFileURL } from "node:url";
import type { Worker } from "node:worker_threads";
import { type Command, type OwnedStore, openStore, type Session } from "../../../src/index.ts";
import {
  type RunnerEvent,
  registerRepository,
  type StartRunnerOptions,
  startRunner,
} from "../../../src/runner/index.ts";
import { storeError } from "../../../src/testing/index.ts";
import { git, workingFolder } from "../cli/commandLine.ts";
import { until } from "../faults/until.ts";

type Create = Parameters<OwnedStore["sessions"]["create"]>[0];

/** Starts a runner on a git repository with one commit. */
async function start(t: TestContext, options: StartRunnerOptions = {}) {
  const { folder, url } = workingFolder(t, { commits: 1 });
  const store = await openStore({ url });
  const events: RunnerEvent[] = [];
  const runner = await startRunner(store, {
    repositoryPath: folder,
    folder: join(folder, ".artifacts/runner"),
    concurrency: 2,
    graceMs: 200,
    signals: false,
    onEvent: (event) => events.push(event),
    ...options,
  });
  t.after(async () => {
    await runner.close({ drainMs: 0 });
    await store.close();
  });
  const repositoryId = runner.repository?.id as string;
  const commitSha = git(folder, "rev-parse", "HEAD").trim();
  /** Creates a session with commands of the shell. */
  const create = async (scripts: readonly (string | object)[], session: Partial<Create> = {}) => {
    const commands = scripts.map((script) =>
      typeof script === "string" ? { argv: ["sh", "-c", script] } : (script as { argv: string[] }),
    );
    return await store.sessions.create({ repositoryId, commitSha, autoComplete: true, commands, ...session });
  };
  const ended = ({ session }: { session: Session }) =>
    store.sessions.wait({ sessionId: session.id, timeoutMs: 60_000 });
  const logOf = async (commandId: string, stream = "stdout"): Promise<string> => {
    let text = "";
    for await (const chunk of store.logs.follow({ commandId }))
      if (chunk.stream === stream) text += Buffer.from(chunk.data).toString();
    return text;
  };
  /** Resolves when a command has printed something. */
  const printed = async (commandId: string, what: string): Promise<void> => {
    let text = "";
    for await (const chunk of store.logs.follow({ commandId, stream: ["stdout", "stderr"] })) {
      text += Buffer.from(chunk.data).toString();
      if (text.includes(what)) return;
    }
    throw new Error(`the command has ended without ${what}: ${text}`);
  };
  return { store, runner, folder, events, create, ended, logOf, printed, repositoryId, commitSha };
}

const only = ({ commands }: { commands: readonly Command[] }) => (commands[0] as Command).id;

suite("startRunner", { concurrency: 3 }, () => {
  test("commands run in a worktree of their session's commit, one after the other, and the worktree is reused", async (t) => {
    const { store, create, ended, logOf, folder, commitSha } = await start(t, { concurrency: 1 });
    const first = await create(["git rev-parse HEAD; pwd; echo changed > file-1.txt", "cat file-1.txt; exit 3"]);
    assert.equal((await ended(first)).state, "failed");
    const [one, two] = await Promise.all(first.commands.map(({ id }) => store.commands.get({ commandId: id })));
    assert.deepEqual([one?.state, one?.exitCode, two?.state, two?.exitCode], ["succeeded", 0, "failed", 3]);
    const [head, path] = (await logOf(one?.id ?? "")).trim().split("\n");
    assert.equal(head, commitSha);
    assert.ok(path?.startsWith(join(folder, ".artifacts/runner/worktrees")));
    assert.equal(await logOf(two?.id ?? ""), "changed\n");
    const second = await create(["cat file-1.txt; pwd"]);
    await ended(second);
    assert.equal(await logOf(only(second)), `line 1\n${path}\n`);
  });

  test("what a command used is reported with its result", {
    skip: process.platform === "linux" ? false : "only Linux tells",
  }, async (t) => {
    const { store, create, ended, printed, repositoryId } = await start(t, { concurrency: 1 });
    // Samples are two seconds apart at most.
    const made = await create([
      `"${process.execPath}" -e "while (process.cpuUsage().user < 300000); require('node:fs').writeFileSync('out', Buffer.alloc(1e6)); console.log('written')"; sync out; sleep 3`,
    ]);
    await printed(only(made), "written");
    await ended(made);
    const [attempt] = await store.commands.attempts({ commandId: only(made) });
    const { cpuMs, memoryBytes, writtenBytes } = attempt as NonNullable<typeof attempt>;
    assert.ok((cpuMs as number) >= 290 && (cpuMs as number) < 60_000, `${cpuMs} ms`);
    assert.ok((memoryBytes as number) > 20e6, `${memoryBytes} bytes`);
    if (existsSync("/proc/self/io")) assert.ok((writtenBytes as number) >= 0, `${writtenBytes} bytes`);
    const { days } = await store.usage.days({ by: "repository", name: repositoryId });
    assert.deepEqual(
      days.map((day) => [day.commands, day.cpuMs, day.memoryBytes]),
      [[1, cpuMs, memoryBytes]],
    );
  });

  test("a repository that was registered by its folder is the one of the runner", async (t) => {
    const { folder, url } = workingFolder(t, { commits: 1 });
    const store = await openStore({ url });
    t.after(() => store.close());
    const register = () =>
      registerRepository(store, { path: folder, worktreesFolder: join(folder, ".artifacts/trees") });
    const { id } = await store.repositories.upsert({ name: basename(folder), remoteUrl: folder });
    assert.equal((await register()).id, id);
    await store.repositories.upsert({ name: basename(folder), remoteUrl: pathToFileURL(folder).href });
    assert.equal((await register()).id, id);
    assert.equal((await store.repositories.list()).items.length, 1);
    await store.repositories.upsert({ name: basename(folder), remoteUrl: "https://git.example.org/one.git" });
    assert.notEqual((await register()).id, id);
  });

  test("the log of a command that fails before it runs says why", async (t) => {
    const { store, create, ended, logOf, commitSha } = await start(t, { concurrency: 1 });
    const withoutUrl = await store.repositories.upsert({ name: "nowhere" });
    const cases: [string | object, Partial<Create>, RegExp][] = [
      [{ argv: ["no-such-program"] }, {}, /ENOENT|no such|not found/],
      [{ argv: ["true"], cwd: "no-such-folder" }, {}, /no-such-folder|ENOENT/],
      ["true", { commitSha: `${commitSha.slice(0, -4)}0000` }, /commit|object|revision/],
      ["true", { repositoryId: withoutUrl.id }, /has no remoteUrl/],
      [{ argv: ["true"], secretEnvKeys: ["NO_SUCH_SECRET"] }, {}, /NO_SUCH_SECRET/],
    ];
    for (const [script, session, why] of cases) {
      const made = await create([script], session);
      await ended(made);
      const { state, endReason } = await store.commands.get({ commandId: only(made) });
      assert.deepEqual([state, why.test(endReason ?? "")], ["failed", true], endReason ?? "");
      const log = await logOf(only(made), "system");
      assert.ok(log.endsWith(`failed: ${endReason}\n`), log);
    }
  });

  test("a command is given back when the token of the runner covers too little for it", async (t) => {
    const { store, events, create } = await start(t, { concurrency: 1 });
    Object.assign(store.worktrees, { reserve: () => Promise.reject(storeError("unknown_operation")) });
    const made = await create(["true"]);
    await until(() => events.some(({ type }) => type === "handed_back"));
    assert.equal((await store.commands.get({ commandId: only(made) })).state, "queued");
  });

  test("as many commands of a session run at once as it allows, and an open session keeps its worktree", async (t) => {
    const { store, create, printed, logOf, ended } = await start(t, { concurrency: 1, idleMs: 60_000 });
    const wait = "while [ ! -e go ]; do sleep 0.05; done; echo done";
    const made = await create([`echo one; ${wait}`, `echo two; ${wait}`], { maxParallel: 2, autoComplete: false });
    await Promise.all(made.commands.map(({ id }, index) => printed(id, index === 0 ? "one" : "two")));
    const { id: sessionId } = made.session;
    const [go] = await store.commands.enqueue({ sessionId, commands: [{ argv: ["sh", "-c", "touch go"] }] });
    // Both places are taken until a program of the worktree makes the file.
    await store.commands.cancel({ commandId: only(made) });
    assert.equal((await store.commands.wait({ commandId: go?.id ?? "", timeoutMs: 30_000 })).state, "succeeded");
    assert.equal(await logOf(made.commands[1]?.id ?? ""), "two\ndone\n");
    const [later] = await store.commands.enqueue({ sessionId, commands: [{ argv: ["ls", "go"] }] });
    assert.equal((await store.commands.wait({ commandId: later?.id ?? "", timeoutMs: 30_000 })).state, "succeeded");
    await store.sessions.complete({ sessionId });
    assert.equal((await ended(made)).state, "completed");
    const worktrees = (await store.worktrees.list()).items;
    await until(
      async () => (await store.worktrees.list({ state: ["idle", "dirty"] })).items.length === worktrees.length,
    );
  });

  test("a command is stopped at its timeout, its cancellation and its session's deadline", async (t) => {
    const { store, create, ended, printed } = await start(t);
    const sleeps = "echo started; exec sleep 60";
    const late = await create([{ argv: ["sh", "-c", sleeps], timeoutMs: 2_000 }]);
    const over = await create([sleeps], { deadlineMs: 2_000 });
    assert.deepEqual([(await ended(late)).state, (await ended(over)).state], ["failed", "expired"]);
    const cancelled = await create([sleeps]);
    await printed(only(cancelled), "started");
    await store.commands.cancel({ commandId: only(cancelled), reason: "unwanted" });
    await ended(cancelled);
    const states = await Promise.all(
      [late, over, cancelled].map(async (made) => {
        const { state, endReason } = await store.commands.get({ commandId: only(made) });
        return [state, endReason];
      }),
    );
    assert.deepEqual(states, [
      ["timed_out", null],
      ["cancelled", "deadline"],
      ["cancelled", "unwanted"],
    ]);
  });

  test("a command that is lost is killed, and nothing more is reported of it", async (t) => {
    const { store, create, printed, logOf, events } = await start(t);
    const made = await create(["trap '' TERM; echo $$; while :; do sleep 0.05; done"]);
    await printed(only(made), "\n");
    const pid = Number(await firstLine(store, only(made)));
    await store.commands.cancel({ commandId: only(made), force: true });
    await until(() => !existsSync(`/proc/${pid}`));
    await until(() => events.some((event) => event.type === "stopping" && event.reason === "lost"));
    assert.equal((await store.commands.get({ commandId: only(made) })).state, "cancelled");
    assert.match(await logOf(only(made)), /^\d+\n$/);
  });

  test("close waits for what runs, and gives back what takes too long", async (t) => {
    const { store, create, printed, runner, events, repositoryId, folder } = await start(t, { drainMs: 700 });
    const quick = await create(["echo started; sleep 0.3; echo done"]);
    const long = await create([{ argv: ["sh", "-c", "echo started; exec sleep 60"], maxAttempts: 2 }]);
    const queued = await create(["true"]);
    await Promise.all([quick, long].map((made) => printed(only(made), "started")));
    await runner.close();
    const stateOf = async (made: { commands: readonly Command[] }) =>
      (await store.commands.get({ commandId: only(made) })).state;
    assert.deepEqual(await Promise.all([quick, long, queued].map(stateOf)), ["succeeded", "queued", "queued"]);
    const [attempt] = await store.commands.attempts({ commandId: only(long) });
    assert.deepEqual(
      [attempt?.outcome, attempt?.logBytes],
      ["lost", 8 + Buffer.byteLength(await noteOf(store, only(long)))],
    );
    assert.ok(events.some((event) => event.type === "handed_back"));
    const { items } = await store.worktrees.list({ repositoryId });
    assert.ok(items.every(({ leaseExpiresAt }) => leaseExpiresAt === null));
    // Another runner goes on.
    const next = await startRunner(store, { folder: join(folder, ".artifacts/runner"), signals: false });
    assert.equal((await store.commands.wait({ commandId: only(queued), timeoutMs: 30_000 })).state, "succeeded");
    await printed(only(long), "started");
    await next.close({ drainMs: 0 });
    assert.equal(await stateOf(long), "lost");
  });

  test("hooks prepare a session once, change commands, and see their ends; one that fails fails its command", async (t) => {
    const seen: unknown[] = [];
    const { store, create, ended, logOf } = await start(t, {
      concurrency: 1,
      hooks: {
        prepare: ({ note }) => {
          note("prepared");
          return { env: { PREPARED: "yes" } };
        },
        beforeCommand({ command }) {
          if (command.argv[0] === "refuse") throw new Error("this is refused");
          return command.argv[0] === "test"
            ? { argv: ["sh", "-c", "echo $PREPARED $MORE"], env: { MORE: "more" } }
            : undefined;
        },
        afterCommand: async ({ end }) => void seen.push(end.exitCode),
      },
    });
    const made = await create([{ argv: ["test"] }, "echo $PREPARED; exit 5", { argv: ["refuse"] }]);
    await ended(made);
    const [one, two, three] = made.commands.map(({ id }) => id) as [string, string, string];
    assert.deepEqual([await logOf(one), await logOf(two)], ["yes more\n", "yes\n"]);
    assert.match(await logOf(one, "system"), /prepared\n/);
    assert.doesNotMatch(await logOf(two, "system"), /prepared/);
    const phases: unknown[] = [];
    for await (const item of store.logs.followSession({ sessionId: made.session.id, stream: "stdout" }))
      if (item.kind === "mark") phases.push([item.phase, item.commandId === one]);
      else if (item.kind === "output" && item.commandId === one) phases.push(Buffer.from(item.data).toString());
    assert.deepEqual(phases, [["checkout", true], ["install", true], ["run", true], "yes more\n"]);
    assert.deepEqual(seen, [0, 5]);
    const { state, endReason } = await store.commands.get({ commandId: three });
    assert.deepEqual([state, endReason], ["failed", "this is refused"]);
  });

  test("a hook that ignores its signal is not waited for, and its worktree is quarantined", async (t) => {
    const called = Promise.withResolvers<void>();
    const hangs = () => {
      called.resolve();
      return new Promise<never>(() => undefined);
    };
    const { store, create, runner, repositoryId } = await start(t, { concurrency: 1, hooks: { prepare: hangs } });
    const made = await create([{ argv: ["true"], maxAttempts: 2 }]);
    await called.promise;
    await runner.close({ drainMs: 0 });
    const { state, endReason } = await store.commands.get({ commandId: only(made) });
    assert.deepEqual([state, endReason], ["queued", null]);
    const { items } = await store.worktrees.list({ repositoryId, state: "quarantined" });
    assert.equal(items.length, 1);
  });

  test("a program that has ended by itself keeps its result, whatever happens while the hook looks at it", async (t) => {
    const called = Promise.withResolvers<void>();
    const { store, create, runner } = await start(t, {
      concurrency: 1,
      hooks: {
        async afterCommand({ signal, command }) {
          if (command.argv[0] === "false") throw new Error("the hook has failed");
          called.resolve();
          await once(signal, "abort");
        },
      },
    });
    const failed = await create([{ argv: ["false"] }]);
    const { state, exitCode, endReason } = await store.commands.wait({ commandId: only(failed), timeoutMs: 30_000 });
    assert.deepEqual([state, exitCode, endReason], ["failed", 1, "the hook has failed"]);
    const made = await create([{ argv: ["true"], maxAttempts: 2 }]);
    await called.promise;
    await runner.close({ drainMs: 0 });
    assert.equal((await store.commands.get({ commandId: only(made) })).state, "succeeded");
  });

  test("a sink that ignores its signal does not hold up the end of the runner", async (t) => {
    const called = Promise.withResolvers<void>();
    const put = () => {
      called.resolve();
      return new Promise<never>(() => undefined);
    };
    const { store, create, runner } = await start(t, { concurrency: 1, artifacts: ["*.txt"], sink: { put } });
    const made = await create(["echo x > a.txt"]);
    await called.promise;
    await runner.close({ drainMs: 0 });
    assert.equal((await store.commands.get({ commandId: only(made) })).state, "succeeded");
    assert.equal((await store.artifacts.list({ sessionId: made.session.id, state: "ready" })).items.length, 0);
  });

  test("a command whose worktree is lost is given back, and runs again", async (t) => {
    const { store, create, events, printed } = await start(t, { concurrency: 1, ttlMs: 2_000 });
    const made = await create([
      { argv: ["sh", "-c", "echo started; [ -e again ] && exit 0; exec sleep 60"], maxAttempts: 2 },
    ]);
    await printed(only(made), "started");
    const { worktreeId, worktreeFence } = await store.sessions.get({ sessionId: made.session.id });
    await store.worktrees.quarantine({ worktreeId: worktreeId as string, fence: worktreeFence as number });
    await until(() => events.some(({ type }) => type === "handed_back"));
    const [first] = await store.commands.attempts({ commandId: only(made) });
    assert.equal(first?.outcome, "lost");
    const given = events.find((event) => event.type === "handed_back");
    assert.equal(given?.type === "handed_back" && given.reason, "worktree_lost");
  });

  test("a command of a repository that is on another machine is given back", async (t) => {
    const { store, events, commitSha } = await start(t, { concurrency: 1 });
    const { id: repositoryId } = await store.repositories.upsert({ name: "elsewhere", remoteUrl: "/nowhere/app/.git" });
    const { commands } = await store.sessions.create({ repositoryId, commitSha, commands: [{ argv: ["true"] }] });
    await until(() => events.some(({ type }) => type === "handed_back"));
    const given = events.find((event) => event.type === "handed_back");
    assert.match(given?.type === "handed_back" ? given.reason : "", /\/nowhere\/app\/\.git is not on this machine/);
    const { state, attempt, lostClaims } = await store.commands.get({ commandId: only({ commands }) });
    assert.deepEqual([state, attempt - lostClaims], ["queued", 0]);
  });

  test("without a listener, the problems of a runner are warnings of the process", async (t) => {
    const warned = Promise.withResolvers<Error>();
    const onWarning = (warning: Error): void => {
      if (warning.name === "RunnerWarning") warned.resolve(warning);
    };
    process.on("warning", onWarning);
    t.after(() => process.off("warning", onWarning));
    const { url } = workingFolder(t, { init: false });
    const store = await openStore({ url });
    const runner = await startRunner(store, { concurrency: 1, signals: false });
    assert.equal((await store.runners.list({ state: "online" })).items.length, 1);
    await store.close();
    await assert.rejects(runner.ended, { code: "closed" });
    assert.match((await warned.promise).message, /^problem: /);
  });

  test("secret variables reach the program and not the log, and one without a value fails the command", async (t) => {
    const { store, create, ended, logOf } = await start(t, {
      hooks: { secrets: () => ({ API_KEY: "s3cret-value" }) },
      inherit: ["PATH"],
      env: { VISIBLE: "1" },
    });
    const made = await create([
      {
        argv: ["sh", "-c", "echo $API_KEY | tr s S; printf s3cret; sleep 0.1; echo -value; env"],
        secretEnvKeys: ["API_KEY"],
      },
      { argv: ["true"], secretEnvKeys: ["MISSING"] },
    ]);
    await ended(made);
    const text = await logOf(only(made));
    assert.match(text, /^S3cret-value\n\*\*\*\n/);
    assert.doesNotMatch(text, /s3cret-value|^HOME=/m);
    assert.match(text, /^API_KEY=\*\*\*$/m);
    assert.match(text, /^VISIBLE=1$/m);
    const failed = await store.commands.get({ commandId: made.commands[1]?.id ?? "" });
    assert.match(failed.endReason ?? "", /no value for the secret variable MISSING/);
  });

  test("files that match are kept as artifacts, also of a command that fails", async (t) => {
    const { store, create, ended } = await start(t, { artifacts: ["out/**/*.txt"] });
    const made = await create(["mkdir -p out/deep; echo result > out/deep/a.txt; echo x > out/b.bin; exit 1"]);
    await ended(made);
    const { items } = await store.artifacts.list({ sessionId: made.session.id });
    assert.deepEqual(
      items.map(({ name, state, commandId }) => [name, state, commandId]),
      [["out/deep/a.txt", "ready", only(made)]],
    );
    assert.equal(readFileSync(new URL(items[0]?.uri as string), "utf8"), "result\n");
  });

  test("a patch is applied before the first command, and one with another hash fails it", async (t) => {
    const { store, create, ended, logOf } = await start(t);
    const patch = "--- a/file-1.txt\n+++ b/file-1.txt\n@@ -1 +1 @@\n-line 1\n+line one\n";
    const patchUri = `data:text/plain;base64,${Buffer.from(patch).toString("base64")}`;
    const patchHash = createHash("sha256").update(patch).digest("hex");
    const made = await create(["cat file-1.txt"], { patchUri, patchHash });
    const wrong = await create(["cat file-1.txt"], { patchUri, patchHash: "0".repeat(64) });
    assert.deepEqual([(await ended(made)).state, (await ended(wrong)).state], ["completed", "failed"]);
    assert.equal(await logOf(only(made)), "line one\n");
    assert.match((await store.commands.get({ commandId: only(wrong) })).endReason ?? "", /sha256/);
  });

  test("threads run sessions with the hooks of a module, and one that dies is replaced", async (t) => {
    const module = new URL("./threadHooks.ts", import.meta.url);
    const { create, ended, logOf, events, store } = await start(t, {
      threads: 2,
      concurrency: 2,
      module,
      ttlMs: 2_000,
    });
    const made = await create(["echo $FROM_THREAD"]);
    await ended(made);
    assert.equal(await logOf(only(made)), "yes\n");
    const dying = await create([{ argv: ["end this thread"], maxAttempts: 3 }]);
    await until(() => events.some(({ type }) => type === "problem"));
    assert.equal((await store.commands.wait({ commandId: only(dying), timeoutMs: 30_000 })).state, "succeeded");
    assert.ok((await store.commands.get({ commandId: only(dying) })).attempt > 1);
  });

  test("a thread that dies while the runner ends is no failure of the runner, and a missing module is", async (t) => {
    const module = new URL("./threadHooks.ts", import.meta.url);
    const { store, create, runner, events } = await start(t, { threads: 1, concurrency: 1, module });
    const made = await create([{ argv: ["end this thread when it has to stop"] }]);
    // The hook says so, and not the program.
    await until(async () => {
      const { chunks } = await store.logs.read({ commandId: only(made) });
      return chunks.some(({ data }) => Buffer.from(data).includes("waits"));
    });
    await runner.close({ drainMs: 0 });
    assert.ok(
      events.some((event) => event.type === "problem" && /a thread of the runner has ended/.test(event.message)),
    );
    await assert.rejects(startRunner(store, { threads: 1, signals: false, module: new URL("./no.ts", module) }), {
      code: "ERR_MODULE_NOT_FOUND",
    });
  });

  test("the database thread dies while a command runs and claims wait: the command ends, and the runner goes on", async (t) => {
    const threads: Worker[] = [];
    const onWorker = (worker: Worker): void => {
      if ((worker as Worker & { threadName?: string }).threadName === "debug-server-db") threads.push(worker);
    };
    process.on("worker", onWorker);
    t.after(() => process.off("worker", onWorker));
    const { create, ended, printed, logOf } = await start(t);
    const made = await create(["i=0; while [ $i -lt 40 ]; do echo $i; i=$((i+1)); sleep 0.02; done"]);
    await printed(only(made), "3\n");
    await threads[0]?.terminate();
    assert.equal((await ended(made).catch(() => ended(made))).state, "completed");
    assert.equal(await logOf(only(made)), Array.from({ length: 40 }, (_, index) => `${index}\n`).join(""));
    assert.equal((await ended(await create(["true"]))).state, "completed");
  });

  test("a runner that somebody drains ends, and closing it again leaves nothing that keeps the process alive", async (t) => {
    const { store, runner } = await start(t, { concurrency: 1 });
    const online = () => store.runners.list({ state: "online" });
    await until(async () => (await online()).items.length === 1);
    const [{ id: runnerId } = { id: "" }] = (await online()).items;
    await store.runners.drain({ runnerId });
    await runner.ended;
    const timers = () => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
    const before = timers();
    await runner.close({ drainMs: 60_000 });
    assert.ok(timers() <= before);
  });

  test("contradictions in the options are refused before anything starts", async (t) => {
    const { folder, url } = workingFolder(t, { init: false });
    const store = await openStore({ url });
    t.after(() => store.close());
    await assert.rejects(startRunner(store, { threads: 2, concurrency: 1 }), /concurrency: 1 is not a number from 2/);
    await assert.rejects(startRunner(store, { threads: -1 }), /threads: -1/);
    await assert.rejects(startRunner(store, { threads: 1, hooks: {} }), /export them from a module/);
    await assert.rejects(startRunner(store, { repositoryPath: folder }), { name: "GitError" });
    assert.deepEqual((await store.runners.list()).items, []);
  });
});

async function firstLine(store: OwnedStore, commandId: string): Promise<string> {
  const { chunks } = await store.logs.read({ commandId });
  const out = chunks.filter(({ stream }) => stream === "stdout").map(({ data }) => Buffer.from(data).toString());
  return out.join("").split("\n")[0] as string;
}

/** Returns what the runner itself has written to the log of the first attempt. */
async function noteOf(store: OwnedStore, commandId: string): Promise<string> {
  const { chunks } = await store.logs.read({ commandId, attempt: 1 });
  const notes = chunks.filter(({ stream }) => stream === "system").map(({ data }) => Buffer.from(data).toString());
  return notes.join("");
}
