// Gives the free pages of a SQLite file back to the system, a few at a time, so that the file follows its content down
// (D-113).

import type Database from "better-sqlite3";
import type { Synchronous } from "../driver.ts";
import type { Limits } from "../limits.ts";
import { realTime } from "../realTime.ts";
import { pragma } from "./connection.ts";

/** The time that a step should take. Its number of pages follows from how long the last one took. */
const stepMs = 2;

const [pagesMin, pagesMax] = [8, 512];

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
  #pages = 64;
  /** True from the time that too much was free until no more should go. */
  #isShrinking = false;
  /** The size of the pages that were given back since the file was opened. */
  vacuumedBytes = 0;

  constructor(db: Database.Database, options: Options) {
    this.#db = db;
    this.#options = options;
    this.#pageBytes = pragma(db, "page_size") as number;
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
    const startedMs = realTime.elapsed();
    const goneBytes = (total - this.#vacuum(Math.min(this.#pages, surplus))) * this.#pageBytes;
    this.vacuumedBytes += Math.max(0, goneBytes);
    const tookMs = realTime.elapsed() - startedMs;
    if (tookMs > stepMs) this.#pages = Math.max(pagesMin, Math.floor(this.#pages / 2));
    else if (tookMs < stepMs / 2) this.#pages = Math.min(pagesMax, this.#pages * 2);
    return goneBytes > 0;
  }

  /**
   * Returns the number of pages that are left. The step need not survive power loss, so it does not wait for the disk:
   * the next write that does covers it too, because both are in one WAL.
   */
  #vacuum(pages: number): number {
    const { synchronous } = this.#options;
    this.#db.pragma("synchronous = normal");
    try {
      // The statement frees one page for each step of it, so all its rows have to be read.
      this.#db.pragma(`incremental_vacuum(${pages})`);
    } finally {
      this.#db.pragma(`synchronous = ${synchronous}`);
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
