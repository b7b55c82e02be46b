// The statements of logs.append, written by hand for contenders that do without the package: the peers, and the lowest
// rungs of the ladder. bench.long.ts fails when the operation runs other statements.
import Database from "better-sqlite3";

export const findAttempt = `
  SELECT id, outcome, log_state, next_offset, next_line, limit_bytes, dropped_bytes,
    (SELECT CASE WHEN commands.fence = attempts.fence THEN lease_expires_at END FROM commands WHERE id = command_id)
      AS lease_expires_at
  FROM attempts WHERE command_id = ? AND fence = ?`;

export const advance = "UPDATE attempts SET next_offset = ?, next_line = ?, dropped_bytes = ? WHERE id = ?";

export const insertChunk = `
  INSERT INTO log_chunks (attempt_id, start_offset, byte_length, start_line, line_count, stream, at, data)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?)`;

interface Attempt {
  readonly id: number;
  readonly log_state: string;
  readonly next_offset: number;
  readonly next_line: number;
  readonly dropped_bytes: number;
  readonly lease_expires_at: number | null;
}

/** Returns a function that appends one line to a log, inside a transaction that the caller has begun. */
export function prepareAppend(
  db: Database.Database,
  line: Uint8Array,
): (commandId: string, fence: number, offset: number) => void {
  const findStatement = db.prepare<unknown[], Attempt>(findAttempt);
  const advanceStatement = db.prepare<unknown[]>(advance);
  const insertStatement = db.prepare<unknown[]>(insertChunk);
  const size = line.byteLength;
  return (commandId, fence, offset) => {
    const now = Date.now();
    const attempt = findStatement.get([commandId, fence]);
    if (attempt?.log_state !== "open" || attempt.next_offset !== offset || (attempt.lease_expires_at ?? 0) <= now)
      throw new Error("the append was refused");
    advanceStatement.run([offset + size, attempt.next_line + 1, attempt.dropped_bytes, attempt.id]);
    insertStatement.run([attempt.id, offset, size, attempt.next_line, 1, "stdout", now, line]);
  };
}

/**
 * Opens a connection with the pragmas of the store, except for the busy timeout: a contender with several connections
 * waits in it for the write lock.
 */
export function connect(path: string, busyMs: number): Database.Database {
  const db = new Database(path, { timeout: busyMs });
  db.pragma("journal_mode = WAL");
  db.pragma("synchronous = FULL");
  db.pragma("foreign_keys = ON");
  return db;
}
