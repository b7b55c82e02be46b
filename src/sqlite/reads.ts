// Runs SQL that people write on a connection that only reads. The rows of a statement are fetched in parts.
import type Database from "better-sqlite3";
import { onlyReads } from "../driverOutcome.ts";
import { StoreError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { valueBytes } from "../load.ts";
import { readHistory, requireHead } from "../schema/ledger.ts";
import { readMigrations } from "../schema/migrationFiles.ts";
import { runBody } from "./body.ts";
import { sqliteCatalog } from "./catalog.ts";
import { connect, distrust, requireOwnDatabase } from "./connection.ts";
import { translate } from "./errors.ts";
import { describeReadOnly, prepareFile, withPath } from "./file.ts";
import { retryWhileBusy } from "./locks.ts";
import { OpenFile } from "./openFile.ts";
import { connectToRead } from "./readOnly.ts";

/** Rows as they travel between processes: the names of the columns, and the values of each row. */
export interface RowsPart {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly unknown[])[];
  /** True when no row is left. */
  readonly isLast: boolean;
}

/** The size of a part, after which no row is added to it. */
const partBytes = 1024 * 1024;

/**
 * A statement that only returns rows. SQLite itself would also let a connection that only reads attach and copy files,
 * make temporary tables, and change how it locks the file.
 */
const readingStatement =
  /^(?:\s|--[^\n]*\n|\/\*(?:[^*]|\*(?!\/))*\*\/)*(?:explain\s+(?:query\s+plan\s+)?)?(?:select|values|with)\b/i;

interface OpenStatement {
  readonly columns: readonly string[];
  readonly rows: IterableIterator<unknown[]>;
}

export class SqliteReads {
  readonly #db: Database.Database;
  readonly #path: string;
  readonly #file: OpenFile;
  /** The statement that has rows left. */
  #open: OpenStatement | undefined;

  /**
   * Opens the file of a store, and creates nothing beside it.
   *
   * Fails    incompatible when there is no such file, when it belongs to another program, and unless its schema is the
   *          one of this version | busy | corrupt
   */
  constructor(path: string, limits: Pick<Limits, "busyMs" | "busyGiveUpMs">) {
    this.#path = path;
    prepareFile(path, false);
    let db: Database.Database | undefined;
    try {
      const canWrite = describeReadOnly(path) === undefined;
      db = canWrite ? connect(path, limits.busyMs, { readonly: true }) : connectToRead(path, limits.busyMs);
      const opened = db;
      distrust(opened);
      opened.pragma("query_only = ON");
      // The first read opens the -wal and the -shm file.
      retryWhileBusy(limits.busyGiveUpMs, () => requireOwnDatabase(opened, path, false));
      const migrations = readMigrations("sqlite");
      requireHead(runBody(opened, readHistory(sqliteCatalog, migrations)), migrations);
      this.#db = opened;
      this.#file = new OpenFile(path, () => undefined);
    } catch (error) {
      db?.close();
      throw withPath(translate(error), path);
    }
  }

  /** True while a statement has rows left. */
  get isReading(): boolean {
    return this.#open !== undefined;
  }

  /** Begins a transaction, in which all statements see the database as it is at the first one. */
  begin(): void {
    this.#db.exec("BEGIN");
  }

  end(): void {
    this.stop();
    if (this.#db.inTransaction) this.#db.exec("ROLLBACK");
  }

  /**
   * Runs a statement, and returns its first rows. `more` returns the next ones, and `stop` leaves the rest. Until then
   * the statement holds one state of the database.
   *
   * Fails    read_only when the statement is none that reads | invalid_input when SQLite does not accept it | file_lost
   *          when the path leads to another file than the one that is open, or to none
   */
  run(sql: string, values: readonly unknown[], rowsMax: number): RowsPart {
    if (this.#file.check() !== undefined) throw lost(this.#path);
    try {
      if (!readingStatement.test(sql)) throw onlyReads();
      const statement = this.#db.prepare(sql);
      const columns = statement.columns().map(({ name }) => name);
      const rows = statement.raw(true).iterate(values) as IterableIterator<unknown[]>;
      this.#open = { columns, rows };
    } catch (error) {
      throw readFailure(error);
    }
    return this.more(rowsMax);
  }

  more(rowsMax: number): RowsPart {
    const { columns, rows: left } = this.#open as OpenStatement;
    const rows: unknown[][] = [];
    try {
      for (let bytes = 0; rows.length < rowsMax && bytes < partBytes; ) {
        const next = left.next();
        if (next.done === true) {
          this.#open = undefined;
          return { columns, rows, isLast: true };
        }
        rows.push(next.value);
        bytes += valueBytes(next.value);
      }
    } catch (error) {
      this.#open = undefined;
      throw readFailure(error);
    }
    return { columns, rows, isLast: false };
  }

  stop(): void {
    this.#open?.rows.return?.();
    this.#open = undefined;
  }
}

function lost(path: string): StoreError {
  const message = `${path} is not the file that was opened: it was moved, deleted or replaced; the next query opens what is there`;
  return new StoreError("file_lost", message, { retryable: true });
}

/** Translates a failure. What is wrong with a statement is told as it is, because its author can mend it. */
function readFailure(error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  const { code, message } = error as { code?: string; message: string };
  if (code === "SQLITE_READONLY") return onlyReads(error);
  const isFaulty =
    code === undefined ? error instanceof TypeError || error instanceof RangeError : faulty.includes(code);
  return isFaulty
    ? new StoreError("invalid_input", message, {
        cause: error,
        details: code === undefined ? {} : { sqliteCode: code },
      })
    : translate(error);
}

/** The result codes for statements that SQLite does not accept: https://www.sqlite.org/rescode.html */
const faulty: readonly string[] = ["SQLITE_ERROR", "SQLITE_MISMATCH", "SQLITE_RANGE", "SQLITE_TOOBIG"];
