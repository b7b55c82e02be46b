// The option that names the store. The flag wins over the environment, and the environment over the default.
import { type Command, Option } from "commander";
import { defaultUrl, parsePlace } from "../place.ts";
import { type CommandLine, pathFrom } from "./commandLine.ts";

export const urlVariable = "DEBUG_SERVER_DB_URL";

export function urlOption(): Option {
  return new Option("--url <url>", "the URL of the store").env(urlVariable).default(defaultUrl);
}

/**
 * Takes the URL of a command from the environment and the folder of the run; commander itself reads those of the
 * process.
 */
export function settleUrl(cli: CommandLine, command: Command): void {
  if (!command.options.some(({ envVar }) => envVar === urlVariable)) return;
  if (command.getOptionValueSource("url") !== "cli") {
    const url = cli.env[urlVariable];
    command.setOptionValueWithSource("url", url ?? defaultUrl, url === undefined ? "default" : "env");
  }
  command.setOptionValueWithSource("url", urlFrom(cli, command.opts().url), command.getOptionValueSource("url"));
}

function urlFrom(cli: CommandLine, url: string): string {
  if (!url.startsWith("sqlite:")) return url;
  const place = parsePlace(url);
  return place.engine !== "sqlite" || place.path === ":memory:" ? url : `sqlite:${pathFrom(cli, place.path)}`;
}
