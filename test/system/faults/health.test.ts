// Health under faults: a stuck statement, a full disk, a flooded queue, an old schema, a dead thread.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import Database from "better-sqlite3";
import {
  attachStore,
  healthHandler,
  newId,
  type OwnedStore,
  openStore,
  type StoreError,
  type StoreOptions,
} from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { until } from "./until.ts";

const folder = temporaryFolder();

async function open(options: StoreOptions = {}): Promise<{ store: OwnedStore; path: string }> {
  const path = join(folder, `${newId()}.db`);
  return {
    store: await openStore({ ...options, url: `sqlite:${path}`, limits: { reapEveryMs: 0, ...options.limits } }),
    path,
  };
}

/** Returns the status, and the names of the checks that fail. */
async function ask(
  handle: ReturnType<typeof healthHandler>,
  path: "livez" | "readyz",
): Promise<{ status: number; failing: string[]; text: string }> {
  const response = await handle(new Request(`http://localhost/${path}?verbose`));
  const text = await response.text();
  const { checks } = JSON.parse(text) as { checks: Record<string, { ok: boolean }> };
  return { status: response.status, failing: Object.keys(checks).filter((name) => !checks[name]?.ok), text };
}

test("with a stuck statement the store is not ready at once, not live after limits.stuckMs, and both again when it ends", async () => {
  const { store, path } = await open({ limits: { beatEveryMs: 20, stuckMs: 300 } });
  const handle = healthHandler(store, { pingMs: 200, cacheMs: 0 });
  // A busy machine may be slow to start the thread.
  await until(async () => (await ask(handle, "livez")).status === 200 && (await ask(handle, "readyz")).status === 200);
  const other = new Database(path);
  other.exec(`CREATE TRIGGER slow BEFORE INSERT ON accounts BEGIN
    SELECT count(*) FROM (WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 20000000) SELECT x FROM c); END`);
  other.close();
  let ended = false;
  const stuck = store.accounts.create({ name: "slow", kind: "agent" }).finally(() => {
    ended = true;
  });
  await until(async () => (await ask(handle, "livez")).status === 503);
  assert.equal(ended, false, "the statement still runs");
  const { status, failing, text } = await ask(handle, "readyz");
  assert.deepEqual([status, failing], [503, ["ping"]]);
  assert.ok(!/SELECT|INSERT|RECURSIVE/i.test(text) && !text.includes(folder));
  await stuck;
  await until(async () => (await ask(handle, "livez")).status === 200 && (await ask(handle, "readyz")).status === 200);
  await store.close();
});

test("with a full disk the store is not ready for lack of space, and for the failed write until another succeeds", async () => {
  const maxBytes = 1_000_000;
  const { store, path } = await open({ maxBytes, limits: { leftBytesMin: 100_000, probeEveryMs: 10 } });
  const handle = healthHandler(store, { cacheMs: 0 });
  assert.deepEqual((await ask(handle, "readyz")).failing, []);
  const { repository } = await fixtures(store).repository();
  const fill = () =>
    store.sessions.create({
      repositoryId: repository.id,
      commitSha: "a".repeat(40),
      metadata: { filler: "x".repeat(100_000) },
    });
  await until(async () => {
    const [outcome] = await Promise.allSettled([fill()]);
    if (outcome.status === "fulfilled") return false;
    assert.equal((outcome.reason as StoreError).code, "storage_full");
    return true;
  });
  const full = await ask(handle, "readyz");
  assert.equal(full.status, 503);
  assert.ok(full.failing.includes("space"), full.text);
  assert.ok(!full.text.includes(path));
  // Reads still work.
  assert.equal((await store.repositories.list()).items.length, 1);
  // The probe fits, and is written without any other call.
  await until(async () => !(await ask(handle, "readyz")).failing.includes("lastWrite"));
  assert.deepEqual((await ask(handle, "readyz")).failing, ["space"]);
  await store.close();
  const larger = await openStore({ url: `sqlite:${path}`, maxBytes: 10_000_000, limits: { leftBytesMin: 100_000 } });
  assert.equal((await ask(healthHandler(larger), "readyz")).status, 200);
  await larger.close();
});

test("a write that fails makes the store not ready at once, until a probe succeeds", async () => {
  const { store, path } = await open({ limits: { busyMs: 1, busyGiveUpMs: 20, probeEveryMs: 10 } });
  const handle = healthHandler(store, { cacheMs: 0 });
  const other = new Database(path);
  other.exec("BEGIN IMMEDIATE");
  await assert.rejects(store.accounts.create({ name: "a", kind: "agent" }), { code: "busy" });
  const { status, failing, text } = await ask(handle, "readyz");
  assert.deepEqual([status, failing], [503, ["lastWrite"]]);
  assert.ok(text.includes('"busy"'));
  other.exec("COMMIT");
  other.close();
  await until(async () => (await ask(handle, "readyz")).status === 200);
  await store.close();
});

test("with a full queue of another client the store is not ready until the queue has been worked off", async () => {
  const { store, path } = await open({ limits: { queueCalls: 500, busyMs: 1 } });
  const handle = healthHandler(store, { cacheMs: 0 });
  const flooding = attachStore(store.connect(), { limits: { queueCalls: 500 } });
  const other = new Database(path);
  other.exec("BEGIN IMMEDIATE");
  const writes = Array.from({ length: 500 }, (_, index) =>
    flooding.accounts.create({ name: `${index}`, kind: "agent" }),
  );
  await until(async () => (await ask(handle, "readyz")).failing.includes("queue"));
  other.exec("COMMIT");
  other.close();
  assert.equal((await Promise.all(writes)).length, 500);
  assert.deepEqual(await ask(handle, "readyz").then(({ status, failing }) => [status, failing]), [200, []]);
  await flooding.close();
  await store.close();
});

test("with a full queue of its own client the health call is refused, and the check reports the queue", async () => {
  const { store } = await open({ limits: { queueCalls: 100 } });
  const handle = healthHandler(store, { cacheMs: 0 });
  const calls = Array.from({ length: 100 }, () => store.runners.list());
  const { status, failing } = await ask(handle, "readyz");
  assert.deepEqual([status, failing], [503, ["ping", "queue"]]);
  await Promise.all(calls);
  assert.equal((await ask(handle, "readyz")).status, 200);
  await store.close();
});

test("an attached store that is not ready is live for as long as it answers", async () => {
  const { store, path } = await open();
  const handle = healthHandler(attachStore(store.connect()), { cacheMs: 0 });
  const other = new Database(path);
  other.exec("DELETE FROM schema_migrations");
  other.close();
  assert.equal((await ask(handle, "readyz")).status, 503);
  assert.deepEqual(await ask(handle, "livez").then(({ status, failing }) => [status, failing]), [200, []]);
  await store.close();
  assert.deepEqual(await ask(handle, "livez").then(({ status, failing }) => [status, failing]), [503, ["ping"]]);
});

test("with a schema that this version does not know the store is not ready", async () => {
  const { store, path } = await open();
  const handle = healthHandler(store, { cacheMs: 0 });
  const other = new Database(path);
  for (const change of [
    "DELETE FROM schema_migrations WHERE revision = (SELECT max(revision) FROM schema_migrations)",
    "INSERT INTO schema_migrations SELECT '9999', name, sha256, applied_at, duration_ms, applied_by FROM schema_migrations LIMIT 1",
  ]) {
    other.exec(change);
    assert.deepEqual(await ask(handle, "readyz").then(({ status, failing }) => [status, failing]), [503, ["schema"]]);
  }
  other.close();
  await store.close();
});

test("stats reports the settings of the database that are in force", async () => {
  const { store, path } = await open({ maxBytes: 4_096_000 });
  const { claim } = await fixtures(store).claim();
  await fixtures(store).command();
  const { database, lanes, ages } = await store.maintenance.stats();
  const { journal_mode, synchronous, foreign_keys, trusted_schema, auto_vacuum, max_page_count, page_size } = database;
  assert.deepEqual([journal_mode, synchronous, foreign_keys, trusted_schema, auto_vacuum], ["wal", 2, 1, 0, 2]);
  assert.equal(Number(max_page_count) * Number(page_size), 4_096_000);
  assert.ok(Number(database.wal_bytes) > 0 && Number(database.freelist_count) >= 0);
  assert.ok((lanes.normal.calls ?? 0) > 0 && Number.isFinite(lanes.urgent.waitMsMax) && lanes.background.queued === 0);
  assert.ok(claim !== undefined && ages.queuedMs !== null && ages.runningMs !== null && ages.leasedMs === null);
  assert.ok(!JSON.stringify(database).includes(path));
  await store.close();
});
