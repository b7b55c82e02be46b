// debug-server-db sessions: lists, shows, updates and cancels sessions, each a piece of work on one commit.
import { type Command, InvalidArgumentError, Option } from "commander";
import { bounds } from "../limits.ts";
import type { Session } from "../model/sessions.ts";
import { type SessionState, sessionStates } from "../model/vocabulary.ts";
import { present } from "../present.ts";
import type { OwnedStore } from "../storeTypes.ts";
import { formatTable } from "../terminal/table.ts";
import { accountIdOf } from "./adminAccounts.ts";
import { artifactColumns } from "./artifacts.ts";
import type { CommandLine } from "./commandLine.ts";
import { commandColumns } from "./commands.ts";
import { formatLabels, keyedLabel } from "./labels.ts";
import { collect } from "./pages.ts";
import { repositoryFilter, repositoryNames } from "./repositories.ts";
import { column, formatFields, formatTime, printFields, printPage, stateColumn, toJsonLine } from "./rows.ts";
import {
  commandGroup,
  forceNote,
  forceOption,
  type ListFlags,
  listCommand,
  reasonOption,
  type StoreFlags,
  stateOption,
  storeCommand,
} from "./storeCommand.ts";
import { visit } from "./visit.ts";

interface Filters {
  readonly state?: SessionState[];
  readonly repository?: string;
  readonly commit?: string;
  readonly requestedBy?: string;
  readonly user?: string;
  readonly token?: string;
  readonly label?: string[];
}

export function addSessions(program: Command, cli: CommandLine): void {
  const group = commandGroup(
    program,
    "sessions",
    "Lists, shows, updates and cancels sessions, each a piece of work on one commit.",
    ["sessions list --state running", "sessions show 01890a5d-ac96-774b-bcce-b302099a8057"],
  );
  listCommand(group, "sessions", [
    "sessions list",
    "sessions list --repository demo --state running pending",
    "sessions list --state failed --since 24h",
    "sessions list --json --limit 1000",
  ])
    .addOption(stateOption(sessionStates))
    .option("--repository <name>", "only of this repository, by name or id")
    .option("--commit <sha>", "only on this commit, by its full name")
    .option("--requested-by <name>", "only requested by this name")
    .option("--user <name>", "only requested under tokens of this account")
    .option("--token <id>", "only requested under this token")
    .option("--label <label...>", "only with all of these labels, as KEY or KEY=VALUE")
    .action(async (flags: ListFlags & Filters) => {
      await visit(cli, flags, async (store) => {
        const filter = {
          ...(await repositoryFilter(store, flags.repository)),
          ...(flags.user === undefined ? {} : { accountId: await accountIdOf(store, flags.user) }),
          ...present({
            state: flags.state,
            requestedBy: flags.requestedBy,
            commitSha: flags.commit,
            tokenId: flags.token,
            labels: flags.label,
          }),
        };
        const page = await collect(flags, (paged) => store.sessions.list({ ...filter, ...paged }));
        const names = await repositoryNames(store, page.items);
        printPage(cli, flags, page, (rows) => [
          column("id", rows, ({ id }) => id),
          column("repository", rows, ({ repositoryId }) => names.get(repositoryId)),
          column("commit", rows, ({ commitSha }) => commitSha.slice(0, 10)),
          stateColumn(rows, ({ state }) => state),
          column("queued", rows, ({ queuedCommands }) => queuedCommands, { align: "right", optional: true }),
          column("active", rows, ({ activeCommands }) => activeCommands, { align: "right", optional: true }),
          column("failed", rows, ({ failedCommands }) => failedCommands, { align: "right", optional: true }),
          column("created", rows, ({ createdAt }) => formatTime(createdAt), { optional: true }),
          column("last", rows, describeOutcome, { optional: true }),
          column("ended", rows, ({ endedAt }) => formatTime(endedAt), { optional: true }),
          column("for", rows, ({ requestedBy }) => requestedBy),
          column("labels", rows, ({ labels }) => formatLabels(labels), { optional: true }),
        ]);
      });
    });

  storeCommand(group, "show", "Shows a session, its commands and its artifacts.", [
    "sessions show 01890a5d-ac96-774b-bcce-b302099a8057",
  ])
    .argument("<id>", "the id of the session")
    .action(async (sessionId: string, flags: StoreFlags) => {
      await visit(cli, flags, (store) => showSession(cli, store, sessionId, flags));
    });

  const updateNote =
    "Labels that are not named stay. Repeating it changes nothing. Another writer that comes between is noticed: repeat it then.";
  storeCommand(
    group,
    "update",
    "Changes labels and metadata of a session.",
    [
      "sessions update 01890a5d-ac96-774b-bcce-b302099a8057 --label team=core urgent",
      "sessions update 01890a5d-ac96-774b-bcce-b302099a8057 --remove-label urgent --metadata '{\"ticket\":17}'",
    ],
    updateNote,
  )
    .argument("<id>", "the id of the session")
    .addOption(new Option("--label <label...>", "labels to set, as KEY or KEY=VALUE").argParser(keyedLabel))
    .option("--remove-label <key...>", "labels to remove, by their keys")
    .addOption(new Option("--metadata <json>", "what replaces the metadata; null removes them").argParser(jsonValue))
    .action(async (sessionId: string, flags: StoreFlags & UpdateFlags) => {
      const session = await visit(cli, flags, async (store, options) => {
        const { labels: before, version } = await store.sessions.get({ sessionId });
        const kept = Object.entries(before).filter(([key]) => !flags.removeLabel?.includes(key));
        const labels = { ...Object.fromEntries(kept), ...flags.label };
        const metadata = "metadata" in flags ? { metadata: flags.metadata } : {};
        return store.sessions.update({ sessionId, labels, ...metadata, expectedVersion: version }, options);
      });
      printFields(cli, flags, session, { session: session.id, labels: formatLabels(session.labels) });
    });

  const cancelNote = `Queued commands end at once; runners stop running ones after their next heartbeat. Repeating it changes nothing. ${forceNote}`;
  reasonOption(
    forceOption(
      storeCommand(
        group,
        "cancel",
        "Cancels a session.",
        [
          "sessions cancel 01890a5d-ac96-774b-bcce-b302099a8057 --reason obsolete",
          "sessions cancel 01890a5d-ac96-774b-bcce-b302099a8057 --force",
        ],
        cancelNote,
      ),
    ),
  )
    .argument("<id>", "the id of the session")
    .action(async (sessionId: string, flags: StoreFlags & { reason?: string; force?: true }) => {
      const session = await visit(cli, flags, (store, options) =>
        store.sessions.cancel({ sessionId, ...present({ reason: flags.reason, force: flags.force }) }, options),
      );
      printFields(cli, flags, session, {
        session: session.id,
        state: session.state,
        "active commands": String(session.activeCommands),
      });
    });
}

interface UpdateFlags {
  readonly label?: Readonly<Record<string, string>>;
  readonly removeLabel?: readonly string[];
  readonly metadata?: unknown;
}

function jsonValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new InvalidArgumentError("expected JSON");
  }
}

/** Describes how the last command ended: by its exit code or signal, and otherwise by its state. */
function describeOutcome({ lastCommandState, lastExitCode, lastSignal }: Session): string | null {
  if (lastCommandState === null || lastCommandState === "succeeded") return lastCommandState && "ok";
  if (lastCommandState !== "failed") return lastCommandState;
  return [lastExitCode, lastSignal].filter((part) => part !== null).join(" ") || lastCommandState;
}

async function showSession(cli: CommandLine, store: OwnedStore, sessionId: string, flags: StoreFlags): Promise<void> {
  const everything = { sessionId, limit: bounds.pageRowsMax };
  const [session, commands, artifacts] = await Promise.all([
    store.sessions.get({ sessionId }),
    toArray(store.commands.all(everything)),
    toArray(store.artifacts.all(everything)),
  ]);
  if (flags.json) {
    cli.stdout.write(toJsonLine({ ...session, commands, artifacts }));
    return;
  }
  const [repository, worktree] = await Promise.all([
    store.repositories.get({ repositoryId: session.repositoryId }),
    session.worktreeId === null ? undefined : store.worktrees.get({ worktreeId: session.worktreeId }),
  ]);
  const fields = formatFields({
    session: session.id,
    repository: repository.name,
    commit: session.commitSha,
    patch: session.patchHash,
    state: session.state,
    reason: session.endReason,
    worktree: worktree?.path ?? null,
    "requested by": session.requestedBy,
    "rerun of": session.rerunOf,
    labels: formatLabels(session.labels),
    requires: session.requires.join(", ") || null,
    created: formatTime(session.createdAt),
    started: session.startedAt && formatTime(session.startedAt),
    ended: session.endedAt && formatTime(session.endedAt),
    expires: session.expiresAt && formatTime(session.expiresAt),
    deadline: session.deadlineAt && formatTime(session.deadlineAt),
  });
  const tables = [
    ...(commands.length === 0 ? [] : [formatTable(commandColumns(commands), cli.stdout)]),
    ...(artifacts.length === 0 ? [] : [formatTable(artifactColumns(artifacts), cli.stdout)]),
  ];
  cli.stdout.write([fields, ...tables].join("\n"));
}

async function toArray<Row>(rows: AsyncIterable<Row>): Promise<Row[]> {
  const array: Row[] = [];
  for await (const row of rows) array.push(row);
  return array;
}
