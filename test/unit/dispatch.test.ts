// The dispatcher on a database in memory: a transaction whose time is refused begins no job.
import assert from "node:assert/strict";
import { it } from "node:test";
import { anonymous } from "../../src/caller.ts";
import { operations } from "../../src/operations/table.ts";
import { memoryDispatcher } from "../support/memoryDriver.ts";

it("jobs that may not begin at the time of the transaction are refused, with all after them, and nothing is written", async () => {
  const { dispatcher, db, faults } = memoryDispatcher(operations);
  const upsert = operations.repositories.upsert;
  const jobs = ["a", "b", "c"].map((name) => {
    return [dispatcher.decodeCall("repositories.upsert", upsert.encode({ name }), anonymous)];
  });
  let asked = 0;
  const { outcomes, wrote } = await dispatcher.runTransaction(jobs, 60_000, { mayBegin: () => ++asked !== 2 });
  assert.deepEqual(
    outcomes.map(({ refused, answers }) => [refused, answers.length]),
    [
      [undefined, 1],
      [true, 0],
      [true, 0],
    ],
  );
  assert.equal(wrote, true);
  assert.deepEqual(db.prepare("SELECT name FROM repositories").pluck().all(), ["a"]);
  assert.deepEqual(faults, []);
});
