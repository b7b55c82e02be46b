// One process of the race on a shared database. While a process uses a worktree, it holds a file that only one process
// can create, so the file system shows whether another process uses the same worktree.
import { closeSync, openSync, rmSync } from "node:fs";
import { join } from "node:path";
import { openStore } from "../../../src/index.ts";

const [, , url, repositoryId, witness, owner, rounds] = process.argv as [
  string,
  string,
  string,
  string,
  string,
  string,
  string,
];
const store = await openStore({ url, limits: { lockMs: 60_000, callMs: 120_000 } });
const grants: { worktreeId: string; fence: number }[] = [];
let collisions = 0;
for (let round = 0; round < Number(rounds); round++) {
  const { worktree, fence } = await store.worktrees.reserve({
    repositoryId,
    owner,
    path: `/worktrees/${owner}-${round}`,
    waitMs: 60_000,
  });
  if (worktree.state === "creating") await store.worktrees.ready({ worktreeId: worktree.id, fence });
  const flag = join(witness, worktree.id);
  try {
    closeSync(openSync(flag, "wx"));
    await store.worktrees.renew({ worktreeId: worktree.id, fence });
    rmSync(flag);
  } catch {
    collisions++;
  }
  grants.push({ worktreeId: worktree.id, fence });
  await store.worktrees.release({ worktreeId: worktree.id, fence, to: "clean" });
}
await store.close();
process.stdout.write(JSON.stringify({ grants, collisions }));
