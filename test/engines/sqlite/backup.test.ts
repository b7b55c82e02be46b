// Backups of a SQLite file are complete, private and as of one moment, or do not exist at all.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import Database from "better-sqlite3";
import { openStore } from "../../../src/index.ts";
import { backUpSqlite } from "../../../src/sqlite/backup.ts";
import { checkCopy } from "../../../src/sqlite/integrity.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { contentsOf, migrationFolder } from "../migrate/migrationFolder.ts";

async function filled(): Promise<string> {
  const { path, url } = migrationFolder([]);
  const store = await openStore({ url });
  for (let n = 0; n < 5; n++) await fixtures(store).log();
  await store.close();
  return path;
}

test("a backup has the contents of the database and a manifest, readable by its owner only", async () => {
  const path = await filled();
  chmodSync(path, 0o644);
  const {
    path: copy,
    manifestPath,
    manifest,
  } = backUpSqlite(path, "a test", { now: new Date("2026-01-02T03:04:05.006Z") });
  assert.deepEqual(contentsOf(copy), contentsOf(path));
  assert.equal(copy, join(dirname(path), "backups", `store-20260102T030405006Z-${process.pid}.db`));
  assert.deepEqual(
    [copy, manifestPath].map((file) => statSync(file).mode & 0o777),
    [0o600, 0o600],
  );
  assert.deepEqual(JSON.parse(readFileSync(manifestPath, "utf8")), manifest);
  const { sha256, bytes, rows, createdAt, reason, source } = manifest;
  assert.equal(sha256, createHash("sha256").update(readFileSync(copy)).digest("hex"));
  assert.deepEqual(
    [bytes, createdAt, reason, source, rows.attempts],
    [statSync(copy).size, "2026-01-02T03:04:05.006Z", "a test", path, 5],
  );
  assert.deepEqual(readdirSync(dirname(copy)).length, 2);
});

test("a caller that holds the write lock copies the state before its transaction", async () => {
  const path = await filled();
  const before = contentsOf(path);
  const holder = new Database(path);
  holder.exec("BEGIN IMMEDIATE; DELETE FROM log_chunks; DROP INDEX sessions_page");
  const { path: copy } = backUpSqlite(path, "under a lock");
  holder.exec("ROLLBACK");
  holder.close();
  assert.deepEqual(contentsOf(copy), before);
});

test("of two backups at the same moment the second is refused, and the first stays", async () => {
  const path = await filled();
  const now = new Date();
  const { path: copy } = backUpSqlite(path, "one", { now });
  const bytes = readFileSync(copy);
  assert.throws(() => backUpSqlite(path, "two", { now }), { code: "conflict" });
  assert.deepEqual(readFileSync(copy), bytes);
});

test("backing up a damaged database fails and leaves no backup", async () => {
  const path = await filled();
  const bytes = readFileSync(path);
  // The damage is in the rows of a table.
  const at = bytes.lastIndexOf("session");
  assert.ok(at > 100_000);
  const page = Math.floor(at / 4096) * 4096;
  writeFileSync(path, Buffer.concat([bytes.subarray(0, page), Buffer.alloc(200, 0xff), bytes.subarray(page + 200)]));
  assert.throws(() => backUpSqlite(path, "too late"), { code: "corrupt" });
  assert.deepEqual(readdirSync(join(dirname(path), "backups")), []);
});

test("a copy is refused when its rows break the schema or when rows are missing", () => {
  const { path } = migrationFolder([]);
  mkdirSync(dirname(path), { recursive: true });
  const db = new Database(path);
  db.exec("CREATE TABLE t (x TEXT); INSERT INTO t VALUES (NULL)");
  db.close();
  assert.deepEqual(checkCopy(path, { t: 1 }).rows, { t: 1 });
  assert.throws(() => checkCopy(path, { t: 2 }), { code: "corrupt", message: /1 rows? of t/ });
  const edited = new Database(path);
  edited.unsafeMode();
  edited.pragma("writable_schema = ON");
  edited.exec("UPDATE sqlite_schema SET sql = 'CREATE TABLE t (x TEXT NOT NULL)' WHERE name = 't'");
  edited.close();
  assert.throws(() => checkCopy(path, { t: 1 }), { code: "corrupt", message: /damaged.*t\.x/ });
});

test("a folder that cannot be written is refused", async () => {
  const path = await filled();
  writeFileSync(join(dirname(path), "backups"), "a file in the way");
  assert.throws(() => backUpSqlite(path, "nowhere"), { code: "incompatible" });
  assert.ok(existsSync(path));
});
