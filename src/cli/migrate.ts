// debug-server-db migrate: its commands with their options and examples. What they do is in migrateActions.ts.
import { Argument, type Command, Option } from "commander";
import { migrationsFolder } from "../schema/migrationFiles.ts";
import { wholeNumber } from "../terminal/wholeNumber.ts";
import type { CommandLine } from "./commandLine.ts";
import { addHelp } from "./help.ts";
import type { DowngradeFlags, MigrateFlags, RevisionFlags, UpgradeFlags } from "./migrateActions.ts";
import { commandGroup } from "./storeCommand.ts";
import { urlOption } from "./url.ts";

const actions = () => import("./migrateActions.ts");

export function addMigrate(program: Command, cli: CommandLine): void {
  const migrate = commandGroup(
    program,
    "migrate",
    "Moves the schema of a store to the revision that this version needs, or to another one, and shows its state.",
    ["migrate upgrade", "migrate check --json", "migrate downgrade -1 --url sqlite:metadata.db"],
  );

  migrateCommand(
    migrate,
    "upgrade",
    "Applies migrations up to a revision. A database with data gets a verified backup first.",
    ["migrate upgrade", "migrate upgrade +1", "migrate upgrade 0002 --url sqlite:metadata.db --no-backup"],
    "If several processes upgrade at once, one does the work and the others find it done. A failed upgrade changes nothing.",
  )
    .addArgument(new Argument("[revision]", "a revision, +N, or head").default("head"))
    .option("--no-backup", "skip the backup")
    .action(async (target: string, flags: UpgradeFlags) => (await actions()).runUpgrade(cli, target, flags));

  migrateCommand(
    migrate,
    "downgrade",
    "Reverts migrations down to a revision, newest first, after a verified backup.",
    ["migrate downgrade", "migrate downgrade 0001", "migrate downgrade base --allow-data-loss"],
    "Counts first what would be lost; if that is anything, only --allow-data-loss continues. Values that a migration overwrites are not counted.",
  )
    .addArgument(new Argument("[revision]", "a revision, -N, or base").default("-1"))
    .option("--no-backup", "skip the backup")
    .option("--allow-data-loss", "continue even if data is lost", false)
    .action(async (target: string, flags: DowngradeFlags) => (await actions()).runDowngrade(cli, target, flags));

  migrateCommand(migrate, "current", "Shows the revision of the schema.", [
    "migrate current",
    "migrate current --json",
  ]).action(async (flags: MigrateFlags) => (await actions()).runCurrent(cli, flags));

  migrateCommand(migrate, "history", "Lists all migrations and when they were applied.", [
    "migrate history",
    "migrate history -r 0001:0002",
    "migrate history -r 0002:",
  ])
    .option("-r, --range <first:last>", "only these revisions; either end may be omitted", ":")
    .action(async (flags: MigrateFlags & { range: string }) => (await actions()).runHistory(cli, flags));

  migrateCommand(migrate, "pending", "Lists the migrations that have not been applied.", [
    "migrate pending",
    "migrate pending --json",
  ]).action(async (flags: MigrateFlags) => (await actions()).runPending(cli, flags));

  migrateCommand(
    migrate,
    "stamp",
    "Records that the schema is at a revision, with the files as they are now, and runs nothing.",
    ["migrate stamp head", "migrate stamp 0001"],
    "For a schema that was created in another way, or after a comment in an applied file was corrected. Prints what differs then.",
  )
    .argument("<revision>", "a revision, head or base")
    .action(async (target: string, flags: MigrateFlags) => (await actions()).runStamp(cli, target, flags));

  migrateCommand(
    migrate,
    "check",
    "Checks for migrations that are pending or were edited, and for a schema that differs from what they create.",
    ["migrate check", "migrate check --json"],
    "Exits with 3 if it finds something, and with 6 if an applied migration was edited.",
  ).action(async (flags: MigrateFlags) => (await actions()).runCheck(cli, flags));

  migrateCommand(
    migrate,
    "plan",
    "Runs the migrations on a copy, and shows what they change and how long they take.",
    ["migrate plan", "migrate plan -1"],
    "The copy is created in the folder for temporary files (TMPDIR) and removed afterwards.",
  )
    .addArgument(new Argument("[revision]", "a revision, +N, -N, head or base").default("head"))
    .action(async (target: string, flags: MigrateFlags) => (await actions()).runPlan(cli, target, flags));

  migrateCommand(
    migrate,
    "verify",
    "Upgrades, downgrades and upgrades again on a copy, and compares the schema at every revision.",
    ["migrate verify", "migrate verify --json"],
    "Exits with 3 if the schema of a revision depends on the path to it.",
  ).action(async (flags: MigrateFlags) => (await actions()).runVerify(cli, flags));

  const revision = migrate
    .command("revision")
    .description("Creates the files of a new migration, one per dialect, to fill in.")
    .requiredOption("-m, --message <text>", "what the migration does; also part of the file names")
    .addOption(migrationsOption())
    .option("--json", "print JSON", false);
  addHelp(revision, [
    'migrate revision -m "Add a branch to sessions"',
    'migrate revision -m "Labels" --migrations migrations',
  ]).action(async (flags: RevisionFlags) => (await actions()).runRevision(cli, flags));
}

function migrateCommand(
  migrate: Command,
  name: string,
  description: string,
  examples: readonly string[],
  note?: string,
): Command {
  const command = migrate
    .command(name)
    .description(description)
    .addOption(urlOption())
    .addOption(migrationsOption())
    .addOption(
      new Option("--lock-timeout-ms <number>", "how long to wait for other processes")
        .default(10_000)
        .argParser(wholeNumber(0, 3_600_000)),
    )
    .option("--json", "print JSON");
  return addHelp(command, examples, note);
}

function migrationsOption(): Option {
  return new Option("--migrations <folder>", "the folder of the migration files").default(
    migrationsFolder,
    "that of this version",
  );
}
