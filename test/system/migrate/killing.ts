// Kills migrations with kill -9. Afterwards the database has the old or the new schema with its ledger and data, and
// the next upgrade succeeds.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { openStore } from "../../../src/index.ts";
import { check } from "../../../src/migrate/history.ts";
import { downgrade, upgrade } from "../../../src/migrate/upgrade.ts";
import { readMigrations } from "../../../src/schema/migrationFiles.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { migrationFolder, withDatabase, withMigrator } from "../../engines/migrate/migrationFolder.ts";

const script = fileURLToPath(new URL("./upgradingProcess.ts", import.meta.url));
const migrations = readMigrations("sqlite");

export interface Kills {
  readonly old: number;
  readonly new: number;
  /** The number of backups that a kill cut short. */
  readonly partial: number;
}

/** Kills upgrades and downgrades in turn at random moments, and checks which schema each of them left. */
export async function killMigrations(times: number): Promise<Kills> {
  const { path, url } = migrationFolder([]);
  const templates = await makeTemplates(path, url);
  let durationMs = await timed(templates.old, path, url);
  const left = { old: 0, new: 0, partial: 0 };
  for (let time = 0; time < times; time++) {
    const upwards = time % 2 === 0;
    restore(upwards ? templates.old : templates.new, path);
    const killed = await killOne(url, upwards ? "head" : "-1", Math.random() * durationMs);
    // A migration that was not killed shows how long one takes now.
    if (killed.finishedMs !== undefined) durationMs = (durationMs + killed.finishedMs) / 2;
    left[await stateAfter(path, url)]++;
    left.partial += checkBackups(path);
    await upgradeAgain(url);
  }
  return left;
}

interface Templates {
  readonly old: string;
  readonly new: string;
}

/** Creates databases with so many changes that migrating them takes a while. */
async function makeTemplates(path: string, url: string): Promise<Templates> {
  const store = await openStore({ url });
  const { session, lease } = await fixtures(store).session({ reserve: { owner: "o" } });
  await store.sessions.cancel({ sessionId: session.id });
  await store.close();
  const at = { old: `${path}.old`, new: `${path}.new` };
  await withMigrator({ url }, (migrator) => downgrade(migrator, "-1", { backup: false, allowDataLoss: true }));
  withDatabase(path, (db) => {
    const insert = db.prepare(`
      WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 10000)
      INSERT INTO changes (at, entity, entity_id, op, entity_version, fence) SELECT n, 'worktree', ?, 'update', n, ? FROM numbers`);
    insert.run(lease?.worktree.id, lease?.fence);
    db.pragma("wal_checkpoint(TRUNCATE)");
  });
  copyFileSync(path, at.old);
  await upgradeAgain(url);
  copyFileSync(path, at.new);
  return at;
}

function restore(template: string, path: string): void {
  for (const suffix of ["", "-wal", "-shm"]) rmSync(`${path}${suffix}`, { force: true });
  rmSync(join(dirname(path), "backups"), { recursive: true, force: true });
  mkdirSync(dirname(path), { recursive: true });
  copyFileSync(template, path);
}

async function timed(template: string, path: string, url: string): Promise<number> {
  restore(template, path);
  const { finishedMs } = await killOne(url, "head", 60_000);
  return finishedMs as number;
}

/** Kills one migration. The delay is the experiment, not a way to wait. */
async function killOne(
  url: string,
  target: string,
  afterMs: number,
): Promise<{ readonly finishedMs: number | undefined }> {
  const child = spawn(process.execPath, [script, url, target, "backup"], { stdio: ["ignore", "pipe", "inherit"] });
  const exited = new Promise<NodeJS.Signals | null>((resolve) => child.once("exit", (_, signal) => resolve(signal)));
  await new Promise((resolve) => child.stdout.once("data", resolve));
  const startedAt = performance.now();
  const stop = new AbortController();
  void delay(afterMs, undefined, { signal: stop.signal }).then(
    () => child.kill("SIGKILL"),
    () => undefined,
  );
  const signal = await exited;
  stop.abort();
  return { finishedMs: signal === null ? performance.now() - startedAt : undefined };
}

/** Returns the state of a database, and requires that schema, ledger and data agree. */
async function stateAfter(path: string, url: string): Promise<"old" | "new"> {
  const found = withDatabase(path, (db) => {
    assert.deepEqual(db.pragma("integrity_check"), [{ integrity_check: "ok" }]);
    assert.deepEqual(db.pragma("foreign_key_check"), []);
    const ledger = db.prepare("SELECT count(*) FROM schema_migrations").pluck().get() as number;
    const changes = db.prepare("SELECT count(*) FROM changes WHERE op = 'update'").pluck().get();
    assert.equal(changes, 10_000);
    return ledger;
  });
  const findings = await withMigrator({ url }, check);
  const applied = found === migrations.length;
  assert.equal(found, applied ? migrations.length : migrations.length - 1);
  assert.deepEqual(
    findings.map(({ kind }) => kind),
    applied ? [] : ["pending"],
  );
  return applied ? "new" : "old";
}

/**
 * Requires that each backup with a manifest is complete, and that all others are named partial. Returns their number.
 */
function checkBackups(path: string): number {
  const folder = join(dirname(path), "backups");
  const names = existsSync(folder) ? readdirSync(folder) : [];
  for (const name of names.filter((entry) => entry.endsWith(".json"))) {
    const { file, sha256 } = JSON.parse(readFileSync(join(folder, name), "utf8"));
    assert.equal(basename(name, ".json"), file);
    assert.equal(
      createHash("sha256")
        .update(readFileSync(join(folder, file)))
        .digest("hex"),
      sha256,
    );
  }
  return names.filter((name) => name.includes(".partial")).length;
}

async function upgradeAgain(url: string): Promise<void> {
  await withMigrator({ url }, (migrator) => upgrade(migrator, "head", { backup: false }));
  assert.deepEqual(await withMigrator({ url }, check), []);
}
