// The counters of maintenance.stats after random operations, many of them at once. The test backends compare the
// counters of every store with its rows when they close it, so each test of this suite checks them too.
import assert from "node:assert/strict";
import type { Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { subject } from "../suite.ts";

/** Returns a generator of random numbers below 1 that repeats with its seed. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Returns the number of rows that a list has in each state. */
async function listed(rows: AsyncIterable<{ readonly state: string }>): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for await (const { state } of rows) counts[state] = (counts[state] ?? 0) + 1;
  return counts;
}

export function counters(backend: TestedBackend): void {
  subject(backend, "counters", ({ alone }) => {
    alone("random operations, many of them at once, leave counters that equal the rows", async ({ store, clock }) => {
      const seed = Date.now() >>> 0;
      const random = randomFrom(seed);
      const pick = <Item>(items: readonly Item[]): Item | undefined => items[Math.floor(random() * items.length)];
      const make = fixtures(store);
      const { repository } = await make.repository({ maxWorktrees: 100 });
      const claims: { commandId: string; fence: number }[] = [];
      const sessions: string[] = [];
      const steps: readonly (() => Promise<unknown>)[] = [
        async () => sessions.push((await make.session({ repositoryId: repository.id })).session.id),
        async () => {
          const { command, fence, session } = await make.claim();
          claims.push({ commandId: command.id, fence });
          sessions.push(session.id);
        },
        async () => {
          const claim = pick(claims);
          if (claim !== undefined) await store.logs.append({ ...claim, offset: 0, data: new Uint8Array(9) });
        },
        async () => {
          const claim = pick(claims);
          if (claim !== undefined)
            await store.commands.finish({ ...claim, outcome: random() < 0.5 ? "succeeded" : "failed" });
        },
        async () => {
          const sessionId = pick(sessions);
          if (sessionId !== undefined) await make.command({ sessionId });
        },
        async () => {
          const sessionId = pick(sessions);
          if (sessionId !== undefined) await store.sessions.cancel({ sessionId, force: random() < 0.5 });
        },
        async () => {
          const sessionId = pick(sessions);
          if (sessionId !== undefined) await store.sessions.delete({ sessionId });
        },
        async () => make.lease({ repositoryId: repository.id, ttlMs: 1_000 + Math.floor(random() * 60_000) }),
        async () => make.worktree({ repositoryId: repository.id }),
        async () => make.artifact(),
        async () => {
          const { token } = await make.token();
          if (random() < 0.5) await store.tokens.rotate({ tokenId: token.id });
          if (random() < 0.5) await store.tokens.revoke({ tokenId: token.id });
        },
        async () => {
          clock.advance(30_000);
          await store.maintenance.reap();
        },
      ];
      for (let round = 0; round < 12; round++) {
        const chosen = Array.from({ length: 10 }, () => pick(steps) as (typeof steps)[number]);
        // Many calls come too late for the state of their row, which is one more path to check.
        await Promise.allSettled(chosen.map((run) => run()));
      }
      const { rows } = await store.maintenance.stats();
      assert.deepEqual(await countedByLists(store), pickStates(rows), `seed ${seed}`);
    });
  });
}

const lists = ["runners", "worktrees", "sessions", "commands", "artifacts"] as const;

async function countedByLists(store: Store): Promise<Record<string, Record<string, number>>> {
  const counts = lists.map(async (name) => [name, await listed(store[name].all({ limit: 500 }))] as const);
  return Object.fromEntries(await Promise.all(counts));
}

function pickStates(rows: Readonly<Record<string, Record<string, number>>>): typeof rows {
  return Object.fromEntries(lists.map((name) => [name, rows[name] as Record<string, number>]));
}
