// A long version of two tests of death.test.ts. `npm run test:long` runs it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { killProcesses, terminateThreads } from "./deaths.ts";

test("a database thread that is terminated 100 times while it writes has stored every acknowledged write", () =>
  terminateThreads(100));

test("a process that is killed 100 times while it writes has stored every acknowledged write", async () => {
  assert.ok((await killProcesses(100)) > 1_000);
});
