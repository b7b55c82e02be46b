// Statements as values, and the step counter that finds a forgotten yield*.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { z } from "zod";
import type { Context } from "../../src/context.ts";
import { integer, text } from "../../src/model/codec.ts";
import { fail, type OperationTable, operation } from "../../src/operation.ts";
import {
  all,
  and,
  change,
  changeEach,
  empty,
  first,
  one,
  type Statement,
  sql,
  step,
  when,
  words,
} from "../../src/sql.ts";
import { memoryDispatcher } from "../support/memoryDriver.ts";

const textAndValues = ({ strings, values }: Statement) => [strings.join("?"), values];

describe("sql", () => {
  it("separates text from values, so that no value becomes text", () => {
    const hostile = "'; DROP TABLE x; --";
    assert.deepEqual(textAndValues(sql`SELECT ${1}, ${hostile} FROM x WHERE a = ${null}`), [
      "SELECT ?, ? FROM x WHERE a = ?",
      [1, hostile, null],
    ]);
  });

  it("inserts statements into statements, with their values in order", () => {
    const inner = sql`b = ${2} AND c = ${3}`;
    assert.deepEqual(textAndValues(sql`SELECT ${1} WHERE ${inner} LIMIT ${4}`), [
      "SELECT ? WHERE b = ? AND c = ? LIMIT ?",
      [1, 2, 3, 4],
    ]);
    assert.deepEqual(textAndValues(sql`${inner}${empty}${inner}`), ["b = ? AND c = ?b = ? AND c = ?", [2, 3, 2, 3]]);
    assert.deepEqual(textAndValues(sql`a ${sql`b ${sql`c = ${1}`}`} d`), ["a b c = ? d", [1]]);
  });

  it("returns the same template for the same place in the code, and another one for another shape", () => {
    const plain = (value: number) => sql`SELECT ${value}`;
    assert.equal(plain(1).strings, plain(2).strings);
    const nested = (value: number, ordered: boolean) =>
      sql`SELECT ${value} ${ordered ? sql`ORDER BY ${value}` : empty}`;
    assert.equal(nested(1, true).strings, nested(2, true).strings);
    assert.notEqual(nested(1, true).strings, nested(1, false).strings);
  });

  it("and() joins the conditions that are not undefined, and is TRUE without conditions", () => {
    assert.deepEqual(textAndValues(and(sql`a = ${1}`, undefined, sql`b = ${2}`)), ["a = ? AND b = ?", [1, 2]]);
    assert.deepEqual(textAndValues(and(undefined)), ["TRUE", []]);
  });

  it("when() adds a part for a value that is present, and nothing for one that is absent", () => {
    const ofState = (state: string | undefined) => when(state, (value) => sql`state = ${value}`);
    assert.deepEqual(textAndValues(and(ofState("idle"))), ["state = ?", ["idle"]]);
    assert.deepEqual(textAndValues(and(ofState(undefined))), ["TRUE", []]);
  });

  it("words become text of the statement, and anything but words is refused", () => {
    assert.deepEqual(textAndValues(sql`state IN (${words(["idle", "dirty"])})`), ["state IN ('idle', 'dirty')", []]);
    assert.throws(() => words(["idle", "x'); DROP TABLE x; --"]), /is not a word/);
  });
});

// biome-ignore-start lint/correctness/useYield: these tests need bodies that forget a yield*.
/** Returns an operation without input that runs `run`. */
function withoutInput(access: "read" | "write", run: (context: Context) => Iterable<unknown>) {
  return operation({
    access,
    input: z.strictObject({}),
    output: text,
    errors: ["not_found"],
    run: (_input: object, context: Context) => run(context) as never,
  });
}

const helper = step(function* (value: number) {
  yield* change(sql`INSERT INTO t (x) VALUES (${value})`);
  return value;
});

const quietHelper = step(function* () {
  return 1;
});

const faultyOperations = {
  t: {
    verb: withoutInput("write", function* () {
      change(sql`INSERT INTO t (x) VALUES (1)`);
      return "done";
    }),
    laterVerb: withoutInput("write", function* () {
      yield* change(sql`INSERT INTO t (x) VALUES (1)`);
      all(sql`SELECT * FROM t`);
      return "done";
    }),
    step: withoutInput("write", function* () {
      helper(1);
      return "done";
    }),
    quietStep: withoutInput("write", function* () {
      quietHelper();
      return "done";
    }),
    halfStep: withoutInput("write", function* () {
      helper(1).next();
      return "done";
    }),
    inStep: withoutInput("write", function* () {
      yield* step(function* () {
        helper(3);
      })();
      return "done";
    }),
    none: withoutInput("write", function* () {
      yield* helper(7);
      yield* quietHelper();
      yield* first(sql`SELECT 1`);
      return "done";
    }),
    sneaky: withoutInput("read", function* () {
      yield* change(sql`INSERT INTO t (x) VALUES (1)`);
      return "done";
    }),
    sneakyReturning: withoutInput("read", function* () {
      yield* first(sql`INSERT INTO t (x) VALUES (1) RETURNING x`);
      return "done";
    }),
    undeclared: withoutInput("write", function* () {
      yield* helper(1);
      fail("log_gap", { expectedOffset: 1 });
    }),
    declared: withoutInput("write", function* () {
      yield* helper(1);
      fail("not_found", { id: "x" });
    }),
    broken: withoutInput("write", function* () {
      yield* helper(1);
      throw new TypeError("a fault");
    }),
    missing: withoutInput("write", function* () {
      yield* change(sql`INSERT INTO t (x) VALUES (${undefined as never})`);
      return "done";
    }),
    noRow: withoutInput("write", function* () {
      yield* helper(1);
      yield* one(sql`UPDATE t SET x = 2 WHERE x = 3 RETURNING x`);
      return "done";
    }),
    several: operation({
      access: "write",
      input: z.strictObject({}),
      output: integer,
      errors: [],
      *run() {
        return yield* changeEach([1, 2, 3].map((n) => sql`INSERT INTO t (x) VALUES (${n})`));
      },
    }),
  },
} satisfies OperationTable;

// biome-ignore-end lint/correctness/useYield: needed only above.

function dispatcher() {
  const memory = memoryDispatcher(faultyOperations);
  memory.db.exec("CREATE TABLE t (x INTEGER NOT NULL)");
  const rows = () => memory.db.prepare("SELECT x FROM t ORDER BY x").pluck().all();
  return { ...memory, rows };
}

describe("step counter", () => {
  for (const name of ["verb", "laterVerb", "step", "quietStep", "halfStep", "inStep"] as const) {
    it(`fails a call whose body forgets a yield*, and stores nothing: ${name}`, async () => {
      const { run, rows, faults } = dispatcher();
      const [[[ok, failure]]] = await run([`t.${name}`]);
      assert.equal(ok, false);
      assert.equal(failure[0], "internal");
      assert.match(faults[0]?.message as string, /yield\* missing/);
      assert.deepEqual(rows(), []);
    });
  }

  it("does not fail calls after one that forgot a yield*", async () => {
    const { run, rows } = dispatcher();
    const answers = await run(["t.verb"], ["t.none"], ["t.step"], ["t.none"]);
    assert.deepEqual(
      answers.map(([answer]: [unknown[]]) => answer[0]),
      [false, true, false, true],
    );
    assert.deepEqual(rows(), [7, 7]);
  });
});

describe("dispatcher", () => {
  for (const name of ["sneaky", "sneakyReturning"] as const) {
    it(`refuses a read operation that writes: ${name}`, async () => {
      const { run, rows } = dispatcher();
      // The other call of the group writes, so the transaction itself would allow it.
      const [, [answer]] = await run(["t.none"], [`t.${name}`]);
      assert.deepEqual([answer[0], answer[1][0], answer[1][2]], [false, "internal", "not_run"]);
      assert.deepEqual(rows(), [7]);
    });
  }

  it("reports an undeclared code as internal", async () => {
    const { run, rows, faults } = dispatcher();
    const [[answer]] = await run(["t.undeclared"]);
    assert.deepEqual([answer[1][0], answer[1][2]], ["internal", "rolled_back"]);
    assert.match(answer[1][1], /does not declare log_gap/);
    assert.equal(faults.length, 1);
    assert.deepEqual(rows(), []);
  });

  it("answers with a declared code and its details", async () => {
    const { run, faults } = dispatcher();
    const [[answer]] = await run(["t.declared"]);
    assert.deepEqual(answer, [false, ["not_found", "no row has this id", "rolled_back", { id: "x" }]]);
    assert.deepEqual(faults, []);
  });

  it("answers with internal when a body throws, and keeps the cause on the server", async () => {
    const { run, faults } = dispatcher();
    const [[answer]] = await run(["t.broken"]);
    assert.equal(answer[1][0], "internal");
    assert.doesNotMatch(JSON.stringify(answer), /a fault/);
    assert.match(String(faults[0]?.cause), /a fault/);
  });

  it("answers with internal, instead of writing NULL, when a value of a statement is undefined", async () => {
    const { run, rows } = dispatcher();
    const [[answer]] = await run(["t.missing"]);
    assert.equal(answer[1][0], "internal");
    assert.deepEqual(rows(), []);
  });

  it("a call whose statement must return a row and returns none fails, and leaves nothing", async () => {
    const { run, rows, faults } = dispatcher();
    const [[answer]] = await run(["t.noRow"]);
    assert.deepEqual([answer[1][0], answer[1][2]], ["internal", "rolled_back"]);
    assert.match(faults[0]?.message as string, /always returns a row returned none/);
    assert.deepEqual(rows(), []);
  });

  it("changeEach returns the number of all changed rows", async () => {
    const { run } = dispatcher();
    assert.deepEqual(await run(["t.several"]), [[[true, 3]]]);
  });

  it("refuses an unknown operation and wire input that is too long before any body runs", async () => {
    const { run } = dispatcher();
    await assert.rejects(run(["t.nothing"]), { code: "unknown_operation" });
    await assert.rejects(run(["__proto__.toString"]), { code: "unknown_operation" });
    await assert.rejects(run(["t.none", 1]), { code: "invalid_input" });
  });
});
