// debug-server-db commands: lists, shows and cancels commands, the programs that sessions run.
import type { Command } from "commander";
import type { Attempt, Command as StoredCommand } from "../model/commands.ts";
import { type CommandState, commandStates } from "../model/vocabulary.ts";
import { present } from "../present.ts";
import { quoteArguments } from "../terminal/argumentText.ts";
import { type Column, formatTable } from "../terminal/table.ts";
import { formatBytes, formatMs } from "../terminal/units.ts";
import type { CommandLine } from "./commandLine.ts";
import { collect } from "./pages.ts";
import { column, formatFields, formatTime, printFields, printPage, stateColumn, toJsonLine } from "./rows.ts";
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
import { formatReason } from "./waitReasons.ts";

export function addCommands(program: Command, cli: CommandLine): void {
  const group = commandGroup(
    program,
    "commands",
    "Lists, shows and cancels commands, the programs that sessions run.",
    ["commands list --state running"],
  );
  listCommand(group, "commands", [
    "commands list --state running",
    "commands list --session 01890a5d-ac96-774b-bcce-b302099a8057 --json",
  ])
    .addOption(stateOption(commandStates))
    .option("--session <id>", "only of this session, in the order of their numbers")
    .option("--runner <id>", "only those that this runner runs, or ran last")
    .action(async (flags: ListFlags & { state?: CommandState[]; session?: string; runner?: string }) => {
      const filter = present({ state: flags.state, sessionId: flags.session, runnerId: flags.runner });
      const page = await visit(cli, flags, (store) =>
        collect(flags, (paged) => store.commands.list({ ...filter, ...paged })),
      );
      printPage(cli, flags, page, commandColumns);
    });

  storeCommand(group, "show", "Shows a command, its attempts, and why it has not started if it is queued.", [
    "commands show 01890a5d-ac96-774b-bcce-b302099a8057",
  ])
    .argument("<id>", "the id of the command")
    .action(async (commandId: string, flags: StoreFlags) => {
      const [{ command, reasons }, attempts] = await visit(cli, flags, (store) =>
        Promise.all([store.commands.explain({ commandId }), store.commands.attempts({ commandId })]),
      );
      if (flags.json) {
        cli.stdout.write(toJsonLine({ ...command, attempts, reasons }));
        return;
      }
      const table = attempts.length === 0 ? [] : [formatTable(attemptColumns(attempts), cli.stdout)];
      const waits = { waits: reasons.map(formatReason).join("; ") || null };
      cli.stdout.write([formatFields({ ...fieldsOf(command), ...waits }), ...table].join("\n"));
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

function fieldsOf(command: StoredCommand): Readonly<Record<string, string | null>> {
  return {
    command: command.id,
    session: command.sessionId,
    number: String(command.sequence),
    argv: quoteArguments(command.argv),
    directory: command.cwd,
    "rerun of": command.rerunOf,
    "not before": command.notBefore && formatTime(command.notBefore),
    requires: command.requires.join(", ") || null,
    state: command.state,
    exit: exitOf(command) || null,
    reason: command.endReason,
    timeout: command.timeoutMs === null ? null : formatMs(command.timeoutMs),
    queued: formatTime(command.queuedAt),
    started: command.startedAt && formatTime(command.startedAt),
    ended: command.endedAt && formatTime(command.endedAt),
  };
}

function attemptColumns(rows: readonly Attempt[]): readonly Column[] {
  return [
    column("attempt", rows, ({ attempt }) => attempt, { align: "right" }),
    stateColumn(rows, ({ outcome }) => outcome ?? "running"),
    column("exit", rows, exitOf, { align: "right" }),
    column("started", rows, ({ startedAt }) => formatTime(startedAt), { optional: true }),
    column("took", rows, took, { align: "right" }),
    column("log", rows, ({ logBytes, logState }) => (logState === "pruned" ? "pruned" : formatBytes(logBytes)), {
      align: "right",
    }),
    column("runner", rows, ({ runnerId }) => runnerId),
  ];
}

const exitOf = ({ exitCode, signal }: Pick<Attempt, "exitCode" | "signal">) =>
  [exitCode, signal].filter((part) => part !== null).join(" ");
const took = ({ startedAt, endedAt }: { readonly startedAt: Date | null; readonly endedAt: Date | null }) =>
  startedAt && endedAt && formatMs(endedAt.getTime() - startedAt.getTime());

const triesOf = ({ attempt, maxAttempts, lostClaims, retries }: StoredCommand) =>
  `${attempt}/${maxAttempts + lostClaims + retries}`;

export function commandColumns(rows: readonly StoredCommand[]): readonly Column[] {
  return [
    column("id", rows, ({ id }) => id),
    column("#", rows, ({ sequence }) => sequence, { align: "right" }),
    stateColumn(rows, ({ state }) => state),
    column("exit", rows, exitOf, { align: "right" }),
    column("try", rows, triesOf, { align: "right", optional: true }),
    column("queued", rows, ({ queuedAt }) => formatTime(queuedAt), { optional: true }),
    column("took", rows, took, { align: "right", optional: true }),
    column("argv", rows, ({ argv }) => quoteArguments(argv)),
  ];
}
