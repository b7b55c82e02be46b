// debug-server-db info, config show and maintenance reap, and the help of every command.
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import Database from "better-sqlite3";
import type { Command } from "commander";
import { createCommandLine } from "../../../src/cli/commandLine.ts";
import { createProgram } from "../../../src/cli/program.ts";
import { openStore } from "../../../src/index.ts";
import { fixtures, testClock } from "../../../src/testing/index.ts";
import { dropDatabase, newDatabase } from "../../support/postgres.ts";
import { run, runProcess, workingFolder } from "./commandLine.ts";

suite("info and maintenance", { concurrency: 2 }, () => {
  test("info prints versions, paths, sizes, revision and settings beside a server", async (t) => {
    const { folder, url } = workingFolder(t, { init: false });
    const store = await openStore({ url });
    t.after(() => store.close());
    const table = await run(folder, ["info", "--url", url]);
    assert.equal(table.code, 0, table.stderr);
    for (const line of [
      /^version +\d+\.\d+\.\d+$/m,
      /^revision +\d{4} \(head\)$/m,
      /^file +\S+metadata\.db \([\d.]+ KiB\)$/m,
      /^sqlite_version +3\./m,
      /^journal_mode +wal$/m,
    ])
      assert.match(table.stdout, line);
    const info = JSON.parse((await run(folder, ["info", "--json", "--url", url])).stdout);
    assert.deepEqual(
      [info.database.foreign_keys, info.database.synchronous, info.database.journal_mode],
      [1, 2, "wal"],
    );
  });

  test("info prints the version and size of PostgreSQL without the password", async (t) => {
    const url = await newDatabase();
    t.after(() => dropDatabase(url));
    const { folder } = workingFolder(t, { init: false });
    await (await openStore({ url })).close();
    const { code, stdout, stderr } = await run(folder, ["info", "--url", url]);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^store +postgres:\/\/postgres:\*\*\*@/m);
    assert.match(stdout, /^server_version +\d+/m);
    assert.match(stdout, /^bytes_when_opened +[\d.]+ MiB$/m);
    assert.match(stdout, /^synchronous_commit +on$/m);
  });

  test("config show prints the source of each setting with secrets masked, and needs no database", async (t) => {
    const { folder } = workingFolder(t, { init: false });
    const env = {
      DEBUG_SERVER_DB_URL: "postgres://u:hunter2@h/db?sslpassword=hunter3&sslmode=require",
      DEBUG_SERVER_DB_TOKEN: "dsp_hunter4",
      DEBUG_SERVER_DB_ULR: "hunter5",
    };
    const { code, stdout, stderr } = await run(folder, ["config", "show"], { env });
    assert.deepEqual([code, stderr], [0, ""]);
    assert.match(stdout, /^url +postgres:\/\/u:\*\*\*@h\/db\?sslpassword=\*\*\*&sslmode=require +environment$/m);
    assert.match(stdout, /^DEBUG_SERVER_DB_TOKEN +\*\*\* +environment$/m);
    assert.match(stdout, /^DEBUG_SERVER_DB_ULR \(not read\) +\*\*\* +environment$/m);
    assert.match(stdout, /^limits\.busyMs +50 +default$/m);
    assert.doesNotMatch(stdout, /hunter/);
    const flag = await runProcess(folder, ["config", "show", "--json", "--url", "sqlite:x.db"], { env });
    assert.deepEqual(JSON.parse(flag.stdout.split("\n")[0] as string), {
      name: "url",
      value: "sqlite:x.db",
      from: "flag",
    });
    assert.match(
      (await runProcess(folder, ["config", "show"])).stdout,
      /^url +sqlite:\.artifacts\/data\/metadata\.db +default$/m,
    );
    assert.equal((await run(folder, ["config", "show", "--url", "mysql://x"])).code, 2);
  });

  test("maintenance reap prints what has expired by kind", async (t) => {
    const { folder, url } = workingFolder(t, { init: false });
    // The store is used in the past, so that its leases have expired by now.
    const clock = testClock();
    clock.advance(-3_600_000);
    const store = await openStore({ url, clock, limits: { reapEveryMs: 0 } });
    const leases = await Promise.all(Array.from({ length: 3 }, () => fixtures(store).lease()));
    await store.close();
    // A server has served the store since, and has not come to end the leases. Otherwise they would get a grace period.
    const db = new Database(url.replace(/^sqlite:/, ""));
    db.prepare("UPDATE store_meta SET value = ? WHERE key = 'served_at'").run(String(Date.now()));
    db.close();
    const reaped = JSON.parse((await run(folder, ["maintenance", "reap", "--json", "--url", url])).stdout) as {
      worktrees: string[];
    };
    assert.deepEqual(reaped.worktrees.toSorted(), leases.map(({ worktree }) => worktree.id).toSorted());
    const again = await run(folder, ["maintenance", "reap", "--url", url]);
    const kinds = Object.keys(reaped).map((name) => name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`));
    assert.ok(kinds.includes("debug requests"));
    assert.deepEqual([again.code, again.stdout], [0, kinds.map((kind) => `${kind.padEnd(16)}0\n`).join("")]);
  });
});

function commandsOf(
  command: Command,
  parents: readonly string[] = [],
): readonly (readonly [path: readonly string[], command: Command])[] {
  return [[parents, command], ...command.commands.flatMap((one) => commandsOf(one, [...parents, one.name()]))];
}

test("every command has help with examples and exit codes", () => {
  const all = commandsOf(
    createProgram(createCommandLine({ env: {}, cwd: "/", stdout: process.stdout, stderr: process.stderr })),
  );
  assert.ok(all.length > 40);
  for (const [path, command] of all) {
    let text = "";
    command.configureOutput({ writeOut: (part) => (text += part) });
    command.outputHelp();
    assert.match(text, /Exit codes: 0 ok, 1 failure, 2 usage, 3 /, path.join(" "));
    if (path.length > 0)
      assert.match(text, new RegExp(`Examples:\n {2}debug-server-db ${path.join(" ")}`), path.join(" "));
    assert.notEqual(command.description(), "");
  }
});

test("a group without a command prints its help, and is a usage error", async (t) => {
  const { folder } = workingFolder(t, { init: false });
  for (const group of ["admin", "backup", "sessions"]) {
    const { code, stdout, stderr } = await run(folder, [group]);
    assert.deepEqual([code, stdout], [2, ""]);
    assert.match(stderr, /^Usage: debug-server-db \w+ \[options\] \[command\]/);
  }
});
