// Adds to a help text what follows the options: examples, a note and the exit codes.
import type { Command } from "commander";
import { exitCodeHelp } from "../terminal/exit.ts";

export function addHelp(command: Command, examples: readonly string[], note?: string): Command {
  const lines = examples.map((example) => `  debug-server-db ${example}\n`).join("");
  return addHelpNotes(command, `\nExamples:\n${lines}`, [...(note === undefined ? [] : [note]), exitCodeHelp]);
}

/** Adds paragraphs to the end of a help text, wrapped as commander wraps the rest of it where the width is known. */
export function addHelpNotes(command: Command, before: string, notes: readonly string[]): Command {
  return command.addHelpText("after", ({ error, command: printed }) => {
    const { getErrHelpWidth, getOutHelpWidth } = printed.configureOutput();
    const width = error ? getErrHelpWidth?.() : getOutHelpWidth?.();
    const wrap = (text: string) => (width === undefined ? text : printed.createHelp().boxWrap(text, width));
    return `${before}${notes.map((text) => `\n${wrap(text)}`).join("\n")}`;
  });
}

/**
 * Returns the arguments to parse. Commander prints the help of the parent for an unknown command with --help, as if it
 * had been asked for that; without --help it reports the command as unknown. `help NAME` means `NAME --help`.
 */
export function withoutVainHelp(program: Command, argv: readonly string[]): readonly string[] {
  let command = program;
  const names = argv.filter((word) => word !== "help");
  for (const word of names) {
    if (word.startsWith("-")) continue;
    if (command.commands.length === 0) break;
    const next = command.commands.find((one) => one.name() === word);
    if (next === undefined) return names.filter((other) => other !== "--help" && other !== "-h");
    command = next;
  }
  return argv[0] === "help" ? [...names, "--help"] : argv;
}
