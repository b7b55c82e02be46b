// The runner pool when tasks fail, are aborted, cannot be sent, or end their thread.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import {
  createRunnerPool,
  type OwnedStore,
  openStore,
  type RunnerPool,
  type RunnerPoolOptions,
  StoreError,
} from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import type { PoolTask } from "./poolRunner.ts";
import { until } from "./until.ts";

const folder = temporaryFolder();
let store: OwnedStore;
let pools: RunnerPool[] = [];

before(async () => {
  store = await openStore({ url: `sqlite:${join(folder, "store.db")}` });
});
afterEach(async () => {
  for (const pool of pools) await pool.close({ abort: true });
  pools = [];
});
after(async () => {
  await store.close();
});

function openPool(
  options: Partial<RunnerPoolOptions> = {},
): (task: PoolTask, signal?: AbortSignal) => Promise<unknown> {
  const pool = createRunnerPool(store, {
    filename: new URL("./poolRunner.ts", import.meta.url),
    threads: 1,
    ...options,
  });
  pools.push(pool);
  return (task, signal) => pool.run(task, signal === undefined ? {} : { signal });
}

/** Resolves when the task has counted to the target. */
async function counted(shared: SharedArrayBuffer, target: number): Promise<void> {
  const count = new Int32Array(shared);
  for (let seen = Atomics.load(count, 0); seen < target; seen = Atomics.load(count, 0))
    await Atomics.waitAsync(count, 0, seen).value;
}

const flag = (): SharedArrayBuffer => new SharedArrayBuffer(4);

test("a thread has the limits of its store, and refuses calls with overloaded before it sends too many", async () => {
  const own = await openStore({ url: `sqlite:${join(folder, "small.db")}`, limits: { queueCalls: 20 } });
  const pool = createRunnerPool(own, { filename: new URL("./poolRunner.ts", import.meta.url), threads: 1 });
  pools.push(pool);
  assert.deepEqual(await pool.run({ type: "burst", calls: 30 } satisfies PoolTask), { fulfilled: 20, overloaded: 10 });
  await pool.close();
  await own.close();
});

test("an idle thread receives the messages of its port", async () => {
  const run = openPool();
  const seen = flag();
  const { nextSeq } = await store.changes.since();
  await run({ type: "watch", seen });
  // No task runs any more.
  for (let index = 0; index < 3; index++) {
    await store.repositories.upsert({ name: `idle-${index}` });
    await counted(seen, nextSeq + index + 1);
  }
});

test("errors of a task keep their name, message and code, and errors of the store keep all their fields", async () => {
  const run = openPool();
  const path = join(folder, "missing");
  await assert.rejects(run({ type: "missing file", path }), { name: "Error", code: "ENOENT", message: /no such file/ });
  await assert.rejects(run({ type: "throw", what: "own error" }), {
    name: "RangeError",
    code: 17,
    message: "of the task",
  });
  await assert.rejects(run({ type: "throw", what: "text" }), { message: "just text" });
  await assert.rejects(run({ type: "throw", what: "nothing" }), { message: "undefined" });
  await assert.rejects(run({ type: "throw", what: "store error" }), (error: StoreError) => {
    assert.ok(error instanceof StoreError);
    assert.deepEqual(
      [error.code, error.outcome, error.retryable, error.details],
      ["lease_lost", "not_run", false, { currentFence: 7 }],
    );
    assert.match(String(error.stack), /poolRunner/);
    return true;
  });
  const error = await run({ type: "claim", runnerId: "01890000-0000-7000-8000-000000000000", begun: flag() }).then(
    () => assert.fail(),
    (reason: StoreError) => reason,
  );
  assert.deepEqual([error.code, error.operation, error.details.entity], ["not_found", "commands.claim", "runner"]);
});

test("a thread reaches only the operations of its pool", async () => {
  const run = openPool({ operations: ["repositories.*"] });
  assert.equal(typeof (await run({ type: "count" })), "number");
  await assert.rejects(run({ type: "forbidden" }), { code: "unknown_operation", outcome: "not_run" });
});

test("a pattern that matches no operation is refused when the pool is created", () => {
  assert.throws(
    () => createRunnerPool(store, { filename: new URL("./poolRunner.ts", import.meta.url), operations: ["nothing.*"] }),
    { code: "invalid_input" },
  );
});

test("a signal ends its task, but neither the thread nor other tasks", async () => {
  const run = openPool({ tasksPerThread: 3 });
  const thread = await run({ type: "thread" });
  const begun = flag();
  const [first, second] = [new AbortController(), new AbortController()];
  const tasks = [
    run({ type: "until aborted", begun }, first.signal),
    run({ type: "until aborted", begun }, second.signal),
  ];
  await counted(begun, 2);
  first.abort("the first only");
  assert.equal(await tasks[0], "the first only");
  assert.equal(await run({ type: "thread" }), thread);
  second.abort("now the second");
  assert.equal(await tasks[1], "now the second");
  assert.equal(await run({ type: "thread" }), thread);
});

test("a signal that is aborted before its task begins aborts the task when it begins", async () => {
  const run = openPool();
  const begun = flag();
  const [first, second] = [new AbortController(), new AbortController()];
  const running = run({ type: "until aborted", begun }, first.signal);
  const queued = run({ type: "until aborted" }, second.signal);
  await counted(begun, 1);
  second.abort("too early");
  first.abort("free the thread");
  assert.deepEqual(await Promise.all([running, queued]), ["free the thread", "too early"]);
  await assert.rejects(run({ type: "thread" }, AbortSignal.abort(new Error("aborted before"))), {
    message: "aborted before",
  });
});

test("a parked call that is passed the signal of its task is aborted with the task", async () => {
  const run = openPool();
  const { runner } = await fixtures(store).runner();
  const begun = flag();
  const aborter = new AbortController();
  const claim = run({ type: "claim", runnerId: runner.id, begun }, aborter.signal);
  await until(async () => (await store.maintenance.stats()).serving.parked === 1);
  aborter.abort();
  await assert.rejects(claim, { code: "aborted", outcome: "not_run" });
  assert.equal((await store.maintenance.stats()).serving.parked, 0);
});

test("a task or result that cannot be sent fails alone", async () => {
  const run = openPool();
  const thread = await run({ type: "thread" });
  const outcomes = await Promise.allSettled([
    run({ type: "echo", value: () => 1 }),
    run({ type: "echo", value: 1 }),
    run({ type: "result that cannot be sent" }),
    run({ type: "throw", what: "unsendable details" }),
    run({ type: "echo", value: 2 }),
  ]);
  assert.deepEqual(
    outcomes.map((outcome) => (outcome.status === "fulfilled" ? outcome.value : "failed")),
    ["failed", 1, "failed", "failed", 2],
  );
  assert.equal(await run({ type: "thread" }), thread);
});

for (const type of ["exit", "uncaught"] as const) {
  test(`a task that ends its thread (${type}) fails, and another thread replaces it and reaches the store`, async () => {
    const run = openPool();
    const thread = await run({ type: "thread" });
    await assert.rejects(run({ type }));
    assert.notEqual(await run({ type: "thread" }), thread);
    assert.equal(typeof (await run({ type: "count" })), "number");
  });
}

test("a module that is missing, or exports no function, fails each task", async () => {
  for (const [filename, message] of [
    [join(folder, "missing.mjs"), /missing\.mjs/],
    [new URL("./databaseThread.ts", import.meta.url), /no default export that is a function/],
  ] as const) {
    const run = openPool({ filename });
    for (let attempt = 0; attempt < 2; attempt++) await assert.rejects(run({ type: "thread" }), { message });
  }
});

test("close waits for running tasks and refuses new ones; with abort it aborts their signals", async () => {
  const pool = createRunnerPool(store, { filename: new URL("./poolRunner.ts", import.meta.url), threads: 1 });
  const slow = pool.run({ type: "count" });
  const closing = pool.close();
  await assert.rejects(pool.run({ type: "count" }), { code: "closed", outcome: "not_run" });
  assert.equal(typeof (await slow), "number");
  await closing;
  await pool.close();

  const aborting = createRunnerPool(store, { filename: new URL("./poolRunner.ts", import.meta.url), threads: 1 });
  const begun = flag();
  const running = aborting.run({ type: "until aborted", begun });
  const queued = aborting.run({ type: "until aborted" });
  await counted(begun, 1);
  await aborting.close({ abort: true });
  assert.match(String(await running), /closing/);
  assert.match(String(await queued), /closing/);
});
