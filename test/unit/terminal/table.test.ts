// Text for a terminal: what turns its direction is taken out, whatever the character.
import assert from "node:assert/strict";
import { test } from "node:test";
import { harmless, harmlessJson } from "../../../src/terminal/table.ts";

test("no character that turns the direction of text reaches a terminal", () => {
  for (const control of "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert.equal(harmless(`a${control}b`), "a b");
  assert.equal(harmless("größe 日本語 🧪\n"), "größe 日本語 🧪\n");
});

test("JSON on a terminal holds nothing that steers it, and stays the same value", () => {
  const value = { name: "a\u001b[31m\u009b31m\u061c\u2066b\u007f\u2028", list: ["\u202e"] };
  const json = harmlessJson(JSON.stringify(value));
  assert.doesNotMatch(json, /[\u0000-\u001f\u007f-\u009f\u2028\p{Bidi_Control}]/u);
  assert.deepEqual(JSON.parse(json), value);
});
