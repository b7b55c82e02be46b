// The option that names the store. The flag wins over the environment, and the environment over the default.
import { type Command, Option } from "commander";
import { chooseUrl, defaultUrl, isServerUrl, parsePlace, urlVariable } from "../place.ts";
import { type CommandLine, pathFrom } from "./commandLine.ts";

export function urlOption(): Option {
  return new Option("--url <url>", "the URL of the store").env(urlVariable).default(defaultUrl);
}

/**
 * Takes the URL of a command from the environment and the folder of the run; commander itself reads those of the
 * process. Fails with invalid_input when it names no store.
 */
export function settleUrl(cli: CommandLine, command: Command): void {
  if (!command.options.some(({ envVar }) => envVar === urlVariable)) return;
  const flag: string | undefined = command.getOptionValueSource("url") === "cli" ? command.opts().url : undefined;
  const { url, from, name } = chooseUrl(flag, cli.env);
  const sources = { option: "cli", environment: "env", default: "default" } as const;
  command.setOptionValueWithSource("url", isServerUrl(url) ? url.trim() : databaseUrl(cli, url, name), sources[from]);
}

function databaseUrl(cli: CommandLine, url: string, name: string): string {
  const place = parsePlace(url, name);
  return place.engine === "postgres" ? place.url : fileUrl(cli, place.path);
}

function fileUrl(cli: CommandLine, path: string): string {
  return `sqlite:${path === ":memory:" ? path : pathFrom(cli, path)}`;
}
