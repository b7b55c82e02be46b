// Backs up a SQLite file. A copy gets its final name and its manifest only after it has been checked and synced.

import { lstatSync, readdirSync, rmSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { StoreError } from "../errors.ts";
import { makeFolder, type Owner, type Rights, rightsOf } from "../files/ownership.ts";
import {
  createPrivate,
  digestFile,
  fileError,
  nameTaken,
  placeNew,
  syncPath,
  type Watch,
  writeSynced,
} from "../files/privateFile.ts";
import { createWriterTag, isAbandoned, writerTagForm } from "../files/processes.ts";
import { packageVersion } from "../package.ts";
import { realTime } from "../realTime.ts";
import { type Backup, type BackupManifest, backupFolder, manifestPathOf } from "../schema/manifest.ts";
import { pragma } from "./connection.ts";
import { translate } from "./errors.ts";
import { checkCopy, countRows, type Rows } from "./integrity.ts";
import { connectAsAllowed } from "./readOnly.ts";

export interface BackUpOptions {
  readonly now?: Date;
  /** The files to write. By default new ones in the folder `backups` beside the database. */
  readonly target?: BackupTarget | undefined;
  readonly watch?: Watch;
}

/** The files of a backup that is being made. */
export interface BackupTarget {
  /** The path of the backup. */
  readonly path: string;
  /** The path of the copy until it has been checked. No other backup has the same one. */
  readonly partial: string;
  /** The owner of the database, who gets the backup. Undefined for a database in memory. */
  readonly owner: Owner | undefined;
}

/**
 * Copies the last committed state of a database that other connections may have open. A caller that holds the write
 * lock gets a copy of the state that its lock protects.
 *
 * Input    path: the database; reason: a text for the manifest
 * Fails    storage_full | io_error | corrupt | incompatible | conflict when the target exists or is being made | aborted
 * Effect   two files, mode 0600: the copy, and its manifest with a SHA-256. Their folder is created with mode 0700
 *          unless it exists. If root makes them, they belong to the owner of the database
 * Cost     writes a full copy, then reads it twice: to check it, and to hash it; blocks the thread
 * Source   https://www.sqlite.org/lang_vacuum.html#vacuuminto
 */
export function backUpSqlite(
  path: string,
  reason: string,
  { now = new Date(realTime.now()), target, watch = {} }: BackUpOptions = {},
): Backup {
  const source = resolve(path);
  const { path: copy, partial, owner } = target ?? prepareTarget(source, undefined, now);
  createPrivate(partial, owner);
  try {
    const expected = vacuumInto(source, partial);
    return finishBackup({ partial, target: copy, source, reason, now, expected, watch });
  } catch (error) {
    removePartial(partial);
    throw error instanceof StoreError ? error : backupError(error, copy);
  }
}

/**
 * Creates the folder of a new backup and returns its files. Also removes partial copies that killed
 * processes left behind: all in the default folder, elsewhere only those of the same backup. Fails with conflict when
 * the backup or its manifest exists, or is being made.
 */
export function prepareTarget(
  source: string,
  requested: string | undefined,
  now: Date = new Date(realTime.now()),
): BackupTarget {
  const stamp = now.toISOString().replace(/[-:.]/g, "");
  const name = `${basename(source).replace(/\.(db|sqlite3?)$/, "")}-${stamp}-${process.pid}.db`;
  const path = requested === undefined ? join(backupFolder(source), name) : resolve(requested);
  const folder = dirname(path);
  try {
    for (const file of [path, manifestPathOf(path)])
      if (lstatSync(file, { throwIfNoEntry: false }) !== undefined) throw nameTaken(file);
    const owner = source === ":memory:" ? undefined : rightsOf(source);
    makeFolder(folder, owner);
    for (const partial of partialsIn(folder)) settlePartial(partial, path, requested === undefined);
    return { path, partial: `${path}.${createWriterTag()}.partial`, owner };
  } catch (error) {
    throw backupError(error, folder);
  }
}

export interface Partial {
  readonly file: string;
  /** The path that the file was to get. */
  readonly path: string;
  readonly tag: string;
}

/** Returns the partial copies and manifests in a folder, and SQLite's files beside them. */
export function partialsIn(folder: string): readonly Partial[] {
  const form = new RegExp(`^(.+)\\.(${writerTagForm})\\.partial(?:-journal|-wal|-shm)?$`);
  return readdirSync(folder).flatMap((name) => {
    const [, base, tag] = form.exec(name) ?? [];
    return base === undefined || tag === undefined ? [] : [{ file: join(folder, name), path: join(folder, base), tag }];
  });
}

/** Removes a partial file that is abandoned. Fails with conflict when a process is still making the backup `path`. */
function settlePartial({ file, path: base, tag }: Partial, path: string, removeAll: boolean): void {
  const isOurs = base === path || base === manifestPathOf(path);
  if (!isOurs && !removeAll) return;
  if (isAbandoned(file, tag)) rmSync(file, { force: true });
  else if (isOurs)
    throw new StoreError(
      "conflict",
      `${path} is being made by another backup, which writes ${file}: wait for it, or name another file`,
      { details: { reason: "in_progress" } },
    );
}

/** Removes the partial copy of an unfinished backup, and SQLite's files beside it. */
export function removePartial(partial: string): void {
  for (const suffix of ["", "-journal", "-wal", "-shm"]) rmSync(`${partial}${suffix}`, { force: true });
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

/**
 * Checks a copy, then gives it its final name and its manifest. Fails with corrupt when the copy is damaged, and with
 * conflict when somebody has made a file of one of these names since.
 */
export function finishBackup({ partial, target, ...description }: UnfinishedBackup): Backup {
  const manifest = buildManifest(partial, basename(target), description);
  placeNew(partial, target);
  try {
    return writeManifest(target, manifest);
  } catch (error) {
    rmSync(target, { force: true });
    throw error;
  }
}

/** Checks and syncs a copy, and returns its manifest. Fails with corrupt when the copy is damaged. */
export function buildManifest(
  path: string,
  file: string,
  {
    source,
    reason,
    now = new Date(realTime.now()),
    expected,
    watch = {},
  }: Omit<UnfinishedBackup, "partial" | "target">,
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

/** Writes the manifest beside a backup, with the same owner and mode, which completes the backup. */
export function writeManifest(path: string, manifest: BackupManifest): Backup {
  const manifestPath = manifestPathOf(path);
  try {
    writeSynced(manifestPath, `${JSON.stringify(manifest, null, 2)}\n`, rightsOf(path) as Rights);
  } catch (error) {
    throw backupError(error, manifestPath);
  }
  try {
    syncPath(dirname(path));
    return { path, manifestPath, manifest };
  } catch (error) {
    rmSync(manifestPath, { force: true });
    throw backupError(error, manifestPath);
  }
}

/** Removes a finished backup and its manifest. */
export function removeBackup({ path, manifestPath }: Pick<Backup, "path" | "manifestPath">): void {
  for (const file of [path, manifestPath]) rmSync(file, { force: true });
}

/** Copies the last committed state of a database to a path that does not exist, mode 0600, and checks the copy. */
export function copySqlite(source: string, target: string): void {
  createPrivate(target);
  checkCopy(target, vacuumInto(source, target));
  syncPath(target);
}

/**
 * Copies a database to an empty file. Returns the number of rows in each table of the source, or undefined when another connection wrote
 * in the meantime: the count may then be newer than the copy.
 */
function vacuumInto(source: string, target: string): Rows | undefined {
  const from = connectAsAllowed(source, sourceBusyMs);
  try {
    const before = pragma(from, "data_version");
    from.prepare("VACUUM INTO ?").run(target);
    const rows = countRows(from);
    return pragma(from, "data_version") === before ? rows : undefined;
  } catch (error) {
    throw translate(error, target);
  } finally {
    from.close();
  }
}

/** The time to wait for a lock of the source. */
const sourceBusyMs = 5_000;

/** Builds the error for a failure of SQLite or of the file system. */
export function backupError(error: unknown, path: string): StoreError {
  if (error instanceof StoreError) return error;
  return (error as NodeJS.ErrnoException).syscall === undefined
    ? translate(error, path)
    : fileError(error as NodeJS.ErrnoException, path);
}
