// A progress bar on a terminal for work that takes longer than a second. Prints nothing elsewhere.
import type { Output } from "./output.ts";
import { formatBytes } from "./units.ts";

export interface ProgressBar {
  update(phase: string, doneBytes: number, totalBytes: number): void;
  /** Clears the line. */
  [Symbol.dispose](): void;
}

const appearAfterMs = 1_000;
const redrawEveryMs = 100;
const barLength = 24;

export function createProgressBar(
  output: Pick<Output, "isTerminal" | "write">,
  quiet: boolean,
  now = () => performance.now(),
): ProgressBar {
  const startedAtMs = now();
  let drawnAtMs = Number.NEGATIVE_INFINITY;
  let drawn = false;
  return {
    update(phase, doneBytes, totalBytes) {
      const nowMs = now();
      if (quiet || !output.isTerminal || nowMs - startedAtMs < appearAfterMs || nowMs - drawnAtMs < redrawEveryMs)
        return;
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
  const full = Math.round(share * barLength);
  const bar = "#".repeat(full) + "-".repeat(barLength - full);
  const percent = String(Math.floor(share * 100)).padStart(3);
  return `${phase.padEnd(8)} [${bar}] ${percent} %  ${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`;
}
