// The text of a log in memory: lines of any length, in parts of any size, with colors that outlast a line.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { mayHold, piecesOf, plainText } from "../../../src/page/ansi.ts";
import { LogText } from "../../../src/page/logText.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const linesOf = (text: LogText) => Array.from({ length: text.lineCount }, (_, index) => text.line(index));

test("whatever the parts in which bytes arrive, the lines are those of the whole", () => {
  const piece = fc.oneof(fc.string({ unit: "binary" }), fc.constant("\n"), fc.constant("é💥".repeat(1_500)));
  fc.assert(
    fc.property(fc.array(piece), fc.array(fc.nat({ max: 5_000 })), (pieces, sizes) => {
      const whole = bytes(pieces.join("").toWellFormed());
      const text = new LogText();
      let at = 0;
      for (const size of [...sizes, whole.length]) {
        text.append(whole.subarray(at, at + size), "stdout");
        at = Math.min(whole.length, at + size);
      }
      const once = new LogText();
      once.append(whole, "stdout");
      assert.deepEqual(linesOf(text), linesOf(once));
      assert.deepEqual(Buffer.concat(text.blocks), Buffer.from(whole));
      // A long line is cut between characters.
      assert.equal(text.text(0, text.lineCount), new TextDecoder("utf-8", { ignoreBOM: true }).decode(whole));
      for (const line of linesOf(text)) assert.ok(bytes(line).length <= 2_000);
    }),
    { numRuns: 30 },
  );
});

test("bytes that are no UTF-8 are lines too, and lines cross the blocks in which they are kept", () => {
  const text = new LogText();
  const line = new Uint8Array(1_000).fill(0x80);
  line[999] = 10;
  for (let index = 0; index < 3_000; index++) text.append(line, "stdout");
  text.append(new Uint8Array(10_000).fill(0x80), "stdout");
  assert.equal(text.lineCount, 3_005);
  assert.equal(text.line(1_048).length, 999);
});

test("a source does not go on in a line of another one, and goes on in its own", () => {
  const text = new LogText();
  text.append(bytes("out "), "stdout");
  text.append(bytes("put\nhalf"), "stdout");
  text.append(bytes("error\n"), "stderr");
  text.note("a\nnote", "note");
  text.append(bytes("rest"), "stdout");
  assert.deepEqual(linesOf(text), ["out put", "half", "error", "a note", "rest"]);
  assert.deepEqual(
    [0, 1, 2, 3, 4].map((line) => text.kindOf(line)),
    ["stdout", "stdout", "stderr", "note", "stdout"],
  );
  assert.deepEqual([text.lineCount, text.completeCount], [5, 4]);
  text.close();
  assert.equal(text.completeCount, 5);
});

test("a color lasts until it is reset, also for lines that are asked for in any order", () => {
  const text = new LogText();
  text.append(bytes("\u001b[31mred\nstill\n\u001b[0mplain\n\u001b[1;34mblue\nend\n"), "stdout");
  const colors = [0, 1, 2, 3, 4].map((line) => text.styleAt(line).color);
  assert.deepEqual(colors, [undefined, "var(--ansi-1)", "var(--ansi-1)", undefined, "var(--ansi-4)"]);
  assert.equal(text.styleAt(1).color, "var(--ansi-1)");
  assert.equal(text.styleAt(4).bold, true);
});

test("controls become colors or nothing, whatever a program prints", () => {
  const textOf = (line: string) =>
    piecesOf(line)
      .pieces.map((piece) => piece.text)
      .join("");
  assert.equal(textOf("\u001b]8;;http://evil.example\u0007link\u001b]8;;\u0007 \u001b[2Jafter"), "link after");
  assert.equal(textOf("10 %\r20 %\r\n".trimEnd()), "20 %");
  assert.equal(textOf("a\u202eb\u009b31mc\u0000d"), "a\ufffdb31mcd");
  const [strange] = piecesOf("\u001b[38;5;300;48;2;7;999;mtext").pieces;
  assert.match(strange?.style.background ?? "", /^rgb\(\d+ \d+ \d+\)$/);
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom("\u001b", "[", "]", "3", "8", ";", "m", "\u0007", "a", "\r", "\\", "P") }),
      (line) => {
        for (const { style, text } of piecesOf(line).pieces) {
          assert.doesNotMatch(text, /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/);
          for (const color of [style.color, style.background])
            assert.match(color ?? "var(--ansi-0)", /^(?:var\(--ansi-\d+\)|rgb\(\d+ \d+ \d+\))$/);
        }
        const plain = plainText(line);
        if (plain !== "") assert.ok(mayHold(`before \u001b]0;title\n${line}\nafter`, plain.toLowerCase()));
      },
    ),
  );
});
