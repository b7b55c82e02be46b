// Consumers of the change feed that the store keeps the position of: one holder at a time, in order, at least once.
import assert from "node:assert/strict";
import { newId, type Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { endOfFeed, fails, parked, subject } from "../suite.ts";

/** Adds events with these topics for one consumer, which no other test reads. */
async function publish(store: Store, entityId: string, topics: readonly string[]): Promise<void> {
  for (const topic of topics) await store.changes.publish({ topic, entityId });
}

const topicsOf = ({ changes }: { readonly changes: readonly { readonly op: string }[] }) => changes.map(({ op }) => op);

/** Returns a name of a consumer, the filter of its events, and a function that asks for them without a wait. */
function consumerOf(store: Store) {
  const name = newId();
  const events = { consumer: name, entity: "event", entityId: name };
  const consume = (more: Partial<Parameters<Store["changes"]["consume"]>[0]> = {}) =>
    store.changes.consume({ ...events, waitMs: 0, ...more });
  const positionOf = async () => (await store.changes.consumers()).consumers.find((consumer) => consumer.name === name);
  return { name, events, consume, positionOf };
}

export function consumers(backend: TestedBackend): void {
  subject(backend, "consumers", ({ test, alone }) => {
    test("a consumer takes changes in order, and goes on behind those that it has acknowledged", async ({ store }) => {
      const { name, consume, positionOf } = consumerOf(store);
      assert.deepEqual(topicsOf(await consume()), []);
      await publish(store, name, ["a", "b", "c"]);
      const first = await consume({ limit: 2, owner: "worker 1" });
      assert.deepEqual(topicsOf(first), ["a", "b"]);
      assert.equal(first.nextSeq, first.changes[1]?.seq);
      assert.equal(first.fence, 1);
      assert.ok((first.expiresAt as Date) > (first.changes[0]?.at as Date));
      const before = await positionOf();
      assert.deepEqual([before?.owner, before?.fence, before?.leaseExpiresAt], ["worker 1", 1, first.expiresAt]);
      assert.ok((before?.seq as number) < (first.changes[0]?.seq as number));
      const second = await consume({ fence: first.fence, handled: first.nextSeq });
      assert.deepEqual([topicsOf(second), second.fence], [["c"], 1]);
      assert.equal((await positionOf())?.seq, first.nextSeq);
      const none = await consume({ fence: second.fence, handled: second.nextSeq });
      assert.deepEqual([none.changes, none.fence, none.expiresAt], [[], null, null]);
      const after = await positionOf();
      assert.deepEqual([after?.owner, after?.leaseExpiresAt], [null, null]);
      assert.ok((after?.seq as number) >= second.nextSeq);
      await publish(store, name, ["d"]);
      const third = await consume({ fence: none.fence, handled: none.nextSeq });
      assert.deepEqual([topicsOf(third), third.fence], [["d"], 2]);
    });

    test("while one holds a consumer, others get nothing", async ({ store }) => {
      const { name, consume, positionOf } = consumerOf(store);
      await consume();
      await publish(store, name, ["a"]);
      assert.deepEqual(topicsOf(await consume()), ["a"]);
      const { seq } = (await positionOf()) as { seq: number };
      assert.deepEqual(await consume(), { changes: [], nextSeq: seq, fence: null, expiresAt: null });
    });

    alone(
      "when a lease is over, its changes are taken again, and its holder cannot move on",
      async ({ store, clock }) => {
        const { name, consume, positionOf } = consumerOf(store);
        await consume();
        await publish(store, name, ["a", "b"]);
        const lost = await consume({ limit: 1, ttlMs: 5_000 });
        const ack = { consumer: name, seq: lost.nextSeq, fence: lost.fence as number };
        clock.advance(5_000);
        await fails(store.changes.checkpoint(ack), "lease_lost", { currentFence: 1 });
        await fails(consume({ fence: lost.fence, handled: lost.nextSeq }), "lease_lost", { currentFence: 1 });
        const seq = (await positionOf())?.seq;
        assert.ok((seq as number) < lost.nextSeq);
        const next = await consume();
        assert.deepEqual([topicsOf(next), next.fence], [["a", "b"], 2]);
        await fails(store.changes.checkpoint(ack), "lease_lost", { currentFence: 2 });
        await fails(consume({ fence: lost.fence, handled: lost.nextSeq }), "lease_lost", { currentFence: 2 });
        assert.equal((await positionOf())?.seq, seq);
        await store.changes.checkpoint({ consumer: name, seq: next.nextSeq, fence: 2 });
        assert.equal((await positionOf())?.seq, next.nextSeq);
      },
    );

    alone("a checkpoint under a lease renews it, never goes back, and can end it", async ({ store, clock }) => {
      const { name, consume, positionOf } = consumerOf(store);
      await consume();
      await publish(store, name, ["a", "b"]);
      const { nextSeq, fence } = await consume({ ttlMs: 5_000 });
      const ack = { consumer: name, fence: fence as number };
      clock.advance(4_000);
      await store.changes.checkpoint({ ...ack, seq: nextSeq - 1, ttlMs: 60_000 });
      clock.advance(4_000);
      await store.changes.checkpoint({ ...ack, seq: 0 });
      assert.equal((await positionOf())?.seq, nextSeq - 1);
      await store.changes.checkpoint({ ...ack, seq: nextSeq - 1, release: true });
      await store.changes.checkpoint({ ...ack, seq: nextSeq - 1, release: true });
      await fails(store.changes.checkpoint({ ...ack, seq: nextSeq, release: true }), "lease_lost");
      await fails(store.changes.checkpoint({ ...ack, seq: nextSeq - 1 }), "lease_lost", { currentFence: 1 });
      assert.deepEqual(topicsOf(await consume()), ["b"]);
    });

    test("a checkpoint without a fence is refused while somebody holds the consumer", async ({ store }) => {
      const { name, consume, positionOf } = consumerOf(store);
      await consume();
      await publish(store, name, ["a", "b"]);
      const { fence, nextSeq } = await consume();
      await fails(store.changes.checkpoint({ consumer: name, seq: nextSeq }), "conflict", { reason: "leased" });
      await store.changes.checkpoint({ consumer: name, seq: nextSeq, fence: fence as number, release: true });
      await store.changes.checkpoint({ consumer: name, seq: nextSeq - 2 });
      assert.equal((await positionOf())?.seq, nextSeq - 2);
      assert.deepEqual(topicsOf(await consume()), ["a", "b"]);
    });

    alone("moving a consumer whose lease has run out ends that lease", async ({ store, clock }) => {
      const { name, consume } = consumerOf(store);
      await consume();
      await publish(store, name, ["a", "b"]);
      const { fence, nextSeq } = await consume({ ttlMs: 1_000 });
      clock.advance(1_000);
      await store.changes.checkpoint({ consumer: name, seq: nextSeq - 1 });
      await fails(consume({ fence, handled: nextSeq }), "lease_lost");
      assert.deepEqual(topicsOf(await consume()), ["b"]);
    });

    test("forgetting a consumer fences its holder off", async ({ store }) => {
      const { name, consume } = consumerOf(store);
      await consume();
      await publish(store, name, ["a"]);
      const { fence, nextSeq } = await consume();
      await store.changes.forget({ consumer: name });
      const lost = { currentFence: null };
      await fails(consume({ fence, handled: nextSeq }), "lease_lost", lost);
      await fails(store.changes.checkpoint({ consumer: name, seq: 0, fence: fence as number }), "lease_lost", lost);
      assert.deepEqual((await consume()).changes, []);
    });

    test("consume waits for a change, and for another holder to let go", async ({ store }) => {
      const { name, consume } = consumerOf(store);
      const waiting = consume({ waitMs: 60_000 });
      await parked(store, 1);
      await publish(store, name, ["a"]);
      const held = await waiting;
      assert.deepEqual(topicsOf(held), ["a"]);
      const other = consume({ waitMs: 60_000 });
      await parked(store, 1);
      await publish(store, name, ["b"]);
      await store.changes.checkpoint({ consumer: name, seq: held.nextSeq, fence: held.fence as number, release: true });
      const taken = await other;
      assert.deepEqual([topicsOf(taken), taken.fence], [["b"], 2]);
      const third = consume({ waitMs: 60_000 });
      await parked(store, 1);
      // The acknowledgement of the last change lets go too, and its caller waits beside the other.
      const fourth = consume({ waitMs: 60_000, fence: taken.fence, handled: taken.nextSeq });
      await parked(store, 2);
      await publish(store, name, ["c"]);
      const [one] = await Promise.race([third.then((page) => [page, fourth]), fourth.then((page) => [page, third])]);
      assert.deepEqual(topicsOf(one as never), ["c"]);
      await store.changes.checkpoint({
        consumer: name,
        seq: (one as typeof held).nextSeq,
        fence: (one as typeof held).fence as number,
        release: true,
      });
      await publish(store, name, ["d"]);
      const pages = await Promise.all([third, fourth]);
      assert.deepEqual(pages.map((page) => topicsOf(page).join()).sort(), ["c", "d"]);
    });

    test("who acknowledges the last change lets those in who wait, and one without a fence acknowledges nothing", async ({
      store,
    }) => {
      const { name, consume } = consumerOf(store);
      await consume();
      await publish(store, name, ["a", "b"]);
      const held = await consume({ limit: 1 });
      const waiting = consume({ waitMs: 60_000 });
      await parked(store, 1);
      const last = await consume({ fence: held.fence, handled: held.nextSeq });
      assert.deepEqual(topicsOf(last), ["b"]);
      assert.equal((await consume({ fence: last.fence, handled: last.nextSeq })).fence, null);
      await publish(store, name, ["c"]);
      const taken = await waiting;
      assert.deepEqual(topicsOf(taken), ["c"]);
      const release = { consumer: name, seq: 0, fence: taken.fence as number, release: true };
      await store.changes.checkpoint(release);
      assert.deepEqual(topicsOf(await consume({ handled: taken.nextSeq })), ["c"]);
    });

    alone("consume takes a consumer over when the lease of its holder is over", async ({ store, clock }) => {
      const { name, consume } = consumerOf(store);
      await consume();
      await publish(store, name, ["a"]);
      await consume({ ttlMs: 5_000 });
      const waiting = consume({ waitMs: 3_600_000 });
      await parked(store, 1);
      clock.advance(5_000);
      const taken = await waiting;
      assert.deepEqual([topicsOf(taken), taken.fence], [["a"], 2]);
    });

    alone("a new consumer begins at the newest change, or at the oldest row", async ({ store }) => {
      await publish(store, "x", ["a", "b"]);
      const all = { waitMs: 0, entity: "event" };
      assert.deepEqual(topicsOf(await store.changes.consume({ ...all, consumer: "late" })), []);
      assert.deepEqual(topicsOf(await store.changes.consume({ ...all, consumer: "early", start: "oldest" })), [
        "a",
        "b",
      ]);
      await publish(store, "x", ["c"]);
      assert.deepEqual(topicsOf(await store.changes.consume({ ...all, consumer: "late", start: "oldest" })), ["c"]);
    });

    alone("what others change moves a waiting consumer on, and does not hold up pruning", async ({ store, clock }) => {
      const { name, consume, positionOf } = consumerOf(store);
      await consume();
      const { session } = await fixtures(store).session();
      const before = await positionOf();
      await consume();
      assert.equal((await positionOf())?.seq, before?.seq);
      clock.advance(60_000);
      await consume();
      const after = await positionOf();
      assert.equal(after?.seq, await endOfFeed(store));
      assert.equal(after?.version, 1);
      await store.sessions.cancel({ sessionId: session.id });
      await publish(store, name, ["a"]);
      assert.deepEqual(topicsOf(await consume()), ["a"]);
    });

    alone("a consumer that is behind what was pruned is told so, until somebody sets its position", async (opened) => {
      const { store, clock } = opened;
      await store.maintenance.setRetention({ changesMs: 1_000, changesHeldMs: 1_000 });
      await store.changes.consume({ consumer: "slow", waitMs: 0 });
      await publish(store, "x", ["a", "b"]);
      clock.advance(1_001);
      await store.maintenance.prune({ kinds: ["changes"] });
      await publish(store, "x", ["c"]);
      const slow = { consumer: "slow", entity: "event", waitMs: 0 };
      const { details } = await fails(store.changes.consume(slow), "feed_truncated");
      await store.changes.checkpoint({ consumer: "slow", seq: details.floor as number });
      assert.deepEqual(topicsOf(await store.changes.consume(slow)), ["c"]);
    });

    alone("a consumer holds pruning up at what it has not acknowledged", async ({ store, clock }) => {
      await store.maintenance.setRetention({ changesMs: 1_000 });
      await store.changes.consume({ consumer: "webhooks", entity: "event", waitMs: 0 });
      await publish(store, "x", ["a", "b"]);
      const { fence, nextSeq } = await store.changes.consume({ consumer: "webhooks", entity: "event", waitMs: 0 });
      clock.advance(1_001);
      const { heldBy } = await store.maintenance.prune({ kinds: ["changes"] });
      assert.deepEqual(heldBy, ["webhooks"]);
      const ack = { consumer: "webhooks", seq: nextSeq, fence: fence as number, release: true };
      await fails(store.changes.checkpoint({ ...ack, fence: 7 }), "lease_lost");
      await store.changes.checkpoint(ack);
      assert.deepEqual((await store.maintenance.prune({ kinds: ["changes"] })).heldBy, []);
    });

    test("changes.consume in one transaction with nothing else sees what its client has published before", async ({
      store,
    }) => {
      const { name, consume } = consumerOf(store);
      await consume();
      const [, page] = await Promise.all([store.changes.publish({ topic: "a", entityId: name }), consume()]);
      assert.deepEqual(topicsOf(page), ["a"]);
    });

    test("two callers who ask at the same time do not get the same changes", async (opened) => {
      const { store } = opened;
      const { name, consume, events } = consumerOf(store);
      const other = await opened.connect();
      await consume();
      await publish(store, name, ["a"]);
      const pages = await Promise.all([
        consume(),
        consume(),
        other.changes.consume({ ...events, waitMs: 0 }),
        other.changes.consume({ ...events, waitMs: 0 }),
      ]);
      assert.deepEqual(pages.map((page) => topicsOf(page).join()).sort(), ["", "", "", "a"]);
    });

    test("effects in the store happen once when they share the transaction of the acknowledgement", async ({
      store,
    }) => {
      const { name, consume } = consumerOf(store);
      await consume();
      await publish(store, name, ["a"]);
      const { fence, nextSeq } = await consume();
      const handle = () =>
        store.atomically((tx) => {
          tx.changes.publish({ topic: "handled", entityId: `${name} done` });
          tx.changes.checkpoint({ consumer: name, seq: nextSeq, fence: fence as number, release: true });
        });
      await handle();
      await store.changes.checkpoint({ consumer: name, seq: nextSeq - 1 });
      await fails(handle(), "lease_lost");
      const after = nextSeq - 1;
      const { changes } = await store.changes.since({ after, entity: "event", entityId: `${name} done` });
      assert.equal(changes.length, 1);
    });

    alone("a lease lives on when the clock jumps, and has what remained of it", async ({ store, clock }) => {
      const { name, consume } = consumerOf(store);
      await consume();
      await publish(store, name, ["a", "b", "c"]);
      const { fence, changes } = await consume({ ttlMs: 20_000 });
      const seqs = changes.map(({ seq }) => seq) as [number, number, number];
      const ack = { consumer: name, fence: fence as number, ttlMs: 20_000 };
      clock.jump(3_600_000);
      await store.changes.checkpoint({ ...ack, seq: seqs[0] });
      clock.jump(-7_200_000);
      assert.deepEqual((await consume()).changes, []);
      await store.changes.checkpoint({ ...ack, seq: seqs[1] });
      clock.advance(20_000);
      await fails(store.changes.checkpoint({ ...ack, seq: seqs[2] }), "lease_lost");
      assert.deepEqual(topicsOf(await consume()), ["c"]);
    });
  });
}
