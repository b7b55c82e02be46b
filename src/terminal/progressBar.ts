// A line on a terminal for what takes over a second; nothing where nobody watches.
import type { Output } from "./output.ts";
import { formatBytes } from "./units.ts";

export interface ProgressBar {
  show(phase: string, doneBytes: number, totalBytes: number): void;
  /** Takes the line away. */
  [Symbol.dispose](): void;
}

const quietMs = 1_000;
const redrawMs = 100;
const cells = 24;

export function createProgressBar(
  output: Pick<Output, "isTerminal" | "write">,
  quiet: boolean,
  now = () => performance.now(),
): ProgressBar {
  const startedAtMs = now();
  let drawnAtMs = Number.NEGATIVE_INFINITY;
  let drawn = false;
  return {
    show(phase, doneBytes, totalBytes) {
      const nowMs = now();
      if (quiet || !output.isTerminal || nowMs - startedAtMs < quietMs || nowMs - drawnAtMs < redrawMs) return;
      drawnAtMs = nowMs;
      drawn = true;
      output.write(`\r${lineOf(phase, doneBytes, totalBytes)}\u001b[K`);
    },
    [Symbol.dispose]() {
      if (drawn) output.write("\r\u001b[K");
    },
  };
}

function lineOf(phase: string, doneBytes: number, totalBytes: number): string {
  const share = totalBytes === 0 ? 0 : Math.min(1, doneBytes / totalBytes);
  const full = Math.round(share * cells);
  return `${phase.padEnd(8)} [${"#".repeat(full)}${"-".repeat(cells - full)}] ${String(Math.floor(share * 100)).padStart(3)} %  ${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`;
}
