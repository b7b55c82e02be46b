// Rows that another connection holds for a moment: a call waits for them, and does not take them for absent. One that
// is held for too long fails the call that needs it, and says nothing about the store.
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import pg from "pg";
import { type OwnedStore, openStore } from "../../../src/index.ts";
import { commitOrderClass, schemaKey } from "../../../src/postgres/locks.ts";
import { fixtures, testClock } from "../../../src/testing/index.ts";
import { migratedDatabase } from "../../support/migrated.ts";
import { ask, dropDatabase } from "../../support/postgres.ts";
import { until } from "../../system/faults/until.ts";

interface Rig {
  readonly store: OwnedStore;
  readonly given: ReturnType<typeof fixtures>;
  readonly clock: ReturnType<typeof testClock>;
  readonly url: string;
  /** Locks rows over a connection of its own, and returns a function that lets them go. */
  hold(select: string, ...values: readonly string[]): Promise<() => Promise<void>>;
  /** Resolves when a connection waits for a row, or when the call is answered. */
  waitsOrAnswers(call: Promise<unknown>): Promise<void>;
  /** Resolves when a call is parked, or when the call is answered. */
  parksOrAnswers(call: Promise<unknown>): Promise<void>;
}

async function rig(t: TestContext, limits: Readonly<Record<string, number>> = {}): Promise<Rig> {
  const url = await migratedDatabase();
  const clock = testClock();
  const store = await openStore({
    url,
    clock,
    limits: { reapEveryMs: 0, connections: 1, lockMs: 60_000, callMs: 120_000, ...limits },
  });
  t.after(async () => {
    await store.close();
    await dropDatabase(url);
  });
  return {
    store,
    given: fixtures(store),
    clock,
    url,
    async hold(select, ...values) {
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      await client.query("BEGIN");
      const { rowCount } = await client.query(`${select} FOR UPDATE`, [...values]);
      assert.equal(rowCount, 1);
      return () => client.end();
    },
    waitsOrAnswers: (call) =>
      answeredOr(call, async () => {
        const text = `
          SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`;
        return (await ask(url, text)).length > 0;
      }),
    parksOrAnswers: (call) =>
      answeredOr(call, async () => Number((await store.maintenance.stats()).serving.parked) > 0),
  };
}

async function answeredOr(call: Promise<unknown>, condition: () => Promise<boolean>): Promise<void> {
  let answered = false;
  const answer = () => {
    answered = true;
  };
  call.then(answer, answer);
  await until(async () => answered || (await condition()));
}

const oneSession = "SELECT * FROM sessions WHERE id = $1";
const oneWorktree = "SELECT * FROM worktrees WHERE id = $1";

test("a claim waits for a session that somebody holds, and claims from it", async (t) => {
  const { store, given, hold, parksOrAnswers } = await rig(t);
  const { runner } = await given.runner({ ttlMs: 3_600_000 });
  for (const named of [true, false]) {
    const { session } = await given.session({ commands: [{ argv: ["true"] }] });
    const release = await hold(oneSession, session.id);
    const claiming = store.commands.claim({ runnerId: runner.id, ...(named ? { sessionId: session.id } : {}) });
    await parksOrAnswers(claiming);
    await release();
    assert.equal((await claiming)?.session.id, session.id);
  }
});

test("a claim waits for a session with a worktree of its runner that somebody holds", async (t) => {
  const { store, given, hold, parksOrAnswers } = await rig(t);
  const { runner } = await given.runner({ ttlMs: 3_600_000 });
  const { session } = await given.session({ reserve: { runnerId: runner.id }, commands: [{ argv: ["true"] }] });
  const release = await hold(oneSession, session.id);
  const claiming = store.commands.claim({ runnerId: runner.id });
  await parksOrAnswers(claiming);
  await release();
  assert.equal((await claiming)?.session.id, session.id);
});

test("a claim takes other work while a session is held, and none that is gone when the session is free", async (t) => {
  const { store, given, url, parksOrAnswers } = await rig(t);
  const { runner } = await given.runner({ ttlMs: 3_600_000 });
  const { session: held } = await given.session({ commands: [{ argv: ["true"] }] });
  const { session: other } = await given.session({ commands: [{ argv: ["true"] }] });
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query("BEGIN");
  await client.query("UPDATE sessions SET ready_at = NULL, ready_priority = NULL WHERE id = $1", [held.id]);
  assert.equal((await store.commands.claim({ runnerId: runner.id }))?.session.id, other.id);
  const claiming = store.commands.claim({ runnerId: runner.id });
  await parksOrAnswers(claiming);
  await client.query("COMMIT");
  await client.end();
  assert.equal(await claiming, undefined);
});

test("a claim fails with busy when its session is held for too long, and its runner may ask again", async (t) => {
  const { store, given, hold } = await rig(t, { lockMs: 50 });
  const { runner } = await given.runner({ ttlMs: 3_600_000 });
  const { session } = await given.session({ commands: [{ argv: ["true"] }] });
  const release = await hold(oneSession, session.id);
  for (const waitMs of [0, 100])
    await assert.rejects(store.commands.claim({ runnerId: runner.id, waitMs }), { code: "busy", retryable: true });
  const waiting = store.commands.claim({ runnerId: runner.id, waitMs: 60_000 });
  await release();
  assert.equal((await waiting)?.session.id, session.id);
});

test("a reservation waits for a free worktree that somebody holds", async (t) => {
  const { store, given, hold, waitsOrAnswers } = await rig(t);
  const { worktree, fence } = await given.lease();
  await store.worktrees.release({ worktreeId: worktree.id, fence, to: "clean" });
  const release = await hold(oneWorktree, worktree.id);
  const reserving = store.worktrees.reserve({ repositoryId: worktree.repositoryId, owner: "second" });
  await waitsOrAnswers(reserving);
  await release();
  assert.equal((await reserving).worktree.id, worktree.id);
});

test("a reservation waits for an expired lease that somebody holds", async (t) => {
  const { store, given, clock, hold, waitsOrAnswers } = await rig(t);
  const { repository } = await given.repository({ maxWorktrees: 2 });
  const repositoryId = repository.id;
  for (const isBound of [false, true]) {
    const { session } = await given.session({ repositoryId });
    const { worktree, fence } = await store.worktrees.reserve({
      repositoryId,
      owner: "dead",
      ttlMs: 1_000,
      ...(isBound ? { sessionId: session.id } : {}),
    });
    await store.worktrees.ready({ worktreeId: worktree.id, fence, commitSha: given.commitSha });
    clock.advance(1_001);
    const release = await (isBound ? hold(oneSession, session.id) : hold(oneWorktree, worktree.id));
    // The repository has room for another one as long as this one lives.
    await store.repositories.upsert({ name: repository.name, maxWorktrees: 1 });
    const reserving = store.worktrees.reserve({ repositoryId, owner: "second", ttlMs: 3_600_000 });
    await waitsOrAnswers(reserving);
    await release();
    const second = await reserving;
    assert.equal(second.worktree.id, worktree.id);
    await store.worktrees.release({ worktreeId: worktree.id, fence: second.fence, to: "clean" });
  }
});

test("when the lease that a reservation waits for is renewed, it takes the next one that has expired", async (t) => {
  const { store, given, clock, url, waitsOrAnswers } = await rig(t);
  const { repository } = await given.repository({ maxWorktrees: 2 });
  const repositoryId = repository.id;
  const reserve = () => store.worktrees.reserve({ repositoryId, owner: "dead", ttlMs: 1_000 });
  const [first, second] = [await reserve(), await reserve()];
  for (const { worktree, fence } of [first, second])
    await store.worktrees.ready({ worktreeId: worktree.id, fence, commitSha: given.commitSha });
  clock.advance(1_001);
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query("BEGIN");
  await client.query("UPDATE worktrees SET lease_expires_at = lease_expires_at + interval '1 hour' WHERE id = $1", [
    first.worktree.id,
  ]);
  const reserving = store.worktrees.reserve({ repositoryId, owner: "third" });
  await waitsOrAnswers(reserving);
  await client.query("COMMIT");
  await client.end();
  assert.equal((await reserving).worktree.id, second.worktree.id);
});

test("an eviction waits for a worktree that somebody holds", async (t) => {
  const { store, given, hold, waitsOrAnswers } = await rig(t);
  for (const verb of ["evict", "evictUnused"] as const) {
    const { repository } = await given.repository();
    const { worktree, fence } = await given.lease({ repositoryId: repository.id });
    await store.worktrees.release({ worktreeId: worktree.id, fence, to: "clean" });
    const release = await hold(oneWorktree, worktree.id);
    const evicting = store.worktrees[verb]({ repositoryId: repository.id, owner: "disk" });
    await waitsOrAnswers(evicting);
    await release();
    assert.equal([await evicting].flat()[0]?.id, worktree.id);
  }
});

test("what runs one by one after a lock timeout is answered when it is committed, before the next has its row", async (t) => {
  const { store, given, hold } = await rig(t, { lockMs: 5_000, groupLockMs: 50 });
  const { repository } = await given.repository();
  const release = await hold("SELECT * FROM repositories WHERE id = $1", repository.id);
  const calls = [
    store.repositories.upsert({ name: "first" }),
    store.repositories.upsert({ name: "second" }),
    store.repositories.upsert({ name: repository.name, maxWorktrees: 7 }),
  ] as const;
  // Both are answered while the row is held: otherwise nothing releases it.
  assert.deepEqual(
    (await Promise.all(calls.slice(0, 2))).map(({ name }) => name),
    ["first", "second"],
  );
  await release();
  assert.equal((await calls[2]).maxWorktrees, 7);
});

test("a row that is held for too long fails the call that needs it, and the store stays ready", async (t) => {
  const { store, given, hold } = await rig(t, { lockMs: 100, groupLockMs: 50, probeEveryMs: 60_000 });
  const { repository } = await given.repository();
  const release = await hold("SELECT * FROM repositories WHERE id = $1", repository.id);
  const change = () => store.repositories.upsert({ name: repository.name, maxWorktrees: 7 });
  await assert.rejects(change(), { code: "busy", retryable: true, outcome: "rolled_back" });
  const { ready, checks } = await store.maintenance.health();
  assert.deepEqual([ready, checks.lastWrite.ok, checks.lastWrite.failed], [true, true, null]);
  await release();
  assert.equal((await change()).maxWorktrees, 7);
});

test("no lease is granted while the store cannot follow the clock, whichever timeout ends the attempt", async (t) => {
  for (const timeouts of [
    { lockMs: 100, statementMs: 10_000 },
    { lockMs: 10_000, statementMs: 1_000 },
  ]) {
    const { store, given, clock, hold } = await rig(t, { ...timeouts, busyGiveUpMs: 1_000 });
    const { repository } = await given.repository({ maxWorktrees: 1 });
    const { worktree, fence } = await given.lease({ repositoryId: repository.id, ttlMs: 3_600_000 });
    const reserve = () => store.worktrees.reserve({ repositoryId: repository.id, owner: "second" });
    clock.jump(86_400_000);
    const release = await hold("SELECT * FROM store_meta WHERE key = 'served_at'");
    await assert.rejects(reserve(), { code: "busy" });
    await release();
    await assert.rejects(reserve(), { code: "capacity_exhausted" });
    await store.worktrees.renew({ worktreeId: worktree.id, fence });
  }
});

test("while another transaction holds up all commits, writes wait, then fail with busy, and the store is not ready", async (t) => {
  const { store, url } = await rig(t, { lockMs: 50, busyGiveUpMs: 300, probeEveryMs: 60_000 });
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const lock = () => client.query(`SELECT pg_advisory_lock(${commitOrderClass}, ${schemaKey})`);
  const unlock = () => client.query(`SELECT pg_advisory_unlock(${commitOrderClass}, ${schemaKey})`);
  await store.repositories.upsert({ name: "before" });
  await lock();
  await assert.rejects(store.repositories.upsert({ name: "late" }), { code: "busy", retryable: true });
  const { ready, checks } = await store.maintenance.health();
  assert.deepEqual([ready, checks.lastWrite.failed], [false, "busy"]);
  await unlock();
  await store.repositories.upsert({ name: "after" });
  assert.equal((await store.maintenance.health()).ready, true);
  await client.end();
});

test("an account gets a name that another one gives up meanwhile", async (t) => {
  const { store, url, waitsOrAnswers } = await rig(t);
  const { id } = await store.accounts.create({ name: "Ada", kind: "human" });
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query("BEGIN");
  await client.query("SELECT * FROM accounts WHERE id = $1 FOR UPDATE", [id]);
  const creating = store.accounts.create({ name: "Ada", kind: "human" });
  await waitsOrAnswers(creating);
  await client.query("UPDATE accounts SET name = 'Bea', name_key = 'BEA' WHERE id = $1", [id]);
  await client.query("COMMIT");
  await client.end();
  assert.equal((await creating).name, "Ada");
});
