// debug-server-db patches: lists the patches that sessions may name by their hash, and deletes those that none does.
import type { Command } from "commander";
import { maskUrl } from "../model/masking.ts";
import type { Patch } from "../model/patches.ts";
import type { Column } from "../terminal/table.ts";
import { formatBytes } from "../terminal/units.ts";
import type { CommandLine } from "./commandLine.ts";
import { collect } from "./pages.ts";
import { column, formatTime, printFields, printPage } from "./rows.ts";
import { commandGroup, type ListFlags, listCommand, type StoreFlags, storeCommand } from "./storeCommand.ts";
import { visit } from "./visit.ts";

export function addPatches(program: Command, cli: CommandLine): void {
  const group = commandGroup(program, "patches", "Lists and deletes patches, the changes that sessions apply.", [
    "patches list",
  ]);
  listCommand(group, "patches", ["patches list", "patches list --json"]).action(async (flags: ListFlags) => {
    const page = await visit(cli, flags, (store) => collect(flags, (paged) => store.patches.list(paged)));
    printPage(cli, flags, page, patchColumns);
  });
  storeCommand(
    group,
    "delete",
    "Deletes a patch that no session refers to.",
    ["patches delete 01890a5d-ac96-774b-bcce-b302099a8057"],
    "Its file is left to a collector: files collect.",
  )
    .argument("<id>", "the id of the patch")
    .action(async (patchId: string, flags: StoreFlags) => {
      const answer = await visit(cli, flags, (store, options) => store.patches.delete({ patchId }, options));
      printFields(cli, flags, answer, { deleted: patchId });
    });
}

function patchColumns(rows: readonly Patch[]): readonly Column[] {
  return [
    column("id", rows, ({ id }) => id),
    column("sha256", rows, ({ sha256 }) => sha256.slice(0, 12)),
    column("size", rows, ({ sizeBytes }) => (sizeBytes === null ? "" : formatBytes(sizeBytes)), { align: "right" }),
    column("used", rows, ({ lastUsedAt }) => formatTime(lastUsedAt)),
    column("uri", rows, ({ uri }) => (/^data:/i.test(uri) ? "data:..." : maskUrl(uri))),
  ];
}
