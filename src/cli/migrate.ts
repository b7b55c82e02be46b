// debug-server-db migrate: its commands, their options and examples. What they do is in ../migrate, how it is said in migrate/report.ts.
import { Argument, type Command, Option } from "commander";
import { plan, verify } from "../migrate/dryRun.ts";
import { check, current, listHistory, listPending, stamp } from "../migrate/history.ts";
import { dialectOf, openEngine } from "../migrate/open.ts";
import { parseTarget } from "../migrate/target.ts";
import { downgrade, type Migrator, upgrade } from "../migrate/upgrade.ts";
import { createMigration, migrationsFolder, readMigrations } from "../schema/migrationFiles.ts";
import { exitCodeHelp, exitCodes } from "../terminal/exit.ts";
import { listenForInterrupt } from "../terminal/interrupt.ts";
import { formatTable, harmless, harmlessJson } from "../terminal/table.ts";
import { wholeNumber } from "../terminal/wholeNumber.ts";
import {
  type Report,
  reportCheck,
  reportCurrent,
  reportHistory,
  reportMoved,
  reportPlan,
  reportStamp,
  reportVerify,
} from "./migrateReport.ts";
import { urlOption } from "./url.ts";

interface StoreFlags {
  readonly url: string;
  readonly migrations: string;
  readonly lockTimeoutMs: number;
  readonly json?: true;
}

export function addMigrate(program: Command): void {
  const migrate = program
    .command("migrate")
    .description(
      "Brings the schema of a store to the revision that this version needs, or to another, and says what it is.",
    )
    .addHelpText("after", `${examples}\n${exitCodeHelp}`);

  onStore(
    migrate,
    "upgrade",
    "Applies migrations up to a revision, after a verified backup of a database that holds data.",
    upgradeExamples,
  )
    .addArgument(new Argument("[revision]", "a revision, +N, or head").default("head"))
    .option("--no-backup", "make no backup")
    .action(async (target: string, flags: StoreFlags & { backup: boolean }) => {
      await run(flags, { create: true, target }, async (migrator) =>
        print(flags, await upgrade(migrator, target, flags), reportMoved),
      );
    });

  onStore(
    migrate,
    "downgrade",
    "Undoes migrations down to a revision, the last one first, after a verified backup.",
    downgradeExamples,
  )
    .addArgument(new Argument("[revision]", "a revision, -N, or base").default("-1"))
    .option("--no-backup", "make no backup")
    .option("--allow-data-loss", "go on although data is dropped", false)
    .action(async (target: string, flags: StoreFlags & { backup: boolean; allowDataLoss: boolean }) => {
      await run(flags, {}, async (migrator) => print(flags, await downgrade(migrator, target, flags), reportMoved));
    });

  onStore(migrate, "current", "Says at which revision the schema is.", currentExamples).action(
    async (flags: StoreFlags) => {
      await run(flags, {}, async (migrator) => print(flags, await current(migrator), reportCurrent));
    },
  );

  onStore(migrate, "history", "Lists all migrations and when they were applied.", historyExamples)
    .option("-r, --range <first:last>", "only these; either end may be left out", ":")
    .action(async (flags: StoreFlags & { range: string }) => {
      await run(flags, {}, async (migrator) => print(flags, await listHistory(migrator, flags.range), reportHistory));
    });

  onStore(migrate, "pending", "Lists the migrations that were not applied.", pendingExamples).action(
    async (flags: StoreFlags) => {
      await run(flags, {}, async (migrator) => print(flags, await listPending(migrator), reportHistory));
    },
  );

  onStore(
    migrate,
    "stamp",
    "Notes that the schema is at a revision, with the files as they are now, and runs nothing.",
    stampExamples,
  )
    .argument("<revision>", "a revision, head or base")
    .action(async (target: string, flags: StoreFlags) => {
      await run(flags, {}, async (migrator) => print(flags, await stamp(migrator, target), reportStamp));
    });

  onStore(
    migrate,
    "check",
    "Looks for migrations that were not applied, or edited afterwards, and for a schema that is not what they make.",
    checkExamples,
  ).action(async (flags: StoreFlags) => {
    await run(flags, {}, async (migrator) => {
      const findings = await check(migrator);
      print(flags, findings, reportCheck);
      if (findings.length > 0)
        process.exitCode = findings.some(({ kind }) => kind === "edited")
          ? exitCodes.editedMigration
          : exitCodes.finding;
    });
  });

  onStore(
    migrate,
    "plan",
    "A dry run: the real migrations on a copy, with what they change and how long they take.",
    planExamples,
  )
    .addArgument(new Argument("[revision]", "a revision, +N, -N, head or base").default("head"))
    .action(async (target: string, flags: StoreFlags) => {
      await run(flags, {}, async (migrator) => print(flags, await plan(migrator, target), reportPlan));
    });

  onStore(
    migrate,
    "verify",
    "Goes up, down and up again on a copy, and compares the schema at every revision.",
    verifyExamples,
  ).action(async (flags: StoreFlags) => {
    await run(flags, {}, async (migrator) => {
      const verified = await verify(migrator);
      print(flags, verified, reportVerify);
      if (verified.faults.length > 0) process.exitCode = exitCodes.finding;
    });
  });

  migrate
    .command("revision")
    .description("Makes the files of a new migration, one for each dialect, to be filled in.")
    .requiredOption("-m, --message <text>", "what the migration is for")
    .addOption(migrationsOption())
    .option("--json", "print JSON", false)
    .addHelpText("after", `${revisionExamples}\n${exitCodeHelp}`)
    .action((flags: { message: string; migrations: string; json: boolean }) => {
      const files = createMigration(flags.message, flags.migrations);
      process.stdout.write(
        flags.json ? `${harmlessJson(JSON.stringify({ files }))}\n` : files.map((file) => `${file}\n`).join(""),
      );
    });
}

function onStore(migrate: Command, name: string, description: string, exampleText: string): Command {
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
    .addHelpText("after", `${exampleText}\n${exitCodeHelp}`);
}

function migrationsOption(): Option {
  return new Option("--migrations <folder>", "the migration files").default(migrationsFolder, "those of this version");
}

async function run(
  flags: StoreFlags,
  { create = false, target }: { readonly create?: boolean; readonly target?: string },
  work: (migrator: Migrator) => Promise<void>,
): Promise<void> {
  const migrations = readMigrations(dialectOf(flags.url), flags.migrations);
  // Before a file is made for it. Where a number of steps leads is known only to the database.
  if (target !== undefined && !/^[+-]\d/.test(target)) parseTarget(target, migrations, 0);
  const interrupt = listenForInterrupt();
  try {
    const engine = await openEngine(flags.url, {
      create,
      lockTimeoutMs: flags.lockTimeoutMs,
      signal: interrupt.signal,
      onWait,
      onBackupAdvice,
    });
    try {
      await work({ engine, migrations, now: () => Date.now() });
    } finally {
      await engine.close();
    }
  } finally {
    interrupt[Symbol.dispose]();
  }
}

function onWait(): void {
  process.stderr.write("debug-server-db: waiting for another process that writes\n");
}

function onBackupAdvice(advice: string): void {
  process.stderr.write(`debug-server-db: ${harmless(advice)}\n`);
}

function print<Result>({ json }: Pick<StoreFlags, "json">, result: Result, report: (result: Result) => Report): void {
  const format = (part: Report[number]) =>
    typeof part === "string" ? harmless(part) : formatTable(part, process.stdout);
  process.stdout.write(json ? `${harmlessJson(JSON.stringify(result))}\n` : report(result).map(format).join(""));
}

const examples = `
Examples:
  debug-server-db migrate upgrade
  debug-server-db migrate check --json
  debug-server-db migrate downgrade -1 --url sqlite:metadata.db`;

const upgradeExamples = `
Examples:
  debug-server-db migrate upgrade
  debug-server-db migrate upgrade +1
  debug-server-db migrate upgrade 0002 --url sqlite:metadata.db --no-backup

Of several that upgrade at once, one does it and the others find it done. After a failure nothing has changed.`;

const downgradeExamples = `
Examples:
  debug-server-db migrate downgrade
  debug-server-db migrate downgrade 0001
  debug-server-db migrate downgrade base --allow-data-loss

What would be lost is counted first, and without --allow-data-loss nothing is done. Values that a migration overwrites are not counted.`;

const currentExamples = `
Examples:
  debug-server-db migrate current
  debug-server-db migrate current --json`;

const historyExamples = `
Examples:
  debug-server-db migrate history
  debug-server-db migrate history -r 0001:0002
  debug-server-db migrate history -r 0002:`;

const pendingExamples = `
Examples:
  debug-server-db migrate pending
  debug-server-db migrate pending --json`;

const stampExamples = `
Examples:
  debug-server-db migrate stamp head
  debug-server-db migrate stamp 0001

For a schema that was made in another way, and after a comment in an applied file was mended. What then differs is printed.`;

const checkExamples = `
Examples:
  debug-server-db migrate check
  debug-server-db migrate check --json

Ends with 3 when it found something, and with 6 when an applied migration was edited.`;

const planExamples = `
Examples:
  debug-server-db migrate plan
  debug-server-db migrate plan -1

The copy lies in the folder for temporary files (TMPDIR) and is removed afterwards.`;

const verifyExamples = `
Examples:
  debug-server-db migrate verify
  debug-server-db migrate verify --json

Ends with 3 when a revision's schema depends on the way by which it was reached.`;

const revisionExamples = `
Examples:
  debug-server-db migrate revision -m "Sessions know their branch"
  debug-server-db migrate revision -m "Labels" --migrations migrations`;
