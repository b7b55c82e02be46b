// Reads the manifests of backups, and finds and lists backups.
import { accessSync, constants, lstatSync, readdirSync, readFileSync, type Stats } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { StoreError } from "../errors.ts";
import { readError } from "../files/privateFile.ts";
import { writerTagForm } from "../files/processes.ts";

/** A description of a backup, as JSON in a file beside it. A backup without a manifest was never finished. */
export interface BackupManifest {
  readonly format: 1;
  readonly file: string;
  readonly createdAt: string;
  readonly source: string;
  /** The id of the store in the database; absent when it holds none. */
  readonly storeId?: string | undefined;
  readonly reason: string;
  readonly bytes: number;
  readonly sha256: string;
  /** The revision of the schema, or "none" when the database has no ledger. */
  readonly revision: string;
  /** The number of rows in each table of the copy, for later checks of the backup. */
  readonly rows: Readonly<Record<string, number>>;
  readonly sqliteVersion: string;
  readonly packageVersion: string;
}

export interface Backup {
  readonly path: string;
  readonly manifestPath: string;
  readonly manifest: BackupManifest;
}

/** The backups that went because they are past the bounds of the store. */
export interface PrunedBackups {
  /** The paths of the backups that went, or would go, oldest first. */
  readonly removed: readonly string[];
  /** The backups that should have gone and stay, each with the reason. */
  readonly left: readonly { readonly path: string; readonly reason: string }[];
}

/** A new backup, and the older ones beside it that went. */
export interface MadeBackup extends Backup {
  readonly pruned: PrunedBackups;
}

/** A file in the folder of backups. */
export interface ListedBackup {
  readonly path: string;
  readonly bytes: number;
  /** `unfinished`: without a manifest. `damaged`: its manifest is. `unreadable`: this process may not read it. */
  readonly state: "finished" | "unfinished" | "damaged" | "unreadable";
  /** The fault of a damaged or unreadable one. */
  readonly finding: string | undefined;
  /** Undefined unless it is finished. */
  readonly manifest: BackupManifest | undefined;
}

/** Returns the default folder of backups, which is beside the database. */
export function backupFolder(source: string): string {
  return join(dirname(resolve(source)), "backups");
}

export function manifestPathOf(path: string): string {
  return `${path}.json`;
}

/**
 * Finds a backup by its path, or by its name in the folder of backups. Fails with invalid_input when there is none, or
 * it was never finished.
 */
export function findBackup(pathOrName: string, source: string): Backup {
  const candidates = [resolve(pathOrName), join(backupFolder(source), pathOrName)];
  const path = candidates.find((candidate) => statusOf(candidate) !== undefined);
  if (path === undefined)
    throw new StoreError(
      "invalid_input",
      `${pathOrName}: there is no such backup; run debug-server-db backup list to see all`,
    );
  if (!statusOf(path)?.isFile())
    throw new StoreError(
      "invalid_input",
      `${path} is not a regular file: name the backup itself, not a link or folder`,
    );
  const manifest = readManifest(path);
  if (manifest === undefined)
    throw new StoreError(
      "invalid_input",
      `${path} has no manifest ${basename(manifestPathOf(path))}: it was never finished`,
    );
  return { path, manifestPath: manifestPathOf(path), manifest };
}

/**
 * Reads the manifest of a backup, or returns undefined when it has none. Fails with corrupt when the manifest is
 * damaged, and with incompatible when it cannot be read.
 */
function readManifest(path: string): BackupManifest | undefined {
  const manifestPath = manifestPathOf(path);
  const text = readIfThere(manifestPath);
  if (text === undefined) return undefined;
  try {
    const manifest = JSON.parse(text) as Partial<BackupManifest>;
    const { format, bytes, sha256, revision, rows, createdAt } = manifest;
    const complete =
      format === 1 &&
      Number.isSafeInteger(bytes) &&
      /^[0-9a-f]{64}$/.test(sha256 ?? "") &&
      typeof revision === "string";
    if (!complete || typeof rows !== "object" || rows === null || Number.isNaN(Date.parse(createdAt ?? "")))
      throw new Error("a field is missing or invalid");
    return manifest as BackupManifest;
  } catch (error) {
    throw new StoreError("corrupt", `${manifestPath} is not the manifest of a backup: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/** Reads a text file, or returns undefined when there is none. */
function readIfThere(path: string): string | undefined {
  return unlessGone(path, () => readFileSync(path, "utf8"));
}

/** Returns the status of a file, or undefined when there is none. */
function statusOf(path: string): Stats | undefined {
  return unlessGone(path, () => lstatSync(path));
}

/** Returns undefined when a file does not exist. Fails with incompatible when it cannot be reached or read. */
function unlessGone<Result>(path: string, read: () => Result): Result | undefined {
  try {
    return read();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw readError(error as NodeJS.ErrnoException, path);
  }
}

/**
 * Finds the manifests in a folder that name this store and this database. Returns the backups that they describe, newest
 * first, and those of them whose file has gone. Fails with incompatible when the folder cannot be read.
 */
export function readOwnManifests(
  folder: string,
  source: string,
  storeId: string,
): { readonly whole: readonly Backup[]; readonly orphans: readonly Backup[] } {
  const names = unlessGone(folder, () => readdirSync(folder)) ?? [];
  const own = names.flatMap((name) => {
    const path = join(folder, name.slice(0, -manifestPathOf("").length));
    if (name !== basename(manifestPathOf(path)) || !lstatSync(manifestPathOf(path)).isFile()) return [];
    const manifest = tryToReadManifest(path);
    const isOwn = manifest?.storeId === storeId && manifest.source === source && manifest.file === basename(path);
    return isOwn ? [{ path, manifestPath: manifestPathOf(path), manifest }] : [];
  });
  const at = ({ manifest }: Backup) => Date.parse(manifest.createdAt);
  return {
    whole: own.filter(({ path }) => statusOf(path)?.isFile()).toSorted((left, right) => at(right) - at(left)),
    orphans: own.filter(({ path }) => statusOf(path) === undefined),
  };
}

/** Reads a manifest, or returns undefined for another file, which may be anything. */
function tryToReadManifest(path: string): BackupManifest | undefined {
  try {
    return readManifest(path);
  } catch {
    return undefined;
  }
}

/**
 * Lists the backups of a database, oldest first, and the copies that are being made. Fails with incompatible when the
 * folder cannot be read.
 */
export function listBackups(source: string): ListedBackup[] {
  const folder = backupFolder(source);
  const form = new RegExp(`\\.db(?:\\.${writerTagForm}\\.partial)?$`);
  const names = unlessGone(folder, () => readdirSync(folder)) ?? [];
  return names
    .filter((name) => form.test(name))
    .flatMap((name) => inspect(join(folder, name)))
    .toSorted((left, right) => (left.at < right.at ? -1 : 1))
    .map(({ listed }) => listed);
}

/** Describes a backup with its time. Returns nothing when it has gone since, such as one that got its final name. */
function inspect(path: string): { readonly listed: ListedBackup; readonly at: string }[] {
  const status = statusOf(path);
  if (!status?.isFile()) return [];
  const file = { path, bytes: status.size };
  try {
    const manifest = readManifest(path);
    unlessGone(path, () => accessSync(path, constants.R_OK));
    const at = manifest?.createdAt ?? status.mtime.toISOString();
    const state = manifest === undefined ? "unfinished" : "finished";
    return [{ listed: { ...file, state, finding: undefined, manifest }, at }];
  } catch (error) {
    const { code, message } = error as StoreError;
    const state = code === "corrupt" ? "damaged" : "unreadable";
    return [{ listed: { ...file, state, finding: message, manifest: undefined }, at: status.mtime.toISOString() }];
  }
}
