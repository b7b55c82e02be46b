// The command line as a process: its streams, signals and exit code.
import { listenForInterrupt } from "../terminal/interrupt.ts";
import { runCommandLine } from "./program.ts";

export async function main(argv: readonly string[]): Promise<void> {
  const { env, stdout, stderr } = process;
  stdout.on("error", ignoreMissingReader);
  stderr.on("error", ignoreMissingReader);
  // Not process.exit: what was written is still on its way.
  process.exitCode = await runCommandLine(argv, { env, cwd: process.cwd(), stdout, stderr, listenForInterrupt });
}

/**
 * The reader of a pipe may stop before the end, and a terminal may be closed. The command still finishes or undoes what
 * it has begun.
 */
function ignoreMissingReader(error: NodeJS.ErrnoException): void {
  if (error.code !== "EPIPE" && error.code !== "EIO") throw error;
}
