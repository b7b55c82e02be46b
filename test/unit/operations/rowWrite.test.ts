// Writing the changed columns of a locked row: the row that is returned is the one that is stored, and a row that was
// saved meanwhile is noticed.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { it } from "node:test";
import { newId } from "../../../src/model/ids.ts";
import type { SessionRow } from "../../../src/model/sessions.ts";
import { writeRow } from "../../../src/operations/rowWrite.ts";
import type { Body, Query } from "../../../src/sql.ts";

const row = { id: newId(), version: 3, state: "pending", next_sequence: 1, pinned: 0, updated_at: 1 };

const counts: unknown[] = [];
const context = { now: new Date(7), counted: (...count: unknown[]) => void counts.push(count) };

/** Runs the body with a database that answers each query with this number of rows. */
function run(
  changes: object,
  raises?: 0 | 1,
  count = 1,
): { statements: Query<unknown>["statements"]; stored: unknown } {
  const body = writeRow("session", row as never as SessionRow, changes, context, raises) as Body<unknown>;
  const { value } = body.next();
  const { statements } = value as Query<unknown>;
  return { statements, stored: body.next(count).value };
}

it("a write names the changed columns only, and returns the row as it is stored", () => {
  const { statements, stored } = run({ next_sequence: 2, started_at: 5, ended_at: null, pinned: 1 });
  const [{ strings, values }] = statements as [(typeof statements)[number]];
  assert.equal(
    strings.join("?"),
    "UPDATE sessions SET next_sequence = ?, started_at = ?, ended_at = ?, pinned = ?, version = ?, updated_at = ? WHERE id = ? AND version = ?",
  );
  assert.deepEqual(values, [2, new Date(5), null, true, 4, new Date(7), row.id, 3]);
  assert.deepEqual(stored, {
    ...row,
    next_sequence: 2,
    started_at: 5,
    ended_at: null,
    pinned: 1,
    version: 4,
    updated_at: 7,
  });
});

it("a write without a new version keeps it, and equal writes share one text", () => {
  const [first, second] = [run({ next_sequence: 2 }, 0), run({ next_sequence: 9 }, 0)];
  assert.equal(first.statements[0]?.strings, second.statements[0]?.strings);
  assert.deepEqual(second.stored, { ...row, next_sequence: 9, updated_at: 7 });
});

it("a write of the state counts the row in the new one", () => {
  counts.length = 0;
  run({ next_sequence: 2 });
  assert.deepEqual(counts, []);
  run({ state: "running" });
  assert.deepEqual(counts, [["session", "pending", "running"]]);
});

it("a row that was saved since it was read is a fault of the caller", () => {
  counts.length = 0;
  assert.throws(() => run({ state: "running" }, 1, 0), { code: "internal", message: /has changed since it was read/ });
  assert.deepEqual(counts, []);
});

it("the names of the columns tell which hold times", () => {
  const folder = new URL("../../../migrations/", import.meta.url);
  const texts = readdirSync(folder)
    .filter((name) => name.endsWith(".postgres.sql"))
    .map((name) => readFileSync(new URL(name, folder), "utf8"));
  const columns = texts.flatMap((text) => [
    ...text.matchAll(/^\s*(?:ADD COLUMN )?(\w+) (timestamptz|bigint|integer)\b/gm),
  ]);
  assert.ok(columns.length > 100);
  // Rows of the feed and of logs are never changed.
  for (const [, name, type] of columns)
    if (name !== "at") assert.equal(name?.endsWith("_at"), type === "timestamptz", `${name} ${type}`);
});
