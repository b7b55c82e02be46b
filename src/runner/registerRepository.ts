// Registers a git repository of this machine in the store.
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
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
  const isOther = namesake !== undefined && !isAt(namesake.remoteUrl, gitDir);
  const hashed = `${name}-${createHash("sha256").update(gitDir).digest("hex").slice(0, 8)}`;
  const known = isOther ? await store.repositories.find({ name: hashed }) : namesake;
  const ownName = isOther ? hashed : name;
  const branch = await git(["symbolic-ref", "--quiet", "--short", "HEAD"], { cwd: path, signal }).catch(noneIfMissing);
  return await store.repositories.upsert({
    name: ownName,
    remoteUrl: gitDir,
    worktreeRoot: known?.worktreeRoot ?? join(worktreesFolder, ownName),
    maxWorktrees: Math.max(known?.maxWorktrees ?? 16, worktreesMin),
    ...present({ defaultBranch: branch?.trim() }),
  });
}

/** Checks whether an address is that of a repository of this machine: its folder, or the one in which git keeps it. */
function isAt(remoteUrl: string | null, gitDir: string): boolean {
  if (remoteUrl === null) return false;
  const path = remoteUrl.startsWith("file://") ? fileURLToPath(remoteUrl) : remoteUrl;
  return isAbsolute(path) && [resolve(path), join(path, ".git")].includes(gitDir);
}

/** Returns the folder in which git keeps a repository, the same for all its worktrees. */
export async function gitDirOf(folder: string, signal: AbortSignal): Promise<string> {
  if (!existsSync(folder)) throw new GitError(`there is no folder ${folder}`);
  try {
    return resolve(folder, (await git(["rev-parse", "--git-common-dir"], { cwd: folder, signal })).trim());
  } catch (error) {
    if (!(error instanceof GitError) || error.notInstalled) throw error;
    throw new GitError(`${folder}: ${error.message}`);
  }
}

/** git fails when there is no branch. */
function noneIfMissing(error: unknown): undefined {
  if (!(error instanceof GitError) || error.notInstalled) throw error;
  return undefined;
}
