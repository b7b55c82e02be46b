// The PostgreSQL driver by itself: bodies written for these tests run on a real server.
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Driver, Job } from "../../../src/driver.ts";
import { defaultLimits } from "../../../src/limits.ts";
import { fail } from "../../../src/operation.ts";
import { PostgresConnection } from "../../../src/postgres/connection.ts";
import type { ServerClock } from "../../../src/postgres/serverClock.ts";
import { createPostgresDriver } from "../../../src/postgres/transaction.ts";
import { all, type Body, change, first, forUpdate, sql } from "../../../src/sql.ts";
import { ask, dropDatabase, newDatabase } from "../../support/postgres.ts";
import { isCommitted, startProxy, type TcpProxy } from "./proxy.ts";

interface Rig {
  readonly url: string;
  readonly proxy: TcpProxy;
  readonly drivers: readonly Driver[];
  values(): Promise<Record<string, number>>;
}

/** Creates drivers on a database with four rows, behind a proxy. */
async function rig(t: TestContext, count = 1): Promise<Rig> {
  const url = await newDatabase();
  const proxy = await startProxy(t, url);
  await ask(url, "CREATE TABLE t (id bigint PRIMARY KEY, value bigint NOT NULL CHECK (value < 100))");
  await ask(url, "INSERT INTO t SELECT n, 0 FROM generate_series(1, 4) AS n");
  const clock: ServerClock = { due: true, stale: false, set: () => undefined, now: () => new Date() };
  const limits = { ...defaultLimits, lockMs: 5_000, statementMs: 10_000 };
  const drivers = Array.from({ length: count }, () =>
    createPostgresDriver({
      connection: new PostgresConnection({ url: proxy.url, limits, synchronous: "full", schema: { name: undefined } }),
      epoch: 1,
      groupLockMs: 100,
      clock,
      lockMs: 5_000,
    }),
  );
  t.after(async () => {
    await Promise.all(drivers.map((driver) => driver.close()));
    await dropDatabase(url);
  });
  const values = async () =>
    Object.fromEntries(
      (await ask<{ id: string; value: string }>(url, "SELECT * FROM t")).map((row) => [row.id, Number(row.value)]),
    );
  return { url, proxy, drivers, values };
}

const write = (run: () => Body<unknown>, touches?: string): Job => [{ access: "write", touches, startBody: run }];
function* add(id: number, value: number): Body<number> {
  return yield* change(sql`UPDATE t SET value = value + ${value} WHERE id = ${id}`);
}

test("a job that fails after it wrote, or that the database refuses, is undone alone, and its body sees no error", async (t) => {
  const { drivers, values } = await rig(t);
  const caught: unknown[] = [];
  const jobs: Job[] = [
    write(function* () {
      return yield* add(1, 1);
    }),
    write(function* () {
      yield* add(2, 1);
      return fail("conflict", { reason: "test" });
    }),
    write(function* () {
      try {
        yield* add(3, 1);
        yield* add(3, 100);
      } catch (error) {
        caught.push(error);
      }
      return 0;
    }),
    write(function* () {
      return yield* add(4, 1);
    }),
  ];
  const { settled, wrote } = await (drivers[0] as Driver).transact(jobs, 60_000);
  assert.deepEqual(
    settled.map((one) => (one.ok ? one.results : [one.error.code, one.error.outcome])),
    [[1], ["conflict", "rolled_back"], ["constraint", "rolled_back"], [1]],
  );
  assert.equal(wrote, true);
  assert.deepEqual(await values(), { 1: 1, 2: 0, 3: 0, 4: 1 });
  assert.deepEqual(caught, []);
});

test("two groups that lock the same rows in opposite order both succeed", async (t) => {
  const { drivers, values } = await rig(t, 2);
  const group = (ids: readonly number[]) => ids.map((id) => write(() => add(id, 1)));
  for (let round = 0; round < 10; round++) {
    const groups = await Promise.all(
      [
        [1, 2, 3, 4],
        [4, 3, 2, 1],
      ].map(async (ids, index) => (drivers[index] as Driver).transact(group(ids), 60_000)),
    );
    for (const { settled } of groups) assert.deepEqual(settled, Array(4).fill({ ok: true, results: [1] }));
  }
  assert.deepEqual(await values(), { 1: 20, 2: 20, 3: 20, 4: 20 });
});

test("two calls that deadlock run again until both succeed", async (t) => {
  const { drivers, values } = await rig(t, 2);
  const crosswise = (from: number, to: number) =>
    write(function* () {
      yield* first(sql`SELECT * FROM t WHERE id = ${from} ${forUpdate}`);
      // Gives the other call time to lock its first row.
      yield* first(sql`SELECT pg_sleep(0.3)`);
      yield* add(to, 1);
      return undefined;
    });
  const ended = await Promise.all(
    [crosswise(1, 2), crosswise(2, 1)].map(async (job, index) => (drivers[index] as Driver).transact([job], 60_000)),
  );
  assert.ok(ended.every(({ settled }) => settled[0]?.ok));
  assert.deepEqual(await values(), { 1: 1, 2: 1, 3: 0, 4: 0 });
});

test("a read that tries to write is refused, and a group of reads sees one moment", async (t) => {
  const { drivers, values, url } = await rig(t);
  const refused = await (drivers[0] as Driver).transact([[{ access: "read", startBody: () => add(1, 1) }]], 60_000);
  assert.deepEqual(
    refused.settled.map((one) => !one.ok && one.error.code),
    ["internal"],
  );
  const sum = () => first<{ sum: number }>(sql`SELECT sum(value) FROM t`);
  const read: Job = [
    {
      access: "read",
      *startBody() {
        const before = yield* sum();
        yield* first(sql`SELECT pg_sleep(0.3)`);
        return [before?.sum, (yield* sum())?.sum];
      },
    },
  ];
  const reading = (drivers[0] as Driver).transact([read], 60_000);
  while ((await ask(url, "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'")).length === 0);
  await ask(url, "UPDATE t SET value = 7");
  const { settled } = await reading;
  assert.deepEqual(settled, [{ ok: true, results: [[0, 0]] }]);
  assert.deepEqual(await values(), { 1: 7, 2: 7, 3: 7, 4: 7 });
});

test("jobs that touch different rows run side by side, and jobs that touch the same rows run one after the other", async (t) => {
  const { drivers, values } = await rig(t);
  const order: string[] = [];
  const job = (name: string, id: number) =>
    write(function* () {
      order.push(`${name} begins`);
      const [row] = yield* all<{ value: number }>(sql`SELECT value FROM t WHERE id = ${id}`);
      yield* change(sql`UPDATE t SET value = ${(row?.value as number) + 1} WHERE id = ${id}`);
      order.push(`${name} ends`);
      return undefined;
    }, String(id));
  const { settled } = await (drivers[0] as Driver).transact(
    [job("a", 1), job("b", 2), job("c", 1), job("d", 3)],
    60_000,
  );
  assert.ok(settled.every(({ ok }) => ok));
  assert.deepEqual(order.slice(0, 2), ["a begins", "b begins"]);
  assert.ok(order.indexOf("c begins") > order.indexOf("a ends"));
  assert.deepEqual(await values(), { 1: 2, 2: 1, 3: 1, 4: 0 });
});

test("jobs are not begun after the time limit, and change rows are written last, for the jobs that succeeded", async (t) => {
  const { drivers, values } = await rig(t);
  const late = await (drivers[0] as Driver).transact([write(() => add(1, 1)), write(() => add(2, 1))], -1);
  assert.equal(late.settled.length, 1);
  assert.deepEqual(await values(), { 1: 1, 2: 0, 3: 0, 4: 0 });
  const order: string[] = [];
  const finishing = (name: string, ok: boolean): Job => [
    {
      access: "write",
      *startBody() {
        order.push(name);
        return ok ? yield* add(3, 1) : fail("not_found");
      },
    },
  ];
  const jobs = [finishing("a", true), finishing("b", false), finishing("c", true)];
  await (drivers[0] as Driver).transact(jobs, 60_000, {
    writeChanges: (succeeded) => {
      assert.deepEqual(succeeded, [jobs[0], jobs[2]]);
      order.push("changes");
      return add(4, 1);
    },
  });
  assert.deepEqual(order, ["a", "b", "c", "changes"]);
  assert.deepEqual(await values(), { 1: 1, 2: 0, 3: 2, 4: 1 });
});

/** Returns true when a driver reaches the server again. After a failure it waits a moment before it tries again. */
async function reaches(driver: Driver, read: Job): Promise<boolean> {
  try {
    return (await driver.transact([read], 60_000)).settled[0]?.ok === true;
  } catch {
    await new Promise(setImmediate);
    return false;
  }
}

test("when it is unknown whether COMMIT ran, each write is answered as unknown and never runs again", async (t) => {
  const { drivers, proxy, values } = await rig(t);
  const [driver] = drivers as [Driver];
  const starts: number[] = [];
  const counted = (id: number) =>
    write(() => {
      starts.push(id);
      return add(id, 1);
    });
  const read: Job = [{ access: "read", startBody: () => first(sql`SELECT value FROM t WHERE id = 1`) as never }];
  const refused = write(function* () {
    yield* first(sql`SELECT 1`);
    return fail("not_found", { id: "x" });
  });
  for (const jobs of [[counted(1)], [counted(2), read, refused, counted(3)]]) {
    proxy.rule = (message) => {
      if (!isCommitted(message)) return "pass";
      proxy.open = false;
      return "cut";
    };
    const { settled } = await driver.transact(jobs, 60_000);
    const answers = settled.map((job) => (job.ok ? job.results : [job.error.code, job.error.outcome]));
    const unknown = ["busy", "unknown"];
    assert.deepEqual(
      answers,
      jobs.length === 1 ? [unknown] : [unknown, [{ value: 1 }], ["not_found", "rolled_back"], unknown],
    );
    proxy.rule = () => "pass";
    proxy.open = true;
    while (!(await reaches(driver, read)));
  }
  assert.deepEqual(starts, [1, 2, 3]);
  assert.deepEqual(await values(), { 1: 1, 2: 1, 3: 1, 4: 0 });
});
