// The list, show, cancel, release and logs commands, beside a server, on both engines.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { suite, type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { newId, type OwnedStore, openStore } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { dropDatabase, newDatabase } from "../../support/postgres.ts";
import { run, startProcess, type WorkingFolder, workingFolder } from "./commandLine.ts";

const absent = "01890a5d-ac96-774b-bcce-b302099a8057";

async function onSqlite(t: TestContext): Promise<WorkingFolder> {
  return workingFolder(t, { init: false });
}

async function onPostgres(t: TestContext): Promise<WorkingFolder> {
  const url = await newDatabase();
  t.after(() => dropDatabase(url));
  return { ...workingFolder(t, { init: false }), url };
}

/** Opens a store as a server, until the test has ended. */
async function serve(t: TestContext, url: string): Promise<OwnedStore> {
  const store = await openStore({ url });
  t.after(() => store.close());
  return store;
}

const rowsOf = (stdout: string): Record<string, unknown>[] =>
  stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

for (const [engine, open] of Object.entries({ SQLite: onSqlite, PostgreSQL: onPostgres })) {
  suite(`entities on ${engine}`, () => {
    test("a list shows no credentials in a terminal, prints them as JSON, and a repository can be renamed", async (t) => {
      const { folder, url } = await open(t);
      const store = await serve(t, url);
      const made = fixtures(store);
      const { repository } = await made.repository({ remoteUrl: "https://ada:HIDDEN@git.example/a.git" });
      const { session } = await made.session({ repositoryId: repository.id });
      const argv = ["curl", "--token", "HIDDEN", "https://HIDDEN@git.example", "API_KEY=HIDDEN"];
      await made.command({ sessionId: session.id, argv });
      await made.artifact({ sessionId: session.id, uri: "https://bucket.example/key?X-Amz-Signature=HIDDEN" });
      const cli = async (...args: readonly string[]) => {
        const ended = await run(folder, [...args, "--url", url]);
        assert.equal(ended.code, 0, ended.stderr);
        return ended.stdout;
      };
      for (const [list, shown] of [
        ["repositories", "https://ada:***@git.example/a.git"],
        ["artifacts", "https://bucket.example/key?***"],
        ["commands", "curl --token '***' 'https://***@git.example' 'API_KEY=***'"],
      ] as const) {
        const table = await cli(list, "list");
        assert.ok(table.includes(shown) && !table.includes("HIDDEN"), table);
        assert.ok((await cli(list, "list", "--json")).includes("HIDDEN"));
      }
      assert.ok(!(await cli("sessions", "show", session.id)).includes("HIDDEN"));
      assert.equal(
        await cli("repositories", "rename", repository.name, "renamed"),
        `repository  renamed\nid          ${repository.id}\n`,
      );
      assert.match(await cli("repositories", "rename", repository.id, "Renamed"), /^repository +Renamed\n/);
    });

    test("every list prints a table or JSON lines, and takes filters, a limit and a cursor", async (t) => {
      const { folder, url } = await open(t);
      const store = await serve(t, url);
      const made = fixtures(store);
      const { session, lease, repository } = await made.session({ reserve: { owner: "alice" } });
      const other = await made.session({ requestedBy: "bob" });
      const { command } = await made.command({ sessionId: session.id, argv: ["npm", "run", "a test"] });
      await made.artifact({ sessionId: session.id, name: "reports/junit.xml", kind: "junit" });
      const runner = await store.runners.register({ name: "runner-9" });
      const cli = async (...args: readonly string[]) => {
        const ended = await run(folder, [...args, "--url", url]);
        assert.equal(ended.code, 0, ended.stderr);
        return ended;
      };
      assert.match(
        (await cli("repositories", "list")).stdout,
        new RegExp(
          `^id +name +branch +worktrees +created +remote\n(.*\n)?${repository.id} +${repository.name} +main +1 of 16 `,
        ),
      );
      assert.match(
        (await cli("runners", "list", "--state", "online")).stdout,
        new RegExp(`${runner.id} +runner-9 +online`),
      );
      assert.match(
        (await cli("worktrees", "list", "--state", "creating")).stdout,
        new RegExp(`${lease?.worktree.id} .* alice `),
      );
      assert.match(
        (await cli("sessions", "list", "--repository", repository.name)).stdout,
        new RegExp(`^id.*\n${session.id} +${repository.name} +\\w{10} +pending`),
      );
      assert.match(
        (await cli("commands", "list", "--session", session.id)).stdout,
        new RegExp(`${command.id} +1 +queued .* npm run 'a test'\n`),
      );
      assert.match(
        (await cli("artifacts", "list", "--kind", "junit", "--session", session.id)).stdout,
        /reports\/junit\.xml +junit +ready/,
      );

      const bobs = rowsOf((await cli("sessions", "list", "--requested-by", "bob", "--json")).stdout);
      assert.deepEqual([bobs.length, bobs[0]?.id], [1, other.session.id]);
      const none = await cli("sessions", "list", "--state", "failed");
      assert.deepEqual([none.stdout, none.stderr], ["", "None.\n"]);
      assert.deepEqual((await cli("sessions", "list", "--state", "failed", "--quiet")).stderr, "");

      const first = await cli("sessions", "list", "--limit", "1", "--json");
      const cursor = /^More follow: --cursor (\S+)\n$/.exec(first.stderr)?.[1] as string;
      const second = await cli("sessions", "list", "--limit", "1", "--cursor", cursor, "--json");
      assert.deepEqual(
        [...rowsOf(first.stdout), ...rowsOf(second.stdout)].map(({ id }) => id),
        [other.session.id, session.id],
      );
      assert.equal(second.stderr, "");
      const ids = async (...args: readonly string[]) =>
        rowsOf((await cli("sessions", "list", "--json", ...args)).stdout).map(({ id }) => id);
      assert.deepEqual(await ids("--order", "asc"), [session.id, other.session.id]);
      assert.deepEqual(await ids("--state", "pending", "running", "--state", "failed"), [other.session.id, session.id]);
      assert.deepEqual(await ids("--commit", session.commitSha, "--repository", repository.id), [session.id]);
      assert.deepEqual(await ids("--since", "1h", "--until", "2999-01-01"), [other.session.id, session.id]);
      assert.deepEqual(await ids("--until", "1h"), []);
      assert.deepEqual(await ids("--since", "2999-01-01T00:00Z"), []);
      const { token } = await made.token();
      const asked = await made.session({ tokenId: token.id });
      const account = await store.accounts.get({ accountId: token.accountId });
      assert.deepEqual(await ids("--user", account.name, "--token", token.id), [asked.session.id]);
      for (const wrong of [
        ["--since", "yesterday"],
        ["--since", "2026-02-31"],
        ["--since", "2026-02-03T25:00"],
        ["--order", "newest"],
        ["--state", "pending", "queued"],
      ])
        assert.equal((await run(folder, ["sessions", "list", ...wrong, "--url", url])).code, 2, wrong.join(" "));
      const otherOrder = await run(folder, ["sessions", "list", "--order", "asc", "--cursor", cursor, "--url", url]);
      assert.match(otherOrder.stderr, /cursor: must be the nextCursor of an earlier page of this list/);

      const shown = await cli("sessions", "show", session.id);
      assert.match(shown.stdout, new RegExp(`^session +${session.id}\nrepository +${repository.name}\n`));
      assert.match(shown.stdout, /state +pending\n/);
      assert.match(shown.stdout, /npm run 'a test'/);
      const whole = JSON.parse((await cli("sessions", "show", session.id, "--json")).stdout) as {
        id: string;
        commands: { id: string }[];
        artifacts: unknown[];
      };
      assert.deepEqual([whole.id, whole.commands[0]?.id, whole.artifacts.length], [session.id, command.id, 1]);
    });

    test("labels of sessions are set, removed and listed, and a command that waits says why", async (t) => {
      const { folder, url } = await open(t);
      const store = await serve(t, url);
      const cli = async (...args: readonly string[]) => {
        const ended = await run(folder, [...args, "--url", url]);
        assert.equal(ended.code, 0, ended.stderr);
        return ended.stdout;
      };
      const { session, command } = await fixtures(store).command({ requires: ["gpu"] });
      const metadata = ["--metadata", '{"ticket":17}'];
      await cli("sessions", "update", session.id, "--label", "team=core", "urgent", "--label", "note=a=b", ...metadata);
      const updated = await cli("sessions", "update", session.id, "--remove-label", "note");
      assert.match(updated, /labels +team=core, urgent\n/);
      assert.deepEqual((await store.sessions.get({ sessionId: session.id })).metadata, { ticket: 17 });
      const ids = async (...args: readonly string[]) =>
        rowsOf(await cli("sessions", "list", "--json", ...args)).map(({ id }) => id);
      assert.deepEqual(await ids("--label", "team=core", "urgent"), [session.id]);
      assert.deepEqual(await ids("--label", "team=other"), []);
      assert.match(await cli("sessions", "show", session.id), /labels +team=core, urgent\n/);
      const shown = () => cli("commands", "show", command.id);
      assert.match(await shown(), /requires +gpu\n(?:.*\n)*waits +no runner is online\n/);
      await fixtures(store).runner();
      assert.match(await shown(), /waits +it requires gpu, and no runner that is online has gpu\n/);
      await fixtures(store).runner({ labels: { gpu: "" } });
      assert.match(await shown(), /waits +next, when a runner is free\n/);
      const { reasons } = JSON.parse(await cli("commands", "show", command.id, "--json")) as { reasons: object[] };
      assert.deepEqual(reasons, [{ kind: "queue", ahead: 0 }]);
      for (const wrong of [
        ["--metadata", "{"],
        ["--label", "=x"],
      ])
        assert.equal((await run(folder, ["sessions", "update", session.id, ...wrong, "--url", url])).code, 2);
    });

    test("a session shows its last outcome, a command its attempts, and lists those of a runner", async (t) => {
      const { folder, url } = await open(t);
      const store = await serve(t, url);
      const made = fixtures(store);
      const cli = async (...args: readonly string[]) => {
        const ended = await run(folder, [...args, "--url", url]);
        assert.equal(ended.code, 0, ended.stderr);
        return ended.stdout;
      };
      const { command, session, runner, fence } = await made.claim({ argv: ["curl", "--token", "HIDDEN"] });
      const commandId = command.id;
      await store.logs.append({ commandId, fence, offset: 0, data: Buffer.alloc(2048, "a") });
      await store.commands.finish({ commandId, fence, outcome: "failed", exitCode: 3 });
      await made.claim();
      assert.match(await cli("sessions", "list"), new RegExp(`^id .* last .*\n.*\n${session.id} .* 3\n`));
      const shown = await cli("commands", "show", commandId);
      assert.match(
        shown,
        new RegExp(`^command +${commandId}\nsession +${session.id}\nnumber +1\nargv +curl --token '\\*\\*\\*'\n`),
      );
      assert.match(shown, new RegExp(`\nattempt +state +exit .*\n +1 +failed +3 .* 2(\\.0)? KiB +${runner.id}\n$`));
      const [{ attempts }] = rowsOf(await cli("commands", "show", commandId, "--json")) as [{ attempts: unknown[] }];
      assert.equal(attempts.length, 1);
      assert.deepEqual(
        rowsOf(await cli("commands", "list", "--runner", runner.id, "--json")).map(({ id }) => id),
        [commandId],
      );
      const { lease } = await made.lease({ runnerId: runner.id });
      assert.ok((await cli("worktrees", "list", "--runner", runner.id)).includes(lease.worktree.id));
      assert.ok((await cli("runners", "list", "--name", runner.name)).includes(runner.id));
    });

    test("worktrees release, commands cancel and sessions cancel take --force and a reason, and leave an audit trail", async (t) => {
      const { folder, url } = await open(t);
      const store = await serve(t, url);
      const made = fixtures(store);
      const { worktree, fence } = await made.lease({ ttlMs: 3_600_000, owner: "alice" });
      const held = await run(folder, ["worktrees", "release", worktree.id, "--url", url]);
      assert.deepEqual([held.code, held.stdout], [1, ""]);
      assert.match(
        held.stderr,
        /^debug-server-db: alice holds the worktree until \S+Z: use --force to release it anyway\n$/,
      );
      const released = await run(folder, [
        "worktrees",
        "release",
        worktree.id,
        "--force",
        "--to",
        "keep",
        "--url",
        url,
      ]);
      assert.match(released.stdout, /state +quarantined/);
      await assert.rejects(store.worktrees.renew({ worktreeId: worktree.id, fence }), { code: "lease_lost" });
      const nobodys = await run(folder, ["worktrees", "release", worktree.id, "--force", "--url", url]);
      assert.equal(nobodys.code, 1);
      assert.match(
        nobodys.stderr,
        /is quarantined, .* worktrees restore \S+, or remove it with worktrees evict \S+\n$/,
      );

      const { session, command } = await made.command();
      const cancelled = await run(folder, ["commands", "cancel", command.id, "--reason", "obsolete", "--url", url]);
      assert.deepEqual([cancelled.code, cancelled.stdout], [0, `command  ${command.id}\nstate    cancelled\n`]);
      assert.equal((await store.commands.get({ commandId: command.id })).endReason, "obsolete");
      const ended = await run(folder, ["sessions", "cancel", session.id, "--json", "--url", url]);
      assert.equal(rowsOf(ended.stdout)[0]?.state, "cancelled");
      const { changes } = await store.changes.since({ sessionId: session.id });
      assert.ok(
        changes.some(({ entity, op, actor }) => entity === "command" && op === "cancel" && actor?.startsWith("cli:")),
      );
    });

    test("commands cancel and sessions cancel ask the runner to stop, and with --force end running commands at once", async (t) => {
      const { folder, url } = await open(t);
      const store = await serve(t, url);
      const made = fixtures(store);
      const { session, command } = await made.claim();
      const asked = await run(folder, ["commands", "cancel", command.id, "--url", url]);
      assert.deepEqual([asked.code, asked.stdout], [0, `command  ${command.id}\nstate    cancelling\n`]);
      const ended = await run(folder, ["commands", "cancel", command.id, "--force", "--url", url]);
      assert.deepEqual([ended.code, ended.stdout], [0, `command  ${command.id}\nstate    cancelled\n`]);
      const { command: next } = await made.claim({ sessionId: session.id });
      const cancelled = await run(folder, ["sessions", "cancel", session.id, "--force", "--url", url]);
      assert.match(cancelled.stdout, /state +cancelled\nactive commands +0\n/);
      assert.equal((await store.commands.get({ commandId: next.id })).state, "cancelled");
      const again = await run(folder, ["commands", "cancel", next.id, "--force", "--json", "--url", url]);
      assert.equal(rowsOf(again.stdout)[0]?.state, "cancelled");
    });

    test("sessions show names the deadline of a session", async (t) => {
      const { folder, url } = await open(t);
      const store = await serve(t, url);
      const { session } = await fixtures(store).session({ deadlineMs: 3_600_000 });
      const shown = await run(folder, ["sessions", "show", session.id, "--url", url]);
      assert.match(shown.stdout, /\ndeadline +\S+/);
    });

    test("logs show prints a log whole, by lines or as JSON; logs tail follows it from another process to its end", async (t) => {
      const { folder, url } = await open(t);
      const store = await serve(t, url);
      const { command, fence } = await fixtures(store).claim();
      const commandId = command.id;
      let offset = 0;
      const append = async (text: string) => {
        const { ackOffset } = await store.logs.append({ commandId, fence, offset, data: Buffer.from(text) });
        offset = ackOffset;
      };
      const lines = Array.from({ length: 30 }, (_, index) => `line ${index + 1}\n`);
      for (const line of lines) await append(line);
      const shown = await run(folder, ["logs", "show", commandId, "--url", url]);
      assert.deepEqual(shown, {
        code: 0,
        stdout: lines.join(""),
        stderr: "The command has not ended: use logs tail to follow it.\n",
      });
      assert.equal(
        (await run(folder, ["logs", "show", commandId, "-n", "2", "--quiet", "--url", url])).stdout,
        "line 29\nline 30\n",
      );
      const [chunk] = rowsOf((await run(folder, ["logs", "show", commandId, "--json", "--url", url])).stdout);
      assert.deepEqual([chunk?.offset, chunk?.stream, chunk?.text], [0, "stdout", "line 1\n"]);

      const tail = startProcess(folder, ["logs", "tail", commandId, "--url", url]);
      await tail.printed("line 30\n");
      await append("comes later\n");
      await tail.printed("comes later\n");
      await append("\u001b[31mred\u0007\n");
      await store.commands.finish({ commandId, fence, outcome: "succeeded", exitCode: 0, logOffset: offset });
      // Without a terminal the bytes are printed as they are.
      assert.deepEqual(await tail.ended, {
        code: 0,
        stdout: `${lines.slice(-10).join("")}comes later\n\u001b[31mred\u0007\n`,
        stderr: "",
      });
      assert.equal((await run(folder, ["logs", "show", commandId, "--url", url])).stderr, "");
    });

    test("logs timeline prints when the lines of a log were written, as a table or as JSON", async (t) => {
      const { folder, url } = await open(t);
      const store = await serve(t, url);
      const { command: queued } = await fixtures(store).command();
      const { command, fence } = await fixtures(store).claim();
      await store.logs.append({ commandId: command.id, fence, offset: 0, data: Buffer.from("one\ntwo\n") });
      await store.logs.append({ commandId: command.id, fence, offset: 8, data: Buffer.from("three\n") });
      await store.commands.finish({ commandId: command.id, fence, outcome: "succeeded" });
      const timeline = (...args: string[]) => run(folder, ["logs", "timeline", ...args, "--url", url]);
      const rows = rowsOf((await timeline(command.id, "--buckets", "2", "--json")).stdout);
      assert.ok(rows.length <= 2);
      assert.equal(
        rows.reduce((sum, { lines }) => sum + Number(lines), 0),
        3,
      );
      const { stdout } = await timeline(command.id, "--since", "1h", "--buckets", "3");
      const [head, ...spans] = stdout.trimEnd().split("\n");
      assert.match(head as string, /^from +lines +size +line +offset/i);
      assert.ok(spans.some((span) => / 3 .* 14 .* 0 +0 +#{20}$/.test(span)));
      assert.deepEqual(await timeline(queued.id), { code: 0, stdout: "", stderr: "None.\n" });
      const swapped = await timeline(command.id, "--since", "1h", "--until", "2h");
      assert.deepEqual([swapped.code === 0, /until: must be later than since/.test(swapped.stderr)], [false, true]);
    });

    test("logs tail follows the next attempt of a command whose attempt was lost, and says so", async (t) => {
      const { folder, url } = await open(t);
      const store = await serve(t, url);
      const { command, session } = await fixtures(store).command({ maxAttempts: 2 });
      const commandId = command.id;
      const { runner } = await fixtures(store).runner();
      const claim = async (ttlMs: number) => {
        const claimed = await store.commands.claim({
          runnerId: runner.id,
          sessionId: session.id,
          ttlMs,
          waitMs: 60_000,
        });
        return { commandId, fence: claimed?.fence as number };
      };
      await store.logs.append({ ...(await claim(2_000)), offset: 0, data: Buffer.from("one\n") });
      const tails = [[], ["--json"], ["--attempt", "1"]].map((flags) =>
        startProcess(folder, ["logs", "tail", commandId, "--url", url, ...flags]),
      );
      await Promise.all(tails.map((tail) => tail.printed("one")));
      // The reaper of the store ends the first lease, and the claim waits for it.
      const second = await claim(60_000);
      await store.logs.append({ ...second, offset: 0, data: Buffer.from("two\n") });
      await store.commands.finish({ ...second, outcome: "succeeded" });
      const [text, json, first] = await Promise.all(tails.map((tail) => tail.ended));
      const stderr = "Attempt 1 was lost. Following attempt 2.\n";
      assert.deepEqual(text, { code: 0, stdout: "one\ntwo\n", stderr });
      assert.deepEqual(
        rowsOf(json?.stdout as string).map((chunk) => [chunk.attempt, chunk.offset, chunk.text]),
        [
          [1, 0, "one\n"],
          [2, 0, "two\n"],
        ],
      );
      assert.deepEqual([json?.code, json?.stderr], [0, stderr]);
      assert.deepEqual(first, { code: 0, stdout: "one\n", stderr: "" });
    });

    test("logs session follows the log of a session to its end, with what happened on stderr", async (t) => {
      const { folder, url } = await open(t);
      const store = await serve(t, url);
      const { command, session, fence } = await fixtures(store).claim();
      const [commandId, sessionId] = [command.id, session.id];
      await store.logs.mark({ sessionId, commandId, fence, phase: "run", text: "npm test\u001b[2J" });
      await store.logs.append({ commandId, fence, offset: 0, data: Buffer.from("one\n") });
      const flags = [[], ["--json"], ["--stream", "stderr"]];
      const followers = flags.map((more) =>
        startProcess(folder, ["logs", "session", sessionId, "--url", url, ...more]),
      );
      await Promise.all([followers[0]?.printed("one\n"), followers[1]?.printed('"text":"one')]);
      await store.logs.append({ commandId, fence, offset: 4, stream: "stderr", data: Buffer.from("two\n") });
      await Promise.all(followers.map((follower) => follower.printed("two")));
      await store.commands.finish({ commandId, fence, outcome: "failed", exitCode: 3 });
      await store.sessions.complete({ sessionId });
      const [text, json, errors] = await Promise.all(followers.map((follower) => follower.ended));
      const name = `command ${commandId}, attempt 1`;
      const stderr = `${name}: started\nrun: npm test\n${name}: failed, exit code 3\n`;
      assert.deepEqual(text, { code: 0, stdout: "one\ntwo\n", stderr });
      assert.deepEqual([errors?.stdout, errors?.stderr], ["two\n", stderr]);
      assert.deepEqual(
        rowsOf(json?.stdout as string).map(({ kind, text: words, outcome }) => [kind, words, outcome]),
        [
          ["started", undefined, undefined],
          ["mark", "npm test\u001b[2J", undefined],
          ["output", "one\n", undefined],
          ["output", "two\n", undefined],
          ["ended", undefined, "failed"],
        ],
      );
      const late = await run(folder, ["logs", "session", sessionId, "--now", "--url", url]);
      assert.deepEqual(late, { code: 0, stdout: "", stderr: "" });
    });

    test("Ctrl-C ends logs tail with 130", async (t) => {
      const { folder, url } = await open(t);
      const store = await serve(t, url);
      const { command } = await fixtures(store).log("begun\n");
      const tail = startProcess(folder, ["logs", "tail", command.id, "--url", url]);
      await tail.printed("begun\n");
      tail.kill("SIGINT");
      assert.deepEqual(await tail.ended, { code: 130, stdout: "begun\n", stderr: "debug-server-db: interrupted\n" });
    });
  });
}

test("an unknown id exits with 1, and text that is no id with 2", async (t) => {
  const { folder, url } = await onSqlite(t);
  await serve(t, url);
  for (const args of [
    ["sessions", "show"],
    ["sessions", "cancel"],
    ["commands", "cancel"],
    ["worktrees", "release"],
    ["worktrees", "restore"],
    ["worktrees", "evict"],
    ["logs", "show"],
    ["logs", "tail"],
    ["logs", "session"],
  ]) {
    const missing = await run(folder, [...args, absent, "--url", url]);
    assert.deepEqual([missing.code, missing.stdout], [1, ""], args.join(" "));
    assert.match(missing.stderr, /^debug-server-db: .+\n$/);
    assert.equal((await run(folder, [...args, "x", "--url", url])).code, 2, args.join(" "));
    assert.equal((await run(folder, [...args, "--url", url])).code, 2, args.join(" "));
  }
  assert.equal((await run(folder, ["sessions", "list", "--repository", "nowhere", "--url", url])).code, 1);
  assert.equal((await run(folder, ["sessions", "list", "--state", "odd", "--url", url])).code, 2);
  assert.equal((await run(folder, ["sessions", "list", "--url", "sqlite::memory:"])).code, 2);
  assert.match((await run(folder, ["sesions", "list"])).stderr, /Did you mean sessions\?/);
});

test("a list reads several pages, and logs tail ends when its reader goes away", async (t) => {
  const { folder, url } = await onSqlite(t);
  const store = await serve(t, url);
  const { id: repositoryId } = await store.repositories.upsert({ name: "r" });
  await Promise.all(
    Array.from({ length: 1_200 }, () =>
      store.sessions.create({ id: newId(), repositoryId, commitSha: "a".repeat(40) }),
    ),
  );
  const all = await run(folder, ["sessions", "list", "--limit", "1100", "--json", "--url", url]);
  assert.equal(new Set(rowsOf(all.stdout).map(({ id }) => id)).size, 1_100);
  const bin = fileURLToPath(new URL("../../../bin/debug-server-db.mjs", import.meta.url));
  const { command, fence } = await fixtures(store).claim();
  for (let offset = 0; offset < 4_194_304; offset += 65_536)
    await store.logs.append({ commandId: command.id, fence, offset, data: Buffer.alloc(65_536, "x\n") });
  const shell = spawn("sh", [
    "-c",
    '"$0" "$1" logs tail "$2" --lines 100000 --url "$3" | head -c 10',
    process.execPath,
    bin,
    command.id,
    url,
  ]);
  const printed: Buffer[] = [];
  shell.stdout.on("data", (piece: Buffer) => printed.push(piece));
  // The command is still running, so the tail would continue.
  await new Promise((resolve) => shell.once("exit", resolve));
  assert.equal(Buffer.concat(printed).toString(), "x\nx\nx\nx\nx\n");
});

test("a terminal gets colors, a table of its width, and a log without terminal controls", {
  skip: !hasPython(),
}, async (t) => {
  const { folder, url } = await onSqlite(t);
  const store = await serve(t, url);
  const { command } = await fixtures(store).log("\u001b[31mred\u001b[0m\ttab \u001b]0;title\u0007\u001b[2Jend\n");
  const bin = fileURLToPath(new URL("../../../bin/debug-server-db.mjs", import.meta.url));
  const onTerminal = (args: readonly string[], env: NodeJS.ProcessEnv = {}): string => {
    // Node prints no colors where CI is set: https://nodejs.org/api/tty.html#writestreamgetcolordepthenv
    const { NO_COLOR: _, FORCE_COLOR: __, CI: ___, ...inherited } = process.env;
    const script = "import os,pty,sys; os.environ['TERM']='xterm-256color'; pty.spawn(sys.argv[1:])";
    return execFileSync("python3", ["-c", script, process.execPath, bin, ...args, "--url", url], {
      cwd: folder,
      encoding: "utf8",
      env: { ...inherited, ...env },
    });
  };
  const shown = onTerminal(["logs", "show", command.id, "--quiet"]);
  assert.equal(shown, "\u001b[31mred\u001b[0m\ttab end\r\n");
  assert.match(onTerminal(["commands", "list"]), /\u001b\[36mrunning/);
  assert.doesNotMatch(onTerminal(["commands", "list"], { NO_COLOR: "1" }), /\u001b\[/);
});

function hasPython(): boolean {
  try {
    execFileSync("python3", ["-c", "import pty"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
