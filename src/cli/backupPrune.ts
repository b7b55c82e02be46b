// debug-server-db backup prune: removes the backups of a store that are past its bounds, and reports what went.
import { type Command, Option } from "commander";
import { StoreError } from "../errors.ts";
import { parsePlace } from "../place.ts";
import type { PrunedBackups } from "../schema/manifest.ts";
import { backupFolder } from "../schema/manifest.ts";
import { exitCodes } from "../terminal/exit.ts";
import { wholeNumber } from "../terminal/wholeNumber.ts";
import { runJob } from "./backupJob.ts";
import { type CommandLine, pathFrom } from "./commandLine.ts";
import { duration } from "./duration.ts";
import { column, type PrintFlags, printMessage, printRows, stateColumn } from "./rows.ts";
import { type StoreFlags, storeCommand } from "./storeCommand.ts";

interface PruneFlags extends StoreFlags {
  readonly folder?: string;
  readonly keep?: number;
  readonly olderThan?: number;
  readonly dryRun?: true;
}

/** Adds the command. `sourceOf` returns the path of the database, which has to exist. */
export function addBackupPrune(group: Command, cli: CommandLine, sourceOf: (flags: StoreFlags) => string): void {
  storeCommand(
    group,
    "prune",
    "Removes backups of this store that are past its bounds, or shows which would go.",
    ["backup prune --dry-run", "backup prune --keep 10 --older-than 30d", "backup prune --folder /mnt/backups"],
    "The bounds are the settings backups and backupsMax (maintenance retention), which backup create goes by too; the options replace them. Only backups go whose manifest names this store and this database. The newest whole one stays, and so does one that is being restored. Exits with 1 if another one could not be removed.",
  )
    .option("--folder <folder>", "the folder of the backups (default: backups beside the database)")
    .addOption(new Option("--keep <number>", "keep the newest so many").argParser(wholeNumber(1, 10_000)))
    .addOption(
      new Option("--older-than <time>", "remove those that are older, such as 30d").argParser(
        duration(1_000, 3_155_760_000_000),
      ),
    )
    .option("--dry-run", "remove nothing, and show what would go")
    .action(async (flags: PruneFlags) => {
      const place = parsePlace(flags.url);
      if (place.engine === "postgres")
        throw new StoreError(
          "incompatible",
          "PostgreSQL is backed up with its own tools: remove their dumps where you keep them",
          { details: { reason: "postgres" } },
        );
      const source = sourceOf(flags);
      const { bounds, ...pruned } = await runJob(cli, flags, "prune", {
        source,
        folder: flags.folder === undefined ? backupFolder(source) : pathFrom(cli, flags.folder),
        instead: {
          ...(flags.keep !== undefined && { backupsMax: flags.keep }),
          ...(flags.olderThan !== undefined && { backupsMs: flags.olderThan }),
        },
        dryRun: flags.dryRun === true,
      });
      const state = flags.dryRun === true ? "would go" : "removed";
      const rows = [
        ...pruned.removed.map((path) => ({ path, state, reason: null })),
        ...pruned.left.map(({ path, reason }) => ({ path, state: "left", reason })),
      ];
      printRows(cli, flags, rows, (all) => [
        column("backup", all, ({ path }) => path),
        stateColumn(all, (row) => row.state),
        column("reason", all, ({ reason }) => reason),
      ]);
      if (bounds.backupsMs === null && bounds.backupsMax === null)
        printMessage(
          cli,
          flags,
          "All backups are kept: name --keep or --older-than, or run debug-server-db maintenance retention --set backups=30d backupsMax=10.",
        );
      if (pruned.left.length > 0) cli.exitCode = exitCodes.failure;
    });
}

/** Reports what went because a backup was made. */
export function reportPruned(cli: CommandLine, flags: PrintFlags, { removed, left }: PrunedBackups): void {
  for (const path of removed) printMessage(cli, flags, `Removed ${path}, which retention keeps no longer.`);
  for (const { path, reason } of left) printMessage(cli, flags, `${path} could not be removed: ${reason}`);
}
