// Blocks of archived logs: the form in which chunks are stored outside the database, and the rows of their index.
import type { logStreams } from "./vocabulary.ts";

/** The lines of a part of a log, which begins at `start_offset`: those before it, and those before its end. */
export interface LinePosition {
  readonly start_offset: number;
  readonly start_line: number;
  readonly end_line: number;
}

/** A chunk that begins a part of a log, and the time at which it was appended. */
export interface TimedPosition {
  readonly start_offset: number;
  readonly start_line: number;
  readonly at: number;
}

/** A chunk as bodies read it, from the database or from an archive. */
export interface StoredChunk {
  readonly start_offset: number;
  readonly byte_length: number;
  readonly start_line: number;
  readonly line_count: number;
  readonly stream: (typeof logStreams)[number];
  readonly at: number;
  readonly data: Uint8Array;
}

/** A row of the index: the part of the log that a block holds, and where the block is in its object. */
export interface BlockRow extends LinePosition {
  readonly end_offset: number;
  /** The number of bytes of the log in it. Where bytes were dropped, it is less than the offsets say. */
  readonly byte_length: number;
  readonly object_offset: number;
  readonly object_length: number;
  /** The size before compression, with the headers of the chunks. */
  readonly raw_length: number;
  /** The CRC-32 of the block as it is stored. */
  readonly checksum: number;
  /** The times of some chunks of the block, the first one included, as `formatTimes` writes them; null if they are not known. */
  readonly times: string | null;
}

/** Writes positions with their times as the index of blocks has them. */
export function formatTimes(positions: readonly TimedPosition[]): string {
  return JSON.stringify(positions.map(({ at, start_offset, start_line }) => [at, start_offset, start_line]));
}

/** Reads what `formatTimes` has written. */
export function parseTimes(times: string): readonly TimedPosition[] {
  return (JSON.parse(times) as [number, number, number][]).map(([at, start_offset, start_line]) => ({
    at,
    start_offset,
    start_line,
  }));
}

/** A block, with all that is needed to fetch and check it. */
export interface BlockAddress
  extends Pick<BlockRow, "object_offset" | "object_length" | "raw_length" | "checksum" | "byte_length"> {
  readonly uri: string;
}

/** The part of a block that is examined: that its object reaches to its end, or all that a reader relies on. */
export type ExamineDepth = "end" | "content";

/** The faults of blocks by name, null for one that has none; "no archive" where none can be examined. */
export type Examined = ReadonlyMap<string, string | null> | "no archive";

/** Names a block among all blocks of the store. */
export function blockName({ uri, object_offset }: Pick<BlockAddress, "uri" | "object_offset">): string {
  return `${object_offset} ${uri}`;
}

/**
 * The numbers in front of each chunk, 8 bytes each with the lowest byte first: start_offset, start_line, line_count, at,
 * stream (its place in `streams`), and the number of bytes that follow.
 */
const headerBytes = 48;
const streams: readonly StoredChunk["stream"][] = ["stdout", "stderr", "system"];

/** Returns the size of a chunk in a block. */
export function sizeInBlock({ byte_length }: Pick<StoredChunk, "byte_length">): number {
  return headerBytes + byte_length;
}

/** Writes chunks one after the other. */
export function encodeChunks(chunks: readonly StoredChunk[]): Uint8Array {
  const block = new Uint8Array(chunks.reduce((bytes, chunk) => bytes + sizeInBlock(chunk), 0));
  const view = new DataView(block.buffer);
  let at = 0;
  for (const chunk of chunks) {
    const { start_offset, start_line, line_count, stream, data } = chunk;
    for (const number of [start_offset, start_line, line_count, chunk.at, streams.indexOf(stream), data.byteLength]) {
      view.setBigInt64(at, BigInt(number), true);
      at += 8;
    }
    block.set(data, at);
    at += data.byteLength;
  }
  return block;
}

/** Reads the chunks of a block. Returns undefined when these are not the bytes that `encodeChunks` has written. */
export function decodeChunks(block: Uint8Array): readonly StoredChunk[] | undefined {
  const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
  const chunks: StoredChunk[] = [];
  for (let at = 0; at < block.byteLength; ) {
    if (at + headerBytes > block.byteLength) return undefined;
    const number = (index: number): number => Number(view.getBigInt64(at + 8 * index, true));
    const byte_length = number(5);
    const stream = streams[number(4)];
    const end = at + headerBytes + byte_length;
    if (stream === undefined || byte_length < 1 || end > block.byteLength) return undefined;
    chunks.push({
      start_offset: number(0),
      byte_length,
      start_line: number(1),
      line_count: number(2),
      stream,
      at: number(3),
      // A copy, which `slice` of a Buffer is not: a view would send the whole block to the client.
      data: new Uint8Array(block.subarray(at + headerBytes, end)),
    });
    at = end;
  }
  return chunks;
}
