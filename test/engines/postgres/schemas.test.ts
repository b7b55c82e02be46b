// Schemas: a store is found wherever it is in the search path, stays where it was found, and shares no lock with another
// store in the same database.
import assert from "node:assert/strict";
import { test } from "node:test";
import pg from "pg";
import { openStore } from "../../../src/index.ts";
import { openEngine } from "../../../src/migrate/open.ts";
import { commitOrderClass, migrationClass, schemaKey } from "../../../src/postgres/locks.ts";
import { readHistory } from "../../../src/schema/ledger.ts";
import { readMigrations } from "../../../src/schema/migrationFiles.ts";
import { ask, dropDatabase, newDatabase } from "../../support/postgres.ts";

const limits = { reapEveryMs: 0, connections: 1 };

/** Returns the URL with a search path of its own. */
const within = (url: string, path: string) => `${url}?options=${encodeURIComponent(`-csearch_path=${path}`)}`;

test("a schema with the name of the user that appears later hides no store, and makes no second one", async (t) => {
  const url = await newDatabase();
  t.after(() => dropDatabase(url));
  const first = await openStore({ url, limits });
  t.after(() => first.close());
  await first.repositories.upsert({ name: "a" });
  await ask(url, `CREATE SCHEMA ${new URL(url).username}`);
  // Also not to connections that are made later.
  await ask(
    url,
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
  );
  await first.repositories.upsert({ name: "b" });
  const second = await openStore({ url, limits });
  t.after(() => second.close());
  await second.repositories.upsert({ name: "c" });
  const names = async (store: typeof first) => (await store.repositories.list()).items.map(({ name }) => name).sort();
  assert.deepEqual(
    [await names(first), await names(second)],
    [
      ["a", "b", "c"],
      ["a", "b", "c"],
    ],
  );
  const engine = await openEngine(url, { create: false, lockTimeoutMs: 10_000 });
  t.after(() => engine.close());
  const history = await engine.read((run) => run(readHistory(engine.catalog, readMigrations("postgres"))));
  assert.deepEqual(history.pending, []);
  assert.deepEqual(
    await ask(url, "SELECT 1 FROM pg_class WHERE relname = 'sessions' AND relnamespace <> 'public'::regnamespace"),
    [],
  );
});

test("a ledger of another program in the search path is not taken for a store", async (t) => {
  const url = await newDatabase();
  t.after(() => dropDatabase(url));
  await ask(url, "CREATE SCHEMA own; CREATE TABLE schema_migrations (version text)");
  const store = await openStore({ url: within(url, "own,public"), limits });
  await store.repositories.upsert({ name: "a" });
  await store.close();
  assert.equal((await ask(url, "SELECT 1 FROM own.repositories")).length, 1);
});

test("two stores in two schemas of one database share no lock", async (t) => {
  const url = await newDatabase();
  await ask(url, 'CREATE SCHEMA "One Store"; CREATE SCHEMA other');
  const [one, other] = [within(url, '"One\\ Store"'), within(url, "other")];
  const stores = [await openStore({ url: one, limits }), await openStore({ url: other, limits })] as const;
  t.after(() => Promise.all(stores.map((store) => store.close())));
  await Promise.all(stores.map((store) => store.repositories.upsert({ name: "a" })));
  const holder = new pg.Client({ connectionString: one });
  await holder.connect();
  t.after(async () => {
    await holder.end();
    await dropDatabase(url);
  });
  for (const lockClass of [commitOrderClass, migrationClass])
    await holder.query(`SELECT pg_advisory_lock(${lockClass}, ${schemaKey})`);
  await stores[1].repositories.upsert({ name: "b" });
  await (await openStore({ url: other, limits })).close();
  await assert.rejects(openStore({ url: one, limits: { ...limits, busyGiveUpMs: 100 } }), { code: "busy" });
});

test("a schema that is gone, or that the user may not use any more, is incompatible, and not an empty database", async (t) => {
  const url = await newDatabase();
  t.after(() => dropDatabase(url));
  await ask(url, "CREATE SCHEMA own");
  const store = await openStore({ url: within(url, "own"), limits });
  t.after(() => store.close());
  await ask(url, "ALTER SCHEMA own RENAME TO gone");
  await ask(
    url,
    "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
  );
  const refused = { code: "incompatible", message: /the schema own is missing, or the user may not use it/ };
  await assert.rejects(store.repositories.upsert({ name: "a" }), refused);
  await assert.rejects(openStore({ url: within(url, "own"), limits }), {
    code: "incompatible",
    message: /no such schema/,
  });
  await ask(url, "ALTER SCHEMA gone RENAME TO own");
  assert.equal(
    (await openStore({ url: within(url, "own"), limits }).then((again) => again.close())) ?? "opened",
    "opened",
  );
});
