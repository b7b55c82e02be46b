// Puts a backup in the place of a database, all or nothing: whatever happens, and whenever the process is killed, the old database is there or the new one.

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
  /** Path or name of the backup. */
  readonly backup: string;
  /** Of the database. */
  readonly path: string;
  /** Whether what is there now becomes a backup. It needs no space: the file stays, under another name. */
  readonly keep: boolean;
  readonly watch?: Watch;
  /** Told when a step is done. */
  onStep?(step: RestoreStep): void;
}

/** In their order. Before `replaced` the old database is there, from then on the new one. */
export const restoreSteps = ["found", "copied", "alone", "kept", "replaced", "done"] as const;
export type RestoreStep = (typeof restoreSteps)[number];

export interface Restored {
  readonly path: string;
  readonly from: Backup;
  /** Revisions that are to be applied before the store can be opened. */
  readonly pending: readonly string[];
  /** What was there before; without a manifest when it is damaged. */
  readonly kept: Backup | Pick<Backup, "path"> | undefined;
}

/** How long a visitor, such as another command, may take to leave. */
const aloneMs = 1_000;

/**
 * Copies the backup beside the database and checks it there; then, while nobody else has the database open, moves its WAL into it, keeps it under another
 * name, and renames the copy over it.
 *
 * Fails    busy when a process has the database open | corrupt (the backup; or a database so damaged that nobody can tell who has it open)
 *          | incompatible (a newer backup; a link, or another program's database, in its place) | storage_full | invalid_input | aborted
 * Effect   one rename of a synced file; before it nothing has changed but that the database's WAL is part of it
 * Cost     reads and writes the backup once
 * Source   https://www.sqlite.org/howtocorrupt.html#_unlinking_or_renaming_a_database_file_while_in_use
 */
export function restoreSqlite({
  backup: name,
  path: asked,
  keep,
  watch = {},
  onStep = () => undefined,
}: RestoreOptions): Restored {
  const path = resolve(asked);
  const from = findBackup(name, path);
  const present = fileExists(path);
  if (present && statSync(path).ino === statSync(from.path).ino)
    throw new StoreError("invalid_input", `${path} is the backup itself: name another place`);
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

/** Its failures name the backup, and not the copy of it. */
function requireUsableCopy(partial: string, path: string): readonly string[] {
  try {
    return requireUsable(partial);
  } catch (error) {
    throw withPath(translate(error), path);
  }
}

/** What killed processes have left of their copies. */
function removeAbandoned(path: string): void {
  const [folder, prefix] = [dirname(path), `${basename(path)}.restoring-`];
  for (const name of readdirSync(folder)) {
    if (!name.startsWith(prefix)) continue;
    const pid = Number(name.slice(prefix.length));
    if (pid === process.pid || !isAlive(pid)) rmSync(join(folder, name), { force: true });
  }
}

/** Where no database is. A WAL there belongs to one that is gone, and would be read into this one. */
function placeNew(path: string, partial: string, onStep: (step: RestoreStep) => void): undefined {
  for (const suffix of ["-wal", "-shm", "-journal"]) rmSync(`${path}${suffix}`, { force: true });
  syncPath(dirname(path));
  onStep("alone");
  // Unlike a rename, this fails when somebody has made a database there meanwhile.
  linkSync(partial, path);
  syncPath(dirname(path));
  onStep("replaced");
  return undefined;
}

type RestoreCallbacks = Required<Pick<RestoreOptions, "watch" | "onStep">>;

function replaceExisting(
  path: string,
  partial: string,
  keep: boolean,
  { watch, onStep }: RestoreCallbacks,
): Restored["kept"] {
  const db = openAlone(path);
  let target: string | undefined;
  try {
    watch.check?.();
    onStep("alone");
    if (keep) {
      // No descriptor of this file may be opened and closed now: that would drop the lock that keeps others out (fcntl(2), D-067).
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

/** A connection beside which there is none, to a database that is one file: its WAL is in it, and no other can be made while this lock is held. */
function openAlone(path: string): Database.Database {
  const db = connect(path, 50);
  try {
    requireOwnDatabase(db, path, true);
    // It can only leave WAL when nobody else has the file open (D-066), and takes the lock in a step of its own.
    retryWhileBusy(aloneMs, () => {
      db.pragma("journal_mode = DELETE");
      db.exec("BEGIN EXCLUSIVE");
      if (pragma(db, "journal_mode") === "delete") return;
      db.exec("ROLLBACK");
      throw new StoreError("busy");
    });
    const left = ["-wal", "-journal"].find((suffix) => existsSync(`${path}${suffix}`));
    if (left !== undefined) throw new StoreError("busy", `${path}${left} is in use`);
    return db;
  } catch (error) {
    db.close();
    throw explain(translate(error), path);
  }
}

function explain(error: StoreError, path: string): StoreError {
  const { code, cause, details } = error;
  if (code === "busy") {
    return new StoreError(
      "busy",
      `${path} is open in another process: end the servers and runners that use it, then restore`,
      { cause, details },
    );
  }
  // Not even its header can be read, so no lock can tell whether a server is there.
  if (code === "corrupt" || details.sqliteCode === "SQLITE_NOTADB") {
    const names = ["", "-wal", "-shm"].map((suffix) => `${path}${suffix}`).filter((name) => existsSync(name));
    const message = `${path} is damaged, so that nothing tells whether a server has it open: end all that use it, move ${names.join(", ")} elsewhere, then restore`;
    return new StoreError("corrupt", message, { cause, details });
  }
  return withPath(error, path);
}

/** The old database is now a file that nobody has open. A damaged one is kept without a manifest. */
function keepAsBackup(source: string, target: string, watch: Watch): Restored["kept"] {
  // Nothing that comes after the replacement may make it look as if it had failed.
  const told: Watch = watch.onProgress === undefined ? {} : { onProgress: watch.onProgress };
  try {
    chmodSync(target, 0o600);
    return writeManifest(
      target,
      buildManifest(target, basename(target), { source, reason: "before a restore", watch: told }),
    );
  } catch {
    return { path: target };
  }
}
