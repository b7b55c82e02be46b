// The shape that commands on a store share: their options, their examples, and the list and group commands made of them.
import { type Command, Option } from "commander";
import { exitCodeHelp } from "../terminal/exit.ts";
import { type PageFlags, withPages } from "./pages.ts";
import { urlOption } from "./url.ts";

export interface StoreFlags {
  readonly url: string;
  readonly json?: true;
  readonly quiet?: true;
}

export type ListFlags = StoreFlags & PageFlags;

/** Adds a command that only has others below it. */
export function commandGroup(
  program: Command,
  name: string,
  description: string,
  examples: readonly string[],
): Command {
  return program.command(name).description(description).addHelpText("after", helpAfter(examples));
}

export function storeCommand(
  parent: Command,
  name: string,
  description: string,
  examples: readonly string[],
  note?: string,
): Command {
  return parent
    .command(name)
    .description(description)
    .addOption(urlOption())
    .option("--json", "print JSON, one object a line")
    .option("-q, --quiet", "say nothing on stderr but errors")
    .addHelpText("after", helpAfter(examples, note));
}

export function listCommand(group: Command, what: string, examples: readonly string[]): Command {
  return withPages(storeCommand(group, "list", `Lists ${what}, the oldest first.`, examples));
}

export function helpAfter(examples: readonly string[], note?: string): string {
  const lines = examples.map((example) => `  debug-server-db ${example}\n`).join("");
  return `\nExamples:\n${lines}${note === undefined ? "" : `\n${note}\n`}${exitCodeHelp}`;
}

export function stateOption(states: readonly string[]): Option {
  return new Option("--state <state>", "of this state only").choices(states);
}

export function reasonOption(command: Command): Command {
  return command.option("--reason <text>", "why; it goes into the audit log");
}
