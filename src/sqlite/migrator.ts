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
import { openElsewhere } from "./exclusive.ts";
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
  const connection = { db: connectAsAllowed(path, defaultLimits.busyMs) };
  try {
    requireOwnDatabase(connection.db, path, options.create);
  } catch (error) {
    connection.db.close();
    throw withPath(translate(error), path);
  }
  const engine = createEngine(connection, path, options, identity);
  return {
    ...engine,
    async close() {
      if (created) removeIfUnused(connection.db, path);
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

/** The connection of an engine. It is opened anew while the engine waits until no other process has the file open. */
interface Connection {
  db: Database.Database;
}

/**
 * Creates the engine for an open database. `identity` is that of the opened file; a scratch database has none, because
 * no other process knows it.
 */
function createEngine(connection: Connection, path: string, waiting: LockWait, identity?: string): Engine {
  const run: Run = async (body) => {
    await checkSignal(waiting);
    return runBody(connection.db, body);
  };
  return {
    dialect: "sqlite",
    catalog: sqliteCatalog,
    async transact(work, needsAlone) {
      return await nameInErrors(path, async () => {
        if (path !== ":memory:") requireWritable(path);
        const isAlone =
          identity === undefined || needsAlone === undefined
            ? await begin(connection.db, path, waiting).then(() => identity === undefined)
            : await beginAlone(connection, path, waiting, () => needsAlone(run));
        try {
          return await withBackups(path, (backUp) =>
            inTransaction(connection.db, async () => {
              if (identity !== undefined && fileIdentity(path) !== identity)
                throw new StoreError("busy", "a restore has just replaced the file: try again");
              return await work({ run, isAlone, backUp });
            }),
          );
        } finally {
          if (identity !== undefined && isAlone) returnToWal(connection.db);
        }
      });
    },
    async read(work) {
      return await nameInErrors(path, () => {
        connection.db.exec("BEGIN");
        return inTransaction(connection.db, () => work(run));
      });
    },
    backupAdvice: undefined,
    openEmpty: async () => createEngine({ db: connect(":memory:", 0) }, ":memory:", waiting),
    openCopy: () => nameInErrors(path, async () => copyToScratch(path, waiting)),
    async close() {
      connection.db.close();
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

/** Runs `work`, then commits the transaction that has begun, or rolls it back. */
async function inTransaction<Result>(db: Database.Database, work: () => Promise<Result>): Promise<Result> {
  try {
    const result = await work();
    commit(db);
    return result;
  } catch (error) {
    if (db.inTransaction) db.exec("ROLLBACK");
    throw error;
  }
}

/** Begins a transaction that holds the write lock. */
async function begin(db: Database.Database, path: string, waiting: LockWait): Promise<void> {
  await waitForLock(waiting, async () => {
    try {
      prepare(db, path);
      db.exec("BEGIN IMMEDIATE");
      return undefined;
    } catch (error) {
      return translate(error);
    }
  });
}

/**
 * Begins a transaction that holds the write lock, and if `isNeeded` returns true, while no other process has the file
 * open. Returns whether that is so.
 */
async function beginAlone(
  connection: Connection,
  path: string,
  waiting: LockWait,
  isNeeded: () => Promise<boolean>,
): Promise<boolean> {
  let isAlone = false;
  const attempt = async (): Promise<void> => {
    if (!connection.db.open) connection.db = connect(path, 0);
    connection.db.pragma("busy_timeout = 0");
    connection.db.exec("BEGIN");
    isAlone = await inTransaction(connection.db, isNeeded);
    prepare(connection.db, path);
    if (isAlone) connection.db.pragma("journal_mode = DELETE");
    connection.db.exec("BEGIN IMMEDIATE");
    // Another process has opened the file in between.
    if (isAlone && pragma(connection.db, "journal_mode") !== "delete") throw new StoreError("busy");
    // A process that reads the file for a moment may hold up COMMIT.
    connection.db.pragma(`busy_timeout = ${readersMs}`);
  };
  try {
    await waitForLock(waiting, () =>
      attempt().then(
        () => undefined,
        (error: unknown) => {
          const failure = translate(error);
          // Another process that waits in the same way must not find the file open between two attempts.
          if (failure.code === "busy") connection.db.close();
          return failure;
        },
      ),
    );
  } catch (error) {
    const failure = translate(error);
    throw failure.code === "busy" && isAlone ? openElsewhere(path, "migrate", failure) : failure;
  }
  return isAlone;
}

/** The time to wait for processes that read the file. */
const readersMs = 5_000;

/** Sets the pragmas of a connection that is to migrate. */
function prepare(db: Database.Database, path: string): void {
  const limits = { busyGiveUpMs: 0, walBytes: defaultLimits.walBytes };
  configure(db, { synchronous: "full", maxBytes: undefined, limits }, path === ":memory:");
  // Rebuilding a table drops one that others refer to, and this pragma has no effect inside a transaction:
  // https://www.sqlite.org/lang_altertable.html#otheralter
  db.pragma("foreign_keys = OFF");
}

/** Turns WAL on again, as every process does that opens the file. */
function returnToWal(db: Database.Database): void {
  try {
    db.pragma("journal_mode = WAL");
  } catch {
    // Another process has opened the file, and turns it on.
  }
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
    const engine = createEngine({ db: connect(copy, 0) }, path, waiting);
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
