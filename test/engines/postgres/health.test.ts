// Health on PostgreSQL: while the server is stopped, the store is alive but not ready.
import assert from "node:assert/strict";
import { test } from "node:test";
import { healthHandler, openStore } from "../../../src/index.ts";
import { ask, dropDatabase, newDatabase, ownServer } from "../../support/postgres.ts";
import { until } from "../../system/faults/until.ts";

test("while PostgreSQL is stopped, /readyz answers 503 and /livez 200", async (t) => {
  const server = await ownServer();
  t.after(() => server.remove());
  const url = await newDatabase(server);
  const store = await openStore({
    url,
    limits: { reapEveryMs: 0, connections: 2, busyGiveUpMs: 200, probeEveryMs: 20 },
  });
  t.after(() => store.close());
  const handle = healthHandler(store, { pingMs: 500, cacheMs: 0 });
  const look = async (path: string) => {
    await new Promise(setImmediate);
    const response = await handle(new Request(`http://localhost/${path}?verbose`));
    return { status: response.status, text: await response.text() };
  };
  await store.repositories.upsert({ name: "before" });
  assert.equal((await look("readyz")).status, 200);
  const [row] = await ask<{ revision: string }>(url, "SELECT max(revision) AS revision FROM schema_migrations");
  assert.ok((await look("readyz")).text.includes(`"head": "${row?.revision}"`));
  await server.stop();
  await until(async () => (await look("readyz")).status === 503);
  await assert.rejects(store.repositories.upsert({ name: "while it is down" }), { code: "busy" });
  const { text } = await look("readyz");
  assert.ok(!text.includes("postgres://") && !text.includes("127.0.0.1") && !/select|insert/i.test(text), text);
  assert.equal((await look("livez")).status, 200);
  await server.start();
  await until(async () => (await look("readyz")).status === 200);
  assert.equal((await store.repositories.list()).items.length, 1);
});

test("while the database is read-only, writes fail with read_only, and the store reads and is not ready", async (t) => {
  const server = await ownServer();
  t.after(() => server.remove());
  const url = await newDatabase(server);
  const limits = { reapEveryMs: 0, connections: 2, probeEveryMs: 20, busyGiveUpMs: 200 };
  const store = await openStore({ url, limits });
  t.after(() => store.close());
  await store.repositories.upsert({ name: "before" });
  const name = new URL(url).pathname.slice(1);
  /** Changes the database, and ends the connections of the store, which keep the setting that they began with. */
  const set = async (value: "on" | "off") => {
    await ask(url, `BEGIN READ WRITE; ALTER DATABASE "${name}" SET default_transaction_read_only = ${value}; COMMIT`);
    await ask(
      url,
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
  };
  await set("on");
  const codeOf = () =>
    store.repositories.upsert({ name: "after" }).then(
      () => "stored",
      ({ code }) => code as string,
    );
  await until(async () => (await codeOf()) === "read_only");
  assert.equal((await store.repositories.list()).items.length, 1);
  const { ready, checks } = await store.maintenance.health();
  assert.deepEqual([ready, checks.lastWrite.failed, checks.file.ok], [false, "read_only", true]);
  await set("off");
  await until(async () => (await store.maintenance.health().catch(() => ({ ready: false }))).ready);
  assert.equal(await codeOf(), "stored");
});

test("a write that the server's disk refuses, or that fails in an unknown way, makes the store not ready", async (t) => {
  const url = await newDatabase();
  const store = await openStore({ url, limits: { reapEveryMs: 0, connections: 2, probeEveryMs: 600_000 } });
  t.after(async () => {
    await store.close();
    await dropDatabase(url);
  });
  const lastWrite = async () => (await store.maintenance.health()).checks.lastWrite;
  for (const [sqlState, code] of [
    ["58030", "io_error"],
    ["XX001", "corrupt"],
    ["XX000", "internal"],
    ["53200", "busy"],
  ] as const) {
    await ask(
      url,
      `CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql
         AS $$ BEGIN RAISE EXCEPTION 'as by a fault' USING ERRCODE = '${sqlState}'; END $$;
       CREATE TRIGGER fail BEFORE INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION fail()`,
    );
    await assert.rejects(store.accounts.create({ name: "a", kind: "agent" }), { code, outcome: "rolled_back" });
    const { ok, failed } = await lastWrite();
    assert.deepEqual([ok, failed], [false, code]);
    await ask(url, "DROP TRIGGER fail ON accounts");
    await store.repositories.upsert({ name: `stored after ${code}` });
    assert.equal((await lastWrite()).ok, true);
  }
});
