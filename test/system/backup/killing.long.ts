// Kills 200 restores, and one at each of its system calls. `npm run test:long` runs it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { hasStrace, killRestoreAtCalls, killRestores } from "./killing.ts";

test("200 restores killed at random moments leave the old database or the new one, some of each", async (t) => {
  const left = await killRestores(200);
  t.diagnostic(JSON.stringify(left));
  assert.equal(left.old + left.fresh, 200);
  assert.ok(left.old > 0 && left.fresh > 0);
});

test("a restore killed at any system call that changes a file leaves the old or the new database", {
  skip: !hasStrace(),
}, async (t) => {
  const seen = await killRestoreAtCalls((_call, when) => when + 1);
  t.diagnostic(JSON.stringify(seen));
  assert.ok(seen.old > 3 && seen.fresh > 3);
});
