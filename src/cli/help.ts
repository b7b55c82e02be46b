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
