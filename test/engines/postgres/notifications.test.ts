// Stores on one PostgreSQL database wake each other's waiting calls, and miss nothing when notifications are lost.
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import pg from "pg";
import { attachStore, type ChangeRow, type OwnedStore, openStore, type StoreEvent } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { ask, dropDatabase, newDatabase, ownServer } from "../../support/postgres.ts";
import { until } from "../../system/faults/until.ts";
import { startProxy } from "./proxy.ts";

/** Limits under which only a notification wakes a call before the test ends. */
const never = { rewakeMs: 600_000, reapEveryMs: 0, connections: 2 };

async function stores(
  t: TestContext,
  limits: Record<string, number> = never,
): Promise<{ url: string; here: OwnedStore; there: OwnedStore }> {
  const url = await newDatabase();
  const [here, there] = [await openStore({ url, limits }), await openStore({ url, limits })];
  t.after(async () => {
    await Promise.all([here.close(), there.close()]);
    await dropDatabase(url);
  });
  return { url, here, there };
}

const parked = async (store: OwnedStore, many: number) => {
  while ((await store.maintenance.stats()).serving.parked !== many) await new Promise(setImmediate);
};

test("a command that one store accepts wakes a runner that waits at another, as fast as a message", async (t) => {
  const { here, there } = await stores(t);
  const { runner } = await fixtures(there).runner();
  const claim = there.commands.claim({ runnerId: runner.id, waitMs: 60_000 });
  await parked(there, 1);
  // The call has run again after it was parked, so from now on only a notification wakes it.
  await new Promise((resolve) => setTimeout(resolve, 500));
  await parked(there, 1);
  const startedAtMs = performance.now();
  const { command } = await fixtures(here).command();
  assert.equal((await claim)?.command.id, command.id);
  assert.ok(performance.now() - startedAtMs < 30_000);
});

test("a call that waits at one connection is woken by a commit at another connection of the same store", async (t) => {
  const { here } = await stores(t);
  const other = attachStore(here.connect());
  const { runner } = await fixtures(here).runner();
  const claim = other.commands.claim({ runnerId: runner.id, waitMs: 60_000 });
  await parked(here, 1);
  const { command } = await fixtures(here).command();
  assert.equal((await claim)?.command.id, command.id);
});

test("more topics than one notification can hold wake all waiting calls", async (t) => {
  const { here, there } = await stores(t);
  const f = fixtures(here);
  const { session } = await f.session({ commands: Array.from({ length: 300 }, () => ({ argv: ["true"] })) });
  const { items } = await here.commands.list({ sessionId: session.id, limit: 500 });
  const waits = items.slice(0, 20).map(({ id }) => there.commands.wait({ commandId: id, timeoutMs: 60_000 }));
  await parked(there, 20);
  await here.sessions.cancel({ sessionId: session.id });
  assert.ok((await Promise.all(waits)).every(({ state }) => state === "cancelled"));
});

test("a store that cannot listen for a while misses no commit", async (t) => {
  const url = await newDatabase();
  t.after(() => dropDatabase(url));
  const proxy = await startProxy(t, url);
  const there = await openStore({ url: proxy.url, limits: { ...never, busyGiveUpMs: 60_000 } });
  const here = await openStore({ url, limits: never });
  t.after(() => Promise.all([here.close(), there.close()]));
  const { runner } = await fixtures(there).runner();
  const claim = there.commands.claim({ runnerId: runner.id, waitMs: 60_000 });
  await parked(there, 1);
  proxy.open = false;
  proxy.cutAll();
  const { command } = await fixtures(here).command();
  proxy.open = true;
  assert.equal((await claim)?.command.id, command.id);
});

test("without notifications, waiting calls run again by themselves", async (t) => {
  const { url, here, there } = await stores(t, { ...never, rewakeMs: 300 });
  const { runner } = await fixtures(there).runner();
  const claim = there.commands.claim({ runnerId: runner.id, waitMs: 60_000 });
  await parked(there, 1);
  // Written past both stores, so that neither notifies.
  const { session } = await fixtures(here).session();
  // The command comes first, because a claim in between must not find a session without its command.
  await ask(
    url,
    "INSERT INTO commands (id, session_id, sequence, argv, state, queued_at, created_at, updated_at) VALUES (gen_random_uuid(), $1, 1, '{\"json\":[\"true\"]}', 'queued', now(), now(), now())",
    [session.id],
  );
  await ask(
    url,
    "UPDATE sessions SET queued_commands = 1, next_sequence = 2, ready_priority = 0, ready_at = now() WHERE id = $1",
    [session.id],
  );
  assert.deepEqual((await claim)?.command.argv, ["true"]);
});

test("a queue of notifications that is full is reported once, and waking goes on when there is room", async (t) => {
  const server = await ownServer("-c", "max_notify_queue_pages=64").catch(() => undefined);
  if (server === undefined) return t.skip("this PostgreSQL cannot limit its queue");
  t.after(() => server.remove());
  const url = await newDatabase(server);
  const faults: string[] = [];
  const onEvent = (event: StoreEvent): void => void (event.type === "fault" && faults.push(event.message));
  const here = await openStore({ url, limits: never, onEvent });
  const there = await openStore({ url, limits: never });
  t.after(() => Promise.all([here.close(), there.close()]));
  const reader = new pg.Client({ connectionString: url });
  await reader.connect();
  await reader.query("LISTEN anything");
  await reader.query("BEGIN; SELECT 1");
  const fill = "SELECT pg_notify('anything', repeat('x', 7000) || n) FROM generate_series(1, 8) AS n";
  await assert.rejects(
    (async () => {
      for (;;) await ask(url, fill);
    })(),
    { code: "54000" },
  );
  const { runner } = await fixtures(there).runner();
  const claim = there.commands.claim({ runnerId: runner.id, waitMs: 60_000 });
  await parked(there, 1);
  const { command } = await fixtures(here).command();
  await until(() => faults.length > 0);
  // Also while further commits are to be told.
  await fixtures(here).command();
  await reader.query("COMMIT");
  await reader.end();
  assert.equal((await claim)?.command.id, command.id);
  assert.equal(faults.length, 1);
  assert.match(faults[0] as string, /queue of notifications is full/);
});

test("a watcher sees every change once and in commit order while several stores write", async (t) => {
  const { here, there } = await stores(t);
  const writers = 6;
  const each = 40;
  const seen: ChangeRow[] = [];
  const stop = new AbortController();
  const watching = (async () => {
    for await (const change of there.changes.watch({}, { signal: stop.signal })) {
      seen.push(change);
      if (seen.length === writers * each) return;
    }
  })();
  const clients = Array.from({ length: writers }, (_, index) =>
    attachStore((index % 2 === 0 ? here : there).connect()),
  );
  await Promise.all(
    clients.map(async (client, writer) => {
      for (let index = 0; index < each; index++) await client.repositories.upsert({ name: `r${writer}-${index}` });
    }),
  );
  await watching;
  stop.abort();
  assert.equal(new Set(seen.map(({ entityId }) => entityId)).size, writers * each);
  assert.ok(seen.every(({ seq }, index) => index === 0 || seq > (seen[index - 1] as ChangeRow).seq));
  const { changes } = await here.changes.since({});
  assert.deepEqual(
    changes.map(({ seq }) => seq),
    seen.map(({ seq }) => seq),
  );
});
