// Threads and processes that die while they work: every call settles, and every acknowledged write is in the file.
import assert from "node:assert/strict";
import { readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createRunnerPool, openStore, StoreError } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { startThread } from "./databaseThread.ts";
import { killProcesses, terminateThreads } from "./deaths.ts";
import { until } from "./until.ts";

const commitSha = "a".repeat(40);

test("when the database thread dies, every pending call fails with closed: writes are unknown, reads have not run", async () => {
  const thread = await startThread(join(temporaryFolder(), "store.db"));
  const store = thread.connect();
  const { repository } = await fixtures(store).repository();
  const claimant = await store.runners.register({ name: "waits" });
  const { nextSeq } = await store.changes.since({ limit: 0 });
  const writes = Array.from({ length: 500 }, () => store.sessions.create({ repositoryId: repository.id, commitSha }));
  const reads = Array.from({ length: 50 }, () => store.repositories.get({ repositoryId: repository.id }));
  const parked = store.commands.claim({ runnerId: claimant.id, waitMs: 60_000 });
  const follower = store.changes.watch({ after: nextSeq, entity: "none" }).next();
  const settled = Promise.allSettled([...writes, ...reads, parked, follower]);
  // The calls have been sent, and some may have run.
  await new Promise((resolve) => setImmediate(resolve));
  await thread.worker.terminate();
  const outcomes = await settled;
  const failures = outcomes.flatMap((outcome, index) =>
    outcome.status === "rejected" ? [{ index, error: outcome.reason as StoreError }] : [],
  );
  assert.ok(failures.length > 0);
  for (const { index, error } of failures) {
    assert.ok(error instanceof StoreError);
    assert.equal(error.code, "closed");
    const isRead = (index >= writes.length && index < writes.length + reads.length) || index === outcomes.length - 1;
    assert.equal(error.outcome, isRead ? "not_run" : "unknown");
  }
  await assert.rejects(store.runners.list(), { code: "closed", outcome: "not_run" });
  await store.close();
});

test("a call that is made after the thread has died fails with closed", async () => {
  const thread = await startThread(join(temporaryFolder(), "store.db"));
  const store = thread.connect();
  const { repository } = await fixtures(store).repository();
  await thread.worker.terminate();
  await assert.rejects(
    store.sessions.create({ repositoryId: repository.id, commitSha }),
    (error: StoreError) => error.code === "closed",
  );
});

test("a database thread that is terminated 5 times while it writes has stored every acknowledged write", () =>
  terminateThreads(5));

test("a process that is killed 4 times while it writes has stored every acknowledged write", async () => {
  assert.ok((await killProcesses(4)) > 100);
});

/** Returns the files in a folder that this process has open, those without a name too. */
function openFilesIn(folder: string): string[] {
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`);
      return path.startsWith(folder) ? [path] : [];
    } catch {
      // The descriptor with which the folder was read.
      return [];
    }
  });
}

test("a database thread that dies when a backup has just begun leaves no file of it open", {
  skip: process.platform === "linux" ? false : "only Linux lists the open files of a process",
}, async () => {
  const folder = temporaryFolder();
  for (let death = 0; death < 5; death++) {
    const { worker, control } = await startThread(join(folder, "store.db"));
    const target = join(folder, `${death}.db.partial`);
    writeFileSync(target, "");
    void control.backUp(1, target);
    // Dies as soon as the file is open, before the thread knows its descriptor. The copy may be over before it is seen.
    const giveUpAt = performance.now() + 20;
    while (performance.now() < giveUpAt && !openFilesIn(folder).includes(target));
    await worker.terminate();
    for (const suffix of ["", "-journal"]) rmSync(`${target}${suffix}`, { force: true });
  }
  assert.deepEqual(openFilesIn(folder), []);
});

test("when a runner thread dies while a claim and an iteration wait, the mailbox drops its client and both calls", async () => {
  const store = await openStore({ url: `sqlite:${join(temporaryFolder(), "store.db")}` });
  const serving = async () => (await store.maintenance.stats()).serving;
  const clientsBefore = (await serving()).clients;
  const pool = createRunnerPool(store, { filename: new URL("./dyingRunner.ts", import.meta.url), threads: 1 });
  const runner = await store.runners.register({ name: "waits" });
  await assert.rejects(pool.run({ runnerId: runner.id }));
  // A new thread with a port of its own has replaced the dead one, so there is one more client than before, not two.
  assert.equal(await pool.run({}), 1);
  await until(async () => {
    const { clients, parked } = await serving();
    return clients === (clientsBefore ?? 0) + 1 && parked === 0;
  });
  await pool.close();
  await store.close();
});
