// debug-server-db changes: prints the change feed, which is also the audit log, and administers its consumers.
import { type Command, Option } from "commander";
import type { ChangeRow } from "../model/changes.ts";
import { maskArguments } from "../model/masking.ts";
import type { FeedConsumer } from "../model/retention.ts";
import { present } from "../present.ts";
import type { Column } from "../terminal/table.ts";
import { wholeNumber } from "../terminal/wholeNumber.ts";
import type { CommandLine } from "./commandLine.ts";
import { formatDuration, pastTime } from "./duration.ts";
import { column, formatTime, lineOf, printFields, printMessage, printRows, toJsonLine } from "./rows.ts";
import { commandGroup, type StoreFlags, storeCommand } from "./storeCommand.ts";
import { visit } from "./visit.ts";

interface Filters {
  readonly entity?: string[];
  readonly id?: string;
  readonly op?: string[];
  readonly actor?: string;
  readonly session?: string;
  readonly since?: Date;
  readonly until?: Date;
  readonly after?: number;
}

export function addChanges(program: Command, cli: CommandLine): void {
  const group = commandGroup(program, "changes", "Prints the change feed, and administers its consumers.", [
    "changes export --since 24h --entity token account",
    "changes tail --entity event",
    "changes consumers",
  ]);
  const sequence = (text: string) => wholeNumber(0, Number.MAX_SAFE_INTEGER)(text);

  withFilters(
    storeCommand(
      group,
      "export",
      "Prints changes as lines of JSON, from the oldest to the newest: for an audit.",
      [
        "changes export > changes.ndjson",
        "changes export --since 2026-11-01 --until 2026-12-01 --entity token account",
        "changes export --after 1234 --actor cli:ada",
      ],
      "Each line is one change, in which what looks like a credential is masked; with --json, it is printed as it is stored. Ends with the change that was the newest at the beginning. Fails, with the lines so far, if changes are removed by retention before they are reached.",
    ),
  )
    .addOption(new Option("--after <number>", "only after the change with this number").argParser(sequence))
    .action(async (flags: StoreFlags & Filters) => {
      await visit(cli, flags, async (store, { signal }) => {
        for await (const change of store.changes.export(filterOf(flags), { signal }))
          if (!(await cli.stdout.writeToReader(toJsonLine(flags.json ? change : masked(change))))) return;
      });
    });

  withFilters(
    storeCommand(
      group,
      "tail",
      "Follows the changes from now on.",
      ["changes tail", "changes tail --entity session command", "changes tail --entity event --count 1 --json"],
      "Ctrl-C ends it, with exit code 130.",
    ),
  )
    .addOption(
      new Option("-n, --count <number>", "end after this number of changes").argParser(wholeNumber(1, 1_000_000_000)),
    )
    .addOption(new Option("--after <number>", "from the change after this number on").argParser(sequence))
    .action(async (flags: StoreFlags & Filters & { count?: number }) => {
      await visit(cli, flags, async (store, { signal }) => {
        let left = flags.count ?? Number.POSITIVE_INFINITY;
        const after = flags.after ?? (await store.changes.since({ limit: 0 })).nextSeq;
        for await (const change of store.changes.watch({ ...filterOf(flags), after }, { signal })) {
          const hasReader = await cli.stdout.writeToReader(flags.json ? toJsonLine(change) : describe(change));
          if (!hasReader || --left === 0) return;
        }
      });
    });

  storeCommand(group, "consumers", "Lists the consumers of the change feed, the one that is furthest behind first.", [
    "changes consumers",
  ]).action(async (flags: StoreFlags) => {
    const { consumers } = await visit(cli, flags, (store) => store.changes.consumers());
    printRows(cli, flags, consumers, consumerColumns);
    if (consumers.length === 0) printMessage(cli, flags, "None.");
  });

  storeCommand(
    group,
    "checkpoint",
    "Sets the position of a consumer, for one that is not held at the moment.",
    ["changes checkpoint webhooks --seq 1234"],
    "The consumer goes on with the change after this number. Use it when it fails with feed_truncated, or to have changes delivered again.",
  )
    .argument("<consumer>", "the name of the consumer")
    .addOption(
      new Option("--seq <number>", "the number of the last change that counts as handled")
        .argParser(sequence)
        .makeOptionMandatory(),
    )
    .action(async (consumer: string, flags: StoreFlags & { seq: number }) => {
      await visit(cli, flags, (store, options) => store.changes.checkpoint({ consumer, seq: flags.seq }, options));
      printFields(cli, flags, { consumer, seq: flags.seq }, { consumer, seq: String(flags.seq) });
    });

  storeCommand(
    group,
    "forget",
    "Forgets a consumer, which then holds up retention no longer.",
    ["changes forget webhooks"],
    "Forgetting one that is not registered succeeds. A consumer that still reads is registered anew.",
  )
    .argument("<consumer>", "the name of the consumer")
    .action(async (consumer: string, flags: StoreFlags) => {
      await visit(cli, flags, (store, options) => store.changes.forget({ consumer }, options));
      printFields(cli, flags, { consumer }, { forgotten: consumer });
    });
}

function withFilters(command: Command): Command {
  return command
    .option("--entity <name...>", "only changes of this entity, such as session or event, or of these")
    .option("--id <id>", "only changes of the row with this id")
    .option("--op <name...>", "only this operation, or these; of events their topics")
    .option("--actor <name>", "only changes that this actor has made")
    .option("--session <id>", "only the history of this session")
    .addOption(
      new Option("--since <time>", "only made at this time or later: a time in UTC, or a span up to now").argParser(
        pastTime,
      ),
    )
    .addOption(new Option("--until <time>", "only made before this time").argParser(pastTime));
}

function filterOf({ entity, id, op, actor, session, since, until, after }: Filters) {
  return present({ entity, entityId: id, op, actor, sessionId: session, since, until, after });
}

/** Returns a change in whose detail is masked what looks like a credential. */
function masked({ detail, ...change }: ChangeRow): ChangeRow {
  const mask = (_: string, value: unknown) => (typeof value === "string" ? maskArguments([value])[0] : value);
  return { ...change, detail: JSON.parse(toJsonLine(detail), mask) };
}

/** Describes a change on one line, for a person. */
function describe(change: ChangeRow): string {
  const { seq, at, entity, op, entityId, actor, detail } = masked(change);
  const shown = detail === null ? null : JSON.stringify(detail);
  const parts = [formatTime(at), seq, `${entity} ${op}`, entityId, actor && `by ${actor}`, shown];
  return lineOf(parts.filter((part) => part !== null).join("  "));
}

function consumerColumns(rows: readonly FeedConsumer[]): readonly Column[] {
  return [
    column("consumer", rows, ({ name }) => name),
    column("seq", rows, ({ seq }) => seq, { align: "right" }),
    column("behind", rows, ({ lag }) => lag, { align: "right" }),
    column("for", rows, ({ lagMs }) => lagMs && formatDuration(Math.floor(lagMs / 1_000) * 1_000), { align: "right" }),
    column("held by", rows, ({ owner, leaseExpiresAt }) => (leaseExpiresAt === null ? "" : (owner ?? "somebody"))),
    column("until", rows, ({ leaseExpiresAt }) => formatTime(leaseExpiresAt), { optional: true }),
    column("updated", rows, ({ updatedAt }) => formatTime(updatedAt), { optional: true }),
  ];
}
