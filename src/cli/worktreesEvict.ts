// debug-server-db worktrees evict: takes worktrees out of the store, in two steps around the deletion of their
// directories. The command deletes no directory, because it may run on another machine than the one that has it.
import { type Command, Option } from "commander";
import type { CallOptions } from "../client.ts";
import { bounds } from "../limits.ts";
import type { Worktree } from "../model/worktrees.ts";
import { present } from "../present.ts";
import type { OwnedStore } from "../storeTypes.ts";
import { CliError } from "../terminal/exit.ts";
import type { CommandLine } from "./commandLine.ts";
import { duration } from "./duration.ts";
import { repositoryFilter } from "./repositories.ts";
import { column, formatTime, printMessage, printRows, stateColumn } from "./rows.ts";
import { type StoreFlags, storeCommand } from "./storeCommand.ts";
import { visit } from "./visit.ts";

interface EvictFlags extends StoreFlags {
  readonly repository?: string;
  readonly place?: string;
  readonly olderThan?: number;
  readonly quarantined: boolean;
  readonly removed: boolean;
  readonly ttl: number;
}

const note =
  "The command deletes no directory, because it may run on another machine. Without --removed it leases the worktrees for removal, so that nobody gets them, and prints their paths. Delete these directories, then repeat the command with their ids and --removed. If that does not happen before the lease ends, the worktrees are quarantined.";

const yearMs = 365 * 86_400_000;

export function addEvict(group: Command, cli: CommandLine): void {
  storeCommand(
    group,
    "evict",
    "Removes worktrees from the store.",
    [
      "worktrees evict 01890a5d-ac96-774b-bcce-b302099a8057",
      "worktrees evict 01890a5d-ac96-774b-bcce-b302099a8057 --removed",
      "worktrees evict --repository demo --older-than 12h",
      "worktrees evict --repository demo --quarantined",
      "worktrees evict --repository demo --place build-7 --older-than 1h",
    ],
    note,
  )
    .argument("[ids...]", "the ids of the worktrees")
    .option("--repository <name>", "instead of ids: worktrees of this repository, by name or id, that are not pinned")
    .option("--place <name>", 'with --repository: only in this place, instead of all; "" for those without one')
    .option("--older-than <time>", "only those that nobody has used for this time", duration(1_000, yearMs))
    .option("--quarantined", "the quarantined ones instead of the free ones", false)
    .option("--removed", "their directories are deleted: remove the worktrees at once", false)
    .addOption(
      new Option("--ttl <time>", "the time for deleting the directories")
        .argParser(duration(60_000, bounds.leaseMsMax))
        .default(3_600_000, "1h"),
    )
    .action(async (ids: readonly string[], flags: EvictFlags) => {
      requireChoice(ids, flags);
      const rows = await visit(cli, flags, async (store, options) => {
        if (ids.length === 0) return await evictUnused(store, flags, options);
        const named: Worktree[] = [];
        for (const id of ids) named.push(await evictNamed(store, id, flags, options));
        return named;
      });
      printRows(cli, flags, rows, (shown) => [
        column("id", shown, ({ id }) => id),
        stateColumn(shown, ({ state }) => state),
        column("lease until", shown, ({ leaseExpiresAt }) => formatTime(leaseExpiresAt), { optional: true }),
        column("place", shown, ({ place }) => place, { optional: true }),
        column("path", shown, ({ path }) => path),
      ]);
      if (rows.length === 0) printMessage(cli, flags, "None.");
      else if (!flags.removed)
        printMessage(cli, flags, "Delete these directories, then run worktrees evict with the ids and --removed.");
    });
}

/** Fails with a usage error unless the command says which worktrees it means. A whole repository needs a condition. */
function requireChoice(ids: readonly string[], { repository, place, olderThan, quarantined }: EvictFlags): void {
  const hasCondition = olderThan !== undefined || quarantined;
  if (ids.length > 0 && repository === undefined && place === undefined && !hasCondition) return;
  if (ids.length === 0 && repository !== undefined && hasCondition) return;
  throw new CliError(
    "usage",
    "name the ids of worktrees, or a --repository together with --older-than or --quarantined",
  );
}

async function evictUnused(store: OwnedStore, flags: EvictFlags, options: CallOptions): Promise<Worktree[]> {
  const { repositoryId = "" } = await repositoryFilter(store, flags.repository);
  const state = flags.quarantined ? (["quarantined"] as const) : (["idle", "dirty"] as const);
  const places = new Set(flags.place === undefined ? [] : [flags.place]);
  if (flags.place === undefined)
    for await (const { place } of store.worktrees.all({ repositoryId, state: [...state] })) places.add(place);
  const rows: Worktree[] = [];
  for (const place of places) rows.push(...(await evictUnusedIn(store, { repositoryId, place }, flags, options)));
  return rows;
}

async function evictUnusedIn(
  store: OwnedStore,
  where: { readonly repositoryId: string; readonly place: string },
  flags: EvictFlags,
  options: CallOptions,
): Promise<Worktree[]> {
  const rows: Worktree[] = [];
  for (;;) {
    const evicting = await store.worktrees.evictUnused(
      {
        ...where,
        quarantined: flags.quarantined,
        limit: bounds.pageRowsMax,
        ...leaseOf(flags, options),
        ...present({ unusedForMs: flags.olderThan }),
      },
      options,
    );
    for (const row of evicting) rows.push(flags.removed ? await complete(store, row, options) : row);
    if (evicting.length < bounds.pageRowsMax) return rows;
  }
}

async function evictNamed(
  store: OwnedStore,
  worktreeId: string,
  flags: EvictFlags,
  options: CallOptions,
): Promise<Worktree> {
  const worktree = await store.worktrees.get({ worktreeId });
  if (worktree.state === "evicting") {
    if (flags.removed) return await complete(store, worktree, options);
    throw new CliError(
      "failure",
      `${worktree.leaseOwner} is removing the worktree until ${formatTime(worktree.leaseExpiresAt)}: if its directory ${worktree.path} is deleted, add --removed`,
    );
  }
  if (worktree.state === "removed" && flags.removed) return worktree;
  const { repositoryId } = worktree;
  const evicting = (await store.worktrees.evict(
    { repositoryId, worktreeId, ...leaseOf(flags, options) },
    options,
  )) as Worktree;
  return flags.removed ? await complete(store, evicting, options) : evicting;
}

function complete(store: OwnedStore, { id, fence }: Worktree, options: CallOptions): Promise<Worktree> {
  return store.worktrees.completeEvict({ worktreeId: id, fence }, options);
}

function leaseOf({ ttl }: EvictFlags, { actor }: CallOptions) {
  return { owner: actor ?? "cli", ttlMs: ttl };
}
