// Reads logs: the bytes that the attempts of commands wrote, from a byte, a line, or a number of lines before the end.
import { z } from "zod";
import { bounds } from "../limits.ts";
import type { RawOf } from "../model/codec.ts";
import { isFinal } from "../model/commands.ts";
import { Id, WaitMs } from "../model/fields.ts";
import { type Chunk, countLines, LogPage, type logStreams } from "../model/logs.ts";
import type { CommandState } from "../model/vocabulary.ts";
import { fail, NotYet, operation } from "../operation.ts";
import { all, and, first, sql, step, when } from "../sql.ts";
import { notFound } from "./failures.ts";
import { commandTopic, logTopic } from "./topics.ts";

const positionFields = {
  commandId: Id,
  /** The number of the attempt (default: the latest one). */
  attempt: z.int().positive().optional(),
  /** The start: a byte or a line, both counted from 0, or a number of lines before the end (default: byte 0). */
  offset: z.int().min(0).optional(),
  line: z.int().min(0).optional(),
  lastLines: z.int().min(0).max(100_000).optional(),
  maxBytes: z
    .int()
    .min(1)
    .max(bounds.logReadBytes)
    .default(256 * 1024),
};
const hasAtMostOneStart = ({ offset, line, lastLines }: Omit<Position, "commandId" | "maxBytes">) =>
  [offset, line, lastLines].filter((value) => value !== undefined).length <= 1;
const oneStartRule = { error: "offset, line and lastLines exclude each other", path: ["offset"] };

/**
 * Reads about maxBytes of a log.
 *
 * Input    attempt: the number of the attempt (default: the latest one). offset, line, lastLines: the start, which is a
 *          byte or a line, both counted from 0, or a number of lines before the end (default: byte 0)
 * Result   { attempt, chunks, nextOffset, endOffset, droppedBytes, ended, state }; pass nextOffset as `offset` to
 *          continue. The droppedBytes of a chunk is the number of bytes that were dropped just before it
 * Fails    not_found
 * Cost     1 statement by key for each 16 chunks, and a few more; about 20 more to find a line
 */
export const read = operation({
  access: "read",
  input: z.strictObject(positionFields).refine(hasAtMostOneStart, oneStartRule),
  output: LogPage,
  errors: ["not_found"],
  resultBytes: ({ maxBytes }) => maxBytes,
  extent: ({ maxBytes }) => (maxBytes > bounds.logChunkBytes ? "page" : "rows"),
  *run(input) {
    return (yield* readLog(input)).page;
  },
});

/**
 * Follows a log as it grows: returns its chunks from the start position on, without gaps or duplicates, until the log
 * is sealed, or until the command has ended.
 *
 * Input    as in logs.read. until: "sealed" ends with the log of the attempt; "ended" goes on with the log of each later
 *          attempt, from its byte 0, until the command has ended. For a command that has not started, the iteration
 *          waits until it starts. From an offset beyond the end, it waits for the byte at that offset
 * Result   each chunk names its attempt, whose bytes its offset counts
 * Fails    not_found
 */
export const follow = operation({
  access: "read",
  input: z
    .strictObject({
      ...positionFields,
      until: z.enum(["sealed", "ended"]).default("sealed"),
      waitMs: WaitMs.default(20_000),
    })
    .refine(hasAtMostOneStart, oneStartRule),
  output: LogPage,
  errors: ["not_found"],
  waitMs: (input) => input.waitMs,
  resultBytes: ({ maxBytes }) => maxBytes,
  stream: {
    items: (page): Chunk[] => page.chunks,
    next: ({ commandId, maxBytes, until, waitMs }, { attempt, nextOffset, ended }) =>
      ended
        ? undefined
        : { commandId, maxBytes, until, waitMs, attempt: Math.max(attempt, firstAttempt), offset: nextOffset },
  },
  *run({ until, ...position }) {
    const { commandId } = position;
    const { page, waitsForMore } = yield* until === "ended" ? readLogs(position) : readLog(position);
    // A call that waits runs again with the same input. By then, another attempt may be the latest, and other lines the
    // last. So a position that depends on the moment is answered at once, and the next call names what it was.
    const { attempt, line, lastLines } = position;
    const isFixed = attempt !== undefined && line === undefined && lastLines === undefined;
    return waitsForMore && isFixed ? new NotYet([logTopic(commandId), commandTopic(commandId)], page) : page;
  },
});

/** The number of a command's first attempt. Before it has started, its log is empty. */
const firstAttempt = 1;

interface Position {
  readonly commandId: string;
  readonly attempt?: number | undefined;
  readonly offset?: number | undefined;
  readonly line?: number | undefined;
  readonly lastLines?: number | undefined;
  readonly maxBytes: number;
}

/** Reads a page of the log of an attempt; when that log has been read to its end, of the next attempt. */
const readLogs = step(function* (input: Position) {
  const { commandId, maxBytes } = input;
  let read = yield* readLog(input);
  while (read.page.ended && read.page.attempt > 0) {
    const { page, commandEnded } = read;
    const isEmpty = page.chunks.length === 0;
    const next = yield* first<{ attempt: number }>(sql`
      SELECT attempt FROM attempts
      WHERE command_id = ${commandId} AND attempt > ${page.attempt}
      ORDER BY attempt LIMIT 1`);
    // The state of the command was read before its attempts. If it had ended by then, no attempt can follow.
    if (next === undefined && commandEnded) break;
    if (next === undefined || !isEmpty)
      return { page: { ...page, ended: 0 }, waitsForMore: next === undefined && isEmpty };
    read = yield* readLog({ commandId, attempt: next.attempt, offset: 0, maxBytes });
  }
  return read;
});

/** Reads a page of a log. `waitsForMore` is true when the page is empty and more bytes may come. */
const readLog = step(function* (input: Position) {
  const command = yield* first<{ state: CommandState; attempt: number }>(sql`
    SELECT state, attempt FROM commands WHERE id = ${input.commandId}`);
  if (command === undefined) notFound("command", input.commandId);
  const commandEnded = isFinal(command.state);
  const attempt = yield* findAttempt(input);
  if (attempt === undefined) {
    if (input.attempt !== undefined && (input.attempt !== firstAttempt || command.attempt > 0)) {
      const message = `command ${input.commandId} has no attempt ${input.attempt}`;
      fail("not_found", { entity: "attempt", attempt: input.attempt }, message);
    }
    const page: RawOf<typeof LogPage> = {
      attempt: 0,
      chunks: [],
      nextOffset: input.offset ?? 0,
      endOffset: 0,
      droppedBytes: 0,
      ended: commandEnded ? 1 : 0,
      state: commandEnded ? "sealed" : "open",
    };
    return { page, waitsForMore: !commandEnded, commandEnded };
  }
  const from = yield* findOffset(attempt, input);
  const chunks = yield* readChunks(attempt, from, input.maxBytes);
  const last = chunks.at(-1);
  const nextOffset = last === undefined ? from : last.offset + last.data.byteLength;
  const ended =
    attempt.log_state === "pruned"
      ? chunks.length === 0
      : attempt.log_state === "sealed" && nextOffset >= attempt.next_offset;
  const page: RawOf<typeof LogPage> = {
    attempt: attempt.attempt,
    chunks,
    nextOffset,
    endOffset: attempt.next_offset,
    droppedBytes: attempt.dropped_bytes,
    ended: ended ? 1 : 0,
    state: attempt.log_state,
  };
  return { page, waitsForMore: chunks.length === 0 && !ended, commandEnded };
});

interface AttemptRow {
  readonly id: number;
  readonly attempt: number;
  readonly log_state: "open" | "sealed" | "pruned";
  readonly next_offset: number;
  readonly next_line: number;
  readonly dropped_bytes: number;
}

const findAttempt = step(function* ({ commandId, attempt }: Position) {
  const conditions = and(
    sql`command_id = ${commandId}`,
    when(attempt, (number) => sql`attempt = ${number}`),
  );
  return yield* first<AttemptRow>(sql`SELECT * FROM attempts WHERE ${conditions} ORDER BY attempt DESC LIMIT 1`);
});

const findOffset = step(function* (attempt: AttemptRow, { offset, line, lastLines }: Position) {
  if (lastLines !== undefined) return yield* offsetOfLine(attempt, yield* lineBeforeEnd(attempt, lastLines));
  return line === undefined ? (offset ?? 0) : yield* offsetOfLine(attempt, line);
});

/**
 * Returns the number of the line that is `lastLines` before the end. Bytes after the last line break count as a line.
 */
const lineBeforeEnd = step(function* (attempt: AttemptRow, lastLines: number) {
  const last = yield* first<{ data: Uint8Array }>(sql`
    SELECT data FROM log_chunks WHERE attempt_id = ${attempt.id} ORDER BY start_offset DESC LIMIT 1`);
  const openLines = last !== undefined && last.data.at(-1) !== 10 ? 1 : 0;
  return Math.max(0, attempt.next_line + openLines - lastLines);
});

interface ChunkPosition {
  readonly start_offset: number;
  readonly byte_length: number;
  readonly start_line: number;
  readonly line_count: number;
}

/**
 * Returns the offset at which a line begins. Line numbers grow with offsets, so a binary search over the primary key
 * finds it; every append would have to maintain an index of lines.
 */
const offsetOfLine = step(function* (attempt: AttemptRow, line: number) {
  if (line === 0) return 0;
  let [low, high] = [0, attempt.next_offset];
  let candidate: ChunkPosition | undefined;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const chunk = yield* chunkAt(attempt.id, middle);
    if (chunk === undefined || chunk.start_line + chunk.line_count < line) low = middle + 1;
    else {
      candidate = chunk;
      high = chunk.start_offset;
    }
  }
  if (candidate === undefined) return attempt.next_offset;
  if (candidate.start_line >= line) return candidate.start_offset;
  const chunk = yield* first<{ data: Uint8Array }>(sql`
    SELECT data FROM log_chunks WHERE attempt_id = ${attempt.id} AND start_offset = ${candidate.start_offset}`);
  let lineBreak = -1;
  for (let number = candidate.start_line; number < line; number++)
    lineBreak = (chunk?.data ?? new Uint8Array()).indexOf(10, lineBreak + 1);
  return candidate.start_offset + lineBreak + 1;
});

/** Returns the position of the last chunk that starts at or before an offset. */
const chunkAt = step(function* (attemptId: number, offset: number) {
  return yield* first<ChunkPosition>(sql`
    SELECT start_offset, byte_length, start_line, line_count FROM log_chunks
    WHERE attempt_id = ${attemptId} AND start_offset <= ${offset}
    ORDER BY start_offset DESC LIMIT 1`);
});

const chunksPerRead = 16;

interface ChunkRow extends ChunkPosition {
  readonly stream: (typeof logStreams)[number];
  readonly at: number;
  readonly data: Uint8Array;
}

/** Reads chunks from an offset on, until they have maxBytes or the log ends. The first one may be a part of a row. */
const readChunks = step(function* (attempt: AttemptRow, from: number, maxBytes: number) {
  const before = yield* chunkAt(attempt.id, from);
  const isWithin = before !== undefined && before.start_offset + before.byte_length > from;
  const chunks: RawOf<typeof Chunk>[] = [];
  let [start, expected, read] = [isWithin ? before.start_offset : from, from, 0];
  while (read < maxBytes) {
    const rows = yield* all<ChunkRow>(sql`
      SELECT start_offset, byte_length, start_line, line_count, stream, at, data FROM log_chunks
      WHERE attempt_id = ${attempt.id} AND start_offset >= ${start}
      ORDER BY start_offset LIMIT ${chunksPerRead}`);
    for (const row of rows) {
      if (read >= maxBytes) break;
      const skipped = Math.max(0, from - row.start_offset);
      const offset = row.start_offset + skipped;
      const data = row.data.subarray(skipped);
      const startLine = row.start_line + (skipped === 0 ? 0 : countLines(row.data.subarray(0, skipped)));
      chunks.push({
        attempt: attempt.attempt,
        offset,
        droppedBytes: offset - expected,
        startLine,
        stream: row.stream,
        at: row.at,
        data,
      });
      read += data.byteLength;
      expected = offset + data.byteLength;
    }
    if (rows.length < chunksPerRead) break;
    start = expected;
  }
  return chunks;
});
