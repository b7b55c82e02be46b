// Rules of places: a worktree is granted, counted and evicted in its place alone.
import assert from "node:assert/strict";
import { newId, type Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { endOfFeed, fails, parked, subject } from "../suite.ts";

export function places(backend: TestedBackend): void {
  subject(backend, "places", ({ test, alone }) => {
    /** Creates a repository with one worktree at most, and two runners in two places. */
    const setUp = async (store: Store, input: Parameters<ReturnType<typeof fixtures>["repository"]>[0] = {}) => {
      const { repository } = await fixtures(store).repository({ maxWorktrees: 1, ...input });
      const { runner: here } = await fixtures(store).runner({ host: `here-${newId()}` });
      const { runner: there } = await fixtures(store).runner({ host: `there-${newId()}` });
      return { repositoryId: repository.id, here, there };
    };
    /** Leaves a free worktree in the place of a runner. */
    const free = async (store: Store, repositoryId: string, runnerId: string) =>
      (await fixtures(store).worktree({ repositoryId, runnerId })).worktree;

    test("a runner has the place that it names, or that of its host; the host of every machine is none", async ({
      store,
    }) => {
      const placeOf = async (input: object) => (await fixtures(store).runner(input)).runner.place;
      assert.equal(await placeOf({ host: "build-7" }), "build-7");
      assert.equal(await placeOf({ host: "build-7", place: "shared" }), "shared");
      assert.equal(await placeOf({ host: "build-7", place: "" }), "");
      assert.equal(await placeOf({}), "");
      assert.equal(await placeOf({ host: `a\n${"b".repeat(250)}` }), `a${"b".repeat(199)}`);
      await fails(placeOf({ place: "a".repeat(201) }), "invalid_input");
      await fails(placeOf({ place: "a\nb" }), "invalid_input");
      const { runner } = await fixtures(store).runner({ host: "build-7", pid: 1 });
      const { name, bootId, host, pid } = runner;
      const moved = await store.runners.register({ name, bootId, host, pid, place: "other" });
      assert.deepEqual([moved.id, moved.place, moved.version], [runner.id, "other", 2]);
    });

    test("a worktree is granted in its place alone, and every place has maxWorktrees", async ({ store }) => {
      const { repositoryId, here, there } = await setUp(store);
      const first = await free(store, repositoryId, here.id);
      assert.equal(first.place, here.host);
      const other = await store.worktrees.reserve({ repositoryId, runnerId: there.id });
      assert.deepEqual([other.match, other.worktree.place], ["created", there.host]);
      const again = await store.worktrees.reserve({ repositoryId, runnerId: here.id });
      assert.deepEqual([again.worktree.id, again.match], [first.id, "least_recently_used"]);
      await fails(store.worktrees.reserve({ repositoryId, runnerId: here.id }), "capacity_exhausted", {
        inUse: 1,
        quarantined: 0,
        maxWorktrees: 1,
        place: here.host,
      });
      // The place of a call goes before that of its runner; an owner has the one without a name.
      const named = await store.worktrees.reserve({ repositoryId, runnerId: here.id, place: "third" });
      const owned = await store.worktrees.reserve({ repositoryId, owner: "o" });
      assert.deepEqual([named.worktree.place, owned.worktree.place], ["third", ""]);
      assert.equal((await store.repositories.get({ repositoryId })).worktreeCount, 4);
      await store.worktrees.release({ worktreeId: named.worktree.id, fence: named.fence, to: "clean" });
      assert.equal((await store.repositories.get({ repositoryId })).worktreeCount, 3);
      await store.worktrees.reserve({ repositoryId, owner: "o", place: "third" });
    });

    test("a better match in another place is no match", async ({ store }) => {
      const { repositoryId, here, there } = await setUp(store);
      const commitSha = "c".repeat(40);
      await fixtures(store).worktree({ repositoryId, runnerId: here.id, commitSha, environmentHash: "e" });
      const got = await store.worktrees.reserve({ repositoryId, runnerId: there.id, commitSha, environmentHash: "e" });
      assert.deepEqual([got.match, got.needsSync, got.needsEnvironment], ["created", true, true]);
    });

    alone(
      "an expired lease is ended for a call of its own place",
      async ({ store, clock }) => {
        const { repositoryId, here, there } = await setUp(store);
        const { worktrees } = store;
        const theirs = await fixtures(store).lease({ repositoryId, runnerId: there.id, ttlMs: 10_000 });
        const mine = await fixtures(store).lease({ repositoryId, runnerId: here.id, ttlMs: 20_000 });
        clock.advance(30_000);
        const got = await worktrees.reserve({ repositoryId, runnerId: here.id });
        assert.equal(got.worktree.id, mine.worktree.id);
        assert.equal((await worktrees.get({ worktreeId: theirs.worktree.id })).state, "leased");
      },
      { limits: { reapEveryMs: 0 } },
    );

    test("a quarantined worktree counts in its place alone", async ({ store }) => {
      const { repositoryId, here, there } = await setUp(store);
      const { worktree, fence } = await fixtures(store).lease({ repositoryId, runnerId: here.id });
      await store.worktrees.quarantine({ worktreeId: worktree.id, fence });
      const error = await fails(
        store.worktrees.reserve({ repositoryId, runnerId: here.id, waitMs: 0 }),
        "capacity_exhausted",
        { quarantined: 1, inUse: 0 },
      );
      assert.equal(error.retryable, false);
      assert.equal((await store.worktrees.reserve({ repositoryId, runnerId: there.id })).match, "created");
      const busy = await fails(store.worktrees.reserve({ repositoryId, runnerId: there.id }), "capacity_exhausted", {
        quarantined: 0,
        inUse: 1,
      });
      assert.equal(busy.retryable, true);
    });

    test("a path is unique within a place", async ({ store }) => {
      const { repositoryId } = await setUp(store, { maxWorktrees: 2 });
      const path = `/srv/places/${newId()}`;
      const one = await store.worktrees.register({ repositoryId, path, place: "one" });
      const two = await store.worktrees.register({ repositoryId, path, place: "two" });
      const none = await store.worktrees.register({ repositoryId, path });
      assert.deepEqual([one.place, two.place, none.place], ["one", "two", ""]);
      assert.equal(new Set([one.id, two.id, none.id]).size, 3);
      assert.deepEqual(await store.worktrees.register({ repositoryId, path, place: "one" }), one);
      const { repository } = await fixtures(store).repository();
      const taken = { reason: "path", worktreeId: one.id };
      await fails(store.worktrees.register({ repositoryId: repository.id, path, place: "one" }), "conflict", taken);
      const reserve = { repositoryId: repository.id, owner: "o", path };
      await fails(store.worktrees.reserve({ ...reserve, place: "one" }), "conflict", taken);
      assert.equal((await store.worktrees.reserve({ ...reserve, place: "three" })).worktree.path, path);
      await store.worktrees.register({ repositoryId, path: `${path}/2`, place: "one" });
      await fails(store.worktrees.register({ repositoryId, path: `${path}/3`, place: "one" }), "capacity_exhausted", {
        place: "one",
      });
    });

    test("a session gets a worktree of the place for which it is created", async ({ store }) => {
      const { repositoryId, here, there } = await setUp(store);
      await free(store, repositoryId, here.id);
      const { lease } = await fixtures(store).session({ repositoryId, reserve: { runnerId: there.id } });
      assert.deepEqual([lease?.match, lease?.worktree.place], ["created", there.host]);
      const named = await fixtures(store).session({ repositoryId, reserve: { owner: "o", place: here.host } });
      assert.deepEqual([named.lease?.match, named.lease?.worktree.place], ["commit", here.host]);
      await fails(fixtures(store).session({ repositoryId, reserve: { runnerId: there.id } }), "capacity_exhausted", {
        place: there.host,
      });
    });

    test("a runner that registers again in another place gets a worktree there, also in a call that waits", async ({
      store,
    }) => {
      const { repository } = await fixtures(store).repository({ maxWorktrees: 1 });
      const bootId = newId();
      const { runner } = await fixtures(store).runner({ bootId, place: "here" });
      const reserved = { repositoryId: repository.id, runnerId: runner.id };
      await store.worktrees.reserve(reserved);
      const waiting = store.worktrees.reserve({ ...reserved, waitMs: 3_600_000 });
      await fails(store.worktrees.reserve(reserved), "capacity_exhausted", { place: "here" });
      await fixtures(store).runner({ bootId, place: "there" });
      assert.equal((await waiting).worktree.place, "there");
    });

    test("evict and evictUnused take worktrees of the caller's place alone", async ({ store }) => {
      const { repositoryId, here, there } = await setUp(store);
      const kept = await free(store, repositoryId, here.id);
      const { worktrees } = store;
      assert.equal(await worktrees.evict({ repositoryId, runnerId: there.id }), undefined);
      assert.equal(await worktrees.evict({ repositoryId, owner: "o" }), undefined);
      assert.deepEqual(await worktrees.evictUnused({ repositoryId, runnerId: there.id }), []);
      assert.deepEqual(await worktrees.evictUnused({ repositoryId, owner: "o" }), []);
      const elsewhere = { reason: "place", place: here.host };
      const named = { repositoryId, worktreeId: kept.id };
      await fails(worktrees.evict({ ...named, runnerId: there.id }), "conflict", elsewhere);
      await fails(worktrees.evict({ ...named, owner: "o", place: "" }), "conflict", elsewhere);
      assert.deepEqual(await worktrees.get({ worktreeId: kept.id }), kept);
      const evicting = await worktrees.evict({ repositoryId, owner: "o", place: here.host });
      assert.deepEqual([evicting?.id, evicting?.state], [kept.id, "evicting"]);
      await worktrees.completeEvict({ worktreeId: kept.id, fence: evicting?.fence as number });
      const next = await free(store, repositoryId, here.id);
      assert.deepEqual(
        (await worktrees.evictUnused({ repositoryId, runnerId: here.id })).map(({ id }) => id),
        [next.id],
      );
      // A person who names a worktree means it wherever it is.
      const last = await free(store, repositoryId, there.id);
      assert.equal((await worktrees.evict({ repositoryId, worktreeId: last.id, owner: "o" }))?.state, "evicting");
    });

    test("list shows all places unless it is asked for one", async ({ store }) => {
      const { repositoryId, here, there } = await setUp(store);
      const one = await free(store, repositoryId, here.id);
      const two = await free(store, repositoryId, there.id);
      const idsOf = async (filter: object) =>
        (await store.worktrees.list({ repositoryId, ...filter })).items.map(({ id }) => id);
      assert.deepEqual(await idsOf({}), [one.id, two.id]);
      assert.deepEqual(await idsOf({ place: here.host }), [one.id]);
      assert.deepEqual(await idsOf({ place: there.host, state: ["idle", "leased"] }), [two.id]);
      assert.deepEqual(await idsOf({ place: "" }), []);
      const { items } = await store.worktrees.list({ place: there.host });
      assert.deepEqual(items, [two]);
    });

    test("adopt moves a worktree and its count to another place, also one that is leased", async ({ store }) => {
      const { repositoryId, here, there } = await setUp(store);
      const { worktrees } = store;
      const { worktree: found, fence } = await fixtures(store).lease({ repositoryId, owner: "o" });
      const after = await endOfFeed(store);
      const moved = await worktrees.adopt({ worktreeId: found.id, place: here.host });
      const { changes } = await store.changes.since({ after, entity: "worktree" });
      assert.deepEqual(
        changes.filter(({ entityId }) => entityId === found.id).map(({ op, detail }) => [op, detail]),
        [["adopt", { state: "leased", changed: { place: { from: "", to: here.host } } }]],
      );
      assert.deepEqual(
        [moved.place, moved.state, moved.fence, moved.version],
        [here.host, "leased", fence, found.version + 1],
      );
      assert.deepEqual(await worktrees.adopt({ worktreeId: found.id, place: here.host }), moved);
      assert.equal((await store.repositories.get({ repositoryId })).worktreeCount, 1);
      // Its former place has room, and the new one has none.
      const { worktree: other } = await worktrees.reserve({ repositoryId, owner: "o" });
      await fails(worktrees.reserve({ repositoryId, runnerId: here.id }), "capacity_exhausted");
      await worktrees.release({ worktreeId: found.id, fence, to: "clean" });
      assert.equal((await worktrees.reserve({ repositoryId, runnerId: here.id })).worktree.id, found.id);
      await fails(worktrees.adopt({ worktreeId: other.id, place: here.host }), "capacity_exhausted", {
        place: here.host,
      });
      const twin = await worktrees.register({ repositoryId, path: found.path, place: there.host });
      await fails(worktrees.adopt({ worktreeId: found.id, place: there.host }), "conflict", {
        reason: "path",
        worktreeId: twin.id,
      });
      const evicting = await worktrees.evict({ repositoryId, worktreeId: twin.id, owner: "o" });
      await worktrees.completeEvict({ worktreeId: twin.id, fence: evicting?.fence as number });
      await fails(worktrees.adopt({ worktreeId: twin.id, place: "" }), "invalid_transition", { state: "removed" });
    });

    alone("a waiting call is woken by its own place, and by a worktree that comes there", async ({ store }) => {
      const { repositoryId, here, there } = await setUp(store);
      const { worktree: mine, fence } = await fixtures(store).lease({ repositoryId, runnerId: here.id });
      const theirs = await fixtures(store).lease({ repositoryId, runnerId: there.id });
      const waits = store.worktrees.reserve({ repositoryId, runnerId: here.id, waitMs: 60_000 });
      await parked(store, 1);
      const { fence: theirFence, worktree } = theirs;
      await store.worktrees.release({ worktreeId: worktree.id, fence: theirFence, to: "clean" });
      await parked(store, 1);
      await store.worktrees.release({ worktreeId: mine.id, fence, to: "clean" });
      assert.equal((await waits).worktree.id, mine.id);
      // Adopting the worktree that fills a place makes room there.
      const more = store.worktrees.reserve({ repositoryId, runnerId: here.id, waitMs: 60_000 });
      await parked(store, 1);
      await store.worktrees.adopt({ worktreeId: mine.id, place: "elsewhere" });
      assert.equal((await more).match, "created");
    });
  });
}
