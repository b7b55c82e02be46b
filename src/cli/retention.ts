// debug-server-db maintenance retention and prune: for how long what has ended is kept, and its removal on demand.
import { type Command, InvalidArgumentError, Option } from "commander";
import type { Retention } from "../model/retention.ts";
import { type RetentionKind, retentionKinds } from "../model/vocabulary.ts";
import { present } from "../present.ts";
import { wholeNumber } from "../terminal/wholeNumber.ts";
import type { CommandLine } from "./commandLine.ts";
import { duration, formatDuration } from "./duration.ts";
import { printFields } from "./rows.ts";
import { type StoreFlags, storeCommand } from "./storeCommand.ts";
import { visit } from "./visit.ts";

type Span = number | null;
type Spans = Readonly<Record<string, Span>>;

export function addRetention(group: Command, cli: CommandLine): void {
  storeCommand(
    group,
    "retention",
    "Shows for how long what has ended is kept, or changes it.",
    ["maintenance retention", "maintenance retention --set logs=14d sessions=forever"],
    "The names are those of the settings without Ms, such as logs, sessions, changes and changesHeld; backupsMax is a number, or all. The server removes what is due by itself.",
  )
    .addOption(
      new Option("--set <name=time...>", "keep this kind for so long, such as logs=14d, or forever").argParser(
        parseSpan,
      ),
    )
    .action(async (flags: StoreFlags & { set?: Spans }) => {
      const settings = await visit(cli, flags, (store, options) =>
        flags.set === undefined
          ? store.maintenance.retention({}, options)
          : store.maintenance.setRetention(flags.set as Partial<Retention>, options),
      );
      const { version: _version, updatedAt: _updatedAt, ...spans } = settings;
      printFields(
        cli,
        flags,
        settings,
        Object.fromEntries(
          Object.entries(spans).map(([name, span]) => [
            name.replace(/Ms$/, ""),
            name === "backupsMax" ? (span?.toString() ?? "all") : describeSpan(span),
          ]),
        ),
      );
    });

  storeCommand(
    group,
    "prune",
    "Removes at once what retention keeps no longer, or shows what would go.",
    ["maintenance prune --dry-run", "maintenance prune --kind logs changes --json"],
    "It works in small steps beside the server. A dry run does not count what goes only because of other rows, such as runners of sessions that would go.",
  )
    .option("--dry-run", "remove nothing, and show what would go")
    .addOption(new Option("--kind <kind...>", "only these kinds").choices(retentionKinds))
    .action(async (flags: StoreFlags & { dryRun?: true; kind?: RetentionKind[] }) => {
      const { rows, heldBy } = await visit(cli, flags, (store, options) =>
        store.maintenance.prune(present({ dryRun: flags.dryRun, kinds: flags.kind }), {
          ...options,
          timeoutMs: pruneMs,
        }),
      );
      const counts = Object.entries(rows).map(([kind, count]): [string, string] => [kind, String(count)]);
      const held = heldBy.length === 0 ? [] : [["held by", heldBy.join(", ")] as const];
      printFields(cli, flags, { rows, heldBy }, Object.fromEntries([...counts, ...held]));
    });
}

/** The time for all steps together: Ctrl-C ends them before, and what went is gone. */
const pruneMs = 86_400_000;

/** The names of the settings. Listed here, because the command line loads no schemas before it needs them. */
const settings: readonly string[] = [...retentionKinds, "changesHeld", "backups", "backupsMax"];

/** Adds a setting, such as logs=14d, to those before. */
function parseSpan(text: string, before: Spans = {}): Spans {
  const [, name, span] = /^([a-zA-Z]+)=(.+)$/.exec(text) ?? [];
  if (name === undefined || span === undefined)
    throw new InvalidArgumentError("Expected a name and a time, such as logs=14d or sessions=forever.");
  if (!settings.includes(name)) throw new InvalidArgumentError(`Expected one of ${settings.join(", ")}.`);
  if (name === "backupsMax") return { ...before, backupsMax: span === "all" ? null : wholeNumber(1, 10_000)(span) };
  return { ...before, [`${name}Ms`]: span === "forever" ? null : duration(1_000, 3_155_760_000_000)(span) };
}

function describeSpan(span: Span): string {
  return span === null ? "forever" : formatDuration(span);
}
