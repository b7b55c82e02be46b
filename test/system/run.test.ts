// Checks that a run of the tests fails when a test fails, in a process that also started a PostgreSQL server.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryFolder } from "../support/temporaryFolder.ts";

const runner = join(import.meta.dirname, "../run.ts");
const postgres = join(import.meta.dirname, "../support/postgres.ts");

function runTests(file: string): { readonly code: number | null; readonly output: string } {
  // A server and a runner of its own: neither those of the run that this test belongs to.
  const { NODE_TEST_CONTEXT: _, DEBUG_SERVER_DB_TEST_PG_PORT: __, ...env } = process.env;
  const { status, stdout, stderr } = spawnSync(process.execPath, [runner, file], { encoding: "utf8", env });
  return { code: status, output: stdout + stderr };
}

test("a run fails when a test fails, and passes when none does, also after a PostgreSQL server was started", () => {
  const folder = temporaryFolder();
  for (const [expected, code] of [
    [1, 0],
    [2, 1],
  ] as const) {
    const file = join(folder, `expected${expected}.test.ts`);
    writeFileSync(
      file,
      `import assert from "node:assert/strict";
       import { test } from "node:test";
       import { dropDatabase, newDatabase } from ${JSON.stringify(postgres)};
       test("one is ${expected}", async () => {
         await dropDatabase(await newDatabase());
         assert.equal(1, ${expected});
       });`,
    );
    const run = runTests(file);
    assert.equal(run.code, code, run.output);
    assert.match(run.output, new RegExp(`^\u2139 pass ${1 - code}$`, "m"));
  }
});
