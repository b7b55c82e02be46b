// Work that takes over a second shows its progress on a terminal, and removes the line at the end.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createProgressBar } from "../../../src/terminal/progressBar.ts";

function draw({ isTerminal = true, quiet = false }: { isTerminal?: boolean; quiet?: boolean } = {}): string[] {
  const written: string[] = [];
  let nowMs = 0;
  const bar = createProgressBar({ isTerminal, write: (text) => void written.push(String(text)) }, quiet, () => nowMs);
  for (const atMs of [0, 999, 1_000, 1_050, 1_100]) {
    nowMs = atMs;
    bar.update("copying", atMs * 1_024, 2_097_152);
  }
  bar[Symbol.dispose]();
  return written;
}

test("the bar draws nothing in the first second, then at most ten times a second, and clears the line at the end", () => {
  assert.deepEqual(draw(), [
    "\rcopying  [############------------]  48 %  1000.0 KiB of 2.0 MiB\u001b[K",
    "\rcopying  [#############-----------]  53 %  1.1 MiB of 2.0 MiB\u001b[K",
    "\r\u001b[K",
  ]);
});

test("the bar draws nothing where there is no terminal, or with --quiet", () => {
  assert.deepEqual(draw({ isTerminal: false }), []);
  assert.deepEqual(draw({ quiet: true }), []);
});
