// debug-server-db files: lists files that the store no longer needs, and removes those in local folders and in the folder
// of a log archive.
import { type Command, Option } from "commander";
import { StoreError } from "../errors.ts";
import type { DiscardedFile } from "../model/files.ts";
import { maskUrl } from "../model/masking.ts";
import { type FileKind, fileKinds } from "../model/vocabulary.ts";
import { present } from "../present.ts";
import { exitCodes } from "../terminal/exit.ts";
import type { Column } from "../terminal/table.ts";
import { formatBytes } from "../terminal/units.ts";
import { type CommandLine, pathFrom } from "./commandLine.ts";
import { collect } from "./pages.ts";
import { column, formatTime, printFields, printMessage, printPage } from "./rows.ts";
import { commandGroup, type ListFlags, listCommand, type StoreFlags, storeCommand } from "./storeCommand.ts";
import { visit } from "./visit.ts";

export function addFiles(program: Command, cli: CommandLine): void {
  const group = commandGroup(program, "files", "Lists and removes files that the store no longer needs.", [
    "files list",
    "files collect --folder /srv/artifacts",
  ]);
  listCommand(group, "files that wait to be removed", ["files list --kind artifact"])
    .addOption(new Option("--kind <kind...>", "only of this kind, or of one of these").choices(fileKinds))
    .action(async (flags: ListFlags & { kind?: FileKind[] }) => {
      const page = await visit(cli, flags, (store) =>
        collect(flags, (paged) => store.files.list({ ...present({ kind: flags.kind }), ...paged })),
      );
      printPage(cli, flags, page, fileColumns);
    });
  storeCommand(
    group,
    "collect",
    "Removes the files of artifacts, patches and environments that have gone, and logs that have left the store.",
    [
      "files collect --folder /srv/artifacts --dry-run",
      "files collect --folder /srv/artifacts",
      "files collect --folder /srv/artifacts --watch",
      "files collect --folder /srv/environments --place build-7",
      "files collect --log-archive /srv/logs",
    ],
    "Only files in these folders and their subfolders are removed. Others are left alone, with the reason in `files list`. A file is due a minute after the store has ceased to need it. A server that has the log archive removes logs from there by itself.",
  )
    .option(
      "--folder <path...>",
      "a folder in which files of artifacts, patches and environments may be removed; several may be named",
    )
    .option("--log-archive <folder>", "the log archive from which logs are removed that have left the store")
    .option("--place <name>", "the place whose environments are removed, instead of what belongs to no place", "")
    .addOption(new Option("--watch", "go on until Ctrl-C, and remove files as they become due").conflicts("dryRun"))
    .option("--dry-run", "remove nothing, and say what would be removed")
    .action(async (flags: CollectFlags) => {
      if (kindsOf(flags).length === 0)
        throw new StoreError(
          "invalid_input",
          "name the folders of artifacts, patches and environments with --folder, or a log archive with --log-archive",
        );
      if (flags.dryRun === true) return await showDue(cli, flags);
      const { collectFiles } = await import("../collector/collectFiles.ts");
      const total = await visit(cli, flags, (store, { signal }) =>
        collectFiles(store, {
          folders: foldersOf(cli, flags),
          kinds: kindsOf(flags),
          place: flags.place,
          ...present({ logArchive: archiveOf(cli, flags) }),
          once: flags.watch !== true,
          signal,
          onFile(file, error) {
            if (error !== undefined) printMessage(cli, flags, `${maskUrl(file.uri)}: ${error.message}`);
          },
        }),
      );
      const { removed, failed } = total;
      printFields(cli, flags, total, { removed: String(removed), failed: String(failed) });
      if (failed > 0) cli.exitCode = exitCodes.failure;
    });
}

type CollectFlags = StoreFlags & { place: string; folder?: string[]; logArchive?: string; watch?: true; dryRun?: true };

function foldersOf(cli: CommandLine, { folder = [] }: CollectFlags): string[] {
  return folder.map((one) => pathFrom(cli, one));
}

function archiveOf(cli: CommandLine, { logArchive }: CollectFlags): { readonly folder: string } | undefined {
  return logArchive === undefined ? undefined : { folder: pathFrom(cli, logArchive) };
}

/** Returns the kinds of files for which there is a place. */
function kindsOf({ folder, logArchive }: CollectFlags): FileKind[] {
  return fileKinds.filter((kind) => (kind === "log" ? logArchive : folder) !== undefined);
}

/** Prints what `files collect` would do now: with each file that is due, and that no other collector has. */
async function showDue(cli: CommandLine, flags: CollectFlags): Promise<void> {
  const total = await visit(cli, flags, async (store) => {
    const found = { wouldRemove: 0, wouldFail: 0, bytes: 0 };
    const now = new Date();
    const waiting = store.files.all({ kind: kindsOf(flags), limit: 500 });
    for await (const { kind, place, uri, dueAt, owner, sizeBytes } of waiting) {
      if (dueAt > now || owner !== null || place !== flags.place) continue;
      const reason = kind === "log" ? undefined : await reasonToKeep(uri, foldersOf(cli, flags));
      if (reason === undefined) {
        found.wouldRemove++;
        found.bytes += sizeBytes ?? 0;
      } else found.wouldFail++;
      printMessage(cli, flags, `${maskUrl(uri)}: ${reason ?? "would be removed"}`);
    }
    return found;
  });
  const { wouldRemove, wouldFail, bytes } = total;
  printFields(cli, flags, total, {
    "would remove": String(wouldRemove),
    "would fail": String(wouldFail),
    bytes: formatBytes(bytes),
  });
}

/** Returns the reason for which a file would not be removed. */
async function reasonToKeep(uri: string, folders: readonly string[]): Promise<string | undefined> {
  const { checkLocalFile } = await import("../collector/localFiles.ts");
  return checkLocalFile(uri, folders).then(
    (isLocal) => (isLocal ? undefined : "it is no local file, and this collector removes only these"),
    (error: Error) => error.message,
  );
}

function fileColumns(rows: readonly DiscardedFile[]): readonly Column[] {
  return [
    column("id", rows, ({ id }) => id, { optional: true }),
    column("kind", rows, ({ kind }) => kind),
    column("place", rows, ({ place }) => place, { optional: true }),
    column("due", rows, ({ dueAt }) => formatTime(dueAt)),
    column("size", rows, ({ sizeBytes }) => (sizeBytes === null ? "" : formatBytes(sizeBytes)), { align: "right" }),
    column("owner", rows, ({ owner }) => owner, { optional: true }),
    column("uri", rows, ({ uri }) => maskUrl(uri)),
    column("last error", rows, ({ lastError }) => lastError),
  ];
}
