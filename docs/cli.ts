// Renders the reference of the command line from the commands themselves.
import type { Command } from "commander";
import { createCommandLine } from "../src/cli/commandLine.ts";
import { createProgram } from "../src/cli/program.ts";

export function renderCli(): string {
  const cli = createCommandLine({ env: {}, cwd: "/", stdout: process.stdout, stderr: process.stderr });
  const commands = walk(createProgram(cli));
  const table = commands
    .filter(({ command }) => command.commands.length === 0)
    .map(({ name, command }) => `| [${name}](#${name.replaceAll(" ", "-")}) | ${command.description()} |`);
  const sections = commands.map(({ name, command }) => `## ${name}\n\n\`\`\`text\n${helpOf(command)}\n\`\`\``);
  return [["| command | |", "| --- | --- |", ...table].join("\n"), ...sections].join("\n\n");
}

function walk(
  command: Command,
  parents: readonly string[] = [],
): readonly { readonly name: string; readonly command: Command }[] {
  const path = [...parents, command.name()];
  return [{ name: path.join(" "), command }, ...command.commands.flatMap((one) => walk(one, path))];
}

/** Returns what --help prints on a terminal of 100 columns. */
function helpOf(command: Command): string {
  let text = "";
  command.configureOutput({ getOutHelpWidth: () => 100, writeOut: (part) => (text += part) });
  command.outputHelp();
  return text.trim();
}
