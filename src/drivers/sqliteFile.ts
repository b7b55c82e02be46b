// Opening a SQLite database: the file and its mode, the pragmas in the order in which they take effect, read back, and the schema.
import { closeSync, constants, lstatSync, mkdirSync, openSync, statfsSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { dirname, resolve } from "node:path";
import Database from "better-sqlite3";
import type { Clock } from "../clock.ts";
import { StoreError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { readMigrations } from "../migrate/files.ts";
import { checkSchema, createSchema, type SchemaConnection } from "../migrate/schema.ts";
import type { DatabaseFacts } from "../operation.ts";
import type { Driver } from "./driver.ts";
import { createSqliteDriver, translate } from "./sqlite.ts";

/** "DSDB", in the header of every file of ours: https://www.sqlite.org/pragma.html#pragma_application_id */
export const applicationId = 0x44534442;

/** Before it, two connections could corrupt a WAL file when it was reset: https://www.sqlite.org/wal.html */
const sqliteVersionMin = [3, 51, 3] as const;

export type Synchronous = "full" | "normal";
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
  /** Told when another living process has the file open as a server. */
  onSecondServer(pid: number): void;
}

/** Fails incompatible, storage_full, busy or corrupt, with a sentence that says what to do. */
export function openSqlite(options: SqliteOptions): Driver {
  const inMemory = options.path === ":memory:";
  const path = inMemory ? options.path : resolve(options.path);
  const create = options.migrate === "create";
  if (!inMemory) prepareFile(path, create);
  const db = connect(path, options.limits.busyMs);
  try {
    checkOurs(db, path, create);
    configure(db, options, inMemory);
    ensureSchema(db, options);
    const epoch = nextEpoch(db, options);
    if (!inMemory) announce(db, options);
    const facts = () => factsOf(db, inMemory ? undefined : path);
    return createSqliteDriver({ db, clock: options.clock, epoch, facts, close: () => closeSqlite(db, inMemory) });
  } catch (error) {
    db.close();
    throw named(translate(error), path);
  }
}

/** The file is made by us and not by SQLite, so that nobody else can read it and no link is followed. */
function prepareFile(path: string, create: boolean): void {
  try {
    if (create) makeFolder(dirname(path));
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found?.isFile()) return;
    if (found !== undefined) throw new StoreError("incompatible", `${path} is not a regular file: name a file, not a link or folder`);
    if (!create) throw new StoreError("incompatible", `${path} does not exist: run debug-server-db migrate upgrade head, or open it with migrate "create"`);
    const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
    closeSync(openSync(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600));
  } catch (error) {
    // Another process made it in the same moment.
    if ((error as NodeJS.ErrnoException).code === "EEXIST" && lstatSync(path).isFile()) return;
    throw error instanceof StoreError ? error : fileError(error as NodeJS.ErrnoException, path);
  }
}

function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    // Node says EEXIST when the path is a file.
    throw (error as NodeJS.ErrnoException).code === "EEXIST" ? Object.assign(new Error("not a folder"), { code: "ENOTDIR" }) : error;
  }
}

function fileError(error: NodeJS.ErrnoException, path: string): StoreError {
  if (error.code === "ENOSPC" || error.code === "EDQUOT") return new StoreError("storage_full", `${path}: no space left`, { cause: error });
  const reasons: Record<string, string> = {
    EACCES: "permission denied",
    EPERM: "permission denied",
    EROFS: "the file system is read-only",
    ENOTDIR: "a part of the path is not a folder",
    ELOOP: "the path goes through a link",
    ENOENT: "a part of the path cannot be made",
  };
  return new StoreError("incompatible", `${path} cannot be made: ${reasons[error.code ?? ""] ?? error.message}`, { cause: error });
}

function connect(path: string, busyMs: number): Database.Database {
  try {
    return new Database(path, { timeout: busyMs });
  } catch (error) {
    throw named(translate(error), path);
  }
}

/** An empty file is new; one with tables must carry our mark. Nothing is written before this is known. */
function checkOurs(db: Database.Database, path: string, create: boolean): void {
  const id = pragma(db, "application_id");
  if (id === applicationId) return;
  const { tables } = db.prepare("SELECT count(*) AS tables FROM sqlite_schema").get() as { tables: number };
  if (id !== 0 || tables > 0) throw new StoreError("incompatible", "this database belongs to another program: name another file");
  if (!create) throw new StoreError("incompatible", `${path} is empty: run debug-server-db migrate upgrade head`);
}

/** auto_vacuum can be chosen only before the first table, foreign_keys only outside a transaction; WAL only while nobody else writes. */
function configure(db: Database.Database, { synchronous, maxBytes, limits }: SqliteOptions, inMemory: boolean): void {
  if (compareVersions(sqliteVersion(db), sqliteVersionMin) < 0) {
    throw new StoreError(
      "incompatible",
      `SQLite ${sqliteVersion(db).join(".")} is too old: ${sqliteVersionMin.join(".")} or newer is needed, install better-sqlite3 13 or newer`,
    );
  }
  if (pragma(db, "auto_vacuum") === 0) db.pragma("auto_vacuum = INCREMENTAL");
  if (!inMemory) retryWhileBusy(limits.busyGiveUpMs, () => db.pragma("journal_mode = WAL"));
  db.pragma(`synchronous = ${synchronous}`);
  db.pragma("foreign_keys = ON");
  db.pragma("trusted_schema = OFF");
  db.pragma("cell_size_check = ON");
  db.pragma("journal_size_limit = 67108864");
  if (maxBytes !== undefined) db.pragma(`max_page_count = ${Math.max(1, Math.floor(maxBytes / Number(pragma(db, "page_size"))))}`);
  expectPragma(db, "journal_mode", inMemory ? "memory" : "wal", "WAL does not work on this file system: put the database on a local disk");
  expectPragma(db, "synchronous", synchronous === "full" ? 2 : 1, "this build of SQLite refuses the setting");
  expectPragma(db, "foreign_keys", 1, "this build of SQLite has no foreign keys: install better-sqlite3 13 or newer");
  expectPragma(db, "trusted_schema", 0, "this build of SQLite refuses the setting");
}

function expectPragma(db: Database.Database, name: string, expected: string | number, mend: string): void {
  const actual = pragma(db, name);
  if (actual !== expected) throw new StoreError("incompatible", `${name} is ${String(actual)} and must be ${expected}: ${mend}`);
}

function pragma(db: Database.Database, name: string): unknown {
  return db.pragma(name, { simple: true });
}

function sqliteVersion(db: Database.Database): number[] {
  return (db.prepare("SELECT sqlite_version()").pluck().get() as string).split(".").map(Number);
}

function compareVersions(left: readonly number[], right: readonly number[]): number {
  const at = left.findIndex((part, index) => part !== right[index]);
  return at === -1 ? 0 : (left[at] as number) - (right[at] ?? 0);
}

/** Of several processes that open a new file at once, one makes the schema; the others find it made. */
function ensureSchema(db: Database.Database, { clock, limits }: SqliteOptions): void {
  const migrations = readMigrations("sqlite");
  const connection: SchemaConnection = { exec: (text) => void db.exec(text), all: (text, ...values) => db.prepare(text).all(...values) };
  if (pragma(db, "application_id") !== applicationId) {
    immediately(db, limits, () => {
      if (pragma(db, "application_id") === applicationId) return;
      db.pragma(`application_id = ${applicationId}`);
      createSchema(connection, migrations, () => Math.round(clock.now()));
      const orphans = db.pragma("foreign_key_check") as unknown[];
      if (orphans.length > 0) throw new StoreError("internal", "the new schema breaks its own foreign keys");
    });
  }
  checkSchema(connection, migrations);
}

function nextEpoch(db: Database.Database, { limits }: SqliteOptions): number {
  return immediately(db, limits, () => {
    const { value } = db.prepare("UPDATE store_meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'epoch' RETURNING value").get() as { value: string };
    return Number(value);
  });
}

/** One server process per file. A second one works, but both wait for each other's locks; it is told. */
function announce(db: Database.Database, { limits, onSecondServer }: SqliteOptions): void {
  const own = `${hostname()} ${process.pid}`;
  const other = immediately(db, limits, () => {
    const found = db.prepare("SELECT value FROM store_meta WHERE key = 'server'").pluck().get() as string | undefined;
    db.prepare("INSERT INTO store_meta (key, value) VALUES ('server', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value").run(own);
    return found;
  });
  const [host, pid] = other?.split(" ") ?? [];
  if (host === hostname() && Number(pid) !== process.pid && isAlive(Number(pid))) onSecondServer(Number(pid));
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** https://www.sqlite.org/pragma.html: sizes, and the settings that could silently not be in force. */
const told = ["page_size", "page_count", "freelist_count", "max_page_count", "journal_mode", "synchronous", "foreign_keys", "auto_vacuum", "trusted_schema"];

function factsOf(db: Database.Database, path: string | undefined): DatabaseFacts {
  const figures = Object.fromEntries(told.map((name) => [name, pragma(db, name) as number | string]));
  const { page_size, page_count, freelist_count, max_page_count } = figures as Record<string, number>;
  const inFileBytes = ((max_page_count as number) - (page_count as number) + (freelist_count as number)) * (page_size as number);
  const walBytes = path === undefined ? 0 : (statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0);
  const onDiskBytes = path === undefined ? Number.POSITIVE_INFINITY : freeBytesOf(dirname(path));
  return { schemaHead: readHead(), leftBytes: Math.min(inFileBytes, onDiskBytes), figures: { engine: "sqlite", ...figures, wal_bytes: walBytes } };
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
function closeSqlite(db: Database.Database, inMemory: boolean): void {
  if (!inMemory && db.open) {
    try {
      db.prepare("DELETE FROM store_meta WHERE key = 'server' AND value = ?").run(`${hostname()} ${process.pid}`);
      db.pragma("wal_checkpoint(TRUNCATE)");
    } catch {
      // Busy or full: the WAL stays and is read at the next open.
    }
  }
  db.close();
}

function immediately<Result>(db: Database.Database, { busyGiveUpMs }: Limits, run: () => Result): Result {
  return retryWhileBusy(busyGiveUpMs, () => db.transaction(run).immediate());
}

/** Only while opening, when no call waits yet: blocking is fine, each try waits for SQLite's own busy timeout. */
function retryWhileBusy<Result>(giveUpMs: number, run: () => Result): Result {
  const overAt = performance.now() + giveUpMs;
  for (;;) {
    try {
      return run();
    } catch (error) {
      if (translate(error).code !== "busy" || performance.now() > overAt) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
}

function named(error: StoreError, path: string): StoreError {
  if (error.message.startsWith(path)) return error;
  return new StoreError(error.code, `${path}: ${error.message}`, { details: error.details, cause: error });
}
