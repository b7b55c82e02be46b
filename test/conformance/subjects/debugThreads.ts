// Threads of a debugged process: each has its own stop, and events come in the order and with the gaps that adapters have.
import assert from "node:assert/strict";
import type { Store } from "../../../src/index.ts";
import { present } from "../../../src/present.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { collect, endOfFeed, fails, subject } from "../suite.ts";

const sourcePath = "/srv/main.js";
const frame = (id: number, line = id, path = sourcePath) => ({
  ...{ id, name: `f${id}`, source: { path } },
  ...{ line, column: 1 },
});

/** Starts a debug session whose debugger runs, and returns what an adapter and its clients do with it. */
async function running(store: Store) {
  const { debugSessionId, adapterRun, debugSession } = await fixtures(store).debugSession();
  const run = { debugSessionId, adapterRun };
  let seq = 1;
  const numbered = (number: number, event: string, body?: Record<string, unknown>) =>
    store.debug.applyEvent({ ...run, seq: number, event, ...present({ body }) });
  const event = (name: string, body?: Record<string, unknown>) => numbered(++seq, name, body);
  const view = () => store.debug.get({ debugSessionId });
  return {
    ...{ run, debugSessionId, sessionId: debugSession.sessionId, event, numbered, view },
    stop: (threadId: number, more: object = {}) => event("stopped", { reason: "step", threadId, ...more }),
    put: (stopEpoch: number, ...threads: Parameters<Store["debug"]["putStop"]>[0]["threads"]) =>
      store.debug.putStop({ ...run, stopEpoch, threads }),
    /** The threads that are stopped, with the epoch of their stop, their reason and the ids of their frames. */
    async stopped() {
      const { debugSession: row, threads, runningThreads } = await view();
      return {
        state: row.state,
        focus: row.stopThreadId,
        stopped: threads.map(({ threadId, stopEpoch, stopReason, frames }) => [
          threadId,
          stopEpoch,
          stopReason,
          frames.map(({ id }) => id),
        ]),
        running: runningThreads.map(({ threadId }) => threadId),
      };
    },
  };
}

const thread = (id: number, ...frames: ReturnType<typeof frame>[]) => ({ id, name: `t${id}`, frames });

export function debugThreadsConformance(backend: TestedBackend): void {
  subject(backend, "debug threads", ({ test, alone }) => {
    test("a second stop hides nothing of the first, and each thread goes on by itself", async ({ store }) => {
      const { stop, put, event, stopped } = await running(store);
      const first = await stop(1, { allThreadsStopped: false });
      await put(first.stopEpoch, thread(1, frame(10), frame(11)));
      const second = await stop(2);
      await put(second.stopEpoch, thread(2, frame(20)));
      assert.deepEqual(await stopped(), {
        ...{ state: "stopped", focus: 2, running: [] },
        stopped: [
          [1, 1, "step", [10, 11]],
          [2, 2, "step", [20]],
        ],
      });
      const one = await event("continued", { threadId: 2, allThreadsContinued: false });
      assert.deepEqual([one.state, one.stopEpoch], ["stopped", 3]);
      const left = { state: "stopped", focus: 1, stopped: [[1, 1, "step", [10, 11]]], running: [2] };
      assert.deepEqual(await stopped(), left);
      const other = await event("continued", { threadId: 1, allThreadsContinued: false });
      assert.deepEqual([other.state, other.stopEpoch], ["running", 4]);
      assert.deepEqual(await stopped(), { state: "running", focus: null, stopped: [], running: [1, 2] });
    });

    test("continued is about all threads unless allThreadsContinued is false", async ({ store }) => {
      for (const body of [{ threadId: 2 }, { threadId: 2, allThreadsContinued: true }, {}]) {
        const { stop, event, stopped } = await running(store);
        await stop(1);
        await stop(2);
        assert.equal((await event("continued", body)).state, "running");
        assert.deepEqual((await stopped()).running, [1, 2]);
      }
    });

    test("a thread that goes on without being stopped, or known, stops no other one from standing still", async ({
      store,
    }) => {
      const { stop, put, event, stopped } = await running(store);
      await put((await stop(1)).stopEpoch, thread(1, frame(1)));
      await event("thread", { reason: "started", threadId: 2 });
      for (const threadId of [2, 3])
        assert.equal((await event("continued", { threadId, allThreadsContinued: false })).state, "stopped");
      assert.deepEqual((await stopped()).stopped, [[1, 1, "step", [1]]]);
    });

    test("allThreadsStopped stops all threads, and one that stopped before keeps its reason and its frames", async ({
      store,
    }) => {
      const { stop, put, event, stopped } = await running(store);
      for (const threadId of [1, 2, 3]) await event("thread", { reason: "started", threadId });
      await put((await stop(1)).stopEpoch, thread(1, frame(1)));
      await stop(2, { allThreadsStopped: true });
      assert.deepEqual((await stopped()).stopped, [
        [1, 1, "step", [1]],
        [2, 2, "step", []],
        [3, 2, null, []],
      ]);
      // A thread that appears while all of them are stopped is stopped.
      await event("thread", { reason: "started", threadId: 4 });
      assert.deepEqual((await stopped()).stopped.at(-1), [4, 2, null, []]);
      // With thread 3 alone on its way, the others stay, and so do those that nobody has named.
      await event("continued", { threadId: 3, allThreadsContinued: false });
      await event("thread", { reason: "started", threadId: 5 });
      assert.deepEqual((await stopped()).running, [3, 5]);
    });

    test("a thread that stops again with all threads has run since, and so have the others", async ({ store }) => {
      const { stop, put, stopped } = await running(store);
      const all = { allThreadsStopped: true };
      await put((await stop(1, all)).stopEpoch, thread(1, frame(1)), thread(2, frame(2)));
      await stop(1, all);
      assert.deepEqual((await stopped()).stopped, [
        [1, 2, "step", []],
        [2, 2, null, []],
      ]);
    });

    test("preserveFocusHint leaves the focus where it is, and a stop without it moves the focus", async ({ store }) => {
      const { stop, event, view, stopped } = await running(store);
      const all = { allThreadsStopped: true };
      await stop(1, { ...all, reason: "breakpoint", description: "at a" });
      await stop(2, { ...all, preserveFocusHint: true });
      const { debugSession } = await view();
      assert.deepEqual(
        [debugSession.stopThreadId, debugSession.stopReason, debugSession.stopDescription],
        [1, "breakpoint", "at a"],
      );
      assert.equal((await stopped()).stopped.length, 2);
      await stop(3, all);
      assert.equal((await stopped()).focus, 3);
      await event("continued", { threadId: 3, allThreadsContinued: false });
      assert.equal((await stopped()).focus, 2);
    });

    test("thread events start and end threads, and an ended one keeps no frames", async ({ store }) => {
      const { stop, put, event, stopped } = await running(store);
      await event("thread", { reason: "started", threadId: 1 });
      await event("thread", { reason: "started", threadId: 2 });
      const { stopEpoch } = await stop(1);
      await stop(2);
      await put(stopEpoch, thread(1, frame(1)));
      const ended = await event("thread", { reason: "exited", threadId: 1 });
      assert.deepEqual([ended.state, ended.stopEpoch], ["stopped", 2]);
      assert.deepEqual(await stopped(), { state: "stopped", focus: 2, stopped: [[2, 2, "step", []]], running: [] });
      // What was read before the end comes too late.
      await fails(put(2, thread(1, frame(1))), "conflict", { reason: "epoch", currentEpoch: 2 });
      const last = await event("thread", { reason: "exited", threadId: 2 });
      assert.deepEqual([last.state, last.stopEpoch], ["running", 3]);
      await event("thread", { reason: "named", threadId: 3 });
      assert.deepEqual((await stopped()).running, []);
    });

    test("the exit of the program ends all threads, also those that are stopped", async ({ store }) => {
      const { stop, event, stopped } = await running(store);
      await event("thread", { reason: "started", threadId: 1 });
      await stop(2, { allThreadsStopped: true });
      const exited = await event("exited", { exitCode: 9 });
      assert.deepEqual([exited.state, exited.stopEpoch], ["running", 2]);
      assert.deepEqual(await stopped(), { state: "running", focus: null, stopped: [], running: [] });
    });

    test("the end, the close and the restart of a debugger leave no thread", async ({ store }) => {
      const one = await running(store);
      await one.stop(1);
      await one.event("terminated");
      assert.deepEqual(await one.stopped(), { state: "terminated", focus: null, stopped: [], running: [] });
      const two = await running(store);
      await two.stop(1);
      await store.debug.close({ debugSessionId: two.debugSessionId });
      assert.deepEqual((await two.stopped()).stopped, []);
      const three = await running(store);
      await three.stop(1, { allThreadsStopped: true });
      const { name } = (await three.view()).debugSession;
      await store.debug.open({ sessionId: three.sessionId, name, adapter: "a", restartRun: 1 });
      assert.deepEqual(await three.stopped(), { state: "initializing", focus: null, stopped: [], running: [] });
    });

    test("frames of a thread are stored at its own stop, and those of a thread that is past it are skipped", async ({
      store,
    }) => {
      const { stop, put, event, stopped, view } = await running(store);
      const { stopEpoch } = await stop(1);
      await stop(2);
      // Both are read after the second stop; the first one has not moved.
      assert.deepEqual(await put(2, thread(1, frame(1)), thread(2, frame(2))), { stored: 2 });
      await event("continued", { threadId: 2, allThreadsContinued: false });
      assert.deepEqual(await put(stopEpoch, thread(1, frame(3)), thread(2, frame(4))), { stored: 1 });
      assert.deepEqual((await stopped()).stopped, [[1, 1, "step", [3]]]);
      assert.deepEqual((await view()).stopEpochs, [1, 2]);
      // Frames tell that a thread is stopped, and a name alone does not.
      await put(3, thread(5, frame(5)), thread(6));
      assert.deepEqual(await stopped(), {
        ...{ state: "stopped", focus: 1, running: [2, 6] },
        stopped: [
          [1, 1, "step", [3]],
          [5, 3, null, [5]],
        ],
      });
    });

    test("patchState with threadId moves this thread, by the epoch of its own stop", async ({ store }) => {
      const { run, stop, stopped } = await running(store);
      await stop(1);
      await stop(2);
      const move = (threadId: number | undefined, expectedEpoch: number) =>
        store.debug.patchState({ ...run, expectedEpoch, state: "running", ...present({ threadId }) });
      await fails(move(1, 2), "conflict", { reason: "epoch", currentEpoch: 1 });
      await fails(move(7, 2), "conflict", { reason: "epoch", currentEpoch: 2 });
      await fails(store.debug.patchState({ ...run, expectedEpoch: 1, threadId: 1 }), "invalid_input");
      const one = await move(1, 1);
      assert.deepEqual([one.state, one.stopEpoch, one.stopThreadId], ["stopped", 3, 2]);
      assert.deepEqual((await stopped()).running, [1]);
      await fails(move(1, 1), "conflict", { reason: "epoch" });
      assert.deepEqual([(await move(2, 2)).state, (await stopped()).running], ["running", [1, 2]]);
      await stop(1);
      await stop(2);
      assert.deepEqual([(await move(undefined, 6)).state, (await stopped()).stopped], ["running", []]);
    });

    test("a request names the stop of its thread, and its answer moves that thread alone if the adapter says so", async ({
      store,
    }) => {
      const { run, debugSessionId, stop, event, stopped } = await running(store);
      await store.debug.patchState({
        ...{ ...run, expectedEpoch: 0 },
        capabilities: { supportsSingleThreadExecutionRequests: true },
      });
      await stop(1);
      await stop(2);
      const ask = (command: string, threadId: number, stopEpoch: number, more: object = {}) =>
        store.debug.request({ debugSessionId, command, threadId, stopEpoch, arguments: { threadId, ...more } });
      const answer = async (body: object = {}) => {
        const { requests } = await store.debug.takeRequests({ ...run, waitMs: 0 });
        for (const request of requests) await store.debug.reply({ ...run, request, body });
      };
      await fails(ask("next", 1, 2), "conflict", { reason: "epoch" });
      const late = ask("stackTrace", 2, 2);
      const moved = ask("continue", 1, 1);
      await answer({ allThreadsContinued: false });
      await Promise.all([late, moved]);
      assert.deepEqual([(await stopped()).stopped, (await stopped()).running], [[[2, 2, "step", []]], [1]]);
      await stop(1);
      const alone = ask("next", 1, 4, { singleThread: true });
      await answer();
      await alone;
      assert.deepEqual((await stopped()).running, [1]);
      // The stop of thread 1 is over for what waits for it, and that of thread 2 is not.
      await stop(1);
      const waiting = [ask("scopes", 1, 6), ask("scopes", 2, 2)] as const;
      const lost = fails(waiting[0], "conflict", { reason: "epoch" });
      await event("continued", { threadId: 1, allThreadsContinued: false });
      await lost;
      await answer();
      assert.equal((await waiting[1]).state, "answered");
      const all = ask("continue", 2, 2);
      await answer();
      await all;
      assert.deepEqual((await stopped()).running, [1, 2]);
    });

    test("the change feed tells of each thread that stops or goes on", async ({ store }) => {
      const { stop, event, debugSessionId } = await running(store);
      const after = await endOfFeed(store);
      await stop(1);
      await stop(2);
      await event("thread", { reason: "started", threadId: 3 });
      await event("continued", { threadId: 1, allThreadsContinued: false });
      await event("continued", { threadId: 2 });
      const { changes } = await store.changes.since({ after, entity: "debug_session" });
      assert.deepEqual(
        changes.filter(({ entityId }) => entityId === debugSessionId).map(({ op, detail }) => [op, detail]),
        [
          ["stop", { state: "stopped", stopEpoch: 1, reason: "step" }],
          ["stop", { state: "stopped", stopEpoch: 2, reason: "step" }],
          ["continue", { state: "stopped", stopEpoch: 3, threadId: 1 }],
          ["continue", { state: "running", stopEpoch: 4 }],
        ],
      );
    });

    test("invalidated marks what it names, until it is read again or the thread goes on", async ({ store }) => {
      const { stop, put, event, view } = await running(store);
      const all = { allThreadsStopped: true };
      const { stopEpoch } = await stop(1, all);
      await put(stopEpoch, thread(1, frame(1)), thread(2, frame(2)));
      const stale = async () => {
        const { threads, debugSession } = await view();
        return [...threads.map(({ staleAreas }) => staleAreas), debugSession.staleFrameIds];
      };
      await event("invalidated", { areas: ["variables"], threadId: 2 });
      assert.deepEqual(await stale(), [null, ["variables"], null]);
      await event("invalidated", { areas: ["stacks", "registers"] });
      assert.deepEqual(await stale(), [["stacks"], ["stacks", "variables"], null]);
      await put(stopEpoch, thread(2, frame(2)));
      assert.deepEqual(await stale(), [["stacks"], null, null]);
      for (const body of [{}, { areas: [] }, { areas: ["registers"] }, { areas: ["all"] }, undefined]) {
        await event("invalidated", body);
        assert.deepEqual(await stale(), [["threads", "stacks", "variables"], ["threads", "stacks", "variables"], null]);
        await put(stopEpoch, thread(1, frame(1)), thread(2, frame(2)));
        assert.deepEqual(await stale(), [null, null, null]);
      }
      await event("invalidated", { areas: ["variables"], threadId: 1, stackFrameId: 2 });
      await event("invalidated", { stackFrameId: 7 });
      assert.deepEqual(await stale(), [null, null, [2, 7]]);
      await put(stopEpoch, thread(2, frame(2)));
      assert.deepEqual(await stale(), [null, null, [7]]);
      for (let id = 100; id < 200; id++) await event("invalidated", { stackFrameId: id });
      assert.deepEqual((await stale()).slice(0, 2), [["variables"], ["variables"]]);
      await event("continued", { threadId: 1 });
      await stop(1, all);
      assert.deepEqual(await stale(), [null, null, null]);
    });

    test("capabilities are added to, the process is kept, and all events are kept and counted by name", async ({
      store,
    }) => {
      const { run, event, view } = await running(store);
      const capabilities = {
        supportsStepBack: false,
        supportsRestartRequest: undefined,
        exceptionBreakpointFilters: [],
      };
      await store.debug.patchState({ ...run, expectedEpoch: 0, capabilities });
      const changed = { supportsStepBack: true, supportsRestartRequest: true };
      await event("capabilities", { capabilities: changed });
      const process = { name: "/bin/a", systemProcessId: 7, startMethod: "launch" };
      await event("process", process);
      for (const name of ["memory", "progressStart", "progressEnd", "module", "module", "loadedSource", "vendor/x"])
        await event(name, { name });
      await event("__proto__");
      const { debugSession, events } = await view();
      assert.deepEqual(debugSession.capabilities, { exceptionBreakpointFilters: [], ...changed });
      assert.deepEqual(debugSession.process, process);
      assert.deepEqual(debugSession.eventCounts, {
        ...{ initialized: 1, capabilities: 1, process: 1, memory: 1, progressStart: 1, progressEnd: 1 },
        ...{ module: 2, loadedSource: 1, "vendor/x": 1, "…": 1 },
      });
      assert.deepEqual(events.find(({ event: name }) => name === "vendor/x")?.body, { name: "vendor/x" });
      for (let n = 0; n < 60; n++) await event(`vendor/${n}`);
      const counts = (await view()).debugSession.eventCounts ?? {};
      assert.deepEqual([Object.keys(counts).length, counts["…"]], [50, 21]);
    });

    test("capabilities that would be too large are left out, and stay in the event", async ({ store }) => {
      const { run, event, view } = await running(store);
      await store.debug.patchState({ ...run, expectedEpoch: 0, capabilities: { a: "x ".repeat(30_000) } });
      assert.equal((await event("capabilities", { capabilities: { b: "y ".repeat(4_000) } })).applied, true);
      const { debugSession, events } = await view();
      assert.deepEqual(Object.keys(debugSession.capabilities ?? {}), ["a"]);
      assert.equal(events.at(-1)?.event, "capabilities");
    });

    test("a stop before initialized is recorded and followed", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const opened = await store.debug.open({ sessionId: session.id, name: "n", adapter: "a", request: "attach" });
      const run = { debugSessionId: opened.id, adapterRun: 1 };
      const stopped = { seq: 1, event: "stopped", body: { reason: "entry", threadId: 1 } };
      assert.deepEqual(await store.debug.applyEvent({ ...run, ...stopped }), {
        ...{ applied: true, state: "stopped", stopEpoch: 1 },
      });
      const { state } = await store.debug.applyEvent({ ...run, seq: 2, event: "initialized" });
      assert.equal(state, "stopped");
      const resumed = await store.debug.patchState({ ...run, expectedEpoch: 1, state: "running" });
      assert.equal(resumed.state, "running");
      await store.debug.close({ debugSessionId: opened.id });
      const events = await collect(store.debug.follow({ debugSessionId: opened.id }));
      assert.deepEqual(
        events.map(({ event }) => event),
        ["stopped", "initialized"],
      );
    });

    test("continued before initialized leaves the configuration to come", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const opened = await store.debug.open({ sessionId: session.id, name: "n", adapter: "a" });
      const run = { debugSessionId: opened.id, adapterRun: 1 };
      const states = [];
      for (const event of ["continued", "initialized", "continued"])
        states.push((await store.debug.applyEvent({ ...run, seq: 0, event, body: {} })).state);
      assert.deepEqual(states, ["initializing", "configuring", "running"]);
    });

    test("events without a number are applied in the order of arrival, each time", async ({ store }) => {
      const { run, numbered, view } = await running(store);
      for (const event of ["stopped", "continued", "stopped"])
        assert.equal((await numbered(0, event, { reason: "step", threadId: 1 })).applied, true);
      const { debugSession, events } = await view();
      assert.deepEqual([debugSession.state, debugSession.stopEpoch, debugSession.lastEvent], ["stopped", 3, 1]);
      assert.deepEqual(
        events.map(({ seq, position }) => [seq, position]),
        [
          [1, 1],
          [0, 2],
          [0, 3],
          [0, 4],
        ],
      );
      await fails(store.debug.applyEvent({ ...run, seq: -1, event: "output" }), "invalid_input");
    });

    test("an event that arrives late is recorded once, and undoes nothing that a later one has done", async ({
      store,
    }) => {
      const { numbered, view, stopped } = await running(store);
      await numbered(10, "continued", { threadId: 1 });
      await numbered(12, "stopped", { reason: "step", threadId: 2 });
      // Thread 1 has gone on since; thread 2 has stopped since.
      await numbered(9, "stopped", { reason: "step", threadId: 1 });
      await numbered(11, "continued", { threadId: 2 });
      assert.deepEqual((await stopped()).stopped, [[2, 2, "step", []]]);
      // What nothing has changed since takes effect: the epoch is 3, because threads without a name have gone on.
      await numbered(14, "output", { output: "x" });
      assert.equal((await numbered(13, "stopped", { reason: "pause", threadId: 3 })).stopEpoch, 4);
      assert.deepEqual(
        (await stopped()).stopped.map(([id]) => id),
        [2, 3],
      );
      await numbered(16, "thread", { reason: "exited", threadId: 3 });
      await numbered(15, "stopped", { reason: "pause", threadId: 3 });
      assert.deepEqual((await stopped()).stopped, [[2, 2, "step", []]]);
      for (const seq of [9, 11, 12, 15]) assert.equal((await numbered(seq, "output", {})).applied, false);
      const { events, debugSession } = await view();
      assert.deepEqual(
        events.map(({ seq }) => seq),
        [1, 10, 12, 9, 11, 14, 13, 16, 15],
      );
      assert.equal(debugSession.lastEvent, 16);
    });

    test("a stop that arrives late counts the hits of its breakpoints, and stops nothing", async ({ store }) => {
      const { run, debugSessionId, numbered, view } = await running(store);
      const [row] = await store.debug.setBreakpoints({ debugSessionId, sourcePath, breakpoints: [{ line: 4 }] });
      const bound = [{ breakpointId: row?.id as string, breakpoint: { id: 6, verified: true } }];
      await store.debug.bindBreakpoints({ ...run, bound });
      await numbered(10, "continued", { threadId: 1 });
      const body = { reason: "breakpoint", threadId: 1, hitBreakpointIds: [6] };
      assert.equal((await numbered(9, "stopped", body)).state, "running");
      assert.equal((await numbered(9, "stopped", body)).applied, false);
      assert.equal((await view()).breakpoints[0]?.hitCount, 1);
    });

    alone(
      "an event that is older than all that are kept is taken for a repetition",
      async ({ store }) => {
        const { numbered } = await running(store);
        await numbered(100, "output", {});
        assert.deepEqual(
          [(await numbered(95, "output", {})).applied, (await numbered(96, "output", {})).applied],
          [false, true],
        );
      },
      { limits: { debugEvents: 5 } },
    );

    test("an exit without a code is recorded, also after the end", async ({ store }) => {
      const { event, view } = await running(store);
      for (const body of [{ exitCode: null }, {}, undefined]) await event("exited", body);
      assert.deepEqual([(await view()).debugSession.exitCode, (await view()).events.length], [null, 4]);
      await event("exited", { exitCode: 3 });
      await event("exited", {});
      await event("terminated");
      await event("exited", {});
      assert.equal((await view()).debugSession.exitCode, 3);
    });

    test("without hitBreakpointIds, the place of the first frame tells which breakpoints were hit, once", async ({
      store,
    }) => {
      const { run, debugSessionId, stop, put, event, view } = await running(store);
      const set = (path: string, ...breakpoints: { line: number; logMessage?: string }[]) =>
        store.debug.setBreakpoints({ debugSessionId, sourcePath: path, breakpoints });
      const [four, , log] = await set(sourcePath, { line: 4 }, { line: 9 }, { line: 5, logMessage: "x" });
      const [windows] = await set("c:\\src\\a.c", { line: 4 });
      const [url] = await set("file:///srv/other%20one.js", { line: 4 });
      const bound = [{ breakpointId: four?.id as string, breakpoint: { verified: true, line: 5 } }];
      await store.debug.bindBreakpoints({ ...run, bound });
      const hitsAt = async (path: string, line: number, more: object = { reason: "breakpoint" }) => {
        const { stopEpoch } = await stop(1, more);
        await put(stopEpoch, { id: 2, name: "other", frames: [frame(1, line, path)] });
        for (let n = 0; n < 2; n++) await put(stopEpoch, thread(1, frame(1, line, path)));
        const { breakpoints, debugSession, threads } = await view();
        await event("continued", {});
        const hits = breakpoints.filter(({ hitCount }) => hitCount > 0).map(({ id, hitCount }) => [id, hitCount]);
        assert.deepEqual(threads[0]?.hitBreakpointIds, debugSession.hitBreakpointIds);
        return { hits, named: debugSession.hitBreakpointIds };
      };
      assert.deepEqual(await hitsAt(sourcePath, 4), { hits: [], named: null });
      assert.deepEqual(await hitsAt(sourcePath, 5), { hits: [[four?.id, 1]], named: [four?.id] });
      assert.deepEqual((await hitsAt(sourcePath, 5, { reason: "step" })).named, null);
      assert.deepEqual((await hitsAt(sourcePath, 5, { reason: "breakpoint", hitBreakpointIds: [77] })).named, null);
      assert.deepEqual((await hitsAt("C:/src/a.c", 4)).named, [windows?.id]);
      assert.deepEqual((await hitsAt("/srv/other one.js", 4)).named, [url?.id]);
      assert.deepEqual((await view()).breakpoints.find(({ id }) => id === log?.id)?.hitCount, 0);
    });

    test("a debug session knows at most 256 threads, and always those that have stopped by themselves", async ({
      store,
    }) => {
      const { stop, event, stopped, view } = await running(store);
      for (let threadId = 1; threadId <= 258; threadId++) await event("thread", { reason: "started", threadId });
      assert.equal((await view()).runningThreads.length, 256);
      await stop(300, { allThreadsStopped: true });
      const { stopped: known, focus } = await stopped();
      assert.deepEqual(
        [known.length, known[0], known.at(-1), focus],
        [256, [2, 1, null, []], [300, 1, "step", []], 300],
      );
    });

    test("frames of all threads beyond 1 MiB are left out and marked", async ({ store }) => {
      const { stop, put, view } = await running(store);
      const { stopEpoch } = await stop(1, { allThreadsStopped: true });
      const name = "x ".repeat(500).trim();
      for (let id = 1; id <= 12; id++) {
        const frames = Array.from({ length: 50 }, (_, n) => ({
          ...frame(n),
          name,
          source: { path: `/${name}${name}` },
        }));
        await put(stopEpoch, { id, name: "t", frames });
      }
      const { threads } = await view();
      assert.equal(threads.length, 12);
      assert.deepEqual([threads[0]?.frames.length, threads.at(-1)?.frames, threads.at(-1)?.cut], [42, [], true]);
    });

    alone(
      "frames of a thread that stands still are kept, however often others stop",
      async ({ store }) => {
        const { stop, put, stopped, view } = await running(store);
        await put((await stop(1)).stopEpoch, thread(1, frame(1)));
        for (let n = 0; n < 5; n++) await put((await stop(2)).stopEpoch, thread(2, frame(2)));
        assert.deepEqual((await stopped()).stopped, [
          [1, 1, "step", [1]],
          [2, 6, "step", [2]],
        ]);
        assert.deepEqual((await view()).stopEpochs, [1, 5, 6]);
      },
      { limits: { debugStopEpochs: 2 } },
    );
  });
}
