// The mailbox without a thread or database: turns, lanes, groups, parking, limits and cancellation.
import assert from "node:assert/strict";
import { after, describe, it, type MockTracker } from "node:test";
import type { ClockWatch } from "../../../src/actor/clockWatch.ts";
import { type Inbox, Mailbox } from "../../../src/actor/mailbox.ts";
import { systemClock } from "../../../src/clock.ts";
import type { Conditions, Dispatcher, JobOutcome } from "../../../src/dispatch.ts";
import { type ErrorCode, StoreError } from "../../../src/errors.ts";
import { defaultLimits, type Limits } from "../../../src/limits.ts";
import type { Call, Lane } from "../../../src/operation.ts";
import { present } from "../../../src/present.ts";
import { realTime } from "../../../src/realTime.ts";
import type { Envelope, Reply } from "../../../src/wire.ts";
import { mockTime } from "../../support/mockedTime.ts";

const inboxes: Inbox[] = [];

// The timer of a call that still waits would keep the process alive.
after(() => {
  for (const inbox of inboxes) inbox.disconnect();
});

interface Rig {
  readonly mailbox: Mailbox;
  /** The calls of each group that ran, by name, in order; the names of an atomic envelope are joined by "+". */
  readonly groups: string[][];
  readonly faults: readonly StoreError[];
  /** The report on each attempt to write: the code of the failure, or undefined. */
  readonly writes: readonly (ErrorCode | undefined)[];
  /** Lets groups run. The first group begins earlier, and waits in its transaction until then. */
  open(): void;
}

interface RigOptions {
  readonly limits?: Partial<Limits>;
  /** Returns the outcome of a call, or undefined for its name as the result. Throws to fail the whole group. */
  readonly outcomeOf?: (call: Call) => Omit<JobOutcome, "usedMs"> | undefined;
  /** Returns the time that a call uses, in milliseconds. 1 for each call unless given. */
  readonly usedMsOf?: (call: Call) => number;
  /** Receives the name of each call that is decoded. Decoding the calls of a flood then takes 10 ms. */
  readonly onDecode?: (name: string) => void;
  /** True when the calls of the first group begin only when groups may run, and can be cancelled until then. */
  readonly beginsLate?: boolean;
  /** Keeps a group from ending; receives the names of its calls. */
  readonly holdGroup?: (names: readonly string[]) => Promise<void> | undefined;
  /** The number of calls that a group has time for. */
  readonly begunMax?: number;
  readonly clockWatch?: ClockWatch;
}

/**
 * Builds a mailbox on a dispatcher that answers each call with its name. The first word of a name is the lane; "large"
 * has a large result, "touch" touches "topic", and "unknown" is refused.
 */
function createRig({
  limits = {},
  outcomeOf = () => undefined,
  usedMsOf = () => 1,
  onDecode,
  beginsLate = false,
  holdGroup,
  begunMax,
  clockWatch,
}: RigOptions = {}): Rig {
  const groups: string[][] = [];
  const gate = Promise.withResolvers<void>();
  const dispatcher: Dispatcher = {
    knows: () => true,
    orderOf(name) {
      const [lane, entity] = String(name).split(" ") as [Lane, string];
      return lane in mailbox.lanes() ? { lane, entities: [entity] } : { lane: "normal", entities: [] };
    },
    decodeCall(name, wire, caller) {
      const words = String(name).split(" ");
      onDecode?.(String(name));
      for (
        const endMs = performance.now() + 10;
        onDecode && words[1]?.startsWith("busy") && performance.now() < endMs;
      );
      if (words.includes("unknown")) throw new StoreError("unknown_operation");
      const [access, waitMs] = wire as ["read" | "write", number];
      const resultBytes = () => (words.includes("large") ? 60 : 0);
      return {
        name: String(name),
        operation: { lane: words[0], access, errors: [], resultBytes } as never,
        input: wire as never,
        caller,
        waitMs: waitMs ?? 0,
      };
    },
    async runTransaction(jobs, _budgetMs, { mayBegin = () => true, isDropped = () => false }: Conditions = {}) {
      if (beginsLate) await gate.promise;
      const dropped = jobs.map((_, index) => isDropped(index));
      await gate.promise;
      if (!mayBegin(new Date()))
        return {
          outcomes: jobs.map(() => ({ answers: [], parkOn: undefined, refused: true, usedMs: 0 })),
          topics: new Set(),
          wrote: false,
        };
      const begun = jobs.slice(0, begunMax ?? jobs.length);
      await holdGroup?.(begun.flat().map(({ name }) => name));
      const outcomes = begun.map((calls, index) => {
        const [head] = calls as readonly [Call];
        if (dropped[index]) return { answers: [], parkOn: undefined, usedMs: 0 };
        const answers = calls.map(({ name }) => [true, name] as const);
        return { ...(outcomeOf(head) ?? { answers, parkOn: undefined }), usedMs: usedMsOf(head) };
      });
      const run = begun.filter((_, index) => !dropped[index]);
      groups.push(run.map((calls) => calls.map(({ name }) => name).join("+")));
      const touches = begun.flat().some(({ name }) => name.includes("touch"));
      return { outcomes, topics: new Set(touches ? ["topic"] : []), wrote: true };
    },
  };
  const faults: StoreError[] = [];
  const writes: (ErrorCode | undefined)[] = [];
  const mailbox = new Mailbox({
    engine: "sqlite",
    dispatcher,
    // A pause of the machine ends no group.
    limits: { ...defaultLimits, groupMs: 60_000, ...limits },
    clock: systemClock,
    epoch: 7,
    dataVersion: undefined,
    ...present({ clockWatch }),
    onFault: (error) => void faults.push(error),
    onWrite: (failed) => void writes.push(failed),
  });
  return { mailbox, groups, faults, writes, open: gate.resolve };
}

/** Returns an outcome for calls named "wait" that finds nothing until the call runs for the `lastTry`-th time. */
function nothingUntil(lastTry: number): NonNullable<RigOptions["outcomeOf"]> {
  let tries = 0;
  return ({ name }) =>
    name.includes("wait") && ++tries < lastTry ? { answers: [[true, "nothing"]], parkOn: ["topic"] } : undefined;
}
const alwaysNothing = nothingUntil(Number.POSITIVE_INFINITY);

let envelopeId = 0;
/** Calls with "write" in their name write, the others read. */
const envelope = (...names: string[]): Envelope => [
  ++envelopeId,
  false,
  names.flatMap((name) => [name, [name.includes("write") ? "write" : "read"], undefined]),
];
const atomic = (...names: string[]): Envelope => [++envelopeId, true, envelope(...names)[2]];
const waiting = (name: string, waitMs: number): Envelope => [++envelopeId, false, [name, ["read", waitMs], undefined]];

/** Returns the results of a reply, with the code in place of a failure. */
const resultsOf = ([, , answers]: Reply) =>
  Array.from({ length: answers.length / 2 }, (_, n) =>
    answers[n * 2] === true ? answers[n * 2 + 1] : (answers[n * 2 + 1] as string[])[0],
  );

function connect({ mailbox }: Rig): Inbox {
  const inbox = mailbox.connect(() => true);
  inboxes.push(inbox);
  return inbox;
}

const numbered = (prefix: string, count: number) => Array.from({ length: count }, (_, n) => `${prefix}${n}`);

/** Resolves when a group that was scheduled has begun: the mailbox begins it in the same phase of the event loop. */
const groupBegun = (): Promise<void> => new Promise(setImmediate);

/** Lets no time pass, so that turns depend on `usedMsOf` alone, and not on pauses of the machine. */
function freezeTime(mock: MockTracker): void {
  mock.method(realTime, "elapsed", () => 0);
}

it("the calls of an envelope are answered together, in order, with the epoch and the commit's number", async () => {
  const rig = createRig();
  rig.open();
  const [epoch, commitSeq, answers] = await connect(rig).post(envelope("normal a", "normal b"));
  assert.deepEqual([epoch, commitSeq, answers], [7, 1, [true, "normal a", true, "normal b"]]);
  const [, next] = await connect(rig).post(envelope("normal c"));
  assert.equal(next, 2);
});

it("calls that arrive while a group runs share the next one", async () => {
  const rig = createRig();
  const [a, b] = [connect(rig), connect(rig)];
  const replies = [a.post(envelope("normal a1"))];
  await groupBegun();
  replies.push(b.post(envelope("normal b1")), a.post(envelope("normal a2", "normal a3")));
  rig.open();
  await Promise.all(replies);
  assert.equal(rig.groups.length, 2);
  assert.deepEqual(rig.groups[1]?.toSorted(), ["normal a2", "normal a3", "normal b1"]);
});

it("clients take turns, so that one that floods the mailbox does not hold up one that calls once", async ({ mock }) => {
  freezeTime(mock);
  const rig = createRig({ limits: { groupCalls: 4 } });
  const [flooder, other] = [connect(rig), connect(rig)];
  const flood = flooder.post(envelope(...numbered("normal f", 40)));
  const single = other.post(envelope("normal once"));
  rig.open();
  await Promise.all([flood, single]);
  assert.ok(rig.groups[0]?.includes("normal once"), JSON.stringify(rig.groups[0]));
});

it("groups that are too small for all clients reach all of them in turn", async ({ mock }) => {
  freezeTime(mock);
  const rig = createRig({ limits: { groupCalls: 1 } });
  const [a, b] = [connect(rig), connect(rig)];
  const replies = [a.post(envelope(...numbered("normal a", 3))), b.post(envelope(...numbered("normal b", 3)))];
  rig.open();
  await Promise.all(replies);
  const clients = rig.groups.flat().map((name) => name.slice(0, -1));
  for (const at of [0, 2, 4]) assert.deepEqual(clients.slice(at, at + 2).toSorted(), ["normal a", "normal b"]);
});

it("turns go by the time that calls use, so a client with slow calls gets no more of it than one with fast calls", async ({
  mock,
}) => {
  freezeTime(mock);
  const rig = createRig({ begunMax: 1, usedMsOf: ({ name }) => (name.includes("slow") ? 50 : 5) });
  const [slow, fast] = [connect(rig), connect(rig)];
  const replies = [
    slow.post(envelope(...numbered("normal slow", 60))),
    fast.post(envelope(...numbered("normal fast", 400))),
  ];
  rig.open();
  await Promise.all(replies);
  // When the fast client is done, both have used the same time, but for the slow calls that were not expected to be slow.
  const order = rig.groups.flat();
  const slowBefore = order.slice(0, order.indexOf("normal fast399")).filter((name) => name.includes("slow")).length;
  assert.ok(slowBefore >= 38 && slowBefore <= 46, `${slowBefore} slow calls ran before the last fast one`);
});

it("a client that was idle has saved up no time, and one whose last call was long is not held back for as long", async ({
  mock,
}) => {
  freezeTime(mock);
  const rig = createRig({ begunMax: 1, usedMsOf: ({ name }) => (name.includes("long") ? 100_000 : 5) });
  const [busy, idle, long] = [connect(rig), connect(rig), connect(rig)];
  rig.open();
  await long.post(envelope("normal long"));
  await busy.post(envelope(...numbered("normal before", 50)));
  rig.groups.length = 0;
  const replies = [
    busy.post(envelope(...numbered("normal busy", 200))),
    idle.post(envelope(...numbered("normal idle", 50))),
    long.post(envelope("normal after")),
  ];
  await Promise.all(replies);
  const order = rig.groups.flat();
  const busyBefore = order.slice(0, order.indexOf("normal idle49")).filter((name) => name.includes("busy")).length;
  assert.ok(busyBefore >= 45, `the idle client left the busy one ${busyBefore} of 50 turns`);
  assert.ok(order.indexOf("normal after") < 100, String(order.indexOf("normal after")));
});

it("a flood of urgent calls holds up neither another client nor the other calls of its own", async ({ mock }) => {
  freezeTime(mock);
  const rig = createRig({ begunMax: 1, usedMsOf: ({ name }) => (name.includes("beat") ? 14 : 1) });
  const [flooder, other] = [connect(rig), connect(rig)];
  const flood = flooder.post(envelope(...numbered("urgent beat", 200), "normal own"));
  await groupBegun();
  const single = other.post(envelope("normal other"));
  rig.open();
  await Promise.all([flood, single]);
  const order = rig.groups.flat();
  assert.ok(order.indexOf("normal other") <= 2, `ran after ${order.indexOf("normal other")} calls`);
  assert.ok(order.indexOf("normal own") <= 3, `ran after ${order.indexOf("normal own")} calls`);
});

it("the background call of one client runs while others flood the mailbox, and slows down none of its own", async ({
  mock,
}) => {
  freezeTime(mock);
  const rig = createRig({ begunMax: 1 });
  const [flooder, upkeep] = [connect(rig), connect(rig)];
  const replies = [flooder.post(envelope("background own", ...numbered("normal f", 40)))];
  await groupBegun();
  replies.push(upkeep.post(envelope("background upkeep")));
  rig.open();
  await Promise.all(replies);
  const order = rig.groups.flat();
  assert.ok(order.indexOf("background upkeep") <= 2, `ran after ${order.indexOf("background upkeep")} calls`);
  assert.ok(order.indexOf("background own") <= 10, `ran after ${order.indexOf("background own")} calls`);
});

it("the input of a call is read when its turn comes, and at its client's expense", async () => {
  const decoded: string[] = [];
  const rig = createRig({ limits: { groupMs: 5 }, begunMax: 1, onDecode: (name) => void decoded.push(name) });
  const [flooder, other] = [connect(rig), connect(rig)];
  const first = other.post(envelope("normal first"));
  await groupBegun();
  const replies = [flooder.post(envelope(...numbered("normal busy", 60)))];
  replies.push(other.post(envelope("normal other")));
  assert.deepEqual(decoded, ["normal first"]);
  rig.open();
  await Promise.all([first, ...replies]);
  // Decoding takes 10 ms here, and a group is filled for at most twice its 5 ms.
  assert.ok(decoded.indexOf("normal other") <= 3, JSON.stringify(decoded));
});

it("an urgent call overtakes no earlier call of its client on the same entity, and those on others", async () => {
  const rig = createRig();
  const client = connect(rig);
  const first = client.post(envelope("normal first"));
  await groupBegun();
  const replies = [
    client.post(envelope("normal other a", "normal tokens revoke")),
    client.post(envelope("urgent tokens verify")),
  ];
  replies.push(client.post(envelope("urgent runners beat")));
  rig.open();
  await Promise.all([first, ...replies]);
  assert.deepEqual(rig.groups[1], [
    "urgent runners beat",
    "normal other a",
    "normal tokens revoke",
    "urgent tokens verify",
  ]);
  // When the earlier call is answered, or cancelled, urgent calls are first again.
  const posted = envelope("normal other b", "normal tokens revoke");
  const last = [client.post(posted), client.post(envelope("urgent tokens verify"))];
  client.cancel(posted[0], 1);
  last.push(client.post(envelope("urgent tokens last")));
  await Promise.all(last);
  assert.deepEqual(rig.groups.at(-1)?.slice(0, 1), ["normal other b"]);
});

it("calls that a group had no time for wait for their client's turn, and hold up no other client", async ({ mock }) => {
  freezeTime(mock);
  const rig = createRig({ begunMax: 1 });
  const [flooder, other] = [connect(rig), connect(rig)];
  const flood = flooder.post(envelope(...numbered("normal f", 40)));
  await groupBegun();
  const single = other.post(envelope("normal once"));
  rig.open();
  await Promise.all([flood, single]);
  assert.ok(rig.groups.findIndex(([name]) => name === "normal once") <= 2, JSON.stringify(rig.groups.slice(0, 5)));
  assert.deepEqual(
    rig.groups.flat().filter((name) => name !== "normal once"),
    numbered("normal f", 40),
  );
});

it("calls that a group had no time for go first the next time", async ({ mock }) => {
  freezeTime(mock);
  const rig = createRig({ begunMax: 1 });
  const [a, b] = [connect(rig), connect(rig)];
  const replies = [a.post(envelope("normal 1", "normal 2", "normal 3")), b.post(envelope("normal 4"))];
  rig.open();
  assert.deepEqual((await Promise.all(replies)).map(resultsOf), [["normal 1", "normal 2", "normal 3"], ["normal 4"]]);
  assert.deepEqual(
    rig.groups.flat().filter((name) => name !== "normal 4"),
    ["normal 1", "normal 2", "normal 3"],
  );
});

it("urgent calls of one client run in order, also when a group had no time for them", async () => {
  const rig = createRig({ begunMax: 1 });
  const client = connect(rig);
  const replies = [client.post(envelope("urgent a", "urgent b", "urgent c"))];
  await groupBegun();
  replies.push(client.post(envelope("urgent d")));
  rig.open();
  await Promise.all(replies);
  assert.deepEqual(rig.groups.flat(), ["urgent a", "urgent b", "urgent c", "urgent d"]);
});

it("the calls of one client run in order, across all groups", async () => {
  const rig = createRig({ limits: { groupCalls: 3 } });
  const [a, b] = [connect(rig), connect(rig)];
  const replies = [a.post(envelope(...numbered("normal a", 11))), b.post(envelope(...numbered("normal b", 11)))];
  rig.open();
  await Promise.all(replies);
  for (const prefix of ["normal a", "normal b"])
    assert.deepEqual(
      rig.groups.flat().filter((name) => name.startsWith(prefix)),
      numbered(prefix, 11),
    );
});

it("a client's urgent calls run before its other calls, and its background calls after them", async () => {
  const rig = createRig();
  const client = connect(rig);
  const reply = client.post(envelope("background x", "normal a1", "normal a2", "urgent b2"));
  rig.open();
  await reply;
  assert.deepEqual(rig.groups, [["urgent b2", "normal a1", "normal a2", "background x"]]);
});

it("a background call is the last of its group", async () => {
  const rig = createRig();
  const [a, b] = [connect(rig), connect(rig)];
  const replies = [a.post(envelope("background x", "background y")), b.post(envelope("normal a1", "normal a2"))];
  rig.open();
  await Promise.all(replies);
  for (const group of rig.groups) assert.ok(group.slice(0, -1).every((name) => name.startsWith("normal")));
});

it("a group holds at most limits.groupCalls calls", async () => {
  const rig = createRig({ limits: { groupCalls: 5 } });
  const reply = connect(rig).post(envelope(...numbered("normal ", 12)));
  rig.open();
  await reply;
  assert.deepEqual(
    rig.groups.map(({ length }) => length),
    [5, 5, 2],
  );
});

it("a transaction is one entry, and its failure is one answer", async () => {
  const rig = createRig({
    outcomeOf: ({ name }) =>
      name === "normal bad"
        ? { answers: [[false, ["conflict", "", "rolled_back", { index: 1 }]]], parkOn: undefined }
        : undefined,
  });
  const inbox = connect(rig);
  const replies = [inbox.post(atomic("normal a", "normal b")), inbox.post(atomic("normal bad", "normal c"))];
  rig.open();
  assert.deepEqual((await Promise.all(replies)).map(resultsOf), [["normal a", "normal b"], ["conflict"]]);
  assert.deepEqual(rig.groups, [["normal a+normal b", "normal bad+normal c"]]);
});

it("a call that admission refuses does not stop the other calls of its envelope", async () => {
  const rig = createRig();
  rig.open();
  assert.deepEqual(resultsOf(await connect(rig).post(envelope("normal a", "unknown b", "normal c"))), [
    "normal a",
    "unknown_operation",
    "normal c",
  ]);
  assert.deepEqual(resultsOf(await connect(rig).post(envelope("unknown b"))), ["unknown_operation"]);
  assert.deepEqual(resultsOf(await connect(rig).post(atomic("normal a", "unknown b"))), ["unknown_operation"]);
});

it("a call that may wait is refused in an atomic envelope, whatever its client has checked", async () => {
  const rig = createRig();
  rig.open();
  const [id, , calls] = waiting("normal wait", 1_000);
  assert.deepEqual(resultsOf(await connect(rig).post([id, true, [...envelope("normal a")[2], ...calls]])), [
    "invalid_input",
  ]);
  assert.deepEqual(rig.groups, []);
});

it("a client reaches only the operations that its inbox allows", async () => {
  const rig = createRig();
  rig.open();
  const inbox = rig.mailbox.connect((name) => name === "normal allowed");
  assert.deepEqual(resultsOf(await inbox.post(envelope("normal allowed", "normal other"))), [
    "normal allowed",
    "unknown_operation",
  ]);
});

it("an envelope id is refused while its envelope is unanswered, and may be used again afterwards", async () => {
  const rig = createRig();
  const inbox = connect(rig);
  const [id, ...rest] = envelope("normal a");
  const first = inbox.post([id, ...rest]);
  const second = inbox.post([id, false, envelope("normal b")[2]]);
  rig.open();
  const [, , [ok, failure]] = await second;
  assert.deepEqual(
    [ok, (failure as unknown[]).slice(0, 2)],
    [false, ["invalid_input", `envelope ${id} is not answered yet: use another id`]],
  );
  assert.deepEqual(resultsOf(await first), ["normal a"]);
  assert.deepEqual(resultsOf(await inbox.post([id, ...rest])), ["normal a"]);
});

it("a client with too many calls is refused with overloaded, other clients are not", async () => {
  const rig = createRig({ limits: { queueCalls: 3 } });
  const [a, b] = [connect(rig), connect(rig)];
  const first = a.post(envelope("normal 1", "normal 2"));
  const [, , answers] = await a.post(envelope("normal 3", "normal 4"));
  assert.deepEqual(
    [answers[0], (answers[1] as unknown[])[0], (answers[1] as unknown[])[2], answers.length],
    [false, "overloaded", "not_run", 4],
  );
  assert.ok(((answers[1] as { retryAfterMs: number }[])[3]?.retryAfterMs as number) > 0);
  const replies = [a.post(envelope("normal 5")), b.post(envelope("normal 6", "normal 7", "normal 8"))];
  rig.open();
  assert.deepEqual((await Promise.all([first, ...replies])).flatMap(resultsOf).length, 6);
  assert.deepEqual(resultsOf(await a.post(envelope("normal 9", "normal 10", "normal 11"))), [
    "normal 9",
    "normal 10",
    "normal 11",
  ]);
});

it("a client with too many bytes is refused with overloaded", async () => {
  const rig = createRig({ limits: { queueBytes: 1_000 } });
  const inbox = connect(rig);
  const large = (): Envelope => [++envelopeId, false, ["normal a", ["read", 0, "x".repeat(600)], undefined]];
  const first = inbox.post(large());
  assert.deepEqual(resultsOf(await inbox.post(large())), ["overloaded"]);
  rig.open();
  await first;
  assert.deepEqual(resultsOf(await inbox.post(large())), ["normal a"]);
});

it("the results of one client are bounded in each group, and a call alone always runs", async () => {
  const rig = createRig({ limits: { resultBytes: 130 } });
  const [client, other] = [connect(rig), connect(rig)];
  const reply = client.post(envelope("normal large", "normal large", "normal large", "normal small"));
  const another = other.post(envelope("normal large"));
  rig.open();
  assert.deepEqual(resultsOf(await reply), ["normal large", "normal large", "normal large", "normal small"]);
  assert.deepEqual(resultsOf(await another), ["normal large"]);
  assert.deepEqual(
    rig.groups.map(({ length }) => length),
    [3, 2],
  );
  const alone = createRig({ limits: { resultBytes: 50 } });
  alone.open();
  assert.deepEqual(resultsOf(await connect(alone).post(envelope("normal large"))), ["normal large"]);
});

it("a call that waits holds no part of its client's results, however many wait", async () => {
  const rig = createRig({ limits: { resultBytes: 130 }, outcomeOf: alwaysNothing });
  rig.open();
  const client = connect(rig);
  const replies = numbered("normal large wait ", 40).map((name) => client.post(waiting(name, 60_000)));
  // An answered call shows that the groups before it have run.
  assert.deepEqual(resultsOf(await client.post(envelope("normal large"))), ["normal large"]);
  await client.post(envelope("normal small"));
  assert.equal(rig.mailbox.figures().parked, 40);
  assert.deepEqual(resultsOf(await client.post(envelope("normal large", "normal large"))), [
    "normal large",
    "normal large",
  ]);
  await rig.mailbox.close();
  assert.deepEqual((await Promise.all(replies)).flatMap(resultsOf), Array(40).fill("closed"));
});

it("calls that were woken together share groups only as far as their results are bounded", async () => {
  const rig = createRig({ limits: { resultBytes: 130 }, outcomeOf: nothingUntil(6) });
  const [client, other] = [connect(rig), connect(rig)];
  const replies = numbered("normal large wait ", 5).map((name) => client.post(waiting(name, 60_000)));
  rig.open();
  while (rig.mailbox.figures().parked !== 5) await groupBegun();
  const groupsBefore = rig.groups.length;
  rig.mailbox.touch(["topic"]);
  replies.push(other.post(envelope("normal other")));
  assert.deepEqual((await Promise.all(replies)).flatMap(resultsOf).length, 6);
  const woken = rig.groups.slice(groupsBefore);
  assert.deepEqual(
    woken.map((group) => group.filter((name) => name.includes("large")).length),
    [2, 2, 1],
  );
  assert.ok(woken[0]?.includes("normal other"));
});

it("a call that is cancelled in the queue counts until its turn comes, so that cancelled calls cannot fill the memory", async () => {
  const rig = createRig({ limits: { queueCalls: 10, groupCalls: 1 } });
  const client = connect(rig);
  const first = client.post(envelope("normal first"));
  await groupBegun();
  const codes: unknown[] = [];
  for (const name of numbered("normal ", 20)) {
    const posted = envelope(name);
    const reply = client.post(posted);
    client.cancel(posted[0], 0);
    codes.push(...resultsOf(await reply));
  }
  assert.deepEqual(codes, [...Array(9).fill("aborted"), ...Array(11).fill("overloaded")]);
  rig.open();
  await first;
  assert.deepEqual(resultsOf(await client.post(envelope("normal last"))), ["normal last"]);
  assert.equal(rig.mailbox.figures().queued, 0);
});

it("a call that is cancelled before it runs is answered with aborted and does not run", async () => {
  const rig = createRig();
  const inbox = connect(rig);
  const running = inbox.post(envelope("normal first"));
  await groupBegun();
  const [id, ...rest] = envelope("normal a", "normal b");
  const reply = inbox.post([id, ...rest]);
  inbox.cancel(id, 0);
  inbox.cancel(id, 9);
  inbox.cancel(99_999, 0);
  rig.open();
  await running;
  assert.deepEqual(resultsOf(await reply), ["aborted", "normal b"]);
  assert.deepEqual(rig.groups, [["normal first"], ["normal b"]]);
});

it("a call is not cancelled any more once its group has begun", async () => {
  const rig = createRig();
  const inbox = connect(rig);
  const [id, ...rest] = envelope("normal a");
  const reply = inbox.post([id, ...rest]);
  await groupBegun();
  inbox.cancel(id, 0);
  rig.open();
  assert.deepEqual(resultsOf(await reply), ["normal a"]);
});

it("a call that was cancelled while its group ran, and found nothing, is not parked", async () => {
  const rig = createRig({ outcomeOf: alwaysNothing });
  const inbox = connect(rig);
  const [id, ...rest] = waiting("normal wait", 60_000);
  const reply = inbox.post([id, ...rest]);
  await groupBegun();
  inbox.cancel(id, 0);
  rig.open();
  assert.deepEqual(resultsOf(await reply), ["aborted"]);
  assert.deepEqual([rig.mailbox.figures().parked, rig.mailbox.figures().queued], [0, 0]);
});

it("a call that is cancelled while its group runs, before it has begun, does not run", async () => {
  const rig = createRig({ beginsLate: true });
  const inbox = connect(rig);
  const [id, ...rest] = envelope("normal a");
  const replies = [inbox.post(envelope("normal first")), inbox.post([id, ...rest])];
  await groupBegun();
  inbox.cancel(id, 0);
  rig.open();
  assert.deepEqual((await Promise.all(replies)).map(resultsOf), [["normal first"], ["aborted"]]);
  assert.deepEqual(rig.groups, [["normal first"]]);
  assert.equal(rig.mailbox.figures().queued, 0);
});

it("a call is answered although another of its envelope takes long", async () => {
  const held = Promise.withResolvers<void>();
  const rig = createRig({
    begunMax: 2,
    holdGroup: (names) => (names.includes("normal slow") ? held.promise : undefined),
  });
  rig.open();
  const inbox = connect(rig);
  const parts: Reply[] = [];
  const part = Promise.withResolvers<void>();
  const posted = envelope("normal 0", "normal 1", "normal slow");
  const last = inbox.post(posted, (one) => {
    parts.push(one);
    part.resolve();
  });
  await part.promise;
  assert.deepEqual(
    parts.map(([, seq, answers, slots]) => [seq, answers, slots]),
    [[1, [true, "normal 0", true, "normal 1"], [0, 1]]],
  );
  held.resolve();
  assert.deepEqual((await last).slice(2), [[true, "normal slow"], [2]]);
});

it("a cancel of a call that has run sends its answer at once", async () => {
  const held = Promise.withResolvers<void>();
  const rig = createRig({
    begunMax: 2,
    holdGroup: (names) => (names.includes("normal slow") ? held.promise : undefined),
  });
  rig.open();
  const inbox = connect(rig);
  const parts: Reply[] = [];
  const posted = envelope("normal 0", "normal 1", "normal slow");
  const last = inbox.post(posted, (one) => void parts.push(one));
  while (rig.groups.length === 0) await groupBegun();
  inbox.cancel(posted[0], 1);
  assert.deepEqual(
    parts.map(([, , answers, slots]) => [answers, slots]),
    [
      [
        [true, "normal 0", true, "normal 1"],
        [0, 1],
      ],
    ],
  );
  held.resolve();
  assert.deepEqual(resultsOf(await last), ["normal slow"]);
});

it("a call that was cancelled while its group ran, and had no time for it, does not run", async () => {
  const rig = createRig({ begunMax: 1 });
  const inbox = connect(rig);
  const [id, ...rest] = envelope("normal a");
  const first = inbox.post(envelope("normal first"));
  const reply = inbox.post([id, ...rest]);
  await groupBegun();
  inbox.cancel(id, 0);
  rig.open();
  await first;
  assert.deepEqual(resultsOf(await reply), ["aborted"]);
  await rig.mailbox.close();
  assert.deepEqual(rig.groups, [["normal first"]]);
  assert.equal(rig.mailbox.figures().queued, 0);
});

it("a call that its group had no time for can be cancelled again", async () => {
  const rig = createRig({ begunMax: 1 });
  const inbox = connect(rig);
  const [id, ...rest] = envelope("normal a");
  const first = inbox.post(envelope("normal first"));
  const reply = inbox.post([id, ...rest]);
  rig.open();
  await first;
  inbox.cancel(id, 0);
  assert.deepEqual(resultsOf(await reply), ["aborted"]);
  await rig.mailbox.close();
  assert.deepEqual(rig.groups, [["normal first"]]);
  assert.equal(rig.mailbox.figures().queued, 0);
});

it("a transaction is cancelled as a whole", async () => {
  const rig = createRig();
  const inbox = connect(rig);
  const [id, ...rest] = atomic("normal a", "normal b");
  const reply = inbox.post([id, ...rest]);
  inbox.cancel(id, 0);
  rig.open();
  assert.deepEqual(resultsOf(await reply), ["aborted"]);
  assert.deepEqual(rig.groups, []);
});

it("a parked call runs again after a commit that touched its topic, and not after others", async () => {
  const rig = createRig({ outcomeOf: nothingUntil(3) });
  rig.open();
  const [a, b] = [connect(rig), connect(rig)];
  const tries = () => rig.groups.flat().filter((name) => name === "normal wait").length;
  const reply = a.post(waiting("normal wait", 60_000));
  await b.post(envelope("normal other"));
  assert.deepEqual([tries(), rig.mailbox.figures().parked], [1, 1]);
  await b.post(envelope("normal touch"));
  await b.post(envelope("normal other"));
  assert.equal(tries(), 2);
  await b.post(envelope("normal touch"));
  assert.deepEqual(resultsOf(await reply), ["normal wait"]);
  assert.equal(rig.mailbox.figures().parked, 0);
});

it("a parked call runs again in the normal lane, whatever its own lane is", async () => {
  const rig = createRig({ outcomeOf: nothingUntil(2) });
  rig.open();
  const [a, b] = [connect(rig), connect(rig)];
  const reply = a.post(waiting("urgent wait", 60_000));
  await b.post(envelope("normal other"));
  rig.mailbox.touch(["topic"]);
  const { urgent, normal } = rig.mailbox.lanes();
  assert.deepEqual([urgent.queued, normal.queued], [0, 1]);
  assert.deepEqual(resultsOf(await reply), ["urgent wait"]);
  assert.equal(rig.mailbox.lanes().normal.calls, 2);
});

for (const touched of [["topic"], "all"] as const) {
  it(`a call runs again at once when ${touched} was touched elsewhere while its group ran`, async () => {
    const rig = createRig({ outcomeOf: nothingUntil(2) });
    const [a, b] = [connect(rig), connect(rig)];
    const reply = a.post(waiting("normal wait", 60_000));
    await groupBegun();
    rig.mailbox.touch(touched);
    const other = b.post(envelope("normal other"));
    rig.open();
    await other;
    assert.deepEqual([rig.groups[0], rig.mailbox.figures().parked], [["normal wait"], 0]);
    assert.deepEqual(resultsOf(await reply), ["normal wait"]);
  });

  it(`a call is parked when ${touched} was touched elsewhere before any group ran`, async () => {
    const rig = createRig({ outcomeOf: nothingUntil(2) });
    const [a, b] = [connect(rig), connect(rig)];
    rig.open();
    rig.mailbox.touch(touched);
    const reply = a.post(waiting("normal wait", 60_000));
    await b.post(envelope("normal other"));
    assert.equal(rig.mailbox.figures().parked, 1);
    rig.mailbox.touch(touched);
    assert.deepEqual(resultsOf(await reply), ["normal wait"]);
  });

  it(`a call is parked when ${touched} was touched elsewhere while an earlier group ran`, async () => {
    const rig = createRig({ outcomeOf: nothingUntil(2) });
    const [a, b] = [connect(rig), connect(rig)];
    const first = b.post(envelope("normal first"));
    await groupBegun();
    rig.mailbox.touch(touched);
    const reply = a.post(waiting("normal wait", 60_000));
    rig.open();
    await first;
    await b.post(envelope("normal other"));
    assert.equal(rig.mailbox.figures().parked, 1);
    rig.mailbox.touch(touched);
    assert.deepEqual(resultsOf(await reply), ["normal wait"]);
  });
}

it("a call is parked when only other topics were touched elsewhere while its group ran", async () => {
  const rig = createRig({ outcomeOf: nothingUntil(2) });
  const [a, b] = [connect(rig), connect(rig)];
  const reply = a.post(waiting("normal wait", 60_000));
  await groupBegun();
  rig.mailbox.touch(["another topic"]);
  const other = b.post(envelope("normal other"));
  rig.open();
  await other;
  assert.equal(rig.mailbox.figures().parked, 1);
  rig.mailbox.touch(["topic"]);
  assert.deepEqual(resultsOf(await reply), ["normal wait"]);
});

it("a parked call whose time is up is answered with what it found", async (t) => {
  mockTime(t.mock, { apis: ["setTimeout"] });
  const rig = createRig({ outcomeOf: alwaysNothing });
  rig.open();
  const inbox = connect(rig);
  assert.deepEqual(resultsOf(await inbox.post(waiting("normal wait", 0))), ["nothing"]);
  const reply = inbox.post(waiting("normal wait", 60_000));
  await inbox.post(envelope("normal other"));
  assert.equal(rig.mailbox.figures().parked, 1);
  t.mock.timers.tick(60_000);
  assert.deepEqual(resultsOf(await reply), ["nothing"]);
});

it("parked calls are bounded for each client, can be cancelled, and are dropped with their client", async () => {
  const rig = createRig({ limits: { parkedCalls: 2 }, outcomeOf: alwaysNothing });
  rig.open();
  const [a, b] = [connect(rig), connect(rig)];
  const [id, ...rest] = waiting("normal wait", 60_000);
  const first = a.post([id, ...rest]);
  void a.post(waiting("normal wait", 60_000));
  assert.deepEqual(resultsOf(await a.post(waiting("normal wait", 60_000))), ["overloaded"]);
  void b.post(waiting("normal wait", 60_000));
  await b.post(envelope("normal other"));
  assert.equal(rig.mailbox.figures().parked, 3);
  a.cancel(id, 0);
  assert.deepEqual(resultsOf(await first), ["aborted"]);
  assert.equal(rig.mailbox.figures().parked, 2);
  a.disconnect();
  b.disconnect();
  assert.equal(rig.mailbox.figures().parked, 0);
});

it("a client may park as many calls again once its parked calls were answered, cancelled, or woken", async () => {
  const rig = createRig({ limits: { parkedCalls: 1 }, outcomeOf: alwaysNothing });
  rig.open();
  const inbox = connect(rig);
  assert.deepEqual(resultsOf(await inbox.post(waiting("normal wait", 1))), ["nothing"]);
  const posted = waiting("normal wait", 60_000);
  const cancelled = inbox.post(posted);
  await inbox.post(envelope("normal other"));
  inbox.cancel(posted[0], 0);
  assert.deepEqual(resultsOf(await cancelled), ["aborted"]);
  const woken = inbox.post(waiting("normal wait", 60_000));
  await inbox.post(envelope("normal touch"));
  await inbox.post(envelope("normal other"));
  assert.equal(rig.mailbox.figures().parked, 1);
  await rig.mailbox.close();
  assert.deepEqual(resultsOf(await woken), ["closed"]);
});

it("the queued calls of a client that disconnects do not run", async () => {
  const rig = createRig();
  const [a, b] = [connect(rig), connect(rig)];
  void a.post(envelope("normal a"));
  const reply = b.post(envelope("normal b"));
  a.disconnect();
  rig.open();
  await reply;
  assert.deepEqual(rig.groups, [["normal b"]]);
});

it("a client that disconnects while its group runs leaves no call in the queue, and none parked", async () => {
  const rig = createRig({ begunMax: 1, outcomeOf: alwaysNothing });
  const [a, b] = [connect(rig), connect(rig)];
  void a.post(waiting("normal wait", 60_000));
  void a.post(envelope("normal a"));
  await groupBegun();
  a.disconnect();
  rig.open();
  await b.post(envelope("normal b"));
  assert.deepEqual(rig.groups, [["normal wait"], ["normal b"]]);
  assert.deepEqual([rig.mailbox.figures().parked, rig.mailbox.figures().queued], [0, 0]);
});

it("close runs what is queued, ends what is parked, and admits nothing more", async () => {
  const rig = createRig({ outcomeOf: alwaysNothing });
  const inbox = connect(rig);
  rig.open();
  const parked = inbox.post(waiting("normal wait", 60_000));
  await inbox.post(envelope("normal first"));
  const queued = inbox.post(envelope("normal queued"));
  const closed = rig.mailbox.close();
  assert.deepEqual(resultsOf(await inbox.post(envelope("normal late"))), ["closed"]);
  await closed;
  assert.deepEqual([resultsOf(await parked), resultsOf(await queued)], [["closed"], ["normal queued"]]);
});

it("a call that finds nothing while the mailbox closes is answered instead of being parked", async () => {
  const rig = createRig({ outcomeOf: alwaysNothing });
  const reply = connect(rig).post(waiting("normal wait", 60_000));
  const closed = rig.mailbox.close();
  rig.open();
  await closed;
  assert.equal(rig.mailbox.figures().parked, 0);
  assert.deepEqual(resultsOf(await reply), ["nothing"]);
});

it("a fault that fails a whole group is reported", async () => {
  const rig = createRig({
    outcomeOf: () => {
      throw new StoreError("internal", "COMMIT returned and the transaction is still open", { outcome: "unknown" });
    },
  });
  rig.open();
  assert.deepEqual(resultsOf(await connect(rig).post(envelope("normal a"))), ["internal"]);
  assert.deepEqual(
    rig.faults.map(({ code }) => code),
    ["internal"],
  );
});

/**
 * Fails every group with a call for which `isBlocked` is true, as a driver does while another process holds the lock.
 */
const busyFor = (isBlocked: (name: string) => boolean): NonNullable<RigOptions["outcomeOf"]> => {
  return ({ name }) => {
    if (isBlocked(name)) throw new StoreError("busy");
    return undefined;
  };
};

it("however many writes wait for the lock, the reads of other clients run", async () => {
  let free = false;
  const outcomeOf = busyFor((name) => !free && name.includes("write"));
  const rig = createRig({ limits: { groupCalls: 4 }, outcomeOf });
  rig.open();
  const [a, b] = [connect(rig), connect(rig)];
  const writes = a.post(envelope(...numbered("normal write ", 20)));
  await groupBegun();
  assert.deepEqual(resultsOf(await b.post(envelope("normal read"))), ["normal read"]);
  free = true;
  await writes;
  assert.deepEqual(rig.groups.flat(), ["normal read", ...numbered("normal write ", 20)]);
});

it("while another process holds the lock, reads run, writes wait their turn, and each client keeps its order", async () => {
  let busy = 2;
  const rig = createRig({ outcomeOf: busyFor((name) => name.includes("write") && busy-- > 0) });
  rig.open();
  const [a, b] = [connect(rig), connect(rig)];
  const writer = a.post(envelope("normal a1", "normal write a2", "normal a3"));
  const reader = b.post(envelope("normal b1"));
  assert.deepEqual(resultsOf(await reader), ["normal b1"]);
  assert.deepEqual(rig.groups.flat().toSorted(), ["normal a1", "normal b1"]);
  assert.deepEqual(resultsOf(await writer), ["normal a1", "normal write a2", "normal a3"]);
  assert.deepEqual(rig.groups.flat().slice(2), ["normal write a2", "normal a3"]);
  assert.equal(rig.mailbox.figures().busyRetries, 2);
});

it("each client keeps its order when the database is busy and there is no time for all of its reads", async () => {
  let busy = 1;
  const rig = createRig({ begunMax: 1, outcomeOf: busyFor((name) => name.includes("a1") && busy-- > 0) });
  rig.open();
  const names = ["normal a1", "normal a2", "normal write a3", "normal a4"];
  await connect(rig).post(envelope(...names));
  assert.deepEqual(rig.groups.flat(), names);
});

it("each client keeps its order when the database is busy even for the reads of a group", async () => {
  let busy = 2;
  const rig = createRig({ outcomeOf: busyFor(() => busy-- > 0) });
  rig.open();
  await connect(rig).post(envelope("normal a1", "normal write a2", "normal a3"));
  assert.deepEqual(rig.groups.flat(), ["normal a1", "normal write a2", "normal a3"]);
});

it("a write that has waited for the lock for longer than limits.busyGiveUpMs fails with busy and does not run", async () => {
  const rig = createRig({
    limits: { busyGiveUpMs: 0 },
    outcomeOf: busyFor((name) => name.includes("write")),
  });
  rig.open();
  const inbox = connect(rig);
  assert.deepEqual(resultsOf(await inbox.post(envelope("normal write"))), ["busy"]);
  assert.deepEqual(resultsOf(await inbox.post(envelope("normal other"))), ["normal other"]);
  assert.deepEqual(
    [rig.groups, rig.writes, rig.mailbox.figures().queued],
    [[["normal other"]], ["busy", undefined], 0],
  );
});

it("a group whose transaction finds that the clock has moved runs again, in order, after the clock was followed", async () => {
  let [moved, checks] = [false, 0];
  const call = { name: "follow", operation: { access: "write", lane: "background", errors: [] }, waitMs: 0 } as never;
  const clockWatch: ClockWatch = {
    isSteady: () => {
      moved ||= ++checks === 1;
      return !moved;
    },
    due: () => (moved ? call : undefined),
    followed: () => {
      moved = false;
      return true;
    },
    settled: () => undefined,
    stop: () => undefined,
  };
  const rig = createRig({ clockWatch });
  rig.open();
  const inbox = connect(rig);
  const reply = await inbox.post(envelope("normal write a", "normal b", "normal write c"));
  assert.deepEqual(resultsOf(reply), ["normal write a", "normal b", "normal write c"]);
  assert.deepEqual(rig.groups, [["follow"], ["normal write a", "normal b", "normal write c"]]);
  assert.equal(rig.mailbox.figures().clockJumps, 1);
  await inbox.post(envelope("normal d"));
  assert.deepEqual(rig.groups.at(-1), ["normal d"]);
});

describe("calls that wait for a kind of topic", () => {
  /** Parks calls that wait for the kind "k" and find something when they run again, unless their name says otherwise. */
  async function parkedCalls(count: number) {
    const runs = new Map<string, number>();
    const outcomeOf: RigOptions["outcomeOf"] = ({ name }) => {
      if (!name.includes("wait")) return undefined;
      runs.set(name, (runs.get(name) ?? 0) + 1);
      const again = (runs.get(name) as number) > 1;
      if (again && name.includes("fails"))
        return { answers: [[false, ["conflict", "", "rolled_back", {}]]], parkOn: undefined };
      if (again && !name.includes("nothing")) return { answers: [[true, name]], parkOn: undefined };
      return { answers: [[true, "nothing"]], parkOn: [], kinds: ["k"] };
    };
    const rig = createRig({ outcomeOf });
    rig.open();
    const client = connect(rig);
    const calls: { id: number; reply: Promise<Reply> }[] = [];
    const park = async (name: string, from = client) => {
      const call = waiting(`normal wait ${name}`, 60_000);
      calls.push({ id: call[0] as number, reply: from.post(call) });
      await from.post(envelope("normal other"));
    };
    for (let n = 0; n < count; n++) await park(`${n}`);
    return { rig, client, calls, runs, park };
  }

  it("one of them is woken, the one that has waited longest, and when it has found something the next one", async () => {
    const { rig, calls, park } = await parkedCalls(1);
    await park("nothing");
    await park("last");
    assert.equal(rig.mailbox.wakeOne("k"), true);
    assert.deepEqual(resultsOf(await (calls[0] as (typeof calls)[0]).reply), ["normal wait 0"]);
    await connect(rig).post(envelope("normal other"));
    assert.deepEqual([rig.mailbox.figures().parked, rig.mailbox.wakeOne("other")], [2, false]);
  });

  it("the next one is woken when it was cancelled before it looked, has failed, or lost its client", async () => {
    const { rig, client, calls, park } = await parkedCalls(1);
    await park("fails");
    const lost = connect(rig);
    await park("of a client that goes", lost);
    await park("last");
    rig.mailbox.wakeOne("k");
    client.cancel((calls[0] as (typeof calls)[0]).id, 0);
    assert.deepEqual(resultsOf(await (calls[0] as (typeof calls)[0]).reply), ["aborted"]);
    assert.deepEqual(resultsOf(await (calls[1] as (typeof calls)[0]).reply), ["conflict"]);
    lost.disconnect();
    assert.deepEqual(resultsOf(await (calls[3] as (typeof calls)[0]).reply), ["normal wait last"]);
  });

  it("one that finds nothing wakes no other, and each that found something wakes the next one", async () => {
    const { rig, calls, park } = await parkedCalls(0);
    await park("nothing");
    await park("a");
    await park("b");
    rig.mailbox.wakeOne("k");
    await connect(rig).post(envelope("normal other"));
    assert.equal(rig.mailbox.figures().parked, 3);
    // "nothing" was parked again, behind the others.
    rig.mailbox.wakeOne("k");
    const found = await Promise.all([calls[1]?.reply, calls[2]?.reply]);
    assert.deepEqual(
      found.flatMap((reply) => resultsOf(reply as Reply)),
      ["normal wait a", "normal wait b"],
    );
    await connect(rig).post(envelope("normal other"));
    assert.equal(rig.mailbox.figures().parked, 1);
  });
});
