// The lists of the page: for each kind of row, what reads it and what its columns show.
import { ago, between, type Child, commandText, h, shortId, size, stateMark } from "./dom.ts";
import type {
  ArtifactJson,
  AttemptJson,
  ChangeJson,
  CommandJson,
  DebugSessionJson,
  RunnerJson,
  SessionJson,
  TokenJson,
  WorktreeJson,
} from "./json.ts";
import type { Names } from "./names.ts";

export interface Column<Item> {
  readonly label: string;
  /** The track of the grid, such as "8rem". */
  readonly width: string;
  /** True for a column that narrow screens show too. */
  readonly isNarrow?: boolean;
  /** The track on a narrow screen, where it differs. */
  readonly narrowWidth?: string;
  cell(row: Item, names: Names): Child;
}

export interface Kind<Item extends object> {
  /** The name in addresses, which is also the word for many. */
  readonly name: string;
  readonly title: string;
  /** The name of the entity in the change feed. */
  readonly entity: string;
  readonly scope: string;
  readonly list: string;
  /** The operation that reads one row, and the name of its input. */
  readonly get?: readonly [operation: string, idName: string];
  readonly states?: readonly string[];
  /** True when links are paths. */
  readonly isPath?: boolean;
  readonly columns: readonly Column<Item>[];
  idOf(row: Item): string;
  /** Returns the address of the row, and what the link to it says. */
  link(row: Item, names: Names): string;
  href(row: Item): string;
}

const idOf = ({ id }: { readonly id: string }) => id;
const age = {
  label: "Created",
  width: "7rem",
  isNarrow: true,
  narrowWidth: "4.8rem",
  cell: (row: { createdAt: string }) => ago(row.createdAt),
};
const state = {
  label: "State",
  width: "7.5rem",
  isNarrow: true,
  narrowWidth: "6.6rem",
  cell: (row: { state: string }) => stateMark(row.state),
};

/** Returns the number of a session's commands, and how many of them are in a state that asks for a look. */
export function commandCounts(row: SessionJson): string {
  const { queuedCommands, activeCommands, failedCommands, nextSequence } = row;
  const parts = [
    `${nextSequence - 1}`,
    activeCommands > 0 ? `${activeCommands} running` : "",
    queuedCommands > 0 ? `${queuedCommands} queued` : "",
    failedCommands > 0 ? `${failedCommands} failed` : "",
  ];
  return parts.filter((text) => text !== "").join(" · ");
}

/** Returns the number of an attempt, and of how many it is, as far as is known now. */
export function attemptText({ attempt, maxAttempts, lostClaims, retries }: CommandJson): string {
  return `${attempt} of ${maxAttempts + lostClaims + retries}`;
}

export const sessions: Kind<SessionJson> = {
  name: "sessions",
  title: "Sessions",
  entity: "session",
  scope: "sessions:read",
  list: "sessions.list",
  get: ["sessions.get", "sessionId"],
  states: ["pending", "running", "cancelling", "completed", "failed", "cancelled", "expired"],
  idOf,
  href: ({ id }) => `#/sessions/${id}`,
  link: (row) => `${row.commitSha.slice(0, 10)} · ${shortId(row.id)}`,
  columns: [
    state,
    { label: "Repository", width: "minmax(6rem, 1fr)", cell: (row, names) => names.of(row.repositoryId) },
    {
      label: "Commands",
      width: "11rem",
      cell: commandCounts,
    },
    { label: "Requested by", width: "8rem", cell: (row) => row.requestedBy },
    { label: "Took", width: "6rem", cell: (row) => between(row.startedAt, row.endedAt) },
    age,
  ],
};

export const commands: Kind<CommandJson> = {
  name: "commands",
  title: "Commands",
  entity: "command",
  scope: "commands:read",
  list: "commands.list",
  get: ["commands.get", "commandId"],
  states: ["queued", "running", "cancelling", "succeeded", "failed", "timed_out", "cancelled", "lost"],
  idOf,
  href: ({ id }) => `#/commands/${id}`,
  link: ({ argv }) => commandText(argv),
  columns: [
    state,
    {
      label: "Exit",
      width: "5rem",
      cell: ({ exitCode, signal }) => (signal === null ? exitCode : signal),
    },
    { label: "Attempt", width: "5rem", cell: attemptText },
    { label: "Runner", width: "9rem", cell: ({ runnerId }, names) => names.of(runnerId) },
    { label: "Took", width: "6rem", cell: (row) => between(row.startedAt, row.endedAt) },
    age,
  ],
};

export const worktrees: Kind<WorktreeJson> = {
  name: "worktrees",
  title: "Worktrees",
  entity: "worktree",
  scope: "worktrees:read",
  list: "worktrees.list",
  get: ["worktrees.get", "worktreeId"],
  states: ["creating", "idle", "dirty", "leased", "quarantined", "evicting", "removed"],
  idOf,
  href: ({ id }) => `#/worktrees/${id}`,
  link: ({ path }) => path,
  isPath: true,
  columns: [
    state,
    { label: "Repository", width: "9rem", cell: (row, names) => names.of(row.repositoryId) },
    { label: "Holder", width: "9rem", cell: (row, names) => row.leaseOwner ?? names.of(row.leaseRunnerId) },
    { label: "Commit", width: "7rem", cell: ({ commitSha }) => commitSha?.slice(0, 10) },
    { label: "Size", width: "6rem", cell: ({ sizeBytes }) => size(sizeBytes) },
    { label: "Used", width: "7rem", isNarrow: true, narrowWidth: "4.8rem", cell: ({ lastUsedAt }) => ago(lastUsedAt) },
  ],
};

export const runners: Kind<RunnerJson> = {
  name: "runners",
  title: "Runners",
  entity: "runner",
  scope: "runners:read",
  list: "runners.list",
  get: ["runners.get", "runnerId"],
  states: ["online", "draining", "stalled", "gone"],
  idOf,
  href: ({ id }) => `#/runners/${id}`,
  link: ({ name }) => name,
  columns: [
    state,
    { label: "Host", width: "10rem", cell: ({ host }) => host },
    { label: "Process", width: "6rem", cell: ({ pid }) => pid },
    {
      label: "Labels",
      width: "minmax(6rem, 1fr)",
      cell: ({ labels }) =>
        Object.entries(labels)
          .map(([name, value]) => `${name}=${value}`)
          .join(" "),
    },
    {
      label: "Seen",
      width: "7rem",
      isNarrow: true,
      narrowWidth: "4.8rem",
      cell: ({ heartbeatAt }) => ago(heartbeatAt),
    },
  ],
};

export const debugSessions: Kind<DebugSessionJson> = {
  name: "debug",
  title: "Debug sessions",
  entity: "debug_session",
  scope: "debug:read",
  list: "debug.list",
  idOf,
  href: ({ id }) => `#/debug/${id}`,
  link: ({ name }) => name,
  columns: [
    state,
    { label: "Adapter", width: "8rem", cell: ({ adapter }) => adapter },
    {
      label: "Stopped by",
      width: "minmax(6rem, 1fr)",
      cell: ({ stopReason, state }) => (state === "stopped" ? stopReason : ""),
    },
    { label: "Breakpoints", width: "7rem", cell: ({ breakpointCount }) => breakpointCount },
    age,
  ],
};

/** Returns the state of a token, which is no column. */
export function tokenState({ revokedAt, rotatedTo, expiresAt }: TokenJson): string {
  if (revokedAt !== null) return "revoked";
  if (expiresAt !== null && Date.parse(expiresAt) <= Date.now()) return "expired";
  return rotatedTo === null ? "live" : "expiring";
}

export const tokens: Kind<TokenJson> = {
  name: "tokens",
  title: "Tokens",
  entity: "token",
  scope: "tokens:read",
  list: "tokens.list",
  idOf,
  href: ({ id }) => `#/tokens/${id}`,
  link: ({ name }) => name,
  columns: [
    { ...state, cell: (row) => stateMark(tokenState(row)) },
    { label: "Account", width: "9rem", cell: ({ accountId }, names) => names.of(accountId) },
    { label: "Begins with", width: "9rem", cell: ({ hint }) => h("code", {}, hint) },
    { label: "Scopes", width: "minmax(6rem, 1fr)", cell: ({ scopes }) => scopes.join(" ") },
    { label: "Expires", width: "7rem", cell: ({ expiresAt }) => ago(expiresAt) || "never" },
    {
      label: "Used",
      width: "7rem",
      isNarrow: true,
      narrowWidth: "4.8rem",
      cell: ({ lastUsedAt }) => ago(lastUsedAt) || "never",
    },
  ],
};

export const changes: Kind<ChangeJson> = {
  name: "changes",
  title: "Changes",
  entity: "",
  scope: "changes:read",
  list: "changes.since",
  idOf: ({ seq }) => String(seq),
  href: ({ seq }) => `#/changes/${seq}`,
  link: ({ entity, op }) => `${entity.replaceAll("_", " ")}: ${op}`,
  columns: [
    { label: "Number", width: "6rem", isNarrow: true, narrowWidth: "4.2rem", cell: ({ seq }) => seq },
    { label: "Row", width: "7rem", cell: ({ entityId }) => h("code", {}, shortId(entityId)) },
    { label: "By", width: "8rem", cell: ({ actor }) => actor },
    {
      label: "Detail",
      width: "minmax(8rem, 1.5fr)",
      cell: ({ detail }) => (detail === null ? "" : JSON.stringify(detail)),
    },
    { label: "When", width: "7rem", isNarrow: true, narrowWidth: "4.8rem", cell: ({ at }) => ago(at) },
  ],
};

export const artifacts: Kind<ArtifactJson> = {
  name: "artifacts",
  title: "Artifacts",
  entity: "artifact",
  scope: "artifacts:read",
  list: "artifacts.list",
  get: ["artifacts.get", "artifactId"],
  idOf,
  href: ({ id }) => `#/artifacts/${id}`,
  link: ({ name }) => name,
  columns: [
    state,
    { label: "Kind", width: "7rem", cell: ({ kind }) => kind },
    { label: "Type", width: "10rem", cell: ({ contentType }) => contentType },
    { label: "Size", width: "7rem", cell: ({ sizeBytes }) => size(sizeBytes) },
    age,
  ],
};

export type AttemptRow = AttemptJson & { readonly commandId: string };

export const attempts: Kind<AttemptRow> = {
  name: "attempts",
  title: "Attempts",
  entity: "attempt",
  scope: "commands:read",
  list: "commands.attempts",
  idOf: ({ attempt }) => String(attempt),
  href: ({ commandId, attempt }) => `#/commands/${commandId}/log/${attempt}`,
  link: ({ attempt }) => `Attempt ${attempt}`,
  columns: [
    { ...state, cell: ({ outcome }) => stateMark(outcome ?? "running") },
    { label: "Exit", width: "6rem", cell: ({ exitCode, signal }) => signal ?? exitCode },
    { label: "Runner", width: "9rem", cell: ({ runnerId }, names) => names.of(runnerId) },
    { label: "Log", width: "7rem", cell: ({ logBytes }) => size(logBytes) },
    { label: "Took", width: "6rem", cell: (row) => between(row.startedAt, row.endedAt) },
    { label: "Started", width: "7rem", isNarrow: true, narrowWidth: "4.8rem", cell: ({ startedAt }) => ago(startedAt) },
  ],
};
