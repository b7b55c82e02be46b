// Worktrees on disk: brings a folder to a commit, inspects and removes it. The caller holds the lease of the worktree.
// Knows no store.
import { existsSync, lstatSync } from "node:fs";
import { mkdir, readFile, realpath } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from "node:path";
import { realTime } from "../../realTime.ts";
import type { WorktreeParts } from "./environment.ts";
import { GitError, type GitRun, git, requireHeld } from "./git.ts";
import { removeAside } from "./removeTree.ts";
import type { GitRepository } from "./repository.ts";
import { nestedRepositories, readIndex, scrub } from "./scrub.ts";
import { hadWorktree, worktreeParts } from "./worktreeParts.ts";

export interface CheckOutOptions extends GitRun {
  readonly repository: GitRepository;
  /** The folder below which worktrees are made, and below which alone folders are removed. */
  readonly worktreesRoot: string;
  readonly path: string;
  readonly commitSha: string;
  /**
   * False for a worktree whose last holder left it clean: ignored files stay then, such as installed packages and caches.
   * By default everything goes that is not in the commit.
   */
  readonly needsScrub?: boolean;
  /** Initialises submodules, which may fetch them. */
  readonly submodules?: boolean;
}

export interface CheckedOut {
  /** The way in which the worktree got to its commit. */
  readonly how: "created" | "reused" | "created again";
  /** Facts that explain what a command finds there, for the log. */
  readonly notes: readonly string[];
}

/**
 * Brings a folder to a commit: makes a worktree there, or reuses the one that is there, or makes it anew when it was
 * damaged. What is in the folder otherwise is removed, if it is below `worktreesRoot`.
 *
 * Fails    GitError; the state of the folder is unknown then, and the next call brings it in order
 */
export async function checkOut(options: CheckOutOptions): Promise<CheckedOut> {
  const { repository, path, commitSha, needsScrub = true, submodules = false, signal, guard, holdings } = options;
  const run: GitRun = { signal, guard, holdings };
  const { gitDir } = repository;
  await requireBelow(options.worktreesRoot, path, gitDir);
  await repository.requireCommit(commitSha, signal);
  const notes: string[] = [];
  const isThere = lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  const parts = isThere ? await worktreeParts(gitDir, path) : undefined;
  let how: CheckedOut["how"] = "created";
  if (parts !== undefined && (await reuse(parts, commitSha, needsScrub, run, notes))) how = "reused";
  else {
    if (isThere || (await hadWorktree(gitDir, path))) how = "created again";
    if (!isThere && how === "created again") notes.push("its folder was gone");
    if (isThere && parts === undefined) notes.push("its folder was no whole worktree of this repository");
    if (isThere) await removeAside(path, path, run);
    requireHeld(run);
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    // --force twice, because the repository may still have this path, with the lock of an interrupted call.
    const add = ["worktree", "add", "--quiet", "--force", "--force", "--detach", path, commitSha];
    await git(["--git-dir", gitDir, ...add], { cwd: gitDir, ...run });
  }
  notes.push(...(await notesOf(path, submodules, run)));
  return { how, notes };
}

/** Returns false when git cannot bring the worktree to the commit. */
async function reuse(
  parts: WorktreeParts,
  commitSha: string,
  needsScrub: boolean,
  run: GitRun,
  notes: string[],
): Promise<boolean> {
  const options = { cwd: parts.path, worktree: parts, ...run };
  try {
    // The lease is the caller's, so that nobody holds this lock.
    await removeAside(join(parts.ownDir, "index.lock"), parts.path, run);
    if (needsScrub) await scrub(parts, commitSha, run);
    // Compares with git and not with the store: a command may have checked out another commit.
    else if ((await git(["rev-parse", "--verify", "HEAD"], options)).trim() !== commitSha)
      await git(["checkout", "--quiet", "--detach", commitSha], options);
    return true;
  } catch (error) {
    if (!(error instanceof GitError) || error.notInstalled || run.signal.aborted) throw error;
    requireHeld(run);
    notes.push(error.message);
    // A file that is in the way of the commit needs a scrub, and not all files anew.
    return !needsScrub && (await reuse(parts, commitSha, true, run, notes));
  }
}

async function notesOf(path: string, submodules: boolean, run: GitRun): Promise<string[]> {
  const notes: string[] = [];
  const options = { cwd: path, ceiling: dirname(path), ...run };
  if (existsSync(join(path, ".gitmodules"))) {
    if (submodules) await git(["submodule", "--quiet", "update", "--init", "--recursive", "--force"], options);
    else notes.push("has submodules, which are not initialised: set the option submodules for that");
  }
  const attributes = await readFile(join(path, ".gitattributes"), "utf8").catch(() => "");
  if (/^[^#\n]*\bfilter=lfs\b/m.test(attributes)) {
    const isInstalled = await git(["lfs", "version"], options).catch((error: unknown) => {
      if (run.signal.aborted) throw error;
    });
    const filter = await git(["config", "--get", "filter.lfs.smudge"], options).catch(() => undefined);
    if (isInstalled === undefined || filter === undefined)
      notes.push("has files in Git LFS, of which only the pointers are here: install git-lfs, and run git lfs install");
  }
  return notes;
}

export interface RemoveOptions extends Partial<GitRun> {
  readonly gitDir: string;
  /** The folder below which alone folders are removed. */
  readonly worktreesRoot: string;
  readonly path: string;
}

/**
 * Removes a worktree: the folder, whatever it has become, and what the repository keeps of this path. Other worktrees
 * whose folder is missing are left as they are, because `git worktree prune` would forget a user's own too.
 *
 * Fails    GitError when the path is not below the root
 */
export async function removeWorktree(options: RemoveOptions): Promise<void> {
  const { gitDir, worktreesRoot, path, signal = new AbortController().signal, guard, holdings } = options;
  const run: GitRun = { signal, guard, holdings };
  await requireBelow(worktreesRoot, path, gitDir);
  await removeAside(path, path, run);
  requireHeld(run);
  const tooLong = new AbortController();
  const timer = realTime.setTimeout(() => tooLong.abort(), 5_000);
  // --force twice, because an interrupted `git worktree add` leaves a lock. git may not know the path at all.
  await git(["--git-dir", gitDir, "worktree", "remove", "--force", "--force", path], {
    ...run,
    cwd: gitDir,
    signal: AbortSignal.any([signal, tooLong.signal]),
  }).catch(() => undefined);
  realTime.clearTimeout(timer);
}

/**
 * Fails unless the path is below the root, also when symbolic links are followed, and the repository is not in it. A path
 * elsewhere may be right for another runner.
 */
export async function requireBelow(root: string, path: string, gitDir: string): Promise<void> {
  if (!isAbsolute(path) || !isBelow(root, path))
    throw new GitError(`${path} is not below ${root}: the runner makes and removes only worktrees there`, false, true);
  const real = join(await realParent(dirname(path)), basename(path));
  if (!isBelow(await realParent(root), real))
    throw new GitError(`${path} leads to ${real}, which is not below ${root}: remove the symbolic link`);
  const repository = await realParent(gitDir);
  if (repository === real || isBelow(real, repository))
    throw new GitError(`${path} holds the repository ${gitDir}: name another folder for worktrees`);
}

export function isBelow(root: string, path: string): boolean {
  const way = relative(resolve(root), path);
  return way !== "" && way !== ".." && !way.startsWith(`..${sep}`) && !isAbsolute(way);
}

/** Returns the path without symbolic links, as far as it exists. */
async function realParent(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" || dirname(path) === path) throw error;
    return join(await realParent(dirname(path)), basename(path));
  }
}

export interface Condition {
  /** The commit of the worktree, or null when git cannot say. */
  readonly commitSha: string | null;
  /** True when git sees no changes and no new files. Ignored files do not count. */
  readonly isClean: boolean;
}

/**
 * Asks git for the condition in which commands have left a worktree. Files that git was told to overlook, and
 * repositories that were made in it, count as changes.
 */
export async function inspectWorktree(path: string, run: GitRun): Promise<Condition> {
  const options = { cwd: path, ceiling: dirname(path), ...run };
  try {
    const question = [
      "status",
      "--porcelain=v2",
      "--branch",
      "-z",
      "--untracked-files=normal",
      "--ignore-submodules=none",
    ];
    const facts = (await git(question, options)).split("\0").filter((fact) => fact !== "");
    const commitSha = facts.map((fact) => /^# branch\.oid ([0-9a-f]+)$/.exec(fact)?.[1]).find(Boolean) ?? null;
    if (!facts.every((fact) => fact.startsWith("# "))) return { commitSha, isClean: false };
    const tracked = await readIndex(options);
    const isClean = !tracked.hidesChanges && (await nestedRepositories(path, tracked)).length === 0;
    return { commitSha, isClean };
  } catch (error) {
    if (error instanceof GitError) return { commitSha: null, isClean: false };
    throw error;
  }
}
