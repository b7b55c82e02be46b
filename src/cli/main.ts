// The command line: wiring only. Each group of commands is one file, and adds itself to the program.
import { Command } from "commander";
import { packageVersion } from "../package.ts";
import { exitCodeHelp, exitCodeOf, sentenceOf } from "../terminal/exit.ts";
import { harmless } from "../terminal/table.ts";
import { addAdmin } from "./admin.ts";
import { addArtifacts } from "./artifacts.ts";
import { addBackup } from "./backup.ts";
import { addCommands } from "./commands.ts";
import { addConfig, addInfo } from "./config.ts";
import { addDebug } from "./debug.ts";
import { addDemo } from "./demo.ts";
import { addHealth } from "./health.ts";
import { addLogs } from "./logs.ts";
import { addMaintenance } from "./maintenance.ts";
import { addMigrate } from "./migrate.ts";
import { addRepositories } from "./repositories.ts";
import { addRunners } from "./runners.ts";
import { addSessions } from "./sessions.ts";
import { addWorktrees } from "./worktrees.ts";

const groups: readonly ((program: Command) => void)[] = [
  addDemo,
  addHealth,
  addMigrate,
  addAdmin,
  addRepositories,
  addRunners,
  addSessions,
  addWorktrees,
  addCommands,
  addArtifacts,
  addLogs,
  addDebug,
  addBackup,
  addMaintenance,
  addInfo,
  addConfig,
];

export async function main(argv: string[]): Promise<void> {
  process.stdout.on("error", ignoreNoReader);
  process.stderr.on("error", ignoreNoReader);
  try {
    await createProgram().parseAsync(argv, { from: "user" });
  } catch (error) {
    process.exitCode = exitCodeOf(error);
    const sentence = sentenceOf(error);
    if (sentence !== undefined) process.stderr.write(`debug-server-db: ${harmless(sentence)}\n`);
  }
}

/** Whoever reads may stop before the end, and a terminal may be closed; what is under way is finished or given back all the same. */
function ignoreNoReader(error: NodeJS.ErrnoException): void {
  if (error.code !== "EPIPE" && error.code !== "EIO") throw error;
}

export function createProgram(): Command {
  // Settings first: commands inherit those that their parent has when they are added.
  const program = new Command("debug-server-db")
    .description("The metadata store of a debug/test server.")
    .version(packageVersion)
    .exitOverride()
    // An argument comes back in the message about it.
    .configureOutput({ outputError: (text, write) => write(harmless(text.replace(/^error: /, "debug-server-db: "))) })
    .addHelpText("after", `${exitCodeHelp}\nMessages go to stderr, results to stdout.`);
  for (const add of groups) add(program);
  return program;
}
