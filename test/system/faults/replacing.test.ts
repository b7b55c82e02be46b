// The database thread of an open store dies: another one replaces it, for the owner and its runner threads, but not for
// other ports.
import assert from "node:assert/strict";
import { once } from "node:events";
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { Worker } from "node:worker_threads";
import {
  attachStore,
  createRunnerPool,
  healthHandler,
  type OwnedStore,
  openStore,
  type StoreEvent,
} from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { until } from "./until.ts";

/** Opens a store, and records the database threads that are started for it and its events. */
async function openRecorded(t: TestContext, limits = {}) {
  const folder = temporaryFolder();
  const path = join(folder, "store.db");
  const threads: Worker[] = [];
  const onWorker = (worker: Worker): void => {
    if ((worker as Worker & { threadName?: string }).threadName === "debug-server-db") threads.push(worker);
  };
  process.on("worker", onWorker);
  t.after(() => process.off("worker", onWorker));
  const events: StoreEvent[] = [];
  const store = await openStore({ url: `sqlite:${path}`, limits, onEvent: (event) => void events.push(event) });
  // A test that fails must not leave a thread that keeps the process alive.
  t.after(() => store.close());
  return { path, store, threads, events };
}

const epochs = (events: readonly StoreEvent[]) =>
  events.flatMap((event) => (event.type === "opened" ? [event.epoch] : []));
const livez = async (store: OwnedStore) =>
  (await healthHandler(store)(new Request("http://localhost/livez?verbose"))).status;

test("pending calls fail, later calls are served by the next thread, and acknowledged writes are stored", async (t) => {
  const { store, threads, events } = await openRecorded(t);
  const { repository } = await fixtures(store).repository();
  const { runner } = await fixtures(store).runner();
  const claim = assert.rejects(store.commands.claim({ runnerId: runner.id, waitMs: 60_000 }), {
    code: "closed",
    outcome: "unknown",
  });
  const [thread] = threads as [Worker];
  await until(async () => (await store.maintenance.stats()).serving.parked === 1);
  const died = once(thread, "exit");
  await thread.terminate();
  await died;
  assert.equal(store.liveness().state, "replacing");
  assert.equal(await livez(store), 200);
  await claim;
  // This call waits for the thread that is being started.
  assert.equal((await store.repositories.get({ repositoryId: repository.id })).id, repository.id);
  assert.equal((await store.repositories.upsert({ name: repository.name, description: "later" })).version, 2);
  assert.equal(store.liveness().state, "beating");
  const [first, second] = epochs(events) as [number, number];
  assert.ok(second > first);
  assert.equal(events.filter(({ type }) => type === "thread_died").length, 1);
  const ended = await store.atomically((tx) => tx.repositories.find({ name: repository.name }));
  assert.equal(ended.length, 1);
  await store.close();
  await assert.rejects(store.runners.list(), { code: "closed", outcome: "not_run" });
});

test("runner threads reconnect to the next thread by themselves, but an attached store is lost", async (t) => {
  const { store, threads } = await openRecorded(t);
  const { repository } = await fixtures(store).repository();
  const pool = createRunnerPool(store, {
    filename: new URL("../../support/runnerTask.ts", import.meta.url),
    threads: 1,
  });
  const get = () =>
    pool.run<{ id: string }>({
      type: "call",
      call: ["repositories.get", { repositoryId: repository.id }, {}],
      aborted: false,
    });
  const attached = attachStore(store.connect());
  assert.equal((await attached.repositories.get({ repositoryId: repository.id })).id, repository.id);
  assert.equal((await get()).id, repository.id);
  await (threads[0] as Worker).terminate();
  await until(async () => (await get().catch(() => undefined))?.id === repository.id);
  await assert.rejects(attached.repositories.list(), { code: "closed", outcome: "not_run" });
  assert.equal((await attachStore(store.connect()).repositories.list()).items.length, 1);
  await pool.close();
  await store.close();
});

test("while no thread can open the file, each failed attempt is reported, and calls wait until one can", async (t) => {
  const { path, store, threads, events } = await openRecorded(t, { replaceMs: 300 });
  await store.repositories.upsert({ name: "a" });
  const [thread] = threads as [Worker];
  // Another file takes the place of the database before the next thread opens it.
  thread.once("exit", () => {
    renameSync(path, `${path}.aside`);
    writeFileSync(path, "not a database, but long enough to be read as the header of one: ".repeat(20));
  });
  await thread.terminate();
  await assert.rejects(store.repositories.list({}, { timeoutMs: 500 }), {
    code: "deadline_exceeded",
    outcome: "not_run",
  });
  await until(async () =>
    events.some(
      (event) => event.type === "fault" && /could not be replaced: .*not a SQLite database/.test(event.message),
    ),
  );
  await until(async () => store.liveness().state === "dead");
  assert.equal(await livez(store), 503);
  const waiting = store.repositories.list({}, { timeoutMs: 60_000 });
  renameSync(`${path}.aside`, path);
  assert.deepEqual(
    (await waiting).items.map(({ name }) => name),
    ["a"],
  );
  await store.close();
});

test("each death of a thread is reported, and a store closes at once while no thread can open its file", async (t) => {
  const { path, store, threads, events } = await openRecorded(t, { replaceMs: 200 });
  for (let death = 0; death < 4; death++) {
    const thread = threads.at(-1) as Worker;
    const gone = once(thread, "exit");
    await thread.terminate();
    await gone;
    if (death < 3) await store.repositories.list();
  }
  await until(async () => store.liveness().state === "dead" || store.liveness().state === "beating");
  const died = events.filter(({ type }) => type === "thread_died").length;
  assert.equal(died, 4);
  writeFileSync(path, "not a database, but long enough to be read as the header of one: ".repeat(20));
  const thread = threads.at(-1) as Worker;
  await thread.terminate();
  await until(async () => events.some(({ type }) => type === "fault") || store.liveness().state === "dead");
  const startedAtMs = performance.now();
  await store.close();
  assert.ok(performance.now() - startedAtMs < 8_000);
});

test("a store can be closed while its thread is being replaced", async (t) => {
  const { store, threads } = await openRecorded(t);
  await (threads[0] as Worker).terminate();
  const listed = store.repositories.list().catch(({ code }) => code);
  await store.close();
  assert.ok(typeof (await listed) === "object" || (await listed) === "closed");
  assert.equal(store.liveness().state, "dead");
});
