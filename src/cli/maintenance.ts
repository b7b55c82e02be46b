// debug-server-db maintenance: does at once what a server does by itself.
import type { Command } from "commander";
import type { CommandLine } from "./commandLine.ts";
import { printFields } from "./rows.ts";
import { commandGroup, type StoreFlags, storeCommand } from "./storeCommand.ts";
import { visit } from "./visit.ts";

export function addMaintenance(program: Command, cli: CommandLine): void {
  const group = commandGroup(program, "maintenance", "Does at once what a server does by itself.", [
    "maintenance reap",
  ]);
  storeCommand(
    group,
    "reap",
    "Ends what has expired: leases, idle sessions, runners without a heartbeat, artifacts, idempotency keys.",
    ["maintenance reap", "maintenance reap --json"],
    "A server does this every second. Without a server nothing expires: what ran out meanwhile is kept for 30 seconds more, from the first call that writes.",
  ).action(async (flags: StoreFlags) => {
    await visit(cli, flags, async (store, options) => {
      const all: Record<string, string[]> = {};
      let keys = 0;
      for (let unfinished = true; unfinished; ) {
        const { keys: passKeys, more, ...passIds } = await store.maintenance.reap({}, options);
        for (const [kind, ids] of Object.entries(passIds)) all[kind] = [...(all[kind] ?? []), ...ids];
        keys += passKeys;
        unfinished = more;
      }
      const counts = Object.fromEntries(
        Object.entries(all).map(([kind, ids]): [string, string] => [kind, String(ids.length)]),
      );
      printFields(cli, flags, { ...all, keys }, { ...counts, keys: String(keys) });
    });
  });
}
