// Ends a run of the command line with an exit code, and with a sentence for each failure. Knows no command.
import { CommanderError } from "commander";
import { type ErrorCode, StoreError } from "../errors.ts";

export const exitCodes = {
  ok: 0,
  failure: 1,
  usage: 2,
  finding: 3,
  busy: 4,
  corrupt: 5,
  editedMigration: 6,
  notReady: 7,
  interrupted: 130,
} as const;

export type ExitName = keyof typeof exitCodes;

export const exitCodeHelp =
  "Exit codes: 0 ok, 1 failure, 2 usage, 3 the check found something, 4 busy, 5 corrupt, 6 edited migration, 7 not ready, 130 interrupted.";

/** A failure that a command explains to a person in one sentence. */
export class CliError extends Error {
  override readonly name = "CliError";
  readonly exit: ExitName;

  constructor(exit: ExitName, sentence: string) {
    super(sentence);
    this.exit = exit;
  }
}

/** The exits of error codes; any other code ends with `failure`. */
const exits: Partial<Record<ErrorCode, ExitName>> = {
  invalid_input: "usage",
  busy: "busy",
  overloaded: "busy",
  corrupt: "corrupt",
  aborted: "interrupted",
};

export function exitCodeOf(error: unknown): number {
  if (error instanceof CliError) return exitCodes[error.exit];
  if (error instanceof StoreError)
    return exitCodes[
      error.details.reason === "migration_edited" ? "editedMigration" : (exits[error.code] ?? "failure")
    ];
  // Requested help, and the version, arrive here with 0; help that replaces a missing command does not.
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  return exitCodes.failure;
}

/**
 * Returns the sentence to print; undefined when commander has printed it. Only the first line: a bug's message may hold
 * its stack.
 */
export function sentenceOf(error: unknown): string | undefined {
  if (error instanceof CommanderError) return undefined;
  return (error instanceof Error ? error.message : String(error)).split("\n", 1)[0];
}
