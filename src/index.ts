// The public API; re-exports only.
export type { LogArchiveOption } from "./archive/chooseArchive.ts";
export { type LogArchive, localArchive } from "./archive/logArchive.ts";
export type { BackupOptions } from "./backup/online.ts";
export type { CallOptions } from "./client.ts";
export { type Collected, type CollectOptions, collectFiles } from "./collector/collectFiles.ts";
export { type ErrorCode, errorCodes, type Outcome, StoreError, storeError } from "./errors.ts";
export type { Logger, StoreEvent, WalReader } from "./events.ts";
export { type FileHash, hashFile } from "./files/hashFile.ts";
export type { Progress as BackupProgress } from "./files/privateFile.ts";
export { type AuthenticateOptions, type Authentication, authenticate } from "./http/authenticate.ts";
export { type CheckedStore, type HealthHandlerOptions, healthHandler } from "./http/health.ts";
export { defaultLimits, type Limits } from "./limits.ts";
export type { Account } from "./model/accounts.ts";
export type { Artifact } from "./model/artifacts.ts";
export type { ChangeRow } from "./model/changes.ts";
export type { Attempt, Claim, Command } from "./model/commands.ts";
export type { DebugBreakpoint, DebugEvent, DebugSession, DebugView, StoppedThread } from "./model/debug.ts";
export { isMove as isDebugMove } from "./model/debugCommands.ts";
export type {
  Breakpoint,
  BreakpointKind,
  RequestedBreakpoint,
  Scope as DebugScope,
  StackFrame,
  Thread as DebugThread,
  Variable,
} from "./model/debugProtocol.ts";
export type { DebugEntry, DebugRequest, TakenRequest } from "./model/debugRequests.ts";
export type { AcquiredEnvironment, Environment } from "./model/environments.ts";
export type { Explanation, WaitReason } from "./model/explained.ts";
export type { DiscardedFile } from "./model/files.ts";
export type { Finding } from "./model/findings.ts";
export type { Health, HealthChecks } from "./model/health.ts";
export { newId } from "./model/ids.ts";
export type { Chunk, LogMark, LogPage, LogTimeline, SessionLogItem, SessionLogPage } from "./model/logs.ts";
export { defaultSecretNames } from "./model/masking.ts";
export type { Patch } from "./model/patches.ts";
export type { Repository } from "./model/repositories.ts";
export type { FeedConsumer, Pruned, RepositoryRetention, Retention, RetentionSettings } from "./model/retention.ts";
export type { Runner } from "./model/runners.ts";
export type { Session } from "./model/sessions.ts";
export type { MintedToken, Principal, Token } from "./model/tokens.ts";
export type { Usage, UsageDay } from "./model/usage.ts";
export {
  type AccountKind,
  type ArtifactKind,
  type ArtifactState,
  type CommandState,
  type DebugEntryKind,
  type DebugRequestState,
  type DebugState,
  type EnvironmentState,
  type FileKind,
  type Release,
  type RetentionKind,
  type Scope,
  type SessionState,
  scopes,
  type TokenKind,
  type WorktreeState,
} from "./model/vocabulary.ts";
export type { Lease, Worktree } from "./model/worktrees.ts";
export { createRunnerPool, type RunnerPool, type RunnerPoolOptions } from "./pool/pool.ts";
export type { RunnerContext, RunnerTask } from "./pool/thread.ts";
export type { Backup, BackupManifest, MadeBackup, PrunedBackups } from "./schema/manifest.ts";
export {
  type AttachOptions,
  attachStore,
  openStore,
  type StoreOptions,
  type StoreServerAddress,
  serverOf,
} from "./store.ts";
export type { ConnectOptions, Liveness, OwnedStore, Store } from "./storeTypes.ts";
export type { CallTrace, GroupTrace, ServeTrace } from "./tracing.ts";
