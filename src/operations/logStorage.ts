// The chunks of a log where they are: in the database, or in the blocks of an archived log (D-119). Bodies do no I/O, so
// one that needs a block which is not at hand ends, and runs again with the block in its context.
import type { Context } from "../context.ts";
import {
  type BlockAddress,
  type BlockRow,
  blockName,
  type LinePosition,
  parseTimes,
  type StoredChunk,
  type TimedPosition,
} from "../model/logBlocks.ts";
import { countLines } from "../model/logs.ts";
import type { LogStream } from "../model/vocabulary.ts";
import { endForBlocks } from "../operation.ts";
import { all, type Body, first, sql, step } from "../sql.ts";

/** The row of an attempt, as far as reading its log needs it. */
export interface LogRow {
  readonly id: number;
  readonly next_offset: number;
  /** The object of an archived log. Its chunks in the database, if some are left, are being deleted. */
  readonly log_uri: string | null;
}

/** Some chunks of a log, in their order. */
export interface SomeChunks {
  readonly chunks: readonly StoredChunk[];
  /** True when no chunk follows these. */
  readonly areLast: boolean;
}

/** One stream of a log, or several; undefined for all of them. */
export type StreamFilter = LogStream | readonly LogStream[] | undefined;

/** Checks whether a chunk is of the streams that a caller wants. */
export function isOfStream({ stream }: StoredChunk, wanted: StreamFilter): boolean {
  return wanted === undefined || wanted === stream || wanted.includes(stream);
}

/** Returns the part of a chunk from an offset on, which may be before it. */
export function partFrom({ start_offset, start_line, data }: StoredChunk, from: number) {
  const skipped = Math.max(0, from - start_offset);
  const startLine = start_line + (skipped === 0 ? 0 : countLines(data.subarray(0, skipped)));
  return { offset: start_offset + skipped, startLine, data: data.subarray(skipped) };
}

const chunksPerRead = 16;
const blocksPerRead = 16;

/** Checks whether the log ends within a line. */
export const endsWithinLine = step(function* (log: LogRow, context: Context) {
  let last: { readonly data: Uint8Array } | undefined;
  if (log.log_uri === null)
    last = yield* first<{ data: Uint8Array }>(sql`
      SELECT data FROM log_chunks WHERE attempt_id = ${log.id} ORDER BY start_offset DESC LIMIT 1`);
  else {
    const block = yield* blockAt(log.id, log.next_offset);
    last = block && blocksOf(log.log_uri, [block], context).at(-1);
  }
  return last !== undefined && last.data.at(-1) !== 10;
});

/**
 * Returns the first chunk at whose end the line has begun. Line numbers grow with offsets, so a binary search over the
 * primary key finds it; every append would have to maintain an index of lines.
 */
export const chunkOfLine = step(function* (log: LogRow, line: number, context: Context) {
  if (log.log_uri !== null) {
    const block = yield* firstReaching(log, line, blockAt);
    const chunks = block === undefined ? [] : blocksOf(log.log_uri, [block], context);
    return chunks.find(({ start_line, line_count }) => start_line + line_count >= line);
  }
  const chunk = yield* firstReaching(log, line, chunkAt);
  if (chunk === undefined) return undefined;
  return yield* first<StoredChunk>(sql`
    SELECT * FROM log_chunks WHERE attempt_id = ${log.id} AND start_offset = ${chunk.start_offset}`);
});

/** Returns the first part of a log at whose end the line has begun. `partAt` finds the part at an offset. */
const firstReaching = step(function* <Part extends LinePosition>(
  log: LogRow,
  line: number,
  partAt: (attemptId: number, offset: number) => Body<Part | undefined>,
): Body<Part | undefined> {
  let [low, high] = [0, log.next_offset];
  let candidate: Part | undefined;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const part = yield* partAt(log.id, middle);
    if (part === undefined || part.end_line < line) low = middle + 1;
    else {
      candidate = part;
      high = part.start_offset;
    }
  }
  return candidate;
});

/**
 * Returns chunks from an offset on, the first of which may begin before it, unless `isBoundary` says that none does.
 * `wantedBytes` is the number of bytes that are read at least, unless the log ends: blocks are fetched together, and no
 * more of them than needed.
 */
export const chunksFrom = step(function* (
  log: LogRow,
  {
    from,
    isBoundary,
    wantedBytes,
    chunksMax = chunksPerRead,
  }: {
    readonly from: number;
    readonly isBoundary: boolean;
    readonly wantedBytes: number;
    readonly chunksMax?: number;
  },
  context: Context,
) {
  return yield* log.log_uri === null
    ? storedChunks(log.id, from, isBoundary, chunksMax)
    : archivedChunks(log.id, log.log_uri, from, wantedBytes, context);
});

const storedChunks = step(function* (
  attemptId: number,
  from: number,
  isBoundary: boolean,
  chunksMax: number,
): Body<SomeChunks> {
  const before = isBoundary ? undefined : yield* chunkAt(attemptId, from);
  const start = before !== undefined && before.start_offset + before.byte_length > from ? before.start_offset : from;
  const chunks = yield* all<StoredChunk>(sql`
    SELECT * FROM log_chunks
    WHERE attempt_id = ${attemptId} AND start_offset >= ${start}
    ORDER BY start_offset LIMIT ${chunksMax}`);
  return { chunks, areLast: chunks.length < chunksMax };
});

const archivedChunks = step(function* (
  attemptId: number,
  uri: string,
  from: number,
  wantedBytes: number,
  context: Context,
): Body<SomeChunks> {
  const before = yield* blockAt(attemptId, from);
  const start = before !== undefined && before.end_offset > from ? before.start_offset : from;
  const rows = yield* all<BlockRow>(sql`
    SELECT * FROM log_blocks
    WHERE attempt_id = ${attemptId} AND start_offset >= ${start}
    ORDER BY start_offset LIMIT ${blocksPerRead}`);
  let [count, bytes] = [0, 0];
  for (const { start_offset, byte_length } of rows) {
    if (bytes >= wantedBytes) break;
    count++;
    // The first block may begin before `from`. Its bytes up to there were not asked for, so they do not count.
    bytes += Math.max(0, byte_length - Math.max(0, from - start_offset));
  }
  return {
    chunks: blocksOf(uri, rows.slice(0, count), context).filter(
      (chunk) => chunk.start_offset + chunk.byte_length > from,
    ),
    areLast: count === rows.length && rows.length < blocksPerRead,
  };
});

/** A part of a log whose time is known, up to where the next one may begin. */
interface TimedPart extends TimedPosition {
  readonly end_offset: number;
}

/**
 * Returns the last part that begins at or before an offset and whose time is known: a chunk, and in an archived log what begins
 * with a chunk that its index has, so that no block is read. Undefined if there is none.
 */
export const timedPartAt = step(function* (log: LogRow, offset: number): Body<TimedPart | undefined> {
  if (log.log_uri === null) {
    const chunk = yield* chunkAt(log.id, offset);
    return chunk && { ...chunk, end_offset: chunk.start_offset + chunk.byte_length };
  }
  const block = yield* blockAt(log.id, offset);
  if (block === undefined || block.times === null) return undefined;
  const parts = parseTimes(block.times);
  const index = parts.findLastIndex(({ start_offset }) => start_offset <= offset);
  const part = parts[index];
  return part && { ...part, end_offset: parts[index + 1]?.start_offset ?? block.end_offset };
});

/** Returns the position of the last chunk that starts at or before an offset. */
const chunkAt = step(function* (attemptId: number, offset: number) {
  return yield* first<LinePosition & TimedPosition & { readonly byte_length: number }>(sql`
    SELECT start_offset, byte_length, start_line, start_line + line_count AS end_line, at FROM log_chunks
    WHERE attempt_id = ${attemptId} AND start_offset <= ${offset}
    ORDER BY start_offset DESC LIMIT 1`);
});

/** Returns the last block that starts at or before an offset. */
const blockAt = step(function* (attemptId: number, offset: number) {
  return yield* first<BlockRow>(sql`
    SELECT * FROM log_blocks
    WHERE attempt_id = ${attemptId} AND start_offset <= ${offset}
    ORDER BY start_offset DESC LIMIT 1`);
});

/** Returns the chunks of blocks. When some of the blocks are not at hand, ends the body to have them fetched. */
function blocksOf(uri: string, rows: readonly BlockRow[], context: Context): readonly StoredChunk[] {
  const missing: BlockAddress[] = [];
  const chunks: StoredChunk[] = [];
  for (const { object_offset, object_length, raw_length, checksum, byte_length } of rows) {
    const address = { uri, object_offset, object_length, raw_length, checksum, byte_length };
    const block = context.block(blockName(address));
    if (block === undefined) missing.push(address);
    else for (const chunk of block) chunks.push(chunk);
  }
  return missing.length === 0 ? chunks : endForBlocks(missing);
}
