// Backups past the bounds of their store go, and nothing else does: whatever the folder holds, whoever uses a backup, and
// whenever the removal is killed.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, readdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { openStore } from "../../../src/index.ts";
import { type Backup, findBackup, listBackups } from "../../../src/schema/manifest.ts";
import { backUpSqlite, prepareTarget } from "../../../src/sqlite/backup.ts";
import { type BackupBounds, pruneBackups, removalSteps } from "../../../src/sqlite/pruneBackups.ts";
import { restoreSqlite } from "../../../src/sqlite/restore.ts";
import { verifyBackup } from "../../../src/sqlite/verify.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";

const dayMs = 86_400_000;
const now = new Date("2026-06-30T00:00:00.000Z");

/** Makes a store with one backup for each age in days, oldest first. */
async function storeWith(...agesDays: readonly number[]) {
  const path = join(temporaryFolder(), "store.db");
  await (await openStore({ url: `sqlite:${path}` })).close();
  const made = agesDays.map((age) => backUpSqlite(path, "a test", { now: new Date(now.getTime() - age * dayMs) }));
  const first = made[0] as Backup;
  const folder = dirname(first.path);
  const storeId = first.manifest.storeId as string;
  const prune = (bounds: Partial<BackupBounds>, more: Partial<Parameters<typeof pruneBackups>[0]> = {}) =>
    pruneBackups({
      folder,
      source: path,
      storeId,
      bounds: { backupsMs: null, backupsMax: null, ...bounds },
      now,
      ...more,
    });
  return { path, folder, storeId, made, paths: made.map((backup) => backup.path), prune };
}

function damage(path: string): void {
  const bytes = readFileSync(path);
  bytes[70_000] = (bytes[70_000] as number) ^ 1;
  writeFileSync(path, bytes);
}

test("a backup goes when it is past one of the bounds, and the newest whole one never does", async () => {
  const { paths, prune, folder } = await storeWith(40, 20, 10, 5);
  const [oldest, second, third, newest] = paths as [string, string, string, string];
  const dry = (bounds: Partial<BackupBounds>) => prune(bounds, { dryRun: true }).removed;
  assert.deepEqual(dry({}), []);
  assert.deepEqual(dry({ backupsMs: 10 * dayMs }), [oldest, second]);
  assert.deepEqual(dry({ backupsMax: 3 }), [oldest]);
  assert.deepEqual(dry({ backupsMax: 3, backupsMs: 15 * dayMs }), [oldest, second]);
  assert.deepEqual(dry({ backupsMs: 1_000 }), [oldest, second, third]);
  // One that was just made is whole, even if the clock was set back meanwhile.
  assert.deepEqual(prune({ backupsMax: 1 }, { dryRun: true, made: oldest }).removed, [second, third]);
  assert.equal(readdirSync(folder).length, 8);
  // What cannot be restored takes no place, and is left to people.
  damage(newest);
  assert.deepEqual(dry({ backupsMax: 1 }), [oldest, second]);
  damage(third);
  assert.deepEqual(prune({ backupsMax: 1 }), { removed: [oldest], left: [] });
  damage(second);
  assert.deepEqual(prune({ backupsMax: 1, backupsMs: 1_000 }), { removed: [], left: [] });
  assert.equal(readdirSync(folder).length, 6);
});

test("only backups of this store and this database go, and none that a process uses", async () => {
  const { path, paths, prune, folder, storeId } = await storeWith(40, 30, 20);
  const [oldest, second, newest] = paths as [string, string, string];
  // Another store, another database with the same store, a copy under another name, and files that are no backups.
  const other = await storeWith(50);
  const foreign = ["other.db", "other.db.json"].map((name) => join(folder, name));
  copyFileSync(other.paths[0] as string, foreign[0] as string);
  const { manifest } = other.made[0] as Backup;
  writeFileSync(foreign[1] as string, JSON.stringify({ ...manifest, file: "other.db", source: path }));
  const moved = join(temporaryFolder(), "moved.db");
  copyFileSync(path, moved);
  backUpSqlite(moved, "a copy", { target: prepareTarget(moved, join(folder, "moved.db")), now: new Date(0) });
  copyFileSync(oldest, join(folder, "renamed.db"));
  copyFileSync(`${oldest}.json`, join(folder, "renamed.db.json"));
  symlinkSync(other.paths[0] as string, join(folder, "link.db"));
  const linked = { ...findBackup(oldest, path).manifest, file: "link.db" };
  writeFileSync(join(folder, "link.db.json"), JSON.stringify(linked));
  writeFileSync(join(folder, "notes.json"), "[]");
  writeFileSync(join(folder, "none.db"), "no manifest");
  const before = readdirSync(folder);

  // A restore holds its backup until it is copied.
  const seen: unknown[] = [];
  restoreSqlite({
    backup: oldest,
    path: join(temporaryFolder(), "elsewhere.db"),
    keep: false,
    onStep: (step) => step === "found" && seen.push(prune({ backupsMax: 2 })),
  });
  assert.deepEqual(seen, [{ removed: [], left: [{ path: oldest, reason: "it is in use" }] }]);
  assert.deepEqual(readdirSync(folder), before);

  // A manifest that lies about its file is not believed.
  const lying = { ...findBackup(second, path).manifest, bytes: 0 };
  writeFileSync(`${second}.json`, JSON.stringify(lying));
  const { removed, left } = prune({ backupsMax: 1 });
  assert.deepEqual([removed, left.map((one) => one.path)], [[oldest], [second]]);
  const gone = [oldest, `${oldest}.json`].map((file) => basename(file));
  assert.deepEqual(
    readdirSync(folder),
    before.filter((name) => !gone.includes(name)),
  );
  verifyBackup(findBackup(newest, path));
  assert.equal(prune({ backupsMax: 1 }, { storeId: `${storeId}0` }).removed.length, 0);
});

test("a removal that is killed leaves no half backup, and the next one ends it", async () => {
  const { path, folder, storeId, paths, prune } = await storeWith(40, 20);
  const script = fileURLToPath(new URL("./pruningProcess.ts", import.meta.url));
  for (const step of removalSteps.slice(0, 3)) {
    const { signal, stderr } = spawnSync(process.execPath, [script, folder, path, storeId, step], { encoding: "utf8" });
    assert.equal(signal, "SIGKILL", stderr);
    // What is listed as a backup is whole, and the others are listed as unfinished.
    const finished = listBackups(path).filter(({ state }) => state === "finished");
    assert.equal(finished.length, step === "locked" ? 2 : 1);
    for (const backup of finished) verifyBackup(findBackup(backup.path, path));
    if (step === "locked") continue;
    prune({});
    assert.deepEqual(readdirSync(folder), [basename(paths[1] as string), `${basename(paths[1] as string)}.json`]);
    backUpSqlite(path, "again", { now: new Date(now.getTime() - 30 * dayMs) });
  }
});

test("a store prunes the folder of a new backup by its settings, and the backup stays when that fails", async () => {
  const folder = temporaryFolder();
  const path = join(folder, "store.db");
  const store = await openStore({ url: `sqlite:${path}` });
  const [first, second] = [await store.backup(), await store.backup()];
  assert.deepEqual(second.pruned, { removed: [], left: [] });
  await store.maintenance.setRetention({ backupsMax: 2 });
  const third = await store.backup();
  assert.deepEqual(third.pruned, { removed: [first.path], left: [] });
  assert.ok(!existsSync(first.path) && existsSync(second.path) && existsSync(third.path));
  await store.backup({ path: join(folder, "elsewhere", "one.db") });
  assert.ok(existsSync(second.path), "a backup into another folder leaves this one alone");
  truncateSync(second.path, 4_096);
  const fourth = await store.backup();
  assert.deepEqual(
    fourth.pruned.left.map((one) => one.path),
    [second.path],
  );
  await assert.rejects(store.maintenance.setRetention({ backupsMax: 0 }), { code: "invalid_input" });
  await store.close();
});
