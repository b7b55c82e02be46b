// One client floods the store: another one is served, and the upkeep runs. A flood goes on until the test has seen that, so
// these tests cannot pass because the machine was quick enough.
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { attachStore, newId, type OwnedStore, openStore, type Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { dropDatabase, newDatabase } from "../../support/postgres.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";

const engines: readonly { readonly name: string; url(t: TestContext): Promise<string> }[] = [
  { name: "a SQLite file", url: async () => `sqlite:${join(temporaryFolder(), "store.db")}` },
  {
    name: "PostgreSQL",
    async url(t) {
      const url = await newDatabase();
      t.after(() => dropDatabase(url));
      return url;
    },
  },
];

/** Keeps a number of calls in flight. Returns a function that stops it, and fails if one of the calls has failed. */
function flood(inFlight: number, call: () => Promise<unknown>): () => Promise<void> {
  let stopped = false;
  const loop = async (): Promise<void> => {
    while (!stopped) await call();
  };
  const loops = Array.from({ length: inFlight }, loop);
  return async () => {
    stopped = true;
    await Promise.all(loops);
  };
}

/** Opens a store with one connection, so that all clients share one mailbox on both engines, and a second client. */
async function openWithClient(t: TestContext, url: string): Promise<[OwnedStore, Store]> {
  const store = await openStore({ url, limits: { connections: 1, callMs: 60_000 } });
  t.after(() => store.close());
  return [store, attachStore(store.connect())];
}

for (const { name, url } of engines) {
  test(`a client is served while another one floods ${name} with heartbeats of 100 commands each`, async (t) => {
    const [store, other] = await openWithClient(t, await url(t));
    const { runner } = await fixtures(store).runner();
    const { repository } = await fixtures(store).repository();
    const commands = Array.from({ length: 100 }, () => ({ id: newId(), fence: 1 }));
    const stop = flood(300, () => store.runners.heartbeat({ runnerId: runner.id, commands }));
    for (let n = 0; n < 20; n++) await other.repositories.get({ repositoryId: repository.id });
    await stop();
  });

  test(`a lease is reaped while a client creates sessions on ${name} without a pause`, async (t) => {
    const [store, other] = await openWithClient(t, await url(t));
    const { command } = await fixtures(store).command();
    const { runner } = await fixtures(store).runner();
    await store.commands.claim({ runnerId: runner.id, ttlMs: 1_000 });
    const { repository } = await fixtures(store).repository();
    const { commitSha } = fixtures(store);
    const stop = flood(2_000, () => store.sessions.create({ repositoryId: repository.id, commitSha }));
    while ((await other.commands.get({ commandId: command.id })).state === "running");
    await stop();
  });
}
