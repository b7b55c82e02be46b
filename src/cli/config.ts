// debug-server-db config: the settings in effect and their sources, without secrets.
import type { Command } from "commander";
import { defaultLimits } from "../limits.ts";
import { logArchiveVariable, redactUrl, tokenVariable, urlVariable } from "../place.ts";
import type { CommandLine } from "./commandLine.ts";
import { column, printRows } from "./rows.ts";
import { commandGroup, type StoreFlags, storeCommand } from "./storeCommand.ts";

interface Setting {
  readonly name: string;
  readonly value: string | number;
  readonly from: "flag" | "environment" | "default";
}

export function addConfig(program: Command, cli: CommandLine): void {
  const group = commandGroup(program, "config", "Shows the settings of the command line and of servers.", [
    "config show",
  ]);
  storeCommand(group, "show", "Shows each setting and its source; secrets are masked.", [
    "config show",
    "config show --json",
  ]).action((flags: StoreFlags, command: Command) => {
    printRows(cli, flags, settingsOf(cli, flags.url, command.getOptionValueSource("url")), (rows) => [
      column("setting", rows, ({ name }) => name),
      column("value", rows, ({ value }) => value),
      column("from", rows, ({ from }) => from),
    ]);
  });
}

/** Includes variables with our prefix that are never read, because their names may be misspelt. */
function settingsOf({ env }: CommandLine, url: string, source: string | undefined): readonly Setting[] {
  const from = source === "cli" ? "flag" : source === "env" ? "environment" : "default";
  const variables = Object.keys(env)
    .filter((name) => name.startsWith("DEBUG_SERVER_DB_") && name !== urlVariable)
    .map((name): Setting => {
      if (name === logArchiveVariable) return { name, value: env[name] ?? "", from: "environment" };
      const isRead = name === tokenVariable;
      return { name: isRead ? name : `${name} (not read)`, value: "***", from: "environment" };
    });
  const limits = Object.entries(defaultLimits).map(
    ([name, value]): Setting => ({ name: `limits.${name}`, value, from: "default" }),
  );
  const color = env.NO_COLOR ? [{ name: "NO_COLOR", value: env.NO_COLOR, from: "environment" } as const] : [];
  return [
    { name: "url", value: redactUrl(url), from },
    ...variables,
    ...color,
    { name: "synchronous", value: "full", from: "default" },
    ...limits,
  ];
}
