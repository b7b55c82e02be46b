// Gives the free pages of a SQLite file back to the system, a few at a time, so that the file follows its content down
// (D-113).

import type Database from "better-sqlite3";
import type { Synchronous } from "../driver.ts";
import type { Limits } from "../limits.ts";
import { realTime } from "../realTime.ts";
import { pragma } from "./connection.ts";

/** The time after which a step moves no further page. To move one takes between some microseconds and a millisecond. */
const stepMs = 2;

interface Options {
  readonly synchronous: Synchronous;
  readonly limits: Pick<Limits, "freeBytes">;
}

export class FreePages {
  readonly #db: Database.Database;
  readonly #options: Options;
  readonly #pageBytes: number;
  /** False for a file that was created without auto_vacuum: only VACUUM makes it smaller. */
  readonly canShrink: boolean;
  readonly #statements: Readonly<Record<"begin" | "vacuum" | "commit", Database.Statement>>;
  /** True from the time that too much was free until no more should go. */
  #isShrinking = false;
  /** The size of the pages that were given back since the file was opened. */
  vacuumedBytes = 0;

  constructor(db: Database.Database, options: Options) {
    this.#db = db;
    this.#options = options;
    this.#pageBytes = pragma(db, "page_size") as number;
    // Each run of this statement frees one page, however many it names: SQLite frees one when the statement is stepped.
    this.#statements = {
      begin: db.prepare("BEGIN IMMEDIATE"),
      vacuum: db.prepare("PRAGMA incremental_vacuum(1)"),
      commit: db.prepare("COMMIT"),
    };
    // In the mode FULL, each commit gives its free pages back.
    this.canShrink = pragma(db, "auto_vacuum") !== 0;
  }

  /**
   * Returns true when so much of the file is free that some of it should go: more than `freeBytes` and a tenth. What has
   * begun is brought to its end.
   */
  isTooFree(): boolean {
    if (!this.canShrink) return false;
    const { free, total } = this.#count();
    this.#isShrinking ||= free * this.#pageBytes > this.#options.limits.freeBytes && free * 10 > total;
    return this.#isShrinking;
  }

  /**
   * Gives some pages back, in a transaction of its own. Returns false when no more should go: a quarter of `freeBytes`, or a
   * twentieth of the content, stays for the next writes.
   */
  giveBack(): boolean {
    const { free, total } = this.#count();
    const kept = Math.max(this.#options.limits.freeBytes / 4 / this.#pageBytes, (total - free) / 20);
    const surplus = Math.floor(free - kept);
    this.#isShrinking = surplus > 0;
    if (!this.#isShrinking) return false;
    const goneBytes = (total - this.#vacuum(surplus)) * this.#pageBytes;
    this.vacuumedBytes += Math.max(0, goneBytes);
    return goneBytes > 0;
  }

  /**
   * Returns the number of pages that are left. The step need not survive power loss, so it does not wait for the disk:
   * the next write that does covers it too, because both are in one WAL.
   */
  #vacuum(pagesMax: number): number {
    const { begin, vacuum, commit } = this.#statements;
    const endMs = realTime.elapsed() + stepMs;
    this.#db.pragma("synchronous = normal");
    try {
      begin.run();
      for (let pages = 0; pages < pagesMax && realTime.elapsed() < endMs; pages++) vacuum.run();
      commit.run();
    } finally {
      if (this.#db.inTransaction) this.#db.exec("ROLLBACK");
      this.#db.pragma(`synchronous = ${this.#options.synchronous}`);
    }
    return this.#count().total;
  }

  #count(): { readonly free: number; readonly total: number } {
    return {
      free: pragma(this.#db, "freelist_count") as number,
      total: pragma(this.#db, "page_count") as number,
    };
  }
}
