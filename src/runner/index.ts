// The public API of the runner, `debug-server-db/runner`; re-exports only.
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
