// Backups of a SQLite file are complete, private and as of one moment, or do not exist at all.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import fs, {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { dirname, join } from "node:path";
import { test } from "node:test";
import Database from "better-sqlite3";
import { openStore } from "../../../src/index.ts";
import { backupFolder, listBackups } from "../../../src/schema/manifest.ts";
import { backUpSqlite, prepareTarget } from "../../../src/sqlite/backup.ts";
import { connect } from "../../../src/sqlite/connection.ts";
import { checkCopy } from "../../../src/sqlite/integrity.ts";
import { verifyBackup } from "../../../src/sqlite/verify.ts";
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

test("a backup that another one is making is refused, and the other one is not touched", async () => {
  const path = await filled();
  const target = prepareTarget(path, join(dirname(path), "daily.db"));
  writeFileSync(target.partial, "being written");
  assert.throws(() => prepareTarget(path, target.path), {
    code: "conflict",
    message: /daily\.db is being made by another backup, which writes .*daily\.db\..*\.partial: wait for it/,
  });
  assert.throws(() => backUpSqlite(path, "the same place", { target }), { code: "incompatible", message: /EEXIST/ });
  assert.equal(readFileSync(target.partial, "utf8"), "being written");
  // A backup of another name is made meanwhile.
  assert.ok(existsSync(backUpSqlite(path, "another", { target: prepareTarget(path, `${target.path}2`) }).path));
});

test("a file that somebody makes at the path of a backup or its manifest meanwhile stays, and no copy is left", async () => {
  const path = await filled();
  const folder = join(dirname(path), "elsewhere");
  for (const [name, taken] of [
    ["one.db", "one.db"],
    ["two.db", "two.db.json"],
  ] as const) {
    const target = prepareTarget(path, join(folder, name));
    const theirs = join(folder, taken);
    const watch = {
      onProgress() {
        writeFileSync(theirs, "theirs");
      },
    };
    assert.throws(() => backUpSqlite(path, "too late", { target, watch }), { code: "conflict", message: /exists/ });
    assert.deepEqual([readFileSync(theirs, "utf8"), readdirSync(folder)], ["theirs", [taken]]);
    assert.throws(() => prepareTarget(path, target.path), { code: "conflict", message: new RegExp(`${taken} exists`) });
    rmSync(theirs);
  }
});

test("on a file system without hard links a backup still replaces nothing", async (t) => {
  const path = await filled();
  const refusing = t.mock.method(fs, "linkSync", () => {
    throw Object.assign(new Error("EPERM: operation not permitted, link"), { code: "EPERM", syscall: "link" });
  });
  syncBuiltinESMExports();
  t.after(() => {
    refusing.mock.restore();
    syncBuiltinESMExports();
  });
  const folder = join(dirname(path), "stick");
  const made = backUpSqlite(path, "a test", { target: prepareTarget(path, join(folder, "one.db")) });
  assert.deepEqual(readdirSync(folder), ["one.db", "one.db.json"]);
  verifyBackup(made);
  const target = prepareTarget(path, join(folder, "two.db"));
  const watch = { onProgress: () => writeFileSync(target.path, "theirs") };
  assert.throws(() => backUpSqlite(path, "too late", { target, watch }), { code: "conflict" });
  assert.equal(readFileSync(target.path, "utf8"), "theirs");
});

test("a copy that has gone is not checked as an empty database, and none is created", async () => {
  const path = join(dirname(await filled()), "gone.db");
  assert.throws(() => checkCopy(path), { code: "incompatible" });
  assert.throws(() => connect(path, 10), { code: "incompatible" });
  assert.ok(!existsSync(path));
});

test("backups are listed while others get their names, and while they are removed", async () => {
  const path = await filled();
  const folder = backupFolder(path);
  mkdirSync(folder);
  const script = `
    import { linkSync, rmSync, writeFileSync } from "node:fs";
    import { createWriterTag } from ${JSON.stringify(new URL("../../../src/files/processes.ts", import.meta.url).href)};
    process.stdout.write("begins");
    for (let n = 0; ; n++) {
      const file = ${JSON.stringify(join(folder, "store.db"))};
      const partial = file + "." + createWriterTag() + ".partial";
      writeFileSync(partial, "x");
      linkSync(partial, file);
      rmSync(partial);
      writeFileSync(file + ".json", "{}");
      rmSync(file);
      rmSync(file + ".json");
    }`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script]);
  try {
    await once(child.stdout, "data");
    const seen = new Set<string>();
    for (let look = 0; look < 5_000 || seen.size < 2; look++)
      for (const { state } of listBackups(path)) seen.add(state);
    assert.ok(seen.has("unfinished"));
  } finally {
    child.kill("SIGKILL");
  }
});
