// Reads logs: the bytes that the attempts of commands wrote, from a byte, a line, or a number of lines before the end.
import { z } from "zod";
import type { Context } from "../context.ts";
import { bounds } from "../limits.ts";
import type { RawOf } from "../model/codec.ts";
import { Id, oneOrMore, WaitMs } from "../model/fields.ts";
import { type Chunk, LogPage } from "../model/logs.ts";
import { logStreams } from "../model/vocabulary.ts";
import { NotYet, operation } from "../operation.ts";
import { first, sql, step } from "../sql.ts";
import { type AttemptLog, findLog, firstAttempt } from "./logAttempt.ts";
import { chunkOfLine, chunksFrom, endsWithinLine, isOfStream, partFrom, type StreamFilter } from "./logStorage.ts";
import { commandTopic, logTopic } from "./topics.ts";

const positionFields = {
  commandId: Id,
  /** The number of the attempt (default: the latest one). */
  attempt: z.int().positive().optional(),
  /** The start: a byte or a line, both counted from 0, or a number of lines before the end (default: byte 0). */
  offset: z.int().min(0).optional(),
  line: z.int().min(0).optional(),
  lastLines: z.int().min(0).max(100_000).optional(),
  /** Only the chunks of these streams. Offsets and lines count those of all streams. */
  stream: oneOrMore(logStreams),
  maxBytes: z
    .int()
    .min(1)
    .max(bounds.logReadBytes)
    .default(256 * 1024),
};
/** The bytes that one call reads at most to find those of some streams. Most of a log may be of others. */
const scanBytesMax = 4 * 1024 * 1024;
const hasAtMostOneStart = ({ offset, line, lastLines }: Pick<Position, "offset" | "line" | "lastLines">) =>
  [offset, line, lastLines].filter((value) => value !== undefined).length <= 1;
const oneStartRule = { error: "offset, line and lastLines exclude each other", path: ["offset"] };

/**
 * Reads about maxBytes of a log.
 *
 * Input    attempt: the number of the attempt (default: the latest one). offset, line, lastLines: the start, which is a
 *          byte or a line, both counted from 0, or a number of lines before the end (default: byte 0). stream: only
 *          chunks of these streams; the start counts those of all streams
 * Result   { attempt, chunks, nextOffset, endOffset, droppedBytes, ended, state }; pass nextOffset as `offset` to
 *          continue. With `stream`, a page may be empty before the end: continue while nextOffset grows. The
 *          droppedBytes of a chunk is the number of bytes that were dropped just before it
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
  *run(input, context) {
    return (yield* readLog(input, context)).page;
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
    next: ({ commandId, stream, maxBytes, until, waitMs }, { attempt, nextOffset, ended }) =>
      ended
        ? undefined
        : { commandId, stream, maxBytes, until, waitMs, attempt: Math.max(attempt, firstAttempt), offset: nextOffset },
  },
  *run({ until, ...position }, context) {
    const { commandId } = position;
    const { page, waitsForMore } = yield* until === "ended" ? readLogs(position, context) : readLog(position, context);
    // A call that waits runs again with the same input. By then, another attempt may be the latest, and other lines the
    // last. So a position that depends on the moment is answered at once, and the next call names what it was.
    const { attempt, line, lastLines } = position;
    const isFixed = attempt !== undefined && line === undefined && lastLines === undefined;
    return waitsForMore && isFixed ? new NotYet([logTopic(commandId), commandTopic(commandId)], page) : page;
  },
});

interface Position {
  readonly commandId: string;
  readonly attempt?: number | undefined;
  readonly offset?: number | undefined;
  readonly line?: number | undefined;
  readonly lastLines?: number | undefined;
  readonly stream?: StreamFilter;
  readonly maxBytes: number;
}

/** Reads a page of the log of an attempt; when that log has been read to its end, of the next attempt. */
const readLogs = step(function* (input: Position, context: Context) {
  const { commandId, stream, maxBytes } = input;
  let read = yield* readLog(input, context);
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
    read = yield* readLog({ commandId, attempt: next.attempt, offset: 0, stream, maxBytes }, context);
  }
  return read;
});

/** Reads a page of a log. `waitsForMore` is true when the page is empty and more bytes may come. */
const readLog = step(function* (input: Position, context: Context) {
  const { log: attempt, commandEnded } = yield* findLog(input);
  if (attempt === undefined) {
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
  const from = yield* findOffset(attempt, input, context);
  const { chunks, nextOffset } = yield* readChunks(attempt, from, input, context);
  const ended =
    attempt.log_state === "pruned"
      ? nextOffset === from
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
  return { page, waitsForMore: nextOffset === from && !ended, commandEnded };
});

const findOffset = step(function* (log: AttemptLog, { offset, line, lastLines }: Position, context: Context) {
  if (lastLines !== undefined) return yield* offsetOfLine(log, yield* lineBeforeEnd(log, lastLines, context), context);
  return line === undefined ? (offset ?? 0) : yield* offsetOfLine(log, line, context);
});

/**
 * Returns the number of the line that is `lastLines` before the end. Bytes after the last line break count as a line.
 */
const lineBeforeEnd = step(function* (log: AttemptLog, lastLines: number, context: Context) {
  const openLines = (yield* endsWithinLine(log, context)) ? 1 : 0;
  return Math.max(0, log.next_line + openLines - lastLines);
});

/** Returns the offset at which a line begins. */
const offsetOfLine = step(function* (log: AttemptLog, line: number, context: Context) {
  if (line === 0) return 0;
  const chunk = yield* chunkOfLine(log, line, context);
  if (chunk === undefined) return log.next_offset;
  let lineBreak = -1;
  for (let number = chunk.start_line; number < line; number++) lineBreak = chunk.data.indexOf(10, lineBreak + 1);
  return chunk.start_offset + lineBreak + 1;
});

/**
 * Reads chunks from an offset on, until they have maxBytes or the log ends. The first one may be a part of a row. Returns
 * them with the offset up to which the log was read: it is the same when there is nothing.
 */
const readChunks = step(function* (
  log: AttemptLog,
  from: number,
  { stream: wanted, maxBytes }: Position,
  context: Context,
) {
  const page: RawOf<typeof Chunk>[] = [];
  let [nextOffset, end, readBytes, scannedBytes] = [from, from, 0, 0];
  while (readBytes < maxBytes && scannedBytes < scanBytesMax) {
    const position = { from: nextOffset, isBoundary: scannedBytes > 0, wantedBytes: maxBytes - readBytes };
    const { chunks, areLast } = yield* chunksFrom(log, position, context);
    for (const chunk of chunks) {
      if (readBytes >= maxBytes) break;
      const part = partFrom(chunk, from);
      const { stream, at } = chunk;
      nextOffset = part.offset + part.data.byteLength;
      scannedBytes += part.data.byteLength;
      const droppedBytes = part.offset - end;
      end = nextOffset;
      if (!isOfStream(chunk, wanted)) continue;
      page.push({ attempt: log.attempt, ...part, droppedBytes, stream, at });
      readBytes += part.data.byteLength;
    }
    if (areLast) break;
  }
  return { chunks: page, nextOffset };
});
