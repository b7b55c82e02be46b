// A copy of a SQLite file that can be trusted: made in one piece, looked through, synced, and only then given its name and its manifest.

import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import Database from "better-sqlite3";
import { StoreError } from "../errors.ts";
import { createPrivate, digestFile, fileError, syncPath, type Watch, writeSynced } from "../files/privateFile.ts";
import { isAlive } from "../files/processes.ts";
import { packageVersion } from "../package.ts";
import { type Backup, type BackupManifest, backupFolder, manifestPathOf } from "../schema/manifest.ts";
import { pragma } from "./connection.ts";
import { translate } from "./errors.ts";

export interface BackUpOptions {
  readonly now?: Date;
  /** Where the backup shall lie; in the folder `backups` beside the database unless given. */
  readonly target?: string | undefined;
  readonly watch?: Watch;
}

/**
 * Copies the database as it was last committed, beside whoever has it open.
 *
 * Input    path: of the source; reason: goes into the manifest. Whoever holds the write lock meanwhile gets a copy of what the lock protects
 * Fails    storage_full | corrupt | incompatible | conflict when there is such a file | aborted
 * Effect   two files, mode 0600, in a folder that is made with mode 0700 unless it is there: the copy, and its manifest with a SHA-256
 * Cost     reads the file twice and writes it once; blocks the thread
 * Source   https://www.sqlite.org/lang_vacuum.html#vacuuminto
 */
export function backUpSqlite(
  path: string,
  reason: string,
  { now = new Date(), target: asked, watch = {} }: BackUpOptions = {},
): Backup {
  const source = resolve(path);
  const target = prepareTarget(source, asked, now);
  const partial = partialPathOf(target);
  try {
    const expected = vacuumInto(source, partial);
    return finishBackup({ partial, target, source, reason, now, expected, watch });
  } catch (error) {
    removePartial(target);
    throw error instanceof StoreError ? error : backupError(error, target);
  }
}

/** Where a copy grows before it is proven whole. */
export function partialPathOf(target: string): string {
  return `${target}.partial`;
}

/** The path of a new backup, in a folder that is there. Removes what processes that were killed have left. */
export function prepareTarget(source: string, asked: string | undefined, now: Date = new Date()): string {
  const stamp = now.toISOString().replace(/[-:.]/g, "");
  const name = `${basename(source).replace(/\.(db|sqlite3?)$/, "")}-${stamp}-${process.pid}.db`;
  const target = asked === undefined ? join(backupFolder(source), name) : resolve(asked);
  if (existsSync(target)) throw new StoreError("conflict", `${target} exists`, { details: { reason: "exists" } });
  const folder = dirname(target);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (asked === undefined) removeAbandoned(folder);
  } catch (error) {
    throw backupError(error, folder);
  }
  return target;
}

/** Of processes that are no more: names end with the process id. Those of another container are not seen from here, so a file must be old too. */
function removeAbandoned(folder: string): void {
  for (const name of readdirSync(folder)) {
    const pid = /-(\d+)\.db\.partial(?:-journal|-wal|-shm)?$/.exec(name)?.[1];
    if (pid === undefined || Number(pid) === process.pid || isAlive(Number(pid))) continue;
    const path = join(folder, name);
    if (Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now()) > abandonedMs)
      rmSync(path, { force: true });
  }
}

const abandonedMs = 3_600_000;

export function removePartial(target: string): void {
  const partial = partialPathOf(target);
  for (const left of [partial, `${partial}-journal`, `${partial}-wal`, `${partial}-shm`]) rmSync(left, { force: true });
}

export interface UnfinishedBackup {
  /** A copy that is to become the backup. */
  readonly partial: string;
  readonly target: string;
  readonly source: string;
  readonly reason: string;
  readonly now?: Date;
  /** What the source holds by table, when that is known. */
  readonly expected?: Rows | undefined;
  readonly watch?: Watch;
}

type Rows = Readonly<Record<string, number>>;

/** Proves a copy whole, and gives it its name and manifest. Fails corrupt. */
export function finishBackup({ partial, target, ...about }: UnfinishedBackup): Backup {
  const manifest = buildManifest(partial, basename(target), about);
  renameSync(partial, target);
  try {
    return writeManifest(target, manifest);
  } catch (error) {
    removeBackup({ path: target, manifestPath: manifestPathOf(target) });
    throw error;
  }
}

/** Proves a copy whole and synced. Fails corrupt. */
export function buildManifest(
  path: string,
  file: string,
  { source, reason, now = new Date(), expected, watch = {} }: Omit<UnfinishedBackup, "partial" | "target">,
): BackupManifest {
  watch.check?.();
  watch.onProgress?.({ phase: "checking", doneBytes: 0, totalBytes: statSync(path).size });
  const found = checkCopy(path, expected);
  syncPath(path);
  return {
    format: 1,
    file,
    createdAt: now.toISOString(),
    source,
    reason,
    ...digestFile(path, watch),
    ...found,
    packageVersion,
  };
}

export function writeManifest(path: string, manifest: BackupManifest): Backup {
  const manifestPath = manifestPathOf(path);
  try {
    writeSynced(manifestPath, `${JSON.stringify(manifest, null, 2)}\n`);
    syncPath(dirname(path));
    return { path, manifestPath, manifest };
  } catch (error) {
    throw backupError(error, manifestPath);
  }
}

/** Removes what backUpSqlite made. */
export function removeBackup({ path, manifestPath }: Pick<Backup, "path" | "manifestPath">): void {
  for (const file of [path, manifestPath]) rmSync(file, { force: true });
}

/** Copies a database as it was last committed to a path where nothing is, 0600, and proves the copy whole. */
export function copySqlite(source: string, target: string): void {
  checkCopy(target, vacuumInto(source, target));
  syncPath(target);
}

/** How many rows each table has; undefined when others wrote meanwhile, because then the copy is of an earlier moment than the count. */
function vacuumInto(source: string, target: string): Rows | undefined {
  createPrivate(target);
  const from = new Database(source, { fileMustExist: true });
  try {
    const before = pragma(from, "data_version");
    from.prepare("VACUUM INTO ?").run(target);
    const rows = countRows(from);
    return pragma(from, "data_version") === before ? rows : undefined;
  } catch (error) {
    throw translate(error);
  } finally {
    from.close();
  }
}

export type Contents = Pick<BackupManifest, "rows" | "revision" | "sqliteVersion">;

/** What is in a copy that nobody else has open. It is left as one file, without a WAL beside it. Fails corrupt. */
export function checkCopy(path: string, expected: Rows = {}): Contents {
  const db = new Database(path);
  try {
    db.pragma("journal_mode = DELETE");
    const found = checkIntegrity(db);
    for (const [table, count] of Object.entries(expected)) {
      const { [table]: rows = 0 } = found.rows;
      if (rows !== count) throw new StoreError("corrupt", `the copy has ${rows} rows of ${table}, and not ${count}`);
    }
    return found;
  } catch (error) {
    throw translate(error);
  } finally {
    db.close();
  }
}

/** Fails corrupt. */
export function checkIntegrity(db: Database.Database): Contents {
  const faults = db.pragma("integrity_check(5)") as { integrity_check: string }[];
  if (faults[0]?.integrity_check !== "ok")
    throw new StoreError("corrupt", `the copy is damaged: ${faults.map((fault) => fault.integrity_check).join(", ")}`);
  const rows = countRows(db);
  const revision =
    "schema_migrations" in rows ? db.prepare("SELECT max(revision) FROM schema_migrations").pluck().get() : undefined;
  return {
    rows,
    revision: (revision as string | null | undefined) ?? "none",
    sqliteVersion: db.prepare("SELECT sqlite_version()").pluck().get() as string,
  };
}

function countRows(db: Database.Database): Record<string, number> {
  const tables = db
    .prepare(
      "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
    )
    .pluck()
    .all() as string[];
  const count = (name: string) =>
    db
      .prepare(`SELECT count(*) FROM "${name.replaceAll('"', '""')}"`)
      .pluck()
      .get() as number;
  return Object.fromEntries(tables.map((name) => [name, count(name)]));
}

export function backupError(error: unknown, path: string): StoreError {
  if (error instanceof StoreError) return error;
  return (error as NodeJS.ErrnoException).syscall === undefined
    ? translate(error)
    : fileError(error as NodeJS.ErrnoException, path);
}
