// Runs a program without a shell. It gets its own process group: Ctrl-C in the terminal does not reach it, and stopping
// it stops everything that it started. Knows no store and no worktree.
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import type { Readable } from "node:stream";
import { realTime } from "../../realTime.ts";

export interface ProgramOptions {
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  /** Asks the program to end, and kills it after a grace period. */
  readonly signal: AbortSignal;
  /** Receives the output piece by piece. A stream is read on when the promise of its last piece has resolved. */
  output(stream: "stdout" | "stderr", data: Uint8Array): unknown;
}

/** A program ends by an exit code or a signal, or could not be started at all. */
export type Ending =
  | { readonly exitCode: number }
  | { readonly signal: NodeJS.Signals }
  | { readonly errno: string; readonly reason: string };

/** The time between SIGTERM and SIGKILL. */
const graceMs = 800;
/** The time to read the rest of the pipes after the program's end, if a process that left its group holds them open. */
const drainMs = 2_000;

/** Resolves when the program has ended. Rejects only with what `output` threw; the program is stopped then. */
export async function runProgram(
  argv: readonly string[],
  { cwd, env, signal, output }: ProgramOptions,
): Promise<Ending> {
  const [file = "", ...rest] = argv;
  let child: Child;
  try {
    child = spawn(file, rest, { cwd, env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
  } catch (error) {
    return describeStartFailure(file, cwd, error as NodeJS.ErrnoException);
  }
  const ended = new Promise<Ending>((resolve) => {
    child.once("error", (error) => resolve(describeStartFailure(file, cwd, error)));
    child.once("exit", (exitCode, name) => resolve(name === null ? { exitCode: exitCode ?? 0 } : { signal: name }));
  });
  const outputFailed = new AbortController();
  const reading = Promise.all([read(child.stdout, "stdout", output), read(child.stderr, "stderr", output)]);
  reading.catch(() => outputFailed.abort());
  const stop = AbortSignal.any([signal, outputFailed.signal]);
  const stopListening = stopOn(child, stop);
  const ending = await ended;
  stopListening();
  // A process that it left running would go on in a worktree that the next session uses.
  kill(child, "SIGKILL");
  const drain = realTime.setTimeout(
    () => [child.stdout, child.stderr].map((stream) => stream.destroy()),
    stop.aborted ? drainMs / 10 : drainMs,
  );
  await reading.finally(() => realTime.clearTimeout(drain));
  return ending;
}

type Child = ChildProcessByStdio<null, Readable, Readable>;

function describeStartFailure(file: string, cwd: string, error: NodeJS.ErrnoException): Ending {
  const errno = error.code ?? "unknown";
  // spawn fails in the same way for a missing program and for a missing folder.
  if (errno === "ENOENT" && !existsSync(cwd)) return { errno, reason: `there is no folder ${cwd}` };
  const reasons: Record<string, string> = {
    ENOENT: "no such program",
    EACCES: "not an executable file",
    E2BIG: "the arguments are too long",
  };
  return { errno, reason: `${file}: ${reasons[errno] ?? error.message}` };
}

async function read(stream: Readable, name: "stdout" | "stderr", output: ProgramOptions["output"]): Promise<void> {
  try {
    for await (const data of stream) await output(name, data as Uint8Array);
  } catch (error) {
    // Destroyed while it was read, because the time to drain it was over.
    if ((error as NodeJS.ErrnoException).code !== "ERR_STREAM_PREMATURE_CLOSE") throw error;
  }
}

/** Stops the program when the signal fires. Returns a function that ends this. */
function stopOn(child: Child, signal: AbortSignal): () => void {
  let killTimer: NodeJS.Timeout | undefined;
  const stop = () => {
    kill(child, "SIGTERM");
    killTimer = realTime.setTimeout(() => kill(child, "SIGKILL"), graceMs);
  };
  if (signal.aborted) stop();
  else signal.addEventListener("abort", stop, { once: true });
  return () => {
    realTime.clearTimeout(killTimer);
    signal.removeEventListener("abort", stop);
  };
}

/** Sends a signal to the whole process group, which may be empty by now. */
function kill({ pid }: Child, name: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
