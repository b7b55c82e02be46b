// The mailbox without thread or database: turns, lanes, groups, bounds, cancelling.
import assert from "node:assert/strict";
import { it } from "node:test";
import { type Inbox, Mailbox } from "../../../src/actor/mailbox.ts";
import { testClock } from "../../../src/clock.ts";
import type { Dispatcher, Outcome } from "../../../src/dispatch.ts";
import { StoreError } from "../../../src/errors.ts";
import { defaultLimits, type Limits } from "../../../src/limits.ts";
import type { Call } from "../../../src/operation.ts";
import type { Envelope, Reply } from "../../../src/wire.ts";

interface Rig {
  readonly mailbox: Mailbox;
  /** The names of each group that ran, in order; a transaction is one text. */
  readonly groups: string[][];
  readonly faults: readonly StoreError[];
  /** Lets groups run; before it they wait. */
  open(): void;
}

type Answer = (call: Call) => Outcome | undefined;

/** Calls are names such as "urgent a"; the first word is the lane. `answer` may park or fail a call. */
function rig({
  limits = {},
  answer = () => undefined,
  begunMax,
}: {
  limits?: Partial<Limits>;
  answer?: Answer;
  begunMax?: number;
} = {}): Rig {
  const groups: string[][] = [];
  const gate = Promise.withResolvers<void>();
  const dispatcher: Dispatcher = {
    decodeCall(name, wire, caller) {
      const [lane] = String(name).split(" ");
      if (lane === "unknown") throw new StoreError("unknown_operation");
      const [access, waitMs] = wire as ["read" | "write", number];
      return {
        name: String(name),
        operation: { lane, access, errors: [], resultBytes: () => Number(name === "normal large") * 60 } as never,
        input: wire as never,
        caller,
        waitMs: waitMs ?? 0,
      };
    },
    async runTransaction(jobs) {
      await gate.promise;
      const begun = jobs.slice(0, begunMax ?? jobs.length);
      groups.push(begun.map((calls) => calls.map(({ name }) => name).join("+")));
      const outcomes = begun.map(
        (calls) =>
          answer(calls[0] as Call) ?? { answers: calls.map(({ name }) => [true, name] as const), parkOn: undefined },
      );
      return {
        outcomes,
        topics: new Set(begun.flat().flatMap(({ name }) => (name.startsWith("normal touch") ? ["topic"] : []))),
        wrote: true,
      };
    },
  };
  const faults: StoreError[] = [];
  const onFault = (error: StoreError) => void faults.push(error);
  const mailbox = new Mailbox({
    dispatcher,
    limits: { ...defaultLimits, ...limits },
    clock: testClock(),
    epoch: 7,
    dataVersion: undefined,
    onFault,
  });
  return { mailbox, groups, faults, open: gate.resolve };
}

/** Answers calls named "normal wait" with "nothing yet" until the try of this number. */
const findsNothingUntil = (lastTry: number): Answer => {
  let tries = 0;
  return ({ name }) =>
    name === "normal wait" && ++tries < lastTry ? { answers: [[true, "over"]], parkOn: ["topic"] } : undefined;
};

let envelopeId = 0;
const envelope = (...names: string[]): Envelope => [
  ++envelopeId,
  false,
  names.flatMap((name) => [name, ["read"], undefined]),
];
const atomic = (...names: string[]): Envelope => [
  ++envelopeId,
  true,
  names.flatMap((name) => [name, ["write"], undefined]),
];
const waiting = (name: string, waitMs: number): Envelope => [++envelopeId, false, [name, ["read", waitMs], undefined]];

/** The answers of a reply: a result, or a code. */
const told = ([, , answers]: Reply) =>
  Array.from({ length: answers.length / 2 }, (_, n) =>
    answers[n * 2] === true ? answers[n * 2 + 1] : (answers[n * 2 + 1] as string[])[0],
  );

const connect = ({ mailbox }: Rig): Inbox => mailbox.connect(() => true);

it("an envelope's calls are answered together, in order, with the epoch and the commit's number", async () => {
  const one = rig();
  one.open();
  const [epoch, commitSeq, answers] = await connect(one).post(envelope("normal a", "normal b"));
  assert.deepEqual([epoch, commitSeq, answers], [7, 1, [true, "normal a", true, "normal b"]]);
  const [, next] = await connect(one).post(envelope("normal c"));
  assert.equal(next, 2);
});

it("what arrives while a group runs shares the next one", async () => {
  const one = rig();
  const [a, b] = [connect(one), connect(one)];
  const replies = [a.post(envelope("normal a1"))];
  await new Promise(setImmediate);
  replies.push(b.post(envelope("normal b1")), a.post(envelope("normal a2", "normal a3")));
  one.open();
  await Promise.all(replies);
  assert.equal(one.groups.length, 2);
  assert.deepEqual(one.groups[1]?.toSorted(), ["normal a2", "normal a3", "normal b1"]);
});

it("clients take turns: one that floods does not hold up one that asks once", async () => {
  const one = rig({ limits: { groupCalls: 4 } });
  const [flooder, other] = [connect(one), connect(one)];
  const flood = flooder.post(envelope(...Array.from({ length: 40 }, (_, n) => `normal f${n}`)));
  const single = other.post(envelope("normal once"));
  one.open();
  await Promise.all([flood, single]);
  assert.ok(one.groups[0]?.includes("normal once"), JSON.stringify(one.groups[0]));
});

it("who was first in turn is last next time, so that groups too small for all still reach all", async () => {
  const one = rig({ limits: { groupCalls: 1 } });
  const [a, b] = [connect(one), connect(one)];
  const replies = [
    a.post(envelope("normal a1", "normal a2", "normal a3")),
    b.post(envelope("normal b1", "normal b2", "normal b3")),
  ];
  one.open();
  await Promise.all(replies);
  assert.deepEqual(one.groups.flat(), ["normal a1", "normal b1", "normal a2", "normal b2", "normal a3", "normal b3"]);
});

it("what a group had no time for waits its client's turn, and holds up nobody else", async () => {
  const one = rig({ begunMax: 1 });
  const [flooder, other] = [connect(one), connect(one)];
  const flood = flooder.post(envelope(...Array.from({ length: 40 }, (_, n) => `normal f${n}`)));
  await new Promise(setImmediate);
  const single = other.post(envelope("normal once"));
  one.open();
  await Promise.all([flood, single]);
  assert.ok(one.groups.findIndex(([name]) => name === "normal once") <= 2, JSON.stringify(one.groups.slice(0, 5)));
  assert.deepEqual(
    one.groups.flat().filter((name) => name !== "normal once"),
    Array.from({ length: 40 }, (_, n) => `normal f${n}`),
  );
});

it("urgent calls of one client run in its order, also when a group had no time for them", async () => {
  const one = rig({ begunMax: 1 });
  const client = connect(one);
  const replies = [client.post(envelope("urgent a", "urgent b", "urgent c"))];
  await new Promise(setImmediate);
  replies.push(client.post(envelope("urgent d")));
  one.open();
  await Promise.all(replies);
  assert.deepEqual(one.groups.flat(), ["urgent a", "urgent b", "urgent c", "urgent d"]);
});

it("calls that were cancelled in the queue count until their place is reached, so that nobody can fill the memory with them", async () => {
  const one = rig({ limits: { queueCalls: 10, groupCalls: 1 } });
  const client = connect(one);
  const first = client.post(envelope("normal first"));
  await new Promise(setImmediate);
  const codes: unknown[] = [];
  for (let n = 0; n < 20; n++) {
    const sent = envelope(`normal ${n}`);
    const reply = client.post(sent);
    client.cancel(sent[0], 0);
    codes.push(...told(await reply));
  }
  assert.deepEqual(codes, [...Array(9).fill("aborted"), ...Array(11).fill("overloaded")]);
  one.open();
  await first;
  assert.deepEqual(told(await client.post(envelope("normal last"))), ["normal last"]);
  assert.equal(one.mailbox.figures().queued, 0);
});

it("large results of one client are bounded; what goes beyond is overloaded, and one alone always goes", async () => {
  const one = rig({ limits: { resultBytes: 130 } });
  const [client, other] = [connect(one), connect(one)];
  const reply = client.post(envelope("normal large", "normal large", "normal large", "normal small"));
  const another = other.post(envelope("normal large"));
  one.open();
  assert.deepEqual(told(await reply), ["normal large", "normal large", "overloaded", "normal small"]);
  assert.deepEqual(told(await another), ["normal large"]);
  assert.deepEqual(told(await client.post(envelope("normal large"))), ["normal large"]);
});

it("a fault of a whole group is told to whom it concerns", async () => {
  const one = rig({
    answer: () => {
      throw new StoreError("internal", "COMMIT returned and the transaction is still open", { outcome: "unknown" });
    },
  });
  one.open();
  assert.deepEqual(told(await connect(one).post(envelope("normal a"))), ["internal"]);
  assert.deepEqual(
    one.faults.map(({ code }) => code),
    ["internal"],
  );
});

it("the calls of one client run in its order, over all groups", async () => {
  const one = rig({ limits: { groupCalls: 3 } });
  const [a, b] = [connect(one), connect(one)];
  const names = (client: string) => Array.from({ length: 11 }, (_, n) => `normal ${client}${n}`);
  const replies = [a.post(envelope(...names("a"))), b.post(envelope(...names("b")))];
  one.open();
  await Promise.all(replies);
  const ran = one.groups.flat();
  for (const client of ["a", "b"])
    assert.deepEqual(
      ran.filter((name) => name.startsWith(`normal ${client}`)),
      names(client),
    );
});

it("urgent calls go before everybody's others, background calls after", async () => {
  const one = rig();
  const [a, b] = [connect(one), connect(one)];
  const replies = [
    a.post(envelope("background x", "normal a1", "normal a2")),
    b.post(envelope("normal b1", "urgent b2")),
  ];
  one.open();
  await Promise.all(replies);
  const [group] = one.groups as [string[]];
  assert.equal(group[0], "urgent b2");
  assert.equal(group.at(-1), "background x");
});

it("urgent calls take at most half of a group, so that they cannot keep normal calls from running", async () => {
  const one = rig({ limits: { groupCalls: 4 } });
  const [urgent, normal] = [connect(one), connect(one)];
  const replies = [
    urgent.post(envelope(...Array.from({ length: 6 }, (_, n) => `urgent ${n}`))),
    normal.post(envelope("normal a", "normal b", "normal c")),
  ];
  one.open();
  await Promise.all(replies);
  assert.deepEqual(one.groups.slice(0, 2), [
    ["urgent 0", "urgent 1", "normal a", "normal b"],
    ["urgent 2", "urgent 3", "normal c"],
  ]);
});

it("a group holds at most so many calls", async () => {
  const one = rig({ limits: { groupCalls: 5 } });
  const reply = connect(one).post(envelope(...Array.from({ length: 12 }, (_, n) => `normal ${n}`)));
  one.open();
  await reply;
  assert.deepEqual(
    one.groups.map(({ length }) => length),
    [5, 5, 2],
  );
});

it("what was not begun, because the time was up, goes first next time", async () => {
  const one = rig({ begunMax: 1 });
  const [a, b] = [connect(one), connect(one)];
  const replies = [a.post(envelope("normal 1", "normal 2", "normal 3")), b.post(envelope("normal 4"))];
  one.open();
  assert.deepEqual((await Promise.all(replies)).map(told), [["normal 1", "normal 2", "normal 3"], ["normal 4"]]);
  assert.deepEqual(
    one.groups.flat().filter((name) => name !== "normal 4"),
    ["normal 1", "normal 2", "normal 3"],
  );
});

it("a transaction is one entry, and its failure one answer", async () => {
  const one = rig({
    answer: ({ name }) =>
      name === "normal bad"
        ? { answers: [[false, ["conflict", "", "rolled_back", { index: 1 }]]], parkOn: undefined }
        : undefined,
  });
  const inbox = connect(one);
  const replies = [inbox.post(atomic("normal a", "normal b")), inbox.post(atomic("normal bad", "normal c"))];
  one.open();
  assert.deepEqual((await Promise.all(replies)).map(told), [["normal a", "normal b"], ["conflict"]]);
  assert.deepEqual(one.groups, [["normal a+normal b", "normal bad+normal c"]]);
});

it("one call that is refused at the door does not keep the others of its envelope", async () => {
  const one = rig();
  one.open();
  assert.deepEqual(told(await connect(one).post(envelope("normal a", "unknown b", "normal c"))), [
    "normal a",
    "unknown_operation",
    "normal c",
  ]);
  assert.deepEqual(told(await connect(one).post(envelope("unknown b"))), ["unknown_operation"]);
  assert.deepEqual(told(await connect(one).post(atomic("normal a", "unknown b"))), ["unknown_operation"]);
});

it("a client reaches what its inbox allows", async () => {
  const one = rig();
  one.open();
  const inbox = one.mailbox.connect((name) => name === "normal allowed");
  assert.deepEqual(told(await inbox.post(envelope("normal allowed", "normal other"))), [
    "normal allowed",
    "unknown_operation",
  ]);
});

it("a client with too many calls is told overloaded, and others are not", async () => {
  const one = rig({ limits: { queueCalls: 3 } });
  const [a, b] = [connect(one), connect(one)];
  const first = a.post(envelope("normal 1", "normal 2"));
  const [, , answers] = await a.post(envelope("normal 3", "normal 4"));
  assert.deepEqual(
    [answers[0], (answers[1] as unknown[])[0], (answers[1] as unknown[])[2], answers.length],
    [false, "overloaded", "not_run", 4],
  );
  assert.ok(((answers[1] as { retryAfterMs: number }[])[3]?.retryAfterMs as number) > 0);
  const replies = [a.post(envelope("normal 5")), b.post(envelope("normal 6", "normal 7", "normal 8"))];
  one.open();
  assert.deepEqual((await Promise.all([first, ...replies])).flatMap(told).length, 6);
  assert.deepEqual(told(await a.post(envelope("normal 9", "normal 10", "normal 11"))), [
    "normal 9",
    "normal 10",
    "normal 11",
  ]);
});

it("a client with too many bytes is told overloaded", async () => {
  const one = rig({ limits: { queueBytes: 1_000 } });
  const inbox = connect(one);
  const large = (): Envelope => [++envelopeId, false, ["normal a", ["read", 0, "x".repeat(600)], undefined]];
  const first = inbox.post(large());
  assert.deepEqual(told(await inbox.post(large())), ["overloaded"]);
  one.open();
  await first;
  assert.deepEqual(told(await inbox.post(large())), ["normal a"]);
});

it("a call that is cancelled before it runs is answered aborted and does not run", async () => {
  const one = rig();
  const inbox = connect(one);
  const running = inbox.post(envelope("normal first"));
  await new Promise(setImmediate);
  const [id, ...rest] = envelope("normal a", "normal b");
  const reply = inbox.post([id, ...rest]);
  inbox.cancel(id, 0);
  inbox.cancel(id, 9);
  inbox.cancel(99_999, 0);
  one.open();
  await running;
  assert.deepEqual(told(await reply), ["aborted", "normal b"]);
  assert.deepEqual(one.groups, [["normal first"], ["normal b"]]);
});

it("a call that runs is not cancelled any more", async () => {
  const one = rig();
  const inbox = connect(one);
  const [id, ...rest] = envelope("normal a");
  const reply = inbox.post([id, ...rest]);
  await new Promise(setImmediate);
  inbox.cancel(id, 0);
  one.open();
  assert.deepEqual(told(await reply), ["normal a"]);
});

it("a transaction is cancelled as a whole", async () => {
  const one = rig();
  const inbox = connect(one);
  const [id, ...rest] = atomic("normal a", "normal b");
  const reply = inbox.post([id, ...rest]);
  inbox.cancel(id, 0);
  one.open();
  assert.deepEqual(told(await reply), ["aborted"]);
  assert.deepEqual(one.groups, []);
});

it("a parked call runs again after a commit that touched its topic, and not after others", async () => {
  let tries = 0;
  const one = rig({
    answer: ({ name }) =>
      name.startsWith("normal wait") && ++tries < 3 ? { answers: [[true, "over"]], parkOn: ["topic"] } : undefined,
  });
  one.open();
  const [a, b] = [connect(one), connect(one)];
  const reply = a.post(waiting("normal wait", 60_000));
  await b.post(envelope("normal other"));
  assert.deepEqual([tries, one.mailbox.figures().parked], [1, 1]);
  await b.post(envelope("normal touch"));
  await b.post(envelope("normal other"));
  assert.equal(tries, 2);
  await b.post(envelope("normal touch"));
  assert.deepEqual(told(await reply), ["normal wait"]);
  assert.equal(one.mailbox.figures().parked, 0);
});

for (const touched of [["topic"], "all"] as const) {
  it(`a call runs again at once when ${touched} was touched elsewhere while its group ran`, async () => {
    const one = rig({ answer: findsNothingUntil(2) });
    const [a, b] = [connect(one), connect(one)];
    const reply = a.post(waiting("normal wait", 60_000));
    await new Promise(setImmediate);
    one.mailbox.touch(touched);
    const other = b.post(envelope("normal other"));
    one.open();
    await other;
    assert.deepEqual([one.groups[0], one.mailbox.figures().parked], [["normal wait"], 0]);
    assert.deepEqual(told(await reply), ["normal wait"]);
  });

  it(`a call is parked when ${touched} was touched elsewhere before any group ran`, async () => {
    const one = rig({ answer: findsNothingUntil(2) });
    const [a, b] = [connect(one), connect(one)];
    one.open();
    one.mailbox.touch(touched);
    const reply = a.post(waiting("normal wait", 60_000));
    await b.post(envelope("normal other"));
    assert.equal(one.mailbox.figures().parked, 1);
    one.mailbox.touch(touched);
    assert.deepEqual(told(await reply), ["normal wait"]);
  });

  it(`a call is parked when ${touched} was touched elsewhere while an earlier group ran`, async () => {
    const one = rig({ answer: findsNothingUntil(2) });
    const [a, b] = [connect(one), connect(one)];
    const first = b.post(envelope("normal first"));
    await new Promise(setImmediate);
    one.mailbox.touch(touched);
    const reply = a.post(waiting("normal wait", 60_000));
    one.open();
    await first;
    await b.post(envelope("normal other"));
    assert.equal(one.mailbox.figures().parked, 1);
    one.mailbox.touch(touched);
    assert.deepEqual(told(await reply), ["normal wait"]);
  });
}

it("a call is parked when only other topics were touched elsewhere while its group ran", async () => {
  const one = rig({ answer: findsNothingUntil(2) });
  const [a, b] = [connect(one), connect(one)];
  const reply = a.post(waiting("normal wait", 60_000));
  await new Promise(setImmediate);
  one.mailbox.touch(["another topic"]);
  const other = b.post(envelope("normal other"));
  one.open();
  await other;
  assert.equal(one.mailbox.figures().parked, 1);
  one.mailbox.touch(["topic"]);
  assert.deepEqual(told(await reply), ["normal wait"]);
});

it("an envelope id is refused while its envelope is unanswered, and may be used again afterwards", async () => {
  const one = rig();
  const inbox = connect(one);
  const [id, ...rest] = envelope("normal a");
  const first = inbox.post([id, ...rest]);
  const [, , [ok, failure]] = await inbox.post([id, false, envelope("normal b")[2]]);
  assert.deepEqual(
    [ok, (failure as unknown[]).slice(0, 2)],
    [false, ["invalid_input", `envelope ${id} is not answered yet`]],
  );
  one.open();
  assert.deepEqual(told(await first), ["normal a"]);
  assert.deepEqual(told(await inbox.post([id, ...rest])), ["normal a"]);
});

it("a parked call whose time is over is answered with what it found", async () => {
  const one = rig({
    answer: ({ name }) => (name === "normal wait" ? { answers: [[true, "nothing"]], parkOn: ["topic"] } : undefined),
  });
  one.open();
  assert.deepEqual(told(await connect(one).post(waiting("normal wait", 5))), ["nothing"]);
  assert.deepEqual(told(await connect(one).post(waiting("normal wait", 0))), ["nothing"]);
});

it("parked calls are bounded for each client, cancelled, and forgotten with their client", async () => {
  const one = rig({
    limits: { parkedCalls: 2 },
    answer: ({ name }) => (name === "normal wait" ? { answers: [[true, "x"]], parkOn: ["topic"] } : undefined),
  });
  one.open();
  const [a, b] = [connect(one), connect(one)];
  const [id, ...rest] = waiting("normal wait", 60_000);
  const first = a.post([id, ...rest]);
  void a.post(waiting("normal wait", 60_000));
  assert.deepEqual(told(await a.post(waiting("normal wait", 60_000))), ["overloaded"]);
  void b.post(waiting("normal wait", 60_000));
  await b.post(envelope("normal other"));
  assert.equal(one.mailbox.figures().parked, 3);
  a.cancel(id, 0);
  assert.deepEqual(told(await first), ["aborted"]);
  assert.equal(one.mailbox.figures().parked, 2);
  a.disconnect();
  b.disconnect();
  assert.equal(one.mailbox.figures().parked, 0);
});

it("a disconnected client's queue is not run", async () => {
  const one = rig();
  const [a, b] = [connect(one), connect(one)];
  void a.post(envelope("normal a"));
  const reply = b.post(envelope("normal b"));
  a.disconnect();
  one.open();
  await reply;
  assert.deepEqual(one.groups, [["normal b"]]);
});

it("close runs what is queued, ends what waits, and takes nothing more", async () => {
  const one = rig({
    answer: ({ name }) => (name === "normal wait" ? { answers: [[true, "x"]], parkOn: ["topic"] } : undefined),
  });
  const inbox = connect(one);
  one.open();
  const parked = inbox.post(waiting("normal wait", 60_000));
  await inbox.post(envelope("normal first"));
  const queued = inbox.post(envelope("normal queued"));
  const closed = one.mailbox.close();
  assert.deepEqual(told(await inbox.post(envelope("normal late"))), ["closed"]);
  await closed;
  assert.deepEqual([told(await parked), told(await queued)], [["closed"], ["normal queued"]]);
});

it("however many writes wait for the lock, the reads of others go on", async () => {
  const answered: string[] = [];
  let free = false;
  const dispatcher: Dispatcher = {
    decodeCall: (name, wire, caller) => ({
      name: String(name),
      operation: { lane: "normal", access: String(name).split(" ")[0], errors: [], resultBytes: () => 0 } as never,
      input: wire as never,
      caller,
      waitMs: 0,
    }),
    async runTransaction(jobs) {
      const names = jobs.map(([call]) => (call as Call).name);
      if (!free && names.some((name) => name.startsWith("write"))) throw new StoreError("busy");
      answered.push(...names);
      return {
        outcomes: names.map((name) => ({ answers: [[true, name] as const], parkOn: undefined })),
        topics: new Set(),
        wrote: false,
      };
    },
  };
  const options = {
    dispatcher,
    limits: { ...defaultLimits, groupCalls: 4 },
    clock: testClock(),
    epoch: 1,
    dataVersion: undefined,
    onFault: () => undefined,
  };
  const mailbox = new Mailbox(options);
  const [a, b] = [mailbox.connect(() => true), mailbox.connect(() => true)];
  const names = Array.from({ length: 20 }, (_, n) => `write a${n}`);
  const writes = a.post(envelope(...names));
  await new Promise(setImmediate);
  assert.deepEqual(told(await b.post(envelope("read b1"))), ["read b1"]);
  free = true;
  await writes;
  assert.deepEqual(answered, ["read b1", ...names]);
});

it("while another process holds the lock, reads go on, writes wait their turn, and order holds for each client", async () => {
  const groups: string[][] = [];
  let busy = 2;
  const dispatcher: Dispatcher = {
    decodeCall: (name, wire, caller) => ({
      name: String(name),
      operation: { lane: "normal", access: String(name).split(" ")[0], errors: [], resultBytes: () => 0 } as never,
      input: wire as never,
      caller,
      waitMs: 0,
    }),
    async runTransaction(jobs) {
      const names = jobs.map(([call]) => (call as Call).name);
      if (names.some((name) => name.startsWith("write")) && busy-- > 0) throw new StoreError("busy");
      groups.push(names);
      return {
        outcomes: names.map((name) => ({ answers: [[true, name] as const], parkOn: undefined })),
        topics: new Set(),
        wrote: false,
      };
    },
  };
  const mailbox = new Mailbox({
    dispatcher,
    limits: defaultLimits,
    clock: testClock(),
    epoch: 1,
    dataVersion: undefined,
    onFault: () => undefined,
  });
  const [a, b] = [mailbox.connect(() => true), mailbox.connect(() => true)];
  const writer = a.post(envelope("read a1", "write a2", "read a3"));
  const reader = b.post(envelope("read b1"));
  assert.deepEqual(told(await reader), ["read b1"]);
  assert.deepEqual(groups.flat().toSorted(), ["read a1", "read b1"]);
  assert.deepEqual(told(await writer), ["read a1", "write a2", "read a3"]);
  assert.deepEqual(
    groups.flat().filter((name) => name.includes(" a")),
    ["read a1", "write a2", "read a3"],
  );
  assert.equal(mailbox.figures().busyRetries, 2);
});
