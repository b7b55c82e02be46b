// Text for a terminal: what turns its direction is taken out, whatever the character.
import assert from "node:assert/strict";
import { test } from "node:test";
import { harmless } from "../../src/cli/table.ts";

test("no character that turns the direction of text reaches a terminal", () => {
  for (const control of "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069") assert.equal(harmless(`a${control}b`), "a b");
  assert.equal(harmless("größe 日本語 🧪\n"), "größe 日本語 🧪\n");
});
