// Worktrees: leases that are never granted twice, fences that only grow, and each transition of the states.
import assert from "node:assert/strict";
import { newId, type Store, type Worktree } from "../../../src/index.ts";
import { present } from "../../../src/present.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { endOfFeed, fails, subject } from "../suite.ts";

const [commitA, commitB] = ["a".repeat(40), "b".repeat(40)];

export function worktreesConformance(backend: TestedBackend): void {
  subject(backend, "worktrees: reserve", ({ test }) => {
    test("a repository without worktrees leases a new one to the caller, in creating", async ({ store, clock }) => {
      const { repository } = await fixtures(store).repository();
      const before = clock.now();
      const lease = await store.worktrees.reserve({
        repositoryId: repository.id,
        owner: "me",
        ttlMs: 5_000,
        commitSha: commitA,
      });
      const { worktree } = lease;
      assert.deepEqual(
        [worktree.state, worktree.leaseOwner, worktree.leaseRunnerId, worktree.useCount],
        ["creating", "me", null, 1],
      );
      assert.deepEqual(
        [lease.match, lease.needsScrub, lease.needsSync, lease.fence, worktree.fence],
        ["created", false, true, 1, 1],
      );
      assert.equal(worktree.path, `${repository.worktreeRoot}/${worktree.id}`);
      assert.deepEqual(lease.expiresAt, worktree.leaseExpiresAt);
      const lastsMs = lease.expiresAt.getTime() - before;
      // The store's clock may differ from this one: it may be that of another machine.
      assert.ok(lastsMs >= 4_950 && lastsMs <= 5_050 + clock.now() - before, `${lastsMs}`);
      assert.equal((await store.repositories.get({ repositoryId: repository.id })).worktreeCount, 1);
    });

    test("a lease of a runner names the runner, and its owner defaults to the runner's name", async ({ store }) => {
      const { runner } = await fixtures(store).runner();
      const { worktree } = await fixtures(store).lease({ runnerId: runner.id, owner: undefined });
      assert.deepEqual([worktree.leaseRunnerId, worktree.leaseOwner], [runner.id, runner.name]);
    });

    test("a lease needs a holder", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      await fails(store.worktrees.reserve({ repositoryId: repository.id }), "invalid_input");
    });

    test("an unknown repository, session or runner is not_found", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      const repositoryId = repository.id;
      await fails(store.worktrees.reserve({ repositoryId: newId(), owner: "o" }), "not_found", {
        entity: "repository",
      });
      await fails(store.worktrees.reserve({ repositoryId, owner: "o", sessionId: newId() }), "not_found", {
        entity: "session",
      });
      await fails(store.worktrees.reserve({ repositoryId, runnerId: newId() }), "not_found", { entity: "runner" });
    });

    test("the best match is leased first: both commit and environment, environment, commit, least recently used", async ({
      store,
    }) => {
      const { repository } = await fixtures(store).repository();
      const repositoryId = repository.id;
      const make = (path: string, commitSha?: string, environmentHash?: string) =>
        store.worktrees.register({
          repositoryId,
          path: `/affinity/${repositoryId}/${path}`,
          clean: true,
          ...present({ commitSha, environmentHash }),
        });
      const oldest = await make("oldest");
      const commit = await make("commit", commitA);
      const environment = await make("environment", commitB, "env");
      const same = await make("same", commitA, "env");
      const asked = { repositoryId, owner: "o", commitSha: commitA, environmentHash: "env" };
      const got: [string, string, boolean][] = [];
      for (let turn = 0; turn < 4; turn++) {
        const { worktree, match, needsSync } = await store.worktrees.reserve(asked);
        got.push([worktree.id, match, needsSync]);
      }
      assert.deepEqual(got, [
        [same.id, "commit_and_environment", false],
        [environment.id, "environment", true],
        [commit.id, "commit", false],
        [oldest.id, "least_recently_used", true],
      ]);
    });

    test("a clean worktree is leased before a dirty one, and a dirty one needs a scrub", async ({ store, clock }) => {
      const { repository } = await fixtures(store).repository();
      const repositoryId = repository.id;
      const dirty = await store.worktrees.register({ repositoryId, path: `/c/${newId()}`, clean: false });
      clock.advance(10);
      const clean = await store.worktrees.register({ repositoryId, path: `/c/${newId()}`, clean: true });
      const first = await store.worktrees.reserve({ repositoryId, owner: "o" });
      const second = await store.worktrees.reserve({ repositoryId, owner: "o" });
      assert.deepEqual([first.worktree.id, first.needsScrub], [clean.id, false]);
      assert.deepEqual([second.worktree.id, second.needsScrub], [dirty.id, true]);
    });

    test("of equal matches the least recently used is leased first", async ({ store, clock }) => {
      const { repository } = await fixtures(store).repository();
      const ids: string[] = [];
      for (let index = 0; index < 3; index++) {
        ids.push(
          (await store.worktrees.register({ repositoryId: repository.id, path: `/l/${newId()}`, clean: true })).id,
        );
        clock.advance(10);
      }
      const got: string[] = [];
      for (let index = 0; index < 3; index++)
        got.push((await store.worktrees.reserve({ repositoryId: repository.id, owner: "o" })).worktree.id);
      assert.deepEqual(got, ids);
    });

    test("of twenty reservations of five worktrees, five get one each and fifteen are refused", async ({ store }) => {
      const { repository } = await fixtures(store).repository({ maxWorktrees: 5 });
      const calls = Array.from({ length: 20 }, (_, index) =>
        store.worktrees.reserve({ repositoryId: repository.id, owner: `o${index}` }),
      );
      const settled = await Promise.allSettled(calls);
      const given = settled.filter((one) => one.status === "fulfilled").map(({ value }) => value.worktree.id);
      assert.equal(given.length, 5);
      assert.equal(new Set(given).size, 5);
      for (const one of settled) if (one.status === "rejected") assert.equal(one.reason.code, "capacity_exhausted");
    });

    test("capacity_exhausted has the earliest expiry", async ({ store }) => {
      const { repository } = await fixtures(store).repository({ maxWorktrees: 2 });
      const repositoryId = repository.id;
      await store.worktrees.reserve({ repositoryId, owner: "long", ttlMs: 90_000 });
      const { expiresAt } = await store.worktrees.reserve({ repositoryId, owner: "short", ttlMs: 30_000 });
      const error = await fails(store.worktrees.reserve({ repositoryId, owner: "third" }), "capacity_exhausted", {
        earliestExpiryAt: expiresAt,
      });
      assert.equal(error.retryable, true);
    });

    test("a repository that allows no worktrees is capacity_exhausted without an expiry", async ({ store }) => {
      const { repository } = await fixtures(store).repository({ maxWorktrees: 0 });
      await fails(store.worktrees.reserve({ repositoryId: repository.id, owner: "o" }), "capacity_exhausted", {
        earliestExpiryAt: null,
      });
    });

    test("a worktree whose lease has expired is leased again without a reaper, with a scrub and a higher fence", async ({
      store,
      clock,
    }) => {
      const { repository } = await fixtures(store).repository({ maxWorktrees: 1 });
      const { worktree, fence } = await fixtures(store).lease({ repositoryId: repository.id, ttlMs: 20_000 });
      clock.advance(20_001);
      const next = await store.worktrees.reserve({ repositoryId: repository.id, owner: "next" });
      assert.deepEqual([next.worktree.id, next.needsScrub, next.fence], [worktree.id, true, fence + 1]);
    });

    test("an expired worktree that was never created does not hide an expired one that can be used", async ({
      store,
      clock,
    }) => {
      const { repository } = await fixtures(store).repository({ maxWorktrees: 2 });
      const repositoryId = repository.id;
      await store.worktrees.reserve({ repositoryId, owner: "never made", ttlMs: 20_000 });
      const { worktree } = await fixtures(store).lease({ repositoryId, ttlMs: 40_000 });
      clock.advance(41_000);
      assert.equal((await store.worktrees.reserve({ repositoryId, owner: "next" })).worktree.id, worktree.id);
    });

    test("a waiting reservation gets a worktree that is released", async ({ store }) => {
      const { repository } = await fixtures(store).repository({ maxWorktrees: 1 });
      const { worktree, fence } = await fixtures(store).lease({ repositoryId: repository.id });
      const waiting = store.worktrees.reserve({ repositoryId: repository.id, owner: "patient", waitMs: 60_000 });
      await store.worktrees.release({ worktreeId: worktree.id, fence, to: "clean" });
      const lease = await waiting;
      assert.deepEqual(
        [lease.worktree.id, lease.fence, lease.worktree.leaseOwner],
        [worktree.id, fence + 1, "patient"],
      );
    });

    test("of two reservations that wait for one worktree, one gets it and the other keeps waiting", async ({
      store,
    }) => {
      const { repository } = await fixtures(store).repository({ maxWorktrees: 1 });
      const { worktree, fence } = await fixtures(store).lease({ repositoryId: repository.id });
      const waiting = [1, 2].map((n) =>
        store.worktrees.reserve({ repositoryId: repository.id, owner: `patient ${n}`, waitMs: 60_000 }),
      );
      await store.worktrees.release({ worktreeId: worktree.id, fence });
      const winner = await Promise.race(waiting);
      await store.worktrees.release({ worktreeId: worktree.id, fence: winner.fence });
      const leases = await Promise.all(waiting);
      assert.deepEqual(leases.map((lease) => lease.fence).sort(), [fence + 1, fence + 2]);
    });

    test("a waiting reservation gets a new worktree when the repository allows more", async ({ store }) => {
      const { repository } = await fixtures(store).repository({ maxWorktrees: 1 });
      await fixtures(store).lease({ repositoryId: repository.id });
      const waiting = store.worktrees.reserve({ repositoryId: repository.id, owner: "patient", waitMs: 2_000 });
      await store.repositories.upsert({ name: repository.name, maxWorktrees: 2 });
      assert.equal((await waiting).match, "created");
    });

    test("a waiting reservation fails when its repository is archived, or its session has ended", async ({ store }) => {
      const { repository } = await fixtures(store).repository({ maxWorktrees: 0 });
      const repositoryId = repository.id;
      const { session } = await fixtures(store).session({ repositoryId });
      const forSession = store.worktrees.reserve({ repositoryId, sessionId: session.id, owner: "o", waitMs: 60_000 });
      const waiting = store.worktrees.reserve({ repositoryId, owner: "o", waitMs: 60_000 });
      const [ended, archived] = [
        fails(forSession, "invalid_transition", { entity: "session" }),
        fails(waiting, "invalid_transition", { state: "archived" }),
      ];
      await store.sessions.cancel({ sessionId: session.id });
      await ended;
      await store.repositories.archive({ repositoryId });
      await archived;
    });

    test("a reservation fails with capacity_exhausted when its wait is over", async ({ store }) => {
      const { repository } = await fixtures(store).repository({ maxWorktrees: 0 });
      await fails(
        store.worktrees.reserve({ repositoryId: repository.id, owner: "o", waitMs: 20 }),
        "capacity_exhausted",
      );
    });

    test("a reservation for a session binds worktree and fence to it", async ({ store }) => {
      const { repository, session } = await fixtures(store).session();
      const { worktree, fence } = await store.worktrees.reserve({
        repositoryId: repository.id,
        sessionId: session.id,
        owner: "o",
      });
      const bound = await store.sessions.get({ sessionId: session.id });
      assert.deepEqual(
        [bound.worktreeId, bound.worktreeFence, bound.version],
        [worktree.id, fence, session.version + 1],
      );
    });

    test("a reservation for a session asks for the session's commit", async ({ store }) => {
      const { repository, session } = await fixtures(store).session({ commitSha: commitB });
      await store.worktrees.register({
        repositoryId: repository.id,
        path: `/s/${newId()}`,
        clean: true,
        commitSha: commitA,
      });
      const right = await store.worktrees.register({
        repositoryId: repository.id,
        path: `/s/${newId()}`,
        clean: false,
        commitSha: commitB,
      });
      const lease = await store.worktrees.reserve({ repositoryId: repository.id, sessionId: session.id, owner: "o" });
      assert.deepEqual([lease.worktree.id, lease.match, lease.needsSync], [right.id, "commit", false]);
    });

    test("a session with a worktree gets no other until its lease has run out", async ({ store, clock }) => {
      const { repository, session } = await fixtures(store).session();
      const asked = { repositoryId: repository.id, sessionId: session.id, owner: "o", ttlMs: 20_000 };
      const first = await store.worktrees.reserve(asked);
      await fails(store.worktrees.reserve(asked), "conflict", {
        reason: "bound",
        worktreeId: first.worktree.id,
        fence: first.fence,
      });
      clock.advance(20_001);
      const second = await store.worktrees.reserve(asked);
      assert.equal((await store.sessions.get({ sessionId: session.id })).worktreeId, second.worktree.id);
      assert.equal((await store.worktrees.get({ worktreeId: first.worktree.id })).state, "quarantined");
    });

    test("a session of another repository, or one that has ended, gets no worktree", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const { repository: other } = await fixtures(store).repository();
      await fails(store.worktrees.reserve({ repositoryId: other.id, sessionId: session.id, owner: "o" }), "conflict", {
        reason: "repository",
      });
      await store.sessions.cancel({ sessionId: session.id });
      const asked = { repositoryId: session.repositoryId, sessionId: session.id, owner: "o" };
      await fails(store.worktrees.reserve(asked), "invalid_transition", { state: "cancelled" });
    });

    test("a path or an id that exists, and a missing path, are refused, and nothing is left behind", async ({
      store,
    }) => {
      const { worktree, repository } = {
        ...(await fixtures(store).lease()),
        ...(await fixtures(store).repository({ worktreeRoot: null })),
      };
      const asked = { repositoryId: repository.id, owner: "o" };
      await fails(store.worktrees.reserve({ ...asked, path: worktree.path }), "conflict", {
        reason: "path",
        worktreeId: worktree.id,
      });
      await fails(store.worktrees.reserve({ ...asked, path: `/free/${newId()}`, id: worktree.id }), "conflict", {
        reason: "exists",
      });
      await fails(store.worktrees.reserve(asked), "invalid_input");
      assert.equal((await store.repositories.get({ repositoryId: repository.id })).worktreeCount, 0);
    });
  });

  subject(backend, "worktrees: states", ({ test }) => {
    const leased = async (store: Store) => {
      const { worktree, fence } = await fixtures(store).lease();
      return { worktreeId: worktree.id, fence };
    };
    const creating = async (store: Store) => {
      const { repository } = await fixtures(store).repository();
      const { worktree, fence } = await store.worktrees.reserve({ repositoryId: repository.id, owner: "o" });
      return { worktreeId: worktree.id, fence };
    };
    const evicting = async (store: Store) => {
      const { worktree } = await fixtures(store).worktree();
      const row = (await store.worktrees.evict({ repositoryId: worktree.repositoryId, owner: "o" })) as Worktree;
      return { worktreeId: row.id, fence: row.fence };
    };
    const stateOf = async (store: Store, worktreeId: string) => (await store.worktrees.get({ worktreeId })).state;

    test("ready makes a worktree in creating leased under the same fence, and a repetition changes nothing", async ({
      store,
    }) => {
      const held = await creating(store);
      const row = await store.worktrees.ready({ ...held, commitSha: commitA, environmentHash: "e", sizeBytes: 12 });
      assert.deepEqual(
        [row.state, row.fence, row.commitSha, row.environmentHash, row.sizeBytes],
        ["leased", held.fence, commitA, "e", 12],
      );
      assert.deepEqual(await store.worktrees.ready(held), row);
    });

    for (const [to, state] of [
      ["clean", "idle"],
      ["dirty", "dirty"],
      ["keep", "quarantined"],
      ["broken", "quarantined"],
    ] as const) {
      test(`release as ${to} makes a worktree ${state} without a lease, and a repetition changes nothing`, async ({
        store,
      }) => {
        const held = await leased(store);
        const row = await store.worktrees.release({ ...held, to });
        assert.deepEqual(
          [row.state, row.leaseExpiresAt, row.leasedAt, row.leaseOwner, row.leaseRunnerId],
          [state, null, null, null, null],
        );
        assert.equal(row.fence, held.fence);
        assert.deepEqual(await store.worktrees.release({ ...held, to }), row);
      });
    }

    test("release of a worktree in creating removes it as clean, and otherwise quarantines it", async ({ store }) => {
      const made = await creating(store);
      const removed = await store.worktrees.release({ ...made, to: "clean" });
      assert.equal(removed.state, "removed");
      assert.equal((await store.repositories.get({ repositoryId: removed.repositoryId })).worktreeCount, 0);
      assert.deepEqual(await store.worktrees.release({ ...made, to: "clean" }), removed);
      assert.equal((await store.worktrees.release({ ...(await creating(store)), to: "broken" })).state, "quarantined");
    });

    test("quarantine takes a leased or creating worktree out of use", async ({ store }) => {
      const held = await leased(store);
      const row = await store.worktrees.quarantine({ ...held, reason: "evidence" });
      assert.equal(row.state, "quarantined");
      const lease = await store.worktrees.reserve({ repositoryId: row.repositoryId, owner: "o" });
      assert.notEqual(lease.worktree.id, row.id);
      assert.equal((await store.worktrees.quarantine(await creating(store))).state, "quarantined");
    });

    test("restore makes a quarantined worktree dirty, and a repetition changes nothing", async ({ store }) => {
      const held = await leased(store);
      await store.worktrees.quarantine(held);
      const row = await store.worktrees.restore({ worktreeId: held.worktreeId });
      assert.equal(row.state, "dirty");
      assert.deepEqual(await store.worktrees.restore({ worktreeId: held.worktreeId }), row);
    });

    test("restore of a leased, idle or removed worktree is invalid_transition", async ({ store }) => {
      const held = await leased(store);
      await fails(store.worktrees.restore({ worktreeId: held.worktreeId }), "invalid_transition", { state: "leased" });
      await store.worktrees.release({ ...held, to: "clean" });
      await fails(store.worktrees.restore({ worktreeId: held.worktreeId }), "invalid_transition", { state: "idle" });
      const gone = await evicting(store);
      await store.worktrees.completeEvict(gone);
      await fails(store.worktrees.restore({ worktreeId: gone.worktreeId }), "invalid_transition", { state: "removed" });
    });

    test("evict leases the least recently used worktree that is neither pinned, leased nor quarantined", async ({
      store,
      clock,
    }) => {
      const { repository } = await fixtures(store).repository();
      const repositoryId = repository.id;
      const paths = ["pinned", "quarantined", "leased", "older", "newer"];
      const rows: Record<string, string> = {};
      for (const path of paths) {
        rows[path] = (
          await store.worktrees.register({
            repositoryId,
            path: `/e/${repositoryId}/${path}`,
            clean: true,
            pinned: path === "pinned",
          })
        ).id;
        clock.advance(10);
      }
      // The two that were reserved first are the least recently used.
      for (const keep of [false, true, true]) {
        const { worktree, fence } = await store.worktrees.reserve({ repositoryId, owner: "o" });
        if (worktree.id === rows.pinned) await store.worktrees.release({ worktreeId: worktree.id, fence, to: "clean" });
        else if (worktree.id === rows.quarantined)
          await store.worktrees.release({ worktreeId: worktree.id, fence, to: "keep" });
        else assert.ok(keep);
        clock.advance(10);
      }
      const first = await store.worktrees.evict({ repositoryId, owner: "janitor" });
      assert.deepEqual([first?.id, first?.state, first?.leaseOwner], [rows.older, "evicting", "janitor"]);
      assert.equal((await store.worktrees.evict({ repositoryId, owner: "janitor" }))?.id, rows.newer);
      assert.equal(await store.worktrees.evict({ repositoryId, owner: "janitor" }), undefined);
      assert.equal(
        (await store.worktrees.evict({ repositoryId, owner: "janitor", worktreeId: rows.quarantined }))?.state,
        "evicting",
      );
    });

    test("evict of a named worktree that is in use or removed is invalid_transition, and of an unknown one not_found", async ({
      store,
    }) => {
      const held = await leased(store);
      const { repositoryId } = await store.worktrees.get({ worktreeId: held.worktreeId });
      await fails(
        store.worktrees.evict({ repositoryId, owner: "o", worktreeId: held.worktreeId }),
        "invalid_transition",
        { state: "leased" },
      );
      await fails(store.worktrees.evict({ repositoryId, owner: "o", worktreeId: newId() }), "not_found");
    });

    test("evict does not reach a worktree of another repository", async ({ store }) => {
      const { worktree } = await fixtures(store).worktree();
      const { repository: other } = await fixtures(store).repository();
      await fails(store.worktrees.evict({ repositoryId: other.id, owner: "o", worktreeId: worktree.id }), "not_found");
      assert.equal((await store.worktrees.get({ worktreeId: worktree.id })).state, "idle");
    });

    test("completeEvict makes an evicting worktree removed and frees its path, and a repetition changes nothing", async ({
      store,
    }) => {
      const held = await evicting(store);
      const after = await endOfFeed(store);
      const row = await store.worktrees.completeEvict(held);
      assert.equal(row.state, "removed");
      // The feed names the directory, because the row may be deleted one day.
      const { changes } = await store.changes.since({ after, entity: "worktree" });
      const detail = changes.find(({ entityId }) => entityId === row.id)?.detail;
      assert.deepEqual(detail, { state: "removed", path: row.path });
      assert.deepEqual(await store.worktrees.completeEvict(held), row);
      assert.equal((await store.repositories.get({ repositoryId: row.repositoryId })).worktreeCount, 0);
      const again = await store.worktrees.register({ repositoryId: row.repositoryId, path: row.path });
      assert.notEqual(again.id, row.id);
    });

    test("ready and completeEvict refuse worktrees in other states", async ({ store }) => {
      await fails(store.worktrees.completeEvict(await leased(store)), "invalid_transition", { state: "leased" });
      await fails(store.worktrees.completeEvict(await creating(store)), "invalid_transition", { state: "creating" });
      await fails(store.worktrees.ready(await evicting(store)), "invalid_transition", { state: "evicting" });
    });

    test("register adds an existing directory as a free worktree, once for each path", async ({ store }) => {
      const { repository } = await fixtures(store).repository({ maxWorktrees: 1 });
      const input = { repositoryId: repository.id, path: `/r/${newId()}`, clean: true, commitSha: commitA };
      const row = await store.worktrees.register(input);
      assert.deepEqual([row.state, row.fence, row.commitSha, row.leaseExpiresAt], ["idle", 0, commitA, null]);
      assert.deepEqual(await store.worktrees.register(input), row);
      await fails(store.worktrees.register({ ...input, path: `/r/${newId()}` }), "capacity_exhausted");
      const { repository: other } = await fixtures(store).repository();
      await fails(store.worktrees.register({ ...input, repositoryId: other.id }), "conflict", {
        reason: "path",
        worktreeId: row.id,
      });
    });

    test("register with an id that exists is a conflict", async ({ store }) => {
      const { worktree } = await fixtures(store).worktree();
      const input = { id: worktree.id, repositoryId: worktree.repositoryId, path: `/r/${newId()}` };
      await fails(store.worktrees.register(input), "conflict", { reason: "exists" });
    });

    test("update records facts about the worktree, and refuses a stale version", async ({ store }) => {
      const held = await leased(store);
      const row = await store.worktrees.update({ ...held, commitSha: commitB, sizeBytes: 7, pinned: true });
      assert.deepEqual([row.commitSha, row.sizeBytes, row.pinned], [commitB, 7, true]);
      await fails(store.worktrees.update({ ...held, sizeBytes: 8, expectedVersion: row.version - 1 }), "conflict", {
        reason: "version",
        currentVersion: row.version,
      });
      assert.deepEqual(await store.worktrees.get({ worktreeId: held.worktreeId }), row);
    });

    test("renew extends the lease and nothing else", async ({ store, clock }) => {
      const held = await leased(store);
      const before = await store.worktrees.get({ worktreeId: held.worktreeId });
      clock.advance(30_000);
      const row = await store.worktrees.renew({ ...held, ttlMs: 60_000 });
      assert.ok((row.leaseExpiresAt as Date).getTime() >= (before.leaseExpiresAt as Date).getTime() + 29_999);
      assert.deepEqual({ ...row, leaseExpiresAt: null }, { ...before, leaseExpiresAt: null });
    });

    test("a leased worktree expires to dirty, a creating or evicting one to quarantined", async ({ store, clock }) => {
      const [one, two, three] = [await leased(store), await creating(store), await evicting(store)];
      clock.advance(86_400_001);
      const reaped = await store.maintenance.reap();
      for (const { worktreeId } of [one, two, three]) assert.ok(reaped.worktrees.includes(worktreeId));
      assert.deepEqual(await Promise.all([one, two, three].map(({ worktreeId }) => stateOf(store, worktreeId))), [
        "dirty",
        "quarantined",
        "quarantined",
      ]);
    });
  });

  subject(backend, "worktrees: fences", ({ test }) => {
    const fenced = (store: Store) =>
      ({
        ready: (held: { worktreeId: string; fence: number }) => store.worktrees.ready(held),
        renew: (held: { worktreeId: string; fence: number }) => store.worktrees.renew(held),
        update: (held: { worktreeId: string; fence: number }) => store.worktrees.update({ ...held, sizeBytes: 1 }),
        quarantine: (held: { worktreeId: string; fence: number }) => store.worktrees.quarantine(held),
        completeEvict: (held: { worktreeId: string; fence: number }) => store.worktrees.completeEvict(held),
        release: (held: { worktreeId: string; fence: number }) => store.worktrees.release(held),
      }) as const;

    test("every grant raises the fence, and nothing lowers it", async ({ store }) => {
      const { repository } = await fixtures(store).repository({ maxWorktrees: 1 });
      const fences: number[] = [];
      for (let turn = 0; turn < 4; turn++) {
        const { worktree, fence } = await fixtures(store).lease({ repositoryId: repository.id });
        fences.push(fence);
        const released = await store.worktrees.release({
          worktreeId: worktree.id,
          fence,
          to: turn % 2 === 0 ? "clean" : "dirty",
        });
        assert.equal(released.fence, fence);
      }
      assert.deepEqual(fences, [1, 2, 3, 4]);
      assert.equal((await store.worktrees.evict({ repositoryId: repository.id, owner: "o" }))?.fence, 5);
    });

    test("a stale holder changes nothing: every call with its fence fails with lease_lost and the current fence", async ({
      store,
    }) => {
      const { worktree, fence } = await fixtures(store).lease();
      await store.worktrees.release({ worktreeId: worktree.id, fence });
      const next = await store.worktrees.reserve({ repositoryId: worktree.repositoryId, owner: "next" });
      assert.equal(next.worktree.id, worktree.id);
      for (const [name, call] of Object.entries(fenced(store))) {
        await fails(call({ worktreeId: worktree.id, fence }), "lease_lost", { currentFence: next.fence }).catch(
          (error) => {
            throw new Error(name, { cause: error });
          },
        );
      }
      assert.deepEqual(await store.worktrees.get({ worktreeId: worktree.id }), next.worktree);
    });

    test("a fence that was never granted is lease_lost too", async ({ store }) => {
      const { worktree, fence } = await fixtures(store).lease();
      for (const call of Object.values(fenced(store)))
        await fails(call({ worktreeId: worktree.id, fence: fence + 1 }), "lease_lost", { currentFence: fence });
    });

    test("an unknown worktree is not_found", async ({ store }) => {
      for (const call of Object.values(fenced(store)))
        await fails(call({ worktreeId: newId(), fence: 1 }), "not_found", { entity: "worktree" });
    });

    test("a lease whose time has passed belongs to its holder until somebody takes it", async ({ store, clock }) => {
      for (const [name, call] of Object.entries(fenced(store))) {
        const { repository } = await fixtures(store).repository();
        const holder = { repositoryId: repository.id, owner: "o", path: `/srv/${newId()}`, ttlMs: 20_000 };
        const reserved = await store.worktrees.reserve(holder);
        const ends = { worktreeId: reserved.worktree.id, fence: reserved.fence };
        if (name === "completeEvict") {
          await store.worktrees.ready(ends);
          await store.worktrees.release({ ...ends, to: "clean" });
          await store.worktrees.evict({ repositoryId: repository.id, owner: "o", ttlMs: 20_000 });
          ends.fence++;
        }
        clock.advance(20_001);
        await assert.doesNotReject(call(ends), name);
      }
    });

    test("a renewal after the time of a lease keeps it from the reaper", async ({ store, clock }) => {
      const { worktree, fence } = await fixtures(store).lease({ ttlMs: 1_000 });
      const held = { worktreeId: worktree.id, fence };
      clock.advance(1_001);
      const renewed = await store.worktrees.renew({ ...held, ttlMs: 60_000 });
      assert.ok((renewed.leaseExpiresAt as Date) > (worktree.leaseExpiresAt as Date));
      assert.ok(!(await store.maintenance.reap()).worktrees.includes(worktree.id));
      await store.worktrees.renew(held);
    });

    test("a lease ends exactly at its expiry: from then on the reaper takes it", async ({ store, clock }) => {
      const { worktree, fence } = await fixtures(store).lease({ ttlMs: 60_000 });
      clock.advance(30_000);
      await store.worktrees.renew({ worktreeId: worktree.id, fence, ttlMs: 1_000 });
      clock.advance(1_000);
      assert.ok((await store.maintenance.reap()).worktrees.includes(worktree.id));
    });

    test("after the reaper has ended a lease, its holder has lost it, and is told that it has ended", async ({
      store,
      clock,
    }) => {
      const { worktree, fence } = await fixtures(store).lease({ ttlMs: 20_000 });
      clock.advance(20_001);
      await store.maintenance.reap();
      const { release: _release, ...others } = fenced(store);
      for (const call of Object.values(others)) {
        await assert.rejects(call({ worktreeId: worktree.id, fence }), {
          code: "lease_lost",
          message: /^fence \d+ holds no lease: its lease has ended .*, the state is dirty$/,
        });
      }
      await fails(store.worktrees.release({ worktreeId: worktree.id, fence, to: "clean" }), "lease_lost", {
        currentFence: fence,
      });
    });

    test("after its time, a lease goes to the first who reserves the worktree of a full repository", async ({
      store,
      clock,
    }) => {
      const { repository } = await fixtures(store).repository({ maxWorktrees: 1 });
      const { worktree, fence } = await fixtures(store).lease({ repositoryId: repository.id, ttlMs: 1_000 });
      clock.advance(1_001);
      const next = await store.worktrees.reserve({ repositoryId: repository.id, owner: "next" });
      assert.equal(next.worktree.id, worktree.id);
      await assert.rejects(store.worktrees.renew({ worktreeId: worktree.id, fence }), {
        code: "lease_lost",
        message: /^fence \d+ holds no lease: the current fence is \d+, the state is leased$/,
      });
    });

    test("a second, different release is lease_lost", async ({ store }) => {
      const { worktree, fence } = await fixtures(store).lease();
      await store.worktrees.release({ worktreeId: worktree.id, fence, to: "dirty" });
      await fails(store.worktrees.release({ worktreeId: worktree.id, fence, to: "clean" }), "lease_lost");
    });

    test("releasing a worktree unbinds its session", async ({ store }) => {
      const { repository, session } = await fixtures(store).session();
      const { worktree, fence } = await store.worktrees.reserve({
        repositoryId: repository.id,
        sessionId: session.id,
        owner: "o",
      });
      await store.worktrees.release({ worktreeId: worktree.id, fence });
      const unbound = await store.sessions.get({ sessionId: session.id });
      assert.deepEqual([unbound.worktreeId, unbound.worktreeFence, unbound.state], [null, null, "pending"]);
    });

    test("get and list find worktrees by id, repository and state", async ({ store }) => {
      const { worktree } = await fixtures(store).worktree();
      assert.deepEqual(await store.worktrees.get({ worktreeId: worktree.id }), worktree);
      await fails(store.worktrees.get({ worktreeId: newId() }), "not_found", { entity: "worktree" });
      assert.deepEqual((await store.worktrees.list({ repositoryId: worktree.repositoryId, state: "idle" })).items, [
        worktree,
      ]);
      assert.deepEqual(
        (await store.worktrees.list({ repositoryId: worktree.repositoryId, state: "leased" })).items,
        [],
      );
    });
  });
}
