// A worktree on the disk: made, reused, cleaned, made anew. Whoever calls holds the lease of its path.
import { existsSync, realpathSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { dirname, isAbsolute, relative, resolve } from "node:path";
import { GitError, git } from "./git.ts";

export interface Checkout {
  readonly gitDir: string;
  /** Folders below it are ours to remove. */
  readonly worktreesRoot: string;
  readonly path: string;
  readonly commitSha: string;
  readonly signal: AbortSignal;
}

export type Made = "made" | "reused" | "made anew";

/** A tree that is not there yet. */
export async function makeTree(checkout: Checkout): Promise<Made> {
  await add(checkout);
  return "made";
}

/** A tree that was used before. Its folder may have been removed by hand, or be broken: then it is made anew. */
export async function reuseTree(checkout: Checkout, needsScrub: boolean): Promise<Made> {
  const { path, commitSha, signal } = checkout;
  const inTree = { cwd: path, ceiling: dirname(path), signal };
  try {
    const head = await headOfTree(checkout);
    if (head !== undefined) {
      if (needsScrub) {
        await git(["reset", "--quiet", "--hard"], inTree);
        await git(["clean", "--quiet", "-ffdx"], inTree);
      }
      // Asked of git and not of the store: a command may have moved it.
      if (head !== commitSha) await git(["checkout", "--quiet", "--detach", commitSha], inTree);
      return "reused";
    }
  } catch (error) {
    if (!(error instanceof GitError) || signal.aborted) throw error;
  }
  await removeTree(checkout);
  await add(checkout);
  return "made anew";
}

/** The folder, and what git notes of it: of this path alone, where `git worktree prune` would forget a person's own trees too. */
export async function removeTree({ gitDir, worktreesRoot, path }: Omit<Checkout, "signal">): Promise<void> {
  if (!isBelow(worktreesRoot, path))
    throw new GitError(`${path} is no worktree of this repository, and not ours to remove`);
  await rm(path, { recursive: true, force: true, maxRetries: 3 });
  // Twice: a tree whose making was interrupted is locked. That git never knew the path is fine.
  const signal = AbortSignal.timeout(5_000);
  await git(["--git-dir", gitDir, "worktree", "remove", "--force", "--force", path], { cwd: gitDir, signal }).catch(
    () => undefined,
  );
}

function isBelow(root: string, path: string): boolean {
  const way = relative(root, path);
  return way !== "" && !way.startsWith("..") && !isAbsolute(way);
}

/** False when a command left something in it that git would show. */
export async function isClean(path: string, signal: AbortSignal): Promise<boolean> {
  try {
    return (await git(["status", "--porcelain"], { cwd: path, ceiling: dirname(path), signal })) === "";
  } catch (error) {
    if (error instanceof GitError) return false;
    throw error;
  }
}

async function add({ gitDir, path, commitSha, signal }: Checkout): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await git(["--git-dir", gitDir, "worktree", "add", "--quiet", "--detach", path, commitSha], { cwd: gitDir, signal });
}

/** Undefined when the folder is not a worktree of this repository. The ceiling keeps git from taking a repository around it for it. */
async function headOfTree({ gitDir, path, signal }: Checkout): Promise<string | undefined> {
  if (!existsSync(path)) return undefined;
  const answer = await git(["rev-parse", "--show-toplevel", "--git-common-dir", "HEAD"], {
    cwd: path,
    ceiling: dirname(path),
    signal,
  });
  const [top = "", common = "", head = ""] = answer.split("\n");
  const same = realpathSync(top) === realpathSync(path) && realpathSync(resolve(path, common)) === realpathSync(gitDir);
  return same ? head : undefined;
}
