// Floods of messages on one port: other clients are served meanwhile, and a peer that sends nothing but garbage is cut off.
import assert from "node:assert/strict";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "node:test";
import { MessageChannel } from "node:worker_threads";
import { attachStore, newId, openStore, type StoreEvent } from "../../../src/index.ts";
import { operations } from "../../../src/operations/table.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { dropDatabase, newDatabase } from "../../support/postgres.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { until } from "./until.ts";

const folder = temporaryFolder();
const engines = {
  sqlite: async () => ({ url: `sqlite:${join(folder, `${newId()}.db`)}`, remove: async () => undefined }),
  postgres: async () => {
    const url = await newDatabase();
    return { url, remove: () => dropDatabase(url) };
  },
};

const call = ["runners.list", operations.runners.list.encode({ limit: 1 }), undefined];
const floods = {
  calls: (n: number): unknown => [n, false, call],
  // Each of them would be refused, but a call between them shows that the peer is no stranger.
  "refused messages": (n: number): unknown => (n % 50 === 49 ? floods.calls(n) : [n, "EVAL", call]),
};
const messages = 30_000;

for (const [engine, open] of Object.entries(engines))
  for (const [what, messageOf] of Object.entries(floods))
    test(`${engine}: while a port is flooded with ${what}, another client is served`, async (t) => {
      const { url, remove } = await open();
      const store = await openStore({ url, limits: { reapEveryMs: 0 } });
      t.after(async () => {
        await store.close();
        await remove();
      });
      const { runner } = await fixtures(store).runner();
      const victim = attachStore(store.connect());
      await victim.runners.heartbeat({ runnerId: runner.id });
      const { port1: flooding, port2: served } = new MessageChannel();
      let answers = 0;
      flooding.on("message", () => answers++);
      // All messages are there when the server begins to receive them.
      for (let n = 0; n < messages; n++) flooding.postMessage(messageOf(n));
      store.serve(served);
      let [beats, longestMs] = [0, 0];
      // Most messages are answered when they are received, because they are refused or too many.
      while (answers < messages / 2) {
        const startedMs = performance.now();
        await victim.runners.heartbeat({ runnerId: runner.id });
        longestMs = Math.max(longestMs, performance.now() - startedMs);
        beats++;
      }
      await until(async () => answers === messages);
      flooding.close();
      assert.ok(beats >= 5, `${beats} heartbeats, the longest took ${Math.round(longestMs)} ms`);
    });

for (const [engine, open] of Object.entries(engines))
  test(`${engine}: a peer that sends nothing but garbage is cut off, and nobody else`, async (t) => {
    const { url, remove } = await open();
    const events: StoreEvent[] = [];
    const store = await openStore({ url, onEvent: (event) => events.push(event) });
    t.after(async () => {
      await store.close();
      await remove();
    });
    const other = attachStore(store.connect());
    const port = store.connect();
    const closed = once(port, "close");
    const before = (await store.maintenance.stats()).serving.clients as number;
    for (let message = 0; message < 5_000; message++) port.postMessage({ garbage: message });
    await closed;
    await until(async () => events.some(({ type }) => type === "client_cut_off"));
    assert.deepEqual(
      events.filter(({ type }) => type === "client_cut_off"),
      [{ type: "client_cut_off", refused: 100 }],
    );
    await until(async () => (await store.maintenance.stats()).serving.clients === before - 1);
    assert.deepEqual((await other.runners.list()).items, []);
  });
