// Opens a second connection to the SQLite file of a store, which only reads.
import type Database from "better-sqlite3";
import type { Clock } from "../clock.ts";
import type { Driver } from "../driver.ts";
import { StoreError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { connect, distrust } from "./connection.ts";
import { translate } from "./errors.ts";
import { withPath } from "./file.ts";
import { retryWhileBusy } from "./locks.ts";
import { type FileIdentities, fileIdentities } from "./openFile.ts";
import { createSqliteDriver } from "./transaction.ts";

export interface SqliteReaderOptions {
  readonly path: string;
  readonly clock: Clock;
  readonly limits: Limits;
  readonly epoch: number;
  /** The files that the store has open. */
  readonly files: FileIdentities;
}

/**
 * Opens the connection. Fails with `file_lost` when the path leads to other files than those that the store has open: only
 * the store's own connection still shows what these hold.
 */
export function openSqliteReader({ path, clock, limits, epoch, files }: SqliteReaderOptions): Driver {
  let db: Database.Database | undefined;
  try {
    db = connect(path, limits.busyMs, { readonly: true });
    const opened = db;
    distrust(opened);
    // The first read opens the -wal and the -shm file.
    retryWhileBusy(limits.busyGiveUpMs, () => opened.prepare("SELECT count(*) FROM store_meta").get());
    const found = fileIdentities(path);
    if (files.some((file, index) => file !== undefined && file !== found[index]))
      throw new StoreError("file_lost", "the files at the path are not those that the store has open");
    return createSqliteDriver({ db: opened, clock, epoch, close: () => void opened.close() });
  } catch (error) {
    db?.close();
    throw withPath(translate(error), path);
  }
}
