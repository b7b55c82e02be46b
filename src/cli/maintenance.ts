// debug-server-db maintenance: what a server does by itself, done now.
import type { Command } from "commander";
import type { CommandLine } from "./commandLine.ts";
import { printFields } from "./rows.ts";
import { commandGroup, type StoreFlags, storeCommand } from "./storeCommand.ts";
import { visit } from "./visit.ts";

const kinds = ["worktrees", "commands", "sessions", "runners", "artifacts"] as const;

export function addMaintenance(program: Command, cli: CommandLine): void {
  const group = commandGroup(program, "maintenance", "What a server does by itself, done now.", ["maintenance reap"]);
  storeCommand(
    group,
    "reap",
    "Ends what has run out: leases, idle sessions, runners without heartbeat, artifacts, idempotency keys.",
    ["maintenance reap", "maintenance reap --json"],
    "A server does this every second; without one nothing runs out.",
  ).action(async (flags: StoreFlags) => {
    await visit(cli, flags, async (store, options) => {
      const all: Record<(typeof kinds)[number], string[]> = {
        worktrees: [],
        commands: [],
        sessions: [],
        runners: [],
        artifacts: [],
      };
      let keys = 0;
      for (let more = true; more; ) {
        const pass = await store.maintenance.reap({}, options);
        for (const kind of kinds) all[kind].push(...pass[kind]);
        keys += pass.keys;
        more = pass.more;
      }
      const counts = Object.fromEntries(kinds.map((kind): [string, string] => [kind, String(all[kind].length)]));
      printFields(cli, flags, { ...all, keys }, { ...counts, keys: String(keys) });
    });
  });
}
