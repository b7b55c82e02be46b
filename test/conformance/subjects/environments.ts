// Environments: one builder at a time, everyone else waits; uses keep them, and the least recently used go first.
import assert from "node:assert/strict";
import { newId, type Store } from "../../../src/index.ts";
import { defaultLimits } from "../../../src/limits.ts";
import { defaultRetention } from "../../../src/model/retention.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { endOfFeed, fails, subject } from "../suite.ts";

const dayMs = 86_400_000;
const { fileGraceMs } = defaultLimits;

/** Returns what tells an environment apart, and calls that acquire it. */
async function newEnvironment(store: Store, place = "") {
  const { repository } = await fixtures(store).repository();
  const key = { repositoryId: repository.id, hash: `sha256:${newId()}`, place };
  return {
    key,
    acquire: (owner: string, more: object = {}) => store.environments.acquire({ ...key, owner, ...more }),
  };
}

type Acquired = Awaited<ReturnType<Store["environments"]["acquire"]>>;

/** Returns the key of a lease, which the call must have granted. */
function leaseOf({ environment, lease }: Acquired) {
  assert.ok(lease !== null, `a lease is granted, and the environment is ${environment.state}`);
  return { environmentId: environment.id, fence: lease.fence };
}

const built = (name: string, sizeBytes = 10) => ({ uri: `file:///srv/environments/${name}`, sizeBytes });

/** Builds an environment in a place, and returns its row. */
async function build(store: Store, name: string, { place = "", sizeBytes = 10 } = {}) {
  const { acquire } = await newEnvironment(store, place);
  return await store.environments.ready({ ...leaseOf(await acquire("builder")), ...built(name, sizeBytes) });
}

export function environmentsConformance(backend: TestedBackend): void {
  subject(backend, "environments: building", ({ test, alone }) => {
    test("the first one builds, and from then on everybody gets what it has built", async ({ store }) => {
      const { key, acquire } = await newEnvironment(store);
      const first = await acquire("one");
      const { environment } = first;
      assert.deepEqual(
        [environment.state, environment.fence, environment.leaseOwner, environment.uri, environment.useCount],
        ["building", 1, "one", null, 1],
      );
      assert.deepEqual(
        { repositoryId: environment.repositoryId, hash: environment.hash, place: environment.place },
        key,
      );
      const lease = leaseOf(first);
      const ready = await store.environments.ready({ ...lease, ...built("a", 7) });
      assert.deepEqual(
        [ready.state, ready.uri, ready.sizeBytes, ready.leaseOwner, ready.leaseExpiresAt, ready.readyAt !== null],
        ["ready", built("a").uri, 7, null, null, true],
      );
      assert.deepEqual(await store.environments.ready({ ...lease, ...built("b") }), ready);
      const second = await acquire("two");
      assert.deepEqual([second.lease, second.environment.uri, second.environment.useCount], [null, ready.uri, 2]);
      assert.equal((await store.environments.get({ environmentId: environment.id })).version, ready.version);
    });

    test("while one builds, another one is told by whom and until when", async ({ store }) => {
      const { acquire } = await newEnvironment(store);
      const { environment, lease } = await acquire("one");
      const error = await fails(acquire("two"), "deadline_exceeded", {
        environmentId: environment.id,
        owner: "one",
        leaseExpiresAt: lease?.expiresAt,
      });
      assert.equal(error.retryable, true);
    });

    test("of eight that ask at once one builds, and the others get it when it is ready", async ({ store }) => {
      const { acquire } = await newEnvironment(store);
      const asked = Array.from({ length: 8 }, (_, index) =>
        acquire(`owner ${index}`, { waitMs: 60_000, ttlMs: 600_000 }),
      );
      const first = await Promise.race(asked);
      const ready = await store.environments.ready({ ...leaseOf(first), ...built("a") });
      const answers = await Promise.all(asked);
      assert.equal(answers.filter(({ lease }) => lease !== null).length, 1);
      for (const { environment, lease } of answers)
        if (lease === null) assert.deepEqual([environment.id, environment.uri], [ready.id, ready.uri]);
    });

    test("when the builder fails, one of those who wait builds", async ({ store }) => {
      const { acquire } = await newEnvironment(store);
      const lease = leaseOf(await acquire("one"));
      const waiting = [acquire("two", { waitMs: 60_000 }), acquire("three", { waitMs: 60_000 })];
      const failed = await store.environments.fail({ ...lease, reason: "no network" });
      assert.deepEqual([failed.state, failed.failures, failed.lastError], ["failed", 1, "no network"]);
      const next = await Promise.race(waiting);
      assert.equal(leaseOf(next).fence, 2);
      await fails(store.environments.ready({ ...lease, ...built("late") }), "lease_lost", { currentFence: 2 });
      await fails(store.environments.renew(lease), "lease_lost", { currentFence: 2 });
      await fails(store.environments.fail(lease), "lease_lost", { currentFence: 2 });
      const ready = await store.environments.ready({ ...leaseOf(next), ...built("b") });
      assert.deepEqual([ready.failures, ready.lastError], [0, null]);
      assert.deepEqual(
        (await Promise.all(waiting)).map(({ environment }) => environment.id),
        [ready.id, ready.id],
      );
    });

    test("fail can be repeated, and says once why", async ({ store }) => {
      const { acquire } = await newEnvironment(store);
      const lease = leaseOf(await acquire("one"));
      const failed = await store.environments.fail({ ...lease, reason: "a" });
      assert.deepEqual(await store.environments.fail({ ...lease, reason: "b" }), failed);
    });

    alone(
      "a builder that dies loses its lease to one that waits, and the reaper ends what nobody takes",
      async (opened) => {
        const { store, clock } = opened;
        const { acquire } = await newEnvironment(store);
        const lease = leaseOf(await acquire("one", { ttlMs: 100_000 }));
        clock.advance(90_000);
        await store.environments.renew({ ...lease, ttlMs: 100_000 });
        const waiting = acquire("two", { waitMs: 600_000, ttlMs: 100_000 });
        clock.advance(90_000);
        await fails(acquire("three"), "deadline_exceeded", { owner: "one" });
        clock.advance(10_000);
        const taken = leaseOf(await waiting);
        await fails(store.environments.ready({ ...lease, ...built("a") }), "lease_lost", { currentFence: taken.fence });
        clock.advance(100_000);
        // Its holder has it until somebody takes it.
        await store.environments.renew({ ...taken, ttlMs: 100_000 });
        clock.advance(100_000);
        assert.deepEqual((await store.maintenance.reap()).environments, [taken.environmentId]);
        const failed = await store.environments.get({ environmentId: taken.environmentId });
        assert.deepEqual([failed.state, failed.lastError], ["failed", "lease_expired"]);
        await fails(store.environments.renew(taken), "lease_lost");
      },
      { limits: { reapEveryMs: 0 } },
    );

    alone(
      "a builder keeps its lease when the clock jumps, and no longer than before when it is set back",
      async (opened) => {
        const { store, clock } = opened;
        const { acquire } = await newEnvironment(store);
        const lease = leaseOf(await acquire("one", { ttlMs: 100_000 }));
        clock.jump(3_600_000);
        assert.deepEqual((await store.maintenance.reap()).environments, []);
        clock.advance(60_000);
        await fails(acquire("two"), "deadline_exceeded", { owner: "one" });
        await store.environments.renew({ ...lease, ttlMs: 100_000 });
        clock.jump(-86_400_000);
        await store.maintenance.reap();
        clock.advance(60_000);
        await fails(acquire("two"), "deadline_exceeded", { owner: "one" });
        clock.advance(50_000);
        assert.equal(leaseOf(await acquire("two")).fence, 2);
      },
    );

    test("places and repositories have environments of their own", async ({ store }) => {
      const { key, acquire } = await newEnvironment(store, "a");
      const { environment } = await acquire("one");
      const other = await acquire("one", { place: "b" });
      const { repository } = await fixtures(store).repository();
      const third = await acquire("one", { repositoryId: repository.id });
      assert.equal(new Set([environment.id, other.environment.id, third.environment.id]).size, 3);
      const { runner } = await fixtures(store).runner({ host: `host-${newId()}` });
      const { repositoryId, hash } = key;
      const ofRunner = await store.environments.acquire({ repositoryId, hash, runnerId: runner.id });
      const { place, leaseRunnerId, leaseOwner } = ofRunner.environment;
      assert.deepEqual([place, leaseRunnerId, leaseOwner], [runner.place, runner.id, runner.name]);
    });

    test("a runner that is started again gives up what it was building", async ({ store }) => {
      const name = `runner-${newId()}`;
      const register = (replaces?: string) =>
        store.runners.register({ name, host: "localhost", pid: 1, ...(replaces === undefined ? {} : { replaces }) });
      const former = await register();
      const { key } = await newEnvironment(store);
      const { environment } = await store.environments.acquire({ ...key, runnerId: former.id });
      const runner = await register(former.id);
      const failed = await store.environments.get({ environmentId: environment.id });
      assert.deepEqual([failed.state, failed.lastError, failed.leaseRunnerId], ["failed", "runner_replaced", null]);
      assert.equal((await store.environments.acquire({ ...key, runnerId: runner.id })).lease?.fence, 2);
    });

    test("the session of an environment is open and belongs to its repository", async ({ store }) => {
      const { acquire } = await newEnvironment(store);
      const { session: foreign } = await fixtures(store).session();
      await fails(acquire("one", { sessionId: foreign.id }), "conflict", { reason: "repository" });
      const { key, acquire: ofOwn } = await newEnvironment(store);
      const { session } = await fixtures(store).session({ repositoryId: key.repositoryId });
      const { environment } = await ofOwn("one", { sessionId: session.id });
      const bound = await store.sessions.get({ sessionId: session.id });
      assert.deepEqual([bound.environmentId, bound.version], [environment.id, session.version + 1]);
      await store.sessions.cancel({ sessionId: session.id });
      await fails(ofOwn("one", { sessionId: session.id }), "invalid_transition");
      await store.repositories.archive({ repositoryId: key.repositoryId });
      await fails(ofOwn("one"), "invalid_transition", { entity: "repository" });
    });

    test("an id that an environment has is refused", async ({ store }) => {
      const { environment } = await (await newEnvironment(store)).acquire("one");
      const { acquire } = await newEnvironment(store);
      await fails(acquire("one", { id: environment.id }), "conflict", {
        reason: "exists",
        environmentId: environment.id,
      });
    });
  });

  subject(backend, "environments: eviction", ({ test, alone }) => {
    alone(
      "those that were not used for the longest time go until the rest fits, or by age",
      async ({ store, clock }) => {
        const rows = [];
        for (const name of ["a", "b", "c", "d"]) {
          rows.push(await build(store, name));
          clock.advance(1_000);
        }
        const [a, b, c, d] = rows.map(({ id }) => id);
        await build(store, "elsewhere", { place: "other", sizeBytes: 500 });
        assert.deepEqual(await store.environments.evict({ maxBytes: 40 }), {
          environments: [],
          sizeBytes: 40,
          left: false,
        });
        const { key } = { key: rows[0] };
        await store.environments.acquire({
          repositoryId: key?.repositoryId as string,
          hash: key?.hash as string,
          owner: "o",
        });
        const evicted = await store.environments.evict({ maxBytes: 25 });
        assert.deepEqual(
          evicted.environments.map(({ id }) => id),
          [b, c],
        );
        assert.deepEqual([evicted.sizeBytes, evicted.left], [20, false]);
        await fails(store.environments.get({ environmentId: b as string }), "not_found");
        clock.advance(1_000);
        assert.deepEqual((await store.environments.evict({ unusedForMs: 3_600_000 })).environments, []);
        clock.advance(3_600_000);
        assert.deepEqual(
          (await store.environments.evict({ unusedForMs: 3_600_000 })).environments.map(({ id }) => id),
          [d, a],
        );
        assert.deepEqual((await store.maintenance.stats()).rows.environments, { ready: 1 });
      },
    );

    alone("those that were built long ago go first, also when they are used often", async ({ store, clock }) => {
      const rows = [];
      for (const name of ["a", "b", "c", "d"]) {
        rows.push(await build(store, name));
        clock.advance(1_000);
      }
      const [a, b, c, d] = rows.map(({ id }) => id);
      await build(store, "elsewhere", { place: "other" });
      const { repositoryId, hash } = rows[1] as (typeof rows)[number];
      await store.environments.acquire({ repositoryId, hash, owner: "o" });
      clock.advance(1_000);
      const evicted = async (input: Parameters<typeof store.environments.evict>[0]) =>
        (await store.environments.evict(input)).environments.map(({ id }) => id);
      assert.deepEqual(await evicted({ ageMs: 3_600_000 }), []);
      assert.deepEqual(await evicted({ ageMs: 5_000, maxBytes: 20 }), [a, c], "what is too old counts once");
      assert.deepEqual(await evicted({ ageMs: 4_000, maxBytes: 20 }), [b], "its last use does not matter");
      assert.deepEqual(await evicted({ ageMs: 0, unusedForMs: 0, limit: 1 }), [d]);
    });

    alone("eviction goes on in steps", async ({ store, clock }) => {
      for (let count = 0; count < 5; count++) await build(store, `${count}`);
      clock.advance(1_000);
      const counts: number[] = [];
      for (let left = true; left; ) {
        const step = await store.environments.evict({ maxBytes: 0, limit: 2 });
        counts.push(step.environments.length);
        left = step.left;
      }
      assert.deepEqual(counts, [2, 2, 1]);
    });

    alone("what a session uses stays until its last command has ended; pinned ones and builds stay", async (opened) => {
      const { store } = opened;
      const { key, acquire } = await newEnvironment(store);
      const used = await store.environments.ready({ ...leaseOf(await acquire("one")), ...built("used") });
      const pinned = await build(store, "pinned");
      await store.environments.pin({ environmentId: pinned.id });
      const building = await (await newEnvironment(store)).acquire("one", { ttlMs: 86_400_000 });
      const { session } = await fixtures(store).session({ repositoryId: key.repositoryId });
      await acquire("one", { sessionId: session.id });
      const evict = async () => (await store.environments.evict({ maxBytes: 0, unusedForMs: 0 })).environments;
      assert.deepEqual(await evict(), []);
      const remove = (environmentId: string) => store.environments.delete({ environmentId });
      await fails(remove(used.id), "conflict", { reason: "used", sessionId: session.id });
      await fails(remove(pinned.id), "conflict", { reason: "pinned" });
      await fails(remove(building.environment.id), "invalid_transition", { state: "building" });
      const { command, fence } = await fixtures(store).claim({ sessionId: session.id });
      await store.sessions.complete({ sessionId: session.id });
      assert.deepEqual(await evict(), []);
      await store.commands.finish({ commandId: command.id, fence, outcome: "succeeded" });
      assert.deepEqual(
        (await evict()).map(({ id }) => id),
        [used.id],
      );
      await store.environments.pin({ environmentId: pinned.id, pinned: false });
      assert.deepEqual(
        (await evict()).map(({ id }) => id),
        [pinned.id],
      );
      assert.deepEqual(await remove(pinned.id), { deleted: true });
    });

    test("an environment that has failed can be deleted, and leaves no file", async ({ store }) => {
      const lease = leaseOf(await (await newEnvironment(store)).acquire("one"));
      await store.environments.fail(lease);
      const { environmentId } = lease;
      await fails(store.environments.delete({ environmentId, expectedVersion: 9 }), "conflict", { reason: "version" });
      assert.deepEqual(await store.environments.delete({ environmentId }), { deleted: true });
      await fails(store.environments.get({ environmentId }), "not_found");
    });

    alone("what was built is handed to collectors of its place alone, while another one is built", async (opened) => {
      const { store, clock } = opened;
      const { key, acquire } = await newEnvironment(store, "a");
      const { id } = await store.environments.ready({ ...leaseOf(await acquire("one")), ...built("x") });
      const elsewhere = await build(store, "x", { place: "b" });
      const after = await endOfFeed(store);
      await store.environments.evict({ place: "a", maxBytes: 0 });
      await store.environments.evict({ place: "b", maxBytes: 0 });
      const { changes } = await store.changes.since({ after });
      assert.deepEqual(
        changes.map(({ entity, entityId, op, detail }) => [entity, entityId, op, detail]),
        [
          ["environment", id, "delete", { place: "a", ...built("x"), reason: "evicted" }],
          ["environment", elsewhere.id, "delete", { place: "b", ...built("x"), reason: "evicted" }],
        ],
      );
      const again = leaseOf(await acquire("two", { ttlMs: 86_400_000 }));
      clock.advance(fileGraceMs);
      assert.deepEqual((await store.files.claim({ owner: "c" })).files, []);
      const { files } = await store.files.claim({ owner: "c", place: "a" });
      assert.deepEqual(
        files.map(({ id: file, kind, place, uri, sizeBytes }) => [file, kind, place, uri, sizeBytes]),
        [[id, "environment", "a", built("x").uri, 10]],
      );
      await fails(store.environments.ready({ ...again, ...built("x") }), "conflict", { reason: "discarded" });
      assert.equal((await store.environments.ready({ ...again, ...built("y") })).hash, key.hash);
      assert.equal((await store.files.claim({ owner: "c", place: "b" })).files.length, 1);
    });

    alone(
      "a collector that waits in a place gets its file, and one that is named again is not handed out",
      async (opened) => {
        const { store, clock } = opened;
        const shared = await build(store, "shared");
        await build(store, "shared");
        await store.environments.delete({ environmentId: shared.id });
        const { id } = await build(store, "a", { place: "a" });
        const waiting = store.files.claim({ owner: "c", place: "a", waitMs: 600_000 });
        await store.environments.delete({ environmentId: id });
        clock.advance(fileGraceMs);
        assert.deepEqual(
          (await waiting).files.map((file) => file.id),
          [id],
        );
        assert.deepEqual((await store.files.claim({ owner: "c" })).files, []);
      },
    );

    alone("retention removes what was not used for long, with what was built", async ({ store, clock }) => {
      const [old, pinned] = [await build(store, "old"), await build(store, "pinned")];
      await store.environments.pin({ environmentId: pinned.id });
      clock.advance(defaultRetention.environmentsMs - dayMs);
      const young = await build(store, "young");
      clock.advance(dayMs);
      const { rows } = await store.maintenance.prune({ kinds: ["environments"] });
      assert.deepEqual(rows, { environments: 1 });
      const left = (await store.environments.list({ order: "asc" })).items.map(({ id }) => id);
      assert.deepEqual(left, [pinned.id, young.id]);
      assert.deepEqual(
        (await store.files.list()).items.map(({ uri }) => uri),
        [old.uri],
      );
    });

    test("what is to be evicted must be said", async ({ store }) => {
      const error = await fails(() => store.environments.evict({}), "invalid_input");
      assert.match(error.message, /at least one of maxBytes, unusedForMs and ageMs is required/);
    });
  });
}
