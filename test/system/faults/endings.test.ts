// Calls after the end, when a store is closed, a thread has died or a port is not served: none of them hangs.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { MessageChannel } from "node:worker_threads";
import Database from "better-sqlite3";
import { attachStore, createRunnerPool, openStore } from "../../../src/index.ts";
import { openTestStore } from "../../../src/testing/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { startThread } from "./databaseThread.ts";

const folder = temporaryFolder();
let files = 0;
const newPath = (): string => join(folder, `file-${++files}.db`);

for (const [kind, open] of [
  ["a store", () => openStore({ url: `sqlite:${newPath()}` })],
  ["a test store", () => openTestStore()],
] as const) {
  test(`${kind} that is closed gives out no port, and closes the ports that it is asked to serve`, async () => {
    const store = await open();
    await store.close();
    assert.throws(() => store.connect(), { code: "closed", outcome: "not_run" });
    const { port1, port2 } = new MessageChannel();
    store.serve(port2);
    const attached = attachStore(port1);
    await assert.rejects(attached.runners.list(), { code: "closed", outcome: "not_run" });
    await assert.rejects(attached.repositories.upsert({ name: "late" }), { code: "closed", outcome: "not_run" });
  });
}

test("close ends a thread that is blocked for longer than limits.closeMs: pending writes fail, and the file is sound", async () => {
  const path = newPath();
  const store = await openStore({
    url: `sqlite:${path}`,
    limits: { closeMs: 200, busyMs: 5, busyGiveUpMs: 60_000, reapEveryMs: 0 },
  });
  await store.repositories.upsert({ name: "acknowledged" });
  const other = new Database(path);
  other.exec("BEGIN IMMEDIATE");
  const blocked = assert.rejects(store.repositories.upsert({ name: "blocked" }), {
    code: "closed",
    outcome: "unknown",
  });
  const startedAtMs = performance.now();
  await store.close();
  const tookMs = performance.now() - startedAtMs;
  assert.ok(
    tookMs >= 300 && tookMs < 30_000,
    `took ${Math.round(tookMs)} ms; draining and ending may take closeMs each`,
  );
  await blocked;
  other.exec("ROLLBACK");
  other.close();
  const again = await openStore({ url: `sqlite:${path}` });
  assert.deepEqual(
    (await again.repositories.list()).items.map(({ name }) => name),
    ["acknowledged"],
  );
  await again.close();
});

test("a port that was transferred to a thread is closed when the thread ends before it receives the port", async () => {
  const thread = await startThread(newPath());
  const store = thread.connect();
  const ended = thread.worker.terminate();
  await assert.rejects(store.runners.list(), { code: "closed", outcome: "not_run" });
  await ended;
});

test("after its store is closed, the calls of a pool's tasks fail with closed, and the pool still runs tasks", async () => {
  const store = await openStore({ url: `sqlite:${newPath()}` });
  const pool = createRunnerPool(store, { filename: new URL("./poolRunner.ts", import.meta.url), threads: 1 });
  assert.equal(await pool.run({ type: "count" }), 0);
  await store.close();
  await assert.rejects(pool.run({ type: "count" }), { code: "closed", outcome: "not_run" });
  assert.equal(await pool.run({ type: "echo", value: 1 }), 1);
  await pool.close();
});

for (const cause of ["close", "death"]) {
  test(`a process whose calls were lost by ${cause} ends before their deadline`, async () => {
    const script = fileURLToPath(new URL("./endingProcess.ts", import.meta.url));
    // The timeout is far below the 30 s that a call may take.
    const { stdout } = await promisify(execFile)(process.execPath, [script, newPath(), cause], { timeout: 15_000 });
    assert.equal(stdout, "closed unknown\n");
  });
}

test("close closes the ports of the store, and later calls of every kind are refused", async () => {
  const store = await openStore({ url: `sqlite:${newPath()}` });
  const closed = once(store.connect(), "close");
  await store.close();
  await closed;
  await assert.rejects(store.runners.list(), { code: "closed", outcome: "not_run" });
  await assert.rejects(
    store.atomically((tx) => tx.repositories.upsert({ name: "late" })),
    { code: "closed", outcome: "not_run" },
  );
  await assert.rejects(store.changes.watch().next(), { code: "closed", outcome: "not_run" });
});
