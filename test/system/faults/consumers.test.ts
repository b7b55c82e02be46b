// Consumers of the change feed that die: another one takes over within the lease, and nothing is left out.
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { createRunnerPool, openStore, type Store } from "../../../src/index.ts";
import { dropDatabase, newDatabase } from "../../support/postgres.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import type { Consuming } from "./consumingRunner.ts";
import { until } from "./until.ts";

async function publish({ changes }: Store, count: number): Promise<void> {
  for (let n = 0; n < count; n++) await changes.publish({ topic: "a", entityId: `${n}` });
}

/** Returns the numbers without those that come again. */
function once(seqs: readonly number[]): number[] {
  return [...new Set(seqs)];
}

test("postgres: two processes consume one name, and when one is killed the other takes over within the lease", async (t) => {
  const url = await newDatabase();
  const store = await openStore({ url });
  const children: ChildProcess[] = [];
  t.after(async () => {
    for (const child of children) child.kill("SIGKILL");
    await store.close();
    await dropDatabase(url);
  });
  await store.changes.consume({ consumer: "printer", entity: "event", waitMs: 0 });
  const printed: { readonly pid: number; readonly seq: number; readonly fence: number }[] = [];
  const start = async (): Promise<void> => {
    const file = fileURLToPath(new URL("consumingProcess.ts", import.meta.url));
    const child = spawn(process.execPath, [file, url], { stdio: ["ignore", "pipe", "inherit"] });
    children.push(child);
    const ready = Promise.withResolvers<void>();
    createInterface({ input: child.stdout }).on("line", (line) => {
      if (line === "ready") return ready.resolve();
      const [seq, fence] = line.split(" ").map(Number) as [number, number];
      printed.push({ pid: child.pid as number, seq, fence });
    });
    await ready.promise;
  };
  await start();
  await start();
  for (let round = 0; round < 3; round++) {
    const before = printed.length;
    await publish(store, 10);
    await until(() => printed.length > before);
    // The one that has just printed holds the consumer, or is about to acknowledge.
    const holder = children.find(({ pid }) => pid === printed.at(-1)?.pid) as ChildProcess;
    holder.kill("SIGKILL");
    // Its calls wait for ten minutes, so only the end of the lease lets the other one in.
    await until(() => once(printed.map(({ seq }) => seq)).length === 10 * (round + 1));
    await start();
  }
  const { changes } = await store.changes.since({ entity: "event" });
  const expected = changes.map(({ seq }) => seq);
  assert.equal(expected.length, 30);
  // Each holder, in the order of the fences, goes on where the one before it had acknowledged.
  const inOrder = printed.toSorted((one, other) => one.fence - other.fence || one.seq - other.seq);
  assert.deepEqual(once(inOrder.map(({ seq }) => seq)), expected);
  for (const [index, { fence, seq }] of inOrder.entries()) {
    const next = inOrder[index + 1];
    if (next === undefined || next.fence === fence) continue;
    // At most one page comes again.
    assert.ok(next.seq > seq - 3, `fence ${next.fence} begins at ${next.seq}, after ${seq}`);
  }
});

test("sqlite: two threads consume one name, and when one dies with a page the other gets that page", async (t) => {
  const store = await openStore({ url: `sqlite:${join(temporaryFolder(), "store.db")}` });
  await store.changes.consume({ consumer: "threads", entity: "event", waitMs: 0 });
  const filename = new URL("consumingRunner.ts", import.meta.url);
  const pools = [createRunnerPool(store, { filename, threads: 1 }), createRunnerPool(store, { filename, threads: 1 })];
  t.after(async () => {
    await Promise.all(pools.map((pool) => pool.close()));
    await store.close();
  });
  await publish(store, 20);
  const { changes, nextSeq } = await store.changes.since({ entity: "event" });
  const seen = new SharedArrayBuffer(4 * 1_000);
  const dying = pools[0]?.run({ dies: true, until: nextSeq, seen } satisfies Consuming).catch(() => undefined);
  await until(() => new Int32Array(seen)[0] !== 0);
  await pools[1]?.run({ dies: false, until: nextSeq, seen } satisfies Consuming);
  await dying;
  const [count = 0, ...numbers] = new Int32Array(seen);
  const seqs = numbers.slice(0, count);
  const expected = changes.map(({ seq }) => seq);
  assert.deepEqual(once(seqs), expected);
  assert.deepEqual(seqs, [...expected.slice(0, 3), ...expected]);
});
