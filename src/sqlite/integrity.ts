// Checks that a copy of a SQLite database is undamaged and complete.

import type Database from "better-sqlite3";
import { StoreError } from "../errors.ts";
import type { BackupManifest } from "../schema/manifest.ts";
import { quoteName } from "../sql.ts";
import { connect } from "./connection.ts";
import { translate } from "./errors.ts";

/** The number of rows in each table. */
export type Rows = Readonly<Record<string, number>>;

export type Contents = Pick<BackupManifest, "storeId" | "rows" | "revision" | "sqliteVersion">;

/**
 * Checks a copy that no other process has open, and turns it into a single file without a WAL. Fails with corrupt when
 * it is damaged, or a table has another number of rows than expected.
 */
export function checkCopy(path: string, expected: Rows = {}): Contents {
  const db = connect(path, 0);
  try {
    db.pragma("journal_mode = DELETE");
    const contents = checkIntegrity(db);
    for (const [table, count] of Object.entries(expected)) {
      const { [table]: rows = 0 } = contents.rows;
      if (rows !== count)
        throw new StoreError("corrupt", `the copy has ${rows} rows of ${table}, but the source has ${count}`);
    }
    return contents;
  } catch (error) {
    throw translate(error);
  } finally {
    db.close();
  }
}

/** Runs SQLite's integrity check and counts all rows. Fails with corrupt when the database is damaged. */
export function checkIntegrity(db: Database.Database): Contents {
  const faults = db.pragma("integrity_check(5)") as { integrity_check: string }[];
  if (faults[0]?.integrity_check !== "ok")
    throw new StoreError("corrupt", `the copy is damaged: ${faults.map((fault) => fault.integrity_check).join(", ")}`);
  const rows = countRows(db);
  const revision =
    "schema_migrations" in rows ? db.prepare("SELECT max(revision) FROM schema_migrations").pluck().get() : undefined;
  return {
    storeId: storeIdOf(db),
    rows,
    revision: (revision as string | null | undefined) ?? "none",
    sqliteVersion: db.prepare("SELECT sqlite_version()").pluck().get() as string,
  };
}

/** Returns the id of the store in a database, or undefined when it holds none. */
export function storeIdOf(db: Database.Database): string | undefined {
  if (db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'store_meta'").get() === undefined) return undefined;
  return db.prepare("SELECT value FROM store_meta WHERE key = 'store_id'").pluck().get() as string | undefined;
}

export function countRows(db: Database.Database): Rows {
  const tables = db
    .prepare(
      "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
    )
    .pluck()
    .all() as string[];
  const count = (name: string) =>
    db
      .prepare(`SELECT count(*) FROM ${quoteName(name)}`)
      .pluck()
      .get() as number;
  return Object.fromEntries(tables.map((name) => [name, count(name)]));
}
