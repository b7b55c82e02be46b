// Several stores on one database whose clock moves: what follows from it happens once.
import assert from "node:assert/strict";
import { test } from "node:test";
import { openStore } from "../../../src/index.ts";
import { fixtures, testClock } from "../../../src/testing/index.ts";
import { dropDatabase, newDatabase } from "../../support/postgres.ts";

const hourMs = 3_600_000;

test("when the clock is set back, of several stores one moves the leases back", async () => {
  const url = await newDatabase();
  const clock = testClock();
  const open = () => openStore({ url, clock, limits: { reapEveryMs: 0, lockMs: 60_000, callMs: 120_000 } });
  const stores = [await open(), await open(), await open()] as const;
  try {
    const { worktree } = await fixtures(stores[0]).lease({ ttlMs: 8 * hourMs });
    clock.advance(60_000);
    await Promise.all(stores.map((store) => store.maintenance.reap()));
    clock.jump(-hourMs);
    // Each store has four connections, which see the move too.
    await Promise.all(
      stores.flatMap((store) => Array.from({ length: 8 }, (_, n) => store.repositories.upsert({ name: `r${n}` }))),
    );
    const { leaseExpiresAt } = await stores[1].worktrees.get({ worktreeId: worktree.id });
    const movedMs = (worktree.leaseExpiresAt as Date).getTime() - (leaseExpiresAt as Date).getTime();
    assert.ok(Math.abs(movedMs - hourMs) < hourMs / 2, `moved by ${movedMs} ms`);
  } finally {
    await Promise.all(stores.map((store) => store.close()));
    await dropDatabase(url);
  }
});
