// Restores are all or nothing, whatever prevents them and whenever they are killed.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import fs, {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { systemClock } from "../../../src/clock.ts";
import type { Group } from "../../../src/driver.ts";
import { createWriterTag } from "../../../src/files/processes.ts";
import { openStore, type StoreError } from "../../../src/index.ts";
import { defaultLimits } from "../../../src/limits.ts";
import { type BackupManifest, manifestPathOf } from "../../../src/schema/manifest.ts";
import { all, sql, step } from "../../../src/sql.ts";
import { backUpSqlite } from "../../../src/sqlite/backup.ts";
import { openSqlite } from "../../../src/sqlite/open.ts";
import { restoreSqlite, restoreSteps } from "../../../src/sqlite/restore.ts";
import { verifyBackup } from "../../../src/sqlite/verify.ts";
import { assertSound } from "../../support/sound.ts";
import { hasStrace, killRestoreAtCalls, killRestores, requireKept, restoreIn } from "./killing.ts";
import { fresh, leftovers, restoreFolder, stateOf } from "./restoreFolder.ts";

test("a restore replaces the database and its WAL, and keeps the old one as a checked backup", async () => {
  const { path, url, backup } = await restoreFolder();
  chmodSync(path, 0o640);
  const { kept, pending, from } = restoreSqlite({ backup, path, keep: true });
  assert.ok(!existsSync(`${path}-wal`));
  assert.deepEqual([stateOf(path), statSync(path).mode & 0o777, pending, leftovers(path)], ["fresh", 0o640, [], []]);
  assert.equal(from.path, backup);
  assert.ok(kept !== undefined && "manifest" in kept);
  verifyBackup(kept);
  assert.deepEqual(
    [kept.path, kept.manifestPath].map((file) => statSync(file).mode & 0o777),
    [0o640, 0o640],
  );
  assert.equal(stateOf(kept.path), "old");
  const store = await openStore({ url, migrate: "never" });
  assert.deepEqual(
    (await store.repositories.list()).items.map(({ name }) => name),
    fresh,
  );
  await assertSound(store);
  await store.close();
  // The kept backup restores the old database.
  restoreSqlite({ backup: kept.path, path, keep: false });
  assert.equal(stateOf(path), "old");
});

for (const step of restoreSteps) {
  test(`a restore killed after the step ${step} leaves the old or the new database, and another restore succeeds`, async () => {
    const { path, backup } = await restoreFolder();
    assert.equal((await restoreIn(backup, path, { step })).signal, "SIGKILL");
    const replaced = restoreSteps.indexOf(step) >= restoreSteps.indexOf("replaced");
    assert.equal(stateOf(path), replaced ? "fresh" : "old");
    if (replaced) requireKept(path);
    restoreSqlite({ backup, path, keep: true });
    assert.deepEqual([stateOf(path), leftovers(path)], ["fresh", []]);
  });
}

test("5 restores killed at random moments leave the old or the new database", async (t) => {
  const left = await killRestores(5);
  t.diagnostic(JSON.stringify(left));
  assert.equal(left.old + left.fresh, 5);
});

test("a restore killed at a system call that changes a file leaves the old or the new database", {
  skip: !hasStrace(),
}, async (t) => {
  // Each page is a call of its own; test:long kills at all of them.
  const seen = await killRestoreAtCalls((call, when) => (call === "pwrite" ? when + Math.ceil(when / 2) : when + 1));
  t.diagnostic(JSON.stringify(seen));
  assert.ok(seen.old > 3 && seen.fresh > 3);
});

test("the WAL of a database that is gone is not read into the restored one", async () => {
  const { path, backup } = await restoreFolder();
  rmSync(path);
  assert.ok(existsSync(`${path}-wal`));
  const { kept } = restoreSqlite({ backup, path, keep: true });
  assert.deepEqual([kept, stateOf(path)], [undefined, "fresh"]);
});

test("a missing folder is created for its owner only", async () => {
  const { folder, backup } = await restoreFolder();
  const path = join(folder, "new", "store.db");
  restoreSqlite({ backup, path, keep: true });
  assert.deepEqual([stateOf(path), statSync(join(folder, "new")).mode & 0o777], ["fresh", 0o700]);
});

test("a restore fails with busy while a server or a reader has the file open, and does not disturb it", async () => {
  const { path, url, backup } = await restoreFolder();
  for (const role of ["server", "visitor"] as const) {
    const store = await openStore({ url, role });
    assert.throws(() => restoreSqlite({ backup, path, keep: true }), {
      code: "busy",
      message: /is open in another process: end the servers and runners/,
    });
    await store.repositories.upsert({ name: "old-2", description: role });
    await store.close();
    assert.deepEqual([stateOf(path), leftovers(path)], ["old", []]);
  }
  assert.ok(!existsSync(join(path, "..", "backups")));
});

test("a damaged backup, or one with the manifest of another, fails with corrupt and changes nothing", async () => {
  const { path, backup } = await restoreFolder();
  const bytes = readFileSync(backup);
  writeFileSync(
    backup,
    Buffer.concat([bytes.subarray(0, 200_000), Buffer.from([(bytes[200_000] as number) ^ 1]), bytes.subarray(200_001)]),
  );
  assert.throws(() => restoreSqlite({ backup, path, keep: true }), {
    code: "corrupt",
    message: /its SHA-256 differs from the one in its manifest/,
  });
  writeFileSync(backup, bytes.subarray(0, -4_096));
  assert.throws(() => restoreSqlite({ backup, path, keep: true }), {
    code: "corrupt",
    message: /bytes, but \d+ according to its manifest/,
  });
  writeFileSync(backup, bytes);
  writeFileSync(manifestPathOf(backup), "{}");
  assert.throws(() => restoreSqlite({ backup, path, keep: true }), {
    code: "corrupt",
    message: /is not the manifest of a backup/,
  });
  rmSync(manifestPathOf(backup));
  assert.throws(() => restoreSqlite({ backup, path, keep: true }), {
    code: "invalid_input",
    message: /it was never finished/,
  });
  assert.throws(() => restoreSqlite({ backup: "nothing.db", path, keep: true }), {
    code: "invalid_input",
    message: /there is no such backup/,
  });
  assert.deepEqual([stateOf(path), leftovers(path)], ["old", []]);
});

/** Changes a backup, and its manifest to match, as if the backup had been created so. */
function remake(backup: string, change: (db: Database.Database) => void): void {
  const db = new Database(backup);
  change(db);
  db.close();
  const manifest = JSON.parse(readFileSync(manifestPathOf(backup), "utf8")) as BackupManifest;
  const bytes = readFileSync(backup);
  writeFileSync(
    manifestPathOf(backup),
    JSON.stringify({ ...manifest, bytes: bytes.byteLength, sha256: createHash("sha256").update(bytes).digest("hex") }),
  );
}

test("a backup of a newer version, of edited migrations or of another program is incompatible; of an older one it lists what to apply", async () => {
  const { path, backup, reset } = await restoreFolder();
  remake(backup, (db) =>
    db.exec(
      "INSERT INTO schema_migrations SELECT '9999', name, sha256, applied_at, duration_ms, applied_by FROM schema_migrations LIMIT 1",
    ),
  );
  assert.throws(() => restoreSqlite({ backup, path, keep: true }), {
    code: "incompatible",
    message: /which is newer than this version/,
  });
  remake(backup, (db) =>
    db.exec(
      "DELETE FROM schema_migrations WHERE revision IN ('9999', (SELECT max(revision) FROM schema_migrations WHERE revision < '9999'))",
    ),
  );
  assert.equal(restoreSqlite({ backup, path, keep: true }).pending.length, 1);
  reset();
  remake(backup, (db) => db.exec("UPDATE schema_migrations SET sha256 = 'x'"));
  assert.throws(() => restoreSqlite({ backup, path, keep: true }), { code: "incompatible", message: /was edited/ });
  remake(backup, (db) => db.pragma("application_id = 7"));
  assert.throws(() => restoreSqlite({ backup, path, keep: true }), {
    code: "incompatible",
    message: /another program/,
  });
  assert.deepEqual([stateOf(path), leftovers(path)], ["old", []]);
});

test("a link, a folder or a database of another program at the path is refused, and so is a backup that is a link", async () => {
  const { folder, path, backup } = await restoreFolder();
  const link = join(folder, "link.db");
  symlinkSync(path, link);
  for (const wrong of [link, folder]) {
    assert.throws(() => restoreSqlite({ backup, path: wrong, keep: true }), {
      code: "incompatible",
      message: /is not a regular file/,
    });
  }
  const other = join(folder, "other.db");
  const db = new Database(other);
  db.exec("CREATE TABLE theirs (id INTEGER PRIMARY KEY)");
  db.close();
  const before = readFileSync(other);
  assert.throws(() => restoreSqlite({ backup, path: other, keep: true }), {
    code: "incompatible",
    message: /belongs to another program/,
  });
  assert.deepEqual(readFileSync(other), before);
  const linked = join(folder, "linked.db");
  symlinkSync(backup, linked);
  symlinkSync(manifestPathOf(backup), manifestPathOf(linked));
  assert.throws(() => restoreSqlite({ backup: linked, path, keep: true }), {
    code: "invalid_input",
    message: /is not a regular file/,
  });
  assert.throws(() => restoreSqlite({ backup, path: backup, keep: true }), {
    code: "invalid_input",
    message: /is the backup itself/,
  });
  assert.deepEqual([stateOf(path), leftovers(path)], ["old", []]);
});

test("a restore without space for the copy fails with storage_full and changes nothing", async () => {
  const { path, backup } = await restoreFolder();
  const script = `import { restoreSqlite } from ${JSON.stringify(new URL("../../../src/sqlite/restore.ts", import.meta.url).href)};
    try { restoreSqlite({ backup: ${JSON.stringify(backup)}, path: ${JSON.stringify(path)}, keep: true }) } catch (error) { console.log(error.code) }`;
  // The limit is in blocks of 512 bytes. The system refuses writes beyond it.
  const printed = execFileSync(
    "sh",
    ["-c", 'ulimit -f 1000; exec "$0" --input-type=module -e "$1"', process.execPath, script],
    { encoding: "utf8" },
  );
  assert.equal(printed, "storage_full\n");
  assert.deepEqual([stateOf(path), leftovers(path)], ["old", []]);
});

test("a damaged database is kept when only its pages are damaged, and refused when its header cannot be read", async () => {
  const { path, backup, reset, folder } = await restoreFolder();
  const damage = (from: number, to: number): void => {
    const bytes = readFileSync(path);
    writeFileSync(path, bytes.fill(0xff, from, to));
  };
  rmSync(`${path}-wal`);
  damage(20_480, 80_000);
  const damaged = readFileSync(path);
  const { kept } = restoreSqlite({ backup, path, keep: true });
  assert.ok(kept !== undefined && !("manifest" in kept));
  // Only the header differs: it now says that there is no WAL.
  assert.deepEqual(readFileSync(kept.path).subarray(4_096), damaged.subarray(4_096));
  assert.equal(stateOf(path), "fresh");
  reset();
  rmSync(`${path}-wal`);
  damage(0, 4_096);
  const unreadable = readFileSync(path);
  assert.throws(() => restoreSqlite({ backup, path, keep: true }), {
    code: "corrupt",
    message: /end all processes that use it, move .*store\.db elsewhere, then restore/,
  });
  assert.deepEqual(readFileSync(path), unreadable);
  renameSync(path, join(folder, "aside.db"));
  restoreSqlite({ backup, path, keep: true });
  assert.equal(stateOf(path), "fresh");
});

test("a database that replaces another one while that is being opened is the one that is used", async (t) => {
  const { path, backup } = await restoreFolder();
  // The database is not in WAL mode, as after a restore, so that reading it keeps no lock.
  const db = new Database(path);
  db.pragma("journal_mode = DELETE");
  db.close();
  let replaced = false;
  const driver = openSqlite({
    path,
    migrate: "never",
    // The driver reads this option after it opened and checked the file, and before it uses the file.
    get synchronous() {
      if (!replaced) restoreSqlite({ backup, path, keep: true });
      replaced = true;
      return "full" as const;
    },
    maxBytes: undefined,
    role: "server",
    clock: systemClock,
    limits: defaultLimits,
    onEvent: () => undefined,
  });
  t.after(() => driver.close());
  assert.ok(replaced);
  assert.equal(stateOf(path), "fresh");
  // The driver's own connection reads the new database.
  const names = step(function* () {
    return yield* all<{ name: string }>(sql`SELECT name FROM repositories`);
  });
  const job = [{ access: "read" as const, startBody: () => names() }];
  const { settled } = (await driver.transact([job], 1_000)) as Group;
  assert.deepEqual(settled, [{ ok: true, results: [fresh.map((name) => ({ name }))] }]);
});

test("the next run removes leftovers of killed processes, and those of other containers only once they are old", async () => {
  const { path, backup } = await restoreFolder();
  const killed = spawn(process.execPath, ["-e", "0"]);
  await new Promise((resolve) => killed.once("exit", resolve));
  const folder = join(path, "..", "backups");
  mkdirSync(folder);
  const target = join(folder, "store-20260102T030405006Z-1.db");
  const leave = (tag: string) => {
    const files = [`${path}.restoring-${tag}`, `${target}.${tag}.partial`, `${target}.json.${tag}.partial`];
    for (const file of [...files, ...files.map((one) => `${one}-journal`)]) writeFileSync(file, "x");
    return files.flatMap((file) => [file, `${file}-journal`]);
  };
  const tag = createWriterTag();
  const ofDead = leave(tag.replace(/-\d+-/, `-${killed.pid}-`));
  const ofLiving = leave(tag);
  // The same process number in another container.
  const ofOther = leave(tag.replace(/^[\da-f]{8}/, "00000000"));
  const left = (files: readonly string[]) => files.filter((file) => existsSync(file)).length;
  const run = () => {
    restoreSqlite({ backup, path, keep: false });
    backUpSqlite(path, "a test");
    return [ofDead, ofLiving, ofOther].map(left);
  };
  assert.deepEqual(run(), [0, 6, 6]);
  for (const file of ofOther) utimesSync(file, 0, 0);
  assert.deepEqual(run(), [0, 6, 0]);
});

test("two restores from two containers, both process 1, do not disturb each other", {
  skip: !canUnshare() && "this user may not make a namespace of processes",
}, async () => {
  const { path, backup } = await restoreFolder();
  const script = fileURLToPath(new URL("./restoringProcess.ts", import.meta.url));
  const restores = await Promise.all(
    [1, 2, 3].map(async () => {
      const child = spawn("unshare", ["--pid", "--fork", process.execPath, script, backup, path, "none"], {
        stdio: ["ignore", "ignore", "pipe"],
      });
      const said = text(child.stderr);
      const code = await new Promise((resolve) => child.once("exit", resolve));
      return { code, said: await said };
    }),
  );
  // Each either did its work or met the lock of another, and all may meet one; none found the backup damaged.
  for (const { code, said } of restores) if (code !== 0) assert.match(said, /is open in another process/);
  if (restores.every(({ code }) => code !== 0)) restoreSqlite({ backup, path, keep: true });
  assert.deepEqual([stateOf(path), leftovers(path)], ["fresh", []]);
});

function canUnshare(): boolean {
  try {
    execFileSync("unshare", ["--pid", "--fork", "true"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

test("when the folder cannot be synced after the rename, the old database stays kept and the error says what is true", async (t) => {
  const { path, backup, reset, folder } = await restoreFolder();
  const { fsyncSync } = fs;
  const failing = t.mock.method(fs, "fsyncSync", (fd: number) => {
    if (fs.readlinkSync(`/proc/self/fd/${fd}`) === dirname(path) && stateOf(path) === "fresh")
      throw Object.assign(new Error("EIO: i/o error, fsync"), { code: "EIO", syscall: "fsync" });
    return fsyncSync(fd);
  });
  syncBuiltinESMExports();
  t.after(() => {
    failing.mock.restore();
    syncBuiltinESMExports();
  });
  const failed = (keep: boolean): StoreError => {
    try {
      restoreSqlite({ backup, path, keep });
    } catch (error) {
      return error as StoreError;
    }
    throw new Error("the restore did not fail");
  };
  const { outcome, message, details } = failed(true);
  assert.equal(outcome, "unknown");
  assert.match(message, /store\.db is restored; the old one is kept as .*But its folder could not be synced \(EIO/);
  assert.equal(stateOf(details.kept as string), "old");
  assert.equal(stateOf(path), "fresh");
  reset();
  assert.match(failed(false).message, /store\.db is restored\. But its folder/);
  rmSync(folder, { recursive: true });
});

test("a database that appears at the path meanwhile is not replaced", async () => {
  const { path, backup } = await restoreFolder();
  rmSync(path);
  assert.throws(
    () =>
      restoreSqlite({
        backup,
        path,
        keep: true,
        onStep(step) {
          if (step === "exclusive") writeFileSync(path, "somebody else's");
        },
      }),
    { code: "conflict", message: /store\.db exists/ },
  );
  assert.deepEqual([readFileSync(path, "utf8"), leftovers(path)], ["somebody else's", []]);
});
