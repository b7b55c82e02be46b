// The folder of a runner that was given none: below the working folder, which may be a git repository.
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { RunnerParts } from "./options.ts";

/** Returns the folder of a runner. */
export function folderOf({ folder }: RunnerParts): string {
  return resolve(folder ?? join(".artifacts", "runner"));
}

/** Keeps the folder of a runner that was given none out of the git repository around it. */
export async function keepOutOfGit(parts: RunnerParts): Promise<void> {
  if (parts.folder !== undefined) return;
  const around = dirname(folderOf(parts));
  try {
    await mkdir(around, { mode: 0o700 });
    await writeFile(join(around, ".gitignore"), "*\n", { flag: "wx", mode: 0o600 });
  } catch {
    // It is there already, and its user decides what git sees of it; or it cannot be made, which its first use tells.
  }
}
