// A short version of killing.long.ts.
import assert from "node:assert/strict";
import { test } from "node:test";
import { killMigrations } from "./killing.ts";

test("6 migrations killed at random moments leave the old or the new schema", async (t) => {
  const left = await killMigrations(6);
  t.diagnostic(JSON.stringify(left));
  assert.equal(left.old + left.new, 6);
});
