// A wrong call is refused in one sentence with an exit code of its own, and leaves nothing behind.
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite, test } from "node:test";
import Database from "better-sqlite3";
import { createCommandLine } from "../../../src/cli/commandLine.ts";
import { createProgram } from "../../../src/cli/program.ts";
import { entriesOf, makeFolder, run, runProcess, workingFolder } from "./commandLine.ts";

/** Requires one sentence, and allows a suggestion after it; never a stack. */
function assertSentence(stderr: string, pattern: RegExp): void {
  assert.match(stderr, pattern);
  assert.match(stderr, /^debug-server-db: .+\n(?:\(Did you mean .+\)\n)?$/);
}

suite("usage", { concurrency: 2 }, () => {
  const cases: readonly (readonly [name: string, args: readonly string[], pattern: RegExp])[] = [
    ["an unknown command, with a suggestion,", ["dmo"], /unknown command 'dmo'\n\(Did you mean demo\?\)/],
    [
      "an unknown option, with a suggestion,",
      ["demo", "--runner", "3"],
      /unknown option '--runner'\n\(Did you mean --runners\?\)/,
    ],
    [
      "a number of runners that is no number",
      ["demo", "--runners", "x"],
      /'--runners <number>' argument 'x' is invalid\. Expected a whole number from 1 to 64\./,
    ],
    ["half a runner", ["demo", "--runners", "1.5"], /Expected a whole number from 1 to 64/],
    ["no runners", ["demo", "--runners", "0"], /Expected a whole number from 1 to 64/],
    ["too many runners", ["demo", "--runners", "65"], /Expected a whole number from 1 to 64/],
    ["a number of commits that is no number", ["demo", "--commits", "two"], /Expected a whole number from 1 to 500/],
    ["no commits to run on", ["demo", "--commits", "0"], /Expected a whole number from 1 to 500/],
    ["too many commits", ["demo", "--commits", "501"], /Expected a whole number from 1 to 500/],
    ["an argument that belongs to no option", ["demo", "npm", "test"], /unexpected argument 'npm'/],
    ["a command without a program", ["demo", "--command"], /'--command <argv\.\.\.>' argument missing/],
    ["a command whose program has no name", ["demo", "--command", ""], /'--command <argv\.\.\.>' names no program/],
    ["a URL of another kind", ["demo", "--url", "mysql://localhost/x"], /url: expected sqlite:PATH/],
    ["a database that does not last", ["demo", "--url", "sqlite::memory:"], /needs a file/],
    ["a path that does not exist", ["demo", "--repo", "nowhere"], /nowhere: there is no such folder/],
  ];
  for (const [name, args, pattern] of cases) {
    test(`${name} is refused in one sentence`, async (t) => {
      const { folder } = workingFolder(t);
      const before = entriesOf(folder);
      const { code, stdout, stderr } = await run(folder, args);
      assertSentence(stderr, pattern);
      assert.deepEqual({ code, stdout }, { code: 2, stdout: "" });
      assert.deepEqual(entriesOf(folder), before);
    });
  }

  test("a path that is not in a git repository is refused", async (t) => {
    const { folder } = workingFolder(t, { init: false });
    const { code, stdout, stderr } = await runProcess(folder, ["demo"], {
      env: { GIT_CEILING_DIRECTORIES: join(folder, "..") },
    });
    assertSentence(stderr, /is not in a git repository: name one with --repo/);
    assert.deepEqual({ code, stdout, entries: entriesOf(folder) }, { code: 2, stdout: "", entries: [] });
  });

  test("a path that is a file is refused", async (t) => {
    const { folder } = workingFolder(t);
    const { code, stderr } = await run(folder, ["demo", "--repo", "file-1.txt"]);
    assertSentence(stderr, /file-1\.txt is not a folder/);
    assert.equal(code, 2);
  });

  test("a repository without commits is refused", async (t) => {
    const { folder } = workingFolder(t, { commits: 0 });
    const { code, stderr } = await run(folder, ["demo"]);
    assertSentence(stderr, /has no commits: commit something first/);
    assert.deepEqual({ code, entries: entriesOf(folder) }, { code: 2, entries: [".git"] });
  });

  test("a run without git on PATH fails in one sentence", async (t) => {
    const { folder } = workingFolder(t);
    const { code, stderr } = await runProcess(folder, ["demo"], { env: { PATH: makeFolder(folder, "empty") } });
    assertSentence(stderr, /git is not installed, or not in PATH: install git/);
    assert.deepEqual({ code, made: existsSync(join(folder, ".artifacts")) }, { code: 1, made: false });
  });

  test("a folder that cannot be written is refused", async (t) => {
    const { folder } = workingFolder(t);
    // No user can create a folder here, not even root.
    const closed = process.platform === "linux" ? "/sys" : "/System";
    const { code, stderr } = await run(folder, ["demo", "--url", `sqlite:${closed}/data/metadata.db`]);
    assertSentence(stderr, /metadata\.db cannot be created: (?:permission denied|the file system is read-only)/);
    assert.deepEqual({ code, made: existsSync(join(folder, ".artifacts")) }, { code: 1, made: false });
  });

  test("a file that is not a database is refused and stays unchanged", async (t) => {
    const { folder } = workingFolder(t);
    const file = join(folder, "notes.txt");
    const text =
      "Not a database, but a text that is long enough to be taken for the header of one, if it is not checked with care.\n";
    writeFileSync(file, text);
    const { code, stderr } = await run(folder, ["demo", "--url", "sqlite:notes.txt"]);
    assertSentence(stderr, /notes\.txt: the file is not a SQLite database/);
    assert.deepEqual(
      { code, text: readFileSync(file, "utf8"), worktrees: existsSync(join(folder, "worktrees")) },
      { code: 1, text, worktrees: false },
    );
  });

  test("a database of another program is refused and stays unchanged", async (t) => {
    const { folder } = workingFolder(t);
    const db = new Database(join(folder, "other.db"));
    db.exec("CREATE TABLE theirs (id INTEGER PRIMARY KEY)");
    db.close();
    const before = readFileSync(join(folder, "other.db"));
    const { code, stderr } = await run(folder, ["demo", "--url", "sqlite:other.db"]);
    assertSentence(stderr, /other\.db: this database belongs to another program: name another file/);
    assert.deepEqual({ code, same: readFileSync(join(folder, "other.db")).equals(before) }, { code: 1, same: true });
  });

  test("the flag takes precedence over the environment", async (t) => {
    const { folder } = workingFolder(t);
    const flag = await run(folder, ["demo", "--url", "flag:"], { env: { DEBUG_SERVER_DB_URL: "sqlite::memory:" } });
    const environment = await run(folder, ["demo"], { env: { DEBUG_SERVER_DB_URL: "sqlite::memory:" } });
    assert.match(flag.stderr, /expected sqlite:PATH/);
    assert.match(environment.stderr, /needs a file/);
  });

  test("help and version are printed on stdout", async (t) => {
    const { folder } = workingFolder(t, { init: false });
    const help = await run(folder, ["demo", "--help"]);
    assert.match(help.stdout, /Examples:\n {2}debug-server-db demo\n/);
    const version = await run(folder, ["--version"]);
    assert.match(version.stdout, /^\d+\.\d+\.\d+\n$/);
    assert.deepEqual([help.code, help.stderr, version.code, version.stderr], [0, "", 0, ""]);
  });

  test("in every group, a process prints the same and exits with the same code as a run in this process", async (t) => {
    const { folder, url } = workingFolder(t, { init: false });
    const absent = "01890a5d-ac96-774b-bcce-b302099a8057";
    await run(folder, ["migrate", "upgrade", "--url", url]);
    const calls = [
      ["demo", "--repo", "nowhere"],
      ["serve", "--listen", "nowhere", "--url", url],
      ["health", "--url", "sqlite:absent.db"],
      ["migrate", "history", "--json", "--url", url],
      ["admin", "list-accounts", "--url", url],
      ...[
        "repositories",
        "runners",
        "sessions",
        "worktrees",
        "commands",
        "artifacts",
        "patches",
        "environments",
        "files",
      ].map((group) => [group, "list", "--url", url]),
      ["logs", "show", absent, "--url", url],
      ["changes", "consumers", "--url", url],
      ["debug", "show", absent, "--url", url],
      ["backup", "list", "--url", url],
      ["fsck", "--url", url],
      ["maintenance", "reap", "--url", url],
      ["usage", "--url", url],
      ["info", "--url", "sqlite:absent.db"],
      ["config", "show", "--url", url],
    ];
    const program = createProgram(
      createCommandLine({ env: {}, cwd: folder, stdout: process.stdout, stderr: process.stderr }),
    );
    assert.deepEqual(
      new Set(calls.map(([group]) => group)),
      new Set(program.commands.map((command) => command.name())),
    );
    for (const args of calls)
      assert.deepEqual(await runProcess(folder, args), await run(folder, args), `debug-server-db ${args.join(" ")}`);
  });

  test("a call without a command prints the usage and exits with 2", async (t) => {
    const { folder } = workingFolder(t, { init: false });
    const { code, stdout, stderr } = await run(folder, []);
    assert.match(stderr, /^Usage: debug-server-db/);
    assert.deepEqual({ code, stdout }, { code: 2, stdout: "" });
  });
});
