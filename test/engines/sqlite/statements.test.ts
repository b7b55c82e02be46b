// The statements of a SQLite connection are prepared once, and not again for each value that is bound to them.
import assert from "node:assert/strict";
import { it } from "node:test";
import Database from "better-sqlite3";
import { sql } from "../../../src/sql.ts";
import { PreparedStatements } from "../../../src/sqlite/statements.ts";

it("a bound value does not make SQLite prepare a statement again", () => {
  const db = new Database(":memory:");
  // Wide enough that preparing a statement takes much longer than running it.
  const columns = Array.from({ length: 40 }, (_, index) => `c${index} INTEGER`);
  db.exec(`CREATE TABLE t (a INTEGER, b INTEGER, ${columns.join(", ")})`);
  for (let index = 0; index < 10; index++) db.exec(`CREATE INDEX i${index} ON t (c${index}, a)`);
  db.exec("CREATE INDEX sorted ON t (a, b)");
  const { strings } = sql`SELECT * FROM t WHERE a = ${0} ORDER BY b LIMIT 1`;
  const ours = new PreparedStatements(db).get(strings).statement;
  const bare = db.prepare<[number]>(strings.join("?"));
  const round = (statement: Database.Statement<unknown[]>): number => {
    const startedMs = performance.now();
    for (let value = 0; value < 500; value++) statement.get(value);
    return performance.now() - startedMs;
  };
  const ratios = Array.from({ length: 9 }, () => round(bare as Database.Statement<unknown[]>) / round(ours));
  const [median] = ratios.toSorted((one, other) => one - other).slice(4) as [number];
  assert.ok(median > 3, `without the plus, it takes ${median.toFixed(1)} times as long`);
});

it("the plus changes neither values nor their comparison", () => {
  const db = new Database(":memory:");
  db.exec("CREATE TABLE t (id TEXT PRIMARY KEY, n INTEGER, b BLOB) STRICT; CREATE INDEX by_n ON t (n)");
  const statements = new PreparedStatements(db);
  const run = (statement: ReturnType<typeof sql>) => statements.get(statement.strings).statement;
  for (const [id, n, b] of [
    ["1", 1, new Uint8Array([0, 255])],
    ["01", 2 ** 53 - 1, null],
  ] as const) {
    const insert = sql`INSERT INTO t (id, n, b) VALUES (${id}, ${n}, ${b})`;
    run(insert).run(...insert.values);
    const select = sql`SELECT id, n, b FROM t WHERE id = ${id} AND n = ${n} AND b IS ${b} AND n IN (${n}, ${n})`;
    const row = run(select).get(...select.values) as Record<string, unknown>;
    assert.deepEqual({ ...row, b: row.b && new Uint8Array(row.b as Buffer) }, { id, n, b });
    const plan = db.prepare(`EXPLAIN QUERY PLAN SELECT 1 FROM t WHERE n = +?`).get(n) as { detail: string };
    assert.match(plan.detail, /by_n/);
  }
});
