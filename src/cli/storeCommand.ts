// The shape that commands on a store share: their options, their examples, and the lists and groups of them.
import { type Command, Option } from "commander";
import { addHelp } from "./help.ts";
import { type PageFlags, withPages } from "./pages.ts";
import { urlOption } from "./url.ts";

export interface StoreFlags {
  readonly url: string;
  readonly json?: true;
  readonly quiet?: true;
}

export type ListFlags = StoreFlags & PageFlags;

/** Adds a command that only has other commands below it. */
export function commandGroup(
  program: Command,
  name: string,
  description: string,
  examples: readonly string[],
): Command {
  return addHelp(program.command(name).description(description), examples);
}

export function storeCommand(
  parent: Command,
  name: string,
  description: string,
  examples: readonly string[],
  note?: string,
): Command {
  const command = parent
    .command(name)
    .description(description)
    .addOption(urlOption())
    .option("--json", "print JSON, one value on one line; a list prints one object per line")
    .option("-q, --quiet", "only print errors to stderr");
  return addHelp(command, examples, note);
}

export function listCommand(group: Command, what: string, examples: readonly string[], name = "list"): Command {
  return withPages(storeCommand(group, name, `Lists ${what}, newest first.`, examples));
}

export function stateOption(states: readonly string[]): Option {
  return new Option("--state <state...>", "only in this state, or in one of these").choices(states);
}

export function forceOption(command: Command): Command {
  return command.option("--force", "end running commands at once, without their runner");
}

/** Explains --force. */
export const forceNote =
  "With --force, running commands end at once. Use it when the runner is stuck: it has then lost them, and the worktree of the session is quarantined, because a program may still write in it.";

export function reasonOption(command: Command): Command {
  return command.option("--reason <text>", "the reason, recorded in the audit log");
}
