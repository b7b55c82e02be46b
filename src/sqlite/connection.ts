// A connection to a SQLite file: the file and its mode, whose it is, the pragmas in the order in which they take effect, read back, and its locks.

import { closeSync, constants, lstatSync, mkdirSync, openSync, statSync } from "node:fs";
import { dirname } from "node:path";
import Database from "better-sqlite3";
import type { Synchronous } from "../driver.ts";
import { StoreError } from "../errors.ts";
import { fileError } from "../files/privateFile.ts";
import type { Limits } from "../limits.ts";
import { type Body, bill, type Query } from "../sql.ts";
import { applicationId } from "./catalog.ts";
import { translate } from "./errors.ts";

/** Before it, two connections could corrupt a WAL file when it was reset (D-038): https://www.sqlite.org/wal.html */
const sqliteVersionMin = [3, 51, 3] as const;

interface Settings {
  readonly synchronous: Synchronous;
  /** The file grows no larger; beyond it writes fail storage_full. */
  readonly maxBytes: number | undefined;
  readonly limits: Pick<Limits, "busyGiveUpMs">;
}

/** The file is made by us and not by SQLite, so that nobody else can read it and no link is followed (D-037). Gives whether it was made. */
export function prepareFile(path: string, create: boolean): boolean {
  try {
    if (create) makeFolder(dirname(path));
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found?.isFile()) return false;
    if (found !== undefined)
      throw new StoreError("incompatible", `${path} is not a regular file: name a file, not a link or folder`);
    if (!create)
      throw new StoreError(
        "incompatible",
        `${path} does not exist: run debug-server-db migrate upgrade head, or open it with migrate "create"`,
      );
    const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
    closeSync(openSync(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600));
    return true;
  } catch (error) {
    // Another process made it in the same moment.
    if ((error as NodeJS.ErrnoException).code === "EEXIST" && lstatSync(path).isFile()) return false;
    throw error instanceof StoreError ? error : fileError(error as NodeJS.ErrnoException, path);
  }
}

function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    // Node says EEXIST when the path is a file.
    throw (error as NodeJS.ErrnoException).code === "EEXIST"
      ? Object.assign(new Error("not a folder"), { code: "ENOTDIR" })
      : error;
  }
}

/** Which file has this name now; undefined when none has. */
export function fileIdentity(path: string): string | undefined {
  const found = statSync(path, { throwIfNoEntry: false });
  return found && `${found.dev} ${found.ino}`;
}

/** On this host. */
export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

export function connect(path: string, busyMs: number): Database.Database {
  try {
    return new Database(path, { timeout: busyMs });
  } catch (error) {
    throw withPath(translate(error), path);
  }
}

/** An empty file is new; one with tables must carry our mark. Nothing is written before this is known. */
export function requireOwnDatabase(db: Database.Database, path: string, create: boolean): void {
  const id = pragma(db, "application_id");
  if (id === applicationId) return;
  const { tables } = db.prepare("SELECT count(*) AS tables FROM sqlite_schema").get() as { tables: number };
  if (id !== 0 || tables > 0)
    throw new StoreError("incompatible", "this database belongs to another program: name another file");
  if (!create) throw new StoreError("incompatible", `${path} is empty: run debug-server-db migrate upgrade head`);
}

/** auto_vacuum can be chosen only before the first table, foreign_keys only outside a transaction; WAL only while nobody else writes. */
export function configure(db: Database.Database, { synchronous, maxBytes, limits }: Settings, inMemory: boolean): void {
  const version = sqliteVersion(db);
  if (compareVersions(version.split(".").map(Number), sqliteVersionMin) < 0) {
    throw new StoreError(
      "incompatible",
      `SQLite ${version} is too old: ${sqliteVersionMin.join(".")} or newer is needed, install better-sqlite3 13 or newer`,
    );
  }
  // In a file without tables it is written at once.
  retryWhileBusy(limits.busyGiveUpMs, () => {
    if (pragma(db, "auto_vacuum") === 0) db.pragma("auto_vacuum = INCREMENTAL");
  });
  if (!inMemory) retryWhileBusy(limits.busyGiveUpMs, () => db.pragma("journal_mode = WAL"));
  db.pragma(`synchronous = ${synchronous}`);
  db.pragma("foreign_keys = ON");
  db.pragma("trusted_schema = OFF");
  db.pragma("cell_size_check = ON");
  db.pragma("journal_size_limit = 67108864");
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

function expectPragma(db: Database.Database, name: string, expected: string | number, remedy: string): void {
  const actual = pragma(db, name);
  if (actual !== expected)
    throw new StoreError("incompatible", `${name} is ${String(actual)} and must be ${expected}: ${remedy}`);
}

export function pragma(db: Database.Database, name: string): unknown {
  return db.pragma(name, { simple: true });
}

export function sqliteVersion(db: Database.Database): string {
  return db.prepare("SELECT sqlite_version()").pluck().get() as string;
}

function compareVersions(left: readonly number[], right: readonly number[]): number {
  const at = left.findIndex((part, index) => part !== right[index]);
  return at === -1 ? 0 : (left[at] as number) - (right[at] ?? 0);
}

export function inImmediateTransaction<Result>(
  db: Database.Database,
  { busyGiveUpMs }: Pick<Limits, "busyGiveUpMs">,
  run: () => Result,
): Result {
  return retryWhileBusy(busyGiveUpMs, () => db.transaction(run).immediate());
}

/** Only while opening, when no call waits yet: blocking is fine, each try waits for SQLite's own busy timeout. */
export function retryWhileBusy<Result>(giveUpMs: number, run: () => Result): Result {
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

export function withPath(error: StoreError, path: string): StoreError {
  if (error.message.startsWith(path)) return error;
  return new StoreError(error.code, `${path}: ${error.message}`, { details: error.details, cause: error });
}

/** Runs a body of statements that the caller has begun a transaction for, if one is needed. A failure is thrown into it, for it to say more. */
export function runBody<Result>(db: Database.Database, body: Body<Result>): Result {
  const resume = (run: () => IteratorResult<Query<unknown>, Result>): IteratorResult<Query<unknown>, Result> => {
    bill(undefined);
    return run();
  };
  let next = resume(() => body.next());
  while (!next.done) {
    let answer: unknown;
    try {
      answer = answerTo(db, next.value);
    } catch (error) {
      const failure = translate(error);
      next = resume(() => body.throw(failure));
      continue;
    }
    next = resume(() => body.next(answer));
  }
  return next.value;
}

function answerTo(db: Database.Database, { kind, statements }: Query<unknown>): unknown {
  const results = statements.map(({ strings, values }) => {
    const statement = db.prepare<unknown[]>(strings.join("?"));
    if (kind === "change") return statement.reader ? statement.all(values).length : statement.run(values).changes;
    return kind === "all" ? statement.all(values) : statement.get(values);
  });
  return kind === "change" ? (results as number[]).reduce((sum, changes) => sum + changes, 0) : results[0];
}
