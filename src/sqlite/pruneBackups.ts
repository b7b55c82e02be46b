// Removes those backups of a store that are past the bounds which the store has for them. A kill leaves no file that looks
// like a whole backup and is none (D-127).
import { lstatSync, renameSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import Database from "better-sqlite3";
import { StoreError } from "../errors.ts";
import { syncPath, type Watch } from "../files/privateFile.ts";
import { createWriterTag, isAbandoned } from "../files/processes.ts";
import { parseJson } from "../model/json.ts";
import { realTime } from "../realTime.ts";
import { type Backup, type PrunedBackups, readOwnManifests } from "../schema/manifest.ts";
import { backupError, partialsIn } from "./backup.ts";
import { translate } from "./errors.ts";
import { storeIdOf } from "./integrity.ts";
import { connectAsAllowed } from "./readOnly.ts";
import { verifyBackup } from "./verify.ts";

/** The settings of a store for its backups; null is no bound. A backup that is past one of them goes. */
export interface BackupBounds {
  /** The age up to which a backup stays. */
  readonly backupsMs: number | null;
  /** The number of backups that stay, the newest ones. */
  readonly backupsMax: number | null;
}

export interface PruneBackupsOptions {
  readonly folder: string;
  /** The path of the database, as the manifests have it. */
  readonly source: string;
  readonly storeId: string;
  readonly bounds: BackupBounds;
  /** A backup that was just made, and so is known to be whole. Without it, the newest whole one is looked for. */
  readonly made?: string | undefined;
  readonly dryRun?: boolean;
  readonly now?: Date;
  readonly watch?: Watch;
  /** Called after each step of a removal. */
  onStep?(step: RemovalStep): void;
}

/** The steps of a removal in order. From `renamed` on, nothing takes the file for a backup. */
export const removalSteps = ["locked", "renamed", "removed", "done"] as const;
export type RemovalStep = (typeof removalSteps)[number];

/**
 * Removes the backups in a folder that are past the bounds. Only a backup whose manifest names this store and this
 * database counts. The newest one that is whole stays, and so does one that a process has open, such as a restore.
 *
 * Fails    aborted | incompatible when the folder cannot be read
 * Effect   also removes what a killed removal has left
 * Cost     unless a backup was just made, reads the newest one twice
 */
export function pruneBackups(options: PruneBackupsOptions): PrunedBackups {
  const { folder, source, storeId, bounds, made, dryRun = false, watch = {}, onStep = () => undefined } = options;
  const now = (options.now ?? new Date(realTime.now())).getTime();
  const { whole, orphans } = readOwnManifests(folder, source, storeId);
  if (!dryRun) for (const orphan of orphans) settleRemoval(orphan);
  if (bounds.backupsMs === null && bounds.backupsMax === null) return { removed: [], left: [] };
  const { keeper, damaged } = made === undefined ? findWhole(whole, watch) : { keeper: made, damaged: new Set() };
  const past = whole
    .filter((backup) => !damaged.has(backup))
    .filter(
      ({ path, manifest }, newer) => path !== keeper && isPast(Date.parse(manifest.createdAt), newer, now, bounds),
    )
    .toReversed();
  const removed: string[] = [];
  const left: { path: string; reason: string }[] = [];
  for (const backup of past) {
    watch.check?.();
    const { path } = backup;
    const reason = removeWhole(backup, storeId, dryRun, onStep);
    if (reason === undefined) removed.push(path);
    else if (reason !== goneReason) left.push({ path, reason });
  }
  return { removed, left };
}

function isPast(madeAt: number, newer: number, now: number, { backupsMs, backupsMax }: BackupBounds): boolean {
  return (backupsMax !== null && newer >= backupsMax) || (backupsMs !== null && now - madeAt > backupsMs);
}

/** Finds the newest backup that is whole, and those after it that are not. Without one, nothing is to be removed. */
function findWhole(newestFirst: readonly Backup[], watch: Watch): { keeper?: string; damaged: Set<unknown> } {
  const damaged = new Set<unknown>();
  for (const backup of newestFirst) {
    try {
      verifyBackup(backup, watch);
      return { keeper: backup.path, damaged };
    } catch (error) {
      if ((error as StoreError).code === "aborted") throw error;
      damaged.add(backup);
    }
  }
  return { damaged };
}

const goneReason = "it has gone";

/** Removes a backup under a lock that nobody gets while another process has it open. Returns the reason if it stays. */
function removeWhole(
  { path, manifestPath, manifest }: Backup,
  storeId: string,
  dryRun: boolean,
  onStep: (step: RemovalStep) => void,
): string | undefined {
  let db: Database.Database | undefined;
  try {
    if (lstatSync(path).size !== manifest.bytes) return "it is damaged: its size differs from the one in its manifest";
    db = new Database(path, { fileMustExist: true, timeout: 0 });
    db.exec("BEGIN EXCLUSIVE");
    if (storeIdOf(db) !== storeId) return "it holds another store than its manifest says";
    if (dryRun) return undefined;
    onStep("locked");
    // The name of an unfinished copy: it is in no list of backups, and the next backup or removal deletes it.
    const doomed = `${path}.${createWriterTag()}.partial`;
    renameSync(path, doomed);
    syncPath(dirname(path));
    onStep("renamed");
    rmSync(doomed);
    onStep("removed");
    rmSync(manifestPath);
    syncPath(dirname(path));
    onStep("done");
    return undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return goneReason;
    const { code, message } = error instanceof Database.SqliteError ? translate(error) : backupError(error, path);
    return code === "busy" ? "it is in use" : message;
  } finally {
    db?.close();
  }
}

/** Ends a removal that was killed after the file lost its name: deletes the file and its manifest. */
function settleRemoval({ path, manifestPath }: Pick<Backup, "path" | "manifestPath">): void {
  const partials = partialsIn(dirname(path)).filter((partial) => partial.path === path);
  if (!partials.every(({ file, tag }) => isAbandoned(file, tag))) return;
  for (const { file } of partials) rmSync(file, { force: true });
  rmSync(manifestPath, { force: true });
}

/** Reads the id of a store, and its bounds, from its database or from a copy of it. Closes the database. */
function readBounds(db: Database.Database): { readonly storeId: string | undefined; readonly bounds: BackupBounds } {
  try {
    const isOld = db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'retention'").get() === undefined;
    const settings = isOld ? undefined : db.prepare("SELECT settings FROM retention WHERE id = 'store'").pluck().get();
    const { backupsMs = null, backupsMax = null } =
      settings === undefined ? noBounds : (parseJson(settings as string) as Partial<BackupBounds>);
    return { storeId: storeIdOf(db), bounds: { backupsMs, backupsMax } };
  } finally {
    db.close();
  }
}

const noBounds: BackupBounds = { backupsMs: null, backupsMax: null };

/** Prunes the folder of a backup that was just made, by the settings in it. The backup stays whatever fails. */
export function pruneBeside({ path, manifest }: Backup): PrunedBackups {
  const { source, storeId } = manifest;
  if (storeId === undefined) return { removed: [], left: [] };
  try {
    const { bounds } = readBounds(new Database(path, { readonly: true }));
    return pruneBackups({ folder: dirname(path), source, storeId, bounds, made: path });
  } catch (error) {
    return { removed: [], left: [{ path: dirname(path), reason: (error as Error).message }] };
  }
}

export interface PruneOnDemand {
  readonly source: string;
  readonly folder: string;
  /** Bounds that are used instead of those of the store. */
  readonly instead: Partial<BackupBounds>;
  readonly dryRun: boolean;
}

/** Prunes the backups of a database by its settings. Returns the bounds too. */
export function pruneOnDemand(
  { source, folder, instead, dryRun }: PruneOnDemand,
  watch: Watch,
): PrunedBackups & { readonly bounds: BackupBounds } {
  const { storeId, bounds: settings } = readBounds(connectAsAllowed(source, 5_000));
  if (storeId === undefined)
    throw new StoreError("incompatible", `${source} holds no store: name the database whose backups are to be pruned`);
  const bounds = { ...settings, ...instead };
  return { ...pruneBackups({ folder, source, storeId, bounds, dryRun, watch }), bounds };
}

/** Keeps a backup from being removed until the result is disposed of. A damaged one cannot be held. */
export function holdBackup(path: string): Disposable {
  let db: Database.Database | undefined;
  try {
    db = new Database(path, { readonly: true, fileMustExist: true, timeout: 0 });
    db.exec("BEGIN; SELECT count(*) FROM sqlite_schema");
  } catch (error) {
    if (translate(error).code !== "busy") return { [Symbol.dispose]: () => db?.close() };
    db?.close();
    throw new StoreError("busy", `${path} is being removed by another process: name another backup`, { cause: error });
  }
  const held = db;
  return { [Symbol.dispose]: () => held.close() };
}
