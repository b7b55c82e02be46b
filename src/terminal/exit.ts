// How the command line ends: an exit code and a sentence for each way of failing. Knows no command.
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

export const exitCodeHelp = `
Exit codes: 0 ok, 1 failure, 2 usage, 3 the check found something, 4 busy, 5 corrupt, 6 edited migration, 7 not ready, 130 interrupted.`;

/** What a command has to say to a person before it ends. */
export class CliError extends Error {
  override readonly name = "CliError";
  readonly exit: ExitName;

  constructor(exit: ExitName, sentence: string) {
    super(sentence);
    this.exit = exit;
  }
}

/** Every code that is not here ends with `failure`. */
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
  // Help and version that were asked for come this way too; help instead of a missing command has an exit code of its own.
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  return exitCodes.failure;
}

/** Undefined when it has been said already. The first line alone: what is ours to repair may bring its stack along. */
export function sentenceOf(error: unknown): string | undefined {
  if (error instanceof CommanderError) return undefined;
  return (error instanceof Error ? error.message : String(error)).split("\n", 1)[0];
}
