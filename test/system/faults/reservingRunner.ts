// One runner thread of the race: it reserves and releases worktrees. Shared memory outside the store shows whether
// another thread uses the same worktree.
import { setImmediate as turn } from "node:timers/promises";
import type { RunnerTask } from "../../../src/index.ts";

export interface Race {
  readonly repositoryId: string;
  readonly owner: string;
  readonly rounds: number;
  /** The number of the thread that uses each worktree, or 0. All threads share this memory. */
  readonly witness: SharedArrayBuffer;
  readonly number: number;
}

export interface Grant {
  readonly worktreeId: string;
  readonly fence: number;
}

export interface RaceResult {
  readonly grants: readonly Grant[];
  readonly collisions: number;
}

const run: RunnerTask<Race, RaceResult> = async ({ repositoryId, owner, rounds, witness, number }, { store }) => {
  const users = new Int32Array(witness);
  const grants: Grant[] = [];
  let collisions = 0;
  for (let round = 0; round < rounds; round++) {
    const slot = round % 4;
    const { worktree, fence } = await store.worktrees.reserve({
      repositoryId,
      owner,
      path: `/worktrees/${owner}-${round}-${slot}`,
      waitMs: 60_000,
    });
    if (worktree.state === "creating") await store.worktrees.ready({ worktreeId: worktree.id, fence });
    const seat = Number.parseInt(worktree.id.slice(-8), 16) % users.length;
    if (Atomics.compareExchange(users, seat, 0, number) !== 0) collisions++;
    await turn();
    await store.worktrees.renew({ worktreeId: worktree.id, fence });
    if (Atomics.compareExchange(users, seat, number, 0) !== number) collisions++;
    grants.push({ worktreeId: worktree.id, fence });
    await store.worktrees.release({ worktreeId: worktree.id, fence, to: round % 2 === 0 ? "clean" : "dirty" });
  }
  return { grants, collisions };
};

export default run;
