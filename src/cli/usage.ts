// debug-server-db usage: what commands used, by day.
import { type Command, Option } from "commander";
import { bounds } from "../limits.ts";
import type { UsageDay } from "../model/usage.ts";
import { type UsageKind, usageKinds } from "../model/vocabulary.ts";
import { present } from "../present.ts";
import type { OwnedStore } from "../storeTypes.ts";
import { formatBytes } from "../terminal/units.ts";
import { accountIdOf } from "./adminAccounts.ts";
import type { CommandLine } from "./commandLine.ts";
import { pastTime } from "./duration.ts";
import { repositoryFilter, repositoryNames } from "./repositories.ts";
import { column, printMessage, printRows } from "./rows.ts";
import { type StoreFlags, storeCommand } from "./storeCommand.ts";
import { visit } from "./visit.ts";

interface UsageFlags extends StoreFlags {
  readonly by: UsageKind;
  readonly name?: string;
  readonly since?: Date;
  readonly until?: Date;
}

export function addUsage(program: Command, cli: CommandLine): void {
  storeCommand(
    program,
    "usage",
    "Prints what commands used on each day, as their runners have reported it.",
    ["usage --since 30d", "usage --by requester --name ada", "usage --by account --since 2026-11-01 --json"],
    "Days are in UTC, and a command counts on the day on which it ended. Memory is the most that one command has used; the other figures are sums.",
  )
    .addOption(new Option("--by <kind>", "of what the sums are").choices(usageKinds).default("repository"))
    .option(
      "--name <name>",
      "only of this one: a name or id of a repository or account, the id of a session, a requester",
    )
    .addOption(new Option("--since <time>", "from the day of this time on").argParser(pastTime))
    .addOption(new Option("--until <time>", "up to the day before the one of this time").argParser(pastTime))
    .action(async (flags: UsageFlags) => {
      await visit(cli, flags, async (store) => {
        const name = flags.name === undefined ? undefined : await idOf(store, flags.by, flags.name);
        const [since, until] = [flags.since, flags.until].map((time) => time?.toISOString().slice(0, 10));
        const filter = { by: flags.by, ...present({ name, since, until }), limit: bounds.pageRowsMax };
        const rows: UsageDay[] = [];
        for (let after: { day: string; name: string } | undefined; ; ) {
          const page = await store.usage.days({ ...filter, ...present({ after }) });
          rows.push(...page.days);
          after = page.next;
          if (after === undefined) break;
        }
        const names = await namesOf(store, flags.by, rows);
        printRows(cli, flags, rows, () => [
          column("day", rows, ({ day }) => day),
          column(flags.by, rows, (row) => names.get(row.name) ?? row.name),
          column("commands", rows, ({ commands }) => commands, { align: "right" }),
          column("time", rows, ({ durationMs }) => formatSeconds(durationMs), { align: "right" }),
          column("cpu", rows, ({ cpuMs }) => formatSeconds(cpuMs), { align: "right" }),
          column("memory", rows, ({ memoryBytes }) => formatBytes(memoryBytes), { align: "right" }),
          column("written", rows, ({ writtenBytes }) => formatBytes(writtenBytes), { align: "right" }),
        ]);
        if (rows.length === 0) printMessage(cli, flags, "None.");
      });
    });
}

/** Returns the name under which the sums of a repository or an account are stored: its id. */
async function idOf(store: OwnedStore, by: UsageKind, name: string): Promise<string> {
  if (by === "account") return await accountIdOf(store, name);
  if (by !== "repository") return name;
  return (await repositoryFilter(store, name)).repositoryId as string;
}

async function namesOf(
  store: OwnedStore,
  by: UsageKind,
  rows: readonly UsageDay[],
): Promise<ReadonlyMap<string, string>> {
  if (by === "repository")
    return await repositoryNames(
      store,
      rows.map(({ name }) => ({ repositoryId: name })),
    );
  if (by !== "account") return new Map();
  const ids = [...new Set(rows.map(({ name }) => name))];
  const accounts = await Promise.all(ids.map((accountId) => store.accounts.get({ accountId })));
  return new Map(accounts.map(({ id, name }) => [id, name]));
}

function formatSeconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}
