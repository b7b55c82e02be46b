// The command line as a process: its streams, signals and exit code.
import { exitCodes } from "../terminal/exit.ts";
import { listenForInterrupt } from "../terminal/interrupt.ts";
import { runCommandLine } from "./program.ts";

export async function main(argv: readonly string[]): Promise<void> {
  const { env, stdout, stderr } = process;
  stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (isMissingReader(error)) return;
    if (process.exitCode !== exitCodes.failure) stderr.write(`debug-server-db: stdout: ${error.message}\n`);
    process.exitCode = exitCodes.failure;
  });
  stderr.on("error", (error: NodeJS.ErrnoException) => {
    if (!isMissingReader(error)) process.exitCode = exitCodes.failure;
  });
  const code = await runCommandLine(argv, { env, cwd: process.cwd(), stdout, stderr, listenForInterrupt });
  // Not process.exit: what was written is still on its way.
  process.exitCode ||= code;
}

/**
 * The reader of a pipe may stop before the end, and a terminal may be closed. The command still finishes or undoes what
 * it has begun, and ends as if everything had been read. This is the one place that decides so, for every command.
 */
function isMissingReader({ code }: NodeJS.ErrnoException): boolean {
  return code === "EPIPE" || code === "EIO" || code === "ECONNRESET";
}
