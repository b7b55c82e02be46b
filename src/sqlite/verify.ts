// Checks that a backup still matches its manifest, and that this version of the package can open it.

import Database from "better-sqlite3";
import { StoreError } from "../errors.ts";
import { type Digest, digestFile, type Watch } from "../files/privateFile.ts";
import { readHistory, requireSound } from "../schema/ledger.ts";
import type { Backup, BackupManifest } from "../schema/manifest.ts";
import { readMigrations } from "../schema/migrationFiles.ts";
import { runBody } from "./body.ts";
import { applicationId, sqliteCatalog } from "./catalog.ts";
import { translate } from "./errors.ts";
import { type Contents, checkIntegrity } from "./integrity.ts";

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
      `${path}: the table ${differing} has ${contents.rows[differing] ?? 0} rows, but ${manifest.rows[differing] ?? 0} according to its manifest`,
    );
  if (contents.revision !== manifest.revision)
    throw new StoreError(
      "corrupt",
      `${path}: the schema is at revision ${contents.revision}, but at ${manifest.revision} according to its manifest`,
    );
  return contents;
}

/** Fails with corrupt when a digest differs from the one in the manifest. */
export function requireDigest(path: string, { bytes, sha256 }: BackupManifest, actual: Digest): void {
  if (actual.bytes !== bytes)
    throw new StoreError(
      "corrupt",
      `${path} is damaged: it has ${actual.bytes} bytes, but ${bytes} according to its manifest`,
    );
  if (actual.sha256 !== sha256)
    throw new StoreError("corrupt", `${path} is damaged: its SHA-256 differs from the one in its manifest`);
}

/**
 * Returns the revisions that must be applied before this version can open the backup. Fails with incompatible when this
 * version cannot open it at all.
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

/** Opens a backup and reads from it. A backup has no WAL, so no file is created beside it. */
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
