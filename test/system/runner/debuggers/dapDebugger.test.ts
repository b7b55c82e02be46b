// Runs commands under debuggers.dap() with an adapter that is scripted, and that misbehaves in every way it may.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type DebugSession, type DebugView, newId, openStore, type Store } from "../../../../src/index.ts";
import type { DapOptions } from "../../../../src/runner/debuggers/dap/dapDebugger.ts";
import type { Stop } from "../../../../src/runner/debuggers/debugger.ts";
import { debuggers } from "../../../../src/runner/debuggers/debuggers.ts";
import { fixtures } from "../../../../src/testing/index.ts";
import { temporaryFolder } from "../../../support/temporaryFolder.ts";

const folder = temporaryFolder();
const store = await openStore({ url: `sqlite:${join(folder, "metadata.db")}` });
after(() => store.close());

const script = fileURLToPath(new URL("./scriptedAdapter.ts", import.meta.url));
const path = "/srv/main.x";

async function start(mode: string, options: Partial<DapOptions> = {}, used: Store = store) {
  const { command } = await fixtures(store).command({ argv: ["./main", "a"] });
  const { sessionId } = command;
  const stop = new AbortController();
  let output = "";
  const end = debuggers.dap({ command: [process.execPath, script, mode], adapter: "scripted", ...options }).run({
    store: used,
    argv: command.argv,
    sessionId,
    commandId: command.id,
    cwd: folder,
    env: process.env,
    signal: stop.signal,
    graceMs: 200,
    output: (stream, data) => {
      output += `${stream}: ${Buffer.from(data).toString()}`;
    },
  });
  end.catch(() => undefined);
  // A test that has failed leaves the adapter running.
  after(() => stop.abort("lost"));
  const view = async () => {
    const [row] = (await store.debug.list({ sessionId })).items;
    return row && (await store.debug.get({ debugSessionId: row.id }));
  };
  const until = async (isReached: (view: DebugView) => boolean) => {
    for (;;) {
      const seen = await view();
      if (seen !== undefined && isReached(seen)) return seen;
      await setTimeout(5);
    }
  };
  return { end, stop, view, until, output: () => output };
}

const goOn = ({ id, adapterRun, stopEpoch }: DebugSession) =>
  store.debug.patchState({ debugSessionId: id, adapterRun, expectedEpoch: stopEpoch, state: "running" });

test("stores capabilities, breakpoints, stops and events, and ends with the exit code of the program", async () => {
  const stops: (Stop | undefined)[] = [];
  const { end, view, output } = await start("chatty", {
    drive: async (driven) => {
      const bound = await driven.setBreakpoints(path, [{ line: 2 }, { line: 5 }]);
      assert.deepEqual(
        bound.map(({ line, verified, bound }) => [line, verified, bound?.line]),
        [
          [2, true, 2],
          [5, true, 6],
        ],
      );
      stops.push(await driven.start(), await driven.move("next"), await driven.move("continue"));
      stops.push(await driven.move("continue"), await driven.move("continue"));
    },
  });
  const { exitCode, signal, reason } = await end;
  assert.deepEqual([exitCode, signal, reason], [7, null, undefined]);
  assert.deepEqual(
    stops.map((stop) => stop && [stop.reason, stop.line, stop.functionName]),
    [["breakpoint", 2, "main"], ["step", 3, "main"], ["breakpoint", 6, "main"], undefined, undefined],
  );
  assert.equal(output(), "stdout: the end, in Grüße\n");
  const { debugSession, events } = (await view()) as DebugView;
  assert.deepEqual([debugSession.state, debugSession.exitCode], ["terminated", 7]);
  assert.equal(debugSession.capabilities?.supportsConfigurationDoneRequest, true);
  assert.deepEqual(debugSession.payload, {
    program: join(folder, "main"),
    args: ["a"],
    cwd: folder,
    stopOnEntry: false,
  });
  const told = events.map(({ event, body }) => (event === "output" ? String(body?.output) : event));
  assert.ok(told.some((text) => text.startsWith("runInTerminal is not supported")));
  const { threads } = await store.debug.get({ debugSessionId: debugSession.id, stopEpoch: stops[0]?.stopEpoch ?? 0 });
  assert.deepEqual(
    threads.map(({ threadId, frames }) => [threadId, frames[0]?.scopes?.map(({ name }) => name)]),
    [
      [1, ["Locals", "Globals"]],
      [2, undefined],
    ],
  );
  const [locals] = threads[0]?.frames[0]?.scopes ?? [];
  assert.deepEqual([locals?.variables?.length, locals?.omittedVariables], [100, 1]);
  assert.equal(locals?.variables?.[0]?.value, "***");
});

test("does what clients change in the store: breakpoints, going on, and the end", async () => {
  const { end, until, stop } = await start("endless", { stopOnEntry: true });
  const running = await until(({ debugSession }) => debugSession.state === "running");
  const { id: debugSessionId } = running.debugSession;
  await store.debug.setBreakpoints({ debugSessionId, sourcePath: path, breakpoints: [{ line: 3 }] });
  await store.debug.setBreakpoints({ debugSessionId, kind: "exception", breakpoints: [{ filterId: "all" }] });
  await store.debug.setBreakpoints({ debugSessionId, kind: "function", breakpoints: [{ name: "f" }] });
  const bound = await until(
    ({ breakpoints }) => breakpoints.every(({ bound }) => bound !== null) && breakpoints.length === 3,
  );
  assert.deepEqual(
    bound.breakpoints.map(({ kind, verified, bound }) => [kind, verified, bound?.line ?? bound?.message]),
    [
      ["exception", true, undefined],
      ["function", false, "the debug adapter has no function breakpoints"],
      ["source", true, 4],
    ],
  );
  stop.abort("cancelled");
  const { exitCode, signal } = await end;
  assert.deepEqual([exitCode, signal !== null], [null, true]);

  const paused = await start("", {
    drive: async (driven) => {
      await driven.setBreakpoints(path, [{ line: 2 }]);
      await driven.start();
    },
  });
  const { debugSession } = await paused.until(
    ({ debugSession, threads }) => debugSession.state === "stopped" && threads.length > 0,
  );
  await goOn(debugSession);
  assert.equal((await paused.end).exitCode, 7);

  const closed = await start("endless");
  const open = await closed.until(({ debugSession }) => debugSession.state === "running");
  await store.debug.close({ debugSessionId: open.debugSession.id });
  assert.equal((await closed.end).exitCode, null);
});

test("passes requests of clients on to the adapter, with what it refuses, and cancels what nobody waits for", async () => {
  const { end, until } = await start("endless");
  const running = await until(({ debugSession }) => debugSession.state === "running");
  const { id: debugSessionId } = running.debugSession;
  const ask = async (command: string, more: object = {}) => {
    const { success, body, message } = await store.debug.request({ debugSessionId, command, ...more });
    return [success, body ?? message];
  };
  assert.deepEqual(await ask("evaluate", { arguments: { expression: "a" } }), [
    true,
    { result: "the value of a", variablesReference: 0 },
  ]);
  const incapable = "the debug adapter is not capable of modules: it has no supportsModulesRequest";
  assert.deepEqual(await ask("modules"), [false, incapable]);
  assert.deepEqual(await ask("learn"), [true, {}]);
  assert.deepEqual(await ask("modules"), [false, "modules: the adapter has refused it"]);
  // A pause without a thread is one of the first thread.
  assert.deepEqual(await ask("pause"), [true, {}]);
  const paused = await until(({ debugSession }) => debugSession.state === "stopped");
  assert.deepEqual([paused.debugSession.stopReason, paused.debugSession.stopThreadId], ["pause", 2]);
  const { stopEpoch } = paused.debugSession;
  const gone = new AbortController();
  const endless = { debugSessionId, command: "evaluate", arguments: { expression: "for ever" } };
  const asked = store.debug.request(endless, { signal: gone.signal });
  asked.catch(() => undefined);
  // It was taken once a later one is answered.
  await ask("threads");
  gone.abort();
  await assert.rejects(asked, { code: "aborted" });
  await until(({ events }) => events.some(({ body }) => String(body?.output).startsWith("cancelled ")));
  assert.deepEqual(await ask("next", { stopEpoch }), [true, {}]);
  const stepped = await until(({ debugSession }) => debugSession.stopReason === "step");
  assert.ok(stepped.debugSession.stopEpoch > stopEpoch);
  await store.debug.close({ debugSessionId });
  await end;
});

/** Returns a store whose answers to the stops of an adapter come only when they are let through. */
function holdingStops() {
  const gate = Promise.withResolvers<void>();
  const following = Promise.withResolvers<void>();
  let views = 0;
  const held: Store = {
    ...store,
    debug: {
      ...store.debug,
      applyEvent: async (input, options) => {
        const answer = await store.debug.applyEvent(input, options);
        if (input.event === "stopped") await gate.promise;
        return answer;
      },
      get: async (input, options) => {
        const view = await store.debug.get(input, options);
        const hasGoneOn = view.debugSession.state === "running" && view.debugSession.stopEpoch > 1;
        // The first view tells the debugger of the change, and with two others it looks for breakpoints.
        if (hasGoneOn && ++views === 3) setImmediate(following.resolve);
        return view;
      },
    },
  };
  return { held, letThrough: () => gate.resolve(), hasFollowed: following.promise };
}

const isStopped = ({ debugSession }: DebugView) => debugSession.state === "stopped";

/** Options with which the program stops at these lines, and goes on as clients say. */
function breakAt(...lines: readonly number[]): Pick<DapOptions, "drive"> {
  return {
    drive: async (driven) => {
      await driven.setBreakpoints(
        path,
        lines.map((line) => ({ line })),
      );
      await driven.start();
    },
  };
}

const atLine = (line: number) => (view: DebugView) =>
  view.debugSession.state === "stopped" && view.threads[0]?.frames[0]?.line === line;

test("leaves a stop as clients ask, also before the store has told the debugger that it knows the stop", {
  timeout: 30_000,
}, async () => {
  // A client asks for a step, which takes long.
  const asking = holdingStops();
  const stepped = await start("rolling", breakAt(2), asking.held);
  const { debugSession: asked } = await stepped.until(isStopped);
  const { id: debugSessionId, stopEpoch } = asked;
  const next = { id: newId(), debugSessionId, command: "next", stopEpoch };
  while ((await store.debug.request({ ...next, wait: false })).state === "queued") await setTimeout(5);
  asking.letThrough();
  assert.equal((await store.debug.request(next)).success, true);
  await asking.hasFollowed;
  await store.debug.close({ debugSessionId });
  assert.equal((await stepped.end).exitCode, null, "nothing but the step was asked for");

  // A client lets the program go on with a change of the state.
  const patching = holdingStops();
  const patched = await start("", breakAt(2, 4), patching.held);
  const { debugSession: changed } = await patched.until(isStopped);
  await goOn(changed);
  // The debugger learns of the change meanwhile: it needs a few reads, and each of these takes as long.
  for (let reads = 0; reads < 50; reads++) await store.debug.get({ debugSessionId: changed.id, events: 0 });
  patching.letThrough();
  await patched.until(atLine(4));

  // A program that is attached to stops before its configuration is done.
  const attaching = holdingStops();
  const attached = await start("attached", { request: "attach", ...breakAt(2) }, attaching.held);
  attaching.letThrough();
  const { debugSession: entered } = await attached.until(isStopped);
  assert.equal(entered.stopReason, "entry");
  await goOn(entered);
  await attached.until(atLine(2));
  for (const { stop, end } of [patched, attached]) {
    stop.abort("cancelled");
    await end;
  }
});

test("reports an answer before the events after it, so that a move does not end the stop of another thread", async () => {
  const calls: string[] = [];
  const noted =
    <Input, Output>(name: (input: Input) => string, call: (input: Input) => Promise<Output>) =>
    async (input: Input) => {
      calls.push(`${name(input)} begins`);
      const answer = await call(input);
      calls.push(`${name(input)} ends`);
      return answer;
    };
  const { applyEvent, reply } = store.debug;
  const { end, until, stop } = await start("both", breakAt(2), {
    ...store,
    debug: { ...store.debug, applyEvent: noted(({ event }) => event, applyEvent), reply: noted(() => "reply", reply) },
  } as Store);
  const { debugSession } = await until(isStopped);
  const { id: debugSessionId, stopEpoch } = debugSession;
  assert.equal((await store.debug.request({ debugSessionId, command: "next", stopEpoch })).success, true);
  const second = await until((view) => view.debugSession.stopThreadId === 2 && view.threads.length > 0);
  assert.deepEqual(calls.slice(-4), ["reply begins", "reply ends", "stopped begins", "stopped ends"]);
  assert.ok(second.debugSession.stopEpoch > stopEpoch);
  stop.abort("cancelled");
  await end;
});

test("says why it ends when the adapter crashes, hangs, refuses, or does not speak the protocol", async () => {
  const endings: Record<string, readonly [RegExp, string | undefined]> = {
    crash: [/^scripted has ended with exit code 3 before its program: an assertion has failed$/, "error"],
    silent: [/^initialize: scripted has not answered within 500 ms$/, undefined],
    refusing: [/^launch: no such program$/, "error"],
    garbage: [
      /^scripted does not speak the protocol: expected a header with Content-Length, and got "garbage/,
      undefined,
    ],
    huge: [/^scripted does not speak the protocol: a message of 99999999999 bytes is too large/, undefined],
  };
  await Promise.all(
    Object.entries(endings).map(async ([mode, [expected, state]]) => {
      const { end, view } = await start(mode, mode === "silent" ? { timeoutMs: 500 } : {});
      const { exitCode, signal, reason } = await end;
      assert.match(reason ?? "", expected, mode);
      assert.deepEqual([exitCode, signal, (await view())?.debugSession.state], [null, null, state], mode);
    }),
  );
  const missing = await start("", { command: ["/nowhere/adapter"] });
  const { errno, reason } = await missing.end;
  assert.deepEqual([errno, reason], ["ENOENT", "/nowhere/adapter: no such program"]);
});

test("goes on when the adapter answers late, sends odd events, or sends events after the end", async () => {
  const drive: DapOptions["drive"] = async (driven) => {
    await driven.setBreakpoints(path, [{ line: 2 }]);
    if ((await driven.start()) !== undefined) await driven.move("continue");
  };
  const [late, odd, after] = await Promise.all([
    start("late", { drive }),
    start("odd", { drive }),
    start("after", { drive }),
  ]);
  // The adapter answers what the stop needs only when the program goes on, and then nobody needs it.
  const { debugSession } = await late.until((view) => view.debugSession.state === "stopped");
  await goOn(debugSession);
  for (const { end } of [late, odd, after]) assert.equal((await end).exitCode, 7);
  assert.deepEqual((await late.view())?.stopEpochs, []);
  const texts = (await odd.view())?.events.map(({ body }) => String(body?.output));
  assert.ok(
    texts?.some((text) => text.startsWith("the event stopped of the debug adapter was refused")),
    `${texts}`,
  );
  const view = await after.view();
  const told = view?.events.map(({ event, body }) => body?.output ?? event);
  assert.deepEqual(
    [told?.slice(-3), view?.debugSession.state, view?.debugSession.exitCode],
    [["terminated", "after the end\n", "stopped"], "terminated", 7],
  );
});

test("kills an adapter that does not end with its program", async () => {
  const { end } = await start("stubborn", { drive: (driven) => driven.start() });
  assert.equal((await end).exitCode, 7);
});
