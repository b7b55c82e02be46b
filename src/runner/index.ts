// The public API of the runner, `debug-server-db/runner`; re-exports only.
export {
  type Artifacts,
  type ArtifactsOptions,
  artifacts,
  type CollectedArtifacts,
  type CollectInput,
} from "./artifacts/collectArtifacts.ts";
export type { RefusedFile } from "./artifacts/selectFiles.ts";
export { serverSink } from "./artifacts/serverSink.ts";
export { type ArtifactSink, localSink, type PutOptions } from "./artifacts/sink.ts";
export type { DapOptions } from "./debuggers/dap/dapDebugger.ts";
export {
  type DebuggedProgram,
  type Debugger,
  type DebuggerOptions,
  type DrivenProgram,
  debuggerOperations,
  type Move,
  type SourceBreakpoint,
  type Stop,
} from "./debuggers/debugger.ts";
export { debuggers } from "./debuggers/debuggers.ts";
export { inheritedVariables } from "./environment.ts";
export { formatRunnerEvent, type RunnerEvent } from "./events.ts";
export { type EvictedWorktrees, type EvictWorktreesOptions, evictWorktrees } from "./evictWorktrees.ts";
export {
  type CheckedOut,
  type CheckOutOptions,
  type Condition,
  checkOut,
  inspectWorktree,
  type RemoveOptions,
  removeWorktree,
} from "./git/checkout.ts";
export { GitError, gitVersion } from "./git/git.ts";
export { applyPatch, PatchError, type PatchOptions, type PatchProblem } from "./git/patch.ts";
export { type GitRepository, openRepository, type RepositoryOptions } from "./git/repository.ts";
export { type Holding, type KeepAlive, type KeepAliveOptions, keepAlive, type StopReason } from "./keepAlive.ts";
export { type LogStream, type LogWriter, type LogWriterOptions, logWriter, type WrittenLog } from "./logs/logWriter.ts";
export {
  type CommandChanges,
  type CommandContext,
  type RunnerHooks,
  type RunnerParts,
  type RunnerSettings,
  type RunnerStore,
  runnerOperations,
  type SessionContext,
} from "./options.ts";
export { type ProcessGuard, startGuard, type WatchedGroup } from "./process/guard.ts";
export type { TakeOutput } from "./process/output.ts";
export { type CommandEnd, type RunCommandOptions, runCommand } from "./process/runCommand.ts";
export type { ProgramLease } from "./process/stopping.ts";
export type { Usage } from "./process/usage.ts";
export { type LocalRepository, registerRepository } from "./registerRepository.ts";
export { runSession } from "./runSession.ts";
export { type SessionRunner, type SessionRunnerOptions, sessionRunner } from "./sessionRunner.ts";
export { type StartedRunner, type StartRunnerOptions, startRunner } from "./startRunner.ts";
export { type HeldWorktree, type Worktrees, type WorktreesOptions, worktrees } from "./worktrees.ts";
