// Opening a SQLite database for a driver: its file, its schema, and who else serves it.

import { randomUUID } from "node:crypto";
import { statfsSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { dirname, resolve } from "node:path";
import type Database from "better-sqlite3";
import type { Clock } from "../clock.ts";
import type { DatabaseFacts } from "../context.ts";
import type { Driver, Synchronous } from "../driver.ts";
import { isAlive } from "../files/processes.ts";
import type { Limits } from "../limits.ts";
import { createSchema, readHistory, requireHead } from "../schema/ledger.ts";
import { readMigrations } from "../schema/migrationFiles.ts";
import { runBody } from "./body.ts";
import { applicationId, sqliteCatalog } from "./catalog.ts";
import { configure, connect, pragma, requireOwnDatabase, sqliteVersion } from "./connection.ts";
import { translate } from "./errors.ts";
import { fileIdentity, prepareFile, withPath } from "./file.ts";
import { inImmediateTransaction, retryWhileBusy } from "./locks.ts";
import { copyInSteps } from "./onlineCopy.ts";
import { createSqliteDriver } from "./transaction.ts";

export type Role = "server" | "visitor";
export type MigratePolicy = "create" | "never";

export interface SqliteOptions {
  /** A file's path, or ":memory:". */
  readonly path: string;
  readonly clock: Clock;
  readonly limits: Limits;
  /** `create` makes a new database; `never` refuses one that is not there. */
  readonly migrate: MigratePolicy;
  /** `full`: an acknowledged write survives power loss. `normal`: it survives the death of the process only. */
  readonly synchronous: Synchronous;
  /** The file grows no larger; beyond it writes fail storage_full. */
  readonly maxBytes: number | undefined;
  /** A `visitor` comes beside the server of a file for a moment: it does not announce itself, and leaves the WAL to the server. */
  readonly role?: Role;
  /** Told when another living process has the file open as a server. */
  onSecondServer(pid: number): void;
}

/** Fails incompatible, storage_full, busy or corrupt, with a sentence that says what to do. */
export function openSqlite(options: SqliteOptions): Driver {
  for (;;) {
    const driver = tryOpen(options);
    if (driver !== undefined) return driver;
  }
}

/** Undefined when a restore put another file in the place of the one that was opened. */
function tryOpen(options: SqliteOptions): Driver | undefined {
  const inMemory = options.path === ":memory:";
  const path = inMemory ? options.path : resolve(options.path);
  const create = options.migrate === "create";
  if (!inMemory) prepareFile(path, create);
  const identity = fileIdentity(path);
  const db = connect(path, options.limits.busyMs);
  try {
    // Others may be making it, switching it to WAL or restoring it: all of that holds its lock.
    retryWhileBusy(options.limits.busyGiveUpMs, () => requireOwnDatabase(db, path, create));
    configure(db, options, inMemory);
    // In WAL it has a lock until it closes, so that from now on the file keeps its name. Nothing was written yet.
    if (fileIdentity(path) !== identity) {
      db.close();
      return undefined;
    }
    ensureSchema(db, options);
    const epoch = nextEpoch(db, options);
    const serverKey = inMemory || options.role === "visitor" ? undefined : registerServer(db, options);
    const facts = () => fileFacts(db, inMemory ? undefined : path);
    return createSqliteDriver({
      db,
      clock: options.clock,
      epoch,
      facts,
      backUp: (target, watch) => copyInSteps(db, target, watch),
      close: () => closeSqlite(db, serverKey),
    });
  } catch (error) {
    db.close();
    // SQLite switches no file to WAL that has lost its name: https://www.sqlite.org/rescode.html#readonly_dbmoved
    if (fileIdentity(path) !== identity && fileIdentity(path) !== undefined) return undefined;
    throw withPath(translate(error), path);
  }
}

/** Of several processes that open a new file at once, one makes the schema; the others find it made. */
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

function nextEpoch(db: Database.Database, { limits, role }: SqliteOptions): number {
  if (role === "visitor") return Number(db.prepare("SELECT value FROM store_meta WHERE key = 'epoch'").pluck().get());
  return inImmediateTransaction(db, limits, () => {
    const { value } = db
      .prepare("UPDATE store_meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'epoch' RETURNING value")
      .get() as { value: string };
    return Number(value);
  });
}

/** One server process per file. Another one works, but all wait for each other's locks; it is told. Each has a row, until it closes or is found dead. */
function registerServer(db: Database.Database, { limits, onSecondServer }: SqliteOptions): string {
  const own = `server ${hostname()} ${process.pid} ${randomUUID()}`;
  const others = inImmediateTransaction(db, limits, () => {
    const found = db
      .prepare("SELECT key FROM store_meta WHERE key > 'server ' AND key < 'server!'")
      .pluck()
      .all() as string[];
    const [dead, living] = [found.filter((key) => isDead(key)), found.filter((key) => !isDead(key))];
    const remove = db.prepare("DELETE FROM store_meta WHERE key = ?");
    for (const key of dead) remove.run(key);
    db.prepare("INSERT INTO store_meta (key, value) VALUES (?, '')").run(own);
    return living;
  });
  for (const pid of new Set(others.map(pidOf))) if (pid !== process.pid) onSecondServer(pid);
  return own;
}

function pidOf(key: string): number {
  return Number(key.split(" ")[2]);
}

/** Of another host nothing is known. */
function isDead(key: string): boolean {
  return key.split(" ")[1] === hostname() && !isAlive(pidOf(key));
}

/** https://www.sqlite.org/pragma.html: sizes, and the settings that could silently not be in force. */
const reportedPragmas = [
  "page_size",
  "page_count",
  "freelist_count",
  "max_page_count",
  "journal_mode",
  "synchronous",
  "foreign_keys",
  "auto_vacuum",
  "trusted_schema",
];

function fileFacts(db: Database.Database, path: string | undefined): DatabaseFacts {
  const figures = Object.fromEntries(reportedPragmas.map((name) => [name, pragma(db, name) as number | string]));
  const { page_size, page_count, freelist_count, max_page_count } = figures as Record<string, number>;
  const inFileBytes =
    ((max_page_count as number) - (page_count as number) + (freelist_count as number)) * (page_size as number);
  const walBytes = path === undefined ? 0 : (statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0);
  const onDiskBytes = path === undefined ? Number.POSITIVE_INFINITY : freeBytesOf(dirname(path));
  return {
    schemaHead: readHead(),
    leftBytes: Math.min(inFileBytes, onDiskBytes),
    figures: { engine: "sqlite", sqlite_version: sqliteVersion(db), ...figures, wal_bytes: walBytes },
  };
}

function freeBytesOf(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}

let head: string | undefined;

function readHead(): string {
  head ??= readMigrations("sqlite").at(-1)?.revision ?? "none";
  return head;
}

/** Moves the WAL into the file, so that the file alone is the database. */
function closeSqlite(db: Database.Database, serverKey: string | undefined): void {
  if (serverKey !== undefined && db.open) {
    try {
      db.prepare("DELETE FROM store_meta WHERE key = ?").run(serverKey);
      db.pragma("wal_checkpoint(TRUNCATE)");
    } catch {
      // Busy or full: the WAL stays and is read at the next open.
    }
  }
  db.close();
}
