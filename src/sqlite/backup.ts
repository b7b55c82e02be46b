// Backs up a SQLite file. A copy gets its final name and its manifest only after it has been checked and synced.

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
import { checkCopy, countRows, type Rows } from "./integrity.ts";

export interface BackUpOptions {
  readonly now?: Date;
  /** The path of the backup. By default it is a new file in the folder `backups` beside the database. */
  readonly target?: string | undefined;
  readonly watch?: Watch;
}

/**
 * Copies the last committed state of a database that other connections may have open. A caller that holds the write
 * lock gets a copy of the state that its lock protects.
 *
 * Input    path: the database; reason: a text for the manifest
 * Fails    storage_full | corrupt | incompatible | conflict when the target exists | aborted
 * Effect   two files, mode 0600: the copy, and its manifest with a SHA-256. Their folder is created with mode 0700
 *          unless it exists
 * Cost     writes a full copy, then reads it twice: to check it, and to hash it; blocks the thread
 * Source   https://www.sqlite.org/lang_vacuum.html#vacuuminto
 */
export function backUpSqlite(
  path: string,
  reason: string,
  { now = new Date(), target: requestedTarget, watch = {} }: BackUpOptions = {},
): Backup {
  const source = resolve(path);
  const target = prepareTarget(source, requestedTarget, now);
  const partial = partialPathOf(target);
  try {
    const expected = vacuumInto(source, partial);
    return finishBackup({ partial, target, source, reason, now, expected, watch });
  } catch (error) {
    removePartial(target);
    throw error instanceof StoreError ? error : backupError(error, target);
  }
}

/** Returns the path of a copy until it has been checked. */
export function partialPathOf(target: string): string {
  return `${target}.partial`;
}

/**
 * Creates the folder of a new backup and returns the path of the backup. In the default folder it also removes partial
 * copies that killed processes left behind. Fails with conflict when the path exists.
 */
export function prepareTarget(source: string, requested: string | undefined, now: Date = new Date()): string {
  const stamp = now.toISOString().replace(/[-:.]/g, "");
  const name = `${basename(source).replace(/\.(db|sqlite3?)$/, "")}-${stamp}-${process.pid}.db`;
  const target = requested === undefined ? join(backupFolder(source), name) : resolve(requested);
  if (existsSync(target)) throw new StoreError("conflict", `${target} exists`, { details: { reason: "exists" } });
  const folder = dirname(target);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (requested === undefined) removeAbandoned(folder);
  } catch (error) {
    throw backupError(error, folder);
  }
  return target;
}

/**
 * Removes the partial copies of dead processes, whose ids are in the file names. A process in another container always
 * seems dead from here, so a file must also be old.
 */
function removeAbandoned(folder: string): void {
  for (const name of readdirSync(folder)) {
    const pid = /-(\d+)\.db(?:\.json)?\.partial(?:-journal|-wal|-shm)?$/.exec(name)?.[1];
    if (pid === undefined || Number(pid) === process.pid || isAlive(Number(pid))) continue;
    const path = join(folder, name);
    if (Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now()) > abandonedMs)
      rmSync(path, { force: true });
  }
}

/** The age beyond which a partial copy of a dead process is removed. */
const abandonedMs = 3_600_000;

/** Removes the partial copy of an unfinished backup, and SQLite's files beside it. */
export function removePartial(target: string): void {
  const partial = partialPathOf(target);
  for (const file of [partial, `${partial}-journal`, `${partial}-wal`, `${partial}-shm`]) rmSync(file, { force: true });
}

export interface UnfinishedBackup {
  /** The path of the copy that is to become the backup. */
  readonly partial: string;
  readonly target: string;
  readonly source: string;
  readonly reason: string;
  readonly now?: Date;
  /** The number of rows in each table of the source, if it is known. */
  readonly expected?: Rows | undefined;
  readonly watch?: Watch;
}

/** Checks a copy, then gives it its final name and its manifest. Fails with corrupt when the copy is damaged. */
export function finishBackup({ partial, target, ...description }: UnfinishedBackup): Backup {
  const manifest = buildManifest(partial, basename(target), description);
  renameSync(partial, target);
  try {
    return writeManifest(target, manifest);
  } catch (error) {
    removeBackup({ path: target, manifestPath: manifestPathOf(target) });
    throw error;
  }
}

/** Checks and syncs a copy, and returns its manifest. Fails with corrupt when the copy is damaged. */
export function buildManifest(
  path: string,
  file: string,
  { source, reason, now = new Date(), expected, watch = {} }: Omit<UnfinishedBackup, "partial" | "target">,
): BackupManifest {
  watch.check?.();
  watch.onProgress?.({ phase: "checking", doneBytes: 0, totalBytes: statSync(path).size });
  const contents = checkCopy(path, expected);
  syncPath(path);
  return {
    format: 1,
    file,
    createdAt: now.toISOString(),
    source,
    reason,
    ...digestFile(path, watch),
    ...contents,
    packageVersion,
  };
}

/** Writes the manifest beside a backup, which completes the backup. */
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

/** Removes a finished backup and its manifest. */
export function removeBackup({ path, manifestPath }: Pick<Backup, "path" | "manifestPath">): void {
  for (const file of [path, manifestPath, `${manifestPath}.partial`]) rmSync(file, { force: true });
}

/** Copies the last committed state of a database to a path that does not exist, mode 0600, and checks the copy. */
export function copySqlite(source: string, target: string): void {
  checkCopy(target, vacuumInto(source, target));
  syncPath(target);
}

/**
 * Copies a database. Returns the number of rows in each table of the source, or undefined when another connection wrote
 * in the meantime: the count may then be newer than the copy.
 */
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

/** Builds the error for a failure of SQLite or of the file system. */
export function backupError(error: unknown, path: string): StoreError {
  if (error instanceof StoreError) return error;
  return (error as NodeJS.ErrnoException).syscall === undefined
    ? translate(error)
    : fileError(error as NodeJS.ErrnoException, path);
}
