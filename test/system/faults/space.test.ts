// The space that a store takes on the disk: the file follows its content down while calls go on, the write-ahead log stays
// small under load and is cut when nobody writes, and the process that keeps it large is named.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { statSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { type Limits, openStore, type StoreEvent } from "../../../src/index.ts";
import { compactSqlite } from "../../../src/sqlite/compact.ts";
import { checkpointBytes } from "../../../src/sqlite/walWatch.ts";
import type { OwnedStore } from "../../../src/storeTypes.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { until } from "./until.ts";

const freeBytes = 1024 * 1024;

async function serve(t: TestContext, path: string, limits: Partial<Limits> = {}) {
  const events: StoreEvent[] = [];
  const store = await openStore({
    url: `sqlite:${path}`,
    limits: { reapEveryMs: 0, upkeepEveryMs: 20, walIdleMs: 100, freeBytes, ...limits },
    onEvent: (event) => events.push(event),
  });
  t.after(() => store.close());
  return {
    store,
    figures: async () => (await store.maintenance.stats()).database,
    eventsOf: (type: StoreEvent["type"]) => events.filter((event) => event.type === type),
  };
}

const newPath = (): string => join(temporaryFolder(), "store.db");
const bytesOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

/** Creates sessions that have ended, each with a log of half a megabyte. Returns their ids. */
async function fill(store: OwnedStore, sessions: number): Promise<readonly string[]> {
  const one = async (): Promise<string> => {
    const { command, session, fence } = await fixtures(store).claim();
    const part = 65_536;
    for (let offset = 0; offset < 8 * part; offset += part)
      await store.logs.append({ commandId: command.id, fence, offset, data: Buffer.alloc(part, `${offset} `) });
    await store.commands.finish({ commandId: command.id, fence, outcome: "succeeded", exitCode: 0 });
    await store.sessions.complete({ sessionId: session.id });
    return session.id;
  };
  return await Promise.all(Array.from({ length: sessions }, one));
}

/** Appends to one log until it is stopped, and notes how long each append took. */
async function appendOn(store: OwnedStore) {
  const { command, fence } = await fixtures(store).claim();
  const data = Buffer.alloc(200, "a line\n");
  const waitsMs: number[] = [];
  let stopped = false;
  const running = (async () => {
    for (let offset = 0; !stopped; offset += data.length) {
      const startedMs = performance.now();
      await store.logs.append({ commandId: command.id, fence, offset, data });
      waitsMs.push(performance.now() - startedMs);
    }
  })();
  return {
    waitsMs,
    async stop() {
      stopped = true;
      await running;
    },
  };
}

function withDatabase<Result>(path: string, work: (db: Database.Database) => Result): Result {
  const db = new Database(path);
  try {
    return work(db);
  } finally {
    db.close();
  }
}

const soundness = (path: string): unknown => withDatabase(path, (db) => db.pragma("integrity_check", { simple: true }));

async function start(t: TestContext, script: string, argument: string) {
  const child = spawn(process.execPath, [fileURLToPath(new URL(script, import.meta.url)), argument], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const lines: string[] = [];
  createInterface(child.stdout).on("line", (line) => lines.push(line));
  const exited = once(child, "exit");
  t.after(() => void child.kill("SIGKILL"));
  await until(() => lines.length > 0);
  return {
    pid: child.pid as number,
    lines,
    async end(signal?: NodeJS.Signals) {
      if (signal === undefined) child.stdin.end();
      else child.kill(signal);
      await exited;
    },
  };
}

test("the file follows its content down while appends go on, and is sound", async (t) => {
  const path = newPath();
  const { store, figures } = await serve(t, path);
  const ids = await fill(store, 24);
  const fullBytes = bytesOf(path);
  assert.ok(fullBytes > 10 * freeBytes);
  const appends = await appendOn(store);
  for (const sessionId of ids) await store.sessions.delete({ sessionId });
  await until(async () => Number((await figures()).free_bytes) <= freeBytes);
  const during = appends.waitsMs.length;
  assert.ok(during > 20, `${during} appends`);
  await appends.stop();
  // The smallest file with the same content.
  const smallest = `${path}.smallest`;
  withDatabase(path, (db) => db.exec(`VACUUM INTO '${smallest}'`));
  const smallestBytes = bytesOf(smallest);
  await until(() => bytesOf(path) <= 1.3 * smallestBytes + freeBytes / 4);
  // The next checkpoint cuts the file to its content.
  await until(async () => Number((await figures()).file_bytes) === bytesOf(path));
  assert.ok(Number((await figures()).vacuumed_bytes) >= fullBytes - bytesOf(path));
  // Some free pages stay for the next writes.
  assert.ok(Number((await figures()).free_bytes) > 0);
  await store.close();
  assert.equal(soundness(path), "ok");
  const again = await serve(t, path);
  assert.equal((await again.store.sessions.list()).items.length, 1);
});

test("a server that is killed while its file shrinks leaves a sound one, and the next one goes on", async (t) => {
  const path = newPath();
  const { store } = await serve(t, path, { upkeepEveryMs: 0 });
  for (const sessionId of await fill(store, 16)) await store.sessions.delete({ sessionId });
  const changes = (await store.changes.since({ limit: 500 })).changes.length;
  await store.close();
  const fullBytes = bytesOf(path);
  const server = await start(t, "./shrinkingProcess.ts", `sqlite:${path}`);
  await server.end("SIGKILL");
  const atKill = withDatabase(path, (db) => Number(db.pragma("freelist_count", { simple: true })));
  assert.ok(atKill > 0, "it was killed too late");
  assert.equal(soundness(path), "ok");
  const again = await serve(t, path);
  assert.equal((await again.store.changes.since({ limit: 500 })).changes.length, changes);
  await until(() => bytesOf(path) < fullBytes / 4);
});

test("under the load of 16 writers the log stays within twice the size that commits copy", async (t) => {
  const path = newPath();
  const { store, figures } = await serve(t, path, { walIdleMs: 5_000 });
  let worstBytes = 0;
  let writtenBytes = 0;
  const writers = Array.from({ length: 16 }, async () => {
    const { command, fence } = await fixtures(store).claim();
    const data = Buffer.alloc(4_096, "a line\n");
    for (let offset = 0; offset < 1024 * 1024; offset += data.length) {
      await store.logs.append({ commandId: command.id, fence, offset, data });
      worstBytes = Math.max(worstBytes, bytesOf(`${path}-wal`));
      writtenBytes += data.length;
    }
  });
  await Promise.all(writers);
  assert.ok(writtenBytes > 3 * checkpointBytes);
  assert.ok(worstBytes > checkpointBytes / 2 && worstBytes <= 2 * checkpointBytes, `${worstBytes} bytes`);
  assert.ok(Number((await figures()).wal_checkpoint_ago_ms) >= 0);
});

test("a log that nobody writes is cut to nothing, unless somebody reads an old state, who is named", async (t) => {
  const path = newPath();
  const { store, figures } = await serve(t, path);
  await fill(store, 1);
  await until(() => bytesOf(`${path}-wal`) === 0);
  assert.equal((await figures()).wal_pinned_by, "");
  await fixtures(store).session();
  const reader = await start(t, "./readingProcess.ts", path);
  // What is written now is not in the state that is read.
  await fixtures(store).session();
  const name = process.platform === "linux" ? `process ${reader.pid} (` : "unknown";
  await until(async () => String((await figures()).wal_pinned_by).startsWith(name));
  assert.ok(bytesOf(`${path}-wal`) > 0);
  const startedMs = performance.now();
  await fixtures(store).session();
  assert.ok(performance.now() - startedMs < 5_000);
  await reader.end();
  await until(() => bytesOf(`${path}-wal`) === 0);
  await until(async () => (await figures()).wal_pinned_by === "");
});

test("the event of a large log names the process that keeps it, and the file does not shrink meanwhile", async (t) => {
  const path = newPath();
  const { store, figures, eventsOf } = await serve(t, path, { walBytes: 16 * 1024 * 1024, walIdleMs: 60_000 });
  const old = await fill(store, 8);
  const reader = await start(t, "./readingProcess.ts", path);
  const recent = await fill(store, 18);
  assert.ok(bytesOf(`${path}-wal`) > 2 * checkpointBytes);
  const isLinux = process.platform === "linux";
  const name = isLinux ? `process ${reader.pid} (` : "unknown";
  await until(async () => String((await figures()).wal_pinned_by).startsWith(name));
  const { vacuumed_bytes: before } = await figures();
  for (const sessionId of old) await store.sessions.delete({ sessionId });
  await until(async () => Number((await figures()).free_bytes) > 2 * freeBytes);
  // Longer than some looks of the upkeep.
  await fixtures(store).session();
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.equal((await figures()).vacuumed_bytes, before);
  assert.deepEqual(eventsOf("wal_pinned"), []);
  await fill(store, 18);
  await until(() => eventsOf("wal_pinned").length > 0);
  const [event] = eventsOf("wal_pinned");
  assert.deepEqual(
    event?.type === "wal_pinned" && event.readers.map(({ kind, pid }) => ({ kind, pid })),
    isLinux ? [{ kind: "process", pid: reader.pid }] : [],
  );
  await reader.end();
  for (const sessionId of recent) await store.sessions.delete({ sessionId });
  await until(async () => Number((await figures()).vacuumed_bytes) > Number(before));
});

test("a file without auto_vacuum is told, and compact makes it one with it when no server has it open", async (t) => {
  const path = newPath();
  const first = await serve(t, path);
  const ids = await fill(first.store, 10);
  for (const sessionId of ids) await first.store.sessions.delete({ sessionId });
  assert.deepEqual(first.eventsOf("vacuum_off"), []);
  await first.store.close();
  withDatabase(path, (db) => {
    db.pragma("journal_mode = DELETE");
    db.pragma("auto_vacuum = NONE");
    db.exec("VACUUM");
    db.exec("CREATE TABLE filler (a); INSERT INTO filler VALUES (zeroblob(4000000)); DROP TABLE filler");
  });
  const fullBytes = bytesOf(path);
  const { store, eventsOf, figures } = await serve(t, path);
  assert.deepEqual(eventsOf("vacuum_off"), [{ type: "vacuum_off", path }]);
  assert.equal((await figures()).auto_vacuum, 0);
  assert.throws(() => compactSqlite(path), { code: "busy", message: /then compact/ });
  await store.repositories.list();
  await store.close();
  const { beforeBytes, afterBytes } = compactSqlite(path);
  assert.deepEqual([beforeBytes, afterBytes], [fullBytes, bytesOf(path)]);
  assert.ok(afterBytes < fullBytes / 2);
  assert.equal(soundness(path), "ok");
  const again = await serve(t, path);
  assert.deepEqual(again.eventsOf("vacuum_off"), []);
  assert.deepEqual([(await again.figures()).auto_vacuum, (await again.figures()).journal_mode], [2, "wal"]);
});
