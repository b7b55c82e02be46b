// Registers a git repository of this machine in the store.
import { createHash } from "node:crypto";
import { basename, dirname, join, resolve } from "node:path";
import type { Repository, Store } from "../index.ts";
import { present } from "../present.ts";
import { GitError, git } from "./git/git.ts";

export interface LocalRepository {
  /** Any folder of the repository, or of one of its worktrees. */
  readonly path: string;
  /** The folder below which a repository that is new gets a folder for its worktrees. */
  readonly worktreesFolder: string;
  /** The least number of worktrees that it may have. Defaults to 16, or to what the store allows it already. */
  readonly worktreesMin?: number;
}

/**
 * Registers the repository by the name of its folder, or returns the one that is registered. Another repository of the
 * same name gets a suffix. Fails with a GitError when the folder is no git repository.
 */
export async function registerRepository(
  store: Pick<Store, "repositories">,
  { path, worktreesFolder, worktreesMin = 1 }: LocalRepository,
): Promise<Repository> {
  const { signal } = new AbortController();
  const gitDir = await gitDirOf(path, signal);
  const home = basename(gitDir) === ".git" ? dirname(gitDir) : gitDir.replace(/\.git$/, "");
  const name = basename(home) || "repository";
  const namesake = await store.repositories.find({ name });
  const isOther = namesake !== undefined && namesake.remoteUrl !== gitDir;
  const ownName = isOther ? `${name}-${createHash("sha256").update(gitDir).digest("hex").slice(0, 8)}` : name;
  const known = isOther ? await store.repositories.find({ name: ownName }) : namesake;
  const branch = await git(["symbolic-ref", "--quiet", "--short", "HEAD"], { cwd: path, signal }).catch(noneIfMissing);
  return await store.repositories.upsert({
    name: ownName,
    remoteUrl: gitDir,
    worktreeRoot: known?.worktreeRoot ?? join(worktreesFolder, ownName),
    maxWorktrees: Math.max(known?.maxWorktrees ?? 16, worktreesMin),
    ...present({ defaultBranch: branch?.trim() }),
  });
}

/** Returns the folder in which git keeps a repository, the same for all its worktrees. */
export async function gitDirOf(folder: string, signal: AbortSignal): Promise<string> {
  return resolve(folder, (await git(["rev-parse", "--git-common-dir"], { cwd: folder, signal })).trim());
}

/** git fails when there is no branch. */
function noneIfMissing(error: unknown): undefined {
  if (!(error instanceof GitError) || error.notInstalled) throw error;
  return undefined;
}
