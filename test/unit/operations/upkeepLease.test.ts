// The lease of upkeep: one server prunes at a time, and another takes over when the lease has run out. And the steps of a
// server: each takes a few milliseconds, and one that finds nothing writes nothing.
import assert from "node:assert/strict";
import { it } from "node:test";
import { servedOperations } from "../../../src/operations/table.ts";
import { memoryDispatcher } from "../../support/memoryDriver.ts";

/** Creates a database with changes that are older than a year. */
function withOldChanges(count: number) {
  const dispatcher = memoryDispatcher(servedOperations);
  const add = dispatcher.db.prepare(`
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)
    INSERT INTO changes (at, entity, entity_id, op, entity_version, session_id, detail)
    SELECT 0, 'session', 'id', 'create', 1, n % 100, '{"json":{}}' FROM numbers`);
  add.run(count);
  const { encode, output } = servedOperations.maintenance.pruneNext;
  /** Runs one step of a server, and returns the number of changes that went, and the next position. */
  const prune = async (owner: string, from?: string) => {
    const [[[ok, wire]]] = await dispatcher.run([
      "maintenance.pruneNext",
      ...encode(from === undefined ? { owner } : { owner, from }),
    ]);
    assert.ok(ok, String(wire));
    const { rows, next } = output.fromWire(wire) as { rows: { changes?: number }; next?: string };
    return { changes: rows.changes ?? 0, next };
  };
  const lease = () =>
    JSON.parse(
      dispatcher.db.prepare("SELECT value FROM store_meta WHERE key = 'upkeep_lease'").pluck().get() as string,
    );
  const setLease = (fields: object) =>
    dispatcher.db
      .prepare("UPDATE store_meta SET value = ? WHERE key = 'upkeep_lease'")
      .run(JSON.stringify({ ...lease(), ...fields }));
  return { ...dispatcher, add: (more: number) => void add.run(more), prune, lease, setLease };
}

it("one server prunes at a time, and another takes over when the lease has run out", async () => {
  const { prune, lease, setLease, add } = withOldChanges(300);
  const first = await prune("one");
  assert.deepEqual([first.changes, lease().owner, lease().fence], [256, "one", 1]);
  assert.deepEqual(await prune("two"), { changes: 0, next: undefined });
  assert.equal((await prune("one", first.next)).changes, 300);
  add(10);
  setLease({ expiresAtMs: Date.now() - 1 });
  assert.equal((await prune("two")).changes, 10);
  assert.deepEqual([lease().owner, lease().fence], ["two", 2]);
  add(10);
  assert.equal((await prune("one")).changes, 0);
  // A lease from before the clock was set back.
  setLease({ expiresAtMs: Date.now() + 86_400_000 });
  assert.equal((await prune("one")).changes, 10);
  assert.deepEqual([lease().owner, lease().fence], ["one", 3]);
});

it("a lease is renewed when less than half of it is left", async () => {
  const { prune, lease, setLease, add } = withOldChanges(1);
  await prune("one");
  const { expiresAtMs, ttlMs } = lease();
  add(1);
  await prune("one");
  assert.equal(lease().expiresAtMs, expiresAtMs);
  setLease({ expiresAtMs: Date.now() + ttlMs / 3 });
  add(1);
  await prune("one");
  assert.ok(lease().expiresAtMs >= expiresAtMs);
  assert.equal(lease().fence, 1);
});

it("a step that finds nothing writes nothing", async () => {
  const { prune, db } = withOldChanges(1);
  db.exec("DELETE FROM changes");
  const before = db.prepare("SELECT total_changes()").pluck().get();
  assert.deepEqual(await prune("one"), { changes: 0, next: undefined });
  assert.equal(db.prepare("SELECT total_changes()").pluck().get(), before);
});

it("a step among 100 000 rows that are due takes a few milliseconds of CPU time", async () => {
  const { prune, db } = withOldChanges(100_000);
  const usedMs: number[] = [];
  let step = { changes: 0, next: undefined as string | undefined };
  for (let isFirst = true; isFirst || step.next !== undefined; isFirst = false) {
    const before = process.cpuUsage();
    step = await prune("one", step.next);
    const { user, system } = process.cpuUsage(before);
    usedMs.push((user + system) / 1_000);
  }
  assert.equal(step.changes, 100_000);
  assert.equal(db.prepare("SELECT count(*) FROM changes").pluck().get(), 0);
  usedMs.sort((left, right) => left - right);
  const p95 = usedMs[Math.floor(usedMs.length * 0.95)] as number;
  assert.ok(p95 < 10, `95 % of ${usedMs.length} steps take up to ${p95} ms`);
});
