// The clock that a test moves: calls that wait end by it, on whatever thread the store runs.
import assert from "node:assert/strict";
import { fixtures } from "../../../src/testing/index.ts";
import type { Opened, TestedBackend } from "../../support/backends.ts";
import { fails, subject } from "../suite.ts";

export function testClockConformance(backend: TestedBackend): void {
  subject(backend, "test clock", ({ alone }) => {
    alone("a call that waits ends when the clock has passed its time, and not before", async (opened) => {
      const { store, clock } = opened;
      const { session, command } = await fixtures(store).command();
      const { runner } = await fixtures(store).runner();
      await store.commands.claim({ runnerId: runner.id, sessionId: session.id });
      let ended = 0;
      const ending = <Result>(call: Promise<Result>) => call.finally(() => ended++);
      const waits = [
        ending(fails(store.sessions.wait({ sessionId: session.id, timeoutMs: 60_000 }), "deadline_exceeded")),
        ending(fails(store.commands.wait({ commandId: command.id, timeoutMs: 60_000 }), "deadline_exceeded")),
        ending(store.commands.claim({ runnerId: runner.id, waitMs: 60_000 })),
      ];
      await parked(opened, 3);
      // A machine on which the test takes this long until here is too slow for any test.
      clock.advance(20_000);
      await parked(opened, 3);
      assert.equal(ended, 0);
      clock.advance(40_000);
      assert.equal((await soon(Promise.all(waits))).at(-1), undefined);
    });

    alone(
      "a call that waits for a lease to run out gets the worktree when the clock has passed that time",
      async (opened) => {
        const { store, clock } = opened;
        const { repository } = await fixtures(store).repository({ maxWorktrees: 1 });
        const { worktree } = await fixtures(store).lease({ repositoryId: repository.id, ttlMs: 30_000 });
        const waiting = store.worktrees.reserve({ repositoryId: repository.id, owner: "b", waitMs: 60_000 });
        await parked(opened, 1);
        clock.advance(30_000);
        assert.equal((await soon(waiting)).worktree.id, worktree.id);
      },
    );

    alone("each of many moves is seen, also those that come at once", async (opened) => {
      const { store, clock } = opened;
      const { session } = await fixtures(store).session();
      for (let round = 0; round < 20; round++) {
        const waiting = fails(store.sessions.wait({ sessionId: session.id, timeoutMs: 60_000 }), "deadline_exceeded");
        await parked(opened, 1);
        for (let step = 0; step < 6; step++) clock.advance(10_000);
        await soon(waiting);
      }
    });
  });
}

/** Resolves when this many calls wait in the server. */
async function parked({ store }: Opened, count: number): Promise<void> {
  for (let serving: Record<string, number> = {}; serving.parked !== count; )
    serving = (await store.maintenance.stats()).serving as Record<string, number>;
}

/** Fails when the call would end by the time of its own timer only. */
async function soon<Result>(call: Promise<Result>): Promise<Result> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error("the clock was moved, and the call waits on")), 15_000);
  return Promise.race([call, promise]).finally(() => clearTimeout(timer));
}
