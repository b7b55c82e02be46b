import { z } from "zod";
import { bounds } from "../limits.ts";
import { boolean, integer, type RawOf, record } from "../model/codec.ts";
import { isFinal } from "../model/commands.ts";
import { Fence, Id, WaitMs } from "../model/fields.ts";
import { type Chunk, countLines, LogData, LogPage, logStreams } from "../model/logs.ts";
import type { CommandState } from "../model/vocabulary.ts";
import { fail, NotYet, operation } from "../operation.ts";
import { all, and, change, changeEach, first, forUpdate, sql, step, when } from "../sql.ts";
import { notFound } from "./failures.ts";
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
 * Adds bytes to the log of a running command.
 *
 * Input    fence: of the claim; offset: how many bytes were written before these; data: 1 .. 65 536 bytes
 * Result   { ackOffset, truncated }: everything before ackOffset is stored. Bytes that were there already are dropped, so a repetition is safe.
 *          Beyond the log's limit its middle is cut out; truncated says that this has happened. A log of very small chunks may be over its limit
 *          until later calls have cut out the rest
 * Fails    not_found | log_gap { expectedOffset } | log_sealed | lease_lost { currentFence } | lease_expired
 * Effect   one row of log_chunks and of attempts; no row of changes, a log has its own cursor. Calls of one tick that go on where the one before ends
 *          are sent as one, of at most 65 536 bytes: then ackOffset is the end of them all
 * Cost     3 statements by key; beyond the limit 2 more, at most 17, which cut out at most 1 024 chunks
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
    // Not of a part that was there already (D-007).
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
      SELECT id, outcome, log_state, next_offset, next_line, limit_bytes, dropped_bytes,
        (SELECT CASE WHEN commands.fence = attempts.fence THEN lease_expires_at END FROM commands WHERE id = command_id) AS lease_expires_at
      FROM attempts WHERE command_id = ${commandId} AND fence = ${fence} ${forUpdate}`);
    if (attempt === undefined) return yield* refuseLostLease(commandId);
    const { id, next_offset, next_line, dropped_bytes } = attempt;
    const end = endOffset({ offset, data });
    if (end <= next_offset) return { ackOffset: next_offset, truncated: dropped_bytes > 0 ? 1 : 0 };
    if (attempt.outcome === "lost") return yield* refuseLostLease(commandId);
    if (attempt.log_state !== "open") fail("log_sealed", { nextOffset: next_offset });
    if (attempt.lease_expires_at === null) return yield* refuseLostLease(commandId);
    if (attempt.lease_expires_at <= now.getTime())
      fail("lease_expired", { expiredAt: new Date(attempt.lease_expires_at) });
    if (offset > next_offset) fail("log_gap", { expectedOffset: next_offset });
    const fresh = data.subarray(next_offset - offset);
    const lines = countLines(fresh);
    const dropped = dropped_bytes + (end - dropped_bytes <= attempt.limit_bytes ? 0 : yield* dropMiddle(attempt, end));
    yield* changeEach([
      sql`UPDATE attempts SET next_offset = ${end}, next_line = ${next_line + lines}, dropped_bytes = ${dropped} WHERE id = ${id}`,
      sql`
      INSERT INTO log_chunks (attempt_id, start_offset, byte_length, start_line, line_count, stream, at, data)
      VALUES (${id}, ${next_offset}, ${fresh.byteLength}, ${next_line}, ${lines}, ${stream}, ${now}, ${fresh})`,
    ]);
    wake(logTopic(commandId));
    return { ackOffset: end, truncated: dropped > 0 ? 1 : 0 };
  },
});

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

/** An attempt with the lease of its command; null when that is not, or no longer, this attempt's. */
interface OpenAttempt extends Omit<AttemptRow, "attempt"> {
  readonly lease_expires_at: number | null;
}

const refuseLostLease = step(function* (commandId: string) {
  const command = yield* first<{ fence: number }>(sql`SELECT fence FROM commands WHERE id = ${commandId}`);
  return command === undefined ? notFound("command", commandId) : fail("lease_lost", { currentFence: command.fence });
});

/**
 * What one call cuts out: more than it adds, so that a log comes back to its limit; little enough to hold up nobody; and so much that the next
 * calls need not do it again.
 */
const drop = { bytesMin: 4_096, bytesMax: 4 * bounds.logChunkBytes, chunksMax: 1_024, chunksPerRead: 64 };

/** The first half of the limit is kept for good; after it the oldest chunks go, so that the end of a log is always there (D-033). */
const dropMiddle = step(function* (attempt: OpenAttempt, end: number) {
  const over = end - attempt.dropped_bytes - attempt.limit_bytes;
  const needed = Math.min(Math.max(over, drop.bytesMin), drop.bytesMax);
  const keep = Math.floor(attempt.limit_bytes / 2);
  let [from, dropped] = [keep, 0];
  for (let chunks = 0; dropped < needed && chunks < drop.chunksMax; chunks += drop.chunksPerRead) {
    const oldest = yield* all<{ start_offset: number; byte_length: number }>(sql`
      SELECT start_offset, byte_length FROM log_chunks WHERE attempt_id = ${attempt.id} AND start_offset >= ${from} ORDER BY start_offset
      LIMIT ${drop.chunksPerRead}`);
    for (const { start_offset, byte_length } of oldest) {
      if (dropped >= needed) break;
      dropped += byte_length;
      from = start_offset + byte_length;
    }
    if (oldest.length < drop.chunksPerRead) break;
  }
  yield* change(
    sql`DELETE FROM log_chunks WHERE attempt_id = ${attempt.id} AND start_offset >= ${keep} AND start_offset < ${from}`,
  );
  return dropped;
});

const position = {
  commandId: Id,
  /** The latest attempt unless one is named. */
  attempt: z.int().positive().optional(),
  /** Where to begin: a byte, a line (both from 0), or so many lines before the end. The beginning unless one is named. */
  offset: z.int().min(0).optional(),
  line: z.int().min(0).optional(),
  lastLines: z.int().min(0).max(100_000).optional(),
  maxBytes: z
    .int()
    .min(1)
    .max(bounds.logReadBytes)
    .default(256 * 1024),
};
const onePosition = (input: {
  offset?: number | undefined;
  line?: number | undefined;
  lastLines?: number | undefined;
}) => [input.offset, input.line, input.lastLines].filter((value) => value !== undefined).length <= 1;
const onePositionRule = { error: "name one of offset, line and lastLines", path: ["offset"] };

/**
 * A part of a log, of about maxBytes.
 *
 * Result   { attempt, chunks, nextOffset, endOffset, droppedBytes, ended, state }; read on from nextOffset. A chunk's droppedBytes tells what was cut out before it
 * Fails    not_found
 * Cost     a few statements by key, one for each 16 chunks; about 20 more to find a line
 */
export const read = operation({
  access: "read",
  input: z.strictObject(position).refine(onePosition, onePositionRule),
  output: LogPage,
  errors: ["not_found"],
  resultBytes: ({ maxBytes }) => maxBytes,
  *run(input) {
    return (yield* readLog(input)).page;
  },
});

/**
 * The log as it grows: chunks from the position on, without gap or repetition between what was there and what comes, until the log is sealed.
 *
 * Input    as read; a command that has not begun is waited for
 * Fails    not_found
 */
export const follow = operation({
  access: "read",
  input: z.strictObject({ ...position, waitMs: WaitMs.default(20_000) }).refine(onePosition, onePositionRule),
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

const readLog = step(function* (input: Position) {
  const command = yield* first<{ state: CommandState }>(sql`SELECT state FROM commands WHERE id = ${input.commandId}`);
  if (command === undefined) notFound("command", input.commandId);
  const attempt = yield* findAttempt(input);
  if (attempt === undefined) {
    if (input.attempt !== undefined) fail("not_found", { entity: "attempt", attempt: input.attempt });
    const ended = isFinal(command.state);
    const nothing = { attempt: 0, chunks: [], nextOffset: 0, endOffset: 0, droppedBytes: 0 };
    const page: RawOf<typeof LogPage> = { ...nothing, ended: ended ? 1 : 0, state: ended ? "sealed" : "open" };
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
  const which = and(when(attempt, (number) => sql`attempt = ${number}`));
  return yield* first<AttemptRow>(
    sql`SELECT * FROM attempts WHERE command_id = ${commandId} AND ${which} ORDER BY attempt DESC LIMIT 1`,
  );
});

const findOffset = step(function* (attempt: AttemptRow, { offset, line, lastLines }: Position) {
  if (lastLines !== undefined) return yield* offsetOfLine(attempt, yield* firstOfLast(attempt, lastLines));
  return line === undefined ? (offset ?? 0) : yield* offsetOfLine(attempt, line);
});

/** The bytes after the last line break are a line too, if there are any. */
const firstOfLast = step(function* (attempt: AttemptRow, lastLines: number) {
  const last = yield* first<{ data: Uint8Array }>(sql`
    SELECT data FROM log_chunks WHERE attempt_id = ${attempt.id} ORDER BY start_offset DESC LIMIT 1`);
  const unended = last !== undefined && last.data.at(-1) !== 10 ? 1 : 0;
  return Math.max(0, attempt.next_line + unended - lastLines);
});

interface ChunkPosition {
  readonly start_offset: number;
  readonly byte_length: number;
  readonly start_line: number;
  readonly line_count: number;
}

/** Lines grow with offsets, so a search by halves over the primary key does without an index of lines, which every append would have to keep. */
const offsetOfLine = step(function* (attempt: AttemptRow, line: number) {
  if (line === 0) return 0;
  let [low, high] = [0, attempt.next_offset];
  let found: ChunkPosition | undefined;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const place = yield* first<ChunkPosition>(sql`
      SELECT start_offset, byte_length, start_line, line_count FROM log_chunks
      WHERE attempt_id = ${attempt.id} AND start_offset <= ${middle} ORDER BY start_offset DESC LIMIT 1`);
    if (place === undefined || place.start_line + place.line_count < line) low = middle + 1;
    else {
      found = place;
      high = place.start_offset;
    }
  }
  if (found === undefined) return attempt.next_offset;
  if (found.start_line >= line) return found.start_offset;
  const chunk = yield* first<{ data: Uint8Array }>(sql`
    SELECT data FROM log_chunks WHERE attempt_id = ${attempt.id} AND start_offset = ${found.start_offset}`);
  let at = -1;
  for (let skipped = found.start_line; skipped < line; skipped++)
    at = (chunk?.data ?? new Uint8Array()).indexOf(10, at + 1);
  return found.start_offset + at + 1;
});

interface ChunkRow extends ChunkPosition {
  readonly stream: (typeof logStreams)[number];
  readonly at: number;
  readonly data: Uint8Array;
}

const readChunks = step(function* (attempt: AttemptRow, from: number, maxBytes: number) {
  const before = yield* first<ChunkPosition>(sql`
    SELECT start_offset, byte_length, start_line, line_count FROM log_chunks
    WHERE attempt_id = ${attempt.id} AND start_offset <= ${from} ORDER BY start_offset DESC LIMIT 1`);
  const within = before !== undefined && before.start_offset + before.byte_length > from;
  const chunks: RawOf<typeof Chunk>[] = [];
  let [start, expected, read] = [within ? before.start_offset : from, from, 0];
  while (read < maxBytes) {
    const rows = yield* all<ChunkRow>(sql`
      SELECT start_offset, byte_length, start_line, line_count, stream, at, data FROM log_chunks
      WHERE attempt_id = ${attempt.id} AND start_offset >= ${start} ORDER BY start_offset LIMIT 16`);
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
    if (rows.length < 16) break;
    start = expected;
  }
  return chunks;
});
