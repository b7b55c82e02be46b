// The command line as a function: arguments in, exit code out. Each group of commands is one file, and adds itself to
// the program.
import { Command } from "commander";
import { packageVersion } from "../package.ts";
import { stripTerminalControls } from "../terminal/controls.ts";
import { exitCodeHelp, exitCodeOf, sentenceOf } from "../terminal/exit.ts";
import { addAdmin } from "./admin.ts";
import { addArtifacts } from "./artifacts.ts";
import { addBackup } from "./backup.ts";
import { addChanges } from "./changes.ts";
import { type CommandLine, createCommandLine, type Surroundings } from "./commandLine.ts";
import { addCommands } from "./commands.ts";
import { addConfig } from "./config.ts";
import { addDebug } from "./debug.ts";
import { addDemo } from "./demo.ts";
import { addEnvironments } from "./environments.ts";
import { addFiles } from "./files.ts";
import { addFsck } from "./fsck.ts";
import { addHealth } from "./health.ts";
import { addHelpNotes, withoutVainHelp } from "./help.ts";
import { addInfo } from "./info.ts";
import { addLogs } from "./logs.ts";
import { addMaintenance } from "./maintenance.ts";
import { addMigrate } from "./migrate.ts";
import { addPatches } from "./patches.ts";
import { addRepositories } from "./repositories.ts";
import { addRunners } from "./runners.ts";
import { addServe } from "./serve.ts";
import { addSessions } from "./sessions.ts";
import { settleUrl } from "./url.ts";
import { addUsage } from "./usage.ts";
import { addWorktrees } from "./worktrees.ts";

const groups: readonly ((program: Command, cli: CommandLine) => void)[] = [
  addDemo,
  addServe,
  addHealth,
  addMigrate,
  addAdmin,
  addRepositories,
  addRunners,
  addSessions,
  addWorktrees,
  addCommands,
  addArtifacts,
  addPatches,
  addEnvironments,
  addFiles,
  addLogs,
  addChanges,
  addDebug,
  addBackup,
  addFsck,
  addMaintenance,
  addUsage,
  addInfo,
  addConfig,
];

/**
 * Runs one command and returns its exit code. Never throws, and leaves the process as it was: its exit code, signals
 * and streams.
 */
export async function runCommandLine(argv: readonly string[], surroundings: Surroundings): Promise<number> {
  const cli = createCommandLine(surroundings);
  try {
    const program = createProgram(cli);
    await program.parseAsync(withoutVainHelp(program, argv), { from: "user" });
    return cli.exitCode;
  } catch (error) {
    const sentence = sentenceOf(error);
    if (sentence !== undefined) cli.stderr.write(`debug-server-db: ${stripTerminalControls(sentence)}\n`);
    return exitCodeOf(error);
  }
}

/**
 * Creates the commands, with all names, options and help texts. The modules that do the work are loaded when a command
 * runs.
 */
export function createProgram(cli: CommandLine): Command {
  const { stdout, stderr } = cli;
  // Settings first: commands inherit those that their parent has when they are added.
  const program = new Command("debug-server-db")
    .description("The metadata store of a debug/test server.")
    .version(packageVersion)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => stdout.write(text),
      writeErr: (text) => stderr.write(text),
      getOutHelpWidth: () => stdout.columns as number,
      getErrHelpWidth: () => stderr.columns as number,
      getOutHasColors: () => stdout.hasColors,
      getErrHasColors: () => stderr.hasColors,
      // A message repeats the argument that it is about.
      outputError: (text, write) => write(stripTerminalControls(text.replace(/^error: /, "debug-server-db: "))),
    })
    .hook("preAction", (_, command) => settleUrl(cli, command));
  addHelpNotes(program, "", [`${exitCodeHelp}\nResults go to stdout, messages to stderr.`]);
  for (const add of groups) add(program, cli);
  return program;
}
