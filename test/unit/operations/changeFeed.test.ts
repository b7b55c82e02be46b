// The floor of the change feed: a read fails when it would skip pruned rows. No operation prunes yet, so the test sets
// the floor itself.
import assert from "node:assert/strict";
import { it } from "node:test";
import { operations } from "../../../src/operations/table.ts";
import { memoryDispatcher } from "../../support/memoryDriver.ts";

const wireOf = (verb: "since" | "watch", after: number) => [...operations.changes[verb].encode({ after })];

/** Returns a select of the numbers from 1 to `last`. */
const numbers = (last: number) => `
  WITH RECURSIVE numbers (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM numbers WHERE value < ${last})
  SELECT value FROM numbers`;

it("since and watch fail with feed_truncated for a cursor below the floor, but not for one at the floor", async () => {
  const { run, db } = memoryDispatcher(operations);
  const upsert = (name: string) => ["repositories.upsert", ...operations.repositories.upsert.encode({ name })] as const;
  await run(upsert("a"), upsert("b"), upsert("c"));
  db.exec("DELETE FROM changes WHERE seq <= 2; UPDATE store_meta SET value = '2' WHERE key = 'feed_floor'");
  for (const verb of ["since", "watch"] as const) {
    const [[[ok, failure]]] = await run([`changes.${verb}`, ...wireOf(verb, 1)]);
    assert.deepEqual(
      [ok, failure[0], failure[2], failure[3]],
      [false, "feed_truncated", "not_run", { floor: 2, newest: 3 }],
    );
    const [[[fine, page]]] = await run([`changes.${verb}`, ...wireOf(verb, 2)]);
    assert.deepEqual([fine, page[0].length, page[1]], [true, 1, 3]);
  }
  // The end of the feed can be read whatever the floor, to begin again; also when every row was pruned.
  const endOf = async () => (await run(["changes.since", ...operations.changes.since.encode({ limit: 0 })]))[0]?.[0];
  assert.deepEqual(await endOf(), [true, [[], 3]]);
  db.exec("DELETE FROM changes; UPDATE store_meta SET value = '3' WHERE key = 'feed_floor'");
  assert.deepEqual(await endOf(), [true, [[], 3]]);
});

it("a page reads at most 10 000 rows in search of those that pass its filters, and then its cursor has moved", async () => {
  const { run, db } = memoryDispatcher(operations);
  db.exec(`
    INSERT INTO changes (at, entity, entity_id, op, entity_version, actor)
    SELECT value, iif(value = 25000, 'rare', 'usual'), value, 'op' || (value = 25000), 1, iif(value = 25000, 'ada', NULL)
    FROM (${numbers(25_000)})`);
  const filters = [
    { entity: "rare" },
    { entityId: "25000" },
    { op: "op1" },
    { actor: "ada" },
    { since: new Date(25_000) },
    { entity: "usual", until: new Date(0) },
  ];
  for (const filter of filters) {
    const cursors: number[] = [];
    for (let after = 0; after < 25_000; after = cursors.at(-1) as number) {
      const [[[ok, [changes, nextSeq]]]] = await run([
        "changes.since",
        ...operations.changes.since.encode({ ...filter, after }),
      ]);
      assert.ok(ok);
      cursors.push(nextSeq);
      assert.equal(changes.length, nextSeq === 25_000 && !("until" in filter) ? 1 : 0);
    }
    assert.deepEqual(cursors, [10_000, 20_000, 25_000], JSON.stringify(filter));
  }
});

it("a consumer that searches for rare changes moves on, whether or not it finds one", async () => {
  const { run, db } = memoryDispatcher(operations);
  db.exec(`
    INSERT INTO changes (at, entity, entity_id, op, entity_version)
    SELECT value, iif(value = 15000, 'rare', 'usual'), value, 'a', 1 FROM (${numbers(15_000)})`);
  const consume = async () => {
    const input = { consumer: "c", start: "oldest", entity: "rare", waitMs: 0 } as const;
    const [[[, [changes, nextSeq]]]] = await run(["changes.consume", ...operations.changes.consume.encode(input)]);
    return [changes.length, nextSeq, db.prepare("SELECT seq FROM feed_consumers").pluck().get()];
  };
  assert.deepEqual(await consume(), [0, 10_000, 10_000]);
  assert.deepEqual(await consume(), [1, 15_001, 10_000]);
});

it("calls that consume share no transaction with a write before them, and each runs", async () => {
  const { firstTransactionSize, run } = memoryDispatcher(operations);
  const publish = ["changes.publish", ...operations.changes.publish.encode({ topic: "a" })] as const;
  const input = { consumer: "c", start: "oldest", waitMs: 0 } as const;
  const consume = ["changes.consume", ...operations.changes.consume.encode(input)] as const;
  assert.equal(await firstTransactionSize(publish, consume), 1);
  const answers: [boolean, [unknown[]]][][] = [...(await run(consume)), ...(await run(consume))];
  assert.deepEqual(
    answers.map(([answer]) => answer?.[1][0].length),
    [1, 0],
  );
});

it("reads that belong together, and a read of the feed, share no transaction with a write", async () => {
  const { firstTransactionSize } = memoryDispatcher(operations);
  const write = ["repositories.upsert", ...operations.repositories.upsert.encode({ name: "a" })] as const;
  const read = ["repositories.find", ...operations.repositories.find.encode({ name: "a" })] as const;
  const feed = ["changes.since", ...wireOf("since", 0)] as const;
  assert.equal(await firstTransactionSize(write, read), 2);
  assert.equal(await firstTransactionSize(write, feed), 1);
  assert.equal(await firstTransactionSize(feed, write), 1);
  assert.equal(await firstTransactionSize(write, [read, feed]), 1);
  assert.equal(await firstTransactionSize([read, feed], read, write), 2);
  assert.equal(await firstTransactionSize([read, read], feed, read), 3);
});

it("a row that a CHECK refuses fails with constraint, leaves nothing, and is reported as a fault", async () => {
  const { run, db, faults } = memoryDispatcher(operations);
  db.exec("CREATE TRIGGER refuse BEFORE INSERT ON repositories BEGIN SELECT RAISE(ABORT, 'refused'); END");
  const [[[ok, failure]]] = await run(["repositories.upsert", ...operations.repositories.upsert.encode({ name: "a" })]);
  assert.deepEqual([ok, failure[0], failure[2]], [false, "constraint", "rolled_back"]);
  assert.deepEqual(
    faults.map(({ code }) => code),
    ["constraint"],
  );
  assert.equal(db.prepare("SELECT count(*) FROM changes").pluck().get(), 0);
});
