// Pruning by several servers of one database: one of them prunes by itself, and when it has gone another takes over.
import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { join } from "node:path";
import { it } from "node:test";
import type { OwnedStore, StoreEvent } from "../../../src/index.ts";
import { openStore } from "../../../src/index.ts";
import { fixtures, testClock } from "../../../src/testing/index.ts";
import { dropDatabase, newDatabase } from "../../support/postgres.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";

const dayMs = 86_400_000;

const engines: readonly { readonly name: string; open(): Promise<{ url: string; drop(): Promise<void> }> }[] = [
  {
    name: "sqlite",
    open: async () => ({ url: `sqlite:${join(temporaryFolder(), "store.db")}`, drop: async () => undefined }),
  },
  {
    name: "postgres",
    async open() {
      const url = await newDatabase();
      return { url, drop: () => dropDatabase(url) };
    },
  },
];

for (const { name, open } of engines)
  it(`${name}: one server prunes by itself, and another takes over when it has gone`, async (t) => {
    const { url, drop } = await open();
    t.after(drop);
    const clock = testClock();
    const stores: OwnedStore[] = [];
    t.after(() => Promise.all(stores.map((store) => store.close())));
    /** Starts a server whose clock is that of the test, and returns the events of its pruner. */
    const serve = async () => {
      const pruned = new EventEmitter();
      const onEvent = (event: StoreEvent) => void (event.type === "pruned" && pruned.emit("pruned", event.rows));
      const limits = { reapEveryMs: 0, pruneEveryMs: 10, pruneLeaseMs: 3_600_000, callMs: 120_000 };
      const store = await openStore({ url, clock, onEvent, limits });
      stores.push(store);
      return { store, pruned };
    };
    const endSession = async (store: OwnedStore) => {
      const { session } = await fixtures(store).session();
      await store.sessions.complete({ sessionId: session.id });
    };
    const first = await serve();
    await first.store.maintenance.setRetention({ sessionsMs: 600_000, changesMs: null });
    await endSession(first.store);
    const byFirst = once(first.pruned, "pruned");
    clock.advance(600_000);
    assert.deepEqual(await byFirst, [{ sessions: 1 }]);

    const second = await serve();
    // Both look all the time, and the lease is the first one's.
    const gone: string[] = [];
    for (const [who, { pruned }] of Object.entries({ first, second })) pruned.on("pruned", () => gone.push(who));
    for (let n = 1; n <= 3; n++) {
      await endSession(second.store);
      const again = once(first.pruned, "pruned");
      clock.advance(600_000);
      await again;
    }
    assert.deepEqual(gone, ["first", "first", "first"]);

    stores.splice(stores.indexOf(first.store), 1);
    await first.store.close();
    await endSession(second.store);
    const bySecond = once(second.pruned, "pruned");
    clock.advance(dayMs);
    assert.deepEqual(await bySecond, [{ sessions: 1 }]);
    const { retention } = await second.store.maintenance.stats();
    assert.deepEqual([retention.rows, retention.heldBy], [{ sessions: 5 }, []]);
    assert.ok(retention.prunedAt instanceof Date);
  });
