// Opening a PostgreSQL store while another process creates or migrates its schema.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { openStore } from "../../../src/index.ts";
import { migrationClass, openClass, schemaKey } from "../../../src/postgres/locks.ts";
import { ask, dropDatabase, newDatabase } from "../../support/postgres.ts";
import { until } from "../../system/faults/until.ts";

const url = await newDatabase();
const migrating = new pg.Client({ connectionString: url });
await migrating.connect();
after(async () => {
  await migrating.end();
  await dropDatabase(url);
});

/** Holds the lock of a migration, as another process does that creates the schema. */
const lock = () => migrating.query(`SELECT pg_advisory_lock(${migrationClass}, ${schemaKey})`);
const unlock = () => migrating.query(`SELECT pg_advisory_unlock(${migrationClass}, ${schemaKey})`);

/** Waits until a connection has waited for the lock for so long. */
async function lockAwaited(ms: number): Promise<void> {
  for (;;) {
    const rows = await ask(
      url,
      "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND clock_timestamp() - waitstart > $1::interval",
      [`${ms} milliseconds`],
    );
    if (rows.length > 0) return;
    await delay(20);
  }
}

test("opening waits longer for a migration than a call waits for a row", async () => {
  await lock();
  const opening = openStore({ url, limits: { lockMs: 100 } });
  await lockAwaited(300);
  await unlock();
  const store = await opening;
  assert.deepEqual((await store.repositories.list()).items, []);
  await store.close();
});

test("opening gives up with busy when a migration takes longer than busyGiveUpMs", async () => {
  await lock();
  await assert.rejects(openStore({ url, limits: { busyGiveUpMs: 100 } }), { code: "busy" });
  await unlock();
});

test("a store that had no connection while its schema was migrated refuses to work until the schema is back", async (t) => {
  const store = await openStore({ url, limits: { reapEveryMs: 0, connections: 2, probeEveryMs: 20 } });
  t.after(() => store.close());
  // Waits until no connection of the store is left, and keeps new ones out, as a migration does.
  const excluded = migrating.query(`SELECT pg_advisory_lock(${openClass}, ${schemaKey})`);
  await lockAwaited(0);
  await ask(
    url,
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name <> ''",
  );
  await excluded;
  await migrating.query(`
    CREATE TABLE removed AS SELECT * FROM schema_migrations ORDER BY revision DESC LIMIT 1;
    DELETE FROM schema_migrations WHERE revision IN (SELECT revision FROM removed);
    SELECT pg_advisory_unlock(${openClass}, ${schemaKey})`);
  const codeOf = () =>
    store.repositories.upsert({ name: "a" }).then(
      () => "stored",
      ({ code, details }) => `${code} ${details.reason}`,
    );
  await until(async () => (await codeOf()) === "incompatible schema_older");
  await migrating.query("INSERT INTO schema_migrations SELECT * FROM removed; DROP TABLE removed");
  await until(async () => (await codeOf()) === "stored");
});
