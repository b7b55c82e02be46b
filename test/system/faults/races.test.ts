// A lease has one holder, even when many callers ask at once: threads of one process, and processes on one database.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { type Command, createRunnerPool, openStore } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { migratedDatabase } from "../../support/migrated.ts";
import { dropDatabase } from "../../support/postgres.ts";
import { assertSound, assertSoundAt } from "../../support/sound.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import type { ClaimTask } from "./claimingRunner.ts";
import type { Race, RaceResult } from "./reservingRunner.ts";

const worktreesMax = 2;
const rounds = 100;
/** Returns the rounds of one of some racers: together they run all of them. */
const shareOf = (racer: number, racers: number) => Math.ceil((rounds - racer) / racers);
/** A busy machine may hold a row for long. */
const limits = { lockMs: 60_000, callMs: 120_000 };

const processes = 3;

/** The databases that the race runs on. */
const places: readonly { readonly name: string; url(t: TestContext): Promise<string> }[] = [
  { name: "a SQLite file", url: async () => `sqlite:${join(temporaryFolder(), "store.db")}` },
  {
    name: "a PostgreSQL database",
    async url(t) {
      const url = await migratedDatabase();
      t.after(() => dropDatabase(url));
      return url;
    },
  },
];

/** Checks that the fences of each worktree are 1, 2, 3 and so on: each was granted exactly once. */
function assertFences(results: readonly RaceResult[]): void {
  const byWorktree = new Map<string, number[]>();
  for (const { grants } of results) {
    const last = new Map<string, number>();
    for (const { worktreeId, fence } of grants) {
      assert.ok(fence > (last.get(worktreeId) ?? 0), "the fences of one holder grow");
      last.set(worktreeId, fence);
      byWorktree.set(worktreeId, [...(byWorktree.get(worktreeId) ?? []), fence]);
    }
  }
  assert.ok(byWorktree.size <= worktreesMax);
  for (const fences of byWorktree.values()) {
    const sorted = fences.toSorted((left, right) => left - right);
    assert.deepEqual(
      sorted,
      sorted.map((_, index) => index + 1),
    );
  }
}

for (const { name, url } of places) {
  test(`4 runner threads, 2 worktrees, 100 rounds on ${name}: no worktree has two holders, fences only grow`, async (t) => {
    const store = await openStore({ url: await url(t), limits });
    t.after(() => store.close());
    const { repository } = await fixtures(store).repository({ maxWorktrees: worktreesMax });
    const threads = 4;
    const pool = createRunnerPool(store, {
      filename: new URL("./reservingRunner.ts", import.meta.url),
      threads,
      operations: ["worktrees.*"],
    });
    t.after(() => pool.close());
    const witness = new SharedArrayBuffer(4 * 65_521);
    const results = await Promise.all(
      Array.from({ length: threads }, (_, index) => {
        const race: Race = {
          repositoryId: repository.id,
          owner: `runner-${index}`,
          rounds: shareOf(index, threads),
          witness,
          number: index + 1,
        };
        return pool.run<RaceResult>(race);
      }),
    );
    assert.equal(
      results.reduce((sum, { collisions }) => sum + collisions, 0),
      0,
    );
    assert.equal(results.flatMap(({ grants }) => grants).length, rounds);
    assertFences(results);
    const { items } = await store.worktrees.list({ repositoryId: repository.id });
    assert.ok(items.length <= worktreesMax);
    assert.ok(items.every(({ state }) => state === "idle" || state === "dirty"));
    await pool.close();
    await assertSound(store);
    await store.close();
  });

  test(`${processes} processes, 2 worktrees, 100 rounds on ${name}: no worktree has two holders, fences only grow`, async (t) => {
    const shared = await url(t);
    const store = await openStore({ url: shared });
    const { repository } = await fixtures(store).repository({ maxWorktrees: worktreesMax });
    await store.close();
    const witness = temporaryFolder();
    const script = fileURLToPath(new URL("./racingProcess.ts", import.meta.url));
    const racing = Array.from({ length: processes }, (_, index) =>
      promisify(execFile)(
        process.execPath,
        [script, shared, repository.id, witness, `process-${index}`, String(shareOf(index, processes))],
        { timeout: 300_000 },
      ),
    );
    const results = (await Promise.all(racing)).map(({ stdout }) => JSON.parse(stdout) as RaceResult);
    assert.equal(
      results.reduce((sum, { collisions }) => sum + collisions, 0),
      0,
    );
    assert.equal(results.flatMap(({ grants }) => grants).length, rounds);
    assertFences(results);
    await assertSoundAt(shared);
  });

  test(`4 runner threads claim and enqueue on ${name}: each command runs once, sequence numbers have no gaps or duplicates`, async (t) => {
    const store = await openStore({ url: await url(t), limits });
    t.after(() => store.close());
    const f = fixtures(store);
    const threads = 4;
    const perThread = 40;
    const { session } = await f.session({ maxParallel: threads });
    const pool = createRunnerPool(store, { filename: new URL("./claimingRunner.ts", import.meta.url), threads });
    t.after(() => pool.close());
    const enqueuing = new SharedArrayBuffer(4);
    new Int32Array(enqueuing)[0] = threads;
    const task = (index: number): ClaimTask => ({
      sessionId: session.id,
      name: `runner-${index}`,
      enqueues: perThread,
      enqueuing,
    });
    const ran = await Promise.all(Array.from({ length: threads }, (_, index) => pool.run<string[]>(task(index))));
    const commands: Command[] = [];
    for await (const row of store.commands.all({ sessionId: session.id, limit: 500 })) commands.push(row);
    assert.deepEqual(
      commands.map(({ sequence }) => sequence),
      Array.from({ length: threads * perThread }, (_, index) => index + 1),
    );
    assert.deepEqual(ran.flat().toSorted(), commands.map(({ id }) => id).toSorted());
    assert.ok(commands.every(({ state, attempt, fence }) => state === "succeeded" && attempt === 1 && fence === 1));
    const ended = await store.sessions.get({ sessionId: session.id });
    assert.deepEqual([ended.queuedCommands, ended.activeCommands, ended.failedCommands], [0, 0, 0]);
    await pool.close();
    await assertSound(store);
    await store.close();
  });
}
