// The object of an archived log: zstd frames one after the other, each a block of whole chunks. A block can be read and
// checked by itself, and `zstd -d` reads the whole object.
import { promisify } from "node:util";
// Not by their names: a Node that lacks them could not load this package, and say that it is too old.
import * as zlib from "node:zlib";
import { StoreError } from "../errors.ts";
import {
  type BlockAddress,
  type BlockRow,
  decodeChunks,
  encodeChunks,
  formatTimes,
  type StoredChunk,
  sizeInBlock,
} from "../model/logBlocks.ts";
import { TimeMarks } from "./timeMarks.ts";

const compress = (raw: Uint8Array): Promise<Buffer> => promisify(zlib.zstdCompress)(raw);
const decompress = (frame: Uint8Array, options: zlib.ZstdOptions): Promise<Buffer> =>
  promisify(zlib.zstdDecompress)(frame, options);

/**
 * The size of a block before compression. A reader fetches whole blocks, so a small one suits a short read; zstd gains
 * little from more. Larger logs get larger blocks, so that their index has at most `blocksMax` rows or so.
 */
const blockBytes = 128 * 1024;
export const blocksMax = 1_024;

/** A log in the form of an archive. */
export interface PackedLog {
  readonly object: Uint8Array;
  readonly blocks: readonly BlockRow[];
}

/** Packs the chunks of a log of `logBytes` bytes, which arrive in their order. */
export async function packLog(pages: AsyncIterable<readonly StoredChunk[]>, logBytes: number): Promise<PackedLog> {
  const frames: Uint8Array[] = [];
  const blocks: (Omit<BlockRow, "times"> & { readonly head: StoredChunk })[] = [];
  const marks = new TimeMarks();
  let [objectOffset, size] = [0, 0];
  let chunks: StoredChunk[] = [];
  const sizeMin = Math.max(blockBytes, Math.ceil((2 * logBytes) / blocksMax));
  const endBlock = async (): Promise<void> => {
    const raw = encodeChunks(chunks);
    const frame = await compress(raw);
    blocks.push({
      ...extentOf(chunks),
      head: chunks[0] as StoredChunk,
      object_offset: objectOffset,
      object_length: frame.byteLength,
      raw_length: raw.byteLength,
      checksum: zlib.crc32(frame),
    });
    frames.push(frame);
    objectOffset += frame.byteLength;
    [size, chunks] = [0, []];
  };
  for await (const page of pages) {
    for (const chunk of page) {
      chunks.push(chunk);
      marks.add(chunk);
      size += sizeInBlock(chunk);
      if (size >= sizeMin) await endBlock();
    }
  }
  if (chunks.length > 0) await endBlock();
  return { object: Buffer.concat(frames), blocks: blocks.map((block) => withTimes(block, marks)) };
}

/** Adds the times in a block to its row, once all marks are known. A reader relies on that of the first chunk. */
function withTimes({ head, ...block }: Omit<BlockRow, "times"> & { readonly head: StoredChunk }, marks: TimeMarks) {
  const later = marks.between(block.start_offset + 1, block.end_offset);
  return { ...block, times: formatTimes([head, ...later]) };
}

/** Returns the part of the log that chunks hold. */
function extentOf(chunks: readonly StoredChunk[]) {
  const [head, last] = [chunks[0] as StoredChunk, chunks.at(-1) as StoredChunk];
  return {
    start_offset: head.start_offset,
    end_offset: last.start_offset + last.byte_length,
    byte_length: chunks.reduce((bytes, { byte_length }) => bytes + byte_length, 0),
    start_line: head.start_line,
    end_line: last.start_line + last.line_count,
  };
}

/** Returns the chunks in a block that was read from an archive. Fails with `corrupt` unless it is the block. */
export async function unpackBlock(frame: Uint8Array, address: BlockAddress): Promise<readonly StoredChunk[]> {
  const { object_length, raw_length, checksum, byte_length } = address;
  if (frame.byteLength !== object_length)
    throw damaged(address, `it has ${frame.byteLength} of ${object_length} bytes`);
  if (zlib.crc32(frame) !== checksum) throw damaged(address, "its checksum is wrong");
  const raw = await decompress(frame, { maxOutputLength: raw_length }).catch((error: unknown) => {
    throw damaged(address, (error as Error).message);
  });
  const chunks = decodeChunks(raw);
  if (chunks === undefined || chunks.reduce((bytes, chunk) => bytes + chunk.byte_length, 0) !== byte_length)
    throw damaged(address, "it holds something else");
  return chunks;
}

function damaged({ uri, object_offset }: BlockAddress, why: string): StoreError {
  return new StoreError("corrupt", `${uri}: the block at ${object_offset} is damaged: ${why}`, {
    details: { reason: "log_archive", uri },
  });
}
