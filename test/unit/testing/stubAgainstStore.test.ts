// A stub refuses what a store refuses before it asks its database: the same calls, with the same errors.
import assert from "node:assert/strict";
import { once } from "node:events";
import { after, it } from "node:test";
import { MessageChannel } from "node:worker_threads";
import { type OwnedStore, StoreError } from "../../../src/index.ts";
import type { AnyOperation } from "../../../src/operation.ts";
import { operations } from "../../../src/operations/table.ts";
import { openTestStore, type StubMethods, stubStore } from "../../../src/testing/index.ts";
import { sampleInput } from "../../support/samples.ts";

const table = Object.entries(operations).flatMap(([entity, verbs]) =>
  Object.entries<AnyOperation>(verbs).map(([verb, operation]) => ({ name: `${entity}.${verb}`, operation })),
);
const stubs = Object.fromEntries(
  Object.entries(operations).map(([entity, verbs]) => [
    entity,
    Object.fromEntries(Object.entries(verbs).map(([verb, { stream }]) => [verb, () => (stream ? [verb] : verb)])),
  ]),
) as StubMethods;

const store = await openTestStore();
after(() => store.close());
const closedStore = await openTestStore();
await closedStore.close();
const closedStub = stubStore(stubs);
await closedStub.close();

// biome-ignore lint/suspicious/noExplicitAny: the names are known at run time only.
type AnyCall = (input?: unknown, options?: object) => any;
const methodOf = (target: unknown, name: string): AnyCall => {
  const [entity, verb] = name.split(".") as [string, string];
  return (target as Record<string, Record<string, AnyCall>>)[entity]?.[verb] as AnyCall;
};

/** Calls a method, or takes the first item of an iteration. */
async function callOf(target: unknown, name: string, input: unknown, options?: object): Promise<unknown> {
  const result = methodOf(target, name)(input, options);
  return typeof result?.next === "function" ? (await result.next()).value : result;
}

/** Runs a call, and returns how it was refused. */
async function refusalOf(run: () => unknown) {
  const error = await Promise.resolve()
    .then(run)
    .then(
      (value) => assert.fail(`expected a refusal, not ${JSON.stringify(value)}`),
      (reason: unknown) => reason,
    );
  if (!(error instanceof StoreError)) throw error;
  const { code, message, operation, outcome, details, retryable } = error;
  return { code, message, operation, outcome, details, retryable };
}

/** Checks that both refuse, and with the same error. */
async function assertSame(run: (target: OwnedStore) => unknown, from: OwnedStore = store, to = stubStore(stubs)) {
  assert.deepEqual(await refusalOf(() => run(to)), await refusalOf(() => run(from)));
}

for (const { name, operation } of table) {
  it(`${name} is refused for the same reasons`, async () => {
    const input = sampleInput(name, operation);
    const stub = stubStore(stubs);
    const verb = name.split(".")[1];
    assert.equal(await callOf(stub, name, input), verb, "what a store accepts, the stub accepts");
    assert.equal(await callOf(stub, name, sampleInput(name, operation, true)), verb);
    assert.deepEqual(stub.calls[0], { name, input, options: undefined });
    for (const [wrong, options] of [
      [{ ...input, noSuchField: 1 }],
      [7],
      [input, { timeoutMs: -1 }],
      [input, { timeoutMs: Number.NaN }],
      [input, { signal: AbortSignal.abort() }],
      [input, { actor: "a".repeat(10_000) }],
      [input, { requestId: "\u0000" }],
      ...(operation.access === "write" ? [[input, { idempotencyKey: "" }]] : []),
    ] as readonly (readonly [unknown, object?])[])
      await assertSame((target) => callOf(target, name, wrong, options));
    await assertSame((target) => callOf(target, name, input), closedStore, closedStub);
  });

  it(`${name} is refused in a transaction for the same reasons`, async () => {
    const input = sampleInput(name, operation);
    const inOne = (record: (tx: unknown) => unknown) => (target: OwnedStore) =>
      target.atomically((tx) => {
        tx.repositories.find({ name: "a" });
        return record(tx) as never;
      });
    const all = sampleInput(name, operation, true);
    const wire = operation.encode(operation.seal(all).wireInput);
    if (operation.again !== undefined) return assertSame(inOne((tx) => methodOf(tx, name)(input)));
    if (operation.waits) {
      assert.ok(operation.waitMs(operation.decode(structuredClone(wire))) > 0, "the sample waits");
      await assertSame(inOne((tx) => methodOf(tx, name)(all)));
    } else {
      const stub = stubStore(stubs);
      await stub.atomically((tx) => methodOf(tx, name)(input));
      assert.deepEqual(stub.calls, [{ name, input, options: undefined }]);
    }
    await assertSame(inOne((tx) => methodOf(tx, name)({ ...input, noSuchField: 1 })));
    await assertSame(async (target) => {
      const leaked: unknown[] = [];
      await target.atomically((tx) => void leaked.push(tx));
      return methodOf(leaked[0], name)(input);
    });
  });
}

it("a transaction is refused as a whole for the same reasons", async () => {
  type Recorder = Parameters<OwnedStore["atomically"]>[0];
  const one: Recorder = (tx) => tx.repositories.find({ name: "a" });
  const upsert: Recorder = (tx) => tx.repositories.upsert({ name: "a" });
  for (const [record, options] of [
    [async (tx) => one(tx)],
    [async () => Promise.reject(new Error("mine"))],
    [one, { signal: AbortSignal.abort() }],
    [one, { timeoutMs: -1 }],
    [one, { actor: "\u0000" }],
    [upsert, { idempotencyKey: "" }],
    [
      (tx) => {
        for (let count = 0; count < 40; count++)
          tx.repositories.upsert({ name: `${count}`, settings: { text: "x".repeat(250_000) } });
      },
    ],
  ] as readonly [Recorder, object?][])
    await assertSame((target) => target.atomically(record, options));
  await assertSame((target) => target.atomically(one), closedStore, closedStub);
  for (const target of [store, closedStore, stubStore(stubs), closedStub])
    assert.deepEqual(await target.atomically(() => undefined), []);
  const thrown = new Error("mine");
  const throwing: Recorder = () => {
    throw thrown;
  };
  for (const target of [store, stubStore(stubs)]) await assert.rejects(target.atomically(throwing), thrown);
});

it("after close, everything else is refused too", async () => {
  await assertSame((target) => target.connect(), closedStore, closedStub);
  assert.equal(closedStub.liveness().state, closedStore.liveness().state);
  for (const target of [closedStore, closedStub]) {
    const { port1, port2 } = new MessageChannel();
    const closed = once(port1, "close");
    port1.ref();
    target.serve(port2);
    await closed;
  }
  assert.equal((await refusalOf(() => closedStub.backup())).code, "closed");
});

it("a stub accepts the cursors of its own pages, and refuses other fields of a list as a store does", async () => {
  const pages = [{ items: [1], nextCursor: "any text" }, { items: [2] }];
  const stub = stubStore({ sessions: { list: () => pages[stub.calls.length - 1] } });
  const rows: unknown[] = [];
  for await (const row of stub.sessions.all()) rows.push(row);
  assert.deepEqual(rows, [1, 2]);
  const wrong = { limit: 0 };
  await assertSame((target) => target.sessions.all(wrong).next());
  await assertSame((target) => target.sessions.all(wrong).next(), store, stubStore({ sessions: { all: () => [] } }));
});

it("an iteration of a stub ends with closed when the stub is closed in between", async () => {
  const stub = stubStore({ changes: { watch: () => [1, 2] } });
  const watch = stub.changes.watch();
  await watch.next();
  await stub.close();
  await assert.rejects(watch.next(), { code: "closed", operation: "changes.watch" });
});
