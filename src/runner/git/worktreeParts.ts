// Finds the parts of a worktree by reading files, because git would believe whatever a command has written there.
import { lstat, readdir, readFile, realpath } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { WorktreeParts } from "./environment.ts";

/**
 * Returns the parts of the worktree; undefined when the folder is none of this repository, is not whole, or was being
 * made when git was killed.
 */
export async function worktreeParts(gitDir: string, path: string): Promise<WorktreeParts | undefined> {
  try {
    const [folder, link] = await Promise.all([lstat(path), lstat(join(path, ".git"))]);
    if (!folder.isDirectory() || !link.isFile() || link.size > pathBytesMax) return undefined;
    const there = /^gitdir: (.+)\n?$/.exec(await readFile(join(path, ".git"), "utf8"))?.[1];
    if (there === undefined) return undefined;
    const ownDir = await realpath(resolve(path, there));
    if (dirname(ownDir) !== (await realpath(join(gitDir, "worktrees")))) return undefined;
    const back = (await readFile(join(ownDir, "gitdir"), "utf8")).replace(/\n$/, "");
    const isLinked = (await realpath(resolve(ownDir, back))) === (await realpath(join(path, ".git")));
    if (!isLinked || (await isBeingMade(ownDir))) return undefined;
    return { gitDir, ownDir, path };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR" || code === "ELOOP" || code === "EISDIR") return undefined;
    throw error;
  }
}

/** Checks whether the repository still keeps a worktree at this path, whose folder is gone. */
export async function hadWorktree(gitDir: string, path: string): Promise<boolean> {
  const folder = join(gitDir, "worktrees");
  const links = await Promise.all(
    (await readdir(folder).catch(() => [])).map(async (name) => {
      const link = await readFile(join(folder, name, "gitdir"), "utf8").catch(() => "");
      return resolve(folder, name, link.trim());
    }),
  );
  return links.includes(join(path, ".git"));
}

/** The longest file that names a folder. */
const pathBytesMax = 8_192;

/** Checks for the lock that `git worktree add` holds, with this reason, until the files are there. */
async function isBeingMade(ownDir: string): Promise<boolean> {
  const reason = await readFile(join(ownDir, "locked"), "utf8").catch(() => "");
  return reason.trim() === "initializing";
}
