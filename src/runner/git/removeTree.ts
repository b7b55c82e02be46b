// Removes a folder with everything in it, whatever a command has made there.
import { lstatSync } from "node:fs";
import { rm } from "node:fs/promises";
import { dirname } from "node:path";
import { runCommand } from "../process/runCommand.ts";

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
