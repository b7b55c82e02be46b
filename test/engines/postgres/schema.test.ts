// The migrations of both dialects create the same schema, down to the columns, constraints and indexes.
import assert from "node:assert/strict";
import { test } from "node:test";
import { openStore } from "../../../src/index.ts";
import { memoryDatabase } from "../../support/memoryDriver.ts";
import { ask, dropDatabase, newDatabase } from "../../support/postgres.ts";

/** Maps PostgreSQL's types to SQLite's: PostgreSQL has types of its own for times, booleans and ids. */
const typesOf: Readonly<Record<string, readonly string[]>> = {
  TEXT: ["text", "uuid", "json"],
  INTEGER: ["bigint", "timestamp with time zone", "boolean"],
  BLOB: ["bytea"],
};

interface Column {
  readonly name: string;
  readonly type: string;
  readonly nullable: boolean;
  readonly hasDefault: boolean;
}

interface Table {
  readonly columns: Map<string, Column>;
  /** Texts that both engines have in common. */
  readonly primaryKey: string;
  readonly foreignKeys: readonly string[];
  readonly uniques: readonly string[];
  readonly indexes: readonly string[];
  readonly checks: readonly string[];
}

type Schema = Map<string, Table>;

/** Returns a condition without what only one engine prints: casts, parentheses, and its way to write false. */
function condition(text: string): string {
  return text
    .replace(/::(?:text|bigint|boolean)(?:\[\])?|COLLATE "C"|\(|\)|"/g, " ")
    .replace(/= ANY\s+ARRAY\[([^\]]*)\]/g, "IN $1")
    .replace(/(\w+) BETWEEN (\w+) AND (\w+)/g, "$1 >= $2 AND $1 <= $3")
    .replace(/octet_length/g, "length")
    .replace(/\s+/g, " ")
    .replace(/ ,/g, ",")
    .trim()
    .toLowerCase();
}

async function sqliteSchema(): Promise<Schema> {
  const db = memoryDatabase();
  const schema: Schema = new Map();
  const tables = db
    .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    .all() as { name: string; sql: string }[];
  for (const { name, sql } of tables) {
    const columns = db
      .prepare('SELECT name, type, "notnull" AS required, dflt_value, pk FROM pragma_table_info(?)')
      .all(name) as {
      name: string;
      type: string;
      required: number;
      dflt_value: string | null;
      pk: number;
    }[];
    const keys = db
      .prepare('SELECT id, "table" AS parent, "from" AS child, "to" AS key, on_delete FROM pragma_foreign_key_list(?)')
      .all(name) as Record<string, string>[];
    const lists = db.prepare('SELECT name, "unique" AS uniq, origin FROM pragma_index_list(?)').all(name) as {
      name: string;
      uniq: number;
      origin: string;
    }[];
    const columnsOf = (index: string) =>
      (
        db
          .prepare('SELECT name, "desc" AS descending FROM pragma_index_xinfo(?) WHERE key = 1 ORDER BY seqno')
          .all(index) as {
          name: string;
          descending: number;
        }[]
      )
        .map((one) => `${one.name}${one.descending === 1 ? " desc" : ""}`)
        .join(", ");
    const whereOf = (index: string) => {
      const text =
        (db.prepare("SELECT sql FROM sqlite_schema WHERE name = ?").get(index) as { sql: string | null }).sql ?? "";
      const where = /\bWHERE (.*)$/s.exec(text)?.[1];
      return where === undefined ? "" : ` where ${condition(where)}`;
    };
    const checks = checksOf(sql).filter(
      (text) =>
        !/^json_valid|^(?:pinned|auto_complete|verified|cut|cancel_due|success|awaits_place|removed) in 0, 1$|^pinned = 0 or pinned = 1$/.test(
          text,
        ),
    );
    schema.set(name, {
      columns: new Map(
        columns.map((one) => [
          one.name,
          {
            name: one.name,
            type: one.type,
            nullable: one.required === 0 && one.pk === 0,
            hasDefault: one.dflt_value !== null,
          },
        ]),
      ),
      primaryKey: columns
        .filter(({ pk }) => pk > 0)
        .toSorted((a, b) => a.pk - b.pk)
        .map((one) => one.name)
        .join(", "),
      foreignKeys: keys
        .map((key) => `${key.child} to ${key.parent}.${key.key} on delete ${key.on_delete}`.toLowerCase())
        .toSorted(),
      uniques: lists
        .filter(({ uniq, origin }) => uniq === 1 && origin !== "pk")
        .map((one) => `${columnsOf(one.name)}${whereOf(one.name)}`)
        .toSorted(),
      indexes: lists
        .filter(({ uniq }) => uniq === 0)
        .map((one) => `${one.name}: ${columnsOf(one.name)}${whereOf(one.name)}`)
        .toSorted(),
      checks: checks.toSorted(),
    });
  }
  db.close();
  return schema;
}

/** Returns the conditions of all CHECKs in a CREATE TABLE, found by their parentheses. */
function checksOf(sql: string): string[] {
  const found: string[] = [];
  for (const { index } of sql.matchAll(/CHECK \(/g)) {
    const start = index + "CHECK (".length;
    let [depth, at] = [1, start];
    while (depth > 0) depth += { "(": 1, ")": -1 }[sql[at++] as string] ?? 0;
    found.push(condition(sql.slice(start, at - 1)));
  }
  return found;
}

async function postgresSchema(): Promise<Schema> {
  const url = await newDatabase();
  await (await openStore({ url })).close();
  const schema: Schema = new Map();
  const tables = await ask<{ name: string; oid: number }>(
    url,
    "SELECT relname AS name, oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'schema_migrations'",
  );
  for (const { name, oid } of tables) {
    const columns = await ask<{
      name: string;
      type: string;
      required: boolean;
      has_default: boolean;
      collation: string | null;
    }>(
      url,
      `SELECT attname AS name, format_type(atttypid, atttypmod) AS type, attnotnull AS required, atthasdef AS has_default,
         (SELECT collname FROM pg_collation WHERE pg_collation.oid = attcollation) AS collation
       FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped`,
      [oid],
    );
    for (const { name: column, type, collation } of columns)
      if (type === "text") assert.equal(collation, "C", `${name}.${column}`);
    const constraints = await ask<{ kind: string; text: string; index: number }>(
      url,
      // PostgreSQL quotes a name that is a keyword.
      `SELECT contype AS kind, replace(pg_get_constraintdef(oid), '"', '') AS text, conindid AS index FROM pg_constraint WHERE conrelid = $1`,
      [oid],
    );
    const of = (kind: string) => constraints.filter((one) => one.kind === kind).map(({ text }) => text);
    const indexes = await ask<{ name: string; uniq: boolean; text: string }>(
      url,
      `SELECT relname AS name, indisunique AS uniq, pg_get_indexdef(indexrelid) AS text FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
       WHERE indrelid = $1 AND NOT indisprimary AND indexrelid NOT IN (SELECT conindid FROM pg_constraint WHERE conrelid = $1)`,
      [oid],
    );
    const shapeOf = (text: string) => {
      const plain = text
        .replace(/ COLLATE "C"/g, "")
        .replaceAll(/\s+/g, " ")
        .replaceAll(" ELSE NULL::timestamp with time zone", "")
        // SQLite does not tell the expressions of an index; a long text has a hash in its place.
        .replace(/\( ?CASE .*? END\)/, "null")
        .replace(/(?<= btree \()COALESCE\([^)]*\)/, "null")
        .replace(/md5\((\w+)\)/, "$1");
      const [, list, where] = /\((.*?)\)(?: WHERE (.*))?$/s.exec(plain) ?? [];
      return `${list?.replaceAll('"', "").toLowerCase()}${where === undefined ? "" : ` where ${condition(where)}`}`;
    };
    const excluded = of("x").map((text) => {
      const [, column, where] = /\((\w+) WITH =\) WHERE \((.*)\)$/.exec(text) ?? [];
      return `${column} where ${condition(where ?? "")}`;
    });
    schema.set(name, {
      columns: new Map(
        columns.map((one) => [
          one.name,
          { name: one.name, type: one.type, nullable: !one.required, hasDefault: one.has_default },
        ]),
      ),
      primaryKey: /\((.*)\)/.exec(of("p")[0] ?? "")?.[1] ?? "",
      foreignKeys: of("f")
        .map((text) => {
          const [, child, parent, key, action] =
            /\((\w+)\) REFERENCES (\w+)\((\w+)\)(?: ON DELETE (\w+))?/.exec(text) ?? [];
          return `${child} to ${parent}.${key} on delete ${(action ?? "no action").toLowerCase()}`;
        })
        .toSorted(),
      uniques: [
        ...of("u").map((text) => /\((.*)\)/.exec(text)?.[1] as string),
        ...indexes.filter(({ uniq }) => uniq).map(({ text }) => shapeOf(text)),
        ...excluded,
      ].toSorted(),
      indexes: indexes
        .filter(({ uniq }) => !uniq)
        .map((one) => `${one.name}: ${shapeOf(one.text)}`)
        .toSorted(),
      checks: of("c")
        .map((text) => condition(text.replace(/^CHECK /, "")))
        .toSorted(),
    });
  }
  await dropDatabase(url);
  return schema;
}

test("the schemas of both dialects are the same", async () => {
  const [sqlite, postgres] = [await sqliteSchema(), await postgresSchema()];
  assert.ok(sqlite.size >= 9);
  assert.deepEqual([...postgres.keys()].toSorted(), [...sqlite.keys()].toSorted());
  for (const [name, own] of sqlite) {
    const other = postgres.get(name) as Table;
    assert.deepEqual([...other.columns.keys()], [...own.columns.keys()], `${name}: columns`);
    for (const [column, { type, nullable, hasDefault }] of own.columns) {
      const twin = other.columns.get(column) as Column;
      assert.ok(typesOf[type]?.includes(twin.type), `${name}.${column}: ${type} and ${twin.type}`);
      assert.equal(twin.nullable, nullable, `${name}.${column}: NOT NULL`);
      assert.equal(twin.hasDefault, hasDefault, `${name}.${column}: DEFAULT`);
      if (/(?:^|_)at$/.test(column)) assert.equal(twin.type, "timestamp with time zone", `${name}.${column}`);
    }
    for (const part of ["primaryKey", "foreignKeys", "uniques", "indexes", "checks"] as const)
      assert.deepEqual(other[part], own[part], `${name}: ${part}`);
  }
});

/**
 * The columns that name something and are no foreign keys (D-086). Their ids belong to other programs, outlive the rows
 * that they name, or are names that the caller chooses.
 */
const withoutForeignKey: readonly string[] = [
  // The foreign key of the command covers it.
  "attempts.session_id",
  "changes.actor",
  "changes.entity_id",
  "changes.request_id",
  "changes.session_id",
  // What a rerun repeats may be deleted.
  "commands.rerun_of",
  "debug_breakpoints.adapter_id",
  "debug_early_reports.adapter_id",
  // The names that callers have, or that a request names.
  "debug_history.actor",
  "debug_history.request_id",
  "debug_requests.requested_by",
  "debug_requests.thread_id",
  "debug_sessions.hit_breakpoint_ids",
  "debug_sessions.stale_frame_ids",
  "debug_sessions.stop_thread_id",
  "debug_stops.thread_id",
  "debug_threads.hit_breakpoint_ids",
  "debug_threads.thread_id",
  "discarded_files.session_id",
  "environments.lease_owner",
  "idempotency_keys.actor",
  "log_moves.attempt_id",
  "runners.boot_id",
  // A mark goes with its session, after the commands.
  "session_marks.command_id",
  // The environment may go after the session.
  "sessions.environment_id",
  "sessions.last_command_id",
  "sessions.requested_by",
  "sessions.rerun_of",
  "tokens.public_id",
  // Those of a limit: the token is a record of who had access.
  "tokens.repository_ids",
  "tokens.session_id",
  "worktrees.lease_owner",
];

test("a column that names another row is a foreign key, on both engines", async () => {
  for (const schema of [await sqliteSchema(), await postgresSchema()]) {
    const loose = [...schema].flatMap(([name, { columns, foreignKeys }]) =>
      [...columns.keys()]
        .filter((column) => /_(?:ids?|by|to|owner)$|^(?:actor|rerun_of)$/.test(column))
        .filter((column) => !foreignKeys.some((key) => key.startsWith(`${column} to `)))
        .map((column) => `${name}.${column}`),
    );
    assert.deepEqual(loose.toSorted(), withoutForeignKey);
  }
});
