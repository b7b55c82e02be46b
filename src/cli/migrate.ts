// debug-server-db migrate: its commands with their options and examples. What they do is in migrateActions.ts.
import { Argument, type Command, Option } from "commander";
import { migrationsFolder } from "../schema/migrationFiles.ts";
import { wholeNumber } from "../terminal/wholeNumber.ts";
import type { CommandLine } from "./commandLine.ts";
import type { DowngradeFlags, MigrateFlags, RevisionFlags, UpgradeFlags } from "./migrateActions.ts";
import { commandGroup, helpAfter } from "./storeCommand.ts";
import { urlOption } from "./url.ts";

const actions = () => import("./migrateActions.ts");

export function addMigrate(program: Command, cli: CommandLine): void {
  const migrate = commandGroup(
    program,
    "migrate",
    "Brings the schema of a store to the revision that this version needs, or to another, and says what it is.",
    ["migrate upgrade", "migrate check --json", "migrate downgrade -1 --url sqlite:metadata.db"],
  );

  migrateCommand(
    migrate,
    "upgrade",
    "Applies migrations up to a revision, after a verified backup of a database that holds data.",
    ["migrate upgrade", "migrate upgrade +1", "migrate upgrade 0002 --url sqlite:metadata.db --no-backup"],
    "Of several that upgrade at once, one does it and the others find it done. After a failure nothing has changed.",
  )
    .addArgument(new Argument("[revision]", "a revision, +N, or head").default("head"))
    .option("--no-backup", "make no backup")
    .action(async (target: string, flags: UpgradeFlags) => (await actions()).runUpgrade(cli, target, flags));

  migrateCommand(
    migrate,
    "downgrade",
    "Undoes migrations down to a revision, the last one first, after a verified backup.",
    ["migrate downgrade", "migrate downgrade 0001", "migrate downgrade base --allow-data-loss"],
    "What would be lost is counted first, and without --allow-data-loss nothing is done. Values that a migration overwrites are not counted.",
  )
    .addArgument(new Argument("[revision]", "a revision, -N, or base").default("-1"))
    .option("--no-backup", "make no backup")
    .option("--allow-data-loss", "go on although data is dropped", false)
    .action(async (target: string, flags: DowngradeFlags) => (await actions()).runDowngrade(cli, target, flags));

  migrateCommand(migrate, "current", "Says at which revision the schema is.", [
    "migrate current",
    "migrate current --json",
  ]).action(async (flags: MigrateFlags) => (await actions()).runCurrent(cli, flags));

  migrateCommand(migrate, "history", "Lists all migrations and when they were applied.", [
    "migrate history",
    "migrate history -r 0001:0002",
    "migrate history -r 0002:",
  ])
    .option("-r, --range <first:last>", "only these; either end may be left out", ":")
    .action(async (flags: MigrateFlags & { range: string }) => (await actions()).runHistory(cli, flags));

  migrateCommand(migrate, "pending", "Lists the migrations that were not applied.", [
    "migrate pending",
    "migrate pending --json",
  ]).action(async (flags: MigrateFlags) => (await actions()).runPending(cli, flags));

  migrateCommand(
    migrate,
    "stamp",
    "Notes that the schema is at a revision, with the files as they are now, and runs nothing.",
    ["migrate stamp head", "migrate stamp 0001"],
    "For a schema that was made in another way, and after a comment in an applied file was mended. What then differs is printed.",
  )
    .argument("<revision>", "a revision, head or base")
    .action(async (target: string, flags: MigrateFlags) => (await actions()).runStamp(cli, target, flags));

  migrateCommand(
    migrate,
    "check",
    "Looks for migrations that were not applied, or edited afterwards, and for a schema that is not what they make.",
    ["migrate check", "migrate check --json"],
    "Ends with 3 when it found something, and with 6 when an applied migration was edited.",
  ).action(async (flags: MigrateFlags) => (await actions()).runCheck(cli, flags));

  migrateCommand(
    migrate,
    "plan",
    "A dry run: the real migrations on a copy, with what they change and how long they take.",
    ["migrate plan", "migrate plan -1"],
    "The copy lies in the folder for temporary files (TMPDIR) and is removed afterwards.",
  )
    .addArgument(new Argument("[revision]", "a revision, +N, -N, head or base").default("head"))
    .action(async (target: string, flags: MigrateFlags) => (await actions()).runPlan(cli, target, flags));

  migrateCommand(
    migrate,
    "verify",
    "Goes up, down and up again on a copy, and compares the schema at every revision.",
    ["migrate verify", "migrate verify --json"],
    "Ends with 3 when a revision's schema depends on the way by which it was reached.",
  ).action(async (flags: MigrateFlags) => (await actions()).runVerify(cli, flags));

  migrate
    .command("revision")
    .description("Makes the files of a new migration, one for each dialect, to be filled in.")
    .requiredOption("-m, --message <text>", "what the migration is for")
    .addOption(migrationsOption())
    .option("--json", "print JSON", false)
    .addHelpText(
      "after",
      helpAfter([
        'migrate revision -m "Sessions know their branch"',
        'migrate revision -m "Labels" --migrations migrations',
      ]),
    )
    .action(async (flags: RevisionFlags) => (await actions()).runRevision(cli, flags));
}

function migrateCommand(
  migrate: Command,
  name: string,
  description: string,
  examples: readonly string[],
  note?: string,
): Command {
  return migrate
    .command(name)
    .description(description)
    .addOption(urlOption())
    .addOption(migrationsOption())
    .addOption(
      new Option("--lock-timeout-ms <number>", "how long to wait for others that write")
        .default(10_000)
        .argParser(wholeNumber(0, 3_600_000)),
    )
    .option("--json", "print JSON")
    .addHelpText("after", helpAfter(examples, note));
}

function migrationsOption(): Option {
  return new Option("--migrations <folder>", "the migration files").default(migrationsFolder, "those of this version");
}
