// The events of a debugger that a remote store sends again: one with a number is applied once, and the others need a key.
import assert from "node:assert/strict";
import { it } from "node:test";
import { newId } from "../../../src/index.ts";
import { operations } from "../../../src/operations/table.ts";
import { isRepeatable, withKeys } from "../../../src/remote/repeatable.ts";
import type { Envelope } from "../../../src/wire.ts";

function envelopeOf(seq: number): Envelope {
  const input = { debugSessionId: newId(), adapterRun: 1, seq, event: "output", cut: false };
  return [1, false, ["debug.applyEvent", operations.debug.applyEvent.encode(input), undefined]];
}

it("an event of a debugger without a number gets a key, and one with a number needs none", () => {
  const [numbered, unnumbered] = [envelopeOf(7), envelopeOf(0)];
  assert.equal(withKeys(numbered), numbered);
  assert.match(String((withKeys(unnumbered)[2][2] as unknown[])[2]), /^remote-/);
  assert.deepEqual([isRepeatable(numbered, 0, true), isRepeatable(unnumbered, 0, true)], [true, false]);
  assert.equal(isRepeatable(withKeys(unnumbered), 0, true), true);
});
