// Gives each test of migrations a folder of its own with a database and migrations, and reads the database.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { openEngine } from "../../../src/migrate/open.ts";
import type { Migrator } from "../../../src/migrate/upgrade.ts";
import { migrationsFolder, readMigrations } from "../../../src/schema/migrationFiles.ts";
import type { Dialect } from "../../../src/schema/statements.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";

export interface MigrationFolder {
  readonly folder: string;
  readonly path: string;
  readonly url: string;
  readonly migrations: string;
}

export type Parts = readonly [name: string, up: string, down: string];

/** Migrations that create notes, move data into a column for their length, and add a table with a trigger. */
export const notes: readonly Parts[] = [
  ["notes", "CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT;", "DROP TABLE notes;"],
  [
    "note_lengths",
    "ALTER TABLE notes ADD COLUMN length INTEGER;\nUPDATE notes SET length = length(body);\nCREATE INDEX notes_length ON notes (length);",
    "DROP INDEX notes_length;\nALTER TABLE notes DROP COLUMN length;",
  ],
  [
    "note_authors",
    "CREATE TABLE authors (name TEXT NOT NULL PRIMARY KEY) STRICT;\nCREATE TRIGGER notes_author AFTER DELETE ON notes BEGIN DELETE FROM authors; SELECT 1; END;",
    "DROP TRIGGER notes_author;\nDROP TABLE authors;",
  ],
];

export function migrationFolder(files: readonly Parts[] = notes): MigrationFolder {
  const folder = temporaryFolder();
  const migrations = join(folder, "migrations");
  mkdirSync(migrations);
  for (const [index, parts] of files.entries()) writeMigration(migrations, index + 1, parts);
  const path = join(folder, "data", "store.db");
  return { folder, path, url: `sqlite:${path}`, migrations };
}

export function writeMigration(folder: string, number: number, [name, up, down]: Parts): string {
  const path = join(folder, `${String(number).padStart(4, "0")}_${name}.sqlite.sql`);
  writeFileSync(path, `-- up\n${up}\n-- down\n${down}\n`);
  return path;
}

/** Runs `work` with a migrator for the migrations of the folder, or by default for those of the package. */
export async function withMigrator<Result>(
  { url, migrations }: Pick<MigrationFolder, "url"> & { readonly migrations?: string },
  work: (migrator: Migrator) => Promise<Result>,
  lockTimeoutMs = 10_000,
): Promise<Result> {
  const engine = await openEngine(url, { create: true, lockTimeoutMs });
  try {
    return await work({
      engine,
      migrations: readMigrations("sqlite", migrations ?? migrationsFolder),
      now: () => Date.now(),
    });
  } finally {
    await engine.close();
  }
}

/**
 * Compares the schema at the head with the golden file of an engine, or writes the file with UPDATE_GOLDEN=1. The file
 * begins with the checksums of the migrations, because one that was released may never change: databases remember it.
 */
export function expectGolden(dialect: Dialect, schema: string): void {
  const file = new URL(`golden/head.${dialect}.sql`, import.meta.url);
  const checksums = readMigrations(dialect).map(({ file, sha256 }) => `-- ${file} ${sha256}\n`);
  const text = `${checksums.join("")}\n${schema}`;
  if (process.env.UPDATE_GOLDEN === "1") writeFileSync(file, text);
  assert.equal(text, readFileSync(file, "utf8"));
}

export function withDatabase<Result>(path: string, look: (db: Database.Database) => Result): Result {
  const db = new Database(path);
  try {
    return look(db);
  } finally {
    db.close();
  }
}

/** Returns all definitions and rows of a database, without times. */
export function contentsOf(path: string): unknown {
  return withDatabase(path, (db) => {
    const objects = db.prepare("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name").all() as {
      type: string;
      name: string;
    }[];
    const tables = objects.filter(({ type }) => type === "table").map(({ name }) => name);
    const columns = (name: string) => (name === "schema_migrations" ? "revision, name, sha256" : "*");
    return { objects, rows: tables.map((name) => [name, db.prepare(`SELECT ${columns(name)} FROM "${name}"`).all()]) };
  });
}
