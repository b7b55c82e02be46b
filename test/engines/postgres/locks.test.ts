// The order of locks: operations that run at once on the same rows wait for each other, but never in a circle.
import assert from "node:assert/strict";
import { test } from "node:test";
import { newId, type OwnedStore, openStore, type StoreOptions } from "../../../src/index.ts";
import { fixtures, testClock } from "../../../src/testing/index.ts";
import { ask, dropDatabase, newDatabase } from "../../support/postgres.ts";
import { assertSound } from "../../support/sound.ts";

/** A busy machine may hold a row for long. A deadlock ends after a second, however busy the machine is. */
const limits = { reapEveryMs: 0, connections: 1, lockMs: 60_000, callMs: 120_000 };

type FourStores = readonly [OwnedStore, OwnedStore, OwnedStore, OwnedStore];

/**
 * Runs calls on four stores of a new database, and checks that the server counted no deadlock. Clients of one store
 * share its connections; stores have connections of their own.
 */
async function withoutDeadlocks(options: StoreOptions, run: (stores: FourStores) => Promise<void>): Promise<void> {
  const url = await newDatabase();
  const stores: OwnedStore[] = [];
  for (let n = 0; n < 4; n++) stores.push(await openStore({ url, ...options }));
  try {
    await run(stores as unknown as FourStores);
    await assertSound(stores[0] as OwnedStore);
  } finally {
    await Promise.all(stores.map((store) => store.close()));
  }
  const [figures] = await ask<{ deadlocks: string }>(
    url,
    "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
  );
  await dropDatabase(url);
  assert.equal(Number(figures?.deadlocks), 0);
}

test("operations on the same session, command and worktree from several connections never deadlock", async () => {
  const clock = testClock();
  await withoutDeadlocks({ clock, limits }, async ([one, two, three, four]) => {
    const given = fixtures(one);
    const { commitSha } = given;
    const { repository } = await given.repository({ maxWorktrees: 500 });
    const argv = ["true"];
    for (let round = 0; round < 60; round++) {
      const { runner } = await given.runner({ ttlMs: 3_600_000 });
      const runnerId = runner.id;
      const reserve = { runnerId };
      const { session, lease } = await one.sessions.create({
        repositoryId: repository.id,
        commitSha,
        reserve,
        commands: [{ argv }, { argv }],
      });
      const claim = await one.commands.claim({ runnerId, sessionId: session.id });
      if (lease === null || claim === undefined) throw new Error("there is nothing to do");
      const sessionId = session.id;
      const held = { worktreeId: lease.worktree.id, fence: lease.fence };
      const command = { commandId: claim.command.id, fence: claim.fence };
      const expires = round % 3 === 0;
      if (expires) clock.advance(60_001);
      // One call in each store, so that each is a transaction of its own.
      const calls = [
        one.commands.finish({ ...command, outcome: "failed", exitCode: 1 }),
        round % 2 === 0
          ? two.sessions.complete({ sessionId })
          : two.worktrees.reserve({ repositoryId: repository.id, sessionId, runnerId }),
        three.worktrees.release({ ...held, to: "clean" }),
        expires ? four.maintenance.reap() : four.commands.cancel({ commandId: command.commandId }),
      ];
      for (const outcome of await Promise.allSettled(calls)) {
        if (outcome.status === "rejected") assert.notEqual(outcome.reason.code, "busy", outcome.reason.message);
      }
    }
  });
});

test("commands that are ended by force while their runners use them never deadlock", async () => {
  const clock = testClock();
  const ttlMs = 86_400_000;
  await withoutDeadlocks({ clock, limits }, async ([one, two, three, four]) => {
    const given = fixtures(one);
    const { repository } = await given.repository({ maxWorktrees: 500 });
    const argv = ["true"];
    const { runner } = await given.runner({ ttlMs });
    const runnerId = runner.id;
    for (let round = 0; round < 40; round++) {
      const held: {
        sessionId: string;
        commands: { id: string; fence: number }[];
        worktree: { id: string; fence: number };
      }[] = [];
      for (let n = 0; n < 2; n++) {
        const { session, lease } = await one.sessions.create({
          repositoryId: repository.id,
          commitSha: given.commitSha,
          reserve: { runnerId, ttlMs },
          maxParallel: 2,
          deadlineMs: 70_000,
          commands: [{ argv, timeoutMs: 10_000 }, { argv, timeoutMs: 10_000 }, { argv }],
        });
        if (lease === null) throw new Error("there is no lease");
        const commands: { id: string; fence: number }[] = [];
        for (let claims = 0; claims < 2; claims++) {
          const claim = await one.commands.claim({ runnerId, sessionId: session.id, ttlMs });
          if (claim !== undefined) commands.push({ id: claim.command.id, fence: claim.fence });
        }
        held.push({ sessionId: session.id, commands, worktree: { id: lease.worktree.id, fence: lease.fence } });
      }
      const [left, right] = held as [(typeof held)[number], (typeof held)[number]];
      const [first, second] = left.commands as [{ id: string; fence: number }, { id: string; fence: number }];
      // The end of the session changes the other command too, whose id is greater or smaller.
      const forced = round % 4 === 1 ? first : second;
      clock.advance(70_001);
      // One call in each store, so that each is a transaction of its own.
      const calls = [
        one.runners.heartbeat({
          runnerId,
          commands: held.flatMap(({ commands }) => commands),
          worktrees: held.map(({ worktree }) => worktree),
          ttlMs,
        }),
        round % 2 === 0 ? two.maintenance.reap() : two.commands.cancel({ commandId: forced.id, force: true }),
        three.commands.finish({ commandId: second.id, fence: second.fence, outcome: "cancelled", release: "clean" }),
        round % 3 === 0 ? four.sessions.cancel({ sessionId: right.sessionId, force: true }) : four.maintenance.reap(),
      ];
      for (const outcome of await Promise.allSettled(calls)) {
        if (outcome.status === "rejected") assert.notEqual(outcome.reason.code, "busy", outcome.reason.message);
      }
    }
  });
});

test("a runner that is replaced while its leases are used never deadlocks, and keeps no lease", async () => {
  const ttlMs = 86_400_000;
  await withoutDeadlocks({ limits }, async ([one, two, three, four]) => {
    const given = fixtures(one);
    const { repository } = await given.repository({ maxWorktrees: 500 });
    const argv = ["true"];
    const name = `runner-${newId()}`;
    let { id: runnerId } = await one.runners.register({ name, ttlMs });
    for (let round = 0; round < 30; round++) {
      const leases = {
        commands: [] as { id: string; fence: number }[],
        worktrees: [] as { id: string; fence: number }[],
      };
      for (let n = 0; n < 2; n++) {
        const { session, lease } = await one.sessions.create({
          repositoryId: repository.id,
          commitSha: given.commitSha,
          reserve: { runnerId, ttlMs },
          maxParallel: 2,
          commands: [{ argv, maxAttempts: 2 }, { argv }, { argv }],
        });
        if (lease === null) throw new Error("there is no lease");
        leases.worktrees.push({ id: lease.worktree.id, fence: lease.fence });
        for (let claims = 0; claims < 2; claims++) {
          const claim = await one.commands.claim({ runnerId, sessionId: session.id, ttlMs });
          if (claim !== undefined) leases.commands.push({ id: claim.command.id, fence: claim.fence });
        }
      }
      const [command, other] = leases.commands.map(({ id, fence }) => ({ commandId: id, fence }));
      if (command === undefined || other === undefined) throw new Error("there is nothing to run");
      // One call in each store, so that each is a transaction of its own.
      const calls = [
        two.runners.heartbeat({ runnerId, ...leases, ttlMs }),
        three.commands.finish({ ...command, outcome: "succeeded", release: "clean" }),
        four.commands.cancel({ commandId: other.commandId, force: round % 2 === 0 }),
      ];
      const successor = one.runners.register({ name, replaces: runnerId, ttlMs });
      for (const outcome of await Promise.allSettled(calls)) {
        if (outcome.status === "rejected")
          assert.match(outcome.reason.code, /^(?:invalid_transition|lease_lost)$/, outcome.reason.message);
      }
      const former = runnerId;
      runnerId = (await successor).id;
      // The leases whose rows were locked have expired, and the reaper ends them.
      await one.maintenance.reap();
      for (const state of ["running", "cancelling"] as const)
        assert.deepEqual((await one.commands.list({ runnerId: former, state })).items, []);
      assert.deepEqual((await one.worktrees.list({ runnerId: former })).items, []);
    }
  });
});

test("worktrees that are leased, evicted, restored and given back at once have one holder each, and are counted", async () => {
  await withoutDeadlocks({ limits }, async ([one, two, three, four]) => {
    const given = fixtures(one);
    for (let round = 0; round < 10; round++) {
      const { repository } = await given.repository({ maxWorktrees: 6 });
      const repositoryId = repository.id;
      const { session } = await given.session({ repositoryId, reserve: { owner: "session" } });
      const { lease } = await given.lease({ repositoryId });
      const { id: worktreeId } = await one.worktrees.release({
        worktreeId: lease.worktree.id,
        fence: lease.fence,
        to: "keep",
      });
      for (let n = 0; n < 4; n++) await one.worktrees.register({ repositoryId, path: `/w/${newId()}` });
      const reserve = async (store: OwnedStore) => {
        const { worktree, fence } = await store.worktrees.reserve({ repositoryId, owner: newId() });
        return [`${worktree.id} ${fence}`];
      };
      const evict = async (store: OwnedStore) => {
        const rows = await store.worktrees.evictUnused({ repositoryId, owner: newId(), limit: 2 });
        for (const { id, fence } of rows) await store.worktrees.completeEvict({ worktreeId: id, fence });
        return rows.map(({ id, fence }) => `${id} ${fence}`);
      };
      const [, , ...granted] = await Promise.all([
        four.sessions.cancel({ sessionId: session.id }),
        three.worktrees.restore({ worktreeId }),
        reserve(one),
        evict(two),
        reserve(three),
        evict(four),
      ]);
      const leases = granted.flat();
      assert.equal(new Set(leases).size, leases.length, leases.join());
      const { items } = await one.worktrees.list({ repositoryId });
      const held = items.filter(({ leaseExpiresAt }) => leaseExpiresAt !== null);
      assert.equal(held.length, 2);
      const { worktreeCount } = await one.repositories.get({ repositoryId });
      assert.equal(worktreeCount, items.filter(({ state }) => state !== "removed").length);
    }
  });
});

test("a command that is claimed while the lease of its worktree expires keeps the worktree, or is claimed after it", async () => {
  const clock = testClock();
  await withoutDeadlocks({ clock, limits }, async ([one, two, three, four]) => {
    const given = fixtures(one);
    const { repository } = await given.repository({ maxWorktrees: 500 });
    const { runner } = await given.runner({ ttlMs: 86_400_000 });
    for (let round = 0; round < 60; round++) {
      const { session } = await given.session({
        repositoryId: repository.id,
        reserve: { runnerId: runner.id, ttlMs: 10_000 },
        commands: [{ argv: ["true"] }],
      });
      clock.advance(10_001);
      const claims = { runnerId: runner.id, sessionId: session.id, ttlMs: 3_600_000 };
      const [claim] = await Promise.all([
        one.commands.claim(claims),
        two.maintenance.reap(),
        three.maintenance.reap(),
        four.maintenance.reap(),
      ]);
      const bound = claim?.session.worktreeId;
      if (!bound) continue;
      const worktree = await one.worktrees.get({ worktreeId: bound });
      assert.deepEqual([worktree.fence, worktree.state], [claim.session.worktreeFence, "creating"]);
    }
  });
});

test("a debug session in use never deadlocks while its session ends and is deleted", async () => {
  const clock = testClock();
  await withoutDeadlocks({ clock, limits }, async ([one, two, three, four]) => {
    for (let round = 0; round < 30; round++) {
      const { debugSessionId, adapterRun, stopEpoch, sourcePath, view } = await fixtures(one).debugStop();
      const { sessionId } = view.debugSession;
      const adapter = { debugSessionId, adapterRun };
      // The next call also records that the session is in use (D-084).
      if (round % 3 > 0) clock.advance(2_000);
      const calls = [
        one.debug.putStop({ ...adapter, stopEpoch, threads: [{ id: 1, name: "again" }] }),
        one.debug.applyEvent({ ...adapter, seq: 3, event: "output", body: { output: "x" } }),
        two.sessions.complete({ sessionId }).then(() => two.sessions.delete({ sessionId })),
        three.debug.open({ sessionId, name: view.debugSession.name, adapter: "a", restartRun: 1 }),
        four.debug.setBreakpoints({ debugSessionId, sourcePath, breakpoints: [{ line: round }] }),
        four.debug.applyEvent({ ...adapter, seq: 4, event: "terminated" }),
      ];
      for (const outcome of await Promise.allSettled(calls)) {
        if (outcome.status === "rejected")
          assert.match(outcome.reason.code, /^(?:conflict|invalid_transition|not_found)$/, outcome.reason.message);
      }
      await assert.rejects(one.debug.get({ debugSessionId }), { code: "not_found" });
    }
  });
});

test("tokens that are minted, rotated and used from several connections never deadlock", async () => {
  await withoutDeadlocks({ limits: { ...limits, lastUsedTokens: 8 } }, async (stores) => {
    const [one, two, three, four] = stores;
    const given = fixtures(one);
    const admins = [];
    for (let n = 0; n < 8; n++) admins.push(await given.token({ scopes: ["admin"] }));
    const [left, right] = admins as [(typeof admins)[number], (typeof admins)[number]];
    const mint = (store: OwnedStore, account: typeof left, creator: typeof left) =>
      store.tokens.mint({
        accountId: account.token.accountId,
        name: newId(),
        scopes: ["sessions:read"],
        createdBy: creator.token.id,
      });
    for (let round = 0; round < 60; round++) {
      const { token } = await mint(one, left, right);
      const calls = [
        mint(one, left, right),
        mint(two, right, left),
        three.tokens.rotate({ tokenId: token.id }),
        mint(four, left, { ...left, token }).catch(() => undefined),
      ];
      await Promise.all(calls);
      // The last one fills the batch, which is then written.
      await Promise.all(
        [admins, admins.toReversed()].map((order, at) =>
          Promise.all(order.map(({ secret }) => stores[at]?.tokens.verify({ token: secret }))),
        ),
      );
    }
  });
});

test("rows that are renamed to one name over several connections: one gets it, and the others learn who has it", async () => {
  await withoutDeadlocks({ limits }, async (stores) => {
    const given = fixtures(stores[0]);
    for (let round = 0; round < 20; round++) {
      const name = newId();
      const [accounts, repositories] = [
        await Promise.all(stores.map(() => given.account())),
        await Promise.all(stores.map(() => given.repository())),
      ];
      const settled = await Promise.allSettled([
        ...stores.map(({ accounts: methods }, n) =>
          methods.rename({ accountId: accounts[n]?.account.id as string, name }),
        ),
        ...stores.map(({ repositories: methods }, n) =>
          methods.rename({ repositoryId: repositories[n]?.repository.id as string, name }),
        ),
      ]);
      const refused = settled.flatMap((one) => (one.status === "rejected" ? [one.reason] : []));
      assert.deepEqual(
        refused.map(({ code, details }) => [code, details.reason]),
        Array.from({ length: 6 }, () => ["conflict", "name"]),
      );
    }
  });
});
