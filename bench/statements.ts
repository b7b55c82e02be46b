// What logs.append runs, written by hand for those that do without the package: the peers, and the ladder's lowest rungs.
// bench.test.ts fails when the operation runs anything else.
import Database from "better-sqlite3";

export const advance = `
  UPDATE attempts SET next_offset = ?, next_line = next_line + ?
  WHERE command_id = ? AND fence = ? AND next_offset = ? AND log_state = 'open' AND ? <= limit_bytes + dropped_bytes
    AND EXISTS (SELECT 1 FROM commands WHERE id = ? AND fence = ? AND lease_expires_at > ?)
  RETURNING id, next_line, dropped_bytes`;

export const insertChunk = `
  INSERT INTO log_chunks (attempt_id, start_offset, byte_length, start_line, line_count, stream, at, data)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?)`;

/** Appends one line to a log, inside a transaction that the caller has begun. */
export function prepareAppend(db: Database.Database, line: Uint8Array): (commandId: string, fence: number, offset: number) => void {
  const advanceStatement = db.prepare<unknown[], { id: number; next_line: number }>(advance);
  const insertStatement = db.prepare<unknown[]>(insertChunk);
  const size = line.byteLength;
  return (commandId, fence, offset) => {
    const now = Date.now();
    const end = offset + size;
    const attempt = advanceStatement.get([end, 1, commandId, fence, offset, end, commandId, fence, now]);
    if (attempt === undefined) throw new Error("the append was refused");
    insertStatement.run([attempt.id, offset, size, attempt.next_line - 1, 1, "stdout", now, line]);
  };
}

/** Set as the store sets it, but for the busy timeout: who has a connection of his own waits for the others in it. */
export function connect(path: string, busyMs: number): Database.Database {
  const db = new Database(path, { timeout: busyMs });
  db.pragma("journal_mode = WAL");
  db.pragma("synchronous = FULL");
  db.pragma("foreign_keys = ON");
  return db;
}
