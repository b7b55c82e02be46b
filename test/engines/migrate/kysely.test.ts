// The types of the tables that openKysely knows follow the migrations, and hold on both engines.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { type ColumnKind, renderDatabase, sqliteTables, type Table } from "../../../docs/kysely.ts";
import { migratedDatabase } from "../../support/migrated.ts";
import { ask, dropDatabase } from "../../support/postgres.ts";

const kinds: Readonly<Record<string, ColumnKind>> = {
  bigint: "number",
  boolean: "flag",
  bytea: "bytes",
  json: "json",
  text: "text",
  "timestamp with time zone": "time",
  uuid: "text",
};

interface ColumnRow {
  readonly table: string;
  readonly name: string;
  readonly type: string;
  readonly nullable: boolean;
  /** The CHECKs of the column alone. */
  readonly checks: readonly string[];
}

/** Reads the tables of a PostgreSQL database, as `sqliteTables` reads those of a SQLite database. */
async function postgresTables(url: string): Promise<readonly Table[]> {
  const rows = await ask<ColumnRow>(
    url,
    `SELECT
      relname AS "table",
      attname AS name,
      format_type(atttypid, NULL) AS type,
      NOT attnotnull AS nullable,
      ARRAY(
        SELECT pg_get_constraintdef(pg_constraint.oid) FROM pg_constraint
        WHERE conrelid = pg_class.oid AND contype = 'c' AND conkey = ARRAY[attnum]
      ) AS checks
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
    WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
    ORDER BY relname COLLATE "C", attnum`,
  );
  return [...Map.groupBy(rows, ({ table }) => table)].map(([name, columns]) => ({
    name,
    columns: columns.map(({ name: column, type, nullable, checks }) => ({
      name: column,
      // The ledger has milliseconds on both engines.
      kind:
        column === "applied_at"
          ? "time"
          : (kinds[type] ?? assert.fail(`${name}.${column} is of type ${type}, for which there is no kind`)),
      isNullable: nullable,
      values: checks.flatMap((check) => valuesOf(column, check)),
    })),
  }));
}

/** Returns the texts of a CHECK that lists them: CHECK (((state = 'a'::text) OR (state = 'b'::text))). */
function valuesOf(column: string, check: string): readonly string[] {
  const bare = check.replaceAll(/[()]|::text/g, "").replace(/^CHECK /, "");
  const one = `${column} = '[^']*'`;
  if (!new RegExp(`^${one}(?: OR ${one})*$`).test(bare)) return [];
  return [...bare.matchAll(/'([^']*)'/g)].map(([, value]) => value as string);
}

test("the types are those that the migrations make: npm run docs writes them", () => {
  const written = readFileSync(new URL("../../../src/kysely/database.ts", import.meta.url), "utf8");
  assert.equal(written, renderDatabase());
});

test("both engines have the same tables, with columns of the same kinds", async (t) => {
  const url = await migratedDatabase();
  t.after(() => dropDatabase(url));
  const [sqlite, postgres] = [sqliteTables(), await postgresTables(url)];
  assert.ok(sqlite.length > 20);
  assert.deepEqual(
    postgres.map(({ name }) => name),
    sqlite.map(({ name }) => name),
  );
  for (const [index, table] of sqlite.entries()) {
    // The engines have some columns in another order.
    const byName = (columns: Table["columns"]) => columns.toSorted((left, right) => (left.name < right.name ? -1 : 1));
    assert.deepEqual(byName((postgres[index] as Table).columns), byName(table.columns), table.name);
  }
});
