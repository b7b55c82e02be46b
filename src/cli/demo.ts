// debug-server-db demo: its options and examples. What it does is in ../demo.
import { type Command, Option } from "commander";
import type { OwnedStore } from "../storeTypes.ts";
import { stripTerminalControls } from "../terminal/controls.ts";
import { showStarting } from "../terminal/starting.ts";
import { wholeNumber } from "../terminal/wholeNumber.ts";
import type { CommandLine } from "./commandLine.ts";
import { addHelp } from "./help.ts";
import { urlOption } from "./url.ts";

interface DemoFlags {
  readonly repo: string;
  readonly runners: number;
  readonly commits: number;
  readonly command?: readonly string[];
  readonly debug?: true;
  readonly serve?: string | true;
  readonly clean?: true;
  readonly url: string;
}

const examples = [
  "demo",
  "demo --repo ../project --runners 8 --commits 20",
  "demo --command npm test",
  "demo --command git -- log --oneline -3",
  "demo --commits 1 --debug",
  "demo --serve",
  "demo --clean",
];
const note =
  "Another run reuses the database and its worktrees. Ctrl-C cancels what is running and releases every worktree.";

export function addDemo(program: Command, cli: CommandLine): void {
  const command = program
    .command("demo")
    .description(
      "Runs commands on the newest commits of a git repository, each commit in its own worktree, on a pool of runner threads.",
    )
    .argument("[argument...]", "more arguments of --command, after --")
    .option("--repo <path>", "the git repository", ".")
    .addOption(new Option("--runners <number>", "number of runner threads").default(4).argParser(wholeNumber(1, 64)))
    .addOption(new Option("--commits <number>", "number of newest commits").default(5).argParser(wholeNumber(1, 500)))
    .option(
      "--command <argv...>",
      "a program and its arguments, to run on each commit after git show and node --version",
    )
    .option("--debug", "afterwards, debug a small program with Node's inspector in a worktree of the newest commit")
    .option(
      "--serve [address]",
      "serve the store meanwhile, with its page, and afterwards until Ctrl-C (default: 127.0.0.1:8080)",
    )
    .option("--clean", "removes what runs of the demo have made: sessions, worktrees, and a store with nothing else")
    .addOption(urlOption());
  addHelp(command, examples, note).action(async (rest: string[], flags: DemoFlags) => {
    if (rest.length > 0 && flags.command === undefined)
      command.error(`error: unexpected argument '${rest[0]}': use --command to name a program to run.`);
    if (flags.command?.[0] === "") command.error("error: option '--command <argv...>' names no program.");
    const interrupt = cli.listenForInterrupt();
    let starting: () => void = () => undefined;
    try {
      if (flags.clean === true) {
        const { cleanDemo } = await import("../demo/clean.ts");
        const notify = (text: string) => cli.stdout.write(`${stripTerminalControls(text)}\n`);
        return await cleanDemo({ url: flags.url, cwd: cli.cwd, signal: interrupt.signal, notify });
      }
      // The packages and the store take a moment.
      starting = showStarting(cli.stderr, "starting ...");
      const { runDemo } = await import("../demo/run.ts");
      const { serve } = flags;
      const listen = serve === true ? "127.0.0.1:8080" : serve;
      const options = {
        repo: flags.repo,
        runners: flags.runners,
        commits: flags.commits,
        command: flags.command === undefined ? undefined : [...flags.command, ...rest],
        debug: flags.debug === true,
        url: flags.url,
        place: command.getOptionValueSource("url") === "cli" ? ["--url", flags.url] : [],
        cwd: cli.cwd,
        serve:
          listen === undefined
            ? undefined
            : async (store: OwnedStore) => (await import("./demoPage.ts")).serveDemo(store, listen),
      };
      const { stdout, stderr } = cli;
      cli.exitCode = await runDemo(options, { stdout, stderr, onStarted: starting }, interrupt.signal);
    } finally {
      starting();
      interrupt[Symbol.dispose]();
    }
  });
}
