// The public API of the runner, `debug-server-db/runner`; re-exports only.
export { GitError } from "./git/git.ts";
