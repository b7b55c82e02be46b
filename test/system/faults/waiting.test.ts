// Several processes on one file: calls that wait see what another process commits, and outlast its locks.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { attachStore, openStore } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { until } from "./until.ts";

const folder = mkdtempSync(join(tmpdir(), "waiting-"));
after(() => rmSync(folder, { recursive: true, force: true }));
let files = 0;
const newPath = (): string => join(folder, `file-${++files}.db`);

test("a log that another process writes is followed line by line, from its first chunk to its seal", async () => {
  const url = `sqlite:${newPath()}`;
  const store = await openStore({ url, limits: { dataVersionPollMs: 20 } });
  const { command, session } = await fixtures(store).command();
  const chunks = store.logs.follow({ commandId: command.id });
  // It waits before there is an attempt.
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

test("a call that had waited for long failed busy at once when a commit woke it into another process's lock", async () => {
  const path = newPath();
  const store = await openStore({
    url: `sqlite:${path}`,
    limits: { busyGiveUpMs: 500, busyMs: 5, reapEveryMs: 0, dataVersionPollMs: 10 },
  });
  const { runner } = await fixtures(store).runner();
  const claim = store.commands.claim({ runnerId: runner.id, waitMs: 60_000 });
  const parkedAt = performance.now();
  await until(async () => (await store.maintenance.stats()).serving.parked === 1 && performance.now() - parkedAt > 600);
  const other = new Database(path);
  // A commit that wakes it, and a lock that is there when it wakes.
  other.exec("BEGIN IMMEDIATE; INSERT INTO store_meta VALUES ('other', '1'); COMMIT; BEGIN IMMEDIATE");
  // Through another client, because this one's reads stay behind its write.
  const reader = attachStore(store.connect());
  await until(async () => ((await reader.maintenance.stats()).serving.busyRetries ?? 0) >= 3);
  await reader.close();
  other.exec("COMMIT");
  other.close();
  await fixtures(store).command({ argv: ["found"] });
  assert.deepEqual((await claim)?.command.argv, ["found"]);
  await store.close();
});

test("while another process holds the write lock: reads of all clients go on, writes keep their order and pass", async () => {
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

test("opening waits for another process's lock, and fails busy when it takes too long", async () => {
  const path = newPath();
  await (await openStore({ url: `sqlite:${path}` })).close();
  const other = new Database(path);
  other.exec("BEGIN IMMEDIATE");
  const startedAt = performance.now();
  await assert.rejects(openStore({ url: `sqlite:${path}`, limits: { busyMs: 10, busyGiveUpMs: 100 } }), {
    code: "busy",
    outcome: "not_run",
  });
  assert.ok(performance.now() - startedAt < 8_000);
  const opening = openStore({ url: `sqlite:${path}`, limits: { busyMs: 10 } });
  // The lock goes while it tries; whether it had tried before does not matter.
  setTimeout(() => other.exec("COMMIT"), 300);
  const store = await opening;
  assert.deepEqual((await store.runners.list()).items, []);
  other.close();
  await store.close();
});

test("close while another process holds the write lock: writes that were made fail busy or pass, and none is lost in silence", async () => {
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
