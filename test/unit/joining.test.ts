// Joining: a client sends appends of one tick as one call when they continue each other.
import assert from "node:assert/strict";
import { it, type TestContext } from "node:test";
import { newId } from "../../src/index.ts";
import { fixtures, openTestStore } from "../../src/testing/index.ts";

async function openLog(t: TestContext) {
  const store = await openTestStore();
  t.after(() => store.close());
  const { claim } = await fixtures(store).claim();
  const log = { commandId: claim.command.id, fence: claim.fence };
  const append = (offset: number, size: number, overrides: { fence?: number; stream?: "stderr" } = {}, options = {}) =>
    store.logs.append({ ...log, ...overrides, offset, data: new Uint8Array(size).fill(offset) }, options);
  const chunks = async () => (await store.logs.read({ commandId: log.commandId, maxBytes: 1_048_576 })).chunks;
  const sizes = async () => (await chunks()).map(({ data }) => data.byteLength);
  const callsServed = async () => (await store.maintenance.stats()).serving.calls as number;
  return { store, log, append, chunks, sizes, callsServed };
}

it("sends appends that continue each other as one call, and answers each with the end of the chunk", async (t) => {
  const { append, chunks, callsServed } = await openLog(t);
  const before = await callsServed();
  const answers = await Promise.all([append(0, 3), append(3, 1), append(4, 6)]);
  assert.equal((await callsServed()) - before, 2, "one call for the appends, and one for the statistics");
  assert.deepEqual(
    answers,
    [10, 10, 10].map((ackOffset) => ({ ackOffset, truncated: false })),
  );
  assert.deepEqual(
    (await chunks()).map(({ offset, data }) => [offset, [...data]]),
    [[0, [0, 0, 0, 3, 4, 4, 4, 4, 4, 4]]],
  );
});

it("fails each append with the failure of the joined call", async (t) => {
  const { log, append, sizes } = await openLog(t);
  const calls = [
    append(0, 1, { fence: log.fence + 1 }),
    append(1, 1, { fence: log.fence + 1 }),
    append(0, 2),
    append(2, 2),
  ];
  const lost = ["lease_lost", { currentFence: log.fence, state: "running" }];
  assert.deepEqual(
    (await Promise.allSettled(calls)).map((result) =>
      result.status === "fulfilled" ? result.value.ackOffset : [result.reason.code, result.reason.details],
    ),
    [lost, lost, 4, 4],
  );
  assert.deepEqual(await sizes(), [4]);
});

it("joins at most 65 536 bytes", async (t) => {
  const { append, sizes } = await openLog(t);
  const size = 20_000;
  const answers = await Promise.all(Array.from({ length: 7 }, (_, index) => append(index * size, size)));
  assert.deepEqual(
    answers.map(({ ackOffset }) => ackOffset / size),
    [3, 3, 3, 6, 6, 6, 7],
  );
  assert.deepEqual(await sizes(), [60_000, 60_000, 20_000]);
});

it("does not join appends of different streams, logs, fences or callers, nor across a gap or another call", async (t) => {
  const { store, log, append, sizes } = await openLog(t);
  const other = await fixtures(store).claim();
  await Promise.all([
    append(0, 1),
    append(1, 1, { stream: "stderr" }),
    append(2, 1),
    store.logs
      .append({ commandId: other.claim.command.id, fence: other.claim.fence, offset: 3, data: new Uint8Array(1) })
      .catch(() => undefined),
    append(3, 1),
    append(4, 1, {}, { requestId: newId() }),
    store.commands.get({ commandId: log.commandId }),
    append(5, 1),
    append(5, 2),
  ]);
  assert.deepEqual(await sizes(), [1, 1, 1, 1, 1, 1, 1]);
});

it("an append with another fencing token is not joined to one of the holder", async (t) => {
  const { log, append, sizes } = await openLog(t);
  const [own, other] = await Promise.allSettled([append(0, 1), append(1, 1, { fence: log.fence + 1 })]);
  assert.equal(own.status, "fulfilled");
  assert.equal(other.status === "rejected" && other.reason.code, "lease_lost");
  assert.deepEqual(await sizes(), [1]);
});

it("sends a call alone when it has a signal or a deadline of its own", async (t) => {
  const { append, sizes } = await openLog(t);
  const deadline = { timeoutMs: 60_000 };
  await Promise.all([
    append(0, 1),
    append(1, 1, {}, deadline),
    append(2, 1),
    append(3, 1, {}, { signal: new AbortController().signal }),
    append(4, 1),
  ]);
  assert.deepEqual(await sizes(), [1, 1, 1, 1, 1]);
});
