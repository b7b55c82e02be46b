// Copies a database that is being served, a few pages at a time, so that calls run between two steps. It uses the
// connection of the writer, because SQLite restarts a copy through another connection after each commit:
// https://www.sqlite.org/c3ref/backup_finish.html

import { closeSync, fdatasync, openSync } from "node:fs";
import type Database from "better-sqlite3";
import type { BackUpWatch } from "../driver.ts";
import { StoreError } from "../errors.ts";
import { pragma } from "./connection.ts";
import { translate } from "./errors.ts";

/** The number of pages in a step, which then takes well under a millisecond. */
const pagesPerStep = 64;

/**
 * The number of restarts, caused by commits of other processes, after which the rest is copied in one step. Without
 * this limit the copy might never end.
 */
const restartsMax = 5;

/**
 * The number of bytes after which the copy is synced in the background (D-068), so that the last step has little left
 * to sync.
 */
const syncEveryBytes = 4_194_304;

/**
 * Copies the database to an existing, empty file.
 *
 * Fails    storage_full | io_error | corrupt | aborted | closed when the connection is closed during the copy
 * Cost     blocks the thread for one step at a time; the last one syncs the file
 */
export async function copyInSteps(
  db: Database.Database,
  target: string,
  { onProgress, signal }: BackUpWatch = {},
): Promise<void> {
  const pageBytes = Number(pragma(db, "page_size"));
  const syncer = openSyncer(target);
  let restarts = 0;
  let donePages = 0;
  try {
    await db.backup(target, {
      progress({ totalPages, remainingPages }) {
        if (signal?.aborted) throw new StoreError("aborted", "the backup was aborted", { outcome: "rolled_back" });
        const done = totalPages - remainingPages;
        if (done < donePages) restarts++;
        donePages = done;
        onProgress?.(done * pageBytes, totalPages * pageBytes);
        syncer.wrote(done * pageBytes);
        return restarts >= restartsMax ? totalPages + pagesPerStep : pagesPerStep;
      },
    });
  } catch (error) {
    throw db.open
      ? translate(error, target)
      : new StoreError("closed", "the store was closed during the backup", { cause: error });
  } finally {
    await syncer.close();
  }
}

/**
 * Opens a file, and syncs it on a libuv thread while it grows, one sync at a time. The file is opened at once, not on a
 * libuv thread: when this thread is terminated, Node closes only the descriptors that it knows.
 */
function openSyncer(path: string): { wrote(bytes: number): void; close(): Promise<void> } {
  const fd = openSync(path, "r+");
  let syncedBytes = 0;
  let running: Promise<void> | undefined;
  return {
    wrote(bytes) {
      // The number of bytes falls when the copy restarts.
      if (running !== undefined || Math.abs(bytes - syncedBytes) < syncEveryBytes) return;
      syncedBytes = bytes;
      // A failure is ignored here, because the last step syncs everything again.
      running = new Promise<void>((resolve) => fdatasync(fd, () => resolve())).then(() => {
        running = undefined;
      });
    },
    async close() {
      await running;
      closeSync(fd);
    },
  };
}
