// debug-server-db environments: lists what was built for the dependencies of repositories, and removes what is used least.
import { type Command, InvalidArgumentError } from "commander";
import type { Environment } from "../model/environments.ts";
import { maskUrl } from "../model/masking.ts";
import { type EnvironmentState, environmentStates } from "../model/vocabulary.ts";
import { present } from "../present.ts";
import { CliError } from "../terminal/exit.ts";
import type { Column } from "../terminal/table.ts";
import { formatBytes } from "../terminal/units.ts";
import type { CommandLine } from "./commandLine.ts";
import { duration } from "./duration.ts";
import { collect } from "./pages.ts";
import { repositoryFilter } from "./repositories.ts";
import { column, formatTime, printFields, printMessage, printPage, printRows, stateColumn } from "./rows.ts";
import {
  commandGroup,
  type ListFlags,
  listCommand,
  type StoreFlags,
  stateOption,
  storeCommand,
} from "./storeCommand.ts";
import { visit } from "./visit.ts";

const yearMs = 365 * 86_400_000;

export function addEnvironments(program: Command, cli: CommandLine): void {
  const group = commandGroup(
    program,
    "environments",
    "Lists, pins and removes environments, which runners build from the dependencies of repositories.",
    ["environments list --state building", "environments evict --max-size 50G"],
  );
  listCommand(group, "environments", ["environments list", "environments list --repository demo --state ready"])
    .addOption(stateOption(environmentStates))
    .option("--repository <name>", "only of this repository, by name or id")
    .option("--place <name>", 'only in this place; "" for those without one')
    .action(async (flags: ListFlags & { state?: EnvironmentState[]; repository?: string; place?: string }) => {
      const page = await visit(cli, flags, async (store) => {
        const filter = {
          ...(await repositoryFilter(store, flags.repository)),
          ...present({ state: flags.state, place: flags.place }),
        };
        return await collect(flags, (paged) => store.environments.list({ ...filter, ...paged }));
      });
      printPage(cli, flags, page, environmentColumns);
    });
  addEvict(group, cli);
  storeCommand(group, "pin", "Keeps an environment from being removed.", [
    "environments pin 01890a5d-ac96-774b-bcce-b302099a8057",
    "environments pin 01890a5d-ac96-774b-bcce-b302099a8057 --remove",
  ])
    .argument("<id>", "the id of the environment")
    .option("--remove", "remove the pin", false)
    .action(async (environmentId: string, flags: StoreFlags & { remove: boolean }) => {
      const row = await visit(cli, flags, (store, options) =>
        store.environments.pin({ environmentId, pinned: !flags.remove }, options),
      );
      printFields(cli, flags, row, { environment: row.id, state: row.state, pinned: row.pinned ? "yes" : "no" });
    });
  storeCommand(
    group,
    "delete",
    "Deletes an environment that nobody builds or uses.",
    ["environments delete 01890a5d-ac96-774b-bcce-b302099a8057"],
    "What was built is left to a collector of its place: files collect.",
  )
    .argument("<id>", "the id of the environment")
    .action(async (environmentId: string, flags: StoreFlags) => {
      const answer = await visit(cli, flags, (store, options) => store.environments.delete({ environmentId }, options));
      printFields(cli, flags, answer, { deleted: environmentId });
    });
}

interface EvictFlags extends StoreFlags {
  readonly place: string;
  readonly maxSize?: number;
  readonly olderThan?: number;
  readonly age?: number;
}

function addEvict(group: Command, cli: CommandLine): void {
  storeCommand(
    group,
    "evict",
    "Removes environments of a place by age, or those that were not used for the longest time.",
    [
      "environments evict --max-size 50G",
      "environments evict --place build-7 --older-than 14d",
      "environments evict --place build-7 --max-size 20G --older-than 30d --age 90d",
    ],
    "Environments that are being built, are pinned, or are used by a session stay. What was built is left to a collector of the place: files collect --place.",
  )
    .option("--place <name>", "the place; by default the one without a name", "")
    .option("--max-size <size>", "until all that is left takes no more than this, such as 500M or 50G", size)
    .option("--older-than <time>", "those that nobody has used for this time", duration(1_000, yearMs))
    .option("--age <time>", "those that were built this long ago, also if they are used often", duration(1_000, yearMs))
    .action(async (flags: EvictFlags) => {
      const { place, maxSize, olderThan, age } = flags;
      if (maxSize === undefined && olderThan === undefined && age === undefined)
        throw new CliError("usage", "say what is to go: --max-size, --older-than, --age or several of them");
      const rows: Environment[] = [];
      const sizeBytes = await visit(cli, flags, async (store, options) => {
        const input = { place, ...present({ maxBytes: maxSize, unusedForMs: olderThan, ageMs: age }) };
        for (;;) {
          const step = await store.environments.evict(input, options);
          rows.push(...step.environments);
          if (!step.left) return step.sizeBytes;
        }
      });
      printRows(cli, flags, rows, environmentColumns);
      printMessage(cli, flags, `${rows.length} evicted, ${formatBytes(sizeBytes)} left.`);
    });
}

const unitBytes: Readonly<Record<string, number>> = { "": 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** Parses a size, such as 500M. */
function size(text: string): number {
  const [, count = "", unit = ""] = /^(\d{1,9})([KMGT]?)$/.exec(text) ?? [];
  const bytes = Number(count) * (unitBytes[unit] as number);
  if (count !== "" && Number.isSafeInteger(bytes)) return bytes;
  throw new InvalidArgumentError("Expected a number of bytes, or one with its unit (K, M, G or T), such as 50G.");
}

function environmentColumns(rows: readonly Environment[]): readonly Column[] {
  return [
    column("id", rows, ({ id }) => id),
    stateColumn(rows, ({ state }) => state),
    column("hash", rows, ({ hash }) => (hash.length > 20 ? `${hash.slice(0, 19)}…` : hash)),
    column("size", rows, ({ sizeBytes }) => (sizeBytes === null ? "" : formatBytes(sizeBytes)), { align: "right" }),
    column("builder", rows, ({ leaseOwner }) => leaseOwner, { optional: true }),
    column("used", rows, ({ lastUsedAt }) => formatTime(lastUsedAt)),
    column("uses", rows, ({ useCount }) => useCount, { align: "right", optional: true }),
    column("place", rows, ({ place }) => place, { optional: true }),
    column("uri", rows, ({ uri }) => uri && maskUrl(uri)),
    column("last error", rows, ({ lastError }) => lastError, { optional: true }),
  ];
}
