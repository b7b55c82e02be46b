// debug-server-db maintenance: does at once what a server does by itself, and compacts the file of a store.
import type { Command } from "commander";
import { StoreError } from "../errors.ts";
import { parsePlace } from "../place.ts";
import { CliError } from "../terminal/exit.ts";
import { formatBytes } from "../terminal/units.ts";
import type { CommandLine } from "./commandLine.ts";
import { addRetention } from "./retention.ts";
import { printFields } from "./rows.ts";
import { commandGroup, type StoreFlags, storeCommand } from "./storeCommand.ts";
import { visit } from "./visit.ts";

export function addMaintenance(program: Command, cli: CommandLine): void {
  const group = commandGroup(program, "maintenance", "Does at once what a server does by itself.", [
    "maintenance reap",
  ]);
  addRetention(group, cli);

  storeCommand(
    group,
    "reap",
    "Ends what has expired: leases, idle sessions, runners without a heartbeat, artifacts, lost debuggers and their requests, idempotency keys.",
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
        Object.entries(all).map(([kind, ids]): [string, string] => [
          kind.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`),
          String(ids.length),
        ]),
      );
      printFields(cli, flags, { ...all, keys }, { ...counts, keys: String(keys) });
    });
  });
  storeCommand(
    group,
    "compact",
    "Writes a SQLite file anew without its free space, and lets it give space back by itself from then on.",
    ["maintenance compact", "maintenance compact --url sqlite:/srv/data/metadata.db --json"],
    "Stop the servers and runners of the store first: while a process has the database open, nothing is done and the exit code is 4. Needs up to twice the size of the file meanwhile. A server gives free space back by itself, so this is for files that were created without auto_vacuum (the event vacuum_off), and for much free space at once.",
  ).action(async (flags: StoreFlags) => {
    const place = parsePlace(flags.url);
    if (place.engine !== "sqlite")
      throw new StoreError("incompatible", "PostgreSQL gives space back by itself (autovacuum), or with VACUUM FULL");
    if (place.path === ":memory:") throw new CliError("usage", "compact: a database in memory has no file");
    const { compactSqlite } = await import("../sqlite/compact.ts");
    const compacted = compactSqlite(place.path);
    const { path, beforeBytes, afterBytes } = compacted;
    printFields(cli, flags, compacted, {
      compacted: path,
      before: formatBytes(beforeBytes),
      after: formatBytes(afterBytes),
    });
  });
}
