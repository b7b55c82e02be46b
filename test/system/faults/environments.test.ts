// An environment is built once, by threads of one process and by processes on one database, and a builder that dies is
// followed by one that waits.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { newId, type OwnedStore, openStore } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { migratedDatabase } from "../../support/migrated.ts";
import { dropDatabase } from "../../support/postgres.ts";
import { assertSound } from "../../support/sound.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import type { Building } from "./builder.ts";

/** A builder that runs, whatever it runs in. */
interface Builder {
  /** Returns the next line that it says. */
  next(): Promise<string>;
  go(): void;
  kill(): Promise<unknown>;
  readonly ended: Promise<unknown>;
}

function startProcess(url: string, building: Building): Builder {
  const script = fileURLToPath(new URL("./buildingProcess.ts", import.meta.url));
  const child = spawn(process.execPath, [script, url, JSON.stringify(building)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ended = once(child, "close");
  return {
    next: async () => String((await lines.next()).value),
    go: () => void child.stdin.write("go\n"),
    kill() {
      child.kill("SIGKILL");
      return ended;
    },
    ended,
  };
}

function startThread(store: OwnedStore, building: Building): Builder {
  const port = store.connect();
  const worker = new Worker(new URL("./buildingThread.ts", import.meta.url), {
    workerData: { port, building },
    transferList: [port],
  });
  const lines: string[] = [];
  worker.on("message", (line: string) => lines.push(line));
  return {
    async next() {
      while (lines.length === 0) await once(worker, "message");
      return lines.shift() as string;
    },
    go: () => worker.postMessage("go"),
    kill: () => worker.terminate(),
    ended: once(worker, "exit"),
  };
}

const ways = [
  {
    name: "two threads on a SQLite file",
    url: async () => `sqlite:${join(temporaryFolder(), "store.db")}`,
    start: (store: OwnedStore, _url: string, building: Building) => startThread(store, building),
  },
  {
    name: "two processes on a SQLite file",
    url: async () => `sqlite:${join(temporaryFolder(), "store.db")}`,
    start: (_store: OwnedStore, url: string, building: Building) => startProcess(url, building),
  },
  {
    name: "two processes on a PostgreSQL database",
    async url(t: TestContext) {
      const url = await migratedDatabase();
      t.after(() => dropDatabase(url));
      return url;
    },
    start: (_store: OwnedStore, url: string, building: Building) => startProcess(url, building),
  },
];

for (const { name, url, start } of ways) {
  /** Opens a store, and returns a function that starts a builder of one environment. */
  const prepare = async (t: TestContext) => {
    const at = await url(t);
    // Nothing but the end of the lease wakes a call that waits for a builder that was killed.
    const store = await openStore({ url: at, limits: { reapEveryMs: 0, rewakeMs: 600_000 } });
    t.after(() => store.close());
    const { repository } = await fixtures(store).repository();
    const folder = temporaryFolder();
    const shared = { repositoryId: repository.id, hash: newId(), folder };
    const startBuilder = (owner: string, ttlMs: number) => start(store, at, { ...shared, owner, ttlMs });
    return { store, folder, startBuilder };
  };

  test(`${name}: one builds the environment, and the other one waits and gets it`, async (t) => {
    const { store, folder, startBuilder } = await prepare(t);
    const builders = ["one", "two"].map((owner) => startBuilder(owner, 600_000));
    const said = builders.map(async (builder) => ({ builder, line: await builder.next() }));
    const { builder, line } = await Promise.race(said);
    assert.equal(line, "building 1");
    assert.equal(readdirSync(folder).length, 1);
    builder.go();
    assert.equal(await builder.next(), "built");
    const lines = (await Promise.all(said)).map((one) => one.line);
    await Promise.all(builders.map(({ ended }) => ended));
    const [environment, ...others] = (await store.environments.list()).items;
    assert.deepEqual(lines.toSorted(), ["building 1", `ready ${environment?.uri}`]);
    assert.deepEqual([environment?.state, environment?.fence, environment?.useCount, others], ["ready", 1, 2, []]);
    await assertSound(store);
  });

  test(`${name}: when the builder is killed, the other one builds the environment`, async (t) => {
    const { store, folder, startBuilder } = await prepare(t);
    // Long enough for the other one to start, and to wait for the end of this lease.
    const killed = startBuilder("one", 8_000);
    assert.equal(await killed.next(), "building 1");
    const other = startBuilder("two", 600_000);
    await killed.kill();
    assert.equal(await other.next(), "building 2");
    assert.equal(readdirSync(folder).length, 2);
    other.go();
    assert.equal(await other.next(), "built");
    await other.ended;
    const [environment] = (await store.environments.list()).items;
    assert.deepEqual([environment?.state, environment?.fence, environment?.leaseOwner], ["ready", 2, null]);
    await assertSound(store);
  });
}
