// A backup through the writer's own connection, a few pages at a time, so that calls go on between two steps. Another connection would begin anew
// after each commit: https://www.sqlite.org/c3ref/backup_finish.html

import { open } from "node:fs/promises";
import type Database from "better-sqlite3";
import type { BackUpWatch } from "../driver.ts";
import { StoreError } from "../errors.ts";

import { pragma } from "./connection.ts";
import { translate } from "./errors.ts";

/** A step of so many pages takes well under a millisecond. */
const pagesPerStep = 64;

/** After so many commits of other processes the rest is copied in one step, or it would never end. */
const restartsMax = 5;

/** What was written is sent to the disk so often, in the background: the last step waits for the rest of it (D-068). */
const syncEveryBytes = 4_194_304;

/**
 * Copies the database to a file that is there and empty.
 *
 * Fails    storage_full | corrupt | aborted | closed when the connection was closed meanwhile
 * Cost     blocks the thread for one step at a time; the last one syncs the file
 */
export async function copyInSteps(
  db: Database.Database,
  target: string,
  { onProgress, signal }: BackUpWatch = {},
): Promise<void> {
  const pageBytes = Number(pragma(db, "page_size"));
  const syncer = await openSyncer(target);
  let restarts = 0;
  let donePages = 0;
  try {
    await db.backup(target, {
      progress({ totalPages, remainingPages }) {
        if (signal?.aborted) throw new StoreError("aborted", "the backup was given up", { outcome: "rolled_back" });
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
      ? translate(error)
      : new StoreError("closed", "the store was closed during the backup", { cause: error });
  } finally {
    await syncer.close();
  }
}

/** One sync at a time, on a thread of libuv's. */
async function openSyncer(path: string): Promise<{ wrote(bytes: number): void; close(): Promise<void> }> {
  const file = await open(path, "r+");
  let syncedBytes = 0;
  let running: Promise<void> | undefined;
  return {
    wrote(bytes) {
      if (running !== undefined || Math.abs(bytes - syncedBytes) < syncEveryBytes) return;
      syncedBytes = bytes;
      // What could not be synced here fails, or not, in the last step.
      running = file
        .datasync()
        .catch(() => undefined)
        .finally(() => {
          running = undefined;
        });
    },
    async close() {
      await running;
      await file.close();
    },
  };
}
