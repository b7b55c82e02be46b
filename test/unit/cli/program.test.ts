// The command line within this process: a run reads and writes only its surroundings, and changes nothing of the
// process.
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Surroundings } from "../../../src/cli/commandLine.ts";
import { runCommandLine } from "../../../src/cli/program.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";

async function run(argv: readonly string[], surroundings: Partial<Surroundings> & { readonly terminal?: object } = {}) {
  const { terminal = {}, ...rest } = surroundings;
  const [stdout, stderr] = [Object.assign(new PassThrough(), terminal), Object.assign(new PassThrough(), terminal)];
  const code = await runCommandLine(argv, { env: {}, cwd: process.cwd(), stdout, stderr, ...rest });
  return { code, stdout: String(stdout.read() ?? ""), stderr: String(stderr.read() ?? "") };
}

test("a run returns its exit code and leaves that of the process alone", async () => {
  const before = process.exitCode;
  const [help, version, unknown, group, url] = await Promise.all([
    run(["sessions", "list", "--help"]),
    run(["--version"]),
    run(["sesions"]),
    run(["sessions"]),
    run(["health", "--url", "mysql://x"]),
  ]);
  assert.match(help.stdout, /^Usage: debug-server-db sessions list \[options\]\n/);
  assert.match(version.stdout, /^\d+\.\d+\.\d+\n$/);
  assert.equal(unknown.stderr, "debug-server-db: unknown command 'sesions'\n(Did you mean sessions?)\n");
  assert.match(group.stderr, /^Usage: debug-server-db sessions /);
  assert.match(url.stderr, /^debug-server-db: url: expected sqlite:PATH/);
  assert.deepEqual(
    [help, version, unknown, group, url].map(({ code }) => code),
    [0, 0, 2, 2, 2],
  );
  assert.equal(process.exitCode, before);
});

test("an unknown command is reported as such, with --help too", async () => {
  const { createCommandLine } = await import("../../../src/cli/commandLine.ts");
  const { createProgram } = await import("../../../src/cli/program.ts");
  const { env, stdout, stderr } = process;
  const groups = createProgram(createCommandLine({ env, cwd: "/", stdout, stderr }))
    .commands.filter(({ commands }) => commands.length > 0)
    .map((group) => group.name());
  assert.ok(groups.length > 10);
  for (const group of [[], ...groups.map((name) => [name])])
    for (const argv of [
      [...group, "bogus"],
      [...group, "bogus", "--help"],
      [...group, "bogus", "-h"],
      [...group, "--help", "bogus"],
      [...group, "bogus", "--json", "--help"],
      [...group, "help", "bogus"],
      ["help", ...group, "bogus"],
    ]) {
      const { code, stdout: data, stderr: message } = await run(argv);
      assert.deepEqual([code, data], [2, ""], argv.join(" "));
      assert.match(message, /^debug-server-db: unknown command 'bogus'\n/, argv.join(" "));
    }
  for (const [argv, usage] of [
    [["help"], "[options] [command]"],
    [["worktrees", "--help"], "worktrees [options] [command]"],
    [["help", "worktrees"], "worktrees [options] [command]"],
    [["help", "worktrees", "list"], "worktrees list [options]"],
    [["worktrees", "help", "list"], "worktrees list [options]"],
    [["sessions", "show", "bogus", "--help"], "sessions show [options] <id>"],
  ] as const) {
    const { code, stdout: data, stderr: message } = await run(argv);
    assert.deepEqual([code, message, data.split("\n")[0]], [0, "", `Usage: debug-server-db ${usage}`]);
  }
});

test("the URL comes from the flag, else from the environment of the run, else from the default, relative to its folder", async () => {
  const cwd = temporaryFolder();
  const urlOf = async (argv: readonly string[], env: NodeJS.ProcessEnv) => {
    const { stdout } = await run(["config", "show", "--json", ...argv], { cwd, env });
    const { value, from } = JSON.parse(stdout.split("\n")[0] as string) as { value: string; from: string };
    return [value, from];
  };
  const env = { DEBUG_SERVER_DB_URL: "sqlite:variable.db" };
  assert.deepEqual(await urlOf(["--url", "sqlite:flag.db"], env), [`sqlite:${join(cwd, "flag.db")}`, "flag"]);
  assert.deepEqual(await urlOf([], env), [`sqlite:${join(cwd, "variable.db")}`, "environment"]);
  assert.deepEqual(await urlOf([], { DEBUG_SERVER_DB_URL: " sqlite:variable.db\r\n" }), [
    `sqlite:${join(cwd, "variable.db")}`,
    "environment",
  ]);
  assert.deepEqual(await urlOf(["--url", "sqlite:~/x.db"], {}), [`sqlite:${join(homedir(), "x.db")}`, "flag"]);
  const standard = `sqlite:${join(cwd, ".artifacts/data/metadata.db")}`;
  for (const blank of ["", " ", "\r"])
    assert.deepEqual(await urlOf([], { DEBUG_SERVER_DB_URL: blank }), [standard, "default"]);
  const empty = await run(["admin", "seed", "--url", ""], { cwd, env });
  assert.deepEqual([empty.code, empty.stdout], [2, ""]);
  assert.match(empty.stderr, /^debug-server-db: url: it is empty/);
  const wrong = await run(["admin", "seed"], { cwd, env: { DEBUG_SERVER_DB_URL: "sqlite://x.db" } });
  assert.deepEqual([wrong.code, wrong.stdout], [2, ""]);
  assert.match(wrong.stderr, /^debug-server-db: DEBUG_SERVER_DB_URL: after sqlite:\/\//);
  assert.deepEqual(readdirSync(cwd), []);
  assert.deepEqual(await urlOf([], {}), [`sqlite:${join(cwd, ".artifacts/data/metadata.db")}`, "default"]);
  assert.equal((await run(["migrate", "upgrade"], { cwd, env })).code, 0);
  const { code, stderr } = await run(["sessions", "list"], { cwd, env });
  assert.deepEqual([code, stderr], [0, "None.\n"]);
  assert.ok(existsSync(join(cwd, "variable.db")));
  assert.equal((await run(["backup", "create", "--out", "copies/own.db"], { cwd, env })).code, 0);
  assert.equal((await run(["backup", "verify", "copies/own.db"], { cwd, env })).code, 0);
  assert.equal((await run(["admin", "seed", "--out", "admin.token"], { cwd, env })).code, 0);
  assert.match(readFileSync(join(cwd, "admin.token"), "utf8"), /^dsp_/);
});

test("colors and widths follow the streams and the environment of the run", async () => {
  const show = (terminal: object, env: NodeJS.ProcessEnv) => run(["config", "show"], { terminal, env });
  const terminal = { isTTY: true, columns: 80 };
  const dim = "\u001b[2m";
  const plainEnv = { TERM: "xterm-256color" };
  assert.ok((await show(terminal, plainEnv)).stdout.includes(dim));
  assert.ok(!(await show(terminal, { ...plainEnv, NO_COLOR: "1" })).stdout.includes(dim));
  assert.ok(!(await show({}, plainEnv)).stdout.includes(dim));
  assert.ok((await show({}, { FORCE_COLOR: "1" })).stdout.includes(dim));
  const { stdout } = await run(["--help"], { terminal });
  assert.ok(
    stdout
      .split("\n\nExit codes")[0]
      ?.split("\n")
      .every((line) => line.length <= 80),
    stdout,
  );
});

test("an interrupt ends a run with exit code 130, and every listener is removed", async () => {
  const url = `sqlite:${join(temporaryFolder(), "store.db")}`;
  await run(["migrate", "upgrade", "--url", url]);
  const aborter = new AbortController();
  let listening = 0;
  const listenForInterrupt = () => {
    listening++;
    aborter.abort();
    return { signal: aborter.signal, [Symbol.dispose]: () => void listening-- };
  };
  const { code, stderr } = await run(["maintenance", "reap", "--url", url], { listenForInterrupt });
  assert.deepEqual([code, stderr, listening], [130, "debug-server-db: interrupted\n", 0]);
});

test("a log ends quietly when its reader goes away", async (t) => {
  const { fixtures } = await import("../../../src/testing/index.ts");
  const { openStore } = await import("../../../src/index.ts");
  const url = `sqlite:${join(temporaryFolder(), "store.db")}`;
  const store = await openStore({ url });
  t.after(() => store.close());
  const { command, fence } = await fixtures(store).claim();
  for (let offset = 0; offset < 262_144; offset += 65_536)
    await store.logs.append({ commandId: command.id, fence, offset, data: Buffer.alloc(65_536, "x\n") });
  const stdout = new PassThrough();
  stdout.once("data", () => stdout.destroy());
  const { code, stderr } = await run(["logs", "tail", command.id, "-n", "100000", "--url", url], { stdout });
  assert.deepEqual([code, stderr], [0, ""]);
});

test("help loads neither schemas nor a database", () => {
  const loaded = new Set<string>();
  const packages = new Set<string>();
  const load = (path: string): void => {
    if (loaded.has(path)) return;
    loaded.add(path);
    const text = readFileSync(path, "utf8");
    for (const [, name = ""] of text.matchAll(/^(?:import|export) (?!type )(?:[^;'"]*? from )?"([^"]+)";/gm)) {
      if (name.startsWith(".")) load(join(dirname(path), name));
      else if (!name.startsWith("node:")) packages.add(name);
    }
  };
  load(fileURLToPath(new URL("../../../src/cli/main.ts", import.meta.url)));
  assert.ok(loaded.size > 20);
  assert.deepEqual([...packages], ["commander"]);
});

test("only main.ts touches the streams, signals, environment and exit code of the process", () => {
  const folder = fileURLToPath(new URL("../../../src/cli/", import.meta.url));
  const touching = readdirSync(folder).filter((name) =>
    /\bprocess\.(?:stdout|stderr|stdin|env|exit|exitCode|on|once)\b|= process;/.test(
      readFileSync(join(folder, name), "utf8"),
    ),
  );
  assert.deepEqual(touching, ["main.ts"]);
});
