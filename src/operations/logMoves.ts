// Moves of sealed logs to a log archive (D-120). Only the server that moves them calls these operations; no port reaches
// them.
import { z } from "zod";
import { after } from "../clock.ts";
import type { Context } from "../context.ts";
import { archiveUri } from "../model/archiveKeys.ts";
import { boolean, bytes, integer, list, nullable, oneOf, record, text } from "../model/codec.ts";
import { Fence, Id } from "../model/fields.ts";
import type { BlockRow, StoredChunk } from "../model/logBlocks.ts";
import { logStreams } from "../model/vocabulary.ts";
import { operation } from "../operation.ts";
import { all, change, changeEach, first, forUpdate, skipLocked, sql, step } from "../sql.ts";
import { discardLog } from "./fileState.ts";
import { logTopic } from "./topics.ts";

/**
 * A move is a row with a lease: `writing` until the object is stored and the log is read from there, `clearing` until the
 * chunks are deleted. The address of the object is in the row before the object is, so that what a killed server leaves is
 * found, and handed out to be removed. A log is `wanted` before it is due when somebody has asked for it.
 */
interface MoveRow {
  readonly id: number;
  readonly attempt_id: number;
  readonly phase: "wanted" | "writing" | "clearing";
  readonly fence: number;
  readonly uri: string | null;
}

interface AttemptRow {
  readonly id: number;
  readonly command_id: string;
  readonly attempt: number;
  readonly started_at: number;
  readonly ended_at: number | null;
  readonly log_state: "open" | "sealed" | "pruned";
  readonly log_uri: string | null;
  readonly next_offset: number;
  readonly dropped_bytes: number;
}

/** The columns by which a log is chosen. */
const attemptColumns = sql`id, command_id, attempt, started_at, ended_at, log_state, log_uri, next_offset, dropped_bytes`;

const lease = { moveId: z.int().positive(), fence: Fence };

/** A move that the server has to go on with. */
export const LogMove = record({
  moveId: integer,
  fence: integer,
  /** The next thing to do: store the object, or delete the chunks. */
  task: oneOf(["write", "clear"]),
  uri: text,
  /** The size of the log with what was dropped from it. */
  logBytes: integer,
});

/** The number of logs that one claim looks at. */
const looksPerClaim = 32;

/**
 * Leases the next move: one that is due, or a new one of a log whose attempt ended `limits.logArchiveAfterMs` ago.
 *
 * Input    afterId: the attempt up to which this pass has looked; 0 begins a pass. objectId: the id of a new object
 * Result   { move, afterId, more }: move is null when this call has found none; more is false at the end of a pass
 * Cost     2 statements by key for each log that it looks at, at most 32. Attempts with chunks are found by the key of
 *          log_chunks, which archived logs have left
 */
export const claim = operation({
  access: "write",
  lane: "background",
  input: z.strictObject({ afterId: z.int().min(0), objectId: Id }),
  output: record({ move: nullable(LogMove), afterId: integer, more: boolean }),
  errors: [],
  *run({ afterId, objectId }, context) {
    const due = yield* first<MoveRow>(sql`
      SELECT * FROM log_moves WHERE due_at <= ${context.now} ORDER BY due_at, id LIMIT 1 ${skipLocked}`);
    if (due !== undefined) return { move: yield* takeDue(due, objectId, context), afterId: afterId, more: 1 };
    const endedBefore = context.now.getTime() - context.limits.logArchiveAfterMs;
    let last = afterId;
    for (let looks = 0; looks < looksPerClaim; looks++) {
      const next = yield* first<{ attempt_id: number }>(sql`
        SELECT attempt_id FROM log_chunks WHERE attempt_id > ${last} ORDER BY attempt_id, start_offset LIMIT 1`);
      const attempt = next && (yield* attemptOf(next.attempt_id));
      // Attempts are numbered in the order of their start, so the logs of all later ones are too young.
      if (attempt === undefined || attempt.started_at > endedBefore) return { move: null, afterId: 0, more: 0 };
      last = attempt.id;
      if (!isMovable(attempt) || (attempt.ended_at ?? Infinity) > endedBefore) continue;
      const move = yield* begin(attempt, objectId, context);
      if (move !== undefined) return { move, afterId: last, more: 1 };
    }
    return { move: null, afterId: last, more: 1 };
  },
});

function isMovable({ log_state, log_uri }: AttemptRow): boolean {
  return log_state === "sealed" && log_uri === null;
}

const attemptOf = step(function* (attemptId: number) {
  return yield* first<AttemptRow>(sql`SELECT ${attemptColumns} FROM attempts WHERE id = ${attemptId}`);
});

/** Begins a move, unless one of this log has begun. */
const begin = step(function* (attempt: AttemptRow, objectId: string, { now, limits }: Context) {
  const uri = archiveUri(attempt.command_id, attempt.attempt, objectId);
  const row = yield* first<MoveRow>(sql`
    INSERT INTO log_moves (
      attempt_id,
      phase,
      fence,
      uri,
      due_at
    ) VALUES (
      ${attempt.id},
      'writing',
      1,
      ${uri},
      ${after(now, limits.logMoveMs)}
    )
    ON CONFLICT (attempt_id) DO NOTHING
    RETURNING *`);
  return row && { moveId: row.id, fence: 1, task: "write" as const, uri, logBytes: attempt.next_offset };
});

/**
 * Takes a move that is due. One whose object was being stored begins anew, under another key: nobody knows whether the
 * object is there, or whether its request is still on its way. So it is removed after the time of another move.
 */
const takeDue = step(function* (due: MoveRow, objectId: string, context: Context) {
  const { now, limits, wake } = context;
  const attempt = yield* attemptOf(due.attempt_id);
  let { phase, uri } = due;
  if (phase !== "clearing") {
    if (uri !== null) yield* discardLog(due.attempt_id, uri, limits.logMoveMs, context);
    if (attempt === undefined || !isMovable(attempt)) {
      yield* change(sql`DELETE FROM log_moves WHERE id = ${due.id}`);
      if (attempt !== undefined) wake(logTopic(attempt.command_id));
      return null;
    }
    [phase, uri] = ["writing", archiveUri(attempt.command_id, attempt.attempt, objectId)];
  }
  const fence = due.fence + 1;
  yield* change(sql`
    UPDATE log_moves SET
      phase = ${phase},
      fence = ${fence},
      uri = ${uri},
      due_at = ${after(now, limits.logMoveMs)}
    WHERE id = ${due.id}`);
  const task = phase === "writing" ? ("write" as const) : ("clear" as const);
  return { moveId: due.id, fence, task, uri: uri as string, logBytes: attempt?.next_offset ?? 0 };
});

const pageBytes = 512 * 1024;
const chunksPerRead = 16;
const readsPerPage = 32;

/** Reads chunks of a log that is being moved. A log that has been pruned meanwhile may lack some; `commit` finds out. */
export const read = operation({
  access: "read",
  lane: "background",
  input: z.strictObject({ ...lease, from: z.int().min(0) }),
  output: record({
    chunks: list(
      record({
        start_offset: integer,
        byte_length: integer,
        start_line: integer,
        line_count: integer,
        stream: oneOf(logStreams),
        at: integer,
        data: bytes,
      }),
    ),
    areLast: boolean,
  }),
  errors: [],
  resultBytes: () => pageBytes + chunksPerRead * 64 * 1024,
  *run({ moveId, fence, from }) {
    const chunks: StoredChunk[] = [];
    const move = yield* first<MoveRow>(sql`SELECT * FROM log_moves WHERE id = ${moveId} AND fence = ${fence}`);
    let [start, size] = [from, 0];
    for (let reads = 0; move !== undefined && size < pageBytes && reads < readsPerPage; reads++) {
      const rows = yield* all<StoredChunk>(sql`
        SELECT start_offset, byte_length, start_line, line_count, stream, at, data FROM log_chunks
        WHERE attempt_id = ${move.attempt_id} AND start_offset >= ${start}
        ORDER BY start_offset LIMIT ${chunksPerRead}`);
      for (const row of rows) {
        chunks.push(row);
        size += row.byte_length;
        start = row.start_offset + row.byte_length;
      }
      if (rows.length < chunksPerRead) return { chunks, areLast: 1 };
    }
    return { chunks, areLast: move === undefined ? 1 : 0 };
  },
});

/** Extends the lease of a move. Result { held }: false when another server has taken it over. */
export const renew = operation({
  access: "write",
  lane: "background",
  input: z.strictObject(lease),
  output: record({ held: boolean }),
  errors: [],
  *run({ moveId, fence }, { now, limits }) {
    const held = yield* change(sql`
      UPDATE log_moves SET due_at = ${after(now, limits.logMoveMs)} WHERE id = ${moveId} AND fence = ${fence}`);
    return { held };
  },
});

const Blocks = z.array(
  z.strictObject({
    startOffset: z.int(),
    endOffset: z.int(),
    byteLength: z.int(),
    startLine: z.int(),
    endLine: z.int(),
    objectOffset: z.int(),
    objectLength: z.int(),
    rawLength: z.int(),
    checksum: z.int(),
    times: z.string().nullable(),
  }),
);

/**
 * Ends the first phase of a move, whose object is stored: from this transaction on, the log is read from there.
 *
 * Result   { committed }: false when another server has taken the move over, or when the log has been pruned or deleted.
 *          Then the object is not needed, and is handed out to be removed
 */
export const commit = operation({
  access: "write",
  lane: "background",
  input: z.strictObject({ ...lease, blocks: Blocks.max(4_096) }),
  output: record({ committed: boolean }),
  errors: [],
  *run({ moveId, fence, blocks }, context) {
    const { now, limits, wake } = context;
    const held = yield* first<MoveRow>(sql`
      SELECT * FROM log_moves WHERE id = ${moveId} AND fence = ${fence} AND phase = 'writing'`);
    // Whoever has taken the move over has handed its object out.
    if (held === undefined) return { committed: 0 };
    // The attempt is locked before its move, here and where it is deleted.
    const attempt = yield* first<AttemptRow>(sql`
      SELECT ${attemptColumns} FROM attempts WHERE id = ${held.attempt_id} ${forUpdate}`);
    const stored = blocks.reduce((sum, { byteLength }) => sum + byteLength, 0);
    if (attempt === undefined || !isMovable(attempt) || stored !== attempt.next_offset - attempt.dropped_bytes) {
      const ended = yield* change(sql`DELETE FROM log_moves WHERE id = ${moveId} AND fence = ${fence}`);
      if (ended > 0) yield* discardLog(held.attempt_id, held.uri as string, 0, context);
      if (attempt !== undefined) wake(logTopic(attempt.command_id));
      return { committed: 0 };
    }
    const moved = yield* change(sql`
      UPDATE log_moves SET
        phase = 'clearing',
        due_at = ${after(now, limits.logMoveMs)}
      WHERE id = ${moveId} AND fence = ${fence}`);
    if (moved === 0) return { committed: 0 };
    yield* change(sql`UPDATE attempts SET log_uri = ${held.uri} WHERE id = ${attempt.id}`);
    yield* changeEach(blocks.map((block) => insertBlock(attempt.id, block)));
    wake(logTopic(attempt.command_id));
    return { committed: 1 };
  },
});

function insertBlock(attemptId: number, block: z.output<typeof Blocks>[number]) {
  return sql`
    INSERT INTO log_blocks (
      attempt_id,
      start_offset,
      end_offset,
      byte_length,
      start_line,
      end_line,
      object_offset,
      object_length,
      raw_length,
      checksum,
      times
    ) VALUES (
      ${attemptId},
      ${block.startOffset},
      ${block.endOffset},
      ${block.byteLength},
      ${block.startLine},
      ${block.endLine},
      ${block.objectOffset},
      ${block.objectLength},
      ${block.rawLength},
      ${block.checksum},
      ${block.times}
    )`;
}

/** Returns the index of a packed log as `commit` takes it. */
export function blocksInput(blocks: readonly BlockRow[]): z.input<typeof Blocks> {
  return blocks.map((block) => ({
    startOffset: block.start_offset,
    endOffset: block.end_offset,
    byteLength: block.byte_length,
    startLine: block.start_line,
    endLine: block.end_line,
    objectOffset: block.object_offset,
    objectLength: block.object_length,
    rawLength: block.raw_length,
    checksum: block.checksum,
    times: block.times,
  }));
}

/** Chunks are deleted in steps of a few milliseconds: this many rows, and about as many bytes. */
const clearing = { rows: 128, bytes: 1024 * 1024 };

/**
 * Deletes some chunks of a log that is read from the archive.
 *
 * Result   { more }: false when no chunk is left, which ends the move, or when another server has taken it over
 */
export const clear = operation({
  access: "write",
  lane: "background",
  input: z.strictObject(lease),
  output: record({ more: boolean }),
  errors: [],
  *run({ moveId, fence }, { now, limits }) {
    const move = yield* first<MoveRow>(sql`
      SELECT * FROM log_moves WHERE id = ${moveId} AND fence = ${fence} AND phase = 'clearing' ${forUpdate}`);
    if (move === undefined) return { more: 0 };
    const chunks = yield* all<{ start_offset: number; byte_length: number }>(sql`
      SELECT start_offset, byte_length FROM log_chunks
      WHERE attempt_id = ${move.attempt_id} ORDER BY start_offset LIMIT ${clearing.rows}`);
    let [count, size] = [0, 0];
    for (const { byte_length } of chunks) {
      if (size >= clearing.bytes) break;
      count++;
      size += byte_length;
    }
    const last = chunks[count - 1];
    if (last !== undefined)
      yield* change(sql`
        DELETE FROM log_chunks WHERE attempt_id = ${move.attempt_id} AND start_offset <= ${last.start_offset}`);
    const more = count < chunks.length || chunks.length === clearing.rows;
    yield* change(
      more
        ? sql`UPDATE log_moves SET due_at = ${after(now, limits.logMoveMs)} WHERE id = ${moveId}`
        : sql`DELETE FROM log_moves WHERE id = ${moveId}`,
    );
    return { more: more ? 1 : 0 };
  },
});

/** Hands out the object of an archived log that the caller prunes, to be removed. */
export const discardObject = step(function* (attemptId: number, uri: string, context: Context) {
  yield* discardLog(attemptId, uri, 0, context);
  yield* change(sql`DELETE FROM log_blocks WHERE attempt_id = ${attemptId}`);
  context.wake(logMovesTopic);
});

/** The time at which such a move is due: before all others, and whatever the clock of the server that looks says. */
export const atOnce = new Date(0);
/** The topic of log moves, and of objects to remove, that are due at once. */
export const logMovesTopic = "logMoves";
