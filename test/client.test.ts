// The client on a backend of the test's making: messages, deadlines, losses.
import assert from "node:assert/strict";
import { it } from "node:test";
import { z } from "zod";
import { createClient } from "../src/client.ts";
import { defaultLimits, type Limits } from "../src/limits.ts";
import { text } from "../src/model/codec.ts";
import { type Operation, operation } from "../src/operation.ts";
import { first, sql } from "../src/sql.ts";
import type { Backend, Envelope, Reply } from "../src/wire.ts";

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
  joining: { follows: (next, last) => next.value > last.value, join: (run) => ({ value: run.map(({ value }) => value).join("") }) },
  *run({ value }) {
    yield* first(sql`SELECT 1`);
    return value;
  },
});
const table = {
  t: { read: echo("read") as Operation<{ value: string }, string>, write: echo("write") as Operation<{ value: string }, string>, add },
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

it("one call alone is sent in its own tick", async () => {
  const { client, sent } = rig();
  const call = client.t.read({ value: "a" });
  await new Promise<void>((resolve) => process.nextTick(resolve));
  assert.equal(sent.length, 1);
  await call;
});

it("what is larger than a message goes in several", async () => {
  const { client, sent } = rig({ limits: { envelopeBytes: 100 } });
  await Promise.all(["a", "b", "c"].map((value) => client.t.read({ value: value.repeat(40) })));
  assert.ok(sent.length >= 2);
  await assert.rejects(client.t.read({ value: "x".repeat(200) }), { code: "invalid_input", outcome: "not_run" });
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

it("a deadline without a word of the other side: unknown for a write, not_run for a read; the answer that comes late is ignored", async ({ mock }) => {
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
  const settled = Promise.allSettled([client.t.read({ value: "a" }, { timeoutMs: 1 }), client.t.read({ value: "b" }, { timeoutMs: 1 })]);
  await turn();
  mock.timers.tick(1);
  mock.timers.tick(defaultLimits.settleGraceMs);
  await settled;
  await assert.rejects(client.t.read({ value: "c" }), { code: "overloaded", outcome: "not_run" });
});

it("when the other side is lost, every call settles: unknown for writes under way, not_run for what was not sent", async () => {
  const { client, lose } = rig({ answer: false });
  const underWay = [client.t.write({ value: "a" }), client.t.read({ value: "b" }), client.atomically((tx) => tx.t.write({ value: "c" }))];
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
