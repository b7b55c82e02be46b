// Logs: the bytes that the attempts of commands wrote. A log that grows past its limit loses its middle and keeps its
// beginning and its end. The runner appends under the fencing token of its lease, at the offset where its last append
// ended, so a repeated append stores nothing twice. The end of the attempt seals the log.
import { z } from "zod";
import { bounds } from "../limits.ts";
import { boolean, integer, type RawOf, record } from "../model/codec.ts";
import { isFinal } from "../model/commands.ts";
import { Fence, Id, WaitMs } from "../model/fields.ts";
import { type Chunk, countLines, LogData, LogPage, logStreams } from "../model/logs.ts";
import type { CommandState } from "../model/vocabulary.ts";
import { fail, NotYet, operation } from "../operation.ts";
import { all, and, change, changeEach, first, forUpdate, sql, step, when } from "../sql.ts";
import { leaseExpired, notFound } from "./failures.ts";
import { logTopic } from "./topics.ts";

interface AttemptRow {
  readonly id: number;
  readonly attempt: number;
  readonly outcome: string | null;
  readonly log_state: "open" | "sealed" | "pruned";
  readonly next_offset: number;
  readonly next_line: number;
  readonly limit_bytes: number;
  readonly dropped_bytes: number;
}

/**
 * Appends bytes to the log of a running command. Repeating the call stores nothing twice.
 *
 * Input    fence: the fencing token of the claim. offset: the number of bytes written before these. data: 1 .. 65 536
 *          bytes
 * Result   { ackOffset, truncated }: everything before ackOffset is stored. truncated: the log has exceeded its limit,
 *          and its middle was cut out. A log of very small chunks may stay over its limit until later calls have cut
 *          out the rest
 * Fails    not_found | log_gap { expectedOffset } | log_sealed | lease_lost { currentFence } | lease_expired
 * Effect   one row of log_chunks, one row of attempts; no row of changes, because a log has its own cursor. Calls of
 *          one tick that follow each other without a gap are sent as one call of at most 65 536 bytes; ackOffset is
 *          then the end of them all
 * Cost     3 statements by key; beyond the limit 2 to 17 more, which cut out at most 1 024 chunks
 */
export const append = operation({
  access: "write",
  input: z.strictObject({
    commandId: Id,
    fence: Fence,
    offset: z.int().min(0),
    stream: z.enum(logStreams).default("stdout"),
    data: LogData,
  }),
  output: record({ ackOffset: integer, truncated: boolean }),
  errors: ["not_found", "log_gap", "log_sealed", "lease_lost", "lease_expired"],
  touches: ({ commandId }) => logTopic(commandId),
  joining: {
    // These failures may not apply to a part whose bytes are stored already (D-007).
    separateOn: ["log_sealed", "lease_lost", "lease_expired"],
    follows: (next, last, first) =>
      next.commandId === last.commandId &&
      next.fence === last.fence &&
      next.stream === last.stream &&
      next.offset === endOffset(last) &&
      endOffset(next) - first.offset <= bounds.logChunkBytes,
    join: (run) => ({ ...(run[0] as (typeof run)[number]), data: concatenate(run.map(({ data }) => data)) }),
  },
  *run({ commandId, fence, offset, stream, data }, { now, wake }) {
    const attempt = yield* first<OpenAttempt>(sql`
      SELECT
        id,
        outcome,
        log_state,
        next_offset,
        next_line,
        limit_bytes,
        dropped_bytes,
        (
          SELECT CASE WHEN commands.fence = attempts.fence THEN lease_expires_at END FROM commands WHERE id = command_id
        ) AS lease_expires_at
      FROM attempts
      WHERE command_id = ${commandId} AND fence = ${fence} ${forUpdate}`);
    if (attempt === undefined) return yield* refuseLostLease(commandId);
    const { id, next_offset, next_line, dropped_bytes } = attempt;
    const end = endOffset({ offset, data });
    if (end <= next_offset) return { ackOffset: next_offset, truncated: dropped_bytes > 0 ? 1 : 0 };
    if (attempt.outcome === "lost") return yield* refuseLostLease(commandId);
    if (attempt.log_state !== "open") {
      const message = `the log of command ${commandId} is ${attempt.log_state} at ${next_offset} bytes: stop appending`;
      fail("log_sealed", { nextOffset: next_offset }, message);
    }
    if (attempt.lease_expires_at === null) return yield* refuseLostLease(commandId);
    if (attempt.lease_expires_at <= now.getTime()) leaseExpired(attempt.lease_expires_at);
    if (offset > next_offset) {
      const message = `the log of command ${commandId} has ${next_offset} bytes, so bytes are missing before ${offset}`;
      fail("log_gap", { expectedOffset: next_offset }, message);
    }
    const fresh = data.subarray(next_offset - offset);
    const lines = countLines(fresh);
    const dropped = dropped_bytes + (end - dropped_bytes <= attempt.limit_bytes ? 0 : yield* dropMiddle(attempt, end));
    yield* changeEach([
      sql`
        UPDATE attempts SET
          next_offset = ${end},
          next_line = ${next_line + lines},
          dropped_bytes = ${dropped}
        WHERE id = ${id}`,
      sql`
        INSERT INTO log_chunks (
          attempt_id,
          start_offset,
          byte_length,
          start_line,
          line_count,
          stream,
          at,
          data
        ) VALUES (
          ${id},
          ${next_offset},
          ${fresh.byteLength},
          ${next_line},
          ${lines},
          ${stream},
          ${now},
          ${fresh}
        )`,
    ]);
    wake(logTopic(commandId));
    return { ackOffset: end, truncated: dropped > 0 ? 1 : 0 };
  },
});

/** Returns the offset after the last of the bytes. */
function endOffset({ offset, data }: { readonly offset: number; readonly data: Uint8Array }): number {
  return offset + data.byteLength;
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.byteLength;
  }
  return whole;
}

/**
 * An attempt with the expiry of its command's lease; null when the lease is not, or no longer, that of this attempt.
 */
interface OpenAttempt extends Omit<AttemptRow, "attempt"> {
  readonly lease_expires_at: number | null;
}

/** Fails with `lease_lost`, or with `not_found` when there is no such command. */
const refuseLostLease = step(function* (commandId: string) {
  const command = yield* first<{ fence: number }>(sql`SELECT fence FROM commands WHERE id = ${commandId}`);
  if (command === undefined) notFound("command", commandId);
  const message = `the lease of command ${commandId} is lost: its current fence is ${command.fence}`;
  return fail("lease_lost", { currentFence: command.fence }, message);
});

/**
 * The bounds of what one call cuts out: more than it adds, so that a log returns to its limit; enough that not every
 * call has to cut; and little enough to hold up no other call.
 */
const cut = { bytesMin: 4_096, bytesMax: 4 * bounds.logChunkBytes, chunksMax: 1_024, chunksPerRead: 64 };

/**
 * Cuts chunks out of the middle of a log and returns the number of their bytes. The first half of the limit stays for
 * good; after it the oldest chunks go, so that the end of a log is always there (D-033).
 */
const dropMiddle = step(function* (attempt: OpenAttempt, end: number) {
  const excess = end - attempt.dropped_bytes - attempt.limit_bytes;
  const needed = Math.min(Math.max(excess, cut.bytesMin), cut.bytesMax);
  const keptUpTo = Math.floor(attempt.limit_bytes / 2);
  let [from, dropped] = [keptUpTo, 0];
  for (let chunks = 0; dropped < needed && chunks < cut.chunksMax; chunks += cut.chunksPerRead) {
    const oldest = yield* all<{ start_offset: number; byte_length: number }>(sql`
      SELECT start_offset, byte_length FROM log_chunks
      WHERE attempt_id = ${attempt.id} AND start_offset >= ${from}
      ORDER BY start_offset LIMIT ${cut.chunksPerRead}`);
    for (const { start_offset, byte_length } of oldest) {
      if (dropped >= needed) break;
      dropped += byte_length;
      from = start_offset + byte_length;
    }
    if (oldest.length < cut.chunksPerRead) break;
  }
  yield* change(sql`
    DELETE FROM log_chunks
    WHERE attempt_id = ${attempt.id} AND start_offset >= ${keptUpTo} AND start_offset < ${from}`);
  return dropped;
});

const positionFields = {
  commandId: Id,
  /** The number of the attempt (default: the latest one). */
  attempt: z.int().positive().optional(),
  /** The start: a byte, a line (both count from 0), or so many lines before the end. Default: byte 0. */
  offset: z.int().min(0).optional(),
  line: z.int().min(0).optional(),
  lastLines: z.int().min(0).max(100_000).optional(),
  maxBytes: z
    .int()
    .min(1)
    .max(bounds.logReadBytes)
    .default(256 * 1024),
};
const hasOneStart = ({ offset, line, lastLines }: Omit<Position, "commandId" | "maxBytes">) =>
  [offset, line, lastLines].filter((value) => value !== undefined).length <= 1;
const oneStartRule = { error: "offset, line and lastLines exclude each other", path: ["offset"] };

/**
 * Reads a part of a log, of about maxBytes.
 *
 * Result   { attempt, chunks, nextOffset, endOffset, droppedBytes, ended, state }; pass nextOffset as `offset` to
 *          continue. The droppedBytes of a chunk is the number of bytes that were cut out just before it
 * Fails    not_found
 * Cost     1 statement by key for each 16 chunks, and a few more; about 20 more to find a line
 */
export const read = operation({
  access: "read",
  input: z.strictObject(positionFields).refine(hasOneStart, oneStartRule),
  output: LogPage,
  errors: ["not_found"],
  resultBytes: ({ maxBytes }) => maxBytes,
  *run(input) {
    return (yield* readLog(input)).page;
  },
});

/**
 * Follows a log as it grows: chunks from the position on, without gaps or duplicates, until the log is sealed.
 *
 * Input    as read. A command that has not started yet is waited for
 * Fails    not_found
 */
export const follow = operation({
  access: "read",
  input: z.strictObject({ ...positionFields, waitMs: WaitMs.default(20_000) }).refine(hasOneStart, oneStartRule),
  output: LogPage,
  errors: ["not_found"],
  waitMs: (input) => input.waitMs,
  stream: {
    items: (page): Chunk[] => page.chunks,
    next: ({ commandId, maxBytes, waitMs, ...from }, page) => {
      if (page.ended) return undefined;
      const start = page.attempt === 0 ? from : { attempt: page.attempt, offset: page.nextOffset };
      return { commandId, maxBytes, waitMs, ...start };
    },
  },
  *run(input) {
    const { page, waitsForMore } = yield* readLog(input);
    return waitsForMore ? new NotYet([logTopic(input.commandId)], page) : page;
  },
});

interface Position {
  readonly commandId: string;
  readonly attempt?: number | undefined;
  readonly offset?: number | undefined;
  readonly line?: number | undefined;
  readonly lastLines?: number | undefined;
  readonly maxBytes: number;
}

/** Reads a page of a log, and tells whether more can come while the page is empty. */
const readLog = step(function* (input: Position) {
  const command = yield* first<{ state: CommandState }>(sql`SELECT state FROM commands WHERE id = ${input.commandId}`);
  if (command === undefined) notFound("command", input.commandId);
  const attempt = yield* findAttempt(input);
  if (attempt === undefined) {
    if (input.attempt !== undefined) {
      const message = `command ${input.commandId} has no attempt ${input.attempt}`;
      fail("not_found", { entity: "attempt", attempt: input.attempt }, message);
    }
    const ended = isFinal(command.state);
    const emptyLog = { attempt: 0, chunks: [], nextOffset: 0, endOffset: 0, droppedBytes: 0 };
    const page: RawOf<typeof LogPage> = { ...emptyLog, ended: ended ? 1 : 0, state: ended ? "sealed" : "open" };
    return { page, waitsForMore: !ended };
  }
  const from = yield* findOffset(attempt, input);
  const chunks = yield* readChunks(attempt, from, input.maxBytes);
  const last = chunks.at(-1);
  const nextOffset = last === undefined ? from : last.offset + last.data.byteLength;
  const ended =
    attempt.log_state === "pruned"
      ? chunks.length === 0
      : attempt.log_state === "sealed" && nextOffset >= attempt.next_offset;
  const size = { endOffset: attempt.next_offset, droppedBytes: attempt.dropped_bytes };
  const page: RawOf<typeof LogPage> = {
    attempt: attempt.attempt,
    chunks,
    nextOffset,
    ...size,
    ended: ended ? 1 : 0,
    state: attempt.log_state,
  };
  return { page, waitsForMore: chunks.length === 0 && !ended };
});

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
 * Returns the number of the line that is `lastLines` before the end. Bytes after the last line break are a line too.
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
 * finds it; an index of lines would have to be kept by every append.
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

/** Reads chunks from an offset on, until they hold maxBytes or the log ends. The first chunk may be a part of a row. */
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
