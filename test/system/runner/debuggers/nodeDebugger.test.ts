// Runs commands under debuggers.node(), driven by what clients change in the store.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { type DebugView, openStore, type Store } from "../../../../src/index.ts";
import type { DebuggerOptions } from "../../../../src/runner/debuggers/debugger.ts";
import { debuggers } from "../../../../src/runner/debuggers/debuggers.ts";
import { fixtures } from "../../../../src/testing/index.ts";
import { temporaryFolder } from "../../../support/temporaryFolder.ts";

const folder = temporaryFolder();
const store = await openStore({ url: `sqlite:${join(folder, "metadata.db")}` });
after(() => store.close());

const path = join(folder, "main.mjs");
writeFileSync(
  path,
  `let total = 0;
for (const n of [1, 2, 3]) {
  total += n;
}
console.error("Debugger attached is what we print");
process.stdout.write(Buffer.from([0xff, 0x0a]));
console.log("total", total);
if (process.argv[2] === "throw") setImmediate(() => { throw new Error("as asked"); });
if (process.argv[2] === "wait") setInterval(() => undefined, 1_000);
`,
);

/** Runs a command of a new session, and returns what its clients need. */
async function start(argv: readonly string[], options: DebuggerOptions = {}, sessionId?: string, used: Store = store) {
  const { command } = await fixtures(store).command({ argv: [...argv], ...(sessionId ? { sessionId } : {}) });
  const output = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
  const stop = new AbortController();
  const end = debuggers.node(options).run({
    store: used,
    argv,
    sessionId: command.sessionId,
    commandId: command.id,
    cwd: folder,
    env: process.env,
    signal: stop.signal,
    output: (stream, data) => void output[stream].push(data),
  });
  end.catch(() => undefined);
  // A test that has failed leaves the program running.
  after(() => stop.abort());
  return { end, stop, output, sessionId: command.sessionId };
}

/** Resolves with the debug session of a session as soon as it is as wanted. Not everything in it is in the feed. */
async function until(sessionId: string, isReached: (view: DebugView) => boolean): Promise<DebugView> {
  for (;;) {
    const [row] = (await store.debug.list({ sessionId })).items;
    const view = row && (await store.debug.get({ debugSessionId: row.id }));
    if (view !== undefined && isReached(view)) return view;
    await setTimeout(5);
  }
}

const goOn = ({ debugSession: { id, adapterRun, stopEpoch } }: DebugView) =>
  store.debug.patchState({ debugSessionId: id, adapterRun, expectedEpoch: stopEpoch, state: "running" });

test("stops where a client has set breakpoints before the run and during it, and goes on when the client says so", async () => {
  const { session } = await fixtures(store).session();
  const prepared = await store.debug.open({ sessionId: session.id, name: "main", adapter: "node-inspector" });
  const debugSessionId = prepared.id;
  const set = (...breakpoints: { line: number; condition?: string }[]) =>
    store.debug.setBreakpoints({ debugSessionId, sourcePath: path, breakpoints });
  await set({ line: 3, condition: "n === 2" });
  const { end, output } = await start(["node", path], {}, session.id);

  const first = await until(
    session.id,
    ({ debugSession, threads }) => debugSession.state === "stopped" && (threads[0]?.at ?? null) !== null,
  );
  assert.deepEqual([first.debugSession.adapterRun, first.debugSession.stopReason], [2, "breakpoint"]);
  assert.deepEqual([first.threads[0]?.frames[0]?.line, first.breakpoints[0]?.hitCount], [3, 1]);
  await set({ line: 7 });
  const bound = await until(session.id, ({ breakpoints: [breakpoint] }) => breakpoint?.verified === true);
  assert.deepEqual([bound.debugSession.state, bound.breakpoints[0]?.bound?.line], ["stopped", 7]);
  await goOn(bound);
  const second = await until(
    session.id,
    ({ debugSession, threads }) =>
      debugSession.stopEpoch > bound.debugSession.stopEpoch && (threads[0]?.at ?? null) !== null,
  );
  assert.equal(second.threads[0]?.frames[0]?.line, 7);
  await goOn(second);

  const { exitCode, signal, timedOut } = await end;
  assert.deepEqual([exitCode, signal, timedOut], [0, null, false]);
  assert.deepEqual(Buffer.concat(output.stdout), Buffer.from("\xff\ntotal 6\n", "latin1"));
  assert.equal(Buffer.concat(output.stderr).toString(), "Debugger attached is what we print\n");
  const { debugSession, events } = await store.debug.get({ debugSessionId });
  assert.deepEqual([debugSession.state, debugSession.exitCode], ["terminated", 0]);
  assert.deepEqual(
    events.filter(({ event }) => event === "stopped" || event === "continued").map(({ event }) => event),
    ["stopped", "stopped"],
  );
});

test("goes on as a client says, also before the store has told the debugger that it knows the stop", {
  timeout: 30_000,
}, async () => {
  const gate = Promise.withResolvers<void>();
  const applyEvent: Store["debug"]["applyEvent"] = async (input, options) => {
    const answer = await store.debug.applyEvent(input, options);
    if (input.event === "stopped") await gate.promise;
    return answer;
  };
  const held: Store = { ...store, debug: { ...store.debug, applyEvent } };
  const { end, sessionId } = await start(["node", path], { stopOnEntry: true }, undefined, held);
  const stopped = await until(sessionId, ({ debugSession }) => debugSession.state === "stopped");
  await goOn(stopped);
  // The debugger learns of the change meanwhile: it needs a few reads, and each of these takes as long.
  for (let reads = 0; reads < 50; reads++)
    await store.debug.get({ debugSessionId: stopped.debugSession.id, events: 0 });
  gate.resolve();
  assert.equal((await end).exitCode, 0);
});

test("workers run while the program is stopped, and are threads until they end", { timeout: 30_000 }, async () => {
  const workers = join(folder, "workers.mjs");
  writeFileSync(
    workers,
    `import { isMainThread, parentPort, threadId, Worker, workerData } from "node:worker_threads";
if (isMainThread) {
  const worker = new Worker(new URL(import.meta.url), { name: "outer", workerData: 1 });
  worker.on("message", (sum) => {
    console.log("sum", sum);
    if (sum === 7) worker.postMessage("end");
  });
} else {
  const inner = workerData === 0 ? undefined : new Worker(new URL(import.meta.url), { name: "inner", workerData: 0 });
  inner?.on("message", (sum) => parentPort.postMessage(sum + 3));
  inner?.on("exit", () => process.exit());
  parentPort.on("message", () => inner === undefined ? process.exit() : inner.postMessage("end"));
  if (inner === undefined) parentPort.postMessage(4);
}
`,
  );
  const { session } = await fixtures(store).session();
  const { id: debugSessionId } = await store.debug.open({ sessionId: session.id, name: "main", adapter: "node" });
  await store.debug.setBreakpoints({ debugSessionId, sourcePath: workers, breakpoints: [{ line: 5 }] });
  const { end, output } = await start(["node", workers], {}, session.id);
  const stopped = await until(session.id, ({ runningThreads }) => runningThreads.some(({ name }) => name !== ""));
  const { debugSession, threads, runningThreads } = stopped;
  assert.deepEqual([debugSession.state, debugSession.stopThreadId], ["stopped", 1]);
  assert.deepEqual(
    [threads.map(({ threadId }) => threadId), runningThreads.map(({ threadId, name }) => [threadId, name])],
    [
      [1],
      [
        [2, "[worker 1] outer"],
        [3, "[worker 2] inner"],
      ],
    ],
  );
  const ask = async (command: string, threadId?: number) => {
    const { success, message, body } = await store.debug.request({ debugSessionId, command, arguments: { threadId } });
    return [success, message ?? (body as { threads: unknown[] }).threads.length];
  };
  assert.deepEqual(await ask("threads"), [true, 3]);
  assert.deepEqual(await ask("pause", 2), [false, "only the main thread can be debugged, and not thread 2"]);
  await goOn(stopped);
  assert.equal((await end).exitCode, 0);
  assert.equal(Buffer.concat(output.stdout).toString(), "sum 7\n");
  const { events } = await store.debug.get({ debugSessionId });
  assert.deepEqual(
    events
      .filter(({ event, body }) => event === "thread" && body?.reason === "exited")
      .map(({ body }) => body?.threadId)
      .toSorted(),
    [2, 3],
  );
});

test("stops at an uncaught exception, and ends with the exit code of the program", async () => {
  const { session } = await fixtures(store).session();
  const { id: debugSessionId } = await store.debug.open({ sessionId: session.id, name: "main", adapter: "node" });
  const breakpoints = [{ filterId: "uncaught" }, { filterId: "odd" }];
  await store.debug.setBreakpoints({ debugSessionId, kind: "exception", breakpoints });
  await store.debug.setBreakpoints({ debugSessionId, kind: "function", breakpoints: [{ name: "main" }] });
  const { end } = await start(["node", path, "throw"], {}, session.id);
  const stopped = await until(session.id, ({ debugSession }) => debugSession.state === "stopped");
  assert.equal(stopped.debugSession.stopReason, "exception");
  const verified = stopped.breakpoints.map(({ kind, verified, bound }) => [kind, verified, bound?.message]);
  assert.deepEqual(verified, [
    ["exception", true, undefined],
    ["exception", false, "Node's inspector has the exception filters all and uncaught"],
    ["function", false, "Node's inspector has no function breakpoints"],
  ]);
  await goOn(stopped);
  assert.equal((await end).exitCode, 1);
});

test("ends the program when its signal fires, and when a client closes the debug session", async () => {
  for (const how of ["signal", "close"] as const) {
    const { end, stop, sessionId } = await start(["node", path, "wait"], { stopOnEntry: how === "close" });
    const isWaiting = how === "close" ? "stopped" : "running";
    const { debugSession } = await until(sessionId, ({ debugSession }) => debugSession.state === isWaiting);
    if (how === "signal") stop.abort("cancelled");
    else await store.debug.close({ debugSessionId: debugSession.id });
    const { exitCode, signal } = await end;
    assert.deepEqual([exitCode, signal], [null, "SIGTERM"], how);
    const after = await store.debug.get({ debugSessionId: debugSession.id });
    assert.equal(after.debugSession.state, "terminated", how);
  }
});

test("runs a program to its end when it cannot be debugged, and fails as its driver fails", async () => {
  const version = await start(["node", "--version"]);
  assert.equal((await version.end).exitCode, 0);
  assert.equal(Buffer.concat(version.output.stdout).toString(), `${process.version}\n`);
  assert.deepEqual((await store.debug.list({ sessionId: version.sessionId })).items, []);
  const missing = await start(["/nowhere/node", path]);
  assert.equal((await missing.end).errno, "ENOENT");
  await assert.rejects((await start(["python3", "main.py"])).end, /the command must begin with node/);
  const failing = await start(["node", path], { drive: () => Promise.reject(new Error("the driver failed")) });
  await assert.rejects(failing.end, /the driver failed/);
});
