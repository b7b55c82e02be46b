// The SQLite driver: a group has the same results as its jobs run one by one, whichever of them fail.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import Database from "better-sqlite3";
import fc from "fast-check";
import { systemClock } from "../../../src/clock.ts";
import type { Job } from "../../../src/driver.ts";
import { StoreError } from "../../../src/errors.ts";
import { type Body, change, first, sql } from "../../../src/sql.ts";
import { translate } from "../../../src/sqlite/errors.ts";
import { createSqliteDriver } from "../../../src/sqlite/transaction.ts";

/** One step of a body. */
type Act = { readonly type: "insert" | "update" | "read" | "fail" | "break" | "duplicate"; readonly key: number };

function* perform(acts: readonly Act[]): Body<unknown> {
  const seen: unknown[] = [];
  for (const { type, key } of acts) {
    if (type === "insert")
      seen.push(yield* change(sql`INSERT INTO t (k, v) VALUES (${key}, 1) ON CONFLICT (k) DO UPDATE SET v = v + 1`));
    if (type === "update") seen.push(yield* change(sql`UPDATE t SET v = v * 2 WHERE k = ${key}`));
    if (type === "read")
      seen.push(((yield* first<{ v: number }>(sql`SELECT v FROM t WHERE k = ${key}`)) ?? { v: null }).v);
    if (type === "duplicate") yield* change(sql`INSERT INTO t (k, v) VALUES (${key}, 100)`);
    if (type === "fail") throw new StoreError("conflict", undefined, { details: { seen: [...seen] } });
    if (type === "break") throw new TypeError("a fault");
  }
  return seen;
}

function open() {
  const db = new Database(":memory:");
  db.exec("CREATE TABLE t (k INTEGER PRIMARY KEY, v INTEGER NOT NULL CHECK (v < 1000000)) STRICT");
  const driver = createSqliteDriver({ db, clock: systemClock, epoch: 1, close: () => void db.close() });
  return { db, driver, rows: () => db.prepare("SELECT k, v FROM t ORDER BY k").raw().all() };
}

const jobOf = (bodies: readonly (readonly Act[])[]): Job =>
  bodies.map((acts) => ({
    access: acts.every(({ type }) => type === "read" || type === "fail") ? ("read" as const) : ("write" as const),
    startBody: () => perform(acts),
  }));

const act = (type: Act["type"], key = 1): Act => ({ type, key });

describe("groups", () => {
  it("a call that fails after it wrote is undone alone, and the others are kept", async () => {
    const { driver, rows, db } = open();
    const { settled, wrote } = await driver.transact(
      [
        jobOf([[act("insert", 1)]]),
        jobOf([[act("insert", 2), act("fail")]]),
        jobOf([[act("read", 2), act("insert", 3)]]),
      ],
      1_000,
    );
    assert.deepEqual(rows(), [
      [1, 1],
      [3, 1],
    ]);
    assert.equal(wrote, true);
    assert.deepEqual(settled[0], { ok: true, results: [[1]] });
    const failed = settled[1] as Extract<(typeof settled)[number], { ok: false }>;
    assert.deepEqual(
      [failed.ok, failed.error.code, failed.error.outcome, failed.index, failed.error.details],
      [false, "conflict", "rolled_back", 0, { seen: [1] }],
    );
    assert.deepEqual(settled[2], { ok: true, results: [[null, 1]] });
    assert.equal(db.inTransaction, false);
  });

  it("the bodies of a job fail together, with the index of the one that failed", async () => {
    const { driver, rows } = open();
    const { settled } = await driver.transact(
      [jobOf([[act("insert", 1)], [act("insert", 2)], [act("fail")], [act("insert", 3)]])],
      1_000,
    );
    assert.deepEqual(rows(), []);
    assert.equal((settled[0] as { index: number }).index, 2);
  });

  it("a body starts from its beginning when the group runs again", async () => {
    const { driver, rows } = open();
    let starts = 0;
    const counted: Job = [{ access: "write", startBody: () => perform([act("insert", ++starts)]) }];
    await driver.transact([counted, jobOf([[act("insert", 3), act("fail")]])], 1_000);
    assert.equal(starts, 2);
    assert.deepEqual(rows(), [[2, 1]]);
  });

  it("jobs are not begun after the time limit, and the earlier ones are committed", async () => {
    const { driver, rows } = open();
    const { settled } = await driver.transact([jobOf([[act("insert", 1)]]), jobOf([[act("insert", 2)]])], -1);
    assert.equal(settled.length, 1);
    assert.deepEqual(rows(), [[1, 1]]);
  });

  it("a group whose jobs all fail wrote nothing", async () => {
    const { driver } = open();
    assert.equal((await driver.transact([jobOf([[act("fail")]])], 1_000)).wrote, false);
    assert.equal((await driver.transact([jobOf([[act("insert"), act("fail")]])], 1_000)).wrote, false);
    assert.equal((await driver.transact([jobOf([[act("update", 9)]])], 1_000)).wrote, false);
  });

  it("a group has the same results as its jobs run one by one, for any mixture of failures", async () => {
    const anAct = fc.record({
      type: fc.constantFrom<Act["type"]>("insert", "insert", "update", "read", "fail", "break", "duplicate"),
      key: fc.integer({ min: 1, max: 4 }),
    });
    const jobs = fc.array(fc.array(fc.array(anAct, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 3 }), {
      minLength: 1,
      maxLength: 8,
    });
    await fc.assert(
      fc.asyncProperty(jobs, async (all) => {
        const [together, apart] = [open(), open()];
        const group = await together.driver.transact(all.map(jobOf), 60_000);
        const singles = [];
        for (const one of all) singles.push((await apart.driver.transact([jobOf(one)], 60_000)).settled[0]);
        assert.deepEqual(together.rows(), apart.rows());
        const plain = (settled: (typeof group.settled)[number] | undefined) =>
          settled?.ok === false
            ? [settled.error.code, settled.error.outcome, settled.error.details, settled.index]
            : settled?.results;
        assert.deepEqual(group.settled.map(plain), singles.map(plain));
        together.db.close();
        apart.db.close();
      }),
      { numRuns: 300 },
    );
  });
});

/** Opens a database with a driver whose next COMMITs run and then fail as if the sync had failed. */
function openFailingCommits(failures: number) {
  const { db, rows } = open();
  let left = failures;
  const failing = new Proxy(db, {
    get(_, name) {
      if (name === "inTransaction") return db.inTransaction;
      return (text: string) => {
        const statement = db.prepare(text);
        if (text !== "COMMIT") return statement;
        const run = () => {
          statement.run();
          if (left-- > 0) throw Object.assign(new Error("disk I/O error"), { code: "SQLITE_IOERR_FSYNC" });
        };
        return { run };
      };
    },
  });
  const driver = createSqliteDriver({ db: failing, clock: systemClock, epoch: 1, close: () => void db.close() });
  return { db, driver, rows };
}

describe("a COMMIT whose outcome is unknown", () => {
  /** Creates a job that adds 1 to a row, and counts how often it is started. */
  function countedWrite(key: number) {
    const starts = { count: 0 };
    const job: Job = [
      {
        access: "write",
        startBody() {
          starts.count++;
          return perform([act("insert", key)]);
        },
      },
    ];
    return { starts, job };
  }

  it("is answered as unknown, and the write never runs again", async () => {
    const { driver, rows, db } = openFailingCommits(1);
    const { starts, job } = countedWrite(1);
    const { settled, wrote } = await driver.transact([job], 1_000);
    const [failed] = settled as [Extract<(typeof settled)[number], { ok: false }>];
    assert.deepEqual([failed.ok, failed.error.code, failed.error.outcome], [false, "io_error", "unknown"]);
    assert.deepEqual([starts.count, wrote, rows(), db.inTransaction], [1, false, [[1, 1]], false]);
  });

  it("is unknown for each write of a group and runs none of them again, and reads get an answer of their own", async () => {
    const { driver, rows } = openFailingCommits(1);
    const [one, other] = [countedWrite(1), countedWrite(2)];
    const { settled } = await driver.transact([one.job, jobOf([[act("read", 1)]]), other.job], 1_000);
    assert.deepEqual(
      settled.map((job) => (job.ok ? job.results : job.error.outcome)),
      ["unknown", [[1]], "unknown"],
    );
    assert.deepEqual([one.starts.count, other.starts.count], [1, 1]);
    assert.deepEqual(rows(), [
      [1, 1],
      [2, 1],
    ]);
  });

  it("leaves the next group whole", async () => {
    const { driver, rows } = openFailingCommits(1);
    await driver.transact([countedWrite(1).job], 1_000);
    const { settled, wrote } = await driver.transact([countedWrite(1).job], 1_000);
    assert.deepEqual([settled[0]?.ok, wrote, rows()], [true, true, [[1, 2]]]);
  });
});

describe("errors", () => {
  it("SQLite's codes and extended codes become codes of this package", () => {
    const codeOf = (code: string) => translate(Object.assign(new Error("m"), { code })).code;
    assert.deepEqual(
      [
        "SQLITE_FULL",
        "SQLITE_BUSY",
        "SQLITE_BUSY_SNAPSHOT",
        "SQLITE_CONSTRAINT_CHECK",
        "SQLITE_CONSTRAINT_UNIQUE",
        "SQLITE_CONSTRAINT_PRIMARYKEY",
      ].map(codeOf),
      ["storage_full", "busy", "busy", "constraint", "constraint", "conflict"],
    );
    assert.deepEqual(["SQLITE_CORRUPT_VTAB", "SQLITE_NOTADB", "SQLITE_READONLY", "SQLITE_MISUSE"].map(codeOf), [
      "corrupt",
      "incompatible",
      "read_only",
      "internal",
    ]);
    assert.deepEqual(["SQLITE_IOERR_FSYNC", "SQLITE_IOERR_READ", "SQLITE_PROTOCOL"].map(codeOf), [
      "io_error",
      "io_error",
      "busy",
    ]);
    const ours = new StoreError("not_found");
    assert.equal(translate(ours), ours);
    assert.equal(translate("text").code, "internal");
  });

  it("a row that a CHECK refuses fails with constraint, and the group goes on", async () => {
    const { driver, rows, db } = open();
    const over: Job = [
      {
        access: "write",
        *startBody() {
          yield* change(sql`INSERT INTO t (k, v) VALUES (1, 1000001)`);
          return undefined;
        },
      },
    ];
    const { settled } = await driver.transact([over, jobOf([[act("insert", 2)]])], 1_000);
    assert.equal((settled[0] as { error: StoreError }).error.code, "constraint");
    assert.deepEqual(rows(), [[2, 1]]);
    assert.equal(db.inTransaction, false);
  });

  it("a statement that SQLite cannot parse fails with internal, and the group goes on", async () => {
    const { driver, rows } = open();
    const broken: Job = [
      {
        access: "write",
        *startBody() {
          yield* change(sql`INSERT INTO no_such_table (k) VALUES (1)`);
          return undefined;
        },
      },
    ];
    const { settled } = await driver.transact([broken, jobOf([[act("insert", 2)]])], 1_000);
    assert.equal((settled[0] as { error: StoreError }).error.code, "internal");
    assert.deepEqual(rows(), [[2, 1]]);
  });

  it("a group fails with busy while another process holds the lock, and nothing has run", async () => {
    const { driver } = open();
    const stuck = createSqliteDriver({
      db: {
        prepare: (text: string) => ({
          pluck: () => ({}),
          run: () => {
            if (text.startsWith("BEGIN")) throw Object.assign(new Error("database is locked"), { code: "SQLITE_BUSY" });
          },
        }),
        inTransaction: false,
      } as unknown as Database.Database,
      clock: systemClock,
      epoch: 1,
      close: () => undefined,
    });
    await assert.rejects(async () => stuck.transact([jobOf([[act("insert")]])], 1), {
      code: "busy",
      outcome: "not_run",
    });
    await driver.close();
  });

  it("values of every kind are bound as the schema expects", async () => {
    const { driver, db } = open();
    db.exec("CREATE TABLE kinds (a INTEGER, b INTEGER, c BLOB, d TEXT, e INTEGER) STRICT");
    const job: Job = [
      {
        access: "write",
        *startBody() {
          yield* change(
            sql`INSERT INTO kinds VALUES (${new Date(5)}, ${true}, ${new Uint8Array([1, 2])}, ${null}, ${2n ** 53n})`,
          );
          return undefined;
        },
      },
    ];
    await driver.transact([job], 1_000);
    assert.deepEqual(db.prepare("SELECT a, b, hex(c) AS c, d, CAST(e AS TEXT) AS e FROM kinds").get(), {
      a: 5,
      b: 1,
      c: "0102",
      d: null,
      e: "9007199254740992",
    });
  });
});
