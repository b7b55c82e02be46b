// debug-server-db fsck: what it prints of a store, its exit codes, and what it repairs.
import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import Database from "better-sqlite3";
import { openStore } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { run, workingFolder } from "./commandLine.ts";

/** Creates a store that a server has open, with a way to break its rows. */
async function served(t: TestContext) {
  const { folder, url } = workingFolder(t, { init: false });
  const store = await openStore({ url, limits: { reapEveryMs: 0 } });
  t.after(() => store.close());
  const { session } = await fixtures(store).session({ commands: [{ argv: ["a"] }] });
  const path = join(folder, ".artifacts/data/metadata.db");
  return {
    store,
    session,
    fsck: (...args: string[]) => run(folder, ["fsck", "--url", url, ...args]),
    break(statement: string) {
      const db = new Database(path);
      db.pragma("foreign_keys = OFF");
      db.exec(statement);
      db.close();
    },
  };
}

test("a sound store ends with 0, also while a server has it open", async (t) => {
  const { fsck } = await served(t);
  for (const args of [[], ["--deep"], ["--repair"]]) {
    const { code, stdout, stderr } = await fsck(...args);
    assert.deepEqual([code, stdout], [0, ""], stderr);
    assert.match(stderr, /^The store is sound: checked \d+ rows\.\n$/);
  }
});

test("what follows from other rows is found with 3, repaired with 0, and is then an entry of the audit log", async (t) => {
  const { fsck, store, session, break: breakRows } = await served(t);
  breakRows("UPDATE sessions SET queued_commands = 7");
  const found = await fsck();
  assert.equal(found.code, 3);
  assert.match(
    found.stdout,
    new RegExp(`^check +id +expected +found\n|session-queued-count +broken +${session.id} +1 +7\n`),
  );
  assert.match(found.stderr, /^session-queued-count: A session counts .*\nFound 1 fault in \d+ rows\.\n$/);
  const repaired = await fsck("--repair", "--json");
  assert.equal(repaired.code, 0, repaired.stderr);
  const row = JSON.parse(repaired.stdout);
  assert.deepEqual(
    [row.check, row.id, row.found, row.expected, row.repaired],
    ["session-queued-count", session.id, "7", "1", true],
  );
  assert.match(repaired.stderr, /^Repaired 1 row\.\nThe store is sound/);
  const { changes } = await store.changes.since({ sessionId: session.id });
  const last = changes.at(-1);
  assert.deepEqual([last?.op, last?.actor?.startsWith("cli:")], ["repair", true]);
  assert.equal((await store.sessions.get({ sessionId: session.id })).queuedCommands, 1);
  assert.equal((await fsck()).code, 0);
});

test("what nothing can repair stays with 3, and says what a person can do", async (t) => {
  const { fsck, break: breakRows } = await served(t);
  breakRows("UPDATE sessions SET started_at = 1, failed_commands = 1");
  const { code, stdout, stderr } = await fsck("--repair");
  assert.equal(code, 3);
  assert.match(stdout, /session-failed-count +repaired/);
  assert.match(stdout, /session-start +broken/);
  assert.match(stderr, /session-start: .*sessions cancel --force.*\nRepaired 1 row\.\nFound 1 fault/);
});

test("archived logs whose archive is not at hand are no finding, and the command says so", async (t) => {
  const { fsck, store, break: breakRows } = await served(t);
  const { command, fence } = await fixtures(store).claim();
  await store.commands.finish({ commandId: command.id, fence, outcome: "succeeded" });
  breakRows("INSERT INTO log_blocks SELECT id, 0, 1, 1, 0, 0, 0, 1, 2, 0, NULL FROM attempts");
  breakRows("UPDATE attempts SET log_uri = 'archive:a'");
  const { code, stderr } = await fsck("--check", "log-object");
  assert.equal(code, 0);
  assert.match(stderr, /^log-object: not checked, because .* DEBUG_SERVER_DB_LOG_ARCHIVE .*\nThe store is sound/);
});

test("one check runs by its name, and an unknown one is a usage error that names them", async (t) => {
  const { fsck, break: breakRows } = await served(t);
  breakRows("UPDATE sessions SET queued_commands = 7");
  assert.equal((await fsck("--check", "session-start", "--check", "log-end")).code, 0);
  assert.equal((await fsck("--check", "session-start", "session-queued-count")).code, 3);
  const unknown = await fsck("--check", "none");
  assert.equal(unknown.code, 2);
  assert.match(unknown.stderr, /session-start/);
});

test("--deep finds what only SQLite or a pass over the whole feed finds", async (t) => {
  const { fsck, break: breakRows } = await served(t);
  breakRows(
    "UPDATE repositories SET version = 7; UPDATE sessions SET token_id = '00000000-0000-4000-8000-000000000000'",
  );
  assert.equal((await fsck()).code, 0);
  const { code, stdout } = await fsck("--deep");
  assert.equal(code, 3);
  assert.match(stdout, /file-references +broken +sessions \d+ +tokens/);
  assert.match(stdout, /repository-version/);
});

test("--list prints every check, and opens no store", async (t) => {
  const { folder } = workingFolder(t, { init: false });
  const { code, stdout } = await run(folder, ["fsck", "--list", "--json", "--url", "sqlite:absent.db"]);
  const rows = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.equal(code, 0);
  assert.ok(rows.length > 40);
  for (const { name, says, remedy } of rows) assert.ok(says.endsWith(".") && remedy.endsWith("."), name);
});
