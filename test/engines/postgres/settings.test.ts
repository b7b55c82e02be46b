// Settings of a server, a database or a role, under which the store works as it does with the defaults.
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import pg from "pg";
import { type OwnedStore, openStore } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { migratedDatabase } from "../../support/migrated.ts";
import { ask, dropDatabase, postgresUrl } from "../../support/postgres.ts";
import { until } from "../../system/faults/until.ts";

/** Opens a store on a database with these settings, which every connection begins with. */
async function storeWith(
  t: TestContext,
  settings: Readonly<Record<string, string>>,
): Promise<{ store: OwnedStore; url: string }> {
  const url = await migratedDatabase();
  const name = new URL(url).pathname.slice(1);
  for (const [setting, value] of Object.entries(settings))
    await ask(url, `ALTER DATABASE ${name} SET ${setting} = '${value}'`);
  const limits = { reapEveryMs: 0, connections: 1, lockMs: 60_000, groupLockMs: 60_000, callMs: 120_000 };
  const store = await openStore({ url, limits });
  t.after(async () => {
    await store.close();
    await dropDatabase(url);
  });
  return { store, url };
}

test("settings that change what is read and written change nothing", async (t) => {
  const { store } = await storeWith(t, {
    bytea_output: "escape",
    client_encoding: "LATIN1",
    DateStyle: "SQL, DMY",
    IntervalStyle: "sql_standard",
    TimeZone: "Asia/Kathmandu",
    extra_float_digits: "-15",
    standard_conforming_strings: "off",
    transform_null_equals: "on",
    default_transaction_isolation: "serializable",
    default_transaction_deferrable: "on",
  });
  const { session, claim } = await fixtures(store).claim();
  const log = { commandId: claim.command.id, fence: claim.fence };
  const data = Uint8Array.from([0, 39, 92, 127, 128, 255, ...Buffer.from("ą✅\\x00\n")]);
  await store.logs.append({ ...log, offset: 0, data });
  const page = await store.logs.read({ commandId: log.commandId });
  assert.deepEqual([page.nextOffset, ...page.chunks.map((chunk) => chunk.data)], [data.length, data]);
  await store.commands.finish({ ...log, outcome: "succeeded" });
  const followed: number[] = [];
  for await (const chunk of store.logs.follow({ commandId: log.commandId })) followed.push(...chunk.data);
  assert.deepEqual(Uint8Array.from(followed), data);
  const read = await store.sessions.get({ sessionId: session.id });
  assert.equal(read.createdAt.getTime(), session.createdAt.getTime());
  assert.ok(Math.abs(read.createdAt.getTime() - Date.now()) < 3_600_000);
});

test("time limits of the server end no call and no connection", async (t) => {
  const limits = {
    statement_timeout: "1s",
    lock_timeout: "500ms",
    idle_in_transaction_session_timeout: "1s",
    idle_session_timeout: "1s",
    transaction_timeout: "1s",
  };
  const names = Object.keys(limits);
  const { store, url } = await storeWith(t, {});
  const known = await ask<{ name: keyof typeof limits }>(url, "SELECT name FROM pg_settings WHERE name = ANY($1)", [
    names,
  ]);
  const database = new URL(url).pathname.slice(1);
  for (const { name } of known) await ask(url, `ALTER DATABASE ${database} SET ${name} = '${limits[name]}'`);
  const holder = new pg.Client({ connectionString: url });
  await holder.connect();
  await holder.query("SET idle_in_transaction_session_timeout = 0; SET idle_session_timeout = 0");
  if (known.some(({ name }) => name === "transaction_timeout")) await holder.query("SET transaction_timeout = 0");
  await store.repositories.upsert({ name: "a" });
  const limited = await openStore({ url, limits: store.limits });
  const pidsOf = () =>
    ask<{ pid: number }>(
      url,
      "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY pid",
    );
  const pids = await pidsOf();
  await holder.query("BEGIN; SELECT * FROM repositories FOR UPDATE");
  const waiting = limited.repositories.upsert({ name: "a", description: "b" });
  await until(async () => {
    const rows = await ask(
      url,
      "SELECT 1 FROM pg_locks WHERE NOT granted AND clock_timestamp() - waitstart > interval '2 s'",
    );
    return rows.length > 0;
  });
  await holder.query("COMMIT");
  assert.equal((await waiting).description, "b");
  assert.deepEqual(await pidsOf(), pids);
  await limited.close();
  await holder.end();
});

test("rows that a policy hides from the user are not taken for absent", async (t) => {
  const { store, url } = await storeWith(t, {});
  await store.repositories.upsert({ name: "a" });
  const role = `limited_${new URL(url).pathname.slice(1)}`;
  await ask(url, `CREATE ROLE ${role} LOGIN PASSWORD 'secret'`);
  // The database was dropped before, and the rights of the role with it.
  t.after(async () => ask(await postgresUrl(), `DROP ROLE ${role}`));
  await ask(
    url,
    `GRANT ALL ON ALL TABLES IN SCHEMA public TO ${role};
     ALTER TABLE repositories ENABLE ROW LEVEL SECURITY;
     CREATE POLICY own ON repositories USING (name = 'b')`,
  );
  const limited = new URL(url);
  limited.username = role;
  limited.password = "secret";
  const other = await openStore({ url: limited.href, limits: store.limits });
  await assert.rejects(other.repositories.find({ name: "a" }), { code: "incompatible", message: /row-level security/ });
  await other.close();
});
