// Creates a folder for a test of restores: a database as a killed server leaves it, and a backup with other contents.
import assert from "node:assert/strict";
import { copyFileSync, cpSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join, relative } from "node:path";
import Database from "better-sqlite3";
import { newId } from "../../../src/index.ts";
import { backUpSqlite } from "../../../src/sqlite/backup.ts";
import { openVisitor } from "../../../src/store.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";

export interface RestoreFolder {
  readonly folder: string;
  /** The path of a database with the state `old`. A part of that state is only in the WAL. */
  readonly path: string;
  readonly url: string;
  /** The path of a backup with the state `fresh`. */
  readonly backup: string;
  /** Restores the old database, and removes what a test has left beside it. */
  reset(): void;
}

export const old = ["old-1", "old-2"];
export const fresh = ["fresh-1"];

export async function restoreFolder(): Promise<RestoreFolder> {
  made ??= makeFiles();
  const { files, backup } = await made;
  const folder = temporaryFolder();
  cpSync(files, folder, { recursive: true });
  const path = join(folder, "data", "store.db");
  const reset = (): void => {
    rmSync(join(folder, "data"), { recursive: true, force: true });
    mkdirSync(join(folder, "data"), { mode: 0o700 });
    for (const suffix of ["", "-wal"]) copyFileSync(join(folder, `templates/copy.db${suffix}`), `${path}${suffix}`);
  };
  reset();
  return { folder, path, url: `sqlite:${path}`, backup: join(folder, backup), reset };
}

/** The files of all folders, which are made once in a process. The path of the backup is relative to their folder. */
let made: Promise<{ readonly files: string; readonly backup: string }> | undefined;

async function makeFiles() {
  const files = temporaryFolder();
  await makeOld(join(files, "templates"));
  return { files, backup: relative(files, await makeBackup(join(files, "made", "store.db"))) };
}

async function makeBackup(path: string): Promise<string> {
  const store = await openVisitor({ url: `sqlite:${path}`, migrate: "create" });
  for (const name of fresh) await store.repositories.upsert({ name });
  // Large enough that copying takes several steps.
  const { id: repositoryId } = await store.repositories.upsert({ name: fresh[0] as string });
  const metadata = { filler: "x".repeat(10_000) };
  await Promise.all(
    Array.from({ length: 300 }, () => store.sessions.create({ repositoryId, commitSha: "a".repeat(40), metadata })),
  );
  await store.close();
  return backUpSqlite(path, "a test").path;
}

async function makeOld(folder: string): Promise<void> {
  const path = join(folder, "store.db");
  const store = await openVisitor({ url: `sqlite:${path}`, migrate: "create" });
  await store.repositories.upsert({ name: old[0] as string });
  await store.close();
  const db = new Database(path);
  db.pragma("wal_autocheckpoint = 0");
  db.prepare(`
    INSERT INTO repositories (id, name, name_key, default_branch, max_worktrees, created_at, updated_at) VALUES (?, ?, ?, 'main', 16, 1, 1)`).run(
    newId(),
    old[1],
    old[1],
  );
  const copy = join(folder, "copy.db");
  for (const suffix of ["", "-wal"]) copyFileSync(`${path}${suffix}`, `${copy}${suffix}`);
  db.close();
}

/** Returns the state of a database, and requires that the database is complete and needs no other file. */
export function stateOf(path: string): "old" | "fresh" {
  const db = new Database(path);
  try {
    assert.deepEqual(db.pragma("integrity_check"), [{ integrity_check: "ok" }]);
    const names = db.prepare("SELECT name FROM repositories ORDER BY name").pluck().all();
    const sessions = db.prepare("SELECT count(*) FROM sessions").pluck().get();
    if (names.includes(old[0])) assert.deepEqual([names, sessions], [old, 0]);
    else assert.deepEqual([names, sessions], [fresh, 300]);
    return names.includes(old[0]) ? "old" : "fresh";
  } finally {
    db.close();
  }
}

export function leftovers(path: string): string[] {
  return readdirSync(join(path, "..")).filter(
    (name) => !["store.db", "store.db-wal", "store.db-shm", "backups"].includes(name),
  );
}
