// debug-server-db runners: lists the runners, which execute commands.
import type { Command } from "commander";
import { type RunnerState, runnerStates } from "../model/vocabulary.ts";
import { present } from "../present.ts";
import type { CommandLine } from "./commandLine.ts";
import { collect } from "./pages.ts";
import { column, formatTime, printPage, stateColumn } from "./rows.ts";
import { commandGroup, type ListFlags, listCommand, stateOption } from "./storeCommand.ts";
import { visit } from "./visit.ts";

export function addRunners(program: Command, cli: CommandLine): void {
  const group = commandGroup(program, "runners", "Lists runners, which execute commands.", [
    "runners list --state online",
  ]);
  listCommand(group, "runners", ["runners list", "runners list --state online --json"])
    .addOption(stateOption(runnerStates))
    .option("--name <name>", "only of this name")
    .action(async (flags: ListFlags & { state?: RunnerState[]; name?: string }) => {
      const page = await visit(cli, flags, (store) =>
        collect(flags, (paged) =>
          store.runners.list({ ...present({ state: flags.state, name: flags.name }), ...paged }),
        ),
      );
      printPage(cli, flags, page, (rows) => [
        column("id", rows, ({ id }) => id),
        column("name", rows, ({ name }) => name),
        stateColumn(rows, ({ state }) => state),
        column("host", rows, ({ host }) => host, { optional: true }),
        column("pid", rows, ({ pid }) => pid, { align: "right", optional: true }),
        column("heartbeat", rows, ({ heartbeatAt }) => formatTime(heartbeatAt)),
        column("expires", rows, ({ expiresAt }) => formatTime(expiresAt)),
      ]);
    });
}
