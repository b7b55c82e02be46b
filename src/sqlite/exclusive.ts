// Opens a SQLite database as its only connection, so that its file can be replaced.

import { existsSync } from "node:fs";
import type Database from "better-sqlite3";
import { StoreError } from "../errors.ts";
import { connect, pragma, requireOwnDatabase } from "./connection.ts";
import { translate } from "./errors.ts";
import { withPath } from "./file.ts";
import { retryWhileBusy } from "./locks.ts";
import { listServers, type OtherServer } from "./servers.ts";

/** The time to wait for visitors, such as another command, to close the database. */
const visitorWaitMs = 1_000;

/**
 * Opens the database as its only connection, with its WAL moved into the file. No other connection can be opened while
 * the lock is held. `then` is the command that messages name.
 */
export function openExclusively(path: string, then = "restore"): Database.Database {
  const db = connect(path, 50);
  try {
    requireOwnDatabase(db, path, true);
    // SQLite leaves WAL mode only while no other connection has the file open (D-066). Another connection may open the
    // file and turn WAL on again before the lock is taken, so the mode is read once more under the lock.
    retryWhileBusy(visitorWaitMs, () => {
      db.pragma("journal_mode = DELETE");
      db.exec("BEGIN EXCLUSIVE");
      if (pragma(db, "journal_mode") === "delete") return;
      db.exec("ROLLBACK");
      throw new StoreError("busy");
    });
    if (["-wal", "-journal"].some((suffix) => existsSync(`${path}${suffix}`))) throw new StoreError("busy");
    return db;
  } catch (error) {
    db.close();
    throw exclusiveError(translate(error), path, then);
  }
}

/**
 * Builds the error for a database that another process has open. `then` is the command to run when it has ended. Names
 * the servers that are known.
 */
export function openElsewhere(path: string, then: string, { cause, details }: StoreError): StoreError {
  const servers = knownServers(path);
  const names = servers.map(({ pid, host }) => `process ${pid} on ${host}`).join(", ");
  const message = `${path} is open in another process: end the servers and runners that use it${names && ` (${names})`}, then ${then}`;
  return new StoreError("busy", message, { cause, details: { ...details, reason: "open", servers } });
}

function knownServers(path: string): readonly OtherServer[] {
  let db: Database.Database | undefined;
  try {
    db = connect(path, 50);
    return listServers(db);
  } catch {
    // Another program holds the lock, or the schema has no table for servers.
    return [];
  } finally {
    db?.close();
  }
}

/** Builds the error for a database that could not be opened alone. */
function exclusiveError(error: StoreError, path: string, then: string): StoreError {
  const { code, cause, details } = error;
  if (code === "busy") return openElsewhere(path, then, error);
  // Without a readable header SQLite takes no lock, and only a lock shows whether a server has the file open.
  if (code === "corrupt" || details.sqliteCode === "SQLITE_NOTADB") {
    const names = ["", "-wal", "-shm"].map((suffix) => `${path}${suffix}`).filter((name) => existsSync(name));
    const message = `${path} is damaged, so it cannot be checked whether a server has it open: end all processes that use it, move ${names.join(", ")} elsewhere, then restore a backup`;
    return new StoreError("corrupt", message, { cause, details });
  }
  return withPath(error, path);
}
