// Checks that a backup still is what its manifest says, and that this version can open it.

import Database from "better-sqlite3";
import { StoreError } from "../errors.ts";
import { type Digest, digestFile, type Watch } from "../files/privateFile.ts";
import { readHistory, requireSound } from "../schema/ledger.ts";
import type { Backup, BackupManifest } from "../schema/manifest.ts";
import { readMigrations } from "../schema/migrationFiles.ts";
import { type Contents, checkIntegrity } from "./backup.ts";
import { runBody } from "./body.ts";
import { applicationId, sqliteCatalog } from "./catalog.ts";
import { translate } from "./errors.ts";

/**
 * Reads the whole backup and compares it with its manifest.
 *
 * Fails    corrupt, with the file and the difference in the message
 * Cost     reads the file twice
 */
export function verifyBackup({ path, manifest }: Backup, watch: Watch = {}): Contents {
  requireDigest(path, manifest, digestFile(path, watch));
  watch.check?.();
  const contents = withReadonlyDatabase(path, checkIntegrity);
  const differing = Object.keys({ ...manifest.rows, ...contents.rows }).find(
    (table) => manifest.rows[table] !== contents.rows[table],
  );
  if (differing !== undefined)
    throw new StoreError(
      "corrupt",
      `${path}: ${differing} has ${contents.rows[differing] ?? 0} rows, but ${manifest.rows[differing] ?? 0} in the manifest`,
    );
  if (contents.revision !== manifest.revision)
    throw new StoreError(
      "corrupt",
      `${path}: the schema is at revision ${contents.revision}, but at ${manifest.revision} in the manifest`,
    );
  return contents;
}

/** Fails with corrupt when a digest is not the one in the manifest. */
export function requireDigest(path: string, { bytes, sha256 }: BackupManifest, actual: Digest): void {
  if (actual.bytes !== bytes)
    throw new StoreError("corrupt", `${path} is damaged: it has ${actual.bytes} bytes, but ${bytes} in its manifest`);
  if (actual.sha256 !== sha256)
    throw new StoreError("corrupt", `${path} is damaged: its SHA-256 is not the one in its manifest`);
}

/**
 * Fails with incompatible unless this version can open the backup, perhaps after an upgrade. Returns the pending
 * revisions.
 */
export function requireUsable(path: string): readonly string[] {
  return withReadonlyDatabase(path, (db) => {
    if (db.pragma("application_id", { simple: true }) !== applicationId)
      throw new StoreError("incompatible", "the backup holds a database of another program");
    const migrations = readMigrations("sqlite");
    const history = runBody(db, readHistory(sqliteCatalog, migrations));
    requireSound(history, migrations);
    return history.pending.map(({ revision }) => revision);
  });
}

/** Reads a backup. It is one file without a WAL, so reading it leaves no file beside it. */
function withReadonlyDatabase<Result>(path: string, read: (db: Database.Database) => Result): Result {
  let db: Database.Database | undefined;
  try {
    db = new Database(path, { readonly: true, fileMustExist: true });
    return read(db);
  } catch (error) {
    throw translate(error);
  } finally {
    db?.close();
  }
}
