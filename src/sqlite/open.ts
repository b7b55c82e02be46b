// Opens a SQLite database for a server or a visitor: checks that the file is ours, configures the connection, and
// creates or checks the schema.

import { resolve } from "node:path";
import type Database from "better-sqlite3";
import type { Clock } from "../clock.ts";
import type { Driver, Synchronous, Upkeep } from "../driver.ts";
import type { FileEvent } from "../events.ts";
import type { Limits } from "../limits.ts";
import { present } from "../present.ts";
import { realTime } from "../realTime.ts";
import { createSchema, readHistory, requireHead } from "../schema/ledger.ts";
import { readMigrations } from "../schema/migrationFiles.ts";
import { runBody } from "./body.ts";
import { applicationId, sqliteCatalog } from "./catalog.ts";
import { configure, connect, distrust, pathOf, pragma, requireOwnDatabase } from "./connection.ts";
import { translate } from "./errors.ts";
import { fileFacts } from "./facts.ts";
import { describeReadOnly, prepareFile, withPath } from "./file.ts";
import { FreePages } from "./freePages.ts";
import { inImmediateTransaction, retryWhileBusy } from "./locks.ts";
import { connectInMemory, keepImage } from "./memoryImage.ts";
import { copyInSteps } from "./onlineCopy.ts";
import { type FileIdentities, fileIdentity, OpenFile } from "./openFile.ts";
import { connectToRead, readOnlyError } from "./readOnly.ts";
import { ServerRow } from "./servers.ts";
import { createSqliteDriver } from "./transaction.ts";
import type { RunCheckpoint } from "./walCheckpoint.ts";
import { WalWatch } from "./walWatch.ts";

export type Role = "server" | "visitor";
export type MigratePolicy = "create" | "never";

export interface SqliteOptions {
  /** The path of a file, or ":memory:". */
  readonly path: string;
  readonly clock: Clock;
  readonly limits: Limits;
  /** `create` creates a database that does not exist; `never` refuses it. */
  readonly migrate: MigratePolicy;
  /** `full`: an acknowledged write survives power loss. `normal`: it survives only the death of the process. */
  readonly synchronous: Synchronous;
  /** The maximum size of the file. Beyond it, writes fail with storage_full. */
  readonly maxBytes: number | undefined;
  /**
   * A `visitor` uses the file for a moment, often beside a server: it does not register as a server, and leaves the WAL
   * in place. By default `server`.
   */
  readonly role?: Role;
  /** Receives what happens to the file while it is open. */
  onEvent(event: FileEvent): void;
  /** Runs `checkpointWal` in another thread. Without it, commits empty the WAL, however large it is. */
  readonly checkpoint?: RunCheckpoint;
}

/** The driver of a SQLite database, and its files if it has some that others may read. */
export type SqliteDriver = Driver & { readonly files?: FileIdentities };

/** Opens a store. Fails with incompatible, storage_full, busy or corrupt; the message names the remedy. */
export function openSqlite(options: SqliteOptions): SqliteDriver {
  for (;;) {
    const driver = tryOpen(options);
    if (driver !== undefined) return driver;
  }
}

/** Returns undefined when a restore has replaced the file while it was being opened. */
function tryOpen(options: SqliteOptions): SqliteDriver | undefined {
  const inMemory = options.path === ":memory:";
  const path = inMemory ? options.path : resolve(options.path);
  const create = options.migrate === "create";
  if (!inMemory) prepareFile(path, create);
  const readOnly = inMemory || options.role !== "visitor" ? undefined : describeReadOnly(path);
  if (readOnly !== undefined) return openToRead(path, readOnly, options);
  const identity = fileIdentity(path);
  const isNew = inMemory && create;
  const db = isNew ? connectInMemory(options.clock, options.limits.busyMs) : connect(path, options.limits.busyMs);
  try {
    // Another process may be creating the file, switching it to WAL or restoring it, and holds its lock meanwhile.
    retryWhileBusy(options.limits.busyGiveUpMs, () => requireOwnDatabase(db, path, create));
    configure(db, options, inMemory);
    // A connection in WAL mode holds a lock until it closes, so no restore replaces the file from now on. If one did so
    // before, this connection has the old file.
    if (fileIdentity(path) !== identity) {
      db.close();
      return undefined;
    }
    ensureSchema(db, options);
    if (isNew) keepImage(db);
    const epoch = nextEpoch(db, options);
    const file = inMemory
      ? undefined
      : new OpenFile(path, (reason) => options.onEvent({ type: "file_lost", path, reason }));
    const wal = file === undefined ? undefined : watchWal(db, path, options);
    const pages = file === undefined ? undefined : new FreePages(db, options);
    if (pages?.canShrink === false && options.role !== "visitor") options.onEvent({ type: "vacuum_off", path });
    const copies = new Copies();
    const upkeep =
      file === undefined || wal === undefined || pages === undefined || options.role === "visitor"
        ? undefined
        : keepSmall(file, wal, pages, copies);
    const stopServing = file === undefined || options.role === "visitor" ? undefined : serveFile(db, file, options);
    const driver = createSqliteDriver({
      db,
      clock: options.clock,
      epoch,
      refusal() {
        const refusal = file?.check();
        if (file !== undefined && refusal === undefined) wal?.look(file.walBytes);
        return refusal;
      },
      facts: () => fileFacts(db, inMemory ? undefined : path, file?.check(), wal, pages?.vacuumedBytes),
      backUp: (target, watch) => copies.count(copyInSteps(db, target, watch)),
      upkeep,
      close() {
        const close = (): void => {
          stopServing?.();
          db.close();
        };
        // Only the last connection removes the WAL.
        const stopped = wal?.stop();
        return stopped === undefined ? close() : stopped.then(close);
      },
    });
    return { ...driver, ...present({ files: file?.identities }) };
  } catch (error) {
    db.close();
    // SQLite refuses to switch a file to WAL when it no longer has its name:
    // https://www.sqlite.org/rescode.html#readonly_dbmoved
    if (fileIdentity(path) !== identity && fileIdentity(path) !== undefined) return undefined;
    throw withPath(translate(error, pathOf(db)), path);
  }
}

function watchWal(db: Database.Database, path: string, { limits, checkpoint, onEvent }: SqliteOptions): WalWatch {
  return new WalWatch(db, {
    path,
    limits,
    checkpoint,
    onPinned: (walBytes, readers) => onEvent({ type: "wal_pinned", path, walBytes, readers }),
  });
}

/** Counts the copies that are being made of a database. */
class Copies {
  running = 0;

  async count(copy: Promise<void>): Promise<void> {
    this.running++;
    try {
      await copy;
    } finally {
      this.running--;
    }
  }
}

/**
 * The upkeep of the file of a server. A file that is being copied keeps its size: each page that moves would have to be
 * copied again.
 */
function keepSmall(file: OpenFile, wal: WalWatch, pages: FreePages, copies: Copies): Upkeep {
  /** Does nothing when the file is busy or the disk is full. Calls report what lasts. */
  const attempt = (work: () => boolean): boolean => {
    try {
      return file.check() === undefined && copies.running === 0 && work();
    } catch {
      return false;
    }
  };
  return {
    look: () =>
      attempt(() => {
        wal.attend(file.walBytes);
        return pages.isTooFree();
      }),
    // While nobody can empty the WAL, moved pages would only make it grow.
    shrink: () =>
      attempt(() => {
        if (!wal.takesMore()) return false;
        const isMore = pages.giveBack();
        // Part of the step, so that its time counts, and no commit of a call has to do it.
        wal.copySome();
        return isMore;
      }),
  };
}

/** Opens a store that a visitor can only read. */
function openToRead(path: string, reason: string, options: SqliteOptions): Driver {
  let db: Database.Database | undefined;
  try {
    db = connectToRead(path, options.limits.busyMs);
    const opened = db;
    retryWhileBusy(options.limits.busyGiveUpMs, () => requireOwnDatabase(opened, path, false));
    distrust(opened);
    const migrations = readMigrations("sqlite");
    requireHead(runBody(opened, readHistory(sqliteCatalog, migrations)), migrations);
    const refusal = readOnlyError(reason);
    return createSqliteDriver({
      db: opened,
      clock: options.clock,
      epoch: nextEpoch(opened, options),
      refusal: () => refusal,
      facts: () => fileFacts(opened, path, refusal),
      backUp: (target, watch) => copyInSteps(opened, target, watch),
      close: () => void opened.close(),
    });
  } catch (error) {
    db?.close();
    throw withPath(translate(error), path);
  }
}

/**
 * Creates the schema of a new file, and fails with incompatible unless the schema is at the head. When several
 * processes open a new file at once, one creates the schema and the others wait.
 */
function ensureSchema(db: Database.Database, { clock, limits }: SqliteOptions): void {
  const migrations = readMigrations("sqlite");
  if (pragma(db, "application_id") !== applicationId) {
    inImmediateTransaction(db, limits, () => {
      if (pragma(db, "application_id") !== applicationId)
        runBody(
          db,
          createSchema(sqliteCatalog, migrations, () => clock.now()),
        );
    });
  }
  requireHead(runBody(db, readHistory(sqliteCatalog, migrations)), migrations);
}

/** Counts this start of a server and returns its number. A visitor gets the number of the last start. */
function nextEpoch(db: Database.Database, { limits, role }: SqliteOptions): number {
  if (role === "visitor") return Number(db.prepare("SELECT value FROM store_meta WHERE key = 'epoch'").pluck().get());
  return inImmediateTransaction(db, limits, () => {
    const { value } = db
      .prepare("UPDATE store_meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'epoch' RETURNING value")
      .get() as { value: string };
    return Number(value);
  });
}

/**
 * Registers this server, and looks at intervals whether the file is in its place and whether another server has it
 * open. Returns the function that ends this and moves the WAL into the file, so that the file alone is the database.
 */
function serveFile(db: Database.Database, file: OpenFile, { limits, onEvent }: SqliteOptions): () => void {
  const row = new ServerRow(db, limits, (other) => onEvent({ type: "second_server", ...other }));
  const attend = (): void => {
    try {
      if (file.check() === undefined) row.attend();
    } catch {
      // The file is busy or the disk is full: the next pass looks again, and calls report what lasts.
    }
  };
  const everyMs = limits.fileCheckEveryMs;
  const timer = everyMs === 0 ? undefined : realTime.setInterval(attend, everyMs);
  timer?.unref();
  return () => {
    realTime.clearInterval(timer);
    // A lost file is left to SQLite, which moves its WAL only while the file has its name.
    if (!db.open || file.check() !== undefined) return;
    try {
      row.remove();
      db.pragma("wal_checkpoint(TRUNCATE)");
    } catch {
      // The file is busy or the disk is full: the WAL stays, and is read when the file is opened again.
    }
  };
}
