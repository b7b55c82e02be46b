// The options of a runner, and the functions through which its user takes part in a session.
import type { Claim, Command, Session, Store } from "../index.ts";
import type { ArtifactSink } from "./artifacts/sink.ts";
import { type Debugger, debuggerOperations } from "./debuggers/debugger.ts";
import type { RunnerEvent } from "./events.ts";
import type { CommandEnd } from "./process/runCommand.ts";

/** The operations that a runner calls. Give a thread or a token no more than these. */
export const runnerOperations: readonly string[] = [
  "repositories.get",
  "runners.register",
  "runners.heartbeat",
  "runners.drain",
  "commands.claim",
  "commands.finish",
  "commands.handBack",
  "sessions.get",
  "worktrees.reserve",
  "worktrees.get",
  "worktrees.ready",
  "worktrees.update",
  "worktrees.release",
  "worktrees.list",
  "worktrees.adopt",
  "worktrees.evict",
  "worktrees.completeEvict",
  "logs.append",
  "logs.mark",
  "artifacts.begin",
  "artifacts.commit",
  "artifacts.delete",
  ...debuggerOperations,
];

/** The part of a store that a runner needs: any store, of this process, of a thread, or of another machine. */
export type RunnerStore = Pick<
  Store,
  "repositories" | "runners" | "sessions" | "commands" | "worktrees" | "logs" | "artifacts" | "debug" | "changes"
>;

/** A session in its worktree. */
export interface SessionContext {
  readonly session: Session;
  /** The folder of the worktree. */
  readonly path: string;
  /** Fires when the work must stop, with a StopReason. */
  readonly signal: AbortSignal;
  /** Writes a line to the log of the command that runs, or that waits for its worktree. */
  readonly note: (line: string) => void;
}

/** A command in its worktree. */
export interface CommandContext extends SessionContext {
  readonly command: Command;
  readonly claim: Claim;
}

/**
 * Functions that take part in a session. One that fails makes its command fail, with its message as the reason. Each gets
 * a signal that fires when its work must stop. One that has not ended `graceMs` after that is not waited for: its command
 * ends without it, and the worktree is quarantined, because it may still be writing there.
 */
export interface RunnerHooks {
  /**
   * Prepares a worktree for the commands of a session, for example by installing packages: once for each session, after
   * the checkout and the patch. The variables that it returns are added to the environment of each command.
   */
  readonly prepare?: (
    context: SessionContext,
  ) =>
    | Promise<{ readonly env?: Readonly<Record<string, string>> } | undefined>
    | { readonly env?: Readonly<Record<string, string>> }
    | undefined;
  /** Changes how a command is run. */
  readonly beforeCommand?: (
    context: CommandContext,
  ) => Promise<CommandChanges | undefined> | CommandChanges | undefined;
  /** Looks at the end of a command, before it is reported and while the worktree is still held. */
  readonly afterCommand?: (context: CommandContext & { readonly end: CommandEnd }) => Promise<void> | undefined;
  /**
   * Returns the values of the variables that a command names in `secretEnvKeys`. They are masked in its log. By default
   * they are taken from the environment of this process, and a name without a value makes the command fail.
   */
  readonly secrets?: (
    names: readonly string[],
    claim: Claim,
    signal: AbortSignal,
  ) => Promise<Readonly<Record<string, string>>> | Readonly<Record<string, string>>;
}

export interface CommandChanges {
  readonly argv?: readonly string[];
  /** Further variables. */
  readonly env?: Readonly<Record<string, string>>;
  /** Runs the command under a debugger. */
  readonly debugger?: Debugger;
}

/** Options that structured clone can copy, so that they reach a thread. */
export interface RunnerSettings {
  /**
   * The folder for what belongs to no repository's own folder: mirrors of remote repositories, worktrees of repositories
   * without a `worktreeRoot`, and the files of artifacts. Defaults to `.artifacts/runner` in the working folder, beside the store of the
   * default URL.
   */
  readonly folder?: string;
  /**
   * The place of the runner in the store, which hands it worktrees of this place alone. Defaults to the name of this host
   * and `folder`. Name it when the name of the host changes while the folder stays, as in a container with a volume, or
   * when hosts share a folder.
   */
  readonly place?: string;
  /**
   * The labels of the runner, by key. It gets commands that require some of these labels, or none. Defaults to none: then it
   * gets only commands that require no labels.
   */
  readonly labels?: Readonly<Record<string, string>>;
  /** The time for which heartbeats renew leases, in milliseconds. Defaults to 30 000. */
  readonly ttlMs?: number;
  /** The time that a program has between SIGTERM and SIGKILL, in milliseconds. Defaults to 5 000. */
  readonly graceMs?: number;
  /**
   * The time for which a runner keeps the worktree of a session that has no command now and may get another one, in
   * milliseconds. Defaults to 10 000.
   */
  readonly idleMs?: number;
  /** The files to keep after each command: patterns relative to the worktree, such as "coverage/**". Defaults to none. */
  readonly artifacts?: readonly string[];
  /**
   * The variables of this process that programs inherit, or "all". Defaults to `inheritedVariables`: what programs need
   * to be found and to print, and nothing that may be a secret of the server. Variables of the store and those that lead
   * git to another repository are never inherited.
   */
  readonly inherit?: readonly string[] | "all";
  /** Variables for every program. */
  readonly env?: Readonly<Record<string, string>>;
  /** Initialises the submodules of a worktree. Defaults to false: the log says that there are some. */
  readonly submodules?: boolean;
}

/** Settings and functions of a runner in one thread. */
export interface RunnerParts extends RunnerSettings {
  readonly hooks?: RunnerHooks;
  /** Takes the files of artifacts. Defaults to a folder below `folder`. */
  readonly sink?: ArtifactSink;
  readonly onEvent?: (event: RunnerEvent) => void;
}
