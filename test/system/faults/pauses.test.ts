// A server that was stopped, killed or closed for longer than its leases: what its holders lost meanwhile is nothing.
import assert from "node:assert/strict";
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { openStore } from "../../../src/index.ts";
import { dropDatabase, newDatabase } from "../../support/postgres.ts";
import { stopWithoutLock } from "../../support/stoppedProcess.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";

const folder = temporaryFolder();
/** A pause of the test is long for them. */
const limits = { reapEveryMs: 50, clockJumpMs: 500, servedEveryMs: 100, clockGraceMs: 30_000 };
/** Longer than the lease of the process. */
const pauseMs = 1_500;

type Holder = ChildProcessByStdio<Writable, Readable, null>;

/** Starts a holder, which does not outlive the test. */
async function start(t: TestContext, url: string): Promise<{ holder: Holder; lines: AsyncIterator<string> }> {
  const file = fileURLToPath(new URL("pausedProcess.ts", import.meta.url));
  const holder = spawn(process.execPath, [file, url, JSON.stringify(limits)], { stdio: ["pipe", "pipe", "inherit"] });
  t.after(() => holder.kill("SIGKILL"));
  return { holder, lines: createInterface({ input: holder.stdout })[Symbol.asyncIterator]() };
}

/** Lets a stopped holder go on, checks that it still has its lease, and closes it. */
async function continueAndRenew(holder: Holder, lines: AsyncIterator<string>): Promise<void> {
  holder.kill("SIGCONT");
  holder.stdin.write("renew\n");
  assert.equal((await lines.next()).value, "renewed");
  const exited = once(holder, "exit");
  holder.stdin.write("close\n");
  await exited;
}

const places = {
  sqlite: async (name: string) => ({ url: `sqlite:${join(folder, `${name}.db`)}`, remove: async () => undefined }),
  postgres: async () => {
    const url = await newDatabase();
    return { url, remove: () => dropDatabase(url) };
  },
};

for (const [engine, place] of Object.entries(places)) {
  test(`${engine}: a server that was stopped for longer than a lease does not end it`, async (t) => {
    const { url, remove } = await place("stopped");
    const { holder, lines } = await start(t, url);
    await lines.next();
    holder.kill("SIGSTOP");
    await sleep(pauseMs);
    await continueAndRenew(holder, lines);
    await remove();
  });

  test(`${engine}: a server that is started again after a crash does not end the leases of that time`, async (t) => {
    const { url, remove } = await place("killed");
    const { holder, lines } = await start(t, url);
    const held = JSON.parse((await lines.next()).value);
    const exited = once(holder, "exit");
    holder.kill("SIGKILL");
    await exited;
    await sleep(pauseMs);
    const store = await openStore({ url, limits });
    assert.deepEqual((await store.maintenance.reap()).worktrees, []);
    await store.worktrees.renew(held);
    await store.close();
    await remove();
  });
}

test("a visitor beside a server that was stopped takes no lease from it", async (t) => {
  const { url } = await places.sqlite("visited");
  const { holder, lines } = await start(t, url);
  await lines.next();
  await stopWithoutLock(holder.pid as number, url.slice("sqlite:".length));
  await sleep(pauseMs);
  const visitor = await openStore({ url, role: "visitor", limits });
  await visitor.repositories.upsert({ name: "visited" });
  assert.deepEqual((await visitor.maintenance.reap()).worktrees, []);
  await visitor.close();
  await continueAndRenew(holder, lines);
});
