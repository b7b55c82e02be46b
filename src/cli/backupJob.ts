// Runs backup jobs in a thread of their own, so that this thread can draw the progress and react to Ctrl-C.
import { statSync } from "node:fs";
import { type Jobs, runBackupJob } from "../backup/jobs.ts";
import { createProgressBar } from "../terminal/progressBar.ts";
import type { CommandLine } from "./commandLine.ts";
import type { PrintFlags } from "./rows.ts";

/** A file whose size shows the progress of a phase that reports none. */
export interface GrowingFile {
  readonly phase: string;
  readonly path: string;
  readonly totalBytes: number;
}

export async function runJob<Name extends keyof Jobs>(
  cli: CommandLine,
  flags: PrintFlags,
  name: Name,
  input: Jobs[Name]["input"],
  file?: GrowingFile,
): Promise<Jobs[Name]["answer"]> {
  const interrupt = cli.listenForInterrupt();
  const bar = createProgressBar(cli.stderr, flags.quiet === true);
  const timer = file && setInterval(() => drawSize(bar, file), 100);
  try {
    return await runBackupJob(name, input, {
      signal: interrupt.signal,
      onProgress({ phase, doneBytes, totalBytes }) {
        clearInterval(timer);
        bar.update(phase, doneBytes, totalBytes);
      },
    });
  } finally {
    clearInterval(timer);
    bar[Symbol.dispose]();
    interrupt[Symbol.dispose]();
  }
}

function drawSize(bar: ReturnType<typeof createProgressBar>, { phase, path, totalBytes }: GrowingFile): void {
  bar.update(phase, Math.min(sizeOf(path), totalBytes), totalBytes);
}

/** Returns the size of a file, or 0 when it does not exist. */
export function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
