// Migrates a SQLite database in one transaction that holds the write lock. The backup is made through a second
// connection, which reads the state that the lock protects (D-062).

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type Database from "better-sqlite3";
import { StoreError } from "../errors.ts";
import { defaultLimits } from "../limits.ts";
import type { Engine, EngineTransaction, RestorePoint, Run } from "../schema/engine.ts";
import { checkSignal, type LockWait, waitForLock } from "../schema/lockWait.ts";
import type { Backup } from "../schema/manifest.ts";
import { quote } from "../shell.ts";
import { backUpSqlite, copySqlite, removeBackup } from "./backup.ts";
import { runBody } from "./body.ts";
import { sqliteCatalog } from "./catalog.ts";
import { configure, connect, pathOf, pragma, requireOwnDatabase } from "./connection.ts";
import { translate } from "./errors.ts";
import { describeReadOnly, prepareFile, withPath } from "./file.ts";
import { fileIdentity } from "./openFile.ts";
import { connectAsAllowed, readOnlyError } from "./readOnly.ts";

export interface SqliteEngineOptions extends LockWait {
  readonly path: string;
  /** Creates the file when it does not exist. */
  readonly create: boolean;
}

/**
 * Opens a file for migration. Fails with incompatible, busy or corrupt; the message names the remedy. Changes nothing
 * before the first transaction.
 */
export function openSqliteEngine(options: SqliteEngineOptions): Engine {
  const path = resolve(options.path);
  const created = prepareFile(path, options.create);
  const identity = fileIdentity(path);
  const db = connectAsAllowed(path, defaultLimits.busyMs);
  try {
    requireOwnDatabase(db, path, options.create);
  } catch (error) {
    db.close();
    throw withPath(translate(error), path);
  }
  const engine = createEngine(db, path, options, identity);
  return {
    ...engine,
    async close() {
      if (created) removeIfUnused(db, path);
      await engine.close();
    },
  };
}

/**
 * Removes a file that we created and never wrote to. It takes an exclusive lock first: if another process has just
 * opened the file, either that process has written to it and the file stays, or it finds the file gone.
 */
function removeIfUnused(db: Database.Database, path: string): void {
  try {
    if (db.prepare("SELECT count(*) FROM sqlite_schema").pluck().get() !== 0) return;
    db.pragma("busy_timeout = 0");
    db.pragma("journal_mode = DELETE");
    db.exec("BEGIN EXCLUSIVE");
    if (pragma(db, "journal_mode") === "delete" && db.prepare("SELECT count(*) FROM sqlite_schema").pluck().get() === 0)
      rmSync(path);
  } catch {
    // Another process uses the file.
  }
}

/**
 * Creates the engine for an open database. `identity` is that of the opened file; a scratch database has none, because
 * no restore replaces it.
 */
function createEngine(db: Database.Database, path: string, waiting: LockWait, identity?: string): Engine {
  const inMemory = path === ":memory:";
  const run: Run = async (body) => {
    await checkSignal(waiting);
    return runBody(db, body);
  };
  return {
    dialect: "sqlite",
    catalog: sqliteCatalog,
    async transact(work) {
      return await nameInErrors(path, async () => {
        const settings = {
          synchronous: "full",
          maxBytes: undefined,
          limits: { busyGiveUpMs: waiting.lockTimeoutMs, walBytes: defaultLimits.walBytes },
        } as const;
        if (!inMemory) requireWritable(path);
        configure(db, settings, inMemory);
        if (identity !== undefined && fileIdentity(path) !== identity)
          throw new StoreError("busy", "a restore has just replaced the file: try again");
        // Rebuilding a table drops one that others refer to, and this pragma has no effect inside a transaction:
        // https://www.sqlite.org/lang_altertable.html#otheralter
        db.pragma("foreign_keys = OFF");
        return await withBackups(path, (backUp) =>
          inTransaction(
            db,
            () => begin(db, waiting),
            () => work({ run, backUp }),
          ),
        );
      });
    },
    async read(work) {
      return await nameInErrors(path, () =>
        inTransaction(
          db,
          async () => void db.exec("BEGIN"),
          () => work(run),
        ),
      );
    },
    backupAdvice: undefined,
    openEmpty: async () => createEngine(connect(":memory:", 0), ":memory:", waiting),
    openCopy: () => nameInErrors(path, async () => copyToScratch(path, waiting)),
    async close() {
      db.close();
    },
  };
}

/** Fails with read_only when the file cannot be written, before SQLite does so at the first statement that writes. */
function requireWritable(path: string): void {
  const reason = describeReadOnly(path);
  if (reason !== undefined) throw readOnlyError(reason);
}

/** Runs a function. If it fails, puts the path of the file in front of the message. */
async function nameInErrors<Result>(path: string, run: () => Promise<Result>): Promise<Result> {
  try {
    return await run();
  } catch (error) {
    const failure = translate(error);
    const { code, message, details, outcome } = failure;
    throw path === ":memory:" || code === "invalid_input" || message.includes(path)
      ? failure
      : new StoreError(code, `${path}: ${message}`, { details, outcome, cause: error });
  }
}

async function inTransaction<Result>(
  db: Database.Database,
  start: () => Promise<void>,
  work: () => Promise<Result>,
): Promise<Result> {
  await start();
  try {
    const result = await work();
    commit(db);
    return result;
  } catch (error) {
    if (db.inTransaction) db.exec("ROLLBACK");
    throw error;
  }
}

async function begin(db: Database.Database, waiting: LockWait): Promise<void> {
  await waitForLock(waiting, async () => {
    try {
      db.exec("BEGIN IMMEDIATE");
      return undefined;
    } catch (error) {
      return translate(error);
    }
  });
}

/** Commits, and proves that the transaction is over. After a failed sync it is unknown what reached the disk. */
function commit(db: Database.Database): void {
  try {
    db.exec("COMMIT");
  } catch (error) {
    const { code, message } = translate(error, pathOf(db));
    const outcome = code === "storage_full" || code === "busy" ? "rolled_back" : "unknown";
    throw new StoreError(
      code,
      outcome === "unknown" ? `${message}; run debug-server-db migrate check to see whether it was committed` : message,
      { outcome, cause: error },
    );
  }
  if (db.inTransaction)
    throw new StoreError("internal", "COMMIT returned and the transaction is still open", { outcome: "unknown" });
}

/**
 * Runs work that may make backups, and removes them when it fails, so that repeated failures do not fill the disk.
 * After an unknown outcome they stay, because they may be needed.
 */
async function withBackups<Result>(
  path: string,
  work: (backUp: EngineTransaction["backUp"]) => Promise<Result>,
): Promise<Result> {
  const backups: Backup[] = [];
  try {
    return await work(async (reason) => {
      const backup = backUpSqlite(path, reason);
      backups.push(backup);
      return restorePointOf(path, backup);
    });
  } catch (error) {
    if (!(error instanceof StoreError && error.outcome === "unknown"))
      for (const backup of backups) removeBackup(backup);
    throw error;
  }
}

function restorePointOf(path: string, { path: copy, manifestPath, manifest: { bytes, sha256 } }: Backup): RestorePoint {
  const restore = [`debug-server-db backup restore ${quote(copy)} --url ${quote(`sqlite:${path}`)}`];
  return { made: true, path: copy, manifestPath, bytes, sha256, restore };
}

function copyToScratch(path: string, waiting: LockWait): Engine {
  const folder = mkdtempSync(join(tmpdir(), "debug-server-db-"));
  try {
    const copy = join(folder, "copy.db");
    copySqlite(path, copy);
    // The path is that of the original, because error messages about the copy name the original.
    const engine = createEngine(connect(copy, 0), path, waiting);
    return {
      ...engine,
      async close() {
        await engine.close();
        rmSync(folder, { recursive: true, force: true });
      },
    };
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}
