// The stub store: methods with a function return its result, the others throw, and every call is recorded.
import assert from "node:assert/strict";
import { it } from "node:test";
import { operations } from "../../../src/operations/table.ts";
import { storeError, stubStore } from "../../../src/testing/index.ts";

const id = "01890a5d-ac96-774b-bcce-b302099a8057";

it("a method returns the result of its function, and the call is recorded", async () => {
  const stub = stubStore({ worktrees: { get: ({ worktreeId }) => ({ id: worktreeId, state: "idle" }) } });
  const row = await stub.worktrees.get({ worktreeId: id }, { actor: "ada" });
  assert.deepEqual(row, { id, state: "idle" });
  assert.deepEqual(stub.calls, [{ name: "worktrees.get", input: { worktreeId: id }, options: { actor: "ada" } }]);
});

it("a method rejects when its function throws", async () => {
  const stub = stubStore({
    worktrees: {
      reserve: async () => {
        throw storeError("capacity_exhausted", { earliestExpiryAt: null });
      },
    },
  });
  await assert.rejects(stub.worktrees.reserve({ repositoryId: id, owner: "o" }), {
    code: "capacity_exhausted",
    retryable: true,
    details: { earliestExpiryAt: null },
  });
});

it("every method without a function rejects with its name", async () => {
  const stub = stubStore();
  for (const [entity, verbs] of Object.entries(operations)) {
    for (const [verb, { stream }] of Object.entries(verbs)) {
      // biome-ignore lint/suspicious/noExplicitAny: the names are known at run time only.
      const method = (stub as any)[entity][verb];
      await assert.rejects(
        async () => (stream === undefined ? method({}) : method({}).next()),
        new RegExp(`${entity}\\.${verb} was called, but the test supplies no function`),
      );
    }
  }
  assert.throws(() => stub.connect(), /connect was called/);
  await stub.close();
  await stub[Symbol.asyncDispose]();
});

it("a token may be any text", async () => {
  const stub = stubStore({ tokens: { verify: ({ token }) => token } });
  assert.equal(await stub.tokens.verify({ token: "t" }), "t");
  await assert.rejects(stub.tokens.verify({ token: 7 as never }), { code: "invalid_input" });
});

it("the function of a stream returns any iterable", async () => {
  const stub = stubStore({ logs: { follow: () => [{ offset: 0 }, { offset: 5 }] } });
  const offsets: number[] = [];
  for await (const { offset } of stub.logs.follow({ commandId: id })) offsets.push(offset);
  assert.deepEqual(offsets, [0, 5]);
});

it("a stream can be left while its function waits, and fails with aborted when its signal fires", async () => {
  const never = {
    async *[Symbol.asyncIterator]() {
      yield { seq: 1 };
      await new Promise(() => undefined);
    },
  };
  const stub = stubStore({ changes: { watch: () => never }, sessions: { all: () => never } });
  const done = { done: true, value: undefined };
  for (const iteration of [stub.changes.watch(), stub.sessions.all()]) {
    await iteration.next();
    const waiting = iteration.next();
    assert.deepEqual([await iteration.return(), await waiting], [done, done]);
  }
  const aborter = new AbortController();
  const aborted = stub.changes.watch({}, { signal: aborter.signal });
  await aborted.next();
  const waiting = aborted.next();
  aborter.abort();
  await assert.rejects(waiting, { code: "aborted", operation: "changes.watch" });
});

it("a stream that is left ends the iterable that its function returned", async () => {
  let ended = 0;
  async function* changes() {
    try {
      yield { seq: 1 };
      yield { seq: 2 };
    } finally {
      ended++;
    }
  }
  const stub = stubStore({ changes: { watch: changes } });
  for await (const _change of stub.changes.watch()) break;
  assert.equal(ended, 1);
});

it("all iterates over the pages of list, or over what its own function returns", async () => {
  const pages = [{ items: [{ id: "a" }, { id: "b" }], nextCursor: "next" }, { items: [{ id: "c" }] }];
  const paged = stubStore({ sessions: { list: () => pages[paged.calls.length - 1] } });
  const ids: string[] = [];
  for await (const { id: sessionId } of paged.sessions.all({ limit: 2 }, { actor: "ada" })) ids.push(sessionId);
  assert.deepEqual(ids, ["a", "b", "c"]);
  assert.deepEqual(paged.calls, [
    { name: "sessions.list", input: { limit: 2 }, options: { actor: "ada" } },
    { name: "sessions.list", input: { limit: 2, cursor: "next" }, options: { actor: "ada" } },
  ]);

  const direct = stubStore({ sessions: { all: () => [{ id: "d" }] } });
  for await (const { id: sessionId } of direct.sessions.all()) assert.equal(sessionId, "d");
  assert.deepEqual(direct.calls, [{ name: "sessions.all", input: undefined, options: undefined }]);

  await assert.rejects(
    stubStore().sessions.all().next(),
    /sessions\.list was called, but the test supplies no function/,
  );
});

it("atomically runs the recorded calls in order, and stops at the first failure with its index", async () => {
  const stub = stubStore({
    sessions: { touch: () => "touched", get: () => Promise.reject(storeError("not_found", { entity: "session" })) },
  });
  assert.deepEqual(
    await stub.atomically((tx) => {
      tx.sessions.touch({ sessionId: id });
      tx.sessions.touch({ sessionId: id });
    }),
    ["touched", "touched"],
  );
  const failing = stub.atomically((tx) => {
    tx.sessions.touch({ sessionId: id });
    tx.sessions.get({ sessionId: id });
    tx.sessions.touch({ sessionId: id });
  });
  await assert.rejects(failing, {
    code: "not_found",
    details: { entity: "session", index: 1, operation: "sessions.get" },
    operation: "sessions.get",
  });
  assert.equal(stub.calls.length, 4);
});
