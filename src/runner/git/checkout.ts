// Worktrees on disk: creates, reuses, cleans and removes them. The caller holds the lease of the worktree. Knows no
// store.
import { existsSync, realpathSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { dirname, isAbsolute, relative, resolve } from "node:path";
import { realTime } from "../../realTime.ts";
import { GitError, git } from "./git.ts";

export interface Checkout {
  readonly gitDir: string;
  /** The folder below which the demo may remove worktrees. */
  readonly worktreesRoot: string;
  readonly path: string;
  readonly commitSha: string;
  readonly signal: AbortSignal;
}

/** The way in which a worktree got to its commit. */
export type CheckedOut = "created" | "reused" | "created again";

export async function createWorktree(checkout: Checkout): Promise<CheckedOut> {
  await addWorktree(checkout);
  return "created";
}

/** Moves a worktree to the commit. One whose folder was removed or damaged by hand is created again. */
export async function reuseWorktree(checkout: Checkout, needsScrub: boolean): Promise<CheckedOut> {
  const { path, commitSha, signal } = checkout;
  const inWorktree = { cwd: path, ceiling: dirname(path), signal };
  try {
    const head = await headOf(checkout);
    if (head !== undefined) {
      if (needsScrub) {
        await git(["reset", "--quiet", "--hard"], inWorktree);
        await git(["clean", "--quiet", "-ffdx"], inWorktree);
      }
      // Compares with git and not with the store: a command may have checked out another commit.
      if (head !== commitSha) await git(["checkout", "--quiet", "--detach", commitSha], inWorktree);
      return "reused";
    }
  } catch (error) {
    if (!(error instanceof GitError) || signal.aborted) throw error;
  }
  await removeWorktree(checkout);
  await addWorktree(checkout);
  return "created again";
}

/** Removes the folder and git's record of this path. `git worktree prune` would forget a user's own worktrees too. */
export async function removeWorktree({ gitDir, worktreesRoot, path }: Omit<Checkout, "signal">): Promise<void> {
  if (!isBelow(worktreesRoot, path))
    throw new GitError(`${path} is not below ${worktreesRoot}: the demo removes only its own worktrees`);
  await rm(path, { recursive: true, force: true, maxRetries: 3 });
  const tooLong = new AbortController();
  const timer = realTime.setTimeout(() => tooLong.abort(), 5_000);
  // --force twice, because an interrupted `git worktree add` leaves a lock. git may not know the path at all.
  await git(["--git-dir", gitDir, "worktree", "remove", "--force", "--force", path], {
    cwd: gitDir,
    signal: tooLong.signal,
  }).catch(() => undefined);
  realTime.clearTimeout(timer);
}

function isBelow(root: string, path: string): boolean {
  const way = relative(root, path);
  return way !== "" && !way.startsWith("..") && !isAbsolute(way);
}

export interface Condition {
  /** The commit of the worktree, or null when git cannot say. */
  readonly commitSha: string | null;
  /** True when git sees no changes and no new files. */
  readonly isClean: boolean;
}

/** Asks git for the condition in which commands have left a worktree. */
export async function inspectWorktree(path: string, signal: AbortSignal): Promise<Condition> {
  try {
    const status = await git(["status", "--porcelain=v2", "--branch"], { cwd: path, ceiling: dirname(path), signal });
    const lines = status.split("\n").filter((line) => line !== "");
    const commitSha = /^# branch\.oid ([0-9a-f]+)$/m.exec(status)?.[1] ?? null;
    return { commitSha, isClean: lines.every((line) => line.startsWith("# ")) };
  } catch (error) {
    if (error instanceof GitError) return { commitSha: null, isClean: false };
    throw error;
  }
}

async function addWorktree({ gitDir, path, commitSha, signal }: Checkout): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await git(["--git-dir", gitDir, "worktree", "add", "--quiet", "--detach", path, commitSha], { cwd: gitDir, signal });
}

/** Returns the commit of the worktree; undefined when the folder is not a worktree of this repository. */
async function headOf({ gitDir, path, signal }: Checkout): Promise<string | undefined> {
  if (!existsSync(path)) return undefined;
  const answer = await git(["rev-parse", "--show-toplevel", "--git-common-dir", "HEAD"], {
    cwd: path,
    // Without a ceiling git would answer for a repository around the folder.
    ceiling: dirname(path),
    signal,
  });
  const [top = "", common = "", head = ""] = answer.split("\n");
  const same = realpathSync(top) === realpathSync(path) && realpathSync(resolve(path, common)) === realpathSync(gitDir);
  return same ? head : undefined;
}
