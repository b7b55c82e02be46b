// Registers the server processes that have a SQLite file open, each as a row of `store_meta`. A file should have one
// server. Several work too, but wait for each other's transactions.

import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import type Database from "better-sqlite3";
import { isAlive } from "../files/processes.ts";
import type { Limits } from "../limits.ts";
import { inImmediateTransaction } from "./locks.ts";

interface Registration {
  /** The key of this server's row, for `removeServer`. */
  readonly key: string;
  /** The process ids of the other servers that may be alive. */
  readonly others: readonly number[];
}

/** Adds a row for this server, and removes the rows that dead servers left behind. */
export function registerServer(db: Database.Database, limits: Pick<Limits, "busyGiveUpMs">): Registration {
  const key = `server ${hostname()} ${process.pid} ${randomUUID()}`;
  const living = inImmediateTransaction(db, limits, () => {
    const keys = db
      .prepare("SELECT key FROM store_meta WHERE key > 'server ' AND key < 'server!'")
      .pluck()
      .all() as string[];
    const dead = keys.filter(isDead);
    for (const key of dead) removeServer(db, key);
    db.prepare("INSERT INTO store_meta (key, value) VALUES (?, '')").run(key);
    return keys.filter((other) => !dead.includes(other));
  });
  const pids = new Set(living.map(pidOf));
  pids.delete(process.pid);
  return { key, others: [...pids] };
}

export function removeServer(db: Database.Database, key: string): void {
  db.prepare("DELETE FROM store_meta WHERE key = ?").run(key);
}

function pidOf(key: string): number {
  return Number(key.split(" ")[2]);
}

/** Returns true when a server of this host has died. Servers of other hosts cannot be checked and count as alive. */
function isDead(key: string): boolean {
  return key.split(" ")[1] === hostname() && !isAlive(pidOf(key));
}
