// Text from outside is printed without characters that control a terminal or change the direction of text.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  escapeJsonControls,
  oneLine,
  stripLogControls,
  stripTerminalControls,
} from "../../../src/terminal/controls.ts";

test("every character that changes the direction of text is removed, and other letters stay", () => {
  for (const control of "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert.equal(stripTerminalControls(`a${control}b`), "a b");
  assert.equal(stripTerminalControls("größe 日本語 🧪\n"), "größe 日本語 🧪\n");
});

test("JSON keeps its value when its control characters are escaped", () => {
  const value = { name: "a\u001b[31m\u009b31m\u061c\u2066b\u007f\u2028", list: ["\u202e"] };
  const json = escapeJsonControls(JSON.stringify(value));
  assert.doesNotMatch(json, /[\u0000-\u001f\u007f-\u009f\u2028\p{Bidi_Control}]/u);
  assert.deepEqual(JSON.parse(json), value);
});

test("a log keeps its colors and tabs, but no other terminal control", () => {
  assert.equal(
    stripLogControls("\u001b[31mred\u001b[0m\ttab\r\n\u001b[2Jend\u0007"),
    "\u001b[31mred\u001b[0m\ttab\nend ",
  );
});

test("a line is cut between characters", () => {
  assert.equal(oneLine(" two\nlines ", 20), "two lines");
  assert.equal(oneLine("abcdef", 4), "abc…");
  assert.equal(oneLine("ab🧪cd", 4), "ab…");
});
