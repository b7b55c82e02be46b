// Long reads beside the store that writes: they delay no append, keep no WAL when they have ended, and end with a time
// limit even when the process that asked for them is gone.
import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { statSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { sql } from "kysely";
import type { Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { until } from "../faults/until.ts";
import type { OrphanReport } from "./orphaningProcess.ts";
import { endless, engines, fill, rig } from "./readingRig.ts";

/** Appends to a log, one call after the other, until the promise settles. Returns the number of appends in a second. */
async function appendsDuring(store: Store, promise: Promise<unknown>): Promise<number> {
  const { command, fence } = await fixtures(store).claim();
  const data = new Uint8Array(100);
  let isSettled = false;
  const settled = promise.finally(() => {
    isSettled = true;
  });
  settled.catch(() => undefined);
  const startedAtMs = performance.now();
  let appends = 0;
  for (; !isSettled; appends++)
    await store.logs.append({ commandId: command.id, fence, offset: appends * data.length, data });
  return (appends * 1_000) / (performance.now() - startedAtMs);
}

/** Returns a function that tries to empty the WAL, and tells whether a reader keeps it. */
function watchWal(t: TestContext, path: string): () => boolean {
  const db = new Database(path, { timeout: 0 });
  t.after(() => db.close());
  return () => (db.pragma("wal_checkpoint(TRUNCATE)") as [{ busy: number }])[0].busy === 1;
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

for (const engine of engines)
  test(`appends go on beside a read of two seconds, on ${engine}`, async (t) => {
    const { store, open } = await rig(t, engine);
    const db = await open({ timeoutMs: 2_000 });
    const alone = await appendsDuring(store, new Promise((resolve) => setTimeout(resolve, 1_000)));
    const read = assert.rejects(sql.raw(endless[engine]).execute(db), { code: "deadline_exceeded" });
    const beside = await appendsDuring(store, read);
    await read;
    assert.ok(beside > alone / 5, `${beside} appends a second beside the read, ${alone} alone`);
  });

test("a read in a process of its own leaves the event loop of its caller free", async (t) => {
  const { open } = await rig(t, "sqlite");
  const db = await open({ timeoutMs: 500 });
  let turns = 0;
  const turning = setInterval(() => turns++, 10);
  await assert.rejects(sql.raw(endless.sqlite).execute(db), { code: "deadline_exceeded" });
  clearInterval(turning);
  assert.ok(turns > 5, `${turns} turns`);
});

test("a stream keeps the WAL only until it ends, or its time is over", async (t) => {
  const { store, url, open } = await rig(t, "sqlite");
  await fill(store);
  const path = url.slice("sqlite:".length);
  const isKept = watchWal(t, path);
  const read = async (timeoutMs: number) => {
    const db = await open({ timeoutMs });
    const stream = db.selectFrom("changes").select("seq").stream(1);
    await stream.next();
    await fixtures(store).repository();
    return stream;
  };
  let reading: ChildProcess | undefined;
  const onSpawn = (message: unknown) => {
    reading = (message as { process: ChildProcess }).process;
  };
  subscribe("child_process", onSpawn);
  const left = await read(300_000);
  unsubscribe("child_process", onSpawn);
  assert.equal(isKept(), true);
  await left.return?.();
  await until(() => !isKept());
  // The end of its process would free the WAL too.
  assert.equal(reading?.killed, false);
  assert.equal(statSync(`${path}-wal`).size, 0);
  const forgotten = await read(1_500);
  await until(() => !isKept());
  await assert.rejects(forgotten.next(), { code: "deadline_exceeded" });
});

test("a read whose process was killed ends at its time limit", async (t) => {
  const { store, url } = await rig(t, "sqlite");
  const isKept = watchWal(t, url.slice("sqlite:".length));
  const owner = fork(fileURLToPath(new URL("./orphaningProcess.ts", import.meta.url)), [url, endless.sqlite]);
  const [{ pid }] = (await once(owner, "message")) as [OrphanReport];
  // Without its limit it would run for ever.
  t.after(() => isAlive(pid) && process.kill(pid, "SIGKILL"));
  await until(async () => {
    await fixtures(store).repository();
    return isKept();
  });
  owner.kill("SIGKILL");
  await once(owner, "exit");
  assert.equal(isAlive(pid), true);
  await until(() => !isAlive(pid));
  await until(() => !isKept());
});

test("an idle connection does not keep its process from ending for long, and ends with it", async (t) => {
  const { url } = await rig(t, "sqlite");
  const owner = fork(fileURLToPath(new URL("./orphaningProcess.ts", import.meta.url)), [url, "SELECT 1"]);
  const reported = once(owner, "message");
  const [code] = await once(owner, "exit");
  assert.equal(code, 0);
  const [{ pid }] = (await reported) as [OrphanReport];
  await until(() => !isAlive(pid));
});
