// The client on a backend of the test's making: messages, deadlines, losses.
import assert from "node:assert/strict";
import { it } from "node:test";
import { z } from "zod";
import { createClient } from "../../src/client.ts";
import { defaultLimits, type Limits } from "../../src/limits.ts";
import { boolean, record, text } from "../../src/model/codec.ts";
import { type Operation, operation } from "../../src/operation.ts";
import { first, sql } from "../../src/sql.ts";
import type { Backend, Envelope, Reply } from "../../src/wire.ts";

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
const table = {
  t: {
    read: echo("read") as Operation<{ value: string }, string>,
    write: echo("write") as Operation<{ value: string }, string>,
    add,
    wait,
    steps,
  },
};

function rig({ limits = {}, answer = true }: { limits?: Partial<Limits>; answer?: boolean } = {}) {
  const sent: Envelope[] = [];
  const cancelled: [number, number][] = [];
  const held: boolean[] = [];
  const replies: ((reply: Reply) => void)[] = [];
  let lose: (reason: string) => void = () => undefined;
  const backend: Backend = {
    send(envelope) {
      sent.push(envelope);
      const [, , calls] = envelope;
      const answers = calls.flatMap((value, index) => (index % 3 === 1 ? [true, (value as string[])[0]] : []));
      return answer ? Promise.resolve([1, 1, answers]) : new Promise((resolve) => replies.push(resolve));
    },
    cancel: (id, slot) => void cancelled.push([id, slot]),
    hold: (busy) => void held.push(busy),
    onLost: (listener) => {
      lose = listener;
    },
    close: async () => undefined,
  };
  const { methods: client, drain } = createClient(table, backend, { ...defaultLimits, ...limits });
  return { client, drain, sent, cancelled, held, replies, lose: (reason: string) => lose(reason) };
}

/** Lets what is due in this turn happen. */
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

it("the calls of one tick are one message, and a transaction is one of its own", async () => {
  const { client, sent } = rig();
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
    sent.map(([, atomic, calls]) => [atomic, calls.filter((_, index) => index % 3 === 0)]),
    [
      [false, ["t.read", "t.write"]],
      [true, ["t.write", "t.write"]],
      [false, ["t.read"]],
    ],
  );
});

it("calls that can be joined are sent as one, and answered, given up and lost as each was called", async () => {
  const { client, sent } = rig();
  const adds = ["a", "b", "c", "a"].map((value) => client.t.add({ value }));
  assert.equal(await client.t.read({ value: "r" }), "r");
  assert.deepEqual(await Promise.all(adds), ["abc", "abc", "abc", "a"]);
  assert.deepEqual(sent[0]?.[2], ["t.add", ["abc"], undefined, "t.add", ["a"], undefined, "t.read", ["r"], undefined]);

  const mute = rig({ answer: false, limits: { callMs: 1, settleGraceMs: 1 } });
  const late = await Promise.allSettled(["a", "b"].map((value) => mute.client.t.add({ value })));
  assert.deepEqual(
    late.map((one) => one.status === "rejected" && [one.reason.code, one.reason.outcome]),
    [
      ["deadline_exceeded", "unknown"],
      ["deadline_exceeded", "unknown"],
    ],
  );
  assert.ok(mute.cancelled.length > 0 && mute.cancelled.every(([id, slot]) => id === 1 && slot === 0));

  const lost = rig({ answer: false });
  const calls = ["a", "b"].map((value) => lost.client.t.add({ value }));
  await turn();
  lost.lose("gone");
  for (const { status } of await Promise.allSettled(calls)) assert.equal(status, "rejected");
});

it("a failure that may not be that of each joined call is asked for again, for each by itself, in order", async () => {
  const { client, sent, replies } = rig({ answer: false });
  const settled = Promise.allSettled([
    ...["a", "b"].map((value) => client.t.add({ value })),
    client.t.read({ value: "r" }),
  ]);
  await turn();
  replies[0]?.([1, 1, [false, ["log_sealed", "", "not_run", {}], true, "r"]]);
  await turn();
  assert.deepEqual(
    sent.map(([, , calls]) => calls.filter((_, index) => index % 3 === 1)),
    [
      [["ab"], ["r"]],
      [["a"], ["b"]],
    ],
  );
  replies[1]?.([1, 1, [true, "a", false, ["log_sealed", "", "not_run", {}]]]);
  assert.deepEqual(
    (await settled).map((one) => (one.status === "fulfilled" ? one.value : one.reason.code)),
    ["a", "log_sealed", "r"],
  );
});

it("a failure of the joined call that is that of each is told to each", async () => {
  const { client, sent, replies } = rig({ answer: false });
  const settled = Promise.allSettled(["a", "b"].map((value) => client.t.add({ value })));
  await turn();
  replies[0]?.([1, 1, [false, ["storage_full", "", "rolled_back", {}]]]);
  assert.deepEqual(
    (await settled).map((one) => one.status === "rejected" && one.reason.code),
    ["storage_full", "storage_full"],
  );
  assert.equal(sent.length, 1);
});

it("a message that cannot be sent fails its calls, and nothing runs past them", async () => {
  const { client, sent, replies } = rig({ answer: false, limits: { groupCalls: 2 } });
  const calls = ["a", "b", "c"].map((value) => client.t.write({ value }).catch((error) => [error.code, error.outcome]));
  await turn();
  replies[0]?.(Promise.reject(new Error("one message may hold 1 calls")) as never);
  replies[1]?.([1, 1, [true, "c"]]);
  assert.deepEqual(await Promise.all(calls), [["invalid_input", "not_run"], ["invalid_input", "not_run"], "c"]);
  assert.equal(sent.length, 2);
});

it("only a call that says to wait travels alone", async () => {
  const { client, sent, lose } = rig({ answer: false });
  for (const waitMs of [0, 0, 5, 0]) void client.t.wait({ waitMs }).catch(() => undefined);
  await turn();
  assert.deepEqual(
    sent.map(([, , calls]) => calls.length / 3),
    [2, 1, 1],
  );
  lose("over");
});

it("draining waits for calls that do not wait, whatever their operation, and for no others", async () => {
  const { client, drain, replies, lose } = rig({ answer: false });
  const calls = [
    client.t.wait({ waitMs: 0 }),
    client.t.wait({ waitMs: 60_000 }, { signal: new AbortController().signal }),
  ];
  void Promise.allSettled(calls);
  await turn();
  let drained = 0;
  for (const one of [drain(), drain()]) void one.then(() => drained++);
  await turn();
  assert.equal(drained, 0);
  replies[0]?.([1, 1, [true, ""]]);
  await turn();
  assert.equal(drained, 2);
  lose("over");
});

it("draining ends when the last open call is given up unanswered", async ({ mock }) => {
  const { client, drain } = rig({ answer: false });
  mock.timers.enable({ apis: ["setTimeout"] });
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

it("a call in steps has one deadline, and what an earlier step did is not denied", async ({ mock }) => {
  const { client, sent, replies } = rig({ answer: false });
  mock.timers.enable({ apis: ["setTimeout"] });
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
  assert.equal(sent.length, 1);

  const late = assert.rejects(client.t.steps({}, { timeoutMs: 20 }), { code: "deadline_exceeded", outcome: "unknown" });
  for (let step = 1, until = performance.now() + 20; performance.now() < until; step++) {
    await turn();
    replies[step]?.([1, 1, [true, [0]]]);
  }
  await turn();
  mock.timers.tick(1);
  replies.at(-1)?.([1, 1, [false, ["aborted", "", "not_run", {}]]]);
  await late;
});

it("a timeoutMs longer than a timer can be is as long as one can be; what is no time is refused", async ({ mock }) => {
  const { client, replies } = rig({ answer: false });
  mock.timers.enable({ apis: ["setTimeout"] });
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

it("a transaction that is over takes no more calls", async () => {
  const { client, sent } = rig();
  const late: ((value: string) => unknown)[] = [];
  const call = client.atomically((tx) => {
    tx.t.write({ value: "a" });
    late.push((value) => tx.t.write({ value }));
  });
  assert.throws(() => late[0]?.("b"), { code: "invalid_input", operation: "t.write" });
  assert.deepEqual(await call, ["a"]);
  assert.throws(() => late[0]?.("c"), { code: "invalid_input" });
  assert.equal(sent.length, 1);
});

it("one call alone is sent in its own tick", async () => {
  const { client, sent } = rig();
  const call = client.t.read({ value: "a" });
  await new Promise<void>((resolve) => process.nextTick(resolve));
  assert.equal(sent.length, 1);
  await call;
});

it("calls that exceed the size of a message travel in several", async () => {
  const { client, sent } = rig({ limits: { envelopeBytes: 250 } });
  await Promise.all(["a", "b", "c"].map((value) => client.t.read({ value: value.repeat(40) })));
  assert.deepEqual(
    sent.map(([, , calls]) => calls.length / 3),
    [2, 1],
  );
  await assert.rejects(client.t.read({ value: "x".repeat(250) }), { code: "invalid_input", outcome: "not_run" });
});

it("the event loop is held while calls are under way, and only then", async () => {
  const { client, held, replies } = rig({ answer: false });
  const calls = [client.t.read({ value: "a" }), client.t.read({ value: "b" })];
  await turn();
  assert.deepEqual(held, [true]);
  replies[0]?.([1, 1, [true, "a", true, "b"]]);
  await Promise.all(calls);
  assert.deepEqual(held, [true, false]);
});

it("a call's own timeoutMs counts, also when it is longer than the general one", async ({ mock }) => {
  const { client, replies } = rig({ answer: false, limits: { callMs: 1_000, settleGraceMs: 10 } });
  mock.timers.enable({ apis: ["setTimeout"] });
  const patient = client.t.write({ value: "a" }, { timeoutMs: 60_000 });
  const settled = client.t.write({ value: "b" }).catch((error: unknown) => error);
  await turn();
  mock.timers.tick(1_000);
  mock.timers.tick(10);
  assert.equal(((await settled) as { code: string }).code, "deadline_exceeded");
  replies[0]?.([1, 1, [true, "a", true, "b"]]);
  assert.equal(await patient, "a");
});

it("a deadline: the other side is asked to drop the call, and its word decides the outcome", async ({ mock }) => {
  const { client, cancelled, replies } = rig({ answer: false });
  mock.timers.enable({ apis: ["setTimeout"] });
  const call = client.t.write({ value: "a" }, { timeoutMs: 50 });
  await turn();
  mock.timers.tick(50);
  assert.deepEqual(cancelled, [[1, 0]]);
  replies[0]?.([1, 1, [false, ["aborted", "", "not_run", {}]]]);
  await assert.rejects(call, { code: "deadline_exceeded", outcome: "not_run", operation: "t.write" });
});

it("a deadline without a word of the other side: unknown for a write, not_run for a read; the answer that comes late is ignored", async ({
  mock,
}) => {
  const { client, replies } = rig({ answer: false });
  mock.timers.enable({ apis: ["setTimeout"] });
  const calls = [client.t.write({ value: "a" }, { timeoutMs: 50 }), client.t.read({ value: "b" }, { timeoutMs: 50 })];
  const settled = Promise.allSettled(calls);
  await turn();
  mock.timers.tick(50);
  mock.timers.tick(defaultLimits.settleGraceMs);
  const outcomes = (await settled).map((one) => (one as PromiseRejectedResult).reason.outcome);
  assert.deepEqual(outcomes, ["unknown", "not_run"]);
  replies[0]?.([1, 1, [true, "a", true, "b"]]);
  await turn();
});

it("a call that succeeds after it was given up tells its result", async () => {
  const { client, replies } = rig({ answer: false });
  const aborter = new AbortController();
  const call = client.t.write({ value: "a" }, { signal: aborter.signal });
  await turn();
  aborter.abort();
  replies[0]?.([1, 1, [true, "a"]]);
  assert.equal(await call, "a");
});

it("calls given up and never answered still count, so that a dead side is not sent ever more", async ({ mock }) => {
  const { client } = rig({ answer: false, limits: { queueCalls: 2 } });
  mock.timers.enable({ apis: ["setTimeout"] });
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

it("when the other side is lost, every call settles: unknown for writes under way, not_run for what was not sent", async () => {
  const { client, lose } = rig({ answer: false });
  const underWay = [
    client.t.write({ value: "a" }),
    client.t.read({ value: "b" }),
    client.atomically((tx) => tx.t.write({ value: "c" })),
  ];
  const first = Promise.allSettled(underWay);
  await turn();
  const second = Promise.allSettled([client.t.write({ value: "d" })]);
  lose("gone");
  const told = [...(await first), ...(await second)].map((one) => {
    const { code, outcome, message } = (one as PromiseRejectedResult).reason;
    return [code, outcome, message];
  });
  assert.deepEqual(told, [
    ["closed", "unknown", "gone"],
    ["closed", "not_run", "gone"],
    ["closed", "unknown", "gone"],
    ["closed", "not_run", "gone"],
  ]);
  await assert.rejects(client.t.read({ value: "e" }), { code: "closed", outcome: "not_run" });
});

it("an error's stack names the function that called", async () => {
  const { client, replies } = rig({ answer: false });
  async function theCallerOfTheStore() {
    return await client.t.read({ value: "a" });
  }
  const call = theCallerOfTheStore();
  await turn();
  replies[0]?.([1, 1, [false, ["not_found", "m", "not_run", {}]]]);
  await assert.rejects(call, (error: Error) => /theCallerOfTheStore/.test(error.stack as string));
});
