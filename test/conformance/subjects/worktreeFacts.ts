// The facts that are recorded of a worktree, its commit and its environment, hold for the lease under which they were
// reported (D-078).
import assert from "node:assert/strict";
import { type Lease, newId, type Store, type Worktree } from "../../../src/index.ts";
import { fixtures, type TestClock } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { subject } from "../suite.ts";

const [commitA, commitB] = ["a".repeat(40), "b".repeat(40)];
const wanted = { commitSha: commitA, environmentHash: "ea" };
const other = { commitSha: commitB, environmentHash: "eb" };

const factsOf = ({ commitSha, environmentHash }: Worktree) => ({ commitSha, environmentHash });
const unknown = { commitSha: null, environmentHash: null };

interface Held {
  readonly worktreeId: string;
  readonly fence: number;
  readonly repositoryId: string;
}

/** Reserves the one worktree of a new repository, which has the wanted facts from an earlier lease. */
async function matched(store: Store): Promise<Held> {
  const { repository } = await fixtures(store).repository({ maxWorktrees: 1 });
  await fixtures(store).worktree({ repositoryId: repository.id, ...wanted });
  const lease = await store.worktrees.reserve({ repositoryId: repository.id, owner: "holder", ...wanted });
  assert.deepEqual([lease.match, lease.needsSync, lease.needsEnvironment], ["commit_and_environment", false, false]);
  return { worktreeId: lease.worktree.id, fence: lease.fence, repositoryId: repository.id };
}

const keyOf = ({ worktreeId, fence }: Held) => ({ worktreeId, fence });

/** Starts a session on the one worktree of a new repository, in which the wanted facts are reported. */
async function inSession(
  store: Store,
  { autoComplete = false, idleTtlMs }: { autoComplete?: boolean; idleTtlMs?: number } = {},
) {
  const { repository } = await fixtures(store).repository({ maxWorktrees: 1 });
  const { runner } = await fixtures(store).runner({ ttlMs: 600_000 });
  const { session, lease, commands } = await store.sessions.create({
    repositoryId: repository.id,
    commitSha: commitA,
    autoComplete,
    ...(idleTtlMs === undefined ? { commands: [{ argv: ["true"] }] } : { idleTtlMs }),
    reserve: { runnerId: runner.id, environmentHash: "ea", ttlMs: 600_000 },
  });
  const { worktree, fence } = lease as Lease;
  await store.worktrees.ready({ worktreeId: worktree.id, fence });
  const reported = await store.worktrees.update({ worktreeId: worktree.id, fence, ...wanted });
  assert.deepEqual(factsOf(reported), wanted);
  const claim =
    commands.length === 0
      ? undefined
      : await store.commands.claim({ runnerId: runner.id, sessionId: session.id, ttlMs: 600_000 });
  return {
    sessionId: session.id,
    worktreeId: worktree.id,
    fence,
    repositoryId: repository.id,
    command: { commandId: claim?.command.id as string, fence: claim?.fence as number },
  };
}

export function worktreeFactsConformance(backend: TestedBackend): void {
  subject(backend, "worktrees: facts", ({ test }) => {
    test("ready, update and release report facts, and null makes one unknown", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      const { worktree, fence } = await store.worktrees.reserve({ repositoryId: repository.id, owner: "o" });
      const held = { worktreeId: worktree.id, fence };
      assert.deepEqual(factsOf(worktree), unknown);
      assert.deepEqual(factsOf(await store.worktrees.ready({ ...held, ...wanted })), wanted);
      const half = await store.worktrees.update({ ...held, commitSha: null });
      assert.deepEqual(factsOf(half), { ...wanted, commitSha: null });
      const none = await store.worktrees.update({ ...held, environmentHash: null, sizeBytes: 4 });
      assert.deepEqual(factsOf(none), unknown);
      assert.deepEqual(factsOf(await store.worktrees.release({ ...held, to: "clean", ...other })), other);
    });

    test("needsSync and needsEnvironment are true for what is unknown, differs, or has to be created", async ({
      store,
    }) => {
      const cases: [recorded: object, asked: object, needs: [sync: boolean, environment: boolean]][] = [
        [wanted, wanted, [false, false]],
        [wanted, {}, [false, false]],
        [wanted, { commitSha: commitB, environmentHash: "ea" }, [true, false]],
        [wanted, { commitSha: commitA, environmentHash: "eb" }, [false, true]],
        [{}, {}, [true, true]],
        [{}, wanted, [true, true]],
        [{ commitSha: commitA }, wanted, [false, true]],
      ];
      for (const [recorded, asked, needs] of cases) {
        const { repository } = await fixtures(store).repository();
        const repositoryId = repository.id;
        await store.worktrees.register({ repositoryId, path: `/facts/${newId()}`, clean: true, ...recorded });
        const lease = await store.worktrees.reserve({ repositoryId, owner: "o", ...asked });
        assert.deepEqual([lease.needsSync, lease.needsEnvironment], needs, JSON.stringify([recorded, asked]));
      }
      const { repository } = await fixtures(store).repository();
      const created = await store.worktrees.reserve({ repositoryId: repository.id, owner: "o" });
      assert.deepEqual([created.needsSync, created.needsEnvironment], [true, true]);
    });

    test("a grant makes unknown what its holder has to change, and leaves the rest visible", async ({ store }) => {
      const { repository } = await fixtures(store).repository({ maxWorktrees: 1 });
      const repositoryId = repository.id;
      await fixtures(store).worktree({ repositoryId, ...wanted });
      const sync = await store.worktrees.reserve({ repositoryId, owner: "o", ...wanted, commitSha: commitB });
      assert.deepEqual(factsOf(sync.worktree), { ...wanted, commitSha: null });
      await store.worktrees.release({ worktreeId: sync.worktree.id, fence: sync.fence, to: "clean", ...wanted });
      const environment = await store.worktrees.reserve({ repositoryId, owner: "o", ...wanted, environmentHash: "eb" });
      assert.deepEqual(factsOf(environment.worktree), { ...wanted, environmentHash: null });
    });

    test("an unknown fact matches nothing", async ({ store }) => {
      const { repository } = await fixtures(store).repository({ maxWorktrees: 1 });
      const repositoryId = repository.id;
      await store.worktrees.register({ repositoryId, path: `/facts/${newId()}`, clean: true });
      const lease = await store.worktrees.reserve({ repositoryId, owner: "o", ...wanted });
      assert.equal(lease.match, "least_recently_used");
    });

    test("an eviction makes both facts unknown", async ({ store }) => {
      const { worktree } = await fixtures(store).worktree(wanted);
      assert.deepEqual(factsOf(worktree), wanted);
      const evicted = await store.worktrees.evict({ repositoryId: worktree.repositoryId, owner: "o" });
      assert.deepEqual(factsOf(evicted as Worktree), unknown);
    });

    test("a checkout that fails leaves nothing that the next holder would rely on", async ({ store, clock }) => {
      const held = await matched(store);
      await store.worktrees.release({ ...keyOf(held), to: "clean", ...wanted });
      await store.worktrees.reserve({ repositoryId: held.repositoryId, owner: "b", ttlMs: 20_000, ...other });
      clock.advance(20_001);
      const next = await store.worktrees.reserve({ repositoryId: held.repositoryId, owner: "c", ...wanted });
      assert.equal(next.worktree.id, held.worktreeId);
      assert.deepEqual([next.match, next.needsSync, next.needsEnvironment], ["least_recently_used", true, true]);
    });

    const ends: Readonly<Record<string, [facts: object, (store: Store, clock: TestClock) => Promise<string>]>> = {
      "a release that reports nothing": [
        unknown,
        async (store) => {
          const held = await matched(store);
          return (await store.worktrees.release({ ...keyOf(held), to: "clean" })).id;
        },
      ],
      "a release that reports half": [
        { ...unknown, environmentHash: "ea" },
        async (store) => {
          const held = await matched(store);
          return (await store.worktrees.release({ ...keyOf(held), to: "clean", environmentHash: "ea" })).id;
        },
      ],
      "a release after a report": [
        wanted,
        async (store) => {
          const held = await matched(store);
          await store.worktrees.update({ ...keyOf(held), ...wanted });
          return (await store.worktrees.release({ ...keyOf(held), to: "dirty" })).id;
        },
      ],
      "a release after ready": [
        wanted,
        async (store) => {
          const { worktree, fence } = await fixtures(store).lease(wanted);
          return (await store.worktrees.release({ worktreeId: worktree.id, fence, to: "clean" })).id;
        },
      ],
      "a release after a report that was withdrawn": [
        unknown,
        async (store) => {
          const { worktree, fence } = await fixtures(store).lease(wanted);
          await store.worktrees.update({ worktreeId: worktree.id, fence, ...unknown });
          return (await store.worktrees.release({ worktreeId: worktree.id, fence, to: "clean" })).id;
        },
      ],
      "an expiry": [
        unknown,
        async (store, clock) => {
          const { worktree } = await fixtures(store).lease({ ...wanted, ttlMs: 20_000 });
          clock.advance(20_001);
          await store.maintenance.reap();
          return worktree.id;
        },
      ],
      "a quarantine and a restoration": [
        unknown,
        async (store) => {
          const { worktree, fence } = await fixtures(store).lease(wanted);
          const kept = await store.worktrees.quarantine({ worktreeId: worktree.id, fence });
          assert.deepEqual(factsOf(kept), unknown);
          return (await store.worktrees.restore({ worktreeId: worktree.id })).id;
        },
      ],
      "a release as keep": [
        unknown,
        async (store) => {
          const { worktree, fence } = await fixtures(store).lease(wanted);
          return (await store.worktrees.release({ worktreeId: worktree.id, fence, to: "keep", ...wanted })).id;
        },
      ],
      "finish with release": [
        wanted,
        async (store) => {
          const { worktreeId, command } = await inSession(store, { autoComplete: true });
          await store.commands.finish({ ...command, outcome: "succeeded", release: "clean" });
          return worktreeId;
        },
      ],
      "finish without release": [
        unknown,
        async (store) => {
          const { worktreeId, command } = await inSession(store, { autoComplete: true });
          await store.commands.finish({ ...command, outcome: "succeeded" });
          return worktreeId;
        },
      ],
      "finish with release in a session that is cancelled": [
        wanted,
        async (store) => {
          const { sessionId, worktreeId, command } = await inSession(store);
          await store.sessions.cancel({ sessionId });
          await store.commands.finish({ ...command, outcome: "cancelled", release: "clean" });
          return worktreeId;
        },
      ],
      "finish without release in a session that has ended": [
        unknown,
        async (store) => {
          const { sessionId, worktreeId, command } = await inSession(store);
          await store.sessions.complete({ sessionId });
          assert.equal((await store.worktrees.get({ worktreeId })).state, "leased");
          await store.commands.finish({ ...command, outcome: "failed", exitCode: 1 });
          return worktreeId;
        },
      ],
      "the completion of a session": [
        unknown,
        async (store) => {
          const { sessionId, worktreeId } = await inSession(store, { idleTtlMs: 600_000 });
          await store.sessions.complete({ sessionId });
          return worktreeId;
        },
      ],
      "the cancellation of a session": [
        unknown,
        async (store) => {
          const { sessionId, worktreeId } = await inSession(store, { idleTtlMs: 600_000 });
          await store.sessions.cancel({ sessionId });
          return worktreeId;
        },
      ],
      "the expiry of a session": [
        unknown,
        async (store, clock) => {
          const { worktreeId } = await inSession(store, { idleTtlMs: 20_000 });
          clock.advance(20_001);
          await store.maintenance.reap();
          return worktreeId;
        },
      ],
    };
    for (const [end, [facts, run]] of Object.entries(ends)) {
      test(`after ${end}, what was reported is ${facts === wanted ? "known" : "unknown"}`, async ({ store, clock }) => {
        const row = await store.worktrees.get({ worktreeId: await run(store, clock) });
        assert.equal(row.leaseExpiresAt, null);
        assert.deepEqual(factsOf(row), facts);
      });
    }

    test("a runner says nothing about a worktree that another runner holds", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      const { runner: first } = await fixtures(store).runner();
      const { runner: second } = await fixtures(store).runner();
      for (const release of ["clean", "keep"] as const) {
        const commands = [{ argv: ["true"] }];
        const { session } = await fixtures(store).session({
          repositoryId: repository.id,
          autoComplete: true,
          commands,
        });
        const claim = await store.commands.claim({ runnerId: first.id, sessionId: session.id });
        const command = { commandId: claim?.command.id as string, fence: claim?.fence as number };
        const { worktree, fence } = await store.worktrees.reserve({
          repositoryId: repository.id,
          sessionId: session.id,
          runnerId: second.id,
          environmentHash: release,
        });
        if (worktree.state === "creating") await store.worktrees.ready({ worktreeId: worktree.id, fence });
        await store.worktrees.update({ worktreeId: worktree.id, fence, ...wanted });
        await store.commands.finish({ ...command, outcome: "succeeded", release });
        const row = await store.worktrees.get({ worktreeId: worktree.id });
        assert.deepEqual([row.state, factsOf(row)], ["dirty", unknown], release);
      }
    });

    test("the fixtures report the commit and the environment that they were asked for", async ({ store }) => {
      const given = fixtures(store);
      assert.deepEqual(factsOf((await given.lease(wanted)).worktree), wanted);
      const { worktree } = await given.worktree(wanted);
      assert.deepEqual(factsOf(worktree), wanted);
      const again = await given.lease({ repositoryId: worktree.repositoryId, ...other });
      assert.equal(again.worktree.id, worktree.id);
      assert.deepEqual(factsOf(again.worktree), other);
      assert.equal((await given.worktree()).worktree.commitSha, given.commitSha);
    });
  });
}
