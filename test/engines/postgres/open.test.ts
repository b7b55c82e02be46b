// Opening a PostgreSQL store while another process creates or migrates its schema.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { openStore } from "../../../src/index.ts";
import { lockClass, migrationLock } from "../../../src/postgres/locks.ts";
import { dropDatabase, newDatabase } from "../../support/postgres.ts";

const url = await newDatabase();
const migrating = new pg.Client({ connectionString: url });
await migrating.connect();
after(async () => {
  await migrating.end();
  await dropDatabase(url);
});

/** Holds the lock of a migration, as another process does that creates the schema. */
const lock = () => migrating.query("SELECT pg_advisory_lock($1, $2)", [lockClass, migrationLock]);
const unlock = () => migrating.query("SELECT pg_advisory_unlock($1, $2)", [lockClass, migrationLock]);

/** Waits until a connection has waited for the lock for so long. */
async function lockAwaited(ms: number): Promise<void> {
  for (;;) {
    const { rows } = await migrating.query(
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
