// A store without a listener reports through warnings of its process, on stderr.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { temporaryFolder } from "../../support/temporaryFolder.ts";

const run = promisify(execFile);
const program = fileURLToPath(new URL("./unheardProcess.ts", import.meta.url));

const lose = (...listens: readonly string[]) =>
  run(process.execPath, [program, join(temporaryFolder(), "store.db"), ...listens], { timeout: 60_000 });

test("without a listener, a fault is a warning of the process, once", async () => {
  const { stdout, stderr } = await lose();
  assert.equal(stdout, "file_lost\n".repeat(5));
  assert.match(stderr, /\[file_lost\] StoreWarning: debug-server-db: file lost: path \S+store\.db: reason gone/);
  assert.equal(stderr.match(/StoreWarning/g)?.length, 1);
});

for (const listens of ["onEvent", "logger"])
  test(`with ${listens}, it is none`, async () => {
    const { stdout, stderr } = await lose(listens);
    assert.equal(stdout, "file_lost\n".repeat(5));
    assert.doesNotMatch(stderr, /StoreWarning/);
  });
