// Brings a worktree to a commit with no trace of the commands that ran there before.
import { lstat, mkdir, readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { WorktreeParts } from "./environment.ts";
import { type GitOptions, type GitRun, git } from "./git.ts";
import { removeAside } from "./removeTree.ts";

/** The files of git that a worktree cannot be without. Settings, merges and bisections of the last commands are others. */
const lasting = ["HEAD", "commondir", "gitdir", "index", "locked", "logs", "refs"];

/** Removes all changes, new and ignored files, nested repositories, hidden flags and half-done merges. */
export async function scrub(worktree: WorktreeParts, commitSha: string, run: GitRun): Promise<void> {
  const { ownDir, path } = worktree;
  const remove = (part: string | Buffer) => removeAside(part, path, run);
  for (const name of await readdir(ownDir)) if (!lasting.includes(name)) await remove(join(ownDir, name));
  const options = { cwd: path, worktree, ...run };
  // With --force it does what reset --hard does, and never moves a branch that a command has checked out.
  const checkOut = ["checkout", "--quiet", "--force", "--detach", commitSha];
  await git(checkOut, options);
  const tracked = await readIndex(options);
  if (tracked.hidesChanges) {
    // Without its index, git compares nothing with what it remembers, and writes every file.
    await remove(join(ownDir, "index"));
    await git(checkOut, options);
  }
  for (const nested of await nestedRepositories(path, tracked)) await remove(nested);
  for (const module of tracked.submodules) {
    await remove(join(path, module));
    await mkdir(join(path, module), { recursive: true });
  }
  // --force twice, because one spares the repositories that a command has made.
  await git(["clean", "--quiet", "-ffdx"], options);
}

export interface Tracked {
  /** True when git was told not to look at some files (`update-index --assume-unchanged` and `--skip-worktree`). */
  readonly hidesChanges: boolean;
  /** The folders of tracked files, without the worktree itself. Their names have one character for each byte. */
  readonly folders: ReadonlySet<string>;
  /** The paths of submodules. */
  readonly submodules: readonly string[];
}

/** Reads the list of files in the index. */
export async function readIndex(options: Omit<GitOptions, "encoding">): Promise<Tracked> {
  const list = await git(["ls-files", "-z", "-v", "--stage"], { ...options, encoding: "latin1" });
  const folders = new Set<string>();
  const submodules: string[] = [];
  let hidesChanges = false;
  for (const entry of list.split("\0")) {
    const tab = entry.indexOf("\t");
    if (tab === -1) continue;
    if (!entry.startsWith("H ")) hidesChanges = true;
    const path = entry.slice(tab + 1);
    if (entry.startsWith("160000 ", 2)) submodules.push(Buffer.from(path, "latin1").toString());
    for (let folder = dirname(path); folder !== "." && !folders.has(folder); folder = dirname(folder))
      folders.add(folder);
  }
  return { hidesChanges, folders, submodules };
}

/**
 * Finds repositories that a command has made in folders with tracked files. `git clean` does not see them, and whatever
 * runs git in such a folder would use their settings.
 */
export async function nestedRepositories(path: string, { folders }: Tracked): Promise<Buffer[]> {
  const places = [...folders].map((folder) =>
    Buffer.from(`${Buffer.from(path).toString("latin1")}/${folder}/.git`, "latin1"),
  );
  const found: Buffer[] = [];
  for (const place of places) {
    const exists = await lstat(place).then(
      () => true,
      () => false,
    );
    if (exists) found.push(place);
  }
  return found;
}
