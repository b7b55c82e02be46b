// Kills 200 migrations. `npm run test:long` runs it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { killMigrations } from "./killing.ts";

test("200 migrations killed at random moments leave the old or the new schema, some of each", async (t) => {
  const left = await killMigrations(200);
  t.diagnostic(JSON.stringify(left));
  assert.equal(left.old + left.new, 200);
  assert.ok(left.old > 0 && left.new > 0);
});
