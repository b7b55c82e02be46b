// Replaces a database with a backup, all or nothing: whenever the process is killed, the path holds either the old
// database or the new one.

import { chmodSync, existsSync, linkSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import type Database from "better-sqlite3";
import { StoreError } from "../errors.ts";
import { copyPrivate, syncPath, type Watch } from "../files/privateFile.ts";
import { isAlive } from "../files/processes.ts";
import { type Backup, findBackup } from "../schema/manifest.ts";
import { backupError, buildManifest, prepareTarget, writeManifest } from "./backup.ts";
import { connect, pragma, requireOwnDatabase } from "./connection.ts";
import { translate } from "./errors.ts";
import { fileExists, withPath } from "./file.ts";
import { retryWhileBusy } from "./locks.ts";
import { requireDigest, requireUsable } from "./verify.ts";

export interface RestoreOptions {
  /** The path of the backup, or its name in the folder of backups. */
  readonly backup: string;
  /** The path of the database. */
  readonly path: string;
  /** True to keep the old database as a backup. That needs no space, because the file only gets another name. */
  readonly keep: boolean;
  readonly watch?: Watch;
  /** Called after each step. */
  onStep?(step: RestoreStep): void;
}

/** The steps in order. The path holds the old database before `replaced`, and the new one from then on. */
export const restoreSteps = ["found", "copied", "alone", "kept", "replaced", "done"] as const;
export type RestoreStep = (typeof restoreSteps)[number];

export interface RestoreResult {
  readonly path: string;
  readonly from: Backup;
  /** The revisions that must be applied before the store can be opened. */
  readonly pending: readonly string[];
  /** The backup of the old database. It has no manifest when the database is damaged. */
  readonly kept: Backup | Pick<Backup, "path"> | undefined;
}

/** The time to wait for visitors, such as another command, to close the database. */
const aloneMs = 1_000;

/**
 * Copies the backup beside the database and checks the copy. Then, while no other process has the database open, moves
 * its WAL into it, keeps it under another name, and renames the copy to its name.
 *
 * Fails    busy when a process has the database open | corrupt (the backup, or a database so damaged that it cannot be
 *          locked) | incompatible (a newer backup; a link, or a database of another program, at the path) |
 *          storage_full | invalid_input | aborted
 * Effect   one rename of a synced file; before it, the WAL of the old database is moved into its file
 * Cost     reads and writes the backup once
 * Source   https://www.sqlite.org/howtocorrupt.html#_unlinking_or_renaming_a_database_file_while_in_use
 */
export function restoreSqlite({
  backup: name,
  path: requestedPath,
  keep,
  watch = {},
  onStep = () => undefined,
}: RestoreOptions): RestoreResult {
  const path = resolve(requestedPath);
  const from = findBackup(name, path);
  const present = fileExists(path);
  if (present && statSync(path).ino === statSync(from.path).ino)
    throw new StoreError("invalid_input", `${path} is the backup itself: name the path of the database`);
  onStep("found");
  const partial = `${path}.restoring-${process.pid}`;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    removeAbandoned(path);
    requireDigest(from.path, from.manifest, copyPrivate(from.path, partial, watch));
    const pending = requireUsableCopy(partial, from.path);
    onStep("copied");
    const kept = present ? replaceExisting(path, partial, keep, { watch, onStep }) : placeNew(path, partial, onStep);
    onStep("done");
    return { path, from, pending, kept };
  } catch (error) {
    throw backupError(error, path);
  } finally {
    rmSync(partial, { force: true });
  }
}

/** Removes the copies of processes that were killed. */
function removeAbandoned(path: string): void {
  const [folder, prefix] = [dirname(path), `${basename(path)}.restoring-`];
  for (const name of readdirSync(folder)) {
    if (!name.startsWith(prefix)) continue;
    const pid = Number(name.slice(prefix.length));
    if (pid === process.pid || !isAlive(pid)) rmSync(join(folder, name), { force: true });
  }
}

/** Checks that this version can open the copy. The message of a failure names the backup instead of the copy. */
function requireUsableCopy(partial: string, path: string): readonly string[] {
  try {
    return requireUsable(partial);
  } catch (error) {
    throw withPath(translate(error), path);
  }
}

/**
 * Puts the copy at a path that has no database. A WAL beside the path belongs to a database that is gone, and SQLite
 * would apply it to the new one, so it is removed first.
 */
function placeNew(path: string, partial: string, onStep: (step: RestoreStep) => void): undefined {
  for (const suffix of ["-wal", "-shm", "-journal"]) rmSync(`${path}${suffix}`, { force: true });
  syncPath(dirname(path));
  onStep("alone");
  // Unlike a rename, a link fails when another process has created a database there in the meantime.
  linkSync(partial, path);
  syncPath(dirname(path));
  onStep("replaced");
  return undefined;
}

type RestoreCallbacks = Required<Pick<RestoreOptions, "watch" | "onStep">>;

/** Replaces a database with the copy, under a lock that keeps all other connections out. */
function replaceExisting(
  path: string,
  partial: string,
  keep: boolean,
  { watch, onStep }: RestoreCallbacks,
): RestoreResult["kept"] {
  const db = openAlone(path);
  let target: string | undefined;
  try {
    watch.check?.();
    onStep("alone");
    if (keep) {
      // The file must not be opened here: closing any descriptor of it would drop the lock that keeps others out
      // (fcntl(2), D-067). A link opens nothing.
      target = prepareTarget(path, undefined);
      linkSync(path, target);
      syncPath(dirname(target));
      onStep("kept");
    }
    renameSync(partial, path);
    syncPath(dirname(path));
    onStep("replaced");
  } catch (error) {
    if (target !== undefined) rmSync(target, { force: true });
    throw error;
  } finally {
    db.close();
  }
  return target === undefined ? undefined : keepAsBackup(path, target, watch);
}

/**
 * Opens the database as its only connection, with its WAL moved into the file. No other connection can be opened while
 * the lock is held.
 */
function openAlone(path: string): Database.Database {
  const db = connect(path, 50);
  try {
    requireOwnDatabase(db, path, true);
    // SQLite leaves WAL mode only while no other connection has the file open (D-066). Another connection may open the
    // file and turn WAL on again before the lock is taken, so the mode is read once more under the lock.
    retryWhileBusy(aloneMs, () => {
      db.pragma("journal_mode = DELETE");
      db.exec("BEGIN EXCLUSIVE");
      if (pragma(db, "journal_mode") === "delete") return;
      db.exec("ROLLBACK");
      throw new StoreError("busy");
    });
    if (["-wal", "-journal"].some((suffix) => existsSync(`${path}${suffix}`))) throw new StoreError("busy");
    return db;
  } catch (error) {
    db.close();
    throw openAloneError(translate(error), path);
  }
}

/** Builds the error for a database that could not be opened alone. */
function openAloneError(error: StoreError, path: string): StoreError {
  const { code, cause, details } = error;
  if (code === "busy") {
    return new StoreError(
      "busy",
      `${path} is open in another process: end the servers and runners that use it, then restore`,
      { cause, details },
    );
  }
  // Without a readable header SQLite takes no lock, and only a lock shows whether a server has the file open.
  if (code === "corrupt" || details.sqliteCode === "SQLITE_NOTADB") {
    const names = ["", "-wal", "-shm"].map((suffix) => `${path}${suffix}`).filter((name) => existsSync(name));
    const message = `${path} is damaged, so it cannot be checked whether a server has it open: end all processes that use it, move ${names.join(", ")} elsewhere, then restore`;
    return new StoreError("corrupt", message, { cause, details });
  }
  return withPath(error, path);
}

/** Turns the old database, which no process has open now, into a backup. A damaged one is kept without a manifest. */
function keepAsBackup(source: string, target: string, watch: Watch): RestoreResult["kept"] {
  // `check` is left out: the restore is done, and an abort now would only cost the backup its manifest.
  const progressOnly: Watch = watch.onProgress === undefined ? {} : { onProgress: watch.onProgress };
  try {
    chmodSync(target, 0o600);
    return writeManifest(
      target,
      buildManifest(target, basename(target), { source, reason: "before a restore", watch: progressOnly }),
    );
  } catch {
    return { path: target };
  }
}
