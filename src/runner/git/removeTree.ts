// Removes a folder with everything in it, whatever a command has made there.
import { randomUUID } from "node:crypto";
import { lstatSync } from "node:fs";
import { readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { runCommand } from "../process/runCommand.ts";
import { type GitRun, requireHeld } from "./git.ts";

/** The end of the names of what is being removed. */
const removing = /\.removing-[0-9a-f-]{36}$/;

/**
 * Removes a part of a worktree, or all of it: first from its place, in one step and under its lease, and then from disk.
 * A process that stands still meanwhile and goes on when the lease has passed to another holder removes only what it has
 * taken away. What a killed process leaves beside the worktree is removed by `removeLeftovers`.
 */
export async function removeAside(path: string | Buffer, worktreePath: string, run: GitRun): Promise<void> {
  const aside = `${worktreePath}.removing-${randomUUID()}`;
  requireHeld(run);
  try {
    await rename(path, aside);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return;
    // A mount, or a folder that may not be changed: it can only be removed where it is.
    if (code !== "EXDEV" && code !== "EBUSY" && code !== "EACCES" && code !== "EPERM") throw error;
    return await removeTree(path);
  }
  await removeTree(aside);
}

/** Removes what processes that were killed had taken away from worktrees of this folder. */
export async function removeLeftovers(folder: string): Promise<void> {
  const names = await readdir(folder).catch((): string[] => []);
  for (const name of names) if (removing.test(name)) await removeTree(join(folder, name));
}

/**
 * Removes a file or folder, and follows no symbolic link. Folders that may not be written are made writable, and paths
 * longer than the system allows are removed part by part, by the programs that every system has for this.
 */
export async function removeTree(path: string | Buffer): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true, maxRetries: 3 });
  } catch (error) {
    // The arguments of a program are text.
    if (typeof path !== "string") throw error;
    await runToEnd(["chmod", "-R", "u+rwx", path]);
    await runToEnd(["rm", "-rf", path]);
    if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) throw error;
  }
}

async function runToEnd(argv: readonly string[]): Promise<void> {
  await runCommand(argv, { cwd: dirname(argv.at(-1) as string), env: process.env, output: () => undefined });
}
