// debug-server-db commands: lists and cancels commands, the programs that sessions run.
import type { Command } from "commander";
import type { Command as StoredCommand } from "../model/commands.ts";
import { type CommandState, commandStates } from "../model/vocabulary.ts";
import { present } from "../present.ts";
import { quoteArguments } from "../terminal/argumentText.ts";
import type { Column } from "../terminal/table.ts";
import { formatMs } from "../terminal/units.ts";
import type { CommandLine } from "./commandLine.ts";
import { collect } from "./pages.ts";
import { column, formatTime, printFields, printPage, stateColumn } from "./rows.ts";
import {
  commandGroup,
  forceNote,
  forceOption,
  type ListFlags,
  listCommand,
  reasonOption,
  type StoreFlags,
  stateOption,
  storeCommand,
} from "./storeCommand.ts";
import { visit } from "./visit.ts";

export function addCommands(program: Command, cli: CommandLine): void {
  const group = commandGroup(program, "commands", "Lists and cancels commands, the programs that sessions run.", [
    "commands list --state running",
  ]);
  listCommand(group, "commands", [
    "commands list --state running",
    "commands list --session 01890a5d-ac96-774b-bcce-b302099a8057 --json",
  ])
    .addOption(stateOption(commandStates))
    .option("--session <id>", "only of this session, in sequence")
    .action(async (flags: ListFlags & { state?: CommandState; session?: string }) => {
      const filter = present({ state: flags.state, sessionId: flags.session });
      const page = await visit(cli, flags, (store) =>
        collect(flags, (paged) => store.commands.list({ ...filter, ...paged })),
      );
      printPage(cli, flags, page, commandColumns);
    });

  const cancelNote = `A queued command ends at once; a runner stops a running one after its next heartbeat. Repeating it changes nothing. ${forceNote} Its session then ends too, if it used a worktree.`;
  reasonOption(
    forceOption(
      storeCommand(
        group,
        "cancel",
        "Cancels a command.",
        [
          "commands cancel 01890a5d-ac96-774b-bcce-b302099a8057",
          "commands cancel 01890a5d-ac96-774b-bcce-b302099a8057 --force",
        ],
        cancelNote,
      ),
    ),
  )
    .argument("<id>", "the id of the command")
    .action(async (commandId: string, flags: StoreFlags & { reason?: string; force?: true }) => {
      const command = await visit(cli, flags, (store, options) =>
        store.commands.cancel({ commandId, ...present({ reason: flags.reason, force: flags.force }) }, options),
      );
      printFields(cli, flags, command, { command: command.id, state: command.state });
    });
}

export function commandColumns(rows: readonly StoredCommand[]): readonly Column[] {
  return [
    column("id", rows, ({ id }) => id),
    column("#", rows, ({ sequence }) => sequence, { align: "right" }),
    stateColumn(rows, ({ state }) => state),
    column("exit", rows, ({ exitCode, signal }) => [exitCode, signal].filter((part) => part !== null).join(" "), {
      align: "right",
    }),
    column("try", rows, ({ attempt, maxAttempts, lostClaims }) => `${attempt}/${maxAttempts + lostClaims}`, {
      align: "right",
      optional: true,
    }),
    column("queued", rows, ({ queuedAt }) => formatTime(queuedAt), { optional: true }),
    column(
      "took",
      rows,
      ({ startedAt, endedAt }) => startedAt && endedAt && formatMs(endedAt.getTime() - startedAt.getTime()),
      {
        align: "right",
        optional: true,
      },
    ),
    column("argv", rows, ({ argv }) => quoteArguments(argv)),
  ];
}
