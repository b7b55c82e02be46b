// The output of every command: it holds no secret, and a reader that goes away is no failure.
import assert from "node:assert/strict";
import { fork, spawn } from "node:child_process";
import { suite, type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { inspect } from "node:util";
import { openStore, StoreError } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { dropDatabase, newDatabase } from "../../support/postgres.ts";
import { bin, type Ended, inheritedVariables, run, withStore, workingFolder } from "./commandLine.ts";
import { commandNames, everyCommand, secret } from "./everyCommand.ts";

/** Commands that PostgreSQL refuses, naming its own tools. */
const refusedOnPostgres = /^(?:backup |maintenance compact)/;

suite("output", { concurrency: 2 }, () => {
  for (const engine of ["SQLite", "PostgreSQL"] as const)
    test(`no command on ${engine} prints a secret, except for stored rows as JSON`, async (t) => {
      const { folder, url } = await open(t, engine);
      const calls = await everyCommand({ folder, url });
      assert.deepEqual(calls.map(({ command }) => command).toSorted(), commandNames().toSorted());
      const env = { DEBUG_SERVER_DB_URL: url, DEBUG_SERVER_DB_UNKNOWN: secret };
      for (const { command, args, printsRows } of calls) {
        const plain = await run(folder, args, { env });
        const isRefused = engine === "PostgreSQL" && refusedOnPostgres.test(command);
        assert.equal(plain.code, isRefused ? 1 : 0, `${command}: ${plain.stderr}`);
        assertNoSecret(plain, command);
        // What is printed as JSON is the same there.
        if (engine === "PostgreSQL") continue;
        // Most have no --json, or may not be repeated; their answer does not matter here.
        const json = await run(folder, [...args, "--json"], { env });
        if (printsRows === undefined) assertNoSecret(json, `${command} --json`);
        else if (/ list$/.test(command))
          assert.ok(json.stdout.includes(secret), `${command} --json has what is stored`);
      }
    });

  test("no error about a URL repeats it, whatever command it was given to", async (t) => {
    const { folder } = workingFolder(t, { init: false });
    const urls = [
      `postgres://u:12/${secret}@127.0.0.1:1/db`,
      `postgres://u:12#${secret}@127.0.0.1:1/db`,
      `postgres://u:12?${secret}@127.0.0.1:1/db`,
      `postgres://u:/${secret}@127.0.0.1:1/db`,
      `postgres://u:a/${secret}@127.0.0.1:1/db`,
      `postgres://u:${secret}@127.0.0.1:1/db?pwd=${secret}&password=${secret}`,
      `postgres://u:${secret}%@127.0.0.1:1/db`,
      `"postgres://u:${secret}@127.0.0.1:1/db"`,
      `mysql://u:${secret}@127.0.0.1/db`,
    ];
    const reading = [["info"], ["health"], ["migrate", "current"], ["sessions", "list"], ["config", "show"]];
    const commands = [...reading, ["backup", "create"], ["admin", "seed"], ["demo", "--repo", "nowhere"]];
    for (const [index, url] of urls.entries()) {
      const error = await openStore({ url, migrate: "never" }).catch((failure: unknown) => failure);
      assert.ok(error instanceof StoreError);
      // As a logger prints it, with its causes.
      assert.doesNotMatch(inspect(error, { depth: 20, showHidden: true }), new RegExp(secret));
      // Each URL with a few of the commands, and each command with some of the URLs.
      for (const args of commands.filter((_, place) => (place + index) % 3 === 0)) {
        assertNoSecret(await run(folder, [...args, "--url", url]), `${args.join(" ")} --url ${url}`);
        const env = { DEBUG_SERVER_DB_URL: url };
        assertNoSecret(await run(folder, args, { env }), `${args.join(" ")} with ${url}`);
      }
    }
  });

  test("every command ends as usual when nobody reads its output", async (t) => {
    const { folder, url } = await open(t, "SQLite");
    const calls = await everyCommand({ folder, url });
    // One process runs all of them, one after the other, as starting takes longer than most of them.
    const child = fork(fileURLToPath(new URL("unread.ts", import.meta.url)), {
      cwd: folder,
      env: { ...inheritedVariables(), DEBUG_SERVER_DB_URL: url },
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    });
    t.after(() => child.kill("SIGKILL"));
    child.stdout?.destroy();
    let stderr = "";
    child.stderr?.setEncoding("utf8").on("data", (piece: string) => (stderr += piece));
    const codes: unknown[] = [];
    child.on("message", (code) => codes.push(code));
    child.send(calls.map(({ args }) => args));
    assert.equal(await new Promise((resolve) => child.once("close", resolve)), 0, stderr);
    assert.deepEqual(
      calls.map(({ command }, index) => [command, codes[index]]),
      calls.map(({ command }) => [command, 0]),
      stderr,
    );
    assert.doesNotMatch(stderr, /EPIPE|Error|\n {4}at /);
  });

  test("a failure keeps its exit code when nobody reads the error", async (t) => {
    const { folder, url } = workingFolder(t, { init: false });
    for (const [args, code] of [
      [["bogus"], 2],
      [["sessions", "list"], 1],
      [["health"], 7],
      [["--help"], 0],
    ] as const)
      for (const unread of [["stderr"], ["stdout", "stderr"]] as const)
        assert.equal((await runUnread(folder, args, unread, url)).code, code, args.join(" "));
  });

  test("a log of megabytes and a long list end quietly after head", async (t) => {
    const { folder, url } = await open(t, "SQLite");
    await run(folder, ["migrate", "upgrade", "--url", url]);
    const commandId = await withStore(url, async (store) => {
      const { command, fence } = await fixtures(store).claim();
      const data = Buffer.alloc(65_536, "x\n");
      for (let chunk = 0; chunk < 32; chunk++)
        await store.logs.append({ commandId: command.id, fence, offset: chunk * data.length, data });
      await store.commands.finish({ commandId: command.id, fence, outcome: "succeeded", exitCode: 0 });
      for (let number = 0; number < 400; number++) await store.repositories.upsert({ name: `repository ${number}` });
      return command.id;
    });
    for (const args of [
      ["logs", "show", commandId],
      ["logs", "show", commandId, "--json"],
      ["logs", "tail", commandId, "-n", "100000"],
      ["logs", "tail", commandId, "-n", "100000", "--json"],
      ["repositories", "list", "--limit", "1000", "--json"],
    ]) {
      const { code, stdout, stderr } = await runUnread(folder, args, [], url, { linesRead: 1 });
      assert.deepEqual([code, stderr, stdout.length > 0], [0, "", true], args.join(" "));
    }
  });

  test("an output that cannot be written for another reason fails in one sentence", {
    skip: process.platform !== "linux" && "needs /dev/full",
  }, async (t) => {
    const { folder } = workingFolder(t, { init: false });
    const script = 'exec "$0" "$@" > /dev/full';
    const child = spawn("sh", ["-c", script, process.execPath, bin, "config", "show"], {
      cwd: folder,
      env: inheritedVariables(),
      stdio: ["ignore", "ignore", "pipe"],
    });
    let stderr = "";
    child.stderr.setEncoding("utf8").on("data", (piece: string) => (stderr += piece));
    const code = await new Promise((resolve) => child.once("close", resolve));
    assert.equal(code, 1);
    assert.match(stderr, /^debug-server-db: stdout: ENOSPC: .+\n$/);
  });
});

async function open(t: TestContext, engine: "SQLite" | "PostgreSQL") {
  const folder = workingFolder(t, { commits: 1 });
  if (engine === "SQLite") return folder;
  const database = await newDatabase();
  t.after(() => dropDatabase(database));
  // A parameter that the driver does not know.
  const url = new URL(database);
  url.searchParams.set("pwd", secret);
  return { ...folder, url: url.href };
}

function assertNoSecret({ stdout, stderr }: Ended, what: string): void {
  assert.ok(!stdout.includes(secret), `${what} prints a secret: ${stdout}`);
  assert.ok(!stderr.includes(secret), `${what} prints a secret: ${stderr}`);
}

/** Runs a command whose named outputs have no reader; after some lines, its stdout has none either. */
function runUnread(
  cwd: string,
  args: readonly string[],
  unread: readonly ("stdout" | "stderr")[],
  url: string,
  { linesRead = Number.POSITIVE_INFINITY }: { readonly linesRead?: number } = {},
): Promise<Ended> {
  const child = spawn(process.execPath, [bin, ...args], {
    cwd,
    env: { ...inheritedVariables(), DEBUG_SERVER_DB_URL: url },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const printed = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    // The process has not begun to write: Node takes longer than this to start.
    if (unread.includes(name)) child[name].destroy();
    else
      child[name].setEncoding("utf8").on("data", (piece: string) => {
        printed[name] += piece;
        if (name === "stdout" && printed.stdout.split("\n").length > linesRead) child.stdout.destroy();
      });
  }
  return new Promise((resolve) => child.once("close", (code) => resolve({ code, ...printed })));
}
