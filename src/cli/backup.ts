// debug-server-db backup: creates, lists, verifies, restores and prunes backups. What that takes is in ../backup and ../sqlite.
import { existsSync } from "node:fs";
import { basename, resolve } from "node:path";
import type { Command } from "commander";
import { StoreError } from "../errors.ts";
import { parsePlace } from "../place.ts";
import { backupRefusal } from "../postgres/advice.ts";
import { backupFolder, findBackup, type ListedBackup, listBackups } from "../schema/manifest.ts";
import { CliError, exitCodes } from "../terminal/exit.ts";
import { formatBytes } from "../terminal/units.ts";
import { runJob, sizeOf } from "./backupJob.ts";
import { addBackupPrune, reportPruned } from "./backupPrune.ts";
import { reportRestore, restoreNote } from "./backupRestore.ts";
import { type CommandLine, pathFrom } from "./commandLine.ts";
import { column, printFields, printMessage, printRows, stateColumn } from "./rows.ts";
import { commandGroup, type StoreFlags, storeCommand } from "./storeCommand.ts";

export function addBackup(program: Command, cli: CommandLine): void {
  const backup = commandGroup(
    program,
    "backup",
    "Backs up and restores a SQLite file; for PostgreSQL, prints the command of its own tools to run.",
    ["backup create", "backup verify", "backup restore metadata-20260102T030405006Z-4711.db"],
  );

  storeCommand(
    backup,
    "create",
    "Copies the database, even while a server has it open, and verifies the copy.",
    [
      "backup create",
      "backup create --out /mnt/backups/metadata.db",
      "backup create --url sqlite:/srv/data/metadata.db --json",
    ],
    "The copy and its manifest (SHA-256, row counts, revision) have mode 0600. Inside a server, store.backup() does the same in steps.",
  )
    .option("--out <file>", "a new file (default: in the folder backups beside the database)")
    .option("--reason <text>", "recorded in the manifest", "backup create")
    .action(async (flags: StoreFlags & { out?: string; reason: string }) => {
      const path = sqlitePath(flags, "dump");
      const { prepareTarget } = await import("../sqlite/backup.ts");
      requireFile(path);
      const target = prepareTarget(path, flags.out && pathFrom(cli, flags.out));
      // The statement that copies reports no progress.
      const copy = {
        phase: "copying",
        path: target.partial,
        totalBytes: sizeOf(path) + sizeOf(`${path}-wal`),
      };
      const { manifest, pruned, ...file } = await runJob(
        cli,
        flags,
        "create",
        { path, reason: flags.reason, target },
        copy,
      );
      const { bytes, sha256, revision } = manifest;
      printFields(
        cli,
        flags,
        { ...file, manifest, pruned },
        { backup: file.path, size: formatBytes(bytes), sha256, revision, rows: String(sum(manifest.rows)) },
      );
      reportPruned(cli, flags, pruned);
    });

  storeCommand(backup, "list", "Lists the backups beside the database, oldest first.", [
    "backup list",
    "backup list --json",
  ]).action((flags: StoreFlags) => {
    const path = sqlitePath(flags, "list");
    const listed = listBackups(path);
    printRows(cli, flags, listed, listColumns);
    if (listed.length === 0) printMessage(cli, flags, `None in ${backupFolder(path)}.`);
    for (const { finding } of listed) if (finding !== undefined) printMessage(cli, flags, finding);
  });

  storeCommand(
    backup,
    "verify",
    "Compares backups with their manifests: SHA-256, integrity, row counts and revision.",
    ["backup verify", "backup verify metadata-20260102T030405006Z-4711.db --json"],
    "Exits with 5 if a backup is damaged, and with 1 if one cannot be read.",
  )
    .argument("[backup...]", "paths, or names that backup list prints (default: all that are not unfinished)")
    .action(async (names: string[], flags: StoreFlags) => {
      const path = sqlitePath(flags, "list");
      const backups = names.length > 0 ? names : completeBackups(cli, flags, path);
      if (backups.length === 0) throw new CliError("failure", `there is no backup in ${backupFolder(path)}`);
      const verifications: Verification[] = [];
      for (const name of backups) verifications.push(await verify(cli, flags, locate(cli, name), path));
      printRows(cli, flags, verifications, (rows) => [
        column("backup", rows, ({ backup: file }) => basename(file)),
        stateColumn(rows, ({ state }) => state),
        column("", rows, ({ finding }) => finding),
      ]);
      const states = new Set(verifications.map(({ state }) => state));
      if (states.has("damaged")) cli.exitCode = exitCodes.corrupt;
      else if (states.has("unreadable")) cli.exitCode = exitCodes.failure;
    });

  storeCommand(
    backup,
    "restore",
    "Replaces the database with a backup, all or nothing.",
    [
      "backup restore metadata-20260102T030405006Z-4711.db",
      "backup restore /mnt/backups/metadata.db --url sqlite:/srv/data/metadata.db",
    ],
    restoreNote,
  )
    .argument("<backup>", "its path, or its name that backup list prints")
    .option("--no-keep", "do not keep the current database as a backup")
    .option("--no-keep-revocations", "let tokens and accounts that were ended after the backup work again")
    .action(async (name: string, flags: RestoreFlags) => {
      const path = sqlitePath(flags, "restore");
      const { keep, keepRevocations } = flags;
      const restored = await runJob(cli, flags, "restore", {
        backup: locate(cli, name),
        path,
        keep,
        keepRevocations,
      });
      reportRestore(cli, flags, restored);
    });

  addBackupPrune(backup, cli, (flags) => {
    const path = sqlitePath(flags, "list");
    requireFile(path);
    return path;
  });
}

interface RestoreFlags extends StoreFlags {
  readonly keep: boolean;
  readonly keepRevocations: boolean;
}

function sqlitePath({ url }: StoreFlags, what: "dump" | "list" | "restore"): string {
  const place = parsePlace(url);
  if (place.engine === "postgres") throw backupRefusal(place.url, what);
  if (place.path === ":memory:")
    throw new CliError("usage", "url: a database in memory has no backups: name a file, such as sqlite:metadata.db");
  return resolve(place.path);
}

/** Returns the backups that were finished, also those that are damaged now, and names those that were not. */
function completeBackups(cli: CommandLine, flags: StoreFlags, source: string): string[] {
  const listed = listBackups(source);
  const unfinished = listed.filter(({ state }) => state === "unfinished").map(({ path }) => basename(path));
  if (unfinished.length > 0)
    printMessage(cli, flags, `Left out, because they were never finished: ${unfinished.join(", ")}.`);
  return listed.flatMap(({ path, state }) => (state === "unfinished" ? [] : [path]));
}

/** Prefers an existing file to a name in the folder of backups. */
function locate(cli: CommandLine, name: string): string {
  const path = pathFrom(cli, name);
  return existsSync(path) ? path : name;
}

function requireFile(path: string): void {
  if (sizeOf(path) === 0)
    throw new CliError("failure", `${path} does not exist, or is empty: there is nothing to back up`);
}

interface Verification {
  readonly backup: string;
  readonly state: "ok" | "damaged" | "unreadable";
  readonly finding: string;
}

async function verify(cli: CommandLine, flags: StoreFlags, name: string, source: string): Promise<Verification> {
  try {
    const found = findBackup(name, source);
    await runJob(cli, flags, "verify", found);
    return {
      backup: found.path,
      state: "ok",
      finding: `${sum(found.manifest.rows)} rows, revision ${found.manifest.revision}`,
    };
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    const { code, details, message } = error;
    const unreadable = details.reason === "unreadable";
    if (!unreadable && code !== "corrupt" && details.sqliteCode !== "SQLITE_NOTADB") throw error;
    return { backup: name, state: unreadable ? "unreadable" : "damaged", finding: message };
  }
}

function listColumns(rows: readonly ListedBackup[]) {
  return [
    column("backup", rows, ({ path }) => basename(path)),
    stateColumn(rows, ({ state }) => (state === "finished" ? "" : state)),
    column("created", rows, ({ manifest }) => manifest && `${manifest.createdAt.slice(0, 19)}Z`, { optional: true }),
    column("size", rows, ({ bytes }) => formatBytes(bytes), { align: "right" as const }),
    column("rows", rows, ({ manifest }) => manifest && sum(manifest.rows), { align: "right" as const, optional: true }),
    column("revision", rows, ({ manifest }) => manifest?.revision),
    column("sha256", rows, ({ manifest }) => manifest?.sha256.slice(0, 12), { optional: true }),
    column("reason", rows, ({ manifest }) => manifest?.reason),
  ];
}

function sum(rows: Readonly<Record<string, number>>): number {
  return Object.values(rows).reduce((all, count) => all + count, 0);
}
