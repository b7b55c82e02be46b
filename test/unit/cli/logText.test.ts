// Chunks of a log as text: characters are decoded over the chunks of a stream, and JSON loses no byte.
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { type ChunkJson, chunkToJson, terminalText } from "../../../src/cli/logText.ts";
import type { Chunk } from "../../../src/model/logs.ts";

function chunk(data: Uint8Array | string, more: Partial<Chunk> = {}): Chunk {
  return {
    attempt: 1,
    offset: 0,
    droppedBytes: 0,
    startLine: 0,
    stream: "stdout",
    at: new Date(0),
    data: typeof data === "string" ? Buffer.from(data, "latin1") : data,
    ...more,
  };
}

/** Returns the bytes that a reader of the JSON gets back. */
function bytesOf(lines: readonly ChunkJson[]): Buffer {
  return Buffer.concat(
    lines.map(({ text, dataBase64 }) =>
      dataBase64 === undefined ? Buffer.from(text) : Buffer.from(dataBase64, "base64"),
    ),
  );
}

suite("log text", () => {
  test("a character that is split over chunks is whole in the text, wherever it is split", () => {
    const data = Buffer.from("a\u2014b\u{1f600}c\ufffd\ufeffd\n");
    for (let first = 0; first <= data.length; first++)
      for (let second = first; second <= data.length; second++) {
        const parts = [data.subarray(0, first), data.subarray(first, second), data.subarray(second)];
        const toJson = chunkToJson();
        const lines = parts.map((part) => toJson(chunk(part)));
        assert.equal(lines.map(({ text }) => text).join(""), data.toString());
        assert.ok(bytesOf(lines).equals(data));
        const out = terminalText();
        assert.equal(parts.map((part) => out.print(chunk(part))).join("") + out.end(), data.toString());
      }
  });

  test("each stream has its own characters", () => {
    const [toJson, out] = [chunkToJson(), terminalText()];
    const chunks = [
      chunk("\xe2\x80"),
      chunk("\xc3", { stream: "stderr" }),
      chunk("\x94"),
      chunk("\xa9", { stream: "stderr" }),
    ];
    assert.deepEqual(
      chunks.map((one) => toJson(one).text),
      ["", "", "\u2014", "\u00e9"],
    );
    assert.equal(chunks.map((one) => out.print(one)).join(""), "\u2014\u00e9");
  });

  test("bytes that are not text are in dataBase64, and text has none", () => {
    const toJson = chunkToJson();
    assert.deepEqual(toJson(chunk("\xff\xfe")).dataBase64, "//4=");
    assert.deepEqual(Object.hasOwn(toJson(chunk("text")), "dataBase64"), false);
    const every = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    assert.ok(bytesOf([toJson(chunk(every))]).equals(every));
  });

  test("nothing is continued over an attempt or over bytes that are missing", () => {
    for (const more of [{ attempt: 2 }, { droppedBytes: 5 }]) {
      const [toJson, out] = [chunkToJson(), terminalText()];
      const lines = [toJson(chunk("a\xe2\x80")), toJson(chunk("\x94b", more))];
      assert.deepEqual(
        lines.map(({ text }) => text),
        ["a", "\ufffdb"],
      );
      assert.ok(bytesOf(lines).equals(Buffer.from("a\xe2\x80\x94b", "latin1")));
      assert.equal(out.print(chunk("a\xe2\x80")) + out.print(chunk("\x94b", more)), "a\ufffd\ufffdb");
    }
  });

  test("a color and a line end that are split over chunks stay what they are on a terminal", () => {
    const text = "\u001b[31mred\u001b[0m\r\nnext";
    for (let at = 0; at <= text.length; at++) {
      const out = terminalText();
      const printed = out.print(chunk(text.slice(0, at))) + out.print(chunk(text.slice(at))) + out.end();
      assert.equal(printed, "\u001b[31mred\u001b[0m\nnext", `split at ${at}`);
    }
  });

  test("the end prints what was held back", () => {
    const out = terminalText();
    assert.equal(out.print(chunk("a\xe2\x80")) + out.end() + out.end(), "a\ufffd");
    assert.equal(terminalText().end(), "");
  });
});
