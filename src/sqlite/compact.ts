// Writes a SQLite file anew without its free pages, and so that it can shrink by itself from then on.

import { statSync } from "node:fs";
import { resolve } from "node:path";
import { StoreError } from "../errors.ts";
import { connect } from "./connection.ts";
import { translate } from "./errors.ts";
import { openExclusively } from "./exclusive.ts";
import { describeReadOnly, fileExists, withPath } from "./file.ts";
import { readOnlyError } from "./readOnly.ts";

export interface Compacted {
  readonly path: string;
  readonly beforeBytes: number;
  readonly afterBytes: number;
}

/**
 * Compacts a file that no other process has open.
 *
 * Fails    busy while another process has it open, with nothing changed | incompatible | read_only | storage_full |
 *          corrupt | io_error
 * Effect   the file has no free pages, and gives them back by itself from now on. When the process is killed, the file
 *          is as it was
 * Cost     reads and writes the whole file; takes up to twice its size on the disk meanwhile, in the folder of the
 *          file and in that for temporary files; blocks the thread
 * Source   https://www.sqlite.org/lang_vacuum.html
 */
export function compactSqlite(file: string): Compacted {
  const path = resolve(file);
  if (!fileExists(path)) throw new StoreError("incompatible", `${path} does not exist: there is nothing to compact`);
  const reason = describeReadOnly(path);
  if (reason !== undefined) throw readOnlyError(reason);
  const db = openExclusively(path, "compact");
  try {
    const beforeBytes = statSync(path).size;
    // VACUUM cannot run in a transaction, so the lock has to outlive the one that took it.
    db.pragma("locking_mode = EXCLUSIVE");
    db.exec("COMMIT");
    db.pragma("synchronous = FULL");
    db.pragma("auto_vacuum = INCREMENTAL");
    db.exec("VACUUM");
    return { path, beforeBytes, afterBytes: statSync(path).size };
  } catch (error) {
    throw withPath(translate(error, path), path);
  } finally {
    db.close();
    returnToWal(path);
  }
}

/** Turns WAL on again, as every process does that opens the file. */
function returnToWal(path: string): void {
  try {
    const db = connect(path, 0);
    db.pragma("journal_mode = WAL");
    db.close();
  } catch {
    // Another process has opened the file, and turns it on.
  }
}
