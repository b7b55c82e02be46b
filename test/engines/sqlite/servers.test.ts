// The rows by which the servers of one file know each other.
import assert from "node:assert/strict";
import { join } from "node:path";
import { it, type TestContext } from "node:test";
import Database from "better-sqlite3";
import { defaultLimits } from "../../../src/limits.ts";
import { type OtherServer, ServerRow } from "../../../src/sqlite/servers.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";

/** Creates a file with the table of the rows, and returns the function that starts a server on it. */
function newFile(t: TestContext) {
  const path = join(temporaryFolder(), "store.db");
  const connect = (): Database.Database => {
    const db = new Database(path, { timeout: 0 });
    t.after(() => db.close());
    return db;
  };
  const watching = connect();
  watching.pragma("journal_mode = WAL");
  watching.exec("CREATE TABLE store_meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT");
  return {
    connect,
    serve() {
      const others: OtherServer[] = [];
      return { row: new ServerRow(connect(), defaultLimits, (other) => others.push(other)), others };
    },
    version: () => watching.pragma("data_version", { simple: true }),
    rows: () => watching.prepare("SELECT key FROM store_meta").pluck().all(),
  };
}

it("a server alone writes its row once, and servers that know each other write no more", (t) => {
  const { serve, version } = newFile(t);
  const first = serve();
  const alone = version();
  for (let pass = 0; pass < 20; pass++) first.row.attend();
  assert.equal(version(), alone);
  const second = serve();
  for (const { row } of [first, second]) row.attend();
  const met = version();
  for (let pass = 0; pass < 20; pass++) for (const { row } of [first, second]) row.attend();
  assert.equal(version(), met);
  assert.deepEqual([first.others.length, second.others.length], [1, 1]);
});

it("a row that nobody renews is left behind by a server that died, and is removed after five passes", (t) => {
  const { serve, rows } = newFile(t);
  serve();
  const { row, others } = serve();
  for (let pass = 0; pass < 4; pass++) row.attend();
  assert.equal(rows().length, 2);
  row.attend();
  assert.equal(rows().length, 1);
  assert.deepEqual(others, []);
});

it("a server that finds the write lock taken answers in a later pass", (t) => {
  const { serve, connect } = newFile(t);
  const first = serve();
  const second = serve();
  const writer = connect();
  writer.exec("BEGIN IMMEDIATE");
  assert.throws(() => first.row.attend(), { code: "SQLITE_BUSY" });
  assert.equal(first.others.length, 1);
  writer.exec("ROLLBACK");
  first.row.attend();
  second.row.attend();
  assert.deepEqual([first.others.length, second.others.length], [1, 1]);
});

it("a server whose row was removed adds it again, so that the one that removed it learns of it", (t) => {
  const { serve, rows } = newFile(t);
  const slow = serve();
  const { row, others } = serve();
  for (let pass = 0; pass < 5; pass++) row.attend();
  assert.equal(rows().length, 1);
  slow.row.attend();
  row.attend();
  assert.deepEqual([others.length, rows().length], [1, 2]);
  // It answers once to each server that comes, and not for ever to one that was announced already.
  slow.row.attend();
  row.attend();
  assert.deepEqual([slow.others.length, others.length], [1, 1]);
});
