// Registers the git repository of a run in the store.
import { createHash } from "node:crypto";
import { join } from "node:path";
import type { Repository, Store } from "../index.ts";
import type { Plan } from "./plan.ts";

/** Registers the repository by its name. A second one of the same name, with another git folder, gets a suffix. */
export async function registerRepository(
  store: Store,
  { gitDir, name, branch, worktreesRoot }: Plan,
  runners: number,
): Promise<Repository> {
  const namesake = await store.repositories.find({ name });
  const isOther = namesake !== undefined && namesake.remoteUrl !== gitDir;
  const ownName = isOther ? `${name}-${createHash("sha256").update(gitDir).digest("hex").slice(0, 8)}` : name;
  const known = isOther ? await store.repositories.find({ name: ownName }) : namesake;
  return await store.repositories.upsert({
    name: ownName,
    remoteUrl: gitDir,
    worktreeRoot: known?.worktreeRoot ?? join(worktreesRoot, ownName),
    maxWorktrees: Math.max(known?.maxWorktrees ?? 16, runners),
    ...(branch === undefined ? {} : { defaultBranch: branch }),
  });
}
