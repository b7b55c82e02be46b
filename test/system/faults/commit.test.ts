// While a thread is being terminated, native calls may return without having run and without an error. A real
// termination hits COMMIT too rarely for a test, so here the database skips statements on request.
import assert from "node:assert/strict";
import { test } from "node:test";
import Database from "better-sqlite3";
import { createServer } from "../../../src/actor/server.ts";
import { systemClock } from "../../../src/clock.ts";
import type { StoreEvent } from "../../../src/events.ts";
import { checkLimits } from "../../../src/limits.ts";
import { newId } from "../../../src/model/ids.ts";
import { operations } from "../../../src/operations/table.ts";
import { readMigrations } from "../../../src/schema/migrationFiles.ts";
import { createSqliteDriver } from "../../../src/sqlite/transaction.ts";

/** Opens a server on a database that skips the given statement `skips.left` times. */
function openSkipping(text: string) {
  const db = new Database(":memory:");
  for (const { up } of readMigrations("sqlite")) db.exec(up);
  const skips = { left: 0, done: 0 };
  const skipping = {
    prepare(source: string) {
      const statement = db.prepare(source);
      if (source !== text) return statement;
      const run = () => {
        if (skips.left === 0) return statement.run();
        skips.left--;
        skips.done++;
        return undefined;
      };
      return { run };
    },
    get inTransaction() {
      return db.inTransaction;
    },
  } as unknown as Database.Database;
  const events: StoreEvent[] = [];
  const limits = checkLimits({ reapEveryMs: 0, groupMs: 10_000 });
  const driver = createSqliteDriver({ db: skipping, clock: systemClock, epoch: 1, close: () => void db.close() });
  const server = createServer({
    drivers: [driver],
    clock: systemClock,
    limits,
    shared: false,
    onEvent: (event) => void events.push(event),
  });
  const inbox = server.connect();
  let envelopeId = 0;
  const call = (calls: readonly [name: string, input: readonly unknown[]][]) =>
    inbox.post([++envelopeId, false, calls.flatMap(([name, input]) => [name, input, undefined])]);
  return { skips, call, close: () => server.close() };
}

const upsert = (name: string): [string, readonly unknown[]] => [
  "repositories.upsert",
  operations.repositories.upsert.encode({ id: newId(), name }),
];
const list: [string, readonly unknown[]] = ["repositories.list", operations.repositories.list.encode({})];
const rowsOf = (answer: unknown): number => (answer as [unknown[], unknown])[0].length;

test("a COMMIT that returns without having run is acknowledged to no caller, and the next group is complete", async () => {
  const { skips, call, close } = openSkipping("COMMIT");
  skips.left = 1;
  const [, commitSeq, answers] = await call([upsert("a"), upsert("b"), list]);
  assert.equal(skips.done, 1);
  assert.equal(commitSeq, 0);
  for (let index = 0; index < 3; index++) {
    assert.equal(answers[index * 2], false);
    const [code, , outcome] = answers[index * 2 + 1] as [string, string, string];
    assert.deepEqual([code, outcome], ["internal", "unknown"]);
  }
  const [, , after] = await call([upsert("c"), list]);
  assert.deepEqual([after[0], after[2], rowsOf(after[3])], [true, true, 1]);
  await close();
});

test("a ROLLBACK that returns without having run leaves nothing of the failed call in the next group", async () => {
  const { skips, call, close } = openSkipping("ROLLBACK");
  const id = newId();
  const first = operations.sessions.create.encode({
    repositoryId: id,
    commitSha: "a".repeat(40),
    commands: [{ argv: ["true"] }],
  });
  const [, , created] = await call([
    ["repositories.upsert", operations.repositories.upsert.encode({ id, name: "a" })],
    ["sessions.create", first],
  ]);
  assert.deepEqual([created[0], created[2]], [true, true]);
  // The second session has the same command id. It fails after it wrote, so the group is rolled back and run again.
  const second = first.with(operations.sessions.create.keys.indexOf("id"), newId());
  skips.left = 1;
  const [, , answers] = await call([["sessions.create", second], upsert("b")]);
  assert.equal(skips.done, 1);
  assert.deepEqual([answers[0], answers[2]], [false, false]);
  const sessions: [string, readonly unknown[]] = ["sessions.list", operations.sessions.list.encode({})];
  const [, , after] = await call([sessions, list]);
  assert.deepEqual([rowsOf(after[1]), rowsOf(after[3])], [1, 1]);
  await close();
});
