// Faults between a store and a real PostgreSQL server: nothing is lost or duplicated, every call settles, and the error
// says what to correct.
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import pg from "pg";
import {
  attachStore,
  newId,
  type OwnedStore,
  openStore,
  type StoreError,
  type StoreOptions,
} from "../../../src/index.ts";
import { openEngine } from "../../../src/migrate/open.ts";
import { upgrade } from "../../../src/migrate/upgrade.ts";
import { createdTables, readMigrations } from "../../../src/schema/migrationFiles.ts";
import { migratedDatabase } from "../../support/migrated.ts";
import { ask, dropDatabase, newDatabase, ownServer, postgresUrl } from "../../support/postgres.ts";
import { assertSound } from "../../support/sound.ts";
import { isCommit, isCommitted, startProxy, type TcpProxy } from "./proxy.ts";

async function database(t: TestContext): Promise<string> {
  const url = await newDatabase();
  t.after(() => dropDatabase(url));
  return url;
}

async function opened(t: TestContext, options: StoreOptions & { readonly url: string }): Promise<OwnedStore> {
  const store = await openStore({ ...options, limits: { reapEveryMs: 0, connections: 2, ...options.limits } });
  t.after(() => store.close());
  return store;
}

/** Opens a store behind a proxy. `url` is the database without the proxy. */
async function proxied(t: TestContext): Promise<{ store: OwnedStore; proxy: TcpProxy; url: string }> {
  const url = await migratedDatabase();
  t.after(() => dropDatabase(url));
  const proxy = await startProxy(t, url);
  const store = await opened(t, { url: proxy.url });
  // The first write of a store follows the clock, in a transaction of its own.
  await store.maintenance.reap();
  return { store, proxy, url };
}

const countOf = async (url: string, table: string) =>
  Number((await ask<{ count: string }>(url, `SELECT count(*) FROM ${table}`))[0]?.count);

async function refusal(options: StoreOptions): Promise<StoreError> {
  try {
    await (await openStore(options)).close();
  } catch (error) {
    return error as StoreError;
  }
  assert.fail("it opened");
}

test("when the connection is cut between COMMIT and its answer, the server is asked and the caller gets its result", async (t) => {
  const { store, proxy, url } = await proxied(t);
  let cuts = 0;
  proxy.rule = (message) => (isCommitted(message) && cuts++ === 0 ? "cut" : "pass");
  const row = await store.repositories.upsert({ name: "a" });
  assert.equal(cuts > 0, true);
  assert.deepEqual([row.version, await countOf(url, "repositories"), await countOf(url, "changes")], [1, 1, 1]);
});

test("when the connection is cut after COMMIT and the server cannot be asked, the outcome is unknown and the row is there once", async (t) => {
  const { store, proxy, url } = await proxied(t);
  proxy.rule = (message) => {
    if (!isCommitted(message)) return "pass";
    proxy.open = false;
    return "cut";
  };
  const id = newId();
  await assert.rejects(store.repositories.upsert({ id, name: "a" }), { code: "busy", outcome: "unknown" });
  assert.equal(await countOf(url, "repositories"), 1);
  proxy.rule = () => "pass";
  proxy.open = true;
  // A repetition with the same id and content changes nothing.
  assert.equal((await store.repositories.upsert({ id, name: "a" })).version, 1);
  assert.deepEqual([await countOf(url, "repositories"), await countOf(url, "changes")], [1, 1]);
});

test("when COMMIT does not reach the server, the transaction runs again and is committed once", async (t) => {
  const { store, proxy, url } = await proxied(t);
  let cuts = 0;
  proxy.rule = (message) => (isCommit(message) && cuts++ === 0 ? "cut" : "pass");
  const row = await store.repositories.upsert({ name: "a" });
  assert.deepEqual([row.version, await countOf(url, "repositories"), await countOf(url, "changes")], [1, 1, 1]);
});

test("when the network swallows all messages, the connection is given up, calls go on once it works, and closing ends", async (t) => {
  const url = await database(t);
  const proxy = await startProxy(t, url);
  const limits = {
    reapEveryMs: 0,
    connections: 1,
    statementMs: 200,
    connectMs: 300,
    closeMs: 1_000,
    busyGiveUpMs: 60_000,
  };
  const store = await openStore({ url: proxy.url, limits });
  await store.repositories.upsert({ name: "a" });
  proxy.rule = () => "swallow";
  const waiting = store.repositories.upsert({ name: "b" });
  while (proxy.connections < 4) await new Promise(setImmediate);
  proxy.rule = () => "pass";
  assert.equal((await waiting).version, 1);
  assert.equal(await countOf(url, "repositories"), 2);
  proxy.rule = () => "swallow";
  const lost = assert.rejects(store.repositories.upsert({ name: "c" }));
  const startedAtMs = performance.now();
  await store.close();
  assert.ok(performance.now() - startedAtMs < 8_000);
  await lost;
});

test("when backends are killed under load, every call succeeds, and each only once", async (t) => {
  const url = await database(t);
  const store = await opened(t, { url });
  const names = Array.from({ length: 300 }, (_, index) => `r${index}`);
  let done = 0;
  const writing = Promise.all(
    Array.from({ length: 8 }, async () => {
      for (let name = names.pop(); name !== undefined; name = names.pop()) {
        await store.repositories.upsert({ name });
        done++;
      }
    }),
  );
  let kills = 0;
  while (done < 300) {
    const [{ killed } = assert.fail()] = await ask<{ killed: string }>(
      url,
      "SELECT count(pg_terminate_backend(pid)) AS killed FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    kills += Number(killed);
    const seen = done;
    while (done < Math.min(300, seen + 40)) await new Promise(setImmediate);
  }
  await writing;
  assert.ok(kills > 3, `${kills} backends were killed`);
  await assertSound(store);
  assert.deepEqual([await countOf(url, "repositories"), await countOf(url, "changes")], [300, 300]);
});

test("while the server is stopped, calls wait, or fail with busy when it takes too long; then waiting calls go on", async (t) => {
  const server = await ownServer();
  t.after(() => server.remove());
  const url = await newDatabase(server);
  const store = await opened(t, { url, limits: { busyGiveUpMs: 1_000 } });
  const patient = await opened(t, { url, limits: { busyGiveUpMs: 60_000 } });
  const { id: repositoryId } = await store.repositories.upsert({ name: "a" });
  const { id: runnerId } = await store.runners.register({ name: "r" });
  const claimed = patient.commands.claim({ runnerId, waitMs: 60_000 });
  await server.stop();
  const waiting = patient.repositories.upsert({ name: "b" });
  await assert.rejects(store.repositories.upsert({ name: "c" }), {
    code: "busy",
    outcome: "not_run",
    message: /cannot be reached/,
  });
  await assert.rejects(store.repositories.get({ repositoryId }), { code: "busy", outcome: "not_run" });
  await server.start();
  assert.equal((await waiting).name, "b");
  const { commands } = await store.sessions.create({
    repositoryId,
    commitSha: "a".repeat(40),
    commands: [{ argv: ["true"] }],
  });
  assert.equal((await claimed)?.command.id, commands[0]?.id);
  assert.deepEqual(
    (await store.repositories.list()).items.map(({ name }) => name),
    ["a", "b"],
  );
});

test("opening waits for a server that starts, and fails with busy when it takes too long", async (t) => {
  const server = await ownServer();
  t.after(() => server.remove());
  const url = await newDatabase(server);
  await server.stop();
  const error = await refusal({ url, limits: { busyGiveUpMs: 300 } });
  assert.deepEqual([error.code, error.retryable], ["busy", true]);
  const opening = openStore({ url, limits: { reapEveryMs: 0, busyGiveUpMs: 60_000 } });
  await server.start();
  const store = await opening;
  await store.repositories.upsert({ name: "a" });
  await store.close();
});

test("when the server has no connection left, a call waits for one, and its error says so when it gets none", async (t) => {
  const url = await database(t);
  const name = new URL(url).pathname.slice(1);
  const store = await opened(t, { url });
  await store.repositories.upsert({ name: "a" });
  // The limit does not apply to superusers.
  const role = `limited_${name}`;
  const admin = await postgresUrl();
  await ask(admin, `CREATE ROLE ${role} LOGIN PASSWORD 'secret' CONNECTION LIMIT 2`);
  // The database was dropped before, and the rights of the role with it.
  t.after(() => ask(admin, `DROP ROLE ${role}`));
  await ask(url, `GRANT ALL ON ALL TABLES IN SCHEMA public TO ${role}`);
  const limited = new URL(url);
  limited.username = role;
  limited.password = "secret";
  const few = await openStore({
    url: limited.href,
    migrate: "never",
    limits: { reapEveryMs: 0, connections: 2, busyGiveUpMs: 500 },
  });
  const second = attachStore(few.connect());
  const find = () => Promise.allSettled([few, second].map((client) => client.repositories.find({ name: "a" })));
  const [got, none] = (await find()).toSorted((left, right) => left.status.localeCompare(right.status));
  assert.equal(got?.status, "fulfilled");
  assert.ok(none?.status === "rejected" && none.reason.code === "busy" && none.reason.outcome === "not_run");
  assert.match(none.reason.message, /no connection left: raise its max_connections, or lower limits.connections/);
  await ask(admin, `ALTER ROLE ${role} CONNECTION LIMIT 3`);
  assert.ok((await find()).every(({ status }) => status === "fulfilled"));
  await few.close();
});

test("a call whose statement takes too long, or whose row stays locked for too long, fails alone", async (t) => {
  const url = await database(t);
  const store = await opened(t, { url, limits: { statementMs: 1_000, lockMs: 300, groupLockMs: 50 } });
  const { id: repositoryId } = await store.repositories.upsert({ name: "a" });
  const other = new pg.Client({ connectionString: url });
  await other.connect();
  await other.query("BEGIN; SELECT * FROM repositories FOR UPDATE");
  const before = performance.now();
  const [blocked, free] = await Promise.allSettled([
    store.repositories.archive({ repositoryId }),
    store.repositories.upsert({ name: "b" }),
  ]);
  assert.equal(blocked.status === "rejected" && `${blocked.reason.code} ${blocked.reason.outcome}`, "busy rolled_back");
  assert.equal(free.status, "fulfilled");
  assert.ok(performance.now() - before < 20_000);
  await other.query("ROLLBACK");
  await other.query(
    "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(30); RETURN NEW; END'",
  );
  await other.query("CREATE TRIGGER slow BEFORE INSERT ON runners FOR EACH ROW EXECUTE FUNCTION slow()");
  const [slow, quick] = await Promise.allSettled([
    store.runners.register({ name: "r" }),
    store.repositories.upsert({ name: "c" }),
  ]);
  assert.equal(
    slow.status === "rejected" && `${slow.reason.code} ${slow.reason.outcome}`,
    "deadline_exceeded rolled_back",
  );
  assert.equal(quick.status, "fulfilled");
  await other.end();
});

test("a refusal to open says in one sentence what to do, and never shows the password", async (t) => {
  const url = await database(t);
  const change = (set: (url: URL) => void): string => {
    const changed = new URL(url);
    set(changed);
    return changed.href;
  };
  const limits = { connectMs: 2_000, busyGiveUpMs: 0 };
  const cases: [string, string, RegExp][] = [
    ["wrong password", change((to) => (to.password = "hunter2")), /refuses this user or password: correct the URL/],
    ["no such user", change((to) => (to.username = "missing_user")), /refuses this user or password: correct the URL/],
    ["no such database", change((to) => (to.pathname = "/absent")), /no such database: create it with createdb/],
    ["no server listens", change((to) => (to.port = "1")), /cannot be reached \(/],
    ["no such host", change((to) => (to.hostname = "host.invalid")), /cannot be reached \(/],
  ];
  for (const [name, wrong, message] of cases) {
    const error = await refusal({ url: wrong, limits });
    assert.match(error.message, message, name);
    assert.ok(["incompatible", "busy"].includes(error.code) && error.outcome === "not_run", name);
    assert.ok(!JSON.stringify([error.message, error.toJSON()]).includes("hunter2"), name);
  }
});

test("a server of an unsupported version is refused", async (t) => {
  const proxy = await startProxy(t, await database(t));
  // The answer to SHOW server_version, a row of one text column, with another version of the same length.
  proxy.rule = ({ from, type, body }) => {
    const version = /^\d\d\.\d+/.exec(body.subarray(6).toString())?.[0];
    return from === "server" && type === "D" && version !== undefined
      ? Buffer.from(body.toString("latin1").replace(version, version.replace(/^\d\d/, "12")), "latin1")
      : "pass";
  };
  const error = await refusal({ url: proxy.url });
  assert.equal(error.code, "incompatible");
  assert.match(error.message, /PostgreSQL 12\.\S+.* is too old: use version 15 or newer/);
});

test("a database of another program, an empty one with migrate never, an older and a newer schema are refused", async (t) => {
  const foreign = await database(t);
  await ask(foreign, "CREATE TABLE schema_migrations (version text)");
  assert.match((await refusal({ url: foreign })).message, /belongs to another program/);
  const empty = await database(t);
  assert.match(
    (await refusal({ url: empty, migrate: "never" })).message,
    /is empty: run debug-server-db migrate upgrade head/,
  );
  await (await openStore({ url: empty })).close();
  await ask(
    empty,
    "INSERT INTO schema_migrations SELECT '9999', name, sha256, applied_at, duration_ms, applied_by FROM schema_migrations LIMIT 1",
  );
  assert.match((await refusal({ url: empty })).message, /newer than this version/);
  await ask(empty, "DELETE FROM schema_migrations");
  assert.match((await refusal({ url: empty })).message, /run debug-server-db migrate upgrade head/);
});

test("a table of another program with a name that any migration uses is refused", async (t) => {
  const created = createdTables(readMigrations("postgres"));
  assert.ok(created.includes("store_meta") && created.includes("debug_stops"));
  const url = await database(t);
  for (const name of created) {
    await ask(url, `CREATE TABLE ${name} (id int)`);
    const error = await refusal({ url });
    assert.deepEqual([error.code, error.outcome], ["incompatible", "not_run"], name);
    assert.match(error.message, new RegExp(`a table ${name} of another program is in the way: name another database`));
    const engine = await openEngine(url, { create: true, lockTimeoutMs: 10_000 });
    const migrator = { engine, migrations: readMigrations("postgres"), now: Date.now };
    await assert.rejects(upgrade(migrator, "head", { backup: false }), {
      code: "incompatible",
      details: { reason: "no_ledger" },
    });
    await engine.close();
    await ask(url, `DROP TABLE ${name}`);
  }
  assert.deepEqual(await ask(url, "SELECT 1 FROM pg_class WHERE relname = 'schema_migrations'"), []);
});

test("a running server goes on when a table gets another column", async (t) => {
  const url = await database(t);
  const store = await opened(t, { url });
  const { id: repositoryId } = await store.repositories.upsert({ name: "a" });
  await ask(url, "ALTER TABLE repositories ADD COLUMN extra text");
  assert.equal((await store.repositories.get({ repositoryId })).name, "a");
  assert.equal((await store.repositories.upsert({ name: "a", description: "b" })).version, 2);
});

test("when many stores open a new database at once, one creates the schema and all work", async (t) => {
  const url = await database(t);
  const stores = await Promise.all(Array.from({ length: 4 }, () => openStore({ url, limits: { connections: 1 } })));
  await Promise.all(stores.map((store, index) => store.repositories.upsert({ name: `r${index}` })));
  assert.equal((await (stores[0] as OwnedStore).repositories.list()).items.length, 4);
  for (const store of stores) await store.close();
});
