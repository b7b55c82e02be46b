// The actions of debug-server-db migrate: opens the database, moves or inspects its schema, and prints the result.
// Loaded when one of its commands runs.
import { plan, verify } from "../migrate/dryRun.ts";
import { check, current, listHistory, listPending, stamp } from "../migrate/history.ts";
import { dialectOf, openEngine } from "../migrate/open.ts";
import { parseTarget } from "../migrate/target.ts";
import { downgrade, type Migrator, upgrade } from "../migrate/upgrade.ts";
import { createMigration, readMigrations } from "../schema/migrationFiles.ts";
import { escapeJsonControls, stripTerminalControls } from "../terminal/controls.ts";
import { exitCodes } from "../terminal/exit.ts";
import { formatTable } from "../terminal/table.ts";
import { type CommandLine, pathFrom } from "./commandLine.ts";
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

export interface MigrateFlags {
  readonly url: string;
  readonly migrations: string;
  readonly lockTimeoutMs: number;
  readonly json?: true;
}

export interface UpgradeFlags extends MigrateFlags {
  readonly backup: boolean;
}

export interface DowngradeFlags extends UpgradeFlags {
  readonly allowDataLoss: boolean;
}

export interface RevisionFlags {
  readonly message: string;
  readonly migrations: string;
  readonly json: boolean;
}

export function runUpgrade(cli: CommandLine, target: string, flags: UpgradeFlags): Promise<void> {
  return run(cli, flags, async (migrator) => print(cli, flags, await upgrade(migrator, target, flags), reportMoved), {
    create: true,
    target,
  });
}

export function runDowngrade(cli: CommandLine, target: string, flags: DowngradeFlags): Promise<void> {
  return run(cli, flags, async (migrator) => print(cli, flags, await downgrade(migrator, target, flags), reportMoved));
}

export function runCurrent(cli: CommandLine, flags: MigrateFlags): Promise<void> {
  return run(cli, flags, async (migrator) => print(cli, flags, await current(migrator), reportCurrent));
}

export function runHistory(cli: CommandLine, flags: MigrateFlags & { readonly range: string }): Promise<void> {
  return run(cli, flags, async (migrator) =>
    print(cli, flags, await listHistory(migrator, flags.range), reportHistory),
  );
}

export function runPending(cli: CommandLine, flags: MigrateFlags): Promise<void> {
  return run(cli, flags, async (migrator) => print(cli, flags, await listPending(migrator), reportHistory));
}

export function runStamp(cli: CommandLine, target: string, flags: MigrateFlags): Promise<void> {
  return run(cli, flags, async (migrator) => print(cli, flags, await stamp(migrator, target), reportStamp));
}

export function runCheck(cli: CommandLine, flags: MigrateFlags): Promise<void> {
  return run(cli, flags, async (migrator) => {
    const findings = await check(migrator);
    print(cli, flags, findings, reportCheck);
    if (findings.length > 0) cli.exitCode = exitCodes.finding;
    if (findings.some(({ kind }) => kind === "edited")) cli.exitCode = exitCodes.editedMigration;
  });
}

export function runPlan(cli: CommandLine, target: string, flags: MigrateFlags): Promise<void> {
  return run(cli, flags, async (migrator) => print(cli, flags, await plan(migrator, target), reportPlan));
}

export function runVerify(cli: CommandLine, flags: MigrateFlags): Promise<void> {
  return run(cli, flags, async (migrator) => {
    const verified = await verify(migrator);
    print(cli, flags, verified, reportVerify);
    if (verified.faults.length > 0) cli.exitCode = exitCodes.finding;
  });
}

export function runRevision(cli: CommandLine, { message, migrations, json }: RevisionFlags): void {
  const files = createMigration(message, pathFrom(cli, migrations));
  cli.stdout.write(
    json ? `${escapeJsonControls(JSON.stringify({ files }))}\n` : files.map((file) => `${file}\n`).join(""),
  );
}

async function run(
  cli: CommandLine,
  flags: MigrateFlags,
  work: (migrator: Migrator) => Promise<void>,
  { create = false, target }: { readonly create?: boolean; readonly target?: string } = {},
): Promise<void> {
  const migrations = readMigrations(dialectOf(flags.url), pathFrom(cli, flags.migrations));
  // Checked before a database is created. Where a number of steps leads, only the database knows.
  if (target !== undefined && !/^[+-]\d/.test(target)) parseTarget(target, migrations, 0);
  const interrupt = cli.listenForInterrupt();
  const notify = (text: string) => cli.stderr.write(`debug-server-db: ${stripTerminalControls(text)}\n`);
  try {
    const engine = await openEngine(flags.url, {
      create,
      lockTimeoutMs: flags.lockTimeoutMs,
      signal: interrupt.signal,
      onWait: () => notify("waiting for another process that uses the database"),
      onBackupAdvice: notify,
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

function print<Result>(
  { stdout }: CommandLine,
  { json }: Pick<MigrateFlags, "json">,
  result: Result,
  report: (result: Result) => Report,
): void {
  const format = (part: Report[number]) =>
    typeof part === "string" ? stripTerminalControls(part) : formatTable(part, stdout);
  stdout.write(json ? `${escapeJsonControls(JSON.stringify(result))}\n` : report(result).map(format).join(""));
}
