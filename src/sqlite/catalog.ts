// Reads the schema of a SQLite database: https://www.sqlite.org/schematab.html

import { type Catalog, ledgerTable, type SchemaObject, tableShapes } from "../schema/ledger.ts";
import { all, sql, step } from "../sql.ts";

/**
 * The application id in the file header of each of our databases, "DSDB" in ASCII:
 * https://www.sqlite.org/pragma.html#pragma_application_id
 */
export const applicationId = 0x44534442;

const createLedger = `CREATE TABLE IF NOT EXISTS ${ledgerTable} (
  revision TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  applied_at INTEGER NOT NULL,
  duration_ms INTEGER NOT NULL,
  applied_by TEXT NOT NULL
) STRICT`;

export const sqliteCatalog: Catalog = {
  setUp: [`PRAGMA application_id = ${applicationId}`, createLedger],

  tables: step(function* () {
    const columns = yield* all<{ name: string; column: string; default: string | null }>(sql`
      SELECT tables.name, columns.name AS "column", columns.dflt_value AS "default"
      FROM sqlite_schema AS tables JOIN pragma_table_xinfo(tables.name) AS columns
      WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
      ORDER BY tables.name, columns.cid`);
    return tableShapes(columns);
  }),

  isNew: (tables) => tables.length === 0,

  objects: step(function* () {
    return yield* all<SchemaObject>(sql`
      SELECT tbl_name AS "of", type, name, sql AS definition FROM sqlite_schema
      WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND tbl_name <> ${ledgerTable} ORDER BY tbl_name, type DESC, name`);
  }),

  violations: step(function* () {
    const rows = yield* all<{ table: string; rowid: number | null; parent: string }>(sql`PRAGMA foreign_key_check`);
    return rows.map(({ table, rowid, parent }) => ({
      child: table,
      parent,
      text: `${table}${rowid === null ? "" : ` row ${rowid}`} has no row of ${parent}`,
    }));
  }),
};
