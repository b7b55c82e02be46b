// Stored replies across releases: a reply whose results have other fields is refused. It is not misread, and the call
// does not run again.
import assert from "node:assert/strict";
import { test } from "node:test";
import { z } from "zod";
import { anonymous } from "../../../src/caller.ts";
import { integer, record, text } from "../../../src/model/codec.ts";
import type { OperationTable } from "../../../src/operation.ts";
import { operation } from "../../../src/operation.ts";
import { change, sql } from "../../../src/sql.ts";
import { memoryDatabase, memoryDispatcher } from "../../support/memoryDriver.ts";

const rows = sql`INSERT INTO runs (n) VALUES (1)`;
const parts = { access: "write", input: z.strictObject({}), errors: [] } as const;
const before = operation({
  ...parts,
  output: record({ name: text, count: integer }),
  *run() {
    yield* change(rows);
    return { name: "a", count: 1 };
  },
});
/** The operation in a later release, with one more field that is not the last. */
const later = operation({
  ...parts,
  output: record({ name: text, version: integer, count: integer }),
  *run() {
    yield* change(rows);
    return { name: "a", version: 7, count: 1 };
  },
});

test("a reply that a release with other fields has stored is refused, and the call does not run again", async () => {
  const db = memoryDatabase();
  db.exec("CREATE TABLE runs (n INTEGER)");
  const idempotency = { key: "k", request: "0".repeat(64) };
  const run = async (operations: OperationTable, together: boolean) => {
    const { dispatcher } = memoryDispatcher(operations, db);
    const call = dispatcher.decodeCall("things.make", [], together ? anonymous : { ...anonymous, idempotency });
    const calls = together ? [{ ...call, envelopeKey: { ...idempotency, actor: undefined } }, call] : [call];
    return (await dispatcher.runTransaction([calls], 1_000)).outcomes[0]?.answers;
  };
  for (const together of [false, true]) {
    const first = await run({ things: { make: before } }, together);
    assert.deepEqual(first?.[0], [true, ["a", 1]]);
    assert.deepEqual(await run({ things: { make: before } }, together), first);
    const [ok, failure] = (await run({ things: { make: later } }, together))?.[0] ?? [];
    const [code, , outcome, details] = failure as [string, string, string, { reason?: string }];
    assert.deepEqual([ok, code, outcome, details.reason], [false, "idempotency_mismatch", "rolled_back", "release"]);
  }
  assert.deepEqual(db.prepare("SELECT count(*) AS runs FROM runs").get(), { runs: 3 });
  db.close();
});
