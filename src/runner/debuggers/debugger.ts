// The interface of debuggers: each runs a command and keeps its debug session in the store up to date.
import type { DebugBreakpoint, DebugSession, Store } from "../../index.ts";
import type { CommandEnd, RunCommandOptions } from "../process/runCommand.ts";

/** A command to run, with the store that its debug session is kept in. */
export interface DebuggedProgram extends RunCommandOptions {
  readonly store: Pick<Store, "debug" | "changes">;
  readonly argv: readonly string[];
  readonly sessionId: string;
  readonly commandId: string;
}

/** A debugger that runs commands. */
export interface Debugger {
  /** Resolves as runCommand does, when the program has ended and its end is stored. */
  run(program: DebuggedProgram): Promise<CommandEnd>;
}

/** The operations that a debugger calls. */
export const debuggerOperations: readonly string[] = ["debug.*", "changes.since", "changes.watch"];

export interface DebuggerOptions {
  /**
   * The name of the debug session. One with this name that the session has already is started again, and its breakpoints
   * stay. Defaults to "main".
   */
  readonly name?: string;
  /** The names whose values are masked. Default to those of the store. */
  readonly secretNames?: readonly string[];
  /** Stops at the first line. Defaults to false. */
  readonly stopOnEntry?: boolean;
  /**
   * Drives the program from this process. It is called before the program starts, and has to start it. When it fails,
   * the program is ended, and the run fails with its error.
   */
  drive?(driven: DrivenProgram): unknown;
}

export type Move = "continue" | "stepIn" | "next" | "stepOut";

export interface SourceBreakpoint {
  readonly line: number;
  readonly column?: number | undefined;
  readonly condition?: string | undefined;
  readonly hitCondition?: string | undefined;
  readonly logMessage?: string | undefined;
}

/** One stop, after its frames and variables have been stored. */
export interface Stop {
  readonly stopEpoch: number;
  readonly reason: string;
  readonly line: number;
  readonly functionName: string;
}

/** A program under a debugger, for the code that drives it. */
export interface DrivenProgram {
  readonly debugSession: DebugSession;
  /** Replaces the breakpoints of a file. The program may be stopped or running. */
  setBreakpoints(path: string, breakpoints: readonly SourceBreakpoint[]): Promise<DebugBreakpoint[]>;
  /** Starts the program. Resolves with its first stop, or with undefined when it has ended instead. */
  start(): Promise<Stop | undefined>;
  /** Moves the program on. Resolves with the next stop, or with undefined when it has ended instead. */
  move(move: Move): Promise<Stop | undefined>;
  /** Kills the program at once. */
  kill(): void;
}
