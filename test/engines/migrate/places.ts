// A database of each engine for the tests of a migration, with one way to run SQL that both engines understand.
import { openEngine } from "../../../src/migrate/open.ts";
import type { Migrator } from "../../../src/migrate/upgrade.ts";
import { readMigrations } from "../../../src/schema/migrationFiles.ts";
import { ask, dropDatabase, newDatabase } from "../../support/postgres.ts";
import { migrationFolder, withDatabase } from "./migrationFolder.ts";

export type Row = Record<string, unknown>;

/** One database, with its own way to run SQL that both engines understand. */
export interface Place {
  readonly url: string;
  readonly dialect: "sqlite" | "postgres";
  query(sql: string): Promise<Row[]>;
  run(sql: string): Promise<void>;
  remove(): Promise<void>;
}

export const places: Readonly<Record<Place["dialect"], () => Promise<Place>>> = {
  sqlite: async () => {
    const { url, path } = migrationFolder([]);
    return {
      url,
      dialect: "sqlite",
      query: async (sql) => withDatabase(path, (db) => db.prepare(sql).all() as Row[]),
      run: async (sql) =>
        withDatabase(path, (db) => {
          db.pragma("foreign_keys = OFF");
          db.exec(sql);
        }),
      remove: async () => {},
    };
  },
  postgres: async () => {
    const url = await newDatabase();
    return {
      url,
      dialect: "postgres",
      query: (sql) => ask<Row>(url, sql),
      run: async (sql) => void (await ask(url, sql)),
      remove: () => dropDatabase(url),
    };
  },
};

export async function migrate({ url, dialect }: Place, work: (migrator: Migrator) => Promise<unknown>): Promise<void> {
  const engine = await openEngine(url, { create: true, lockTimeoutMs: 10_000 });
  try {
    await work({ engine, migrations: readMigrations(dialect), now: () => Date.now() });
  } finally {
    await engine.close();
  }
}
