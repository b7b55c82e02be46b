// A copy of a SQLite file that can be trusted: made in one piece, looked through, synced, and only then given its name and its manifest.
import { createHash } from "node:crypto";
import { closeSync, constants, existsSync, fsyncSync, mkdirSync, openSync, readSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import Database from "better-sqlite3";
import { translate } from "../drivers/sqlite.ts";
import { fileError } from "../drivers/sqliteConnection.ts";
import { StoreError } from "../errors.ts";
import { packageVersion } from "../package.ts";

/** Stands beside each backup as JSON; a file without one was never finished. */
export interface BackupManifest {
  readonly format: 1;
  readonly file: string;
  readonly createdAt: string;
  readonly source: string;
  readonly reason: string;
  readonly bytes: number;
  readonly sha256: string;
  /** Rows by table, counted in the copy and found equal to those of the source. */
  readonly rows: Readonly<Record<string, number>>;
  readonly sqliteVersion: string;
  readonly packageVersion: string;
}

export interface Backup {
  readonly path: string;
  readonly manifestPath: string;
  readonly manifest: BackupManifest;
}

/**
 * Copies the database as it was last committed into the folder `backups` beside it.
 *
 * Input    path: of the source; reason: goes into the manifest. Whoever holds the write lock meanwhile gets a copy of what the lock protects
 * Fails    storage_full | corrupt | incompatible | conflict when this process made one in the same millisecond
 * Effect   two files, mode 0600, in a folder of mode 0700: the copy, and its manifest with a SHA-256
 * Cost     reads the file twice and writes it once; blocks the thread
 * Source   https://www.sqlite.org/lang_vacuum.html#vacuuminto
 */
export function backUpSqlite(path: string, reason: string, now: Date = new Date()): Backup {
  const source = resolve(path);
  const folder = join(dirname(source), "backups");
  const stamp = now.toISOString().replace(/[-:.]/g, "");
  const file = `${basename(source).replace(/\.(db|sqlite3?)$/, "")}-${stamp}-${process.pid}.db`;
  const [target, partial] = [join(folder, file), join(folder, `${file}.partial`)];
  if (existsSync(target)) throw new StoreError("conflict", `${target} exists`, { details: { reason: "exists" } });
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw failure(error, folder);
  }
  try {
    const { rows, sqliteVersion } = copySqlite(source, partial);
    const found = { ...digest(partial), rows, sqliteVersion, packageVersion };
    const manifest: BackupManifest = { format: 1, file, createdAt: now.toISOString(), source, reason, ...found };
    renameSync(partial, target);
    const manifestPath = `${target}.json`;
    writeSynced(manifestPath, `${JSON.stringify(manifest, null, 2)}\n`);
    sync(folder);
    return { path: target, manifestPath, manifest };
  } catch (error) {
    for (const left of [partial, target, `${target}.json`]) rmSync(left, { force: true });
    throw error instanceof StoreError ? error : failure(error, target);
  }
}

interface Copied {
  readonly rows: Readonly<Record<string, number>>;
  readonly sqliteVersion: string;
}

/** Removes what backUpSqlite made. */
export function removeBackup({ path, manifestPath }: Pick<Backup, "path" | "manifestPath">): void {
  for (const file of [path, manifestPath]) rmSync(file, { force: true });
}

/** Copies a database as it was last committed to a path where nothing is, 0600, and proves the copy whole. */
export function copySqlite(source: string, target: string): Copied {
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  closeSync(openSync(target, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600));
  const from = new Database(source, { fileMustExist: true });
  let expected: Copied;
  try {
    from.prepare("VACUUM INTO ?").run(target);
    expected = { rows: countRows(from), sqliteVersion: from.prepare("SELECT sqlite_version()").pluck().get() as string };
  } catch (error) {
    throw translate(error);
  } finally {
    from.close();
  }
  const rows = prove(target);
  for (const [table, count] of Object.entries(expected.rows)) {
    if (rows[table] !== count)
      throw new StoreError("busy", `the copy of ${source} has ${rows[table]} rows of ${table}, and not ${count}: somebody wrote meanwhile`);
  }
  sync(target);
  return expected;
}

function prove(path: string): Readonly<Record<string, number>> {
  const db = new Database(path);
  try {
    const faults = db.pragma("integrity_check(5)") as { integrity_check: string }[];
    if (faults[0]?.integrity_check !== "ok") throw new StoreError("corrupt", `the copy is damaged: ${faults.map((fault) => fault.integrity_check).join(", ")}`);
    return countRows(db);
  } finally {
    db.close();
  }
}

function countRows(db: Database.Database): Record<string, number> {
  const tables = db
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name")
    .pluck()
    .all() as string[];
  return Object.fromEntries(
    tables.map((name) => [
      name,
      db
        .prepare(`SELECT count(*) FROM "${name.replaceAll('"', '""')}"`)
        .pluck()
        .get() as number,
    ]),
  );
}

/** In pieces, because a database may be larger than the memory. */
function digest(path: string): { bytes: number; sha256: string } {
  const hash = createHash("sha256");
  const piece = Buffer.allocUnsafe(1_048_576);
  const fd = openSync(path, "r");
  try {
    for (let length = readSync(fd, piece); length > 0; length = readSync(fd, piece)) hash.update(piece.subarray(0, length));
  } finally {
    closeSync(fd);
  }
  return { bytes: statSync(path).size, sha256: hash.digest("hex") };
}

function writeSynced(path: string, text: string): void {
  const fd = openSync(path, "wx", 0o600);
  try {
    writeFileSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function sync(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function failure(error: unknown, path: string): StoreError {
  return (error as NodeJS.ErrnoException).syscall === undefined ? translate(error) : fileError(error as NodeJS.ErrnoException, path);
}
