// Long reads on reader threads: beside appends, when a thread dies, is stopped or cannot be started, and when the store
// closes.
import assert from "node:assert/strict";
import { once } from "node:events";
import { copyFileSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { getPriority } from "node:os";
import { type TestContext, test } from "node:test";
import type { Worker } from "node:worker_threads";
import type { ReaderReport } from "../../../src/actor/readerThread.ts";
import { openStore } from "../../../src/index.ts";
import { newId } from "../../../src/model/ids.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { Answer } from "../../../src/wire.ts";
import { openSlowStore } from "../../support/slowStore.ts";
import { until } from "./until.ts";

/** A read of one statement that takes some hundred milliseconds. */
const oneStatement = { statements: 1, rows: 1_500_000 };
/** One of about the same time in many short statements, between which its thread can be ended. */
const manyStatements = { statements: 100, rows: 10_000 };
const rowsOf = ({ statements, rows }: typeof oneStatement) => ({ rows: statements * rows });

function open(t: TestContext, options: Parameters<typeof openSlowStore>[0] = {}) {
  const opened = openSlowStore(options);
  t.after(() => opened.close());
  return opened;
}

/** Appends to a log, one call after the other, until the promise settles. Returns the number of appends. */
async function appendsDuring({ store }: ReturnType<typeof open>, promise: Promise<unknown>): Promise<number> {
  const { command, fence } = await fixtures(store as never).claim();
  const data = new Uint8Array(100);
  let settled = false;
  const ended = promise.finally(() => {
    settled = true;
  });
  ended.catch(() => undefined);
  let appends = 0;
  for (; !settled; appends++)
    await store.logs.append({ commandId: command.id, fence, offset: appends * data.length, data });
  return appends;
}

test("appends go on while a long read runs; without readers they wait for it", async (t) => {
  const opened = open(t);
  // Starts the thread.
  await opened.store.slow.read({ statements: 1, rows: 1 });
  const read = opened.store.slow.read(oneStatement);
  const appends = await appendsDuring(opened, read);
  assert.deepEqual(await read, rowsOf(oneStatement));
  assert.ok(appends > 20, `${appends} appends`);
  const without = open(t, { readers: 0 });
  const waiting = without.store.slow.read(oneStatement);
  const blocked = await appendsDuring(without, waiting);
  assert.deepEqual(await waiting, rowsOf(oneStatement));
  assert.ok(blocked < 5, `${blocked} appends`);
});

test("what a reader has read is moved to the client in one buffer, and read by nobody on the way", async (t) => {
  const { store, threads } = open(t);
  const { command, fence } = await fixtures(store as never).claim();
  const data = new Uint8Array(5_000).fill(97);
  await store.logs.append({ commandId: command.id, fence, offset: 0, data });
  // Starts the thread.
  await store.slow.read({ statements: 1, rows: 1 });
  const reports: ReaderReport[] = [];
  (threads[0] as Worker).on("message", (report: ReaderReport) => reports.push(report));
  const { chunks } = await store.logs.read({ commandId: command.id });
  assert.deepEqual(
    chunks.map((chunk) => chunk.data),
    [data],
  );
  await assert.rejects(store.logs.read({ commandId: newId() }), { code: "not_found" });
  const [[ok, bytes], [failed]] = reports.map(
    (report) => (report as ReaderReport & { type: "ran" }).outcomes[0]?.answers[0],
  ) as unknown as readonly [Answer, Answer];
  assert.equal(ok, "packed");
  assert.equal((bytes as Uint8Array).byteLength, 0, "the thread in between still has the bytes");
  assert.equal(failed, false);
});

test("a reader lets the other threads of its process go first", { skip: process.platform !== "linux" }, async (t) => {
  const niceThreads = () =>
    readdirSync("/proc/self/task").filter((id) => {
      const stat = readFileSync(`/proc/self/task/${id}/stat`, "utf8");
      // The fields after the name, which may hold spaces. The first of them is the third one of the line.
      return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19 - 3]) > getPriority();
    });
  const before = niceThreads().length;
  const { store } = open(t);
  await store.slow.read({ statements: 1, rows: 1 });
  assert.equal(niceThreads().length, before + 1);
});

test("a list sees what its client has written before, and what anybody has committed", async (t) => {
  const { store, connect, threads } = open(t);
  await store.repositories.list();
  await until(async () => (await store.maintenance.stats()).serving.readers === 1);
  const other = connect();
  for (let index = 0; index < 10; index++) {
    const { repository } = await fixtures(store as never).repository();
    const [own, page, others] = await Promise.all([
      store.repositories.upsert({ name: `own-${index}` }),
      store.repositories.list({ order: "desc" }),
      other.repositories.list({ order: "desc" }),
    ]);
    assert.ok(page.items.some(({ id }) => id === own.id));
    for (const { items } of [page, others]) assert.ok(items.some(({ id }) => id === repository.id));
  }
  assert.ok(Number((await store.maintenance.stats()).serving.reads) > 15);
  assert.equal(threads.length, 1);
});

test("a read whose thread dies runs again on another one, and fails when that dies too", async (t) => {
  const { store, threads, events } = open(t);
  await store.slow.read({ statements: 1, rows: 1 });
  const kill = async (index: number) => {
    await until(async () => Number((await store.maintenance.health()).ready) === 1 && threads.length === index + 1);
    const thread = threads[index] as Worker;
    const exited = once(thread, "exit");
    await thread.terminate();
    await exited;
  };
  const read = store.slow.read(manyStatements);
  await kill(0);
  assert.deepEqual(await read, rowsOf(manyStatements));
  assert.equal(threads.length, 2);
  const deadly = assert.rejects(store.slow.read(manyStatements), { code: "internal", outcome: "not_run" });
  await kill(1);
  await until(() => threads.length === 3);
  await until(async () => Number((await store.maintenance.stats()).serving.readingMsMax) > 0);
  await kill(2);
  await deadly;
  assert.deepEqual(
    events.map(({ type }) => type),
    ["reader_died", "reader_died", "reader_died"],
  );
  assert.deepEqual(await store.slow.read({ statements: 1, rows: 5 }), { rows: 5 });
});

test("no list hangs or fails while reader threads die over and over", async (t) => {
  const { store, threads, connect } = open(t, { readers: 2 });
  const { repository } = await fixtures(store as never).repository();
  let killing = true;
  const clients = [store, connect(), connect()];
  const reading = clients.map(async (client) => {
    let pages = 0;
    for (; killing; pages++) {
      const { items } = await client.repositories.list();
      assert.ok(items.some(({ id }) => id === repository.id));
    }
    return pages;
  });
  for (let index = 0; index < 2; index++) {
    await until(() => threads.length > index);
    await (threads[index] as Worker).terminate();
  }
  killing = false;
  for (const pages of await Promise.all(reading)) assert.ok(pages > 0);
});

test("a read is cancelled, or ends at its deadline, and its reader serves the next one", async (t) => {
  const { store } = open(t);
  await store.slow.read({ statements: 1, rows: 1 });
  const controller = new AbortController();
  const cancelled = assert.rejects(store.slow.read(manyStatements, { signal: controller.signal }), {
    code: "aborted",
    outcome: "not_run",
  });
  await until(async () => Number((await store.maintenance.stats()).serving.readingMsMax) > 0);
  controller.abort();
  await cancelled;
  await assert.rejects(store.slow.read(oneStatement, { timeoutMs: 20 }), {
    code: "deadline_exceeded",
    outcome: "not_run",
  });
  assert.deepEqual(await store.slow.read({ statements: 1, rows: 3 }), { rows: 3 });
});

test("closing waits for a read, and for at most closeMs", async () => {
  const patient = openSlowStore();
  await patient.store.slow.read({ statements: 1, rows: 1 });
  const read = patient.store.slow.read(manyStatements);
  await patient.store.maintenance.health();
  await patient.close();
  assert.deepEqual(await read, rowsOf(manyStatements));
  const hasty = openSlowStore({ limits: { closeMs: 10 } });
  await hasty.store.slow.read({ statements: 1, rows: 1 });
  const long = assert.rejects(hasty.store.slow.read(manyStatements), { code: "closed", outcome: "not_run" });
  await hasty.store.maintenance.health();
  await hasty.close();
  await long;
});

test("when the file is lost, reads show what it holds, and no reader opens another file", async (t) => {
  const before = open(t, { limits: { readerIdleMs: 1, fileCheckEveryMs: 0 } });
  const { repository } = await fixtures(before.store as never).repository();
  copyFileSync(before.path, `${before.path}.other`);
  renameSync(before.path, `${before.path}.moved`);
  renameSync(`${before.path}.other`, before.path);
  assert.deepEqual(await before.store.slow.read({ statements: 1, rows: 2 }), { rows: 2 });
  const { items } = await before.store.repositories.list();
  assert.deepEqual(
    items.map(({ id }) => id),
    [repository.id],
  );
  const [fault] = before.events.filter(({ type }) => type === "fault") as { code?: string }[];
  assert.equal(fault?.code, "file_lost");
});

test("a store with readers closes with its lists in flight, and leaves one file", async () => {
  const { path, close } = openSlowStore();
  await close();
  const store = await openStore({ url: `sqlite:${path}`, limits: { readerAfterMs: 0 } });
  await store.repositories.list();
  await until(async () => (await store.maintenance.stats()).serving.reads !== 0);
  const lists = Array.from({ length: 50 }, () => store.repositories.list());
  await store.close();
  assert.equal((await Promise.all(lists)).length, 50);
  const reopened = await openStore({ url: `sqlite:${path}`, migrate: "never", readers: 0 });
  assert.equal((await reopened.maintenance.stats()).serving.readers, undefined);
  await reopened.close();
});

test("the number of readers is checked", async () => {
  for (const readers of [-1, 1.5, 17, Number.NaN])
    await assert.rejects(openStore({ url: "sqlite::memory:", readers }), { code: "invalid_input" });
});
