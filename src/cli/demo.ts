// debug-server-db demo: its options and examples; what it does is in demo/.
import { type Command, Option } from "commander";
import { exitCodeHelp } from "../terminal/exit.ts";
import { wholeNumber } from "../terminal/wholeNumber.ts";
import type { CommandLine } from "./commandLine.ts";
import { urlOption } from "./url.ts";

interface DemoFlags {
  readonly repo: string;
  readonly runners: number;
  readonly commits: number;
  readonly command?: readonly string[];
  readonly debug?: true;
  readonly url: string;
}

export function addDemo(program: Command, cli: CommandLine): void {
  program
    .command("demo")
    .description(
      "Runs commands on the newest commits of a git repository, in worktrees of their own, on a pool of runner threads.",
    )
    .argument("[argument...]", "what follows -- goes to the end of --command")
    .option("--repo <path>", "the git repository", ".")
    .addOption(new Option("--runners <number>", "runner threads").default(4).argParser(wholeNumber(1, 64)))
    .addOption(
      new Option("--commits <number>", "how many of the newest commits").default(5).argParser(wholeNumber(1, 500)),
    )
    .option(
      "--command <argv...>",
      "a program, and its arguments, to run on each commit besides git show and node --version",
    )
    .option("--debug", "afterwards, debug a small program in a worktree of the newest commit, under Node's inspector")
    .addOption(urlOption())
    .addHelpText("after", `${examples}\n${exitCodeHelp}`)
    .action(async (rest: string[], flags: DemoFlags, command: Command) => {
      if (rest.length > 0 && flags.command === undefined) tooMany(command, rest);
      if (flags.command?.[0] === "") command.error("error: option '--command <argv...>' names no program.");
      const interrupt = cli.listenForInterrupt();
      try {
        const { runDemo } = await import("../demo/run.ts");
        cli.exitCode = await runDemo(
          {
            repo: flags.repo,
            runners: flags.runners,
            commits: flags.commits,
            command: flags.command === undefined ? undefined : [...flags.command, ...rest],
            debug: flags.debug === true,
            url: flags.url,
            cwd: cli.cwd,
          },
          cli,
          interrupt.signal,
        );
      } finally {
        interrupt[Symbol.dispose]();
      }
    });
}

function tooMany(command: Command, rest: readonly string[]): never {
  command.error(`error: unexpected argument '${rest[0]}': a program to run is named by --command.`);
}

const examples = `
Examples:
  debug-server-db demo
  debug-server-db demo --repo ../project --runners 8 --commits 20
  debug-server-db demo --command npm test
  debug-server-db demo --command git -- log --oneline -3
  debug-server-db demo --commits 1 --debug

A second run goes on with the same file and its worktrees. Ctrl-C cancels what runs and gives everything back.`;
