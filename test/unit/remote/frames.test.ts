// Frames carry every value that envelopes and answers have, in any pieces, and refuse what is no frame.
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { encodeFrame, FrameReader } from "../../../src/remote/frames.ts";

const value = fc.letrec((tie) => ({
  any: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom(undefined, null, true, false, -0, Number.NaN, Number.POSITIVE_INFINITY, 10n ** 30n),
    fc.double(),
    fc.string({ unit: "binary" }),
    fc.uint8Array({ maxLength: 50 }),
    fc.date({ noInvalidDate: false }),
    fc.array(tie("any"), { maxLength: 5 }),
    fc.dictionary(fc.oneof(fc.string(), fc.constant("$")), tie("any"), { maxKeys: 5 }).map((found) => {
      const { ["__proto__"]: _, ...plain } = found;
      return plain;
    }),
  ),
})).any;

suite("frames", { concurrency: true }, () => {
  test("what is encoded is decoded, however the bytes arrive", () => {
    fc.assert(
      fc.property(fc.array(value, { maxLength: 4 }), fc.integer({ min: 1, max: 40 }), (values, pieceBytes) => {
        const bytes = Buffer.concat(values.map(encodeFrame));
        const reader = new FrameReader();
        const read: unknown[] = [];
        for (let at = 0; at < bytes.byteLength; at += pieceBytes)
          read.push(...reader.read(bytes.subarray(at, at + pieceBytes)));
        assert.deepEqual(read, values);
        assert.equal(reader.isWithinFrame, false);
      }),
    );
  });

  test("a frame that is too large is refused by its head, and a malformed one wherever it is wrong", () => {
    const large = encodeFrame("x".repeat(1_000));
    assert.throws(() => new FrameReader(500).read(large.subarray(0, 8)), {
      code: "invalid_input",
      message: /at most 500/,
    });
    const whole = encodeFrame({ bytes: new Uint8Array([1, 2, 3]), text: "text", at: new Date(0) });
    fc.assert(
      fc.property(fc.integer({ min: 4, max: whole.byteLength - 1 }), fc.integer({ min: 0, max: 255 }), (at, byte) => {
        const broken = Buffer.from(whole);
        broken[at] = byte;
        try {
          new FrameReader().read(broken);
        } catch (error) {
          assert.equal((error as { code?: string }).code, "invalid_input");
        }
      }),
      { numRuns: 1_000 },
    );
    assert.throws(() => new FrameReader().read(encodeRaw('{"a":{"$":"bytes","of":[0,9]}}')), { code: "invalid_input" });
    assert.throws(() => new FrameReader().read(encodeRaw('{"__proto__":{}}')), { code: "invalid_input" });
    assert.throws(() => new FrameReader().read(encodeRaw('{"$":"function"}')), { code: "invalid_input" });
    const deep = `${"[".repeat(100_000)}${"]".repeat(100_000)}`;
    assert.throws(() => new FrameReader().read(encodeRaw(deep)), { code: "invalid_input" });
  });
});

function encodeRaw(json: string): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(4 + json.length, 0);
  head.writeUInt32BE(json.length, 4);
  return Buffer.concat([head, Buffer.from(json)]);
}
