// debug-server-db repositories, runners, sessions, worktrees, commands, artifacts: what there is of each, and how an operator stops it.
import { type Command, Option } from "commander";
import type { Artifact } from "../model/artifacts.ts";
import type { Command as StoredCommand } from "../model/commands.ts";
import type { Session } from "../model/sessions.ts";
import {
  artifactKinds,
  artifactStates,
  commandStates,
  releaseKinds,
  runnerStates,
  sessionStates,
  worktreeStates,
} from "../model/vocabulary.ts";
import type { Worktree } from "../model/worktrees.ts";
import type { OwnedStore } from "../storeTypes.ts";
import { CliError } from "../terminal/exit.ts";
import { type Column, formatBytes, formatMs, formatTable } from "../terminal/table.ts";
import {
  collect,
  column,
  formatFields,
  formatTime,
  type PageFlags,
  printFields,
  printPage,
  stateColumn,
  withPages,
} from "./rows.ts";
import { commandGroup, type StoreFlags, storeCommand, toJsonLine, visit } from "./storeCommand.ts";

type ListFlags = StoreFlags & PageFlags;

export function addEntities(program: Command): void {
  addRepositories(program);
  addRunners(program);
  addSessions(program);
  addWorktrees(program);
  addCommands(program);
  addArtifacts(program);
}

function listCommand(group: Command, what: string, examples: readonly string[]): Command {
  return withPages(storeCommand(group, "list", `Lists ${what}, the oldest first.`, examples));
}

function ofState(states: readonly string[]): Option {
  return new Option("--state <state>", "of this state only").choices(states);
}

function reasonOption(command: Command): Command {
  return command.option("--reason <text>", "why; it goes into the audit log");
}

/** What was given of these flags. */
function given<Flags extends object, Name extends keyof Flags>(
  flags: Flags,
  ...names: readonly Name[]
): Partial<Pick<Flags, Name>> {
  return Object.fromEntries(
    names.filter((name) => flags[name] !== undefined).map((name) => [name, flags[name]]),
  ) as Partial<Pick<Flags, Name>>;
}

const isId = (text: string): boolean => /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text);

/** By id or name. */
async function repositoryFilter(
  store: OwnedStore,
  named: string | undefined,
): Promise<{ readonly repositoryId?: string }> {
  if (named === undefined) return {};
  if (isId(named)) return { repositoryId: named };
  const repository = await store.repositories.find({ name: named });
  if (repository === undefined) throw new CliError("failure", `there is no repository ${named}`);
  return { repositoryId: repository.id };
}

async function repositoryNames(
  store: OwnedStore,
  rows: readonly { readonly repositoryId: string }[],
): Promise<ReadonlyMap<string, string>> {
  const ids = [...new Set(rows.map(({ repositoryId }) => repositoryId))];
  return new Map(
    (await Promise.all(ids.map((repositoryId) => store.repositories.get({ repositoryId })))).map(({ id, name }) => [
      id,
      name,
    ]),
  );
}

function addRepositories(program: Command): void {
  const group = commandGroup(program, "repositories", "Upstream projects.", ["repositories list"]);
  listCommand(group, "repositories", ["repositories list", "repositories list --all --json"])
    .option("--all", "archived ones too", false)
    .action(async (flags: ListFlags & { all: boolean }) => {
      const page = await visit(flags, (store) =>
        collect(flags, (paged) => store.repositories.list({ includeArchived: flags.all, ...paged })),
      );
      printPage(flags, page, (rows) => [
        column("id", rows, ({ id }) => id),
        column("name", rows, ({ name }) => name),
        column("branch", rows, ({ defaultBranch }) => defaultBranch, { optional: true }),
        column("worktrees", rows, ({ worktreeCount, maxWorktrees }) => `${worktreeCount} of ${maxWorktrees}`, {
          align: "right",
        }),
        column("created", rows, ({ createdAt }) => formatTime(createdAt), { optional: true }),
        ...(flags.all ? [column("archived", rows, ({ archivedAt }) => formatTime(archivedAt))] : []),
        column("remote", rows, ({ remoteUrl }) => remoteUrl),
      ]);
    });
}

function addRunners(program: Command): void {
  const group = commandGroup(program, "runners", "Who executes commands.", ["runners list --state online"]);
  listCommand(group, "runners", ["runners list", "runners list --state online --json"])
    .addOption(ofState(runnerStates))
    .action(async (flags: ListFlags & { state?: (typeof runnerStates)[number] }) => {
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

function addSessions(program: Command): void {
  const group = commandGroup(program, "sessions", "Pieces of work, each on one commit.", [
    "sessions list --state running",
    "sessions show 01890a5d-ac96-774b-bcce-b302099a8057",
  ]);
  listCommand(group, "sessions", [
    "sessions list",
    "sessions list --repository demo --state running",
    "sessions list --json --limit 1000",
  ])
    .addOption(ofState(sessionStates))
    .option("--repository <name>", "of this repository only, by name or id")
    .option("--requested-by <name>", "asked for by this one only")
    .action(async (flags: ListFlags & { state?: Session["state"]; repository?: string; requestedBy?: string }) => {
      await visit(flags, async (store) => {
        const filter = {
          ...(await repositoryFilter(store, flags.repository)),
          ...given(flags, "state", "requestedBy"),
        };
        const page = await collect(flags, (paged) => store.sessions.list({ ...filter, ...paged }));
        const names = await repositoryNames(store, page.items);
        printPage(flags, page, (rows) => [
          column("id", rows, ({ id }) => id),
          column("repository", rows, ({ repositoryId }) => names.get(repositoryId)),
          column("commit", rows, ({ commitSha }) => commitSha.slice(0, 10)),
          stateColumn(rows, ({ state }) => state),
          column("queued", rows, ({ queuedCommands }) => queuedCommands, { align: "right", optional: true }),
          column("active", rows, ({ activeCommands }) => activeCommands, { align: "right", optional: true }),
          column("failed", rows, ({ failedCommands }) => failedCommands, { align: "right", optional: true }),
          column("created", rows, ({ createdAt }) => formatTime(createdAt)),
          column("ended", rows, ({ endedAt }) => formatTime(endedAt), { optional: true }),
          column("for", rows, ({ requestedBy }) => requestedBy),
        ]);
      });
    });

  storeCommand(group, "show", "Shows a session, its commands and its artifacts.", [
    "sessions show 01890a5d-ac96-774b-bcce-b302099a8057",
  ])
    .argument("<id>", "the session's id")
    .action(async (sessionId: string, flags: StoreFlags) => {
      await visit(flags, (store) => showSession(store, sessionId, flags));
    });

  const cancelNote =
    "Queued commands are cancelled at once; of running ones their runners learn by the next heartbeat. Repeated, it changes nothing.";
  reasonOption(
    storeCommand(
      group,
      "cancel",
      "Stops a session.",
      ["sessions cancel 01890a5d-ac96-774b-bcce-b302099a8057 --reason obsolete"],
      cancelNote,
    ),
  )
    .argument("<id>", "the session's id")
    .action(async (sessionId: string, flags: StoreFlags & { reason?: string }) => {
      const session = await visit(flags, (store, options) =>
        store.sessions.cancel({ sessionId, ...given(flags, "reason") }, options),
      );
      printFields(flags, session, {
        session: session.id,
        state: session.state,
        "active commands": String(session.activeCommands),
      });
    });
}

async function showSession(store: OwnedStore, sessionId: string, flags: StoreFlags): Promise<void> {
  const everything: PageFlags = { limit: 100_000 };
  const [session, commands, artifacts] = await Promise.all([
    store.sessions.get({ sessionId }),
    collect(everything, (paged) => store.commands.list({ sessionId, ...paged })),
    collect(everything, (paged) => store.artifacts.list({ sessionId, ...paged })),
  ]);
  if (flags.json) {
    process.stdout.write(toJsonLine({ ...session, commands: commands.items, artifacts: artifacts.items }));
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
    created: formatTime(session.createdAt),
    started: session.startedAt && formatTime(session.startedAt),
    ended: session.endedAt && formatTime(session.endedAt),
    expires: session.expiresAt && formatTime(session.expiresAt),
  });
  const tables = [
    ...(commands.items.length === 0 ? [] : [formatTable(commandColumns(commands.items), process.stdout)]),
    ...(artifacts.items.length === 0 ? [] : [formatTable(artifactColumns(artifacts.items), process.stdout)]),
  ];
  process.stdout.write([fields, ...tables].join("\n"));
}

function addWorktrees(program: Command): void {
  const group = commandGroup(program, "worktrees", "Checkout directories, and who holds them.", [
    "worktrees list --state leased",
  ]);
  listCommand(group, "worktrees", ["worktrees list", "worktrees list --repository demo --state leased"])
    .addOption(ofState(worktreeStates))
    .option("--repository <name>", "of this repository only, by name or id")
    .action(async (flags: ListFlags & { state?: Worktree["state"]; repository?: string }) => {
      await visit(flags, async (store) => {
        const filter = { ...(await repositoryFilter(store, flags.repository)), ...given(flags, "state") };
        const page = await collect(flags, (paged) => store.worktrees.list({ ...filter, ...paged }));
        const names = await repositoryNames(store, page.items);
        printPage(flags, page, (rows) => [
          column("id", rows, ({ id }) => id),
          column("repository", rows, ({ repositoryId }) => names.get(repositoryId), { optional: true }),
          stateColumn(rows, ({ state }) => state),
          column("commit", rows, ({ commitSha }) => commitSha?.slice(0, 10), { optional: true }),
          column("holder", rows, ({ leaseOwner, leaseRunnerId }) => leaseOwner ?? leaseRunnerId),
          column("lease until", rows, ({ leaseExpiresAt }) => formatTime(leaseExpiresAt), { optional: true }),
          column("fence", rows, ({ fence }) => fence, { align: "right", optional: true }),
          column("used", rows, ({ lastUsedAt }) => formatTime(lastUsedAt), { optional: true }),
          column("path", rows, ({ path }) => path),
        ]);
      });
    });

  const note =
    "A lease that still lives is released only with --force: from then on its holder changes nothing, but its programs may still write into the directory.";
  reasonOption(
    storeCommand(
      group,
      "release",
      "Takes a worktree from its holder.",
      ["worktrees release 01890a5d-ac96-774b-bcce-b302099a8057 --force --to keep"],
      note,
    ),
  )
    .argument("<id>", "the worktree's id")
    .option("--force", "also when its lease still lives", false)
    .addOption(
      new Option("--to <what>", "clean: to be used as it is; dirty: to be scrubbed; keep, broken: out of use")
        .choices(releaseKinds)
        .default("dirty"),
    )
    .action(
      async (
        worktreeId: string,
        flags: StoreFlags & { force: boolean; to: (typeof releaseKinds)[number]; reason?: string },
      ) => {
        await visit(flags, async (store, options) => {
          const held = await store.worktrees.get({ worktreeId });
          if (held.leaseExpiresAt === null)
            throw new CliError("failure", `the worktree is ${held.state}: nobody holds it`);
          if (held.leaseExpiresAt.getTime() > Date.now() && !flags.force) {
            const holder = held.leaseOwner ?? `runner ${held.leaseRunnerId}`;
            throw new CliError(
              "failure",
              `${holder} holds the worktree until ${formatTime(held.leaseExpiresAt)}: release it all the same with --force`,
            );
          }
          const reason = flags.reason ?? "released from the command line";
          // With the fence that was seen: a holder that came meanwhile keeps it.
          const released = await store.worktrees.release(
            { worktreeId, fence: held.fence, to: flags.to, reason },
            options,
          );
          printFields(flags, released, { worktree: released.id, state: released.state, path: released.path });
        });
      },
    );
}

function addCommands(program: Command): void {
  const group = commandGroup(program, "commands", "Programs that were asked to run, and what became of them.", [
    "commands list --state running",
  ]);
  listCommand(group, "commands", [
    "commands list --state running",
    "commands list --session 01890a5d-ac96-774b-bcce-b302099a8057 --json",
  ])
    .addOption(ofState(commandStates))
    .option("--session <id>", "of this session only, in their sequence")
    .action(async (flags: ListFlags & { state?: StoredCommand["state"]; session?: string }) => {
      const filter = { ...given(flags, "state"), ...(flags.session === undefined ? {} : { sessionId: flags.session }) };
      const page = await visit(flags, (store) =>
        collect(flags, (paged) => store.commands.list({ ...filter, ...paged })),
      );
      printPage(flags, page, commandColumns);
    });

  const cancelNote =
    "A queued one is cancelled at once; of a running one its runner learns by the next heartbeat. Repeated, it changes nothing.";
  reasonOption(
    storeCommand(
      group,
      "cancel",
      "Stops a command.",
      ["commands cancel 01890a5d-ac96-774b-bcce-b302099a8057"],
      cancelNote,
    ),
  )
    .argument("<id>", "the command's id")
    .action(async (commandId: string, flags: StoreFlags & { reason?: string }) => {
      const command = await visit(flags, (store, options) =>
        store.commands.cancel({ commandId, ...given(flags, "reason") }, options),
      );
      printFields(flags, command, { command: command.id, state: command.state });
    });
}

function commandColumns(rows: readonly StoredCommand[]): readonly Column[] {
  return [
    column("id", rows, ({ id }) => id),
    column("#", rows, ({ sequence }) => sequence, { align: "right" }),
    stateColumn(rows, ({ state }) => state),
    column("exit", rows, ({ exitCode, signal }) => signal ?? exitCode, { align: "right" }),
    column("try", rows, ({ attempt, maxAttempts }) => `${attempt}/${maxAttempts}`, { align: "right", optional: true }),
    column("queued", rows, ({ queuedAt }) => formatTime(queuedAt), { optional: true }),
    column(
      "took",
      rows,
      ({ startedAt, endedAt }) => startedAt && endedAt && formatMs(endedAt.getTime() - startedAt.getTime()),
      {
        align: "right",
        optional: true,
      },
    ),
    column("argv", rows, ({ argv }) => argv.map(shellWord).join(" ")),
  ];
}

function shellWord(text: string): string {
  return /^[\w./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function addArtifacts(program: Command): void {
  const group = commandGroup(program, "artifacts", "Files that commands produced: what is known of them.", [
    "artifacts list --kind junit",
  ]);
  listCommand(group, "artifacts", [
    "artifacts list --kind junit --state ready",
    "artifacts list --session 01890a5d-ac96-774b-bcce-b302099a8057 --json",
  ])
    .addOption(ofState(artifactStates))
    .addOption(new Option("--kind <kind>", "of this kind only").choices(artifactKinds))
    .option("--session <id>", "of this session only")
    .option("--command <id>", "of this command only")
    .action(
      async (
        flags: ListFlags & { state?: Artifact["state"]; kind?: Artifact["kind"]; session?: string; command?: string },
      ) => {
        const ids = {
          ...(flags.session === undefined ? {} : { sessionId: flags.session }),
          ...(flags.command === undefined ? {} : { commandId: flags.command }),
        };
        const filter = { ...given(flags, "state", "kind"), ...ids };
        const page = await visit(flags, (store) =>
          collect(flags, (paged) => store.artifacts.list({ ...filter, ...paged })),
        );
        printPage(flags, page, artifactColumns);
      },
    );
}

function artifactColumns(rows: readonly Artifact[]): readonly Column[] {
  return [
    column("id", rows, ({ id }) => id),
    column("name", rows, ({ name }) => name),
    column("kind", rows, ({ kind }) => kind, { optional: true }),
    stateColumn(rows, ({ state }) => state),
    column("size", rows, ({ sizeBytes }) => (sizeBytes === null ? "" : formatBytes(sizeBytes)), { align: "right" }),
    column("sha256", rows, ({ sha256 }) => sha256?.slice(0, 12), { optional: true }),
    column("uri", rows, ({ uri }) => uri),
  ];
}
