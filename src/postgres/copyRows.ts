// Copies the rows of a schema to the scratch schema on which migrations are tried out.

import type pg from "pg";
import type { TableShape } from "../schema/ledger.ts";
import { quoteName } from "../sql.ts";
import { runBody } from "./body.ts";
import { postgresCatalog } from "./catalog.ts";

/** Copies all rows of all tables, parents first, in place of the rows that the migrations have inserted. */
export async function copyRows(client: pg.Client, source: string): Promise<void> {
  const tables = parentsFirst(await runBody(client, postgresCatalog.tables()), await foreignKeysOf(client));
  await client.query(`TRUNCATE ${tables.map(({ name }) => quoteName(name)).join(", ")}`);
  for (const { name, columns } of tables) {
    const list = columns.map(quoteName).join(", ");
    await client.query(
      `INSERT INTO ${quoteName(name)} (${list}) OVERRIDING SYSTEM VALUE SELECT ${list} FROM ${source}.${quoteName(name)}`,
    );
  }
  // Identity columns continue after the copied rows.
  const { rows } = await client.query<{ table: string; column: string }>(`
    SELECT attrelid::regclass::text AS "table", attname AS "column"
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relkind = 'r' AND attidentity <> ''`);
  for (const { table, column } of rows) {
    await client.query(
      `SELECT setval(
        pg_get_serial_sequence($1, $2),
        (SELECT coalesce(max(${quoteName(column)}), 0) + 1 FROM ${table}),
        false
      )`,
      [table, column],
    );
  }
}

/** Returns all foreign keys, as pairs of tables. */
async function foreignKeysOf(client: pg.Client): Promise<readonly { child: string; parent: string }[]> {
  const { rows } = await client.query<{ child: string; parent: string }>(`
    SELECT child.relname AS child, parent.relname AS parent
    FROM pg_constraint
      JOIN pg_class child ON child.oid = conrelid
      JOIN pg_class parent ON parent.oid = confrelid
    WHERE contype = 'f' AND child.relnamespace = quote_ident(current_schema())::regnamespace`);
  return rows;
}

/** Sorts tables so that each comes after those that it refers to. */
function parentsFirst(
  tables: readonly TableShape[],
  references: readonly { readonly child: string; readonly parent: string }[],
): TableShape[] {
  const sorted = new Map<string, TableShape>();
  const visiting = new Set<string>();
  const visit = (table: TableShape): void => {
    if (sorted.has(table.name) || visiting.has(table.name)) return;
    visiting.add(table.name);
    for (const { child, parent } of references)
      if (child === table.name) visit(tables.find(({ name }) => name === parent) as TableShape);
    sorted.set(table.name, table);
  };
  for (const table of tables) visit(table);
  return [...sorted.values()];
}
