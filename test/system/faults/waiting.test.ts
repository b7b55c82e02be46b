// Several processes on one file: commits of another process wake parked calls, and its locks do not end them.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { attachStore, openStore } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { until } from "./until.ts";

const folder = temporaryFolder();
let files = 0;
const newPath = (): string => join(folder, `file-${++files}.db`);

test("a log that another process writes is followed chunk by chunk until it is sealed", async () => {
  const url = `sqlite:${newPath()}`;
  const store = await openStore({ url, limits: { dataVersionPollMs: 20 } });
  const { command, session } = await fixtures(store).command();
  const chunks = store.logs.follow({ commandId: command.id });
  // The call is parked before there is an attempt.
  let next = chunks.next();
  await until(async () => (await store.maintenance.stats()).serving.parked === 1);
  const script = fileURLToPath(new URL("./appendingProcess.ts", import.meta.url));
  const child = spawn(process.execPath, [script, url, session.id], { stdio: ["pipe", "inherit", "inherit"] });
  const closed = once(child, "close");
  for (const line of ["one", "two", "three"]) {
    child.stdin.write(`${line}\n`);
    const { value } = await next;
    assert.equal(Buffer.from(value?.data ?? []).toString(), `${line}\n`);
    next = chunks.next();
  }
  child.stdin.end();
  assert.deepEqual(await next, { done: true, value: undefined });
  assert.deepEqual(await closed, [0, null]);
  assert.equal((await store.commands.wait({ commandId: command.id })).state, "succeeded");
  await store.close();
});

test("a parked call that is woken while another process holds the lock waits for it, however long it was parked", async () => {
  const path = newPath();
  const store = await openStore({
    url: `sqlite:${path}`,
    limits: { busyGiveUpMs: 500, busyMs: 5, reapEveryMs: 0, dataVersionPollMs: 10 },
  });
  const { runner } = await fixtures(store).runner();
  const claim = store.commands.claim({ runnerId: runner.id, waitMs: 60_000 });
  const parkedAtMs = performance.now();
  await until(
    async () => (await store.maintenance.stats()).serving.parked === 1 && performance.now() - parkedAtMs > 600,
  );
  const other = new Database(path);
  // The commit wakes the call, and the lock is taken when it runs.
  other.exec("BEGIN IMMEDIATE; INSERT INTO store_meta VALUES ('other', '1'); COMMIT; BEGIN IMMEDIATE");
  // Another client reads, because the reads of this one wait behind its claim.
  const reader = attachStore(store.connect());
  await until(async () => ((await reader.maintenance.stats()).serving.busyRetries ?? 0) >= 3);
  await reader.close();
  other.exec("COMMIT");
  other.close();
  await fixtures(store).command({ argv: ["found"] });
  assert.deepEqual((await claim)?.command.argv, ["found"]);
  await store.close();
});

test("while another process holds the write lock, reads of other clients run, and writes wait in their order", async () => {
  const path = newPath();
  const store = await openStore({ url: `sqlite:${path}`, limits: { busyMs: 5, reapEveryMs: 0 } });
  const reader = attachStore(store.connect());
  const other = new Database(path);
  other.exec("BEGIN IMMEDIATE");
  const names = ["first", "second", "third"];
  const writes = names.map((name) => store.repositories.upsert({ name }));
  await until(async () => {
    assert.deepEqual((await reader.repositories.list()).items, []);
    return ((await reader.maintenance.stats()).serving.busyRetries ?? 0) >= 3;
  });
  other.exec("COMMIT");
  other.close();
  await Promise.all(writes);
  const { changes } = await store.changes.since({ entity: "repository" });
  assert.deepEqual(
    changes.map(({ entityId }) => entityId),
    (await Promise.all(writes)).map(({ id }) => id),
  );
  await reader.close();
  await store.close();
});

test("openStore waits for the lock of another process, and fails with busy after limits.busyGiveUpMs", async () => {
  const path = newPath();
  await (await openStore({ url: `sqlite:${path}` })).close();
  const other = new Database(path);
  other.exec("BEGIN IMMEDIATE");
  const startedAtMs = performance.now();
  await assert.rejects(openStore({ url: `sqlite:${path}`, limits: { busyMs: 10, busyGiveUpMs: 100 } }), {
    code: "busy",
    outcome: "not_run",
  });
  assert.ok(performance.now() - startedAtMs < 8_000);
  const opening = openStore({ url: `sqlite:${path}`, limits: { busyMs: 10 } });
  // The lock is released while openStore waits. If it has not tried yet, the test is easier but not wrong.
  setTimeout(() => other.exec("COMMIT"), 300);
  const store = await opening;
  assert.deepEqual((await store.runners.list()).items, []);
  other.close();
  await store.close();
});

test("when the store closes while another process holds the write lock, pending writes fail with busy", async () => {
  const path = newPath();
  const store = await openStore({ url: `sqlite:${path}`, limits: { busyMs: 5, busyGiveUpMs: 200, reapEveryMs: 0 } });
  const other = new Database(path);
  other.exec("BEGIN IMMEDIATE");
  const writes = Promise.allSettled([
    store.repositories.upsert({ name: "a" }),
    store.repositories.upsert({ name: "b" }),
  ]);
  const closing = store.close();
  for (const write of await writes) assert.equal(write.status === "rejected" && write.reason.code, "busy");
  await closing;
  other.exec("COMMIT");
  assert.equal(other.prepare("SELECT count(*) FROM repositories").pluck().get(), 0);
  other.close();
});
