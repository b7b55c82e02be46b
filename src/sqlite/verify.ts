// Is a backup still what it was when it was made?

import { isDeepStrictEqual } from "node:util";
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
 * Reads the whole backup, and compares it with its manifest.
 *
 * Fails    corrupt, naming the file and what differs
 * Cost     reads the file twice
 */
export function verifyBackup({ path, manifest }: Backup, watch: Watch = {}): Contents {
  requireDigest(path, manifest, digestFile(path, watch));
  watch.check?.();
  const found = withReadonlyDatabase(path, checkIntegrity);
  const differing = Object.keys({ ...manifest.rows, ...found.rows }).find(
    (table) => manifest.rows[table] !== found.rows[table],
  );
  if (differing !== undefined)
    throw new StoreError(
      "corrupt",
      `${path}: ${differing} has ${found.rows[differing]} rows, and not ${manifest.rows[differing]}`,
    );
  if (!isDeepStrictEqual(found.revision, manifest.revision))
    throw new StoreError(
      "corrupt",
      `${path}: the schema is at revision ${found.revision}, and not ${manifest.revision}`,
    );
  return found;
}

export function requireDigest(path: string, { bytes, sha256 }: BackupManifest, found: Digest): void {
  if (found.bytes !== bytes)
    throw new StoreError(
      "corrupt",
      `${path} is damaged: it has ${found.bytes} bytes, and not ${bytes} as its manifest says`,
    );
  if (found.sha256 !== sha256)
    throw new StoreError("corrupt", `${path} is damaged: its SHA-256 is not what its manifest says`);
}

/** Fails incompatible unless this version can open it, if need be after an upgrade. Gives the pending migrations. */
export function requireUsable(path: string): readonly string[] {
  return withReadonlyDatabase(path, (db) => {
    if (db.pragma("application_id", { simple: true }) !== applicationId)
      throw new StoreError("incompatible", "the backup is of another program's database");
    const migrations = readMigrations("sqlite");
    const history = runBody(db, readHistory(sqliteCatalog, migrations));
    requireSound(history, migrations);
    return history.pending.map(({ revision }) => revision);
  });
}

/** A backup is one file without a WAL, so that looking at it leaves nothing beside it. */
function withReadonlyDatabase<Result>(path: string, look: (db: Database.Database) => Result): Result {
  let db: Database.Database | undefined;
  try {
    db = new Database(path, { readonly: true, fileMustExist: true });
    return look(db);
  } catch (error) {
    throw translate(error);
  } finally {
    db?.close();
  }
}
