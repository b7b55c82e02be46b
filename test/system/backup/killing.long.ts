// Kills 200 restores. `npm run test:long` runs it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { killRestores } from "./killing.ts";

test("200 restores killed at random moments leave the old database or the new one, some of each", async (t) => {
  const left = await killRestores(200);
  t.diagnostic(JSON.stringify(left));
  assert.equal(left.old + left.fresh, 200);
  assert.ok(left.old > 0 && left.fresh > 0);
});
