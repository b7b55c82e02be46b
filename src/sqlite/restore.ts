// Replaces a database with a backup, all or nothing: whenever the process is killed, the path holds either the old
// database or the new one.

import { chmodSync, linkSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { StoreError } from "../errors.ts";
import { copyPrivate, syncPath, type Watch } from "../files/privateFile.ts";
import { isAlive } from "../files/processes.ts";
import { present } from "../present.ts";
import { type Backup, findBackup } from "../schema/manifest.ts";
import { backupError, buildManifest, prepareTarget, writeManifest } from "./backup.ts";
import { translate } from "./errors.ts";
import { openExclusively } from "./exclusive.ts";
import { fileExists, fileIdentity, withPath } from "./file.ts";
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
export const restoreSteps = ["found", "copied", "exclusive", "kept", "replaced", "done"] as const;
export type RestoreStep = (typeof restoreSteps)[number];

export interface RestoreResult {
  readonly path: string;
  readonly from: Backup;
  /** The revisions that must be applied before the store can be opened. */
  readonly pending: readonly string[];
  /** The backup of the old database. It has no manifest when the database is damaged. */
  readonly kept: Backup | Pick<Backup, "path"> | undefined;
}

/**
 * Copies the backup beside the database and checks the copy. Then, while no other process has the database open, moves
 * the WAL into the old file, gives that file another name if it is to be kept, and renames the copy to `path`.
 *
 * Fails    busy when a process has the database open | corrupt (the backup, or a database so damaged that it cannot be
 *          locked) | incompatible (a newer backup; a link, or a database of another program, at the path) |
 *          storage_full | invalid_input | aborted
 * Effect   one rename of a synced file; before it, the WAL of the old database is moved into its file
 * Cost     copies the backup once; with `keep`, reads the old database twice
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
  if (present && fileIdentity(path) === fileIdentity(from.path))
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
  onStep("exclusive");
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
  const db = openExclusively(path);
  let target: string | undefined;
  try {
    watch.check?.();
    onStep("exclusive");
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

/** Turns the old database, which no process has open now, into a backup. A damaged one is kept without a manifest. */
function keepAsBackup(source: string, target: string, watch: Watch): RestoreResult["kept"] {
  // `check` is left out: the restore is done, and an abort now would only cost the backup its manifest.
  const progressOnly: Watch = present({ onProgress: watch.onProgress });
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
