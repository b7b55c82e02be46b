// Deletes what belongs to an ended session, in steps of a few milliseconds: sessions.delete runs them until nothing is
// left, and so does retention.
import type { Context } from "../context.ts";
import { all, change, first, type Statement, sql, step } from "../sql.ts";
import { deleteSomeArtifacts } from "./artifactState.ts";
import { deleteSomeDebugRows } from "./debugState.ts";
import { discardObject } from "./logMoves.ts";
import { bytesPerStep, countWithin, largeBytesOf } from "./rows.ts";

/** The number of rows that one step removes. It takes a few milliseconds (D-034). */
const rowsPerStep = 256;
/** A log has up to a thousand blocks or so, and mostly one. */
const archivedLogsPerStep = 8;

/**
 * Deletes some rows that belong to a session that the caller has locked: each log before its command. Returns the
 * number of rows, and whether any may be left besides the session itself.
 */
export const deleteSomeOfSession = step(function* (sessionId: string, context: Context) {
  const artifacts = yield* deleteSomeArtifacts(sessionId, context);
  if (artifacts.left) return artifacts;
  const others =
    (yield* deleteSomeDebugRows(sessionId, context)) ||
    (yield* deleteSomeCommands(sessionId, context)) ||
    (yield* deleteSomeMarks(sessionId));
  return { rows: artifacts.rows + others, left: others > 0 };
});

/** Deletes some marks of a session. Returns their number. */
const deleteSomeMarks = step(function* (sessionId: string) {
  return yield* change(sql`
    DELETE FROM session_marks
    WHERE session_id = ${sessionId} AND number <= (
      SELECT min(number) + ${rowsPerStep} - 1 FROM session_marks WHERE session_id = ${sessionId})`);
});

/**
 * Deletes some commands of a session with their attempts, or a part of the log of one of them. Looks only at the first
 * commands that are left, so that a step takes no longer in a large session. Returns the number of rows; 0 when no command
 * is left.
 */
const deleteSomeCommands = step(function* (sessionId: string, context: Context) {
  const rows = yield* all<{ sequence: number; bytes: number }>(sql`
    SELECT commands.sequence, ${largeBytesOf.command} AS bytes
    FROM commands LEFT JOIN attempts ON attempts.command_id = commands.id
    WHERE commands.session_id = ${sessionId}
    ORDER BY commands.sequence LIMIT ${rowsPerStep}`);
  const last = rows[countWithin(rows, bytesPerStep) - 1];
  if (last === undefined) return 0;
  const some = sql`commands.session_id = ${sessionId} AND commands.sequence <= ${last.sequence}`;
  return (
    (yield* discardSomeArchivedLogs(some, context)) ||
    (yield* deleteSomeLogChunks(some, context)) ||
    (yield* deleteCommands(some, context))
  );
});

/** Deletes these commands with their attempts. The attempts first, because no statement returns rows that a cascade deletes. */
const deleteCommands = step(function* (some: Statement, { counted }: Context) {
  const logs = yield* all<{ log_state: string; bytes: number }>(sql`
    DELETE FROM attempts
    WHERE command_id IN (SELECT id FROM commands WHERE ${some})
    RETURNING log_state, next_offset - dropped_bytes AS bytes`);
  for (const { log_state, bytes } of logs) {
    counted("log", log_state, undefined);
    if (log_state === "sealed") counted("log_bytes", "sealed", undefined, bytes);
  }
  const rows = yield* all<{ state: string }>(sql`DELETE FROM commands WHERE ${some} RETURNING state`);
  for (const { state } of rows) counted("command", state, undefined);
  return rows.length;
});

/** Discards some archived logs of these commands. Returns the number of logs; 0 when none is left. */
const discardSomeArchivedLogs = step(function* (commands: Statement, context: Context) {
  const archived = yield* all<{ id: number; log_uri: string; bytes: number }>(sql`
    SELECT attempts.id, attempts.log_uri, attempts.next_offset - attempts.dropped_bytes AS bytes
    FROM commands JOIN attempts ON attempts.command_id = commands.id
    WHERE ${commands} AND attempts.log_uri IS NOT NULL
    LIMIT ${archivedLogsPerStep}`);
  const { counted } = context;
  for (const { id, log_uri, bytes } of archived) {
    yield* discardObject(id, log_uri, context);
    yield* change(sql`UPDATE attempts SET log_state = 'pruned', log_uri = NULL WHERE id = ${id}`);
    counted("log", "sealed", "pruned");
    counted("log_bytes", "sealed", undefined, bytes);
  }
  return archived.length;
});

/** Deletes some chunks of one log of these commands. Returns the number of chunks; 0 when none is left. */
const deleteSomeLogChunks = step(function* (commands: Statement, { counted }: Context) {
  const attempt = yield* first<{ id: number; log_state: string; bytes: number }>(sql`
    SELECT attempts.id, attempts.log_state, attempts.next_offset - attempts.dropped_bytes AS bytes
    FROM commands JOIN attempts ON attempts.command_id = commands.id
    WHERE ${commands} AND EXISTS (SELECT 1 FROM log_chunks WHERE attempt_id = attempts.id)
    LIMIT 1`);
  if (attempt === undefined) return 0;
  const { rows } = yield* deleteSomeChunksOf(attempt.id, rowsPerStep);
  if (attempt.log_state !== "sealed") return rows;
  yield* change(sql`UPDATE attempts SET log_state = 'pruned' WHERE id = ${attempt.id}`);
  counted("log", "sealed", "pruned");
  counted("log_bytes", "sealed", undefined, attempt.bytes);
  return rows;
});

/** Deletes at most this number of chunks of a log, some MiB of them, and returns whether any may be left. */
export const deleteSomeChunksOf = step(function* (attemptId: number, limit: number) {
  const chunks = yield* all<{ start_offset: number; bytes: number }>(sql`
    SELECT start_offset, byte_length AS bytes FROM log_chunks
    WHERE attempt_id = ${attemptId}
    ORDER BY start_offset LIMIT ${limit}`);
  const rows = countWithin(chunks, bytesPerStep);
  const last = chunks[rows - 1];
  if (last !== undefined)
    yield* change(sql`DELETE FROM log_chunks WHERE attempt_id = ${attemptId} AND start_offset <= ${last.start_offset}`);
  const bytes = chunks.slice(0, rows).reduce((sum, chunk) => sum + chunk.bytes, 0);
  return { rows, bytes, left: rows < chunks.length || chunks.length === limit };
});
