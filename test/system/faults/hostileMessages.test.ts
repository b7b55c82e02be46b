// Messages that try to break the checks themselves, or to keep the database thread busy: each is answered at once, and
// the thread goes on serving.
import assert from "node:assert/strict";
import { once } from "node:events";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { MessagePort } from "node:worker_threads";
import { type OwnedStore, openStore, type Runner, type StoreEvent } from "../../../src/index.ts";
import { operations } from "../../../src/operations/table.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { until } from "./until.ts";

const folder = temporaryFolder();
const events: StoreEvent[] = [];
let store: OwnedStore;
let runner: Runner;

before(async () => {
  store = await openStore({
    url: `sqlite:${join(folder, "store.db")}`,
    limits: { dataVersionPollMs: 20 },
    onEvent: (event) => events.push(event),
  });
  ({ runner } = await fixtures(store).runner());
});
after(async () => {
  await store.close();
  assert.deepEqual(
    events.filter(({ type }) => type === "fault" || type === "thread_died"),
    [],
  );
});

const listRunners = ["runners.list", operations.runners.list.encode({ limit: 10 }), undefined];

type Answer = readonly [envelopeId: number, what: string, content: unknown];

async function ask(port: MessagePort, message: unknown): Promise<Answer> {
  port.postMessage(message);
  const [answer] = await once(port, "message", { signal: AbortSignal.timeout(5_000) });
  return answer;
}

const answersOf = ([, , reply]: Answer): unknown[] => (reply as [number, number, unknown[]])[2];
/** Returns the code of an answer of either form: a refused message, or a call that failed. */
function codeOf(answer: Answer): unknown {
  const [, what, content] = answer;
  return what === "refused" ? (content as unknown[])[0] : (answersOf(answer)[1] as unknown[])[0];
}

const id = "01890000-0000-7000-8000-000000000000";
/** An object that throws when it is converted to text. */
const textless = { toString: 1, valueOf: 1 };
const cyclic: unknown[] = [];
cyclic.push(cyclic, cyclic);
/** A list that is a few bytes in a message, but takes its receiver minutes to walk through. */
const endless = new Array(0xffff_ffff);

test("a message whose kind cannot be converted to text is refused, and the database thread survives", async () => {
  const port = store.connect();
  assert.equal(codeOf(await ask(port, [1, textless, listRunners])), "invalid_input");
  assert.equal(codeOf(await ask(port, [1, false, [textless, [], undefined]])), "unknown_operation");
  assert.equal(answersOf(await ask(port, [2, false, listRunners]))[0], true);
  port.close();
});

const hostileCalls: Record<string, unknown> = {
  "a cyclic input": ["commands.enqueue", cyclic, undefined],
  "a cyclic list within an input": ["commands.enqueue", [id, cyclic], undefined],
  "an endless input": ["commands.enqueue", endless, undefined],
  "an endless list within an input": ["commands.enqueue", [id, endless], undefined],
  "an endless list of held ids": ["runners.heartbeat", [id, endless, endless], undefined],
  "an input nested a thousand deep": ["commands.enqueue", [id, nested(1_000)], undefined],
  "two million commands": ["commands.enqueue", [id, new Array(1_900_000).fill(0)], undefined],
  "an endless caller": ["runners.list", [], endless],
};

function nested(depth: number): unknown[] {
  let value: unknown[] = [];
  for (let level = 0; level < depth; level++) value = [value];
  return value;
}

for (const [name, calls] of Object.entries(hostileCalls)) {
  test(`${name} is refused at once`, async () => {
    const port = store.connect();
    assert.equal(codeOf(await ask(port, [1, false, calls])), "invalid_input");
    assert.equal(codeOf(await ask(port, [1, true, calls])), "invalid_input");
    assert.equal(answersOf(await ask(port, [2, false, listRunners]))[0], true);
    port.close();
  });
}

test("an endless list of calls is refused as a whole, not call by call", async () => {
  const port = store.connect();
  assert.equal(codeOf(await ask(port, [1, false, endless])), "invalid_input");
  assert.equal(answersOf(await ask(port, [2, false, listRunners]))[0], true);
  port.close();
});

test("a caller that is not text is refused before it reaches the database", async () => {
  const port = store.connect();
  const callers: unknown[] = [
    [[1], "request"],
    [{}, undefined],
    [1, undefined],
    ["x", new Uint8Array(1)],
    ["\u0000"],
    ["\ud800"],
    ["x".repeat(201)],
  ];
  for (const [index, caller] of callers.entries()) {
    const reply = await ask(port, [index, false, ["repositories.upsert", [id, "by no caller"], caller]]);
    assert.equal(codeOf(reply), "invalid_input", `caller ${index}`);
  }
  assert.equal(await store.repositories.find({ name: "by no caller" }), undefined);
  // An ordinary client refuses the same before it sends anything.
  for (const actor of ["\u0000", "\ud800", 1, {}, () => 1, Symbol("x")]) {
    await assert.rejects(store.repositories.upsert({ name: "by no caller" }, { actor: actor as string }), {
      code: "invalid_input",
      outcome: "not_run",
    });
  }
  port.close();
});

const commandWith = (argv: unknown) => [
  "commands.enqueue",
  [id, [{ id, argv, priority: 0, maxAttempts: 1 }]],
  undefined,
];
const repositoryWith = (settings: unknown) => {
  const input = operations.repositories.upsert.encode({ name: "poisoned" }).slice() as unknown[];
  input[operations.repositories.upsert.keys.indexOf("settings")] = settings;
  return ["repositories.upsert", input, undefined];
};
const json = {
  "text that is not JSON": repositoryWith("{"),
  "JSON that is not superjson": repositoryWith("1"),
  "nesting of 100 000 levels": repositoryWith(`{"json":${"[".repeat(100_000)}${"]".repeat(100_000)}}`),
  "an array of 100 001 numbers": repositoryWith(`{"json":[${"1,".repeat(100_000)}1]}`),
  "a __proto__ key": repositoryWith('{"json":{"__proto__":{"polluted":1}}}'),
  "annotations that create an instance of a class": repositoryWith('{"json":{},"meta":{"values":[["class","Point"]]}}'),
  "annotations that create an array of 4 294 967 295 items": repositoryWith(
    '{"json":[],"meta":{"values":{"4294967294":["Date"]}}}',
  ),
  "annotations that do not fit the value": repositoryWith('{"json":"x","meta":{"values":["bigint"]}}'),
  "a number of 200 000 digits": repositoryWith(`{"json":${"9".repeat(200_000)}}`),
  "a number instead of a list of texts": commandWith('{"json":5}'),
  "a list of numbers instead of texts": commandWith('{"json":[5]}'),
  "an empty list": commandWith('{"json":[]}'),
};

for (const [name, calls] of Object.entries(json)) {
  test(`a raw port cannot store JSON that no reader could parse: ${name}`, async () => {
    const port = store.connect();
    assert.equal(codeOf(await ask(port, [1, false, calls])), "invalid_input");
    assert.equal(await store.repositories.find({ name: "poisoned" }), undefined);
    port.close();
  });
}

test("a raw port cannot mint a token with invalid scopes, call an internal operation, or send a malformed key", async () => {
  const port = store.connect();
  const { mint } = operations.tokens;
  const sealed = mint.seal({ accountId: id, name: "n", scopes: ["sessions:read"], createdBy: id }).wireInput;
  const wire = mint.encode(sealed);
  for (const scopes of [
    "",
    "everything",
    "sessions:read admin",
    "admin sessions:read",
    "sessions:read sessions:read",
    " ",
    ["admin"],
    null,
  ]) {
    const input = wire.slice() as unknown[];
    input[mint.keys.indexOf("scopes")] = scopes;
    assert.equal(codeOf(await ask(port, [1, false, ["tokens.mint", input, undefined]])), "invalid_input");
  }
  for (const name of ["tokens.recordUse", "maintenance.probe", "maintenance.followClock"]) {
    assert.equal(codeOf(await ask(port, [2, false, [name, [[]], undefined]])), "unknown_operation", name);
  }
  for (const caller of [
    ["a", "r", 1],
    ["a", "r", "key"],
    ["a", "r", "key", "no hash"],
    ["a", "r", "", "0".repeat(64)],
    ["a", "r", "k", {}],
  ]) {
    assert.equal(
      codeOf(await ask(port, [3, false, ["repositories.upsert", [id, "by no caller"], caller]])),
      "invalid_input",
    );
  }
  port.close();
});

test("an envelope id that is in use is refused, so that no call outlives its client", async () => {
  const port = store.connect();
  port.postMessage([7, false, ["commands.claim", [runner.id, 60_000, 600_000], undefined]]);
  await until(async () => (await store.maintenance.stats()).serving.parked === 1);
  assert.equal(codeOf(await ask(port, [7, false, listRunners])), "invalid_input");
  port.close();
  await until(async () => (await store.maintenance.stats()).serving.parked === 0);
});
