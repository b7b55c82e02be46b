// Calls that cannot be sent, are too many or too late, or are cancelled: each settles with a typed error.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { attachStore, type OwnedStore, openStore, StoreError } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { until } from "./until.ts";

const folder = temporaryFolder();
let store: OwnedStore;

before(async () => {
  store = await openStore({ url: `sqlite:${join(folder, "store.db")}` });
});
after(async () => {
  await store.close();
});

test("inputs that cannot be cloned are refused, and other calls of the same tick run", async () => {
  const { command, fence } = await fixtures(store).log();
  const detached = new Uint8Array(8);
  structuredClone(detached.buffer, { transfer: [detached.buffer] });
  const name = "x";
  const bad: unknown[] = [
    { name: () => name },
    { name: Symbol("x") },
    { name: {} },
    { name, settings: () => 1 },
    { name, settings: { deep: [Symbol("x")] } },
  ];
  const calls = [
    ...bad.map((input) => store.repositories.upsert(input as never)),
    store.logs.append({ commandId: command.id, fence, offset: 6, data: detached }),
    store.runners.list(),
  ];
  const outcomes = await Promise.allSettled(calls);
  assert.equal(outcomes.at(-1)?.status, "fulfilled");
  for (const outcome of outcomes.slice(0, -1)) {
    assert.ok(outcome.status === "rejected" && outcome.reason instanceof StoreError);
    assert.equal(outcome.reason.code, "invalid_input");
    assert.equal(outcome.reason.outcome, "not_run");
  }
});

test("an input that throws when it is read is invalid, and other calls of the same tick are not affected", async () => {
  const { command, fence } = await fixtures(store).log();
  const hostile = {
    get name(): string {
      throw new Error("thrown by the caller's getter");
    },
  };
  const calls = [
    store.repositories.upsert(hostile),
    // The byteLength of a typed array cannot be read through a proxy.
    store.logs.append({ commandId: command.id, fence, offset: 6, data: new Proxy(new Uint8Array(1), {}) }),
    store.atomically((tx) => tx.repositories.upsert(hostile)),
    store.repositories.upsert({ name: "proxied", settings: new Proxy({ plain: true }, {}) }),
  ];
  const outcomes = await Promise.allSettled(calls);
  for (const outcome of outcomes.slice(0, 3)) {
    assert.ok(outcome.status === "rejected" && outcome.reason instanceof StoreError);
    assert.deepEqual([outcome.reason.code, outcome.reason.outcome], ["invalid_input", "not_run"]);
  }
  assert.equal(outcomes[3]?.status, "fulfilled");
  assert.deepEqual((await store.repositories.find({ name: "proxied" }))?.settings, { plain: true });
});

test("only the bytes of a view are sent, not all of its buffer", async () => {
  const { command, fence } = await fixtures(store).log();
  const buffers = Array.from({ length: 10 }, () => new Uint8Array(64 * 1024 * 1024));
  const rssBefore = process.memoryUsage().rss;
  await Promise.all(
    buffers.map((buffer, index) =>
      store.logs.append({ commandId: command.id, fence, offset: 6 + index, data: buffer.subarray(0, 1) }),
    ),
  );
  assert.ok(process.memoryUsage().rss - rssBefore < 256e6, "10 appends of one byte each");
});

test("100 000 calls at once: memory stays bounded, the surplus is overloaded, the rest is answered, and the event loop turns", async () => {
  const ticks: number[] = [];
  const ticker = setInterval(() => ticks.push(performance.now()), 10);
  const rssBefore = process.memoryUsage().rss;
  const counts = { answered: 0, overloaded: 0 };
  const settle = (call: Promise<unknown>): Promise<void> =>
    call.then(
      () => void counts.answered++,
      (error: StoreError) => {
        assert.equal(error.code, "overloaded");
        assert.equal(error.outcome, "not_run");
        assert.ok(error.retryable && Number(error.details.retryAfterMs) > 0);
        counts.overloaded++;
      },
    );
  const calls: Promise<void>[] = [];
  for (let index = 0; index < 100_000; index++) calls.push(settle(store.runners.list({ limit: 1 })));
  await Promise.all(calls);
  clearInterval(ticker);
  assert.equal(counts.answered + counts.overloaded, 100_000);
  assert.ok(counts.answered >= 10_000, `${counts.answered} answered`);
  assert.ok(counts.overloaded > 0);
  assert.ok(process.memoryUsage().rss - rssBefore < 600e6);
  // The event loop of this thread turned while the database thread worked through its queue.
  assert.ok(ticks.length > 2);
  assert.deepEqual((await store.runners.list({ limit: 1 })).items.length, 1);
});

test("a signal aborts a call when it was aborted before the call, before it is sent, or while it waits", async () => {
  const { runner } = await fixtures(store).runner();
  const abortedSignal = AbortSignal.abort();
  await assert.rejects(store.runners.list({}, { signal: abortedSignal }), { code: "aborted", outcome: "not_run" });
  const before = new AbortController();
  const unsent = store.repositories.upsert({ name: "unsent" }, { signal: before.signal });
  before.abort();
  await assert.rejects(unsent, { code: "aborted", outcome: "not_run" });
  assert.equal(await store.repositories.find({ name: "unsent" }), undefined);
  const during = new AbortController();
  const parked = store.commands.claim({ runnerId: runner.id, waitMs: 600_000 }, { signal: during.signal });
  await until(async () => (await store.maintenance.stats()).serving.parked === 1);
  during.abort();
  await assert.rejects(parked, { code: "aborted", outcome: "not_run" });
  assert.equal((await store.maintenance.stats()).serving.parked, 0);
});

test("a call that waits fails with deadline_exceeded when its timeout is over", async () => {
  const { runner } = await fixtures(store).runner();
  await assert.rejects(store.commands.claim({ runnerId: runner.id, waitMs: 600_000 }, { timeoutMs: 5 }), {
    code: "deadline_exceeded",
    outcome: "not_run",
  });
});

test("the stack of an error names the caller", async () => {
  const nameOfCaller = async (): Promise<void> => {
    await store.commands.get({ commandId: "01890000-0000-7000-8000-000000000000" });
  };
  await assert.rejects(nameOfCaller(), (error: StoreError) => {
    assert.match(String(error.stack), /nameOfCaller/);
    assert.equal(error.operation, "commands.get");
    return true;
  });
});

test("close answers the calls that were made before it, refuses later ones, and can be called twice", async () => {
  const own = await openStore({ url: `sqlite:${join(folder, "closing.db")}` });
  const attached = attachStore(own.connect());
  await attached.runners.list();
  const { runner } = await fixtures(own).runner();
  const made = Array.from({ length: 50 }, (_, index) => own.repositories.upsert({ name: `made-${index}` }));
  const parked = own.commands.claim({ runnerId: runner.id, waitMs: 600_000 });
  const parkedSettled = assert.rejects(parked, { code: "closed", outcome: "not_run" });
  const closing = own.close();
  await assert.rejects(own.runners.list(), { code: "closed", outcome: "not_run" });
  assert.equal((await Promise.all(made)).length, 50);
  await parkedSettled;
  await closing;
  await own.close();
  await assert.rejects(attached.runners.list(), { code: "closed", outcome: "not_run" });
});
