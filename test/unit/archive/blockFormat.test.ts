// The blocks of archived logs: packing, unpacking, and what is not a block.
import assert from "node:assert/strict";
import { it } from "node:test";
import { zstdDecompressSync } from "node:zlib";
import fc from "fast-check";
import { blocksMax, packLog, unpackBlock } from "../../../src/archive/blockFormat.ts";
import { marksMax } from "../../../src/archive/timeMarks.ts";
import {
  type BlockRow,
  decodeChunks,
  encodeChunks,
  parseTimes,
  type StoredChunk,
} from "../../../src/model/logBlocks.ts";
import { countLines } from "../../../src/model/logs.ts";

const streams = ["stdout", "stderr", "system"] as const;

/** Returns chunks that follow each other, some after a hole. */
const chunkList = fc
  .array(
    fc.record({
      data: fc.uint8Array({ minLength: 1, maxLength: 300 }),
      hole: fc.oneof(fc.constant(0), fc.nat(1_000)),
      stream: fc.constantFrom(...streams),
      at: fc.integer({ min: -1, max: 4_000_000_000_000 }),
    }),
    { minLength: 1, maxLength: 20 },
  )
  .map((parts) => {
    let [offset, line] = [0, 0];
    return parts.map(({ data, hole, stream, at }): StoredChunk => {
      const start_offset = offset + hole;
      offset = start_offset + data.byteLength;
      const line_count = countLines(data);
      const start_line = line;
      line += line_count;
      return { start_offset, byte_length: data.byteLength, start_line, line_count, stream, at, data };
    });
  });

async function* pagesOf(...pages: (readonly StoredChunk[])[]) {
  yield* pages;
}

it("a packed log is unpacked block by block, and its object is one zstd file", async () => {
  await fc.assert(
    fc.asyncProperty(chunkList, async (chunks) => {
      const half = Math.floor(chunks.length / 2);
      const { object, blocks } = await packLog(pagesOf(chunks.slice(0, half), [], chunks.slice(half)), 0);
      const unpacked: StoredChunk[] = [];
      for (const block of blocks) unpacked.push(...(await unpackBlock(frameOf(object, block), addressOf(block))));
      assert.deepEqual(unpacked, chunks);
      // A view of the block would send all of it with each chunk.
      for (const { data } of unpacked) assert.equal(data.buffer.byteLength, data.byteLength);
      assert.deepEqual(new Uint8Array(zstdDecompressSync(object)), encodeChunks(chunks));
    }),
    { numRuns: 50 },
  );
});

it("the index has a row for about 128 KiB, and at most about a thousand rows for a log of any size", async () => {
  const chunk = (n: number, size: number): StoredChunk => ({
    start_offset: n * size,
    byte_length: size,
    start_line: n,
    line_count: 0,
    stream: "stdout",
    at: n,
    data: new Uint8Array(size),
  });
  const small = await packLog(pagesOf(Array.from({ length: 64 }, (_, n) => chunk(n, 65_536))), 64 * 65_536);
  assert.deepEqual([small.blocks.length, small.blocks[1]?.start_offset], [32, 131_072]);
  assert.ok(small.object.byteLength < 4_096);
  // What a log of 4 GiB would get.
  const large = await packLog(pagesOf(Array.from({ length: 256 }, (_, n) => chunk(n, 65_536))), 4 * 1024 ** 3);
  assert.equal(large.blocks.length * ((4 * 1024 ** 3) / (256 * 65_536)), blocksMax / 2);
});

it("changed bytes are never unpacked, wherever they are changed", async () => {
  const data = new TextEncoder().encode("a line\n");
  const chunk = {
    start_offset: 0,
    byte_length: 7,
    start_line: 0,
    line_count: 1,
    stream: "stdout",
    at: 0,
    data,
  } as const;
  const { object, blocks } = await packLog(pagesOf([chunk]), 7);
  const address = addressOf(blocks[0] as BlockRow);
  for (let at = 0; at < object.byteLength; at++) {
    const damaged = Uint8Array.from(object, (byte, index) => (index === at ? byte ^ 0x40 : byte));
    await assert.rejects(unpackBlock(damaged, address), { code: "corrupt" });
  }
  await assert.rejects(unpackBlock(object.subarray(1), address), { code: "corrupt" });
  // A whole block of another log, and a size that the index does not name.
  await assert.rejects(unpackBlock(object, { ...address, byte_length: 8 }), { code: "corrupt" });
  await assert.rejects(unpackBlock(object, { ...address, raw_length: 20 }), { code: "corrupt" });
});

it("any bytes are either chunks or refused", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (block) => {
      const chunks = decodeChunks(block);
      assert.ok(
        chunks === undefined || chunks.reduce((sum, { data }) => sum + 48 + data.byteLength, 0) === block.byteLength,
      );
    }),
  );
  const negative = encodeChunks([
    { start_offset: 0, byte_length: 1, start_line: 0, line_count: 0, stream: "stdout", at: 0, data: new Uint8Array(1) },
  ]);
  new DataView(negative.buffer).setBigInt64(40, -48n, true);
  assert.equal(decodeChunks(negative), undefined);
});

function frameOf(object: Uint8Array, { object_offset, object_length }: BlockRow): Uint8Array {
  return object.subarray(object_offset, object_offset + object_length);
}

function addressOf(block: BlockRow) {
  return { ...block, uri: "archive:ab/one" };
}

it("the index has few times, of which one is near every chunk, whatever the clock did", async () => {
  const timed = (times: readonly number[]) =>
    times.map((at, n) => ({
      start_offset: n,
      byte_length: 1,
      start_line: 0,
      line_count: 0,
      stream: "stdout" as const,
      at,
      data: new Uint8Array(1),
    }));
  const steady = Array.from({ length: 5_000 }, (_, n) => 1_000 + 7 * n);
  const patterns = {
    steady,
    "silent for long": steady.map((at, n) => (n > 4_000 ? at + 10_000_000 : at)),
    "at one time": steady.map(() => 1_000),
    "set back once": steady.map((at, n) => (n > 2_500 ? at - 15_000 : at)),
    "back and forth": steady.map((_, n) => (n % 2 === 0 ? 1_000 : 1_000_000_000)),
  };
  for (const [name, times] of Object.entries(patterns)) {
    const { blocks } = await packLog(pagesOf(timed(times)), times.length);
    const marks = blocks.flatMap(({ start_offset, times: text }) => {
      const found = parseTimes(text as string);
      assert.equal(found[0]?.start_offset, start_offset, name);
      return found;
    });
    assert.ok(marks.length <= marksMax + blocks.length, `${name}: ${marks.length}`);
    for (const { at, start_offset } of marks) assert.equal(at, times[start_offset], name);
    const most = Math.max(...times);
    const spanMs = (most - Math.min(...times)) / 256;
    // What was written before the first mark that is not earlier than a moment, was written hardly later than the moment.
    for (let time = Math.min(...times); time <= most; time += Math.max(1, spanMs)) {
      const before = marks.find(({ at }) => at >= time)?.start_offset ?? times.length;
      const late = Math.max(0, ...times.slice(0, before)) - time;
      assert.ok(late <= Math.max(1, spanMs), `${name}: ${late} of ${spanMs}`);
    }
  }
  const few = await packLog(pagesOf(timed([5, 5, 6, 900, 900, 901])), 6);
  assert.deepEqual(
    parseTimes(few.blocks[0]?.times as string).map(({ start_offset }) => start_offset),
    [0, 2, 3, 5],
  );
});
