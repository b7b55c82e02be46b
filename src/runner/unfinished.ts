// The mark of a worktree that is being made: a file beside its folder, which is left when its runner is killed.
import { existsSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";

const markerOf = (path: string) => `${path}.unfinished`;

export async function markUnfinished(path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFile(markerOf(path), "");
}

export async function unmarkUnfinished(path: string): Promise<void> {
  await rm(markerOf(path), { force: true });
}

export function isUnfinished(path: string): boolean {
  return existsSync(markerOf(path));
}
