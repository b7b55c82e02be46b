// The closed lists of the model: states, kinds and scopes. Imports nothing, so that the command line can offer these
// words as choices without loading a schema. The transitions between states are listed at the head of the file of their
// entity.

/** The orders of a list: oldest first, newest first. */
export const orders = ["asc", "desc"] as const;
export type Order = (typeof orders)[number];

/** The ends of the change feed at which a new consumer begins. */
export const feedStarts = ["newest", "oldest"] as const;

export const worktreeStates = ["creating", "idle", "dirty", "leased", "quarantined", "evicting", "removed"] as const;
export type WorktreeState = (typeof worktreeStates)[number];

export const releaseKinds = ["clean", "dirty", "keep", "broken"] as const;
export type Release = (typeof releaseKinds)[number];

export const sessionStates = [
  "pending",
  "running",
  "cancelling",
  "completed",
  "failed",
  "cancelled",
  "expired",
] as const;
export type SessionState = (typeof sessionStates)[number];

/** The states in which a session has ended. */
export const sessionOutcomes = ["completed", "failed", "cancelled", "expired"] as const;
export type SessionOutcome = (typeof sessionOutcomes)[number];

export const commandStates = [
  "queued",
  "running",
  "cancelling",
  "succeeded",
  "failed",
  "timed_out",
  "cancelled",
  "lost",
] as const;
export type CommandState = (typeof commandStates)[number];

/** The fate of the other queued commands of a session when one has failed. */
export const failurePolicies = ["continue", "stop"] as const;
export type FailurePolicy = (typeof failurePolicies)[number];

/** The states in which a command, or an attempt of it, has ended. */
export const commandOutcomes = ["succeeded", "failed", "timed_out", "cancelled", "lost"] as const;
export type CommandOutcome = (typeof commandOutcomes)[number];

/** The streams of a log: the two of the program, and that of the runner itself. */
export const logStreams = ["stdout", "stderr", "system"] as const;
export type LogStream = (typeof logStreams)[number];

export const runnerStates = ["online", "draining", "stalled", "gone"] as const;
export type RunnerState = (typeof runnerStates)[number];

export const artifactKinds = ["log", "coverage", "junit", "core-dump", "custom"] as const;
export type ArtifactKind = (typeof artifactKinds)[number];

/** The kinds of files that the store no longer needs. A server that has the log archive removes those of logs (D-146). */
export const fileKinds = ["artifact", "log", "patch", "environment"] as const;
export type FileKind = (typeof fileKinds)[number];

export const artifactStates = ["pending", "ready", "failed", "deleted"] as const;
export type ArtifactState = (typeof artifactStates)[number];

export const environmentStates = ["building", "ready", "failed"] as const;
export type EnvironmentState = (typeof environmentStates)[number];

export const debugStates = ["initializing", "configuring", "running", "stopped", "terminated", "error"] as const;
export type DebugState = (typeof debugStates)[number];

/** The states of a request to a debugger. */
export const debugRequestStates = ["queued", "taken", "answered", "failed", "expired", "cancelled"] as const;
export type DebugRequestState = (typeof debugRequestStates)[number];

/** The kinds of entries in the history of a debug session: what was set, and what was asked and became of it. */
export const debugEntryKinds = [
  "opened",
  "restarted",
  "breakpoints",
  "state",
  "closed",
  "asked",
  "answered",
  "failed",
  "expired",
  "cancelled",
] as const;
export type DebugEntryKind = (typeof debugEntryKinds)[number];

export const accountKinds = ["human", "agent", "runner"] as const;
export type AccountKind = (typeof accountKinds)[number];

export const tokenKinds = ["personal", "runner"] as const;
export type TokenKind = (typeof tokenKinds)[number];

const scopedEntities = [
  "repositories",
  "worktrees",
  "sessions",
  "commands",
  "artifacts",
  "debug",
  "tokens",
  "runners",
  "logs",
  "changes",
] as const;
/**
 * The permissions of a token. `admin` includes all others; writing does not include reading. `sessions:any` extends what a
 * token may do with sessions to those of other accounts.
 */
export const scopes = [
  "admin",
  ...scopedEntities.flatMap((entity) => [`${entity}:read`, `${entity}:write`] as const),
  "metrics:read",
  "sessions:any",
] as const;
export type Scope = (typeof scopes)[number];

/** The kinds of rows for which what commands used is summed. */
export const usageKinds = ["session", "account", "requester", "repository"] as const;
export type UsageKind = (typeof usageKinds)[number];

/** The kinds of rows that retention removes, in the order in which they go: what names others goes before them. */
export const retentionKinds = [
  "sessions",
  "logs",
  "debug",
  "readyArtifacts",
  "artifacts",
  "worktrees",
  "runners",
  "tokens",
  "patches",
  "environments",
  "files",
  "usage",
  "changes",
] as const;
export type RetentionKind = (typeof retentionKinds)[number];
