// Runs a program without a shell, in a process group of its own: Ctrl-C in the terminal does not reach it, and stopping
// it stops everything that it has started. Knows no store and no worktree.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import type { Readable } from "node:stream";
import { realTime } from "../../realTime.ts";
import { killMarked } from "./groups.ts";
import { Output, type TakeOutput } from "./output.ts";
import { isStoppedAlready, type StopOptions, Stopping, variableOf } from "./stopping.ts";
import { type Usage, UsageMeter, unknownUsage } from "./usage.ts";

export interface RunCommandOptions extends StopOptions {
  readonly cwd: string;
  /**
   * The standard input; by default there is none. A stream is read as far as the program reads, and is not destroyed. If
   * it fails, the program is killed.
   */
  readonly stdin?: "none" | Readable | Uint8Array;
  /** Receives the output, in pieces of at most 64 KiB. One that throws or rejects makes the group be killed. */
  readonly output: TakeOutput;
}

/** The end of a program: by an exit code, by a signal, or because it could not be started. */
export interface CommandEnd {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The reason why it was not started, in one sentence. */
  readonly reason?: string;
  /** The name that the system has for that reason, such as ENOENT. */
  readonly errno?: string;
  /** True when `timeoutMs` was the first reason to stop it. */
  readonly timedOut: boolean;
  readonly durationMs: number;
  readonly usage: Usage;
}

/**
 * Resolves when the program has ended with everything that it has started, and `output` has taken all that they wrote.
 * Rejects only with what `output` threw or with the failure of `stdin`; the group has been killed then.
 *
 * When the program ends by itself, what it left in its group is killed at once. When it is stopped, its group gets
 * SIGTERM, and what is left after `graceMs` SIGKILL. At most about 128 KiB of each stream are held in memory: a program
 * whose output is not taken waits. The output is not waited for when a lease is lost. A process of another user, such as
 * one that `sudo` has started, cannot be killed.
 */
export async function runCommand(argv: readonly string[], options: RunCommandOptions): Promise<CommandEnd> {
  const { cwd, env, stdin = "none", marker } = options;
  const [file = "", ...args] = argv;
  const startedAtMs = realTime.elapsed();
  const endOf = (end: Partial<CommandEnd>): CommandEnd => ({
    exitCode: null,
    signal: null,
    timedOut: false,
    durationMs: Math.round(realTime.elapsed() - startedAtMs),
    usage: unknownUsage,
    ...end,
  });
  if (isStoppedAlready(options)) return endOf({ reason: "not started, because it had to stop before" });
  let child: ChildProcess;
  try {
    const stdio = [stdin === "none" ? "ignore" : "pipe", "pipe", "pipe"] as const;
    child = spawn(file, args, { cwd, env, detached: true, stdio: [...stdio] });
  } catch (error) {
    return endOf(startFailure(file, cwd, error as NodeJS.ErrnoException));
  }
  const ended = new Promise<Partial<CommandEnd>>((resolve) => {
    child.once("error", (error) => resolve(startFailure(file, cwd, error)));
    child.once("exit", (exitCode, signal) => resolve({ exitCode, signal }));
  });
  const { pid } = child;
  if (pid === undefined) return endOf(await ended);
  const stopping = new Stopping(pid, options);
  const meter = new UsageMeter(pid);
  const output = new Output(child, options.output);
  const input = feed(child, stdin);
  for (const part of [input.failed, output.done]) part.catch(() => stopping.kill());
  const end = await ended;
  const usage = meter.end();
  try {
    await stopping.killRest();
    if (marker !== undefined) await killMarked(variableOf(env, marker), pid);
    await Promise.race([input.failed, output.drain(), fired(stopping.lost)]);
  } finally {
    input.end();
    output.abandon();
    stopping.end();
  }
  return endOf({ ...end, timedOut: stopping.isTimedOut && !stopping.lost.aborted, usage });
}

function fired(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

function startFailure(file: string, cwd: string, error: NodeJS.ErrnoException): Partial<CommandEnd> {
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

/** Feeds the standard input of a program. `failed` rejects when the source fails, and never resolves. */
function feed({ stdin: target }: ChildProcess, source: "none" | Readable | Uint8Array) {
  const { promise: failed, reject } = Promise.withResolvers<never>();
  if (target === null || source === "none") return { failed, end: () => undefined };
  // A program need not read its input, and may close it.
  target.on("error", () => undefined);
  if (source instanceof Uint8Array) {
    target.end(source);
    return { failed, end: () => undefined };
  }
  source.on("error", reject);
  source.pipe(target);
  return {
    failed,
    end: () => {
      source.unpipe(target);
      source.off("error", reject);
    },
  };
}
