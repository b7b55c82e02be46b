// The file of an open store is deleted, moved or replaced: nothing is acknowledged any more that nobody would find.
import assert from "node:assert/strict";
import { copyFileSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { Worker } from "node:worker_threads";
import { attachStore, openStore, type StoreEvent } from "../../../src/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { until } from "./until.ts";

/** Opens a new store whose file nothing looks at but its writes and its health, unless `limits` say otherwise. */
async function openRecorded(t: TestContext, limits = {}) {
  const path = join(temporaryFolder(), "store.db");
  const url = `sqlite:${path}`;
  const events: StoreEvent[] = [];
  const store = await openStore({
    url,
    limits: { reapEveryMs: 0, fileCheckEveryMs: 0, ...limits },
    onEvent: (event) => void events.push(event),
  });
  t.after(() => store.close());
  await store.repositories.upsert({ name: "before" });
  return { path, url, store, losses: () => events.filter(({ type }) => type === "file_lost"), events };
}

const remove = (path: string): void => {
  for (const suffix of ["", "-wal", "-shm"]) rmSync(`${path}${suffix}`);
};

for (const [what, reason, harm] of [
  ["deleted", "gone", remove],
  ["moved away", "gone", (path: string) => renameSync(path, `${path}.moved`)],
  [
    "moved together with its folder",
    "gone",
    (path: string) => renameSync(join(path, ".."), `${join(path, "..")}-moved`),
  ],
  [
    "replaced by a copy",
    "replaced",
    (path: string) => {
      copyFileSync(path, `${path}.copy`);
      renameSync(`${path}.copy`, path);
    },
  ],
  ["left without its WAL", "wal", (path: string) => rmSync(`${path}-wal`)],
  ["left without its shared memory", "wal", (path: string) => rmSync(`${path}-shm`)],
] as const) {
  test(`when the file is ${what}, every later write fails with file_lost, and reads go on`, async (t) => {
    const { path, store, losses } = await openRecorded(t);
    assert.equal((await store.maintenance.health()).ready, true);
    harm(path);
    const reader = attachStore(store.connect());
    const writes = await Promise.allSettled([
      store.repositories.upsert({ name: "after" }),
      store.atomically((tx) => {
        tx.repositories.find({ name: "before" });
        tx.repositories.upsert({ name: "after" });
      }),
      store.maintenance.reap(),
    ]);
    for (const outcome of writes) {
      assert.equal(outcome.status, "rejected");
      const { code, outcome: effect, retryable, details, message } = outcome.reason;
      assert.deepEqual([code, effect, retryable, details.reason], ["file_lost", "not_run", false, reason]);
      assert.match(message, /while the store had .*: end (?:this server|all servers)/);
    }
    // Reads that share the group of a refused write are answered too.
    const [after, before, listed] = await Promise.all([
      store.repositories.upsert({ name: "again" }).catch(({ code }) => code),
      reader.repositories.find({ name: "before" }),
      store.repositories.list(),
    ]);
    assert.deepEqual([after, before?.name, listed.items.length], ["file_lost", "before", 1]);
    const { ready, checks } = await store.maintenance.health();
    assert.deepEqual([ready, checks.file], [false, { ok: false, problem: reason }]);
    // Events travel beside the answers.
    await until(() => losses().length > 0);
    assert.deepEqual(losses(), [{ type: "file_lost", path, reason }]);
    await reader.close();
  });
}

test("a loss is noticed while nobody calls, and by a health check", async (t) => {
  const idle = await openRecorded(t, { fileCheckEveryMs: 10 });
  remove(idle.path);
  await until(() => idle.losses().length === 1);
  const asked = await openRecorded(t);
  renameSync(asked.path, `${asked.path}.moved`);
  assert.equal((await asked.store.maintenance.health()).ready, false);
  await until(() => asked.losses().length === 1);
  // A file that has come back may have been written by somebody else meanwhile.
  renameSync(`${asked.path}.moved`, asked.path);
  await assert.rejects(asked.store.repositories.upsert({ name: "after" }), { code: "file_lost" });
  assert.equal(asked.losses().length, 1);
});

test("a backup saves what a deleted file held", async (t) => {
  const { path, store } = await openRecorded(t);
  remove(path);
  const target = join(temporaryFolder(), "saved.db");
  await store.backup({ path: target });
  const saved = await openStore({ url: `sqlite:${target}` });
  assert.equal((await saved.repositories.find({ name: "before" }))?.name, "before");
  await saved.close();
});

test("when a WAL is deleted, closing the store saves what it held", async (t) => {
  const { path, url, store } = await openRecorded(t);
  rmSync(`${path}-wal`);
  await store.close();
  const again = await openStore({ url });
  assert.equal((await again.repositories.find({ name: "before" }))?.name, "before");
  await again.close();
});

test("a store that has lost its file leaves the database alone that is now at its path", async (t) => {
  const { path, url, store } = await openRecorded(t);
  remove(path);
  const next = await openStore({ url });
  t.after(() => next.close());
  await next.repositories.upsert({ name: "next" });
  const wal = statSync(`${path}-wal`);
  await assert.rejects(store.repositories.upsert({ name: "after" }), { code: "file_lost" });
  await store.close();
  assert.equal(statSync(`${path}-wal`).ino, wal.ino);
  assert.ok(statSync(`${path}-wal`).size >= wal.size);
  await next.repositories.upsert({ name: "still next" });
  await next.close();
  const again = await openStore({ url });
  assert.deepEqual(
    (await again.repositories.list()).items.map(({ name }) => name),
    ["next", "still next"],
  );
  await again.close();
});

test("a database thread that is replaced does not create an empty database", async (t) => {
  const threads: Worker[] = [];
  const onWorker = (worker: Worker): void => void threads.push(worker);
  process.on("worker", onWorker);
  t.after(() => process.off("worker", onWorker));
  const { path, events } = await openRecorded(t);
  const folder = join(path, "..");
  remove(path);
  await (threads[0] as Worker).terminate();
  await until(() => events.some((event) => event.type === "fault" && event.code === "incompatible"));
  assert.ok(!existsSync(path));
  mkdirSync(join(folder, "other"));
  assert.deepEqual(readdirSync(folder), ["other"]);
});
