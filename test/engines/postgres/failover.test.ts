// Servers that read and do not write: a standby behind the address of the primary, and a database that is read-only for
// a while. The store waits for one that writes, is not ready meanwhile, and stays with none that does not.
import assert from "node:assert/strict";
import { test } from "node:test";
import { attachStore, type OwnedStore, openStore } from "../../../src/index.ts";
import { openVisitor } from "../../../src/store.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { ask, newDatabase, ownServer } from "../../support/postgres.ts";
import { until } from "../../system/faults/until.ts";
import { startProxy } from "./proxy.ts";

const readyOf = (store: OwnedStore) =>
  store.maintenance.health({}, { timeoutMs: 1_000 }).then(
    ({ ready }) => ready,
    () => false,
  );

test("while the address leads to a standby, calls wait and the store is not ready; then it works on the primary", async (t) => {
  const warnings: Error[] = [];
  const note = (warning: Error): void => void warnings.push(warning);
  process.on("warning", note);
  t.after(() => void process.off("warning", note));
  const server = await ownServer();
  t.after(() => server.remove());
  const url = await newDatabase(server);
  await (await openStore({ url })).close();
  await server.stop();
  const standby = await server.startStandby();
  await server.start();
  t.after(() => standby.stop());
  // Who only reads may read there.
  const atStandby = new URL(url);
  atStandby.port = new URL(standby.url).port;
  const visitor = await openVisitor({ url: atStandby.href, migrate: "never" });
  assert.deepEqual((await visitor.repositories.list()).items, []);
  await visitor.close();
  const proxy = await startProxy(t, url);
  const limits = { reapEveryMs: 0, connections: 2, probeEveryMs: 20 };
  const patient = await openStore({ url: proxy.url, limits: { ...limits, busyGiveUpMs: 60_000, rewakeMs: 600_000 } });
  const hasty = await openStore({ url: proxy.url, limits: { ...limits, busyGiveUpMs: 300 } });
  t.after(() => Promise.all([patient.close(), hasty.close()]));
  const { runner } = await fixtures(patient).runner();
  const claim = patient.commands.claim({ runnerId: runner.id, waitMs: 60_000 });
  proxy.target = standby.url;
  proxy.cutAll();
  const waiting = [patient.repositories.upsert({ name: "b" }), patient.repositories.find({ name: "c" })];
  await assert.rejects(hasty.repositories.upsert({ name: "c" }), { code: "read_only", retryable: true });
  // What it could read there is of the past.
  await assert.rejects(hasty.repositories.list(), { code: "read_only", retryable: true });
  assert.equal(await readyOf(hasty), false);
  const connections = proxy.connections;
  // Enough attempts to listen for the warning of a leak.
  await until(() => proxy.connections > connections + 15);
  // The connections to the standby are not cut: nobody may stay there.
  proxy.target = url;
  assert.equal((await waiting[0])?.name, "b");
  await waiting[1];
  await until(() => readyOf(hasty));
  await hasty.repositories.upsert({ name: "c" });
  // Only a notification wakes the call that waits, so the listener is back too.
  const { command } = await fixtures(hasty).command();
  assert.equal((await claim)?.command.id, command.id);
  assert.deepEqual(
    warnings.filter(({ name }) => name === "MaxListenersExceededWarning"),
    [],
  );
});

test("connections that began while the database was read-only are given up, and those who wait go on", async (t) => {
  const server = await ownServer();
  t.after(() => server.remove());
  const url = await newDatabase(server);
  const limits = { reapEveryMs: 0, connections: 2, probeEveryMs: 20, busyGiveUpMs: 60_000 };
  const store = await openStore({ url, limits });
  t.after(() => store.close());
  await store.repositories.upsert({ name: "before" });
  const name = new URL(url).pathname.slice(1);
  const set = (value: "on" | "off") =>
    ask(url, `BEGIN READ WRITE; ALTER DATABASE ${name} SET default_transaction_read_only = ${value}; COMMIT`);
  await set("on");
  await ask(
    url,
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
  );
  const waiting = store.repositories.upsert({ name: "after" });
  // Another client, because a read of the same one would follow the write that waits.
  const reader = attachStore(store.connect());
  await until(async () => (await reader.maintenance.health()).checks.lastWrite.failed === "read_only");
  assert.equal((await reader.repositories.list()).items.length, 1);
  await set("off");
  assert.equal((await waiting).name, "after");
  await until(() => readyOf(store));
});
