// The client on a backend that the test controls: messages, deadlines and the loss of the backend.
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { it } from "node:test";
import { z } from "zod";
import { createClient } from "../../src/client.ts";
import { defaultLimits, type Limits } from "../../src/limits.ts";
import { boolean, integer, record, text } from "../../src/model/codec.ts";
import { type Operation, operation } from "../../src/operation.ts";
import { first, sql } from "../../src/sql.ts";
import type { Backend, Envelope, Reply } from "../../src/wire.ts";
import { mockTime } from "../support/mockedTime.ts";

const echo = (access: "read" | "write") =>
  operation({
    access,
    input: z.strictObject({ value: z.string() }),
    output: text,
    errors: [],
    *run({ value }) {
      yield* first(sql`SELECT 1`);
      return value;
    },
  });
const add = operation({
  access: "write",
  input: z.strictObject({ value: z.string() }),
  output: text,
  errors: [],
  joining: {
    separateOn: ["log_sealed"],
    follows: (next, last) => next.value > last.value,
    join: (run) => ({ value: run.map(({ value }) => value).join("") }),
  },
  *run({ value }) {
    yield* first(sql`SELECT 1`);
    return value;
  },
});
const wait = operation({
  access: "read",
  input: z.strictObject({ waitMs: z.number() }),
  output: text,
  errors: [],
  waitMs: (input) => input.waitMs,
  *run() {
    yield* first(sql`SELECT 1`);
    return "";
  },
});
const steps = operation({
  access: "write",
  input: z.strictObject({}),
  output: record({ done: boolean }),
  errors: [],
  again: (input, { done }) => (done ? undefined : input),
  *run() {
    yield* first(sql`SELECT 1`);
    return { done: 1 };
  },
});
const counting = operation({
  access: "read",
  input: z.strictObject({ waitMs: z.number(), after: z.number().default(0) }),
  output: record({ last: integer }),
  errors: [],
  waitMs: (input) => input.waitMs,
  stream: {
    items: ({ last }) => [last - 1, last],
    next: (input, { last }) => (last < 4 ? { ...input, after: last } : undefined),
  },
  *run() {
    yield* first(sql`SELECT 1`);
    return { last: 0 };
  },
});
const table = {
  t: {
    counting,
    read: echo("read") as Operation<{ value: string }, string>,
    write: echo("write") as Operation<{ value: string }, string>,
    add,
    wait,
    steps,
  },
};

/** Creates a client and a backend that answers each call with its first wire value, or holds its replies back. */
function createRig({ limits = {}, answer = true }: { limits?: Partial<Limits>; answer?: boolean } = {}) {
  const envelopes: Envelope[] = [];
  const cancelled: [number, number][] = [];
  const holds: boolean[] = [];
  const replies: ((reply: Reply) => void)[] = [];
  const parts: ((part: Reply) => void)[] = [];
  let lose: (reason: string) => void = () => undefined;
  const backend: Backend = {
    send(envelope, { receive, refuse }) {
      envelopes.push(envelope);
      parts.push(receive);
      const [, , calls] = envelope;
      const answers = calls.flatMap((value, index) => (index % 3 === 1 ? [true, (value as string[])[0]] : []));
      if (answer) queueMicrotask(() => receive([1, 1, answers]));
      else replies.push((reply) => void Promise.resolve(reply).then(receive, (error) => refuse(error.message)));
    },
    cancel: (id, slot) => void cancelled.push([id, slot]),
    hold: (busy) => void holds.push(busy),
    onLost: (listener) => {
      lose = listener;
    },
    close: async () => undefined,
  };
  const { methods: client, drain } = createClient(table, backend, { ...defaultLimits, ...limits });
  return { client, drain, envelopes, cancelled, holds, replies, parts, lose: (reason: string) => lose(reason) };
}

/** Keeps the process alive until the promise settles, as a real backend does while calls are in flight. */
async function keepAlive<Value>(promise: Promise<Value>): Promise<Value> {
  const timer = setInterval(() => undefined, 1_000);
  try {
    return await promise;
  } finally {
    clearInterval(timer);
  }
}

/** Waits until everything that is due in this turn of the event loop has run. */
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

it("sends the calls of one tick as one message, and a transaction as a message of its own", async () => {
  const { client, envelopes } = createRig();
  const results = await Promise.all([
    client.t.read({ value: "a" }),
    client.t.write({ value: "b" }),
    client.atomically((tx) => {
      tx.t.write({ value: "c" });
      tx.t.write({ value: "d" });
    }),
    client.t.read({ value: "e" }),
  ]);
  assert.deepEqual(results, ["a", "b", ["c", "d"], "e"]);
  assert.deepEqual(
    envelopes.map(([, atomic, calls]) => [atomic, calls.filter((_, index) => index % 3 === 0)]),
    [
      [false, ["t.read", "t.write"]],
      [true, ["t.write", "t.write"]],
      [false, ["t.read"]],
    ],
  );
});

it("settles the calls of a message as their answers arrive, in parts and in any order", async () => {
  const { client, replies, parts, holds } = createRig({ answer: false });
  const settled: unknown[] = [];
  const calls = ["a", "b", "c", "d"].map((value) =>
    client.t.write({ value }).then(
      (result) => settled.push(result),
      ({ code }) => settled.push(code),
    ),
  );
  await turn();
  parts[0]?.([1, 1, [true, "c"], [2]]);
  await turn();
  assert.deepEqual(settled, ["c"]);
  parts[0]?.([1, 2, [false, ["conflict", "", "rolled_back", {}], true, "a"], [1, 0]]);
  await turn();
  assert.deepEqual(settled, ["c", "conflict", "a"]);
  assert.deepEqual(holds, [true]);
  replies[0]?.([1, 3, [true, "d"], [3]]);
  await Promise.all(calls);
  assert.deepEqual(
    [settled, holds],
    [
      ["c", "conflict", "a", "d"],
      [true, false],
    ],
  );
});

it("calls that are answered make room for others", async () => {
  const { client } = createRig({ limits: { queueCalls: 10, queueBytes: 2_000 } });
  const value = "x".repeat(500);
  for (let n = 0; n < 20; n++) assert.equal(await client.t.write({ value }), value);
});

it("sends calls that can be joined as one call, and settles each: by answer, deadline or loss", async () => {
  const { client, envelopes } = createRig();
  const adds = ["a", "b", "c", "a"].map((value) => client.t.add({ value }));
  assert.equal(await client.t.read({ value: "r" }), "r");
  assert.deepEqual(await Promise.all(adds), ["abc", "abc", "abc", "a"]);
  assert.deepEqual(envelopes[0]?.[2], [
    "t.add",
    ["abc"],
    undefined,
    "t.add",
    ["a"],
    undefined,
    "t.read",
    ["r"],
    undefined,
  ]);

  const silent = createRig({ answer: false, limits: { callMs: 1, settleGraceMs: 1 } });
  const late = await keepAlive(Promise.allSettled(["a", "b"].map((value) => silent.client.t.add({ value }))));
  assert.deepEqual(
    late.map((result) => result.status === "rejected" && [result.reason.code, result.reason.outcome]),
    [
      ["deadline_exceeded", "unknown"],
      ["deadline_exceeded", "unknown"],
    ],
  );
  assert.ok(silent.cancelled.length > 0 && silent.cancelled.every(([id, slot]) => id === 1 && slot === 0));

  const lost = createRig({ answer: false });
  const calls = ["a", "b"].map((value) => lost.client.t.add({ value }));
  await turn();
  lost.lose("gone");
  for (const { status } of await Promise.allSettled(calls)) assert.equal(status, "rejected");
});

it("sends joined calls again, one by one and in order, when their failure may not apply to each of them", async () => {
  const { client, envelopes, replies } = createRig({ answer: false });
  const settled = Promise.allSettled([
    ...["a", "b"].map((value) => client.t.add({ value })),
    client.t.read({ value: "r" }),
  ]);
  await turn();
  replies[0]?.([1, 1, [false, ["log_sealed", "", "not_run", {}], true, "r"]]);
  await turn();
  assert.deepEqual(
    envelopes.map(([, , calls]) => calls.filter((_, index) => index % 3 === 1)),
    [
      [["ab"], ["r"]],
      [["a"], ["b"]],
    ],
  );
  replies[1]?.([1, 1, [true, "a", false, ["log_sealed", "", "not_run", {}]]]);
  assert.deepEqual(
    (await settled).map((result) => (result.status === "fulfilled" ? result.value : result.reason.code)),
    ["a", "log_sealed", "r"],
  );
});

it("fails each joined call when the failure applies to all of them", async () => {
  const { client, envelopes, replies } = createRig({ answer: false });
  const settled = Promise.allSettled(["a", "b"].map((value) => client.t.add({ value })));
  await turn();
  replies[0]?.([1, 1, [false, ["storage_full", "", "rolled_back", {}]]]);
  assert.deepEqual(
    (await settled).map((result) => result.status === "rejected" && result.reason.code),
    ["storage_full", "storage_full"],
  );
  assert.equal(envelopes.length, 1);
});

it("fails the calls of a message that cannot be sent, and sends the next message", async () => {
  const { client, envelopes, replies } = createRig({ answer: false, limits: { groupCalls: 2 } });
  const calls = ["a", "b", "c"].map((value) => client.t.write({ value }).catch((error) => [error.code, error.outcome]));
  await turn();
  replies[0]?.(Promise.reject(new Error("a message has at most 1 calls")) as never);
  replies[1]?.([1, 1, [true, "c"]]);
  assert.deepEqual(await Promise.all(calls), [["invalid_input", "not_run"], ["invalid_input", "not_run"], "c"]);
  assert.equal(envelopes.length, 2);
});

it("sends a call alone only when its input lets it wait", async () => {
  const { client, envelopes, lose } = createRig({ answer: false });
  for (const waitMs of [0, 0, 5, 0]) void client.t.wait({ waitMs }).catch(() => undefined);
  await turn();
  assert.deepEqual(
    envelopes.map(([, , calls]) => calls.length / 3),
    [2, 1, 1],
  );
  lose("over");
});

it("drains all calls except those that wait", async () => {
  const { client, drain, replies, lose } = createRig({ answer: false });
  const calls = [
    client.t.wait({ waitMs: 0 }),
    client.t.wait({ waitMs: 60_000 }, { signal: new AbortController().signal }),
  ];
  void Promise.allSettled(calls);
  await turn();
  let drained = 0;
  for (const draining of [drain(), drain()]) void draining.then(() => drained++);
  await turn();
  assert.equal(drained, 0);
  replies[0]?.([1, 1, [true, ""]]);
  await turn();
  assert.equal(drained, 2);
  lose("over");
});

it("ends draining when the last open call settles without an answer", async ({ mock }) => {
  const { client, drain } = createRig({ answer: false });
  mockTime(mock, { apis: ["setTimeout"] });
  const call = assert.rejects(client.t.write({ value: "a" }, { timeoutMs: 50 }), {
    code: "deadline_exceeded",
    outcome: "unknown",
  });
  await turn();
  const drained = drain();
  mock.timers.tick(50);
  mock.timers.tick(defaultLimits.settleGraceMs);
  await Promise.all([call, drained]);
});

it("gives a call in steps one deadline, and reports its outcome as unknown after its first step", async ({ mock }) => {
  const { client, envelopes, replies } = createRig({ answer: false });
  mockTime(mock, { apis: ["setTimeout"] });
  const aborter = new AbortController();
  const aborted = assert.rejects(client.t.steps({}, { signal: aborter.signal }), {
    code: "aborted",
    outcome: "unknown",
    operation: "t.steps",
  });
  await turn();
  replies[0]?.([1, 1, [true, [0]]]);
  aborter.abort();
  await turn();
  await aborted;

  const first = assert.rejects(client.t.steps({}, { timeoutMs: 0 }), { code: "deadline_exceeded", outcome: "not_run" });
  mock.timers.tick(1);
  await first;
  assert.equal(envelopes.length, 1);

  const late = assert.rejects(client.t.steps({}, { timeoutMs: 20 }), { code: "deadline_exceeded", outcome: "unknown" });
  for (let step = 1; step <= 4; step++) {
    await turn();
    mock.timers.tick(4);
    replies[step]?.([1, 1, [true, [0]]]);
  }
  await turn();
  // The last step has the 4 ms that are left.
  mock.timers.tick(4);
  replies.at(-1)?.([1, 1, [false, ["aborted", "", "not_run", {}]]]);
  await late;
});

it("limits timeoutMs to the longest timer, and refuses values that are not a time", async ({ mock }) => {
  const { client, replies } = createRig({ answer: false });
  mockTime(mock, { apis: ["setTimeout"] });
  const calls = [Number.POSITIVE_INFINITY, 30 * 86_400_000].map((timeoutMs) =>
    client.t.write({ value: "a" }, { timeoutMs }),
  );
  await turn();
  mock.timers.tick(86_400_000);
  replies[0]?.([1, 1, [true, "a", true, "a"]]);
  assert.deepEqual(await Promise.all(calls), ["a", "a"]);
  for (const timeoutMs of [-1, Number.NaN, "1s" as never]) {
    await assert.rejects(client.t.write({ value: "a" }, { timeoutMs }), {
      code: "invalid_input",
      message: /timeoutMs/,
      outcome: "not_run",
    });
  }
});

it("refuses calls of a transaction that has ended", async () => {
  const { client, envelopes } = createRig();
  const late: ((value: string) => unknown)[] = [];
  const call = client.atomically((tx) => {
    tx.t.write({ value: "a" });
    late.push((value) => tx.t.write({ value }));
  });
  assert.throws(() => late[0]?.("b"), { code: "invalid_input", operation: "t.write" });
  assert.deepEqual(await call, ["a"]);
  assert.throws(() => late[0]?.("c"), { code: "invalid_input" });
  assert.equal(envelopes.length, 1);
});

it("sends a single call in the tick that made it", async () => {
  const { client, envelopes } = createRig();
  const call = client.t.read({ value: "a" });
  await new Promise<void>((resolve) => process.nextTick(resolve));
  assert.equal(envelopes.length, 1);
  await call;
});

it("splits calls that exceed the size of a message into several messages", async () => {
  const { client, envelopes } = createRig({ limits: { envelopeBytes: 250 } });
  await Promise.all(["a", "b", "c"].map((value) => client.t.read({ value: value.repeat(40) })));
  assert.deepEqual(
    envelopes.map(([, , calls]) => calls.length / 3),
    [2, 1],
  );
  await assert.rejects(client.t.read({ value: "x".repeat(250) }), { code: "invalid_input", outcome: "not_run" });
});

it("keeps the event loop alive only while calls are in flight", async () => {
  const { client, holds, replies } = createRig({ answer: false });
  const calls = [client.t.read({ value: "a" }), client.t.read({ value: "b" })];
  await turn();
  assert.deepEqual(holds, [true]);
  replies[0]?.([1, 1, [true, "a", true, "b"]]);
  await Promise.all(calls);
  assert.deepEqual(holds, [true, false]);
});

it("prefers the timeoutMs of a call to limits.callMs, even when it is longer", async ({ mock }) => {
  const { client, replies } = createRig({ answer: false, limits: { callMs: 1_000, settleGraceMs: 10 } });
  mockTime(mock, { apis: ["setTimeout"] });
  const patient = client.t.write({ value: "a" }, { timeoutMs: 60_000 });
  const settled = client.t.write({ value: "b" }).catch((error: unknown) => error);
  await turn();
  mock.timers.tick(1_000);
  mock.timers.tick(10);
  assert.equal(((await settled) as { code: string }).code, "deadline_exceeded");
  replies[0]?.([1, 1, [true, "a", true, "b"]]);
  assert.equal(await patient, "a");
});

it("asks the server to cancel a call at its deadline, and reports the outcome that the server answers", async ({
  mock,
}) => {
  const { client, cancelled, replies } = createRig({ answer: false });
  mockTime(mock, { apis: ["setTimeout"] });
  const call = client.t.write({ value: "a" }, { timeoutMs: 50 });
  await turn();
  mock.timers.tick(50);
  assert.deepEqual(cancelled, [[1, 0]]);
  replies[0]?.([1, 1, [false, ["aborted", "", "not_run", {}]]]);
  await assert.rejects(call, { code: "deadline_exceeded", outcome: "not_run", operation: "t.write" });
});

it("reports unknown for a write and not_run for a read when the server is silent, and ignores its late answer", async ({
  mock,
}) => {
  const { client, replies } = createRig({ answer: false });
  mockTime(mock, { apis: ["setTimeout"] });
  const calls = [client.t.write({ value: "a" }, { timeoutMs: 50 }), client.t.read({ value: "b" }, { timeoutMs: 50 })];
  const settled = Promise.allSettled(calls);
  await turn();
  mock.timers.tick(50);
  mock.timers.tick(defaultLimits.settleGraceMs);
  const outcomes = (await settled).map((result) => (result as PromiseRejectedResult).reason.outcome);
  assert.deepEqual(outcomes, ["unknown", "not_run"]);
  replies[0]?.([1, 1, [true, "a", true, "b"]]);
  await turn();
});

it("returns the result of a call that succeeds after it was aborted", async () => {
  const { client, replies } = createRig({ answer: false });
  const aborter = new AbortController();
  const call = client.t.write({ value: "a" }, { signal: aborter.signal });
  await turn();
  aborter.abort();
  replies[0]?.([1, 1, [true, "a"]]);
  assert.equal(await call, "a");
});

it("counts calls that were never answered, so that a dead server does not receive more and more calls", async ({
  mock,
}) => {
  const { client } = createRig({ answer: false, limits: { queueCalls: 2 } });
  mockTime(mock, { apis: ["setTimeout"] });
  const settled = Promise.allSettled([
    client.t.read({ value: "a" }, { timeoutMs: 1 }),
    client.t.read({ value: "b" }, { timeoutMs: 1 }),
  ]);
  await turn();
  mock.timers.tick(1);
  mock.timers.tick(defaultLimits.settleGraceMs);
  await settled;
  await assert.rejects(client.t.read({ value: "c" }), { code: "overloaded", outcome: "not_run" });
});

it("settles every call when the server is lost: unknown for writes in flight, not_run for calls not sent", async () => {
  const { client, lose } = createRig({ answer: false });
  const failures: unknown[] = [];
  const record = (index: number, call: Promise<unknown>): void => {
    call.catch(({ code, outcome, message }) => {
      failures[index] = [code, outcome, message];
    });
  };
  record(0, client.t.write({ value: "a" }));
  record(1, client.t.read({ value: "b" }));
  record(
    2,
    client.atomically((tx) => tx.t.write({ value: "c" })),
  );
  await turn();
  record(3, client.t.write({ value: "d" }));
  lose("gone");
  await turn();
  assert.deepEqual(failures, [
    ["closed", "unknown", "gone"],
    ["closed", "not_run", "gone"],
    ["closed", "unknown", "gone"],
    ["closed", "not_run", "gone"],
  ]);
  await assert.rejects(client.t.read({ value: "e" }), { code: "closed", outcome: "not_run" });
});

it("an iteration that is left while it waits ends at once, without waiting for the server, and cancels its call", async () => {
  const { client, envelopes, cancelled } = createRig({ answer: false });
  for (const leave of ["return", "throw"] as const) {
    cancelled.length = 0;
    const iteration = client.t.counting({ waitMs: 60_000 });
    const waiting = [iteration.next(), iteration.next()];
    await turn();
    const left = leave === "return" ? iteration.return() : iteration.throw(new RangeError("mine"));
    const [first, second, last] = await Promise.allSettled([...waiting, left]);
    const end = { status: "fulfilled", value: { done: true, value: undefined } };
    assert.deepEqual([first, second], [end, end]);
    assert.deepEqual(
      leave === "return" ? last : (last as PromiseRejectedResult).reason.message,
      leave === "return" ? end : "mine",
    );
    assert.deepEqual(cancelled, [[envelopes.length, 0]]);
    assert.deepEqual(await iteration.next(), end.value);
  }
});

it("an iteration that is left in the tick of its first call sends nothing", async () => {
  const { client, envelopes } = createRig({ answer: false });
  const iteration = client.t.counting({ waitMs: 60_000 });
  const waiting = iteration.next();
  assert.deepEqual(await iteration.return(), { done: true, value: undefined });
  assert.deepEqual(await waiting, { done: true, value: undefined });
  await turn();
  assert.deepEqual(envelopes, []);
});

it("an iteration answers its calls in order, asks for a page only when it needs one, and ends with the last", async () => {
  const { client, envelopes, replies } = createRig({ answer: false });
  const iteration = client.t.counting({ waitMs: 60_000 });
  const answered: (number | undefined)[] = [];
  const calls = Array.from({ length: 6 }, () =>
    iteration.next().then(({ value }) => void answered.push(value as number | undefined)),
  );
  await turn();
  assert.equal(envelopes.length, 1);
  replies[0]?.([1, 1, [true, [2]]]);
  await turn();
  assert.deepEqual([answered, envelopes.length], [[1, 2], 2]);
  assert.deepEqual(envelopes[1]?.[2][1], [60_000, 2]);
  replies[1]?.([1, 1, [true, [4]]]);
  await Promise.all(calls);
  assert.deepEqual([answered, envelopes.length], [[1, 2, 3, 4, undefined, undefined], 2]);
});

it("a signal that fires ends an iteration before its next item, and keeps no listener afterwards", async () => {
  const { client, envelopes, replies } = createRig({ answer: false });
  const aborter = new AbortController();
  const iteration = client.t.counting({ waitMs: 60_000 }, { signal: aborter.signal });
  const first = iteration.next();
  await turn();
  assert.equal(getEventListeners(aborter.signal, "abort").length, 1);
  replies[0]?.([1, 1, [true, [2]]]);
  assert.equal((await first).value, 1);
  assert.equal(getEventListeners(aborter.signal, "abort").length, 0);
  aborter.abort(new Error("enough"));
  await assert.rejects(iteration.next(), (error: Error) => (error.cause as Error).message === "enough");
  assert.deepEqual([await iteration.next(), envelopes.length], [{ done: true, value: undefined }, 1]);
});

it("names the function that iterates in the stack of an error", async () => {
  const { client, replies } = createRig({ answer: false });
  async function theViewerOfTheStore() {
    for await (const item of client.t.counting({ waitMs: 60_000 })) assert.fail(`${item}`);
  }
  const viewing = theViewerOfTheStore();
  await turn();
  replies[0]?.([1, 1, [false, ["not_found", "m", "not_run", {}]]]);
  await assert.rejects(viewing, (error: Error) => /theViewerOfTheStore/.test(error.stack as string));
});

it("names the calling function in the stack of an error", async () => {
  const { client, replies } = createRig({ answer: false });
  async function theCallerOfTheStore() {
    return await client.t.read({ value: "a" });
  }
  const call = theCallerOfTheStore();
  await turn();
  replies[0]?.([1, 1, [false, ["not_found", "m", "not_run", {}]]]);
  await assert.rejects(call, (error: Error) => /theCallerOfTheStore/.test(error.stack as string));
});
