// One process holds a debugger, and another one steps, evaluates and continues its program through the store: on a SQLite
// file through HTTP, and on PostgreSQL directly. A debugger that is killed answers nothing twice.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { type TestClock, testClock } from "../../../../src/clock.ts";
import { serveStore } from "../../../../src/http/index.ts";
import { type OwnedStore, openStore, type Store } from "../../../../src/index.ts";
import { present } from "../../../../src/present.ts";
import { fixtures } from "../../../../src/testing/index.ts";
import { fails } from "../../../conformance/suite.ts";
import { newDatabase } from "../../../support/postgres.ts";
import { createWorktree, type DebuggedWorktree, lines } from "./debuggedProgram.ts";

const script = fileURLToPath(new URL("./bridgingProcess.ts", import.meta.url));

/** Starts a process that debugs the program of a worktree. */
function startBridge(
  t: TestContext,
  { path }: DebuggedWorktree,
  url: string,
  command: { readonly id: string; readonly sessionId: string },
  env: Readonly<Record<string, string>> = {},
) {
  const child = spawn(process.execPath, [script, url, command.sessionId, command.id, path], {
    env: { ...process.env, API_TOKEN: "must-not-be-shown", ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.after(() => child.kill("SIGKILL"));
  return { child, printed: text(child.stdout) };
}

/** A client of the debugger that knows nothing but the store. */
class Client {
  readonly debug: Store["debug"];
  readonly debugSessionId: string;
  readonly #events: AsyncGenerator<{ readonly event: string; readonly stopEpoch: number; readonly body: unknown }>;
  stopEpoch = 0;

  constructor({ debug }: Pick<Store, "debug">, debugSessionId: string) {
    this.debug = debug;
    this.debugSessionId = debugSessionId;
    this.#events = debug.follow({ debugSessionId }) as never;
  }

  /** Finds the debug session as soon as the bridge has opened it. */
  static async of(store: Store, sessionId: string): Promise<Client> {
    for await (const { entity, entityId } of store.changes.watch({ sessionId, after: 0 }))
      if (entity === "debug_session") return new Client(store, entityId);
    return assert.fail("the feed has ended");
  }

  /** Resolves with the next event of this name, and notes its epoch. */
  async next(event: string) {
    for (;;) {
      const { value } = await this.#events.next();
      if (value?.event !== event) continue;
      this.stopEpoch = value.stopEpoch;
      return value.body as { readonly reason: string; readonly systemProcessId: number };
    }
  }

  async ask(command: string, args: Record<string, unknown> = {}, stopEpoch = this.stopEpoch) {
    const { debugSessionId } = this;
    const { success, message, body } = await this.debug.request({
      debugSessionId,
      command,
      stopEpoch,
      arguments: args,
    });
    return { success, message, ...(body as object) } as { readonly [name: string]: unknown };
  }
}

async function stepThrough(store: Store, sessionId: string, { path }: DebuggedWorktree): Promise<Client> {
  const client = await Client.of(store, sessionId);
  const { debugSessionId, debug } = client;
  assert.equal((await client.next("stopped")).reason, "entry");
  const set = (...breakpoints: { line: number; condition?: string }[]) =>
    debug.setBreakpoints({ debugSessionId, sourcePath: path, breakpoints });
  await set({ line: lines.part, condition: "n === 3" });
  // The breakpoint is there when the bridge has bound it.
  for await (const { op } of store.changes.watch({ sessionId, after: 0 })) if (op === "bind_breakpoints") break;
  const entry = client.stopEpoch;
  assert.equal((await client.ask("continue", { threadId: 1 })).success, true);
  assert.equal((await client.next("stopped")).reason, "breakpoint");
  await fails(client.ask("next", { threadId: 1 }, entry), "conflict", { reason: "epoch" });

  const { stackFrames } = (await client.ask("stackTrace", { threadId: 1 })) as never as {
    stackFrames: { id: number; name: string; line: number }[];
  };
  assert.deepEqual(
    stackFrames.slice(0, 2).map(({ name, line }) => [name, line]),
    [
      ["sum", lines.part],
      ["(anonymous)", lines.print],
    ],
  );
  const frameId = stackFrames[0]?.id as number;
  const evaluate = (expression: string) => client.ask("evaluate", { expression, frameId });
  assert.deepEqual([(await evaluate("n * 2")).result, (await evaluate("[n]")).result], ["6", "Array(1)"]);
  const thrown = await evaluate("nothing.at.all");
  assert.deepEqual([thrown.success, thrown.message], [false, "ReferenceError: nothing is not defined"]);
  assert.equal((await evaluate("apiToken")).result, "***");
  assert.equal((await client.ask("evaluate", { expression: "1 + 1" })).result, "2");

  type Scopes = { scopes: { name: string; variablesReference: number }[] };
  type Variables = { variables: { name: string; value: string; variablesReference: number }[] };
  const { scopes } = (await client.ask("scopes", { frameId })) as never as Scopes;
  const local = scopes.find(({ name }) => name.startsWith("Local"))?.variablesReference;
  const variables = async (variablesReference: unknown) =>
    ((await client.ask("variables", { variablesReference })) as never as Variables).variables;
  const locals = await variables(local);
  assert.equal(locals.find(({ name }) => name === "total")?.value, "5");
  const numbers = await variables(locals.find(({ name }) => name === "numbers")?.variablesReference);
  assert.deepEqual(
    numbers.slice(0, 4).map(({ value }) => value),
    ["1", "2", "3", "4"],
  );
  const assigned = await client.ask("setVariable", { variablesReference: local, name: "total", value: "n + 97" });
  assert.deepEqual([assigned.value, (await evaluate("total")).result], ["100", "100"]);

  const move = async (command: string) => {
    assert.deepEqual(await client.ask(command, { threadId: 1 }), { success: true, message: null });
    const { reason } = await client.next("stopped");
    const trace = (await client.ask("stackTrace", { threadId: 1 })) as never as { stackFrames: typeof stackFrames };
    return [reason, trace.stackFrames[0]?.name, trace.stackFrames[0]?.line];
  };
  assert.deepEqual(await move("stepIn"), ["step", "square", lines.square]);
  assert.deepEqual(await move("next"), ["step", "square", lines.returnOfSquare]);
  await client.ask("restartFrame", { frameId: 1 });
  await client.next("stopped");
  assert.equal((await evaluate("n")).result, "3");
  assert.deepEqual((await move("stepOut"))[1], "sum");
  const goto = await client.ask("goto", { threadId: 1, targetId: 1 });
  assert.deepEqual([goto.success, goto.message], [false, "goto is not supported by Node's inspector"]);
  await set();
  await client.ask("continue", { threadId: 1 });
  await client.next("terminated");
  return client;
}

async function assertStepped(client: Client, printed: Promise<string>, actor: string): Promise<void> {
  assert.deepEqual(JSON.parse(await printed), { exitCode: 0 });
  const { debugSessionId, debug } = client;
  const { entries } = await debug.history({ debugSessionId, limit: 500 });
  const asked = entries.filter(({ kind }) => kind === "asked");
  assert.deepEqual([...new Set(asked.map((entry) => entry.actor))], [actor]);
  const ends = entries.filter(({ kind }) => kind === "answered");
  assert.equal(ends.length, asked.length, "each request was answered once");
  assert.doesNotMatch(JSON.stringify(entries), /must-not-be-shown/);
  await fails(debug.request({ debugSessionId, command: "threads" }), "invalid_transition", { state: "terminated" });
}

/** Creates an account of this name, and returns a token of it. */
async function tokenOf(owned: OwnedStore, name: string): Promise<string> {
  const { id: accountId } = await owned.accounts.create({ name, kind: "human" });
  const { secret } = await fixtures(owned).token({ accountId, scopes: ["debug:read", "debug:write", "changes:read"] });
  return secret;
}

/** Opens the store of a worktree, and serves it over HTTP until the test ends. */
async function served(t: TestContext, { url }: DebuggedWorktree, clock?: TestClock) {
  const owned = await openStore({ url, ...present({ clock }) });
  t.after(() => owned.close());
  const api = await serveStore(owned, { listen: "127.0.0.1:0" });
  t.after(() => api.close({ withinMs: 100 }));
  return { owned, url: api.url as string };
}

test("steps, evaluates and continues a program of another process over HTTP", { timeout: 120_000 }, async (t) => {
  const worktree = createWorktree();
  const { owned, url } = await served(t, worktree);
  const { command } = await fixtures(owned).command();
  const bridge = startBridge(t, worktree, url, command, { STORE_TOKEN: await tokenOf(owned, "bridge") });
  const store = await openStore({ url, token: await tokenOf(owned, "ann") });
  t.after(() => store.close());
  const client = await stepThrough(store, command.sessionId, worktree);
  await assertStepped(client, bridge.printed, "ann");
  const { debugSessionId } = client;
  const asBob = { debugSessionId, command: "threads", requestedBy: "bob" };
  await fails(store.debug.request(asBob), "invalid_input");
});

test("steps, evaluates and continues a program of another process on PostgreSQL", { timeout: 120_000 }, async (t) => {
  const worktree = createWorktree();
  const url = await newDatabase();
  const store = await openStore({ url });
  t.after(() => store.close());
  const { command } = await fixtures(store).command();
  const bridge = startBridge(t, worktree, url, command);
  const asAnn: Store = {
    ...store,
    debug: { ...store.debug, request: (input, options) => store.debug.request(input, { ...options, actor: "ann" }) },
  };
  const client = await stepThrough(asAnn, command.sessionId, worktree);
  await assertStepped(client, bridge.printed, "ann");
});

/** Starts a bridge, asks it what it never answers, and kills it when it has taken the request. */
async function killBridge(
  t: TestContext,
  worktree: DebuggedWorktree,
  { owned: store, url }: { readonly owned: OwnedStore; readonly url: string },
  command: { readonly id: string; readonly sessionId: string },
) {
  const { child } = startBridge(t, worktree, url, command, { STORE_TOKEN: await tokenOf(store, "bridge") });
  const client = await Client.of(store, command.sessionId);
  const { systemProcessId } = await client.next("process");
  await client.next("stopped");
  const { debugSessionId, stopEpoch } = client;
  const endless = { expression: "for (;;);", frameId: 1 };
  const asked = { debugSessionId, command: "evaluate", stopEpoch, arguments: endless, timeoutMs: 600_000 };
  const { id } = await store.debug.request({ ...asked, wait: false });
  const waiting = fails(
    store.debug.request({ id, ...asked }),
    "conflict",
    { reason: "adapter_gone", wasTaken: true },
    "unknown",
  );
  // The bridge answers this one beside the first, which it has taken before.
  await store.debug.request({ debugSessionId, command: "threads" });
  const gone = once(child, "exit");
  child.kill("SIGKILL");
  process.kill(systemProcessId, "SIGKILL");
  await gone;
  // The API has noticed that the connection is gone when it answers on a later one.
  await (await fetch(url)).text();
  return { debugSessionId, waiting };
}

test("a request fails when its bridge is killed, and is not run again", { timeout: 120_000 }, async (t) => {
  const worktree = createWorktree();
  const api = await served(t, worktree);
  const { owned: store } = api;
  const { sessionId } = (await fixtures(store).command()).command;
  const { runner } = await fixtures(store).runner();
  const claim = await store.commands.claim({ runnerId: runner.id, sessionId, ttlMs: 3_600_000 });
  const { command, fence } = claim ?? assert.fail();
  const { debugSessionId, waiting } = await killBridge(t, worktree, api, command);
  // The runner that had the command is gone, and says so by its end.
  await store.commands.handBack({ commandId: command.id, fence });
  await waiting;
  // The next bridge gets a run of its own, and nothing of the old one.
  const restarted = await store.debug.open({ sessionId, name: "main", adapter: "node-inspector", restartRun: 1 });
  const { adapterRun } = restarted;
  assert.deepEqual(await store.debug.takeRequests({ debugSessionId, adapterRun, waitMs: 0 }), {
    requests: [],
    cancelled: [],
  });
});

test("a killed bridge that no runner holds is lost with its lease, and its request fails", {
  timeout: 30_000,
}, async (t) => {
  const [worktree, clock] = [createWorktree(), testClock()];
  const api = await served(t, worktree, clock);
  const { command } = await fixtures(api.owned).command();
  const { debugSessionId, waiting } = await killBridge(t, worktree, api, command);
  const read = async () => (await api.owned.debug.get({ debugSessionId, events: 0 })).debugSession;
  // The last call of the bridge may still wait in the store, and renews the lease for as long as it does.
  while ((await read()).endedAt === null) {
    clock.advance(60_000);
    await api.owned.maintenance.reap();
  }
  await waiting;
  const debugSession = await read();
  assert.deepEqual([debugSession.state, debugSession.endReason], ["error", "bridge_lost"]);
});
