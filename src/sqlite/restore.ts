// Replaces a database with a backup, all or nothing: whenever the process is killed, the path holds either the old
// database or the new one.

import { linkSync, readdirSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import type Database from "better-sqlite3";
import { StoreError } from "../errors.ts";
import { makeFolder, ownerAbove, type Rights, rightsOf } from "../files/ownership.ts";
import { copyFile, placeNew, syncPath, type Watch } from "../files/privateFile.ts";
import { createWriterTag, isAbandoned, writerTagForm } from "../files/processes.ts";
import { present } from "../present.ts";
import { realTime } from "../realTime.ts";
import { type Backup, findBackup } from "../schema/manifest.ts";
import { backupError, buildManifest, prepareTarget, removePartial, writeManifest } from "./backup.ts";
import { translate } from "./errors.ts";
import { openExclusively } from "./exclusive.ts";
import { fileExists, withPath } from "./file.ts";
import { fileIdentity } from "./openFile.ts";
import { holdBackup } from "./pruneBackups.ts";
import { carryOver, type Ended, type Revocation, readEnded } from "./revocations.ts";
import { requireDigest, requireUsable } from "./verify.ts";

export interface RestoreOptions {
  /** The path of the backup, or its name in the folder of backups. */
  readonly backup: string;
  /** The path of the database. */
  readonly path: string;
  /** True to keep the old database as a backup. That needs no space, because the file only gets another name. */
  readonly keep: boolean;
  /** True to end in the restored database the tokens and accounts that have ended in the old one. By default true. */
  readonly keepRevocations?: boolean;
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
  readonly revocations: KeptRevocations;
}

export interface KeptRevocations {
  /** `unknown`: there was no old database, or it could not be read. */
  readonly state: "kept" | "undone" | "unknown";
  /** The tokens and accounts that have ended in the old database and not in the backup. */
  readonly found: readonly Revocation[];
}

/**
 * Copies the backup beside the database and checks the copy. Then, while no other process has the database open, moves
 * the WAL into the old file, ends in the copy what has ended since the backup, gives the old file another name if it is
 * to be kept, and renames the copy to `path`. The new file has the owner and the mode of the old one.
 *
 * Fails    busy when a process has the database open | corrupt (the backup, or a database so damaged that it cannot be
 *          locked) | incompatible (a newer backup; a link, or a database of another program, at the path) |
 *          storage_full | io_error | invalid_input | aborted
 * Effect   one rename of a synced file; before it, the WAL of the old database is moved into its file
 * Cost     copies the backup once; with `keep`, reads the old database twice
 * Source   https://www.sqlite.org/howtocorrupt.html#_unlinking_or_renaming_a_database_file_while_in_use
 */
export function restoreSqlite({
  backup: name,
  path: requestedPath,
  keep,
  keepRevocations = true,
  watch = {},
  onStep = () => undefined,
}: RestoreOptions): RestoreResult {
  const path = resolve(requestedPath);
  const from = findBackup(name, path);
  const present = fileExists(path);
  if (present && fileIdentity(path) === fileIdentity(from.path))
    throw new StoreError("invalid_input", `${path} is the backup itself: name the path of the database`);
  const held = holdBackup(from.path);
  const partial = `${path}.restoring-${createWriterTag()}`;
  try {
    onStep("found");
    makeFolder(dirname(path));
    removeAbandoned(path);
    const rights = present ? (rightsOf(path) as Rights) : { ...ownerAbove(path), mode: 0o600 };
    requireDigest(from.path, from.manifest, copyFile(from.path, partial, rights, watch));
    const pending = requireUsableCopy(partial, from.path);
    onStep("copied");
    const replaced = present
      ? replaceExisting({ path, partial, keep, keepRevocations, watch, onStep })
      : placeWhereNoneIs(path, partial, onStep);
    onStep("done");
    return { path, from, pending, ...replaced };
  } catch (error) {
    throw backupError(error, path);
  } finally {
    held[Symbol.dispose]();
    removePartial(partial);
  }
}

/** Removes the copies of processes that were killed. */
function removeAbandoned(path: string): void {
  const [folder, prefix] = [dirname(path), `${basename(path)}.restoring-`];
  const form = new RegExp(`^(${writerTagForm})(?:-journal|-wal|-shm)?$`);
  for (const name of readdirSync(folder)) {
    const tag = name.startsWith(prefix) ? form.exec(name.slice(prefix.length))?.[1] : undefined;
    if (tag !== undefined && isAbandoned(join(folder, name), tag)) rmSync(join(folder, name), { force: true });
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

type Replaced = Pick<RestoreResult, "kept" | "revocations">;

/**
 * Puts the copy at a path that has no database. A WAL beside the path belongs to a database that is gone, and SQLite
 * would apply it to the new one, so it is removed first.
 */
function placeWhereNoneIs(path: string, partial: string, onStep: (step: RestoreStep) => void): Replaced {
  for (const suffix of ["-wal", "-shm", "-journal"]) rmSync(`${path}${suffix}`, { force: true });
  syncPath(dirname(path));
  onStep("exclusive");
  // Fails when another process has created a database there in the meantime.
  placeNew(partial, path);
  const unsynced = tryToSync(dirname(path));
  onStep("replaced");
  if (unsynced !== undefined) throw unsyncedError(unsynced, path, undefined);
  return { kept: undefined, revocations: { state: "unknown", found: [] } };
}

type Replacement = Required<
  Pick<RestoreOptions, "path" | "keep" | "keepRevocations" | "watch" | "onStep"> & { partial: string }
>;

/** Replaces a database with the copy, under a lock that keeps all other connections out. */
function replaceExisting({ path, partial, keep, keepRevocations, watch, onStep }: Replacement): Replaced {
  const db = openExclusively(path);
  let target: string | undefined;
  let revocations: KeptRevocations;
  let unsynced: Error | undefined;
  try {
    watch.check?.();
    onStep("exclusive");
    revocations = keepEnded(db, partial, keepRevocations);
    try {
      if (keep) target = linkAsBackup(path, onStep);
      renameSync(partial, path);
    } catch (error) {
      if (target !== undefined) rmSync(target, { force: true });
      throw error;
    }
    // From here on the new database is at the path, and the second name may be the only one of the old.
    unsynced = tryToSync(dirname(path));
    onStep("replaced");
  } finally {
    db.close();
  }
  const kept = target === undefined ? undefined : keepAsBackup(path, target, watch);
  if (unsynced !== undefined) throw unsyncedError(unsynced, path, kept);
  return { kept, revocations };
}

/** Ends in the copy what has ended in the old database, which may be too damaged to be read. */
function keepEnded(db: Database.Database, partial: string, keep: boolean): KeptRevocations {
  let ended: Ended;
  try {
    ended = readEnded(db);
  } catch {
    return { state: "unknown", found: [] };
  }
  const found = carryOver(partial, ended, keep, new Date(realTime.now()));
  syncPath(partial);
  return { state: keep ? "kept" : "undone", found };
}

/**
 * Gives the old database a second name among the backups. The file must not be opened here: closing any descriptor of
 * it would drop the lock that keeps others out (fcntl(2), D-067). A link opens nothing.
 */
function linkAsBackup(path: string, onStep: (step: RestoreStep) => void): string {
  const target = prepareTarget(path, undefined).path;
  linkSync(path, target);
  try {
    syncPath(dirname(target));
    onStep("kept");
    return target;
  } catch (error) {
    rmSync(target, { force: true });
    throw error;
  }
}

function tryToSync(folder: string): Error | undefined {
  try {
    syncPath(folder);
    return undefined;
  } catch (error) {
    return error as Error;
  }
}

/** Builds the error for a restore that is done, but might not survive a power failure. */
function unsyncedError(cause: Error, path: string, kept: Pick<Backup, "path"> | undefined): StoreError {
  const old = kept === undefined ? "" : `; the old one is kept as ${kept.path}`;
  return new StoreError(
    "incompatible",
    `${path} is restored${old}. But its folder could not be synced (${cause.message}), so after a power failure the restore may be undone: check the disk, then look which database is there`,
    { cause, outcome: "unknown", details: { reason: "not_synced", ...(kept && { kept: kept.path }) } },
  );
}

/** Turns the old database, which no process has open now, into a backup. A damaged one is kept without a manifest. */
function keepAsBackup(source: string, target: string, watch: Watch): RestoreResult["kept"] {
  // `check` is left out: the restore is done, and an abort now would only cost the backup its manifest.
  const progressOnly: Watch = present({ onProgress: watch.onProgress });
  try {
    return writeManifest(
      target,
      buildManifest(target, basename(target), { source, reason: "before a restore", watch: progressOnly }),
    );
  } catch {
    return { path: target };
  }
}
