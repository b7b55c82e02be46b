// Messages through a raw port: only the listed operations can be reached, every request gets an answer, and the
// database thread survives.
import assert from "node:assert/strict";
import { once } from "node:events";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { MessagePort } from "node:worker_threads";
import { type OwnedStore, openStore, type StoreEvent } from "../../../src/index.ts";
import { operations } from "../../../src/operations/table.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";

const folder = temporaryFolder();
const events: StoreEvent[] = [];
let store: OwnedStore;

before(async () => {
  store = await openStore({ url: `sqlite:${join(folder, "store.db")}`, onEvent: (event) => events.push(event) });
});
after(async () => {
  await store.close();
});

/** Opens a port for messages that no client would send. */
function rawPort(operations?: readonly string[]): MessagePort {
  return store.connect(operations === undefined ? {} : { operations });
}

type Answer = readonly [envelopeId: number, what: string, content: unknown];

async function ask(port: MessagePort, message: unknown): Promise<Answer> {
  port.postMessage(message);
  const [answer] = await once(port, "message");
  return answer;
}

const envelope = (calls: readonly unknown[], id = 1): unknown => [id, false, calls];

/** Returns the answers of a reply: true and the result, or false and the failure. */
const answersOf = ([, , reply]: Answer): unknown[] => (reply as [number, number, unknown[]])[2];
const failureCodeOf = (answer: Answer): unknown => (answersOf(answer)[1] as unknown[])[0];

async function assertAlive(): Promise<void> {
  assert.deepEqual((await store.runners.list()).items, []);
}

const listRunners = ["runners.list", operations.runners.list.encode({ limit: 10 }), undefined];

test("a well-formed call is answered", async () => {
  const port = rawPort();
  const reply = await ask(port, envelope(listRunners));
  assert.equal(answersOf(reply)[0], true);
  port.close();
});

const forbidden: Record<string, unknown> = {
  "an envelope of the wrong length": [7, false],
  "an envelope with a fourth value": [7, false, listRunners, 1],
  "an envelope whose atomicity is text": [7, "APPLY", listRunners],
  "calls that are no list": [7, false, "x"],
  "calls that are not triples": [7, false, ["runners.list", []]],
  "no calls": [7, false, []],
  "a cancellation without a slot": [7, "cancel"],
  "a cancellation of a slot that is no number": [7, "cancel", "0"],
};

for (const [name, message] of Object.entries(forbidden)) {
  test(`${name} is refused with an answer`, async () => {
    const port = rawPort();
    const [id, what, failure] = await ask(port, message);
    assert.deepEqual([id, what, (failure as unknown[])[0]], [7, "refused", "invalid_input"]);
    // The same port still answers calls.
    assert.equal(answersOf(await ask(port, envelope(listRunners)))[0], true);
    port.close();
    await assertAlive();
  });
}

test("only the first 20 refusals of a port are reported, so that it cannot fill the log", async () => {
  const port = rawPort();
  const eventsBefore = events.length;
  for (let message = 0; message < 60; message++) port.postMessage("x");
  assert.equal(answersOf(await ask(port, envelope(listRunners)))[0], true);
  assert.equal(events.slice(eventsBefore).filter(({ type }) => type === "message_refused").length, 20);
  port.close();
});

test("messages without an id are refused without an answer", async () => {
  const port = rawPort();
  const cyclic: unknown[] = [];
  cyclic.push(cyclic, false, listRunners);
  const messages = [
    null,
    undefined,
    0,
    "x",
    [],
    ["1", false, listRunners],
    [1.5, false, listRunners],
    [Number.NaN, "cancel", 0],
    {},
    new Map(),
    // The messages with which Comlink calls, sets and constructs what lies at a path.
    { id: "7", type: "APPLY", path: [], argumentList: [{ type: "RAW", value: [1, false, listRunners] }] },
    { id: "7", type: "SET", path: ["__proto__", "polluted"], value: { type: "RAW", value: true } },
    { id: "7", type: "CONSTRUCT", path: ["constructor"], argumentList: [{ type: "RAW", value: "process.exit(1)" }] },
    cyclic,
  ];
  const eventsBefore = events.length;
  for (const message of messages) port.postMessage(message);
  port.postMessage(new Array(1_000_000).fill("x"));
  // Messages of one port arrive in order, so the first answer belongs to this call.
  const answer = await ask(port, envelope(listRunners));
  assert.equal(answersOf(answer)[0], true);
  assert.equal(events.slice(eventsBefore).filter(({ type }) => type === "message_refused").length, messages.length + 1);
  port.close();
  await assertAlive();
});

test("no message can change a prototype in the database thread", async () => {
  const port = rawPort();
  const input = JSON.parse('{"__proto__": {"state": "gone"}}');
  assert.equal(failureCodeOf(await ask(port, envelope(["runners.list", input, undefined]))), "invalid_input");
  assert.equal(answersOf(await ask(port, envelope(listRunners)))[0], true);
  port.close();
});

test("hostile inputs fail with invalid_input, each alone", async () => {
  const port = rawPort();
  const id = "01890000-0000-7000-8000-000000000000";
  const hostile: unknown[] = [
    null,
    1,
    "x",
    {},
    new Array(50).fill(null),
    [Number.NaN],
    [Number.POSITIVE_INFINITY],
    [-1],
    ["x".repeat(1_000_000)],
    [new Date()],
    [[]],
  ];
  const calls = hostile.flatMap((input) => ["worktrees.get", input, undefined]);
  const answers = answersOf(await ask(port, envelope([...calls, ...listRunners])));
  for (let index = 0; index < hostile.length; index++) {
    assert.equal(answers[index * 2], false, `input ${index}`);
    assert.equal((answers[index * 2 + 1] as unknown[])[0], "invalid_input", `input ${index}`);
  }
  assert.equal(answers.at(-2), true);
  // A chunk that is too large, a fence that is not a number, a stream with a NUL, and text instead of bytes.
  const append = (input: readonly unknown[]) => ask(port, envelope(["logs.append", input, undefined]));
  assert.equal(failureCodeOf(await append([id, 1, 0, "stdout", new Uint8Array(65_537)])), "invalid_input");
  assert.equal(failureCodeOf(await append([id, "1", 0, "stdout", new Uint8Array(1)])), "invalid_input");
  assert.equal(failureCodeOf(await append([id, 1, 0, "stdout\u0000", new Uint8Array(1)])), "invalid_input");
  assert.equal(failureCodeOf(await append([id, 1, 0, "stdout", "text"])), "invalid_input");
  port.close();
});

test("names of prototype members, of internal operations, and an empty name fail with unknown_operation", async () => {
  const port = rawPort();
  const names = [
    "constructor",
    "__proto__",
    "runners.constructor",
    "runners.__proto__",
    "maintenance.followClock",
    "",
    "runners",
    "runners.list ",
    null,
    1,
    {},
  ];
  const answers = answersOf(await ask(port, envelope(names.flatMap((name) => [name, [], undefined]))));
  for (let index = 0; index < names.length; index++)
    assert.equal((answers[index * 2 + 1] as unknown[])[0], "unknown_operation", String(names[index]));
  port.close();
});

test("a port reaches only the operations that it was opened for", async () => {
  const port = rawPort(["logs.*", "commands.get"]);
  const names = ["runners.list", "commands.claim", "repositories.upsert", "maintenance.reap"];
  const answers = answersOf(await ask(port, envelope(names.flatMap((name) => [name, [], undefined]))));
  for (let index = 0; index < names.length; index++)
    assert.equal((answers[index * 2 + 1] as unknown[])[0], "unknown_operation");
  assert.equal(
    failureCodeOf(await ask(port, envelope(["commands.get", ["01890000-0000-7000-8000-000000000000"], undefined]))),
    "not_found",
  );
  port.close();
});

test("a pattern that matches no operation is refused", () => {
  assert.throws(() => store.connect({ operations: ["nothing.*"] }), { code: "invalid_input" });
});

test("JSON that the client would not have written is refused before it is stored", async () => {
  const port = rawPort();
  const hostileSettings = [
    '{"json":[],"meta":{"values":{"4294967294":["undefined"]},"v":1}}',
    '{"json":{},"meta":{"values":{"__proto__.polluted":["undefined"]},"v":1}}',
    '{"json":"x","meta":{"values":[["class","Function"]],"v":1}}',
    '{"json":"/(a+)+$/","meta":{"values":["regexp"],"v":1}}',
    `{"json":${"[".repeat(5_000)}${"]".repeat(5_000)}}`,
    "null",
    "1",
  ];
  for (const [index, settings] of hostileSettings.entries()) {
    const name = `bomb-${index}`;
    const keys = ["id", "name", "remoteUrl", "defaultBranch", "description", "settings"];
    const id = `01890000-0000-7000-8000-00000000000${index}`;
    const input = keys.map((key) => ({ id, name, settings })[key]);
    const answers = answersOf(await ask(port, envelope(["repositories.upsert", input, undefined])));
    assert.deepEqual([answers[0], (answers[1] as unknown[])[0]], [false, "invalid_input"]);
    await assert.rejects(store.repositories.get({ repositoryId: id }), { code: "not_found" });
  }
  assert.equal(({} as { polluted?: unknown }).polluted, undefined);
  port.close();
  await assertAlive();
});

test("an envelope that is too large is refused, and the port still answers calls", async () => {
  const port = rawPort();
  const data = new Uint8Array(65_536);
  const calls = Array.from({ length: 200 }, () => [
    "logs.append",
    ["01890000-0000-7000-8000-000000000000", 1, 0, "stdout", data],
    undefined,
  ]).flat();
  const answers = answersOf(await ask(port, envelope(calls)));
  assert.equal(answers.length, 400);
  assert.ok(["invalid_input", "overloaded"].includes(String((answers[1] as unknown[])[0])));
  assert.equal(answersOf(await ask(port, envelope(listRunners)))[0], true);
  port.close();
});

test("a view of a large buffer and a value whose size cannot be seen are refused", async () => {
  const port = rawPort();
  const view = new Uint8Array(new ArrayBuffer(16 * 1024 * 1024), 0, 1);
  for (const data of [view, new Map([[1, 1]]), new ArrayBuffer(1), { nested: new Set([1]) }]) {
    const append = ["logs.append", ["01890000-0000-7000-8000-000000000000", 1, 0, "stdout", data], undefined];
    const [ok, failure] = answersOf(await ask(port, envelope(append)));
    assert.deepEqual([ok, (failure as unknown[])[0]], [false, "invalid_input"]);
  }
  port.close();
  await assertAlive();
});

test("a message with more calls than a queue holds is refused as a whole", async () => {
  const port = rawPort();
  const calls = Array.from({ length: 10_001 }, () => listRunners).flat();
  const [, what, failure] = await ask(port, envelope(calls));
  assert.deepEqual([what, (failure as unknown[])[0]], ["refused", "invalid_input"]);
  port.close();
  await assertAlive();
});
