// Databases in memory begin as a copy of an empty store, because creating the schema takes ten times as long.
import Database from "better-sqlite3";
import type { Clock } from "../clock.ts";
import { connect } from "./connection.ts";

/** The empty store that the first database in memory of this thread has made. */
let image: Buffer | undefined;

/** Opens a database in memory, which is a copy of the image when there is one. */
export function connectInMemory(clock: Clock, busyMs: number): Database.Database {
  if (image === undefined) return connect(":memory:", busyMs);
  const db = new Database(image, { timeout: busyMs });
  // What differs from store to store.
  db.exec("UPDATE store_meta SET value = lower(hex(randomblob(16))) WHERE key = 'store_id'");
  db.prepare("UPDATE schema_migrations SET applied_at = ?").run(Math.round(clock.now()));
  return db;
}

/** Keeps the image of a database in memory whose schema was just created. */
export function keepImage(db: Database.Database): void {
  image ??= db.serialize();
}
