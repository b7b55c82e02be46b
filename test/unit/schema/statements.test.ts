// The tokenizer finds the ends of statements, and compares definitions.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import Database from "better-sqlite3";
import fc from "fast-check";
import type { Dialect } from "../../../src/schema/statements.ts";

import { canonicalSql, splitStatements } from "../../../src/schema/statements.ts";

const split = (sql: string, dialect: Dialect = "sqlite") => splitStatements(sql, dialect).map(({ text }) => text);

describe("splitting", () => {
  const trigger =
    "CREATE TRIGGER a AFTER UPDATE ON b BEGIN\n  UPDATE c SET d = CASE WHEN e THEN 1 ELSE 2 END;\n  DELETE FROM f; -- x;\nEND";
  for (const [what, dialect, sql, expected] of [
    ["two statements, the last without a semicolon", "sqlite", "SELECT 1; SELECT 2", ["SELECT 1", "SELECT 2"]],
    ["nothing, and semicolons alone", "sqlite", " ;; -- x\n; /* ; */", []],
    ["comments before, within and after", "sqlite", "-- a;\nSELECT /* ; */ 1 -- b;\n; /* c */", ["SELECT /* ; */ 1"]],
    ["a block comment in SQLite does not nest", "sqlite", "/* /* */ SELECT 1; /* x */", ["SELECT 1"]],
    [
      "strings with semicolons and doubled quotes",
      "sqlite",
      "SELECT ';', 'it''s; so';SELECT 2",
      ["SELECT ';', 'it''s; so'", "SELECT 2"],
    ],
    ["a comment mark in a string", "sqlite", "SELECT '--', '/*'; SELECT 2", ["SELECT '--', '/*'", "SELECT 2"]],
    [
      "the four quotes of names",
      "sqlite",
      'SELECT "a;""", `b;```, [c;], 1; SELECT 2',
      ['SELECT "a;""", `b;```, [c;], 1', "SELECT 2"],
    ],
    ["a backslash is no escape in SQLite", "sqlite", "SELECT '\\'; SELECT 2", ["SELECT '\\'", "SELECT 2"]],
    ["a string that is never closed goes to the end", "sqlite", "SELECT 1; SELECT 'a; b", ["SELECT 1", "SELECT 'a; b"]],
    ["a trigger", "sqlite", `${trigger};SELECT 2;`, [trigger, "SELECT 2"]],
    [
      "a temporary trigger in lower case",
      "sqlite",
      "create temp trigger a begin select 1; end; select 2",
      ["create temp trigger a begin select 1; end", "select 2"],
    ],
    [
      "a table that is named like a trigger",
      "sqlite",
      "CREATE TABLE trigger_a (x); SELECT 1",
      ["CREATE TABLE trigger_a (x)", "SELECT 1"],
    ],
    [
      "dollar quotes",
      "postgres",
      "DO $$ BEGIN x; END $$; SELECT $a$ ; $$ ; $a$;",
      ["DO $$ BEGIN x; END $$", "SELECT $a$ ; $$ ; $a$"],
    ],
    [
      "parameters are no dollar quotes",
      "postgres",
      "SELECT $1; SELECT a$b$; SELECT $2",
      ["SELECT $1", "SELECT a$b$", "SELECT $2"],
    ],
    ["escape strings", "postgres", "SELECT E'\\';', 'a\\'; SELECT e''", ["SELECT E'\\';', 'a\\'", "SELECT e''"]],
    [
      "a block comment in PostgreSQL nests",
      "postgres",
      "/* ; /* ; */ ; */ SELECT 1; SELECT 2 /* ; /* ",
      ["SELECT 1", "SELECT 2"],
    ],
    [
      "subscripts are no quotes in PostgreSQL",
      "postgres",
      "SELECT a[1]; SELECT '{;}'::text[]",
      ["SELECT a[1]", "SELECT '{;}'::text[]"],
    ],
  ] as const) {
    it(`${dialect}: ${what}`, () => assert.deepEqual(split(sql, dialect), expected));
  }

  it("returns the line on which each statement begins, after comments", () => {
    assert.deepEqual(
      splitStatements("-- a\n\nSELECT 1;\n/* b\n */ SELECT\n 2;SELECT 3", "sqlite", 10).map(({ line }) => line),
      [12, 14, 15],
    );
  });

  it("SQLite accepts each part as one statement, for any text", () => {
    const db = new Database(":memory:");
    db.exec("CREATE TABLE t (a, b)");
    const blank = fc.constantFrom(" ", "\n", " -- c; '\n", "/* ; ' */", "");
    const literal = fc.constantFrom(
      "1",
      "';'",
      "''''",
      '"a"',
      "`b`",
      "[a]",
      "'--'",
      "'/*'",
      "x'3b'",
      "CASE WHEN a THEN ';' ELSE 2 END",
    );
    const select = fc.tuple(literal, blank, literal).map(([one, space, two]) => `SELECT ${one}${space}, ${two} FROM t`);
    const made = fc
      .tuple(fc.nat(1_000), select)
      .map(([n, body]) => `CREATE TRIGGER IF NOT EXISTS t${n} AFTER INSERT ON t BEGIN ${body}; ${body}; END`);
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.oneof(select, made), blank), { maxLength: 6 }), (pieces) => {
        const found = split(pieces.map(([text, space]) => `${space}${text}${space};${space}`).join(""));
        assert.deepEqual(
          found,
          pieces.map(([text]) => text),
        );
        for (const text of found) db.prepare(text);
      }),
      { numRuns: 300 },
    );
  });
});

describe("comparing definitions", () => {
  it("ignores comments and white space, and nothing else", () => {
    const same = (left: string, right: string) => canonicalSql(left, "sqlite") === canonicalSql(right, "sqlite");
    assert.ok(same("CREATE TABLE a (\n  b INTEGER, -- why\n  c\n)", "CREATE TABLE a(b INTEGER,c)"));
    assert.ok(!same("CREATE TABLE a (b INTEGER)", "CREATE TABLE a (bINTEGER)"));
    assert.ok(!same("CREATE TABLE a (b DEFAULT ' ')", "CREATE TABLE a (b DEFAULT '')"));
    assert.ok(!same("CREATE TABLE a (b)", "CREATE TABLE a (b, c)"));
  });
});
