// The public API of the runner, `debug-server-db/runner`; re-exports only.
export {
  type Artifacts,
  type ArtifactsOptions,
  artifacts,
  type CollectedArtifacts,
  type CollectInput,
} from "./artifacts/collectArtifacts.ts";
export type { RefusedFile } from "./artifacts/selectFiles.ts";
export { type ArtifactSink, localSink, type PutOptions } from "./artifacts/sink.ts";
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
export {
  type CheckedOut,
  type CheckOutOptions,
  type Condition,
  checkOut,
  inspectWorktree,
  type RemoveOptions,
  removeWorktree,
} from "./git/checkout.ts";
export { worktreeEnvironment } from "./git/environment.ts";
export { GitError, gitVersion } from "./git/git.ts";
export { applyPatch, PatchError, type PatchOptions, type PatchProblem } from "./git/patch.ts";
export { type GitRepository, openRepository, type RepositoryOptions } from "./git/repository.ts";
export { type LogStream, type LogWriter, type LogWriterOptions, logWriter, type WrittenLog } from "./logs/logWriter.ts";
export { type ProcessGuard, startGuard, type WatchedGroup } from "./process/guard.ts";
export type { TakeOutput } from "./process/output.ts";
export { type CommandEnd, type RunCommandOptions, runCommand } from "./process/runCommand.ts";
export type { ProgramLease } from "./process/stopping.ts";
export type { Usage } from "./process/usage.ts";
