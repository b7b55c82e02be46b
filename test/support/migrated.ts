// Databases with the schema of this version. Each is a copy of one that is migrated once in a process, because migrating
// takes as long as most tests.
import { randomBytes } from "node:crypto";
import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import { after } from "node:test";
import { openEngine } from "../../src/migrate/open.ts";
import { upgrade } from "../../src/migrate/upgrade.ts";
import { readMigrations } from "../../src/schema/migrationFiles.ts";
import { ask, dropDatabase, newDatabase, postgresUrl } from "./postgres.ts";
import { temporaryFolder } from "./temporaryFolder.ts";

let file: Promise<string> | undefined;
let database: Promise<string> | undefined;

/** Writes a migrated file to a path where there is none yet. */
export async function migratedFile(path: string): Promise<void> {
  file ??= migrateFile();
  await copyFile(await file, path);
}

async function migrateFile(): Promise<string> {
  const path = join(temporaryFolder(), "migrated.db");
  await migrate(`sqlite:${path}`);
  return path;
}

/** Creates a migrated database on the server that the tests share, and returns its URL. */
export async function migratedDatabase(): Promise<string> {
  database ??= migrateDatabase();
  const template = new URL(await database).pathname.slice(1);
  const url = new URL(await postgresUrl());
  const name = `test_${randomBytes(8).toString("hex")}`;
  await ask(url.href, `CREATE DATABASE ${name} TEMPLATE ${template}`);
  url.pathname = `/${name}`;
  return url.href;
}

async function migrateDatabase(): Promise<string> {
  const url = await newDatabase();
  await migrate(url);
  return url;
}

after(async () => {
  if (database !== undefined) await dropDatabase(await database);
});

async function migrate(url: string): Promise<void> {
  const engine = await openEngine(url, { create: true, lockTimeoutMs: 10_000 });
  try {
    const migrator = { engine, migrations: readMigrations(engine.dialect), now: () => Date.now() };
    await upgrade(migrator, "head", { backup: false });
  } finally {
    await engine.close();
  }
}
