// Worktrees that are given back in unusual ways: with a session that ends early, out of quarantine, and by eviction.
import assert from "node:assert/strict";
import { type Lease, newId, type Store, type Worktree } from "../../../src/index.ts";
import { fixtures, type TestClock } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { fails, subject } from "../suite.ts";

/** Creates a session whose worktree, the only one that its repository allows, is still being created. */
async function creating(
  store: Store,
  input: { autoComplete?: boolean; idleTtlMs?: number; deadlineMs?: number; argv?: string[] } = {},
) {
  const { argv, ...fields } = input;
  const { repository } = await fixtures(store).repository({ maxWorktrees: 1 });
  const { runner } = await fixtures(store).runner({ ttlMs: 600_000 });
  const { session, lease, commands } = await store.sessions.create({
    repositoryId: repository.id,
    commitSha: "a".repeat(40),
    ...fields,
    reserve: { runnerId: runner.id, ttlMs: 600_000 },
    commands: argv === undefined ? [] : [{ argv }],
  });
  const { worktree, fence } = lease as Lease;
  return {
    repositoryId: repository.id,
    runnerId: runner.id,
    sessionId: session.id,
    commandId: commands[0]?.id as string,
    held: { worktreeId: worktree.id, fence },
  };
}

type Creating = Awaited<ReturnType<typeof creating>>;

/** Checks that the worktree of an ended session is removed, that its place is free, and that its holder is told. */
async function assertGivenBack(store: Store, { repositoryId, runnerId, held }: Creating): Promise<void> {
  const row = await store.worktrees.get({ worktreeId: held.worktreeId });
  assert.deepEqual([row.state, row.leaseExpiresAt, row.leaseRunnerId], ["removed", null, null]);
  assert.equal((await store.repositories.get({ repositoryId })).worktreeCount, 0);
  const { lost } = await store.runners.heartbeat({
    runnerId,
    worktrees: [{ id: held.worktreeId, fence: held.fence }],
  });
  assert.deepEqual(lost, [{ kind: "worktree", id: held.worktreeId, fence: held.fence }]);
  await fails(store.worktrees.ready(held), "lease_lost");
  for (const to of ["dirty", "broken"] as const) await fails(store.worktrees.release({ ...held, to }), "lease_lost");
  // A holder that has deleted what it made may say so.
  assert.deepEqual(await store.worktrees.release({ ...held, to: "clean" }), row);
  const next = await store.worktrees.reserve({ repositoryId, owner: "next" });
  assert.deepEqual([next.match, next.worktree.id === held.worktreeId], ["created", false]);
  assert.equal((await store.repositories.get({ repositoryId })).worktreeCount, 1);
}

export function worktreeEndsConformance(backend: TestedBackend): void {
  subject(backend, "worktrees: in creating when a session ends", ({ test }) => {
    const ends: Readonly<Record<string, (store: Store, clock: TestClock) => Promise<Creating>>> = {
      "sessions.cancel": async (store) => {
        const made = await creating(store);
        await store.sessions.cancel({ sessionId: made.sessionId });
        return made;
      },
      "sessions.complete": async (store) => {
        const made = await creating(store);
        await store.sessions.complete({ sessionId: made.sessionId });
        return made;
      },
      "commands.finish with autoComplete": async (store) => {
        const made = await creating(store, { autoComplete: true, argv: ["true"] });
        const { sessionId, runnerId } = made;
        const claim = await store.commands.claim({ runnerId, sessionId, ttlMs: 600_000 });
        const command = { commandId: claim?.command.id as string, fence: claim?.fence as number };
        const { session } = await store.commands.finish({ ...command, outcome: "succeeded", release: "clean" });
        assert.equal(session.state, "completed");
        return made;
      },
      "commands.cancel of the last command with autoComplete": async (store) => {
        const made = await creating(store, { autoComplete: true, argv: ["true"] });
        await store.commands.cancel({ commandId: made.commandId });
        return made;
      },
      "the idle timeout": async (store, clock) => {
        const made = await creating(store, { idleTtlMs: 20_000 });
        clock.advance(20_001);
        await store.maintenance.reap();
        assert.equal((await store.sessions.get({ sessionId: made.sessionId })).state, "expired");
        return made;
      },
      "the deadline": async (store, clock) => {
        const made = await creating(store, { deadlineMs: 20_000, argv: ["true"] });
        clock.advance(20_001);
        await store.maintenance.reap();
        assert.equal((await store.sessions.get({ sessionId: made.sessionId })).state, "expired");
        return made;
      },
      "sessions.cancel with force": async (store) => {
        const made = await creating(store, { argv: ["true"] });
        await store.sessions.cancel({ sessionId: made.sessionId, force: true });
        return made;
      },
      "the expiry of its last command": async (store, clock) => {
        const made = await creating(store, { autoComplete: true, argv: ["true"] });
        const { sessionId, runnerId } = made;
        await store.commands.claim({ runnerId, sessionId, ttlMs: 20_000 });
        await store.sessions.cancel({ sessionId });
        clock.advance(20_001);
        await store.maintenance.reap();
        assert.equal((await store.sessions.get({ sessionId })).state, "cancelled");
        return made;
      },
    };
    for (const [end, run] of Object.entries(ends)) {
      test(`a worktree in creating is removed, and its place is free, after ${end}`, async ({ store, clock }) => {
        await assertGivenBack(store, await run(store, clock));
      });
    }

    test("a reservation that waits gets the place of a worktree that was never created", async ({ store }) => {
      const { repositoryId, sessionId } = await creating(store);
      const waiting = store.worktrees.reserve({ repositoryId, owner: "patient", waitMs: 60_000 });
      await store.sessions.cancel({ sessionId });
      assert.equal((await waiting).match, "created");
    });

    test("a holder that asks for an inspection has its unfinished worktree quarantined", async ({ store }) => {
      const { sessionId, runnerId, held } = await creating(store, { autoComplete: true, argv: ["true"] });
      const claim = await store.commands.claim({ runnerId, sessionId });
      const command = { commandId: claim?.command.id as string, fence: claim?.fence as number };
      await store.commands.finish({ ...command, outcome: "failed", exitCode: 1, release: "keep" });
      assert.equal((await store.worktrees.get({ worktreeId: held.worktreeId })).state, "quarantined");
    });
  });

  subject(backend, "worktrees: quarantine", ({ test }) => {
    const quarantined = async (store: Store, repositoryId: string): Promise<Worktree> => {
      const { worktree, fence } = await fixtures(store).lease({ repositoryId });
      return await store.worktrees.release({ worktreeId: worktree.id, fence, to: "broken" });
    };

    test("capacity_exhausted counts the quarantined worktrees, and is retryable while another is in use", async ({
      store,
    }) => {
      const { repository } = await fixtures(store).repository({ maxWorktrees: 3 });
      const repositoryId = repository.id;
      await quarantined(store, repositoryId);
      const { lease } = await fixtures(store).lease({ repositoryId });
      await quarantined(store, repositoryId);
      const some = await fails(store.worktrees.reserve({ repositoryId, owner: "o" }), "capacity_exhausted", {
        earliestExpiryAt: lease.expiresAt,
        inUse: 1,
        quarantined: 2,
        maxWorktrees: 3,
      });
      assert.equal(some.retryable, true);
      assert.match(some.message, /^2 of 3 worktrees .* are quarantined.* restore or evict them$/);
      await store.worktrees.release({ worktreeId: lease.worktree.id, fence: lease.fence, to: "keep" });
      const all = await fails(store.worktrees.reserve({ repositoryId, owner: "o" }), "capacity_exhausted", {
        earliestExpiryAt: null,
        inUse: 0,
        quarantined: 3,
      });
      assert.deepEqual([all.retryable, all.toJSON().retryable], [false, false]);
      assert.match(all.message, /^3 of 3 worktrees/);
      const waited = await fails(
        store.worktrees.reserve({ repositoryId, owner: "o", waitMs: 20 }),
        "capacity_exhausted",
      );
      assert.equal(waited.retryable, false);
      const inSession = await fails(
        store.sessions.create({ repositoryId, commitSha: "a".repeat(40), reserve: { owner: "o" } }),
        "capacity_exhausted",
      );
      assert.equal(inSession.retryable, false);
      const inEnvelope = await fails(
        store.atomically((tx) => {
          tx.repositories.get({ repositoryId });
          tx.worktrees.reserve({ repositoryId, owner: "o" });
        }),
        "capacity_exhausted",
        { index: 1 },
      );
      assert.equal(inEnvelope.retryable, false);
    });

    test("no lease that ends makes room for a worktree to register", async ({ store }) => {
      const { repository } = await fixtures(store).repository({ maxWorktrees: 1 });
      const repositoryId = repository.id;
      await fixtures(store).lease({ repositoryId });
      const full = await fails(
        store.worktrees.register({ repositoryId, path: `/full/${newId()}` }),
        "capacity_exhausted",
        { inUse: 1, quarantined: 0 },
      );
      assert.equal(full.retryable, false);
      assert.match(full.message, /has as many worktrees as it allows \(1\): evict one, or raise its maxWorktrees$/);
      const { repository: unused } = await fixtures(store).repository({ maxWorktrees: 1 });
      await fixtures(store).worktree({ repositoryId: unused.id });
      const another = store.worktrees.register({ repositoryId: unused.id, path: `/full/${newId()}` });
      await fails(another, "capacity_exhausted", { inUse: 0, quarantined: 0 });
    });

    test("a waiting reservation gets a worktree that is restored, or the place of one that is evicted", async ({
      store,
    }) => {
      for (const way of ["restore", "evict"] as const) {
        const { repository } = await fixtures(store).repository({ maxWorktrees: 1 });
        const repositoryId = repository.id;
        const { id: worktreeId } = await quarantined(store, repositoryId);
        const waiting = store.worktrees.reserve({ repositoryId, owner: "patient", waitMs: 60_000 });
        if (way === "restore") await store.worktrees.restore({ worktreeId });
        else {
          const { fence } = (await store.worktrees.evict({ repositoryId, worktreeId, owner: "o" })) as Worktree;
          await store.worktrees.completeEvict({ worktreeId, fence });
        }
        assert.equal((await waiting).match, way === "restore" ? "least_recently_used" : "created");
      }
    });

    test("restore repeated with the version that it expected changes nothing", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      const { id: worktreeId, version } = await quarantined(store, repository.id);
      const restored = await store.worktrees.restore({ worktreeId, expectedVersion: version });
      assert.deepEqual(await store.worktrees.restore({ worktreeId, expectedVersion: version }), restored);
    });
  });

  subject(backend, "worktrees: eviction", ({ test }) => {
    const free = async (store: Store, repositoryId: string, fields: object = {}): Promise<string> =>
      (await store.worktrees.register({ repositoryId, path: `/v/${newId()}`, clean: true, ...fields })).id;

    test("evictUnused leases for removal what nobody has used for some time, least recently used first", async ({
      store,
      clock,
    }) => {
      const { repository } = await fixtures(store).repository();
      const repositoryId = repository.id;
      await free(store, repositoryId, { pinned: true });
      const ids: string[] = [];
      for (const environmentHash of ["used", "old", "newer"]) {
        ids.push(await free(store, repositoryId, { environmentHash }));
        clock.advance(1_000);
      }
      // The lease of the first one begins long ago, and ends just now.
      const asked = { repositoryId, owner: "user", ttlMs: 86_400_000, environmentHash: "used" };
      const { worktree, fence } = await store.worktrees.reserve(asked);
      clock.advance(7_200_000);
      const held = { worktreeId: worktree.id, fence };
      const evict = (unusedForMs: number, limit = 50) =>
        store.worktrees.evictUnused({ repositoryId, unusedForMs, limit, owner: "janitor", ttlMs: 600_000 });
      await store.worktrees.release({ ...held, to: "clean" });
      assert.deepEqual(await evict(86_400_000), []);
      const [first] = await evict(3_600_000, 1);
      assert.deepEqual([first?.id, first?.state, first?.leaseOwner], [ids[1], "evicting", "janitor"]);
      assert.deepEqual(
        (await evict(3_600_000)).map(({ id }) => id),
        [ids[2]],
      );
      assert.deepEqual(await evict(3_600_000), []);
      assert.deepEqual(
        (await evict(0)).map(({ id }) => id),
        [ids[0]],
      );
    });

    test("evictUnused takes the quarantined worktrees when it is asked for them", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      const repositoryId = repository.id;
      await free(store, repositoryId);
      const { worktree, fence } = await store.worktrees.reserve({ repositoryId, owner: "o" });
      await store.worktrees.release({ worktreeId: worktree.id, fence, to: "keep" });
      const other = await free(store, repositoryId);
      const rows = await store.worktrees.evictUnused({ repositoryId, quarantined: true, owner: "o" });
      assert.deepEqual(
        rows.map(({ id, fence }) => [id, fence]),
        [[worktree.id, fence + 1]],
      );
      assert.equal((await store.worktrees.get({ worktreeId: other })).state, "idle");
    });

    test("evict and evictUnused of an unknown repository are not_found", async ({ store }) => {
      const asked = { repositoryId: newId(), owner: "o" };
      await fails(store.worktrees.evict(asked), "not_found", { entity: "repository" });
      await fails(store.worktrees.evictUnused(asked), "not_found", { entity: "repository" });
    });

    test("a key under which there was nothing to evict is free", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      const repositoryId = repository.id;
      const [one, many] = [{ idempotencyKey: newId() }, { idempotencyKey: newId() }];
      const evict = () => store.worktrees.evict({ repositoryId, owner: "o" }, one);
      const evictUnused = () => store.worktrees.evictUnused({ repositoryId, owner: "o" }, many);
      assert.deepEqual([await evict(), await evictUnused()], [undefined, []]);
      const first = await free(store, repositoryId);
      const evicted = await evict();
      assert.equal(evicted?.id, first);
      assert.deepEqual(await evict(), evicted);
      const second = await free(store, repositoryId);
      const rows = await evictUnused();
      assert.deepEqual(
        rows.map(({ id }) => id),
        [second],
      );
      assert.deepEqual(await evictUnused(), rows);
    });
  });

  subject(backend, "worktrees: repeated releases", ({ test }) => {
    type Held = { worktreeId: string; fence: number };
    const leased = async (store: Store): Promise<Held> => {
      const { worktree, fence } = await fixtures(store).lease();
      return { worktreeId: worktree.id, fence };
    };
    const unfinished = async (store: Store): Promise<Held> => {
      const { repository } = await fixtures(store).repository();
      const { worktree, fence } = await store.worktrees.reserve({ repositoryId: repository.id, owner: "o" });
      return { worktreeId: worktree.id, fence };
    };
    const evicting = async (store: Store): Promise<Held> => {
      const { worktree } = await fixtures(store).worktree();
      const row = (await store.worktrees.evict({ repositoryId: worktree.repositoryId, owner: "o" })) as Worktree;
      return { worktreeId: row.id, fence: row.fence };
    };
    const all = ["clean", "dirty", "keep", "broken"] as const;
    for (const [name, hold, groups] of [
      ["leased", leased, [["clean"], ["dirty"], ["keep", "broken"]]],
      ["creating", unfinished, [["clean"], ["dirty", "keep", "broken"]]],
      ["evicting", evicting, [all]],
    ] as const) {
      test(`a second release of a worktree in ${name} is the same if it leads to the same state, and else lease_lost`, async ({
        store,
      }) => {
        for (const same of groups as readonly (readonly (typeof all)[number][])[]) {
          for (const to of same) {
            const held = await hold(store);
            const row = await store.worktrees.release({ ...held, to });
            for (const again of all) {
              const repeated = store.worktrees.release({ ...held, to: again });
              if (same.includes(again)) assert.deepEqual(await repeated, row, `${to}, ${again}`);
              else await fails(repeated, "lease_lost", { currentFence: held.fence });
            }
          }
        }
      });
    }
  });
}
