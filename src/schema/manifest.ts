// Reads the manifests of backups, and finds and lists backups.
import { existsSync, lstatSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { StoreError } from "../errors.ts";

/** A description of a backup, as JSON in a file beside it. A backup without a manifest was never finished. */
export interface BackupManifest {
  readonly format: 1;
  readonly file: string;
  readonly createdAt: string;
  readonly source: string;
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

/** A file in the folder of backups. */
export interface ListedBackup {
  readonly path: string;
  readonly bytes: number;
  /** Undefined for a backup that was never finished, or whose manifest is damaged. */
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
  const path = [resolve(pathOrName), join(backupFolder(source), pathOrName)].find((candidate) => existsSync(candidate));
  if (path === undefined)
    throw new StoreError(
      "invalid_input",
      `${pathOrName}: there is no such backup; run debug-server-db backup list to see all`,
    );
  if (!lstatSync(path).isFile())
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
 * damaged.
 */
function readManifest(path: string): BackupManifest | undefined {
  const manifestPath = manifestPathOf(path);
  if (!existsSync(manifestPath)) return undefined;
  try {
    const manifest = JSON.parse(readFileSync(manifestPath, "utf8")) as Partial<BackupManifest>;
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

/** Lists the backups of a database, oldest first. */
export function listBackups(source: string): ListedBackup[] {
  const folder = backupFolder(source);
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder).filter(
    (name) => /\.db(?:\.partial)?$/.test(name) && lstatSync(join(folder, name)).isFile(),
  );
  const listed = names.map((name): ListedBackup => {
    const path = join(folder, name);
    return { path, bytes: statSync(path).size, manifest: manifestOrNone(path) };
  });
  const timeOf = ({ path, manifest }: ListedBackup) => manifest?.createdAt ?? statSync(path).mtime.toISOString();
  return listed.sort((left, right) => (timeOf(left) < timeOf(right) ? -1 : 1));
}

/** Reads a manifest, or returns undefined when it is missing or damaged, so that a list shows the other backups. */
function manifestOrNone(path: string): BackupManifest | undefined {
  try {
    return readManifest(path);
  } catch {
    return undefined;
  }
}
