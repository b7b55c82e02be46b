// Opens a connection to a SQLite file, checks that the file is ours, and sets the pragmas in an order in which they
// take effect.

import Database from "better-sqlite3";
import type { Synchronous } from "../driver.ts";
import { StoreError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { applicationId } from "./catalog.ts";
import { translate } from "./errors.ts";
import { withPath } from "./file.ts";
import { retryWhileBusy } from "./locks.ts";

/**
 * The oldest safe version of SQLite. Before it, two connections could corrupt a WAL file while it was reset (D-038):
 * https://www.sqlite.org/wal.html
 */
const sqliteVersionMin = [3, 51, 3] as const;

interface Settings {
  readonly synchronous: Synchronous;
  /** The maximum size of the file. Beyond it, writes fail with storage_full. */
  readonly maxBytes: number | undefined;
  readonly limits: Pick<Limits, "busyGiveUpMs" | "walBytes">;
}

/** Opens a file that exists, or `:memory:`. Each statement waits for a lock for `busyMs`. */
export function connect(
  path: string,
  busyMs: number,
  { readonly = false }: { readonly readonly?: boolean } = {},
): Database.Database {
  try {
    return new Database(path, { timeout: busyMs, fileMustExist: path !== ":memory:", readonly });
  } catch (error) {
    throw withPath(translate(error), path);
  }
}

/**
 * Fails with incompatible unless the file is ours, or is empty and `create` is true. Must be called before anything is
 * written to the file.
 */
export function requireOwnDatabase(db: Database.Database, path: string, create: boolean): void {
  const id = pragma(db, "application_id");
  if (id === applicationId) return;
  const { tables } = db.prepare("SELECT count(*) AS tables FROM sqlite_schema").get() as { tables: number };
  if (id !== 0 || tables > 0)
    throw new StoreError("incompatible", "this database belongs to another program: name another file");
  if (!create) throw new StoreError("incompatible", `${path} is empty: run debug-server-db migrate upgrade head`);
}

/**
 * Sets the pragmas and reads back those that SQLite may have ignored. auto_vacuum can be chosen only before the first
 * table, foreign_keys only outside a transaction, and WAL only while no other connection writes.
 */
export function configure(db: Database.Database, { synchronous, maxBytes, limits }: Settings, inMemory: boolean): void {
  const version = sqliteVersion(db);
  if (compareVersions(version.split(".").map(Number), sqliteVersionMin) < 0) {
    throw new StoreError(
      "incompatible",
      `SQLite ${version} is too old, expected ${sqliteVersionMin.join(".")} or newer: install better-sqlite3 13 or newer`,
    );
  }
  // A file without tables is written at once by this pragma, which needs the write lock.
  retryWhileBusy(limits.busyGiveUpMs, () => {
    if (pragma(db, "auto_vacuum") === 0) db.pragma("auto_vacuum = INCREMENTAL");
  });
  if (!inMemory) retryWhileBusy(limits.busyGiveUpMs, () => db.pragma("journal_mode = WAL"));
  db.pragma(`synchronous = ${synchronous}`);
  db.pragma("foreign_keys = ON");
  distrust(db);
  // A WAL that has grown larger is truncated when it is reset.
  db.pragma(`journal_size_limit = ${limits.walBytes}`);
  if (maxBytes !== undefined)
    db.pragma(`max_page_count = ${Math.max(1, Math.floor(maxBytes / Number(pragma(db, "page_size"))))}`);
  expectPragma(
    db,
    "journal_mode",
    inMemory ? "memory" : "wal",
    "WAL does not work on this file system: put the database on a local disk",
  );
  expectPragma(db, "synchronous", synchronous === "full" ? 2 : 1, "this build of SQLite refuses the setting");
  expectPragma(db, "foreign_keys", 1, "this build of SQLite has no foreign keys: install better-sqlite3 13 or newer");
  expectPragma(db, "trusted_schema", 0, "this build of SQLite refuses the setting");
}

/** Lets SQLite trust neither the schema nor the pages of a file, which somebody else may have made. */
export function distrust(db: Database.Database): void {
  db.pragma("trusted_schema = OFF");
  db.pragma("cell_size_check = ON");
}

function expectPragma(db: Database.Database, name: string, expected: string | number, remedy: string): void {
  const actual = pragma(db, name);
  if (actual !== expected)
    throw new StoreError("incompatible", `${name} is ${String(actual)}, expected ${expected}: ${remedy}`);
}

/** Returns the path of the file; undefined for a database in memory. */
export function pathOf(db: Database.Database): string | undefined {
  return db.memory ? undefined : db.name;
}

/** Returns the value of a pragma. */
export function pragma(db: Database.Database, name: string): unknown {
  return db.pragma(name, { simple: true });
}

export interface WalContent {
  readonly totalBytes: number;
  /** The content that is not in the database yet. */
  readonly pendingBytes: number;
}

/** Returns what the WAL holds, and copies nothing: https://www.sqlite.org/pragma.html#pragma_wal_checkpoint */
export function walContent(db: Database.Database): WalContent {
  const [frames] = db.pragma("wal_checkpoint(NOOP)") as [{ readonly log: number; readonly checkpointed: number }];
  const pageBytes = pragma(db, "page_size") as number;
  return {
    totalBytes: Math.max(0, frames.log) * pageBytes,
    pendingBytes: Math.max(0, frames.log - frames.checkpointed) * pageBytes,
  };
}

export function sqliteVersion(db: Database.Database): string {
  return db.prepare("SELECT sqlite_version()").pluck().get() as string;
}

function compareVersions(left: readonly number[], right: readonly number[]): number {
  const at = left.findIndex((part, index) => part !== right[index]);
  return at === -1 ? 0 : (left[at] as number) - (right[at] ?? 0);
}
