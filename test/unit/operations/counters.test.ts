// Counters are added to once for each call that is committed, however often its group runs.
import assert from "node:assert/strict";
import { it } from "node:test";
import type Database from "better-sqlite3";
import { newId } from "../../../src/model/ids.ts";
import { operations } from "../../../src/operations/table.ts";
import { wrongCounters } from "../../support/counters.ts";
import { memoryDispatcher } from "../../support/memoryDriver.ts";

const amountOf = (db: Database.Database, entity: string, state: string) =>
  db.prepare("SELECT amount FROM counters WHERE entity = ? AND state = ?").pluck().get(entity, state);

const account = (name: string) => ["accounts.create", newId(), name, "human"] as const;

it("a call that fails after it has counted is not counted, and the calls beside it are counted once", async () => {
  const { db, run } = memoryDispatcher(operations);
  // The second job fails at its second call, so the group is undone and runs again with savepoints.
  const [[first], [second], [third]] = await run(account("a"), [account("b"), account("a")], account("c"));
  assert.deepEqual([first[0], second[0], third[0]], [true, false, true]);
  assert.equal(amountOf(db, "account", "enabled"), 2);
  assert.deepEqual(wrongCounters(db), []);
});

it("a group whose transaction is lost when its changes are written counts each call once", async () => {
  const { db, run } = memoryDispatcher(operations);
  let written = 0;
  db.function("times_written", { deterministic: false }, () => ++written);
  db.exec(`
    CREATE TEMP TRIGGER lost BEFORE INSERT ON changes WHEN times_written() = 2
    BEGIN SELECT RAISE(ROLLBACK, 'lost'); END`);
  const answers = await run(account("a"), account("b"), account("c"));
  assert.ok(written > 3, `${written} rows of changes were written`);
  assert.deepEqual(
    answers.map(([[ok]]: [[boolean]]) => ok),
    [true, true, true],
  );
  assert.equal(amountOf(db, "account", "enabled"), 3);
  assert.deepEqual(wrongCounters(db), []);
});

it("what a transaction counts in and out of a state writes no counter", async () => {
  const { db, run } = memoryDispatcher(operations);
  await run(account("a"));
  const id = db.prepare("SELECT id FROM accounts").pluck().get() as string;
  db.exec("CREATE TEMP TRIGGER none BEFORE UPDATE ON counters BEGIN SELECT RAISE(ABORT, 'written'); END");
  const [[[ok]]] = await run([
    ["accounts.disable", id, undefined],
    ["accounts.enable", id, undefined],
  ]);
  assert.equal(ok, true);
  assert.deepEqual(wrongCounters(db), []);
});
