// One run of the command line: what it reads, and where it writes. The files of this folder reach the process only
// through it, so that tests can run commands without starting one.
import { resolve } from "node:path";
import { expandHome } from "../place.ts";
import { exitCodes } from "../terminal/exit.ts";
import { type Interrupt, neverInterrupted } from "../terminal/interrupt.ts";
import { Output, type OutputStream } from "../terminal/output.ts";

/** The surroundings of a run: those of the process, or a stand-in in a test. */
export interface Surroundings {
  /** The variables that commands read. Programs that `demo` runs get those of the process. */
  readonly env: NodeJS.ProcessEnv;
  /** The folder that relative paths start from. */
  readonly cwd: string;
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  /** Called by a command before work that can be interrupted. Without it nothing interrupts the run. */
  readonly listenForInterrupt?: () => Interrupt;
}

export interface CommandLine extends Omit<Required<Surroundings>, "stdout" | "stderr"> {
  /** Receives data. */
  readonly stdout: Output;
  /** Receives messages. */
  readonly stderr: Output;
  /** The exit code of a run that ends without an error. A command that finds something sets it. */
  exitCode: number;
}

export function createCommandLine({
  env,
  cwd,
  stdout,
  stderr,
  listenForInterrupt = neverInterrupted,
}: Surroundings): CommandLine {
  return {
    env,
    cwd,
    stdout: new Output(stdout, env),
    stderr: new Output(stderr, env),
    listenForInterrupt,
    exitCode: exitCodes.ok,
  };
}

/**
 * Returns a path that this process resolves to the same file as `cwd` does; unchanged where `cwd` is its own folder.
 * A shell leaves the `~/` of `--out=~/FILE` as it is.
 */
export function pathFrom({ cwd }: Pick<CommandLine, "cwd">, path: string): string {
  const whole = expandHome(path);
  return cwd === process.cwd() ? whole : resolve(cwd, whole);
}
