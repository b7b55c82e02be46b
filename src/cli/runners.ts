// debug-server-db runners: who executes commands.
import type { Command } from "commander";
import { type RunnerState, runnerStates } from "../model/vocabulary.ts";
import { collect } from "./pages.ts";
import { column, formatTime, printPage, stateColumn } from "./rows.ts";
import { commandGroup, given, type ListFlags, listCommand, ofState, visit } from "./storeCommand.ts";

export function addRunners(program: Command): void {
  const group = commandGroup(program, "runners", "Who executes commands.", ["runners list --state online"]);
  listCommand(group, "runners", ["runners list", "runners list --state online --json"])
    .addOption(ofState(runnerStates))
    .action(async (flags: ListFlags & { state?: RunnerState }) => {
      const page = await visit(flags, (store) =>
        collect(flags, (paged) => store.runners.list({ ...given(flags, "state"), ...paged })),
      );
      printPage(flags, page, (rows) => [
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
