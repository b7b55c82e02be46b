// debug-server-db artifacts: lists the files that commands produced.
import { type Command, Option } from "commander";
import type { Artifact } from "../model/artifacts.ts";
import { maskUrl } from "../model/masking.ts";
import { type ArtifactKind, type ArtifactState, artifactKinds, artifactStates } from "../model/vocabulary.ts";
import { present } from "../present.ts";
import type { Column } from "../terminal/table.ts";
import { formatBytes } from "../terminal/units.ts";
import type { CommandLine } from "./commandLine.ts";
import { collect } from "./pages.ts";
import { column, printPage, stateColumn } from "./rows.ts";
import { commandGroup, type ListFlags, listCommand, stateOption } from "./storeCommand.ts";
import { visit } from "./visit.ts";

export function addArtifacts(program: Command, cli: CommandLine): void {
  const group = commandGroup(program, "artifacts", "Lists artifacts, the files that commands produced.", [
    "artifacts list --kind junit",
  ]);
  listCommand(group, "artifacts", [
    "artifacts list --kind junit --state ready",
    "artifacts list --session 01890a5d-ac96-774b-bcce-b302099a8057 --json",
  ])
    .addOption(stateOption(artifactStates))
    .addOption(new Option("--kind <kind...>", "only of this kind, or of one of these").choices(artifactKinds))
    .option("--session <id>", "only of this session")
    .option("--command <id>", "only of this command")
    .action(
      async (
        flags: ListFlags & { state?: ArtifactState[]; kind?: ArtifactKind[]; session?: string; command?: string },
      ) => {
        const filter = present({
          state: flags.state,
          kind: flags.kind,
          sessionId: flags.session,
          commandId: flags.command,
        });
        const page = await visit(cli, flags, (store) =>
          collect(flags, (paged) => store.artifacts.list({ ...filter, ...paged })),
        );
        printPage(cli, flags, page, artifactColumns);
      },
    );
}

export function artifactColumns(rows: readonly Artifact[]): readonly Column[] {
  return [
    column("id", rows, ({ id }) => id),
    column("name", rows, ({ name }) => name),
    column("kind", rows, ({ kind }) => kind, { optional: true }),
    stateColumn(rows, ({ state }) => state),
    column("size", rows, ({ sizeBytes }) => (sizeBytes === null ? "" : formatBytes(sizeBytes)), { align: "right" }),
    column("sha256", rows, ({ sha256 }) => sha256?.slice(0, 12), { optional: true }),
    column("uri", rows, ({ uri }) => uri && maskUrl(uri)),
  ];
}
