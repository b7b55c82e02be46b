// Debug sessions: states, breakpoints, events, stops, and the secrets that are not stored.
import assert from "node:assert/strict";
import { newId, type Store } from "../../../src/index.ts";
import { present } from "../../../src/present.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { collect, endOfFeed, fails, subject, take } from "../suite.ts";

const sourcePath = "/srv/main.js";

/** An adapter that numbers its events. */
function adapterOf(
  store: Store,
  { debugSessionId, adapterRun }: { debugSessionId: string; adapterRun: number },
  seq = 1,
) {
  let last = seq;
  return {
    event: (event: string, body?: Record<string, unknown>) =>
      store.debug.applyEvent({
        debugSessionId,
        adapterRun,
        seq: ++last,
        event,
        ...present({ body }),
      }),
    get last() {
      return last;
    },
  };
}

/** Creates a debug session that has stopped, and of which no stop is stored. */
async function paused(store: Store) {
  const { debugSessionId, adapterRun } = await fixtures(store).debugSession();
  const stopped = { seq: 2, event: "stopped", body: { reason: "pause" } };
  const { stopEpoch } = await store.debug.applyEvent({ debugSessionId, adapterRun, ...stopped });
  return { debugSessionId, adapterRun, stopEpoch };
}

const frame = (id: number, more: object = {}) => ({
  id,
  name: `f${id}`,
  source: { path: sourcePath },
  line: id,
  column: 1,
  ...more,
});
const variable = (name: string, value = "1") => ({ name, value, variablesReference: 0 });

export function debugConformance(backend: TestedBackend): void {
  subject(backend, "debug", ({ test, alone }) => {
    const opsOf = async (store: Store, after: number, id: string) =>
      (await store.changes.since({ after, entity: "debug_session" })).changes
        .filter(({ entityId }) => entityId === id)
        .map(({ op, entityVersion }) => [op, entityVersion]);

    test("open creates a debug session in initializing", async ({ store }) => {
      const { session, command } = await fixtures(store).command();
      const capabilities = { supportsConditionalBreakpoints: true };
      const opened = await store.debug.open({
        sessionId: session.id,
        commandId: command.id,
        name: "node",
        adapter: "node",
        request: "attach",
        capabilities,
      });
      assert.deepEqual(
        [opened.state, opened.adapterRun, opened.stopEpoch, opened.lastEvent, opened.version],
        ["initializing", 1, 0, 0, 1],
      );
      assert.deepEqual(
        [opened.request, opened.commandId, opened.capabilities, opened.stopReason, opened.endedAt],
        ["attach", command.id, capabilities, null, null],
      );
      assert.deepEqual((await store.debug.list({ sessionId: session.id })).items, [opened]);
      const view = await store.debug.get({ debugSessionId: opened.id });
      assert.deepEqual(view, {
        debugSession: opened,
        breakpoints: [],
        threads: [],
        runningThreads: [],
        stopEpochs: [],
        events: [],
        lastOutput: null,
      });
    });

    test("a name is unique in its session; another session may use it too", async ({ store }) => {
      const { debugSession } = await fixtures(store).debugSession({ name: "n" });
      const { session } = await fixtures(store).session();
      await store.debug.open({ sessionId: session.id, name: "n", adapter: "a" });
      const again = { sessionId: debugSession.sessionId, name: "n", adapter: "a" };
      await fails(store.debug.open(again), "conflict", {
        reason: "exists",
        debugSessionId: debugSession.id,
        adapterRun: 1,
      });
      await fails(store.debug.open({ ...again, id: debugSession.id, name: "other" }), "conflict", {
        reason: "exists",
        debugSessionId: debugSession.id,
      });
    });

    test("open needs an open session, and a command of that session", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const { command: other } = await fixtures(store).command();
      const input = { sessionId: session.id, name: "n", adapter: "a" };
      await fails(store.debug.open({ ...input, sessionId: newId() }), "not_found", { entity: "session" });
      await fails(store.debug.open({ ...input, commandId: other.id }), "not_found", { entity: "command" });
      await store.sessions.cancel({ sessionId: session.id });
      await fails(store.debug.open(input), "invalid_transition", { entity: "session", state: "cancelled" });
    });

    test("events lead from initializing to terminated, and each stopped and continued raises the epoch", async ({
      store,
    }) => {
      const { session } = await fixtures(store).session();
      const { id: debugSessionId, adapterRun } = await store.debug.open({
        sessionId: session.id,
        name: "n",
        adapter: "a",
      });
      const adapter = adapterOf(store, { debugSessionId, adapterRun }, 0);
      const seen: unknown[] = [];
      const note = async (applied: Promise<{ state: string; stopEpoch: number }>) => {
        const { state, stopEpoch } = await applied;
        seen.push([state, stopEpoch]);
      };
      await note(adapter.event("output", { output: "early\n" }));
      await note(adapter.event("initialized"));
      await note(store.debug.patchState({ debugSessionId, adapterRun, expectedEpoch: 0, state: "running" }));
      await note(adapter.event("stopped", { reason: "step", threadId: 7 }));
      await note(adapter.event("stopped", { reason: "pause", threadId: 8 }));
      await note(adapter.event("continued", { threadId: 8 }));
      await note(adapter.event("stopped", { reason: "exception", description: "Error", text: "boom", threadId: 7 }));
      const { debugSession } = await store.debug.get({ debugSessionId });
      assert.deepEqual(
        [debugSession.stopReason, debugSession.stopDescription, debugSession.stopThreadId],
        ["exception", "Error: boom", 7],
      );
      await note(store.debug.patchState({ debugSessionId, adapterRun, expectedEpoch: 4, state: "running" }));
      await note(adapter.event("exited", { exitCode: 3 }));
      await note(adapter.event("terminated"));
      await note(adapter.event("output", { output: "late\n" }));
      assert.deepEqual(seen, [
        ["initializing", 0],
        ["configuring", 0],
        ["running", 0],
        ["stopped", 1],
        ["stopped", 2],
        ["running", 3],
        ["stopped", 4],
        ["running", 5],
        ["running", 5],
        ["terminated", 5],
        ["terminated", 5],
      ]);
      const { debugSession: over, events, lastOutput } = await store.debug.get({ debugSessionId });
      assert.deepEqual(
        [over.exitCode, over.stopReason, over.endedAt instanceof Date, events.length],
        [3, null, true, 9],
      );
      assert.deepEqual(lastOutput?.body, { output: "late\n" });
      for (const late of [adapter.event("stopped", { reason: "pause" }), adapter.event("continued", { threadId: 1 })])
        assert.deepEqual(await late, { applied: true, state: "terminated", stopEpoch: 5 });
      await fails(store.debug.setBreakpoints({ debugSessionId, sourcePath, breakpoints: [] }), "invalid_transition", {
        state: "terminated",
      });
    });

    test("a debug session does not run before it is configured", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const { id: debugSessionId, adapterRun } = await store.debug.open({
        sessionId: session.id,
        name: "n",
        adapter: "a",
      });
      await fails(
        store.debug.patchState({ debugSessionId, adapterRun, expectedEpoch: 0, state: "running" }),
        "invalid_transition",
        { state: "initializing" },
      );
    });

    test("the debugger stays stopped while the thread that stopped it does, even if another thread continues", async ({
      store,
    }) => {
      const running = await fixtures(store).debugSession();
      const adapter = adapterOf(store, running);
      await adapter.event("stopped", { reason: "breakpoint", threadId: 1 });
      const others = await adapter.event("continued", { threadId: 2, allThreadsContinued: false });
      assert.deepEqual([others.state, others.stopEpoch], ["stopped", 2]);
      const own = await adapter.event("continued", { threadId: 1, allThreadsContinued: false });
      assert.deepEqual([own.state, own.stopEpoch], ["running", 3]);
    });

    test("an event is applied once, even if it is sent eight times at once", async ({ store }) => {
      const running = await fixtures(store).debugSession();
      const stopped = { ...running, debugSession: undefined, seq: 5, event: "stopped", body: { reason: "step" } };
      const { debugSession: _, ...input } = stopped;
      const answers = await Promise.all(Array.from({ length: 8 }, () => store.debug.applyEvent(input)));
      assert.equal(answers.filter(({ applied }) => applied).length, 1);
      assert.deepEqual(new Set(answers.map(({ state, stopEpoch }) => `${state} ${stopEpoch}`)), new Set(["stopped 1"]));
      assert.equal((await store.debug.applyEvent({ ...input, event: "continued", body: {} })).applied, false);
      const { debugSession, events } = await store.debug.get({ debugSessionId: running.debugSessionId });
      assert.deepEqual(
        [
          debugSession.lastEvent,
          debugSession.stopEpoch,
          events.map(({ seq, position, stopEpoch }) => [seq, position, stopEpoch]),
        ],
        [
          5,
          1,
          [
            [1, 1, 0],
            [5, 2, 1],
          ],
        ],
      );
    });

    test("the body of an event is checked if the event changes the debug session", async ({ store }) => {
      const adapter = adapterOf(store, await fixtures(store).debugSession());
      await fails(adapter.event("stopped"), "invalid_input");
      await fails(adapter.event("stopped", { threadId: 1 }), "invalid_input");
      await fails(adapter.event("breakpoint", { reason: "changed" }), "invalid_input");
      await fails(adapter.event("exited", { exitCode: "1" }), "invalid_input");
      assert.equal((await adapter.event("vendor/anything", { threadId: "x", deep: [{ a: [1, null] }] })).applied, true);
    });

    test("characters that a database cannot store are replaced, and long text is cut and marked", async ({ store }) => {
      const running = await fixtures(store).debugSession();
      const adapter = adapterOf(store, running);
      await adapter.event("output", { category: "stdout", output: `a\u0000b\ud800c` });
      await adapter.event("output", { category: "stdout", output: "x".repeat(100_000) });
      await adapter.event("vendor/huge", { kind: "k", items: Array.from({ length: 20_000 }, (_, n) => n) });
      const [clean, long, huge] = (await store.debug.get({ debugSessionId: running.debugSessionId, events: 3 })).events;
      assert.deepEqual([clean?.body, clean?.cut], [{ category: "stdout", output: "a\u2400b\ufffdc" }, false]);
      assert.deepEqual([String(long?.body?.output).length, long?.cut], [8_192, true]);
      assert.deepEqual([huge?.body, huge?.cut], [{ kind: "k" }, true]);
    });

    alone(
      "only the last events are kept",
      async ({ store }) => {
        const running = await fixtures(store).debugSession();
        const adapter = adapterOf(store, running);
        for (let n = 2; n <= 12; n++) await adapter.event("output", { output: `${n}` });
        const { events } = await store.debug.get({ debugSessionId: running.debugSessionId });
        assert.deepEqual(
          events.map(({ position, body }) => [position, body?.output]),
          [
            [8, "8"],
            [9, "9"],
            [10, "10"],
            [11, "11"],
            [12, "12"],
          ],
        );
        const page = await take(store.debug.follow({ debugSessionId: running.debugSessionId, after: 3 }), 5);
        assert.deepEqual(
          page.map(({ position }) => position),
          [8, 9, 10, 11, 12],
        );
      },
      { limits: { debugEvents: 5 } },
    );

    test("follow returns past events, waits for more, also after the end, until the debug session is closed", async ({
      store,
      connect,
    }) => {
      const running = await fixtures(store).debugSession();
      const adapter = adapterOf(await connect(), running);
      const following = collect(store.debug.follow({ debugSessionId: running.debugSessionId, limit: 2 }));
      for (let n = 0; n < 5; n++) await adapter.event("output", { output: `${n}` });
      await adapter.event("terminated");
      await adapter.event("output", { output: "late" });
      await adapter.event("exited", { exitCode: 4 });
      const { closedAt, exitCode } = (await store.debug.get({ debugSessionId: running.debugSessionId })).debugSession;
      assert.deepEqual([closedAt, exitCode], [null, 4]);
      await store.debug.close({ debugSessionId: running.debugSessionId });
      assert.deepEqual(
        (await following).map(({ event, body }) => body?.output ?? event),
        ["initialized", "0", "1", "2", "3", "4", "terminated", "late", "exited"],
      );
    });

    test("follow ends with the session of a debugger that was not closed", async ({ store }) => {
      const { debugSessionId, adapterRun, debugSession } = await fixtures(store).debugSession();
      const following = collect(store.debug.follow({ debugSessionId }));
      await adapterOf(store, { debugSessionId, adapterRun }).event("terminated");
      await store.sessions.complete({ sessionId: debugSession.sessionId });
      assert.deepEqual(
        (await following).map(({ event }) => event),
        ["initialized", "terminated"],
      );
    });

    test("follow from a position beyond the last event waits for the events after it, until the debug session is closed", async ({
      store,
    }) => {
      const running = await fixtures(store).debugSession();
      const adapter = adapterOf(store, running);
      const { debugSessionId } = running;
      const following = collect(store.debug.follow({ debugSessionId, after: 2 }));
      await adapter.event("output", { output: "position 2" });
      await adapter.event("output", { output: "position 3" });
      await adapter.event("terminated");
      await store.debug.close({ debugSessionId });
      assert.deepEqual(
        (await following).map(({ position }) => position),
        [3, 4],
      );
      assert.deepEqual(await collect(store.debug.follow({ debugSessionId, after: 9 })), []);
    });

    test("setBreakpoints replaces the breakpoints of one source and keeps the ids of unchanged ones", async ({
      store,
    }) => {
      const { debugSessionId, adapterRun } = await fixtures(store).debugSession();
      const set = (breakpoints: Parameters<Store["debug"]["setBreakpoints"]>[0]["breakpoints"], path = sourcePath) =>
        store.debug.setBreakpoints({ debugSessionId, sourcePath: path, breakpoints });
      const [elsewhere] = await set([{ line: 1 }], "/srv/other.js");
      const [a, b, c] = await set([{ line: 1 }, { line: 2, condition: "x > 1" }, { line: 3, logMessage: "x is {x}" }]);
      await store.debug.bindBreakpoints({
        debugSessionId,
        adapterRun,
        bound: [{ breakpointId: a?.id as string, breakpoint: { id: 9, verified: true, line: 1 } }],
      });
      const again = await set([
        { line: 3, logMessage: "x is {x}" },
        { line: 1 },
        { line: 2, condition: "x > 2" },
        { line: 1 },
      ]);
      assert.deepEqual(
        again.map(({ line, position }) => [line, position]),
        [
          [3, 0],
          [1, 1],
          [2, 2],
          [1, 3],
        ],
      );
      assert.deepEqual([again[0]?.id, again[1]?.id, again[1]?.verified, again[1]?.adapterId], [c?.id, a?.id, true, 9]);
      assert.ok(
        ![a?.id, b?.id, c?.id].includes(again[2]?.id) && again[2]?.verified === false && again[2]?.bound === null,
      );
      const { breakpoints, debugSession } = await store.debug.get({ debugSessionId });
      assert.deepEqual(
        [breakpoints.length, debugSession.breakpointCount, breakpoints.some(({ id }) => id === elsewhere?.id)],
        [5, 5, true],
      );
      assert.deepEqual(await set([]), []);
      assert.deepEqual(
        (await store.debug.get({ debugSessionId })).breakpoints.map(({ id }) => id),
        [elsewhere?.id],
      );
    });

    test("setting the same breakpoints again changes nothing", async ({ store }) => {
      const { debugSessionId } = await fixtures(store).debugSession();
      const input = { debugSessionId, sourcePath, breakpoints: [{ line: 1 }, { line: 2 }] };
      const rows = await store.debug.setBreakpoints(input);
      const { debugSession } = await store.debug.get({ debugSessionId });
      assert.deepEqual(await store.debug.setBreakpoints(input), rows);
      assert.deepEqual((await store.debug.get({ debugSessionId })).debugSession, debugSession);
    });

    test("every kind of breakpoint keeps all its fields", async ({ store }) => {
      const { debugSessionId } = await fixtures(store).debugSession();
      const kinds = {
        source: [{ line: 1, column: 2, condition: "a", hitCondition: "> 3", logMessage: "{a}", mode: "hardware" }],
        function: [{ name: "main", condition: "a", hitCondition: "3" }],
        data: [{ dataId: "x", accessType: "readWrite" as const, condition: "a", hitCondition: "3" }],
        instruction: [{ instructionReference: "0x1", offset: -4, condition: "a", hitCondition: "3", mode: "m" }],
        exception: [
          { filterId: "uncaught", condition: "a", mode: "m" },
          { breakMode: "always" as const, path: [{ names: ["Error"] }, { negate: true, names: ["TypeError"] }] },
        ],
      };
      for (const [kind, breakpoints] of Object.entries(kinds) as [keyof typeof kinds, never][]) {
        await store.debug.setBreakpoints({
          debugSessionId,
          kind,
          breakpoints,
          ...(kind === "source" ? { sourcePath } : {}),
        });
      }
      const { breakpoints } = await store.debug.get({ debugSessionId });
      assert.deepEqual(
        Object.fromEntries(
          Map.groupBy(breakpoints, ({ kind }) => kind)
            .entries()
            .map(([kind, rows]) => [kind, rows.map(({ requested }) => requested)]),
        ),
        kinds,
      );
      await fails(
        store.debug.setBreakpoints({ debugSessionId, kind: "function", breakpoints: [{ line: 1 }] }),
        "invalid_input",
      );
      await fails(store.debug.setBreakpoints({ debugSessionId, breakpoints: [{ line: 1 }] }), "invalid_input");
      await fails(
        store.debug.setBreakpoints({ debugSessionId, kind: "function", sourcePath, breakpoints: [{ name: "f" }] }),
        "invalid_input",
      );
    });

    test("a debug session has at most 1 000 breakpoints", async ({ store }) => {
      const { debugSessionId } = await fixtures(store).debugSession();
      const many = Array.from({ length: 999 }, (_, line) => ({ line }));
      await store.debug.setBreakpoints({ debugSessionId, sourcePath, breakpoints: many });
      await store.debug.setBreakpoints({ debugSessionId, sourcePath: "/b", breakpoints: [{ line: 1 }] });
      await fails(
        store.debug.setBreakpoints({ debugSessionId, sourcePath: "/c", breakpoints: [{ line: 1 }] }),
        "invalid_input",
      );
      assert.equal((await store.debug.get({ debugSessionId })).breakpoints.length, 1_000);
    });

    test("the adapter verifies, moves, hits, removes and creates breakpoints", async ({ store }) => {
      const running = await fixtures(store).debugSession();
      const { debugSessionId, adapterRun } = running;
      const adapter = adapterOf(store, running);
      const [a, b] = await store.debug.setBreakpoints({
        debugSessionId,
        sourcePath,
        breakpoints: [{ line: 4 }, { line: 9 }],
      });
      const bound = [
        { breakpointId: a?.id as string, breakpoint: { id: 1, verified: true, line: 5 } },
        {
          breakpointId: b?.id as string,
          breakpoint: { id: 2, verified: false, message: "no code", reason: "pending" },
        },
        { breakpointId: newId(), breakpoint: { id: 3, verified: true } },
      ];
      assert.deepEqual(await store.debug.bindBreakpoints({ debugSessionId, adapterRun, bound }), { bound: 2 });
      await adapter.event("breakpoint", {
        reason: "changed",
        breakpoint: { id: 2, verified: true, line: 10, source: { path: sourcePath } },
      });
      await adapter.event("stopped", { reason: "breakpoint", threadId: 1, hitBreakpointIds: [2, 1, 77, 1] });
      const stopped = await store.debug.get({ debugSessionId });
      assert.deepEqual(
        stopped.breakpoints.map(({ line, bound, verified, hitCount }) => [line, bound?.line, verified, hitCount]),
        [
          [4, 5, true, 1],
          [9, 10, true, 1],
        ],
      );
      assert.deepEqual(stopped.debugSession.hitBreakpointIds, [b?.id, a?.id]);
      await adapter.event("breakpoint", { reason: "removed", breakpoint: { id: 1, verified: false } });
      await adapter.event("breakpoint", {
        reason: "new",
        breakpoint: { id: 5, verified: true, line: 20, source: { path: "/srv/b.js" } },
      });
      const { breakpoints, debugSession } = await store.debug.get({ debugSessionId });
      assert.deepEqual(
        breakpoints.map(({ sourcePath, line, verified, adapterId }) => [sourcePath, line, verified, adapterId]),
        [
          [sourcePath, 4, false, null],
          [sourcePath, 9, true, 2],
          ["/srv/b.js", 20, true, 5],
        ],
      );
      assert.equal(debugSession.breakpointCount, 3);
    });

    test("a stop has threads, frames, scopes and variables, and is replaced by the next stop", async ({ store }) => {
      const running = await fixtures(store).debugSession();
      const { debugSessionId, adapterRun } = running;
      const adapter = adapterOf(store, running);
      const all = { threadId: 1, allThreadsStopped: true };
      const { stopEpoch } = await adapter.event("stopped", { reason: "pause", ...all });
      const parts = [
        {
          ...variable("x", "{…}"),
          variablesReference: 3,
          type: "Point",
          evaluateName: "p.x",
          variables: [variable("y")],
        },
      ];
      const scopes = [
        {
          name: "Locals",
          presentationHint: "locals",
          variablesReference: 2,
          expensive: false,
          namedVariables: 1,
          variables: parts,
        },
      ];
      const threads = [
        { id: 1, name: "main", totalFrames: 2, frames: [frame(1, { scopes }), frame(2)] },
        { id: 2, name: "worker" },
      ];
      assert.deepEqual(await store.debug.putStop({ debugSessionId, adapterRun, stopEpoch, threads }), { stored: 2 });
      const seen = await store.debug.get({ debugSessionId });
      assert.deepEqual(
        seen.threads.map(({ threadId, name, frames, omittedFrames, cut }) => ({
          threadId,
          name,
          frames,
          omittedFrames,
          cut,
        })),
        [
          { threadId: 1, name: "main", frames: threads[0]?.frames, omittedFrames: 0, cut: false },
          { threadId: 2, name: "worker", frames: [], omittedFrames: 0, cut: false },
        ],
      );
      await store.debug.putStop({
        debugSessionId,
        adapterRun,
        stopEpoch,
        threads: [{ id: 2, name: "worker", frames: [frame(9)] }],
      });
      assert.deepEqual(
        (await store.debug.get({ debugSessionId })).threads.map(({ frames }) => frames.length),
        [2, 1],
      );
      await adapter.event("continued", { threadId: 1 });
      await fails(store.debug.putStop({ debugSessionId, adapterRun, stopEpoch, threads }), "conflict", {
        reason: "epoch",
        currentEpoch: stopEpoch + 1,
      });
      await adapter.event("stopped", { reason: "step", ...all });
      await fails(store.debug.putStop({ debugSessionId, adapterRun, stopEpoch, threads }), "conflict", {
        reason: "epoch",
        currentEpoch: stopEpoch + 2,
      });
      await fails(store.debug.putStop({ debugSessionId, adapterRun, stopEpoch: stopEpoch + 3, threads }), "conflict", {
        reason: "epoch",
      });
      const next = await store.debug.get({ debugSessionId });
      assert.deepEqual(
        [next.threads.map(({ threadId, at, frames }) => [threadId, at, frames]), next.stopEpochs],
        [
          [
            [1, null, []],
            [2, null, []],
          ],
          [stopEpoch],
        ],
      );
      assert.equal((await store.debug.get({ debugSessionId, stopEpoch })).threads.length, 2);
    });

    test("data beyond the bounds of a stop is left out, and counted in its place", async ({ store }) => {
      const { debugSessionId, adapterRun, stopEpoch } = await paused(store);
      const deep = Array.from({ length: 6 }).reduce<object[]>((variables) => [{ ...variable("part"), variables }], []);
      const variables = [
        variable("long", "x".repeat(5_000)),
        { ...variable("deep"), variables: deep },
        ...Array.from({ length: 200 }, (_, n) => variable(`v${n}`)),
      ];
      const scopes = Array.from({ length: 12 }, (_, n) => ({
        name: `s${n}`,
        variablesReference: n,
        expensive: false,
        variables: n === 0 ? variables : [],
      }));
      const frames = Array.from({ length: 80 }, (_, n) => frame(n, n === 0 ? { scopes } : {}));
      await store.debug.putStop({
        debugSessionId,
        adapterRun,
        stopEpoch,
        threads: [{ id: 1, name: "main", totalFrames: 5_000, frames } as never],
      });
      const [thread] = (await store.debug.get({ debugSessionId })).threads;
      const [top] = thread?.frames ?? [];
      const [scope] = top?.scopes ?? [];
      assert.deepEqual([thread?.frames.length, thread?.omittedFrames, thread?.cut], [50, 4_950, true]);
      assert.deepEqual(
        [top?.scopes?.length, top?.omittedScopes, scope?.variables?.length, scope?.omittedVariables],
        [10, 2, 100, 102],
      );
      assert.deepEqual([scope?.variables?.[0]?.value.length, scope?.variables?.[0]?.valueLength], [1_024, 5_000]);
      const depths: number[] = [];
      for (let at = scope?.variables?.[1]; at !== undefined; at = at.variables?.[0])
        depths.push(at.omittedVariables ?? 0);
      assert.deepEqual(depths, [0, 0, 0, 1]);
    });

    test("frames are stored before their scopes when a stop has too much data", async ({ store }) => {
      const { debugSessionId, adapterRun, stopEpoch } = await paused(store);
      const variables = Array.from({ length: 100 }, (_, n) => variable(`v${n}`, "\u20ac".repeat(1_024)));
      const scopes = [{ name: "s", variablesReference: 1, expensive: false, variables }];
      const threads = Array.from({ length: 70 }, (_, id) => ({
        id,
        name: `t${id}`,
        frames: Array.from({ length: 10 }, (_, n) => frame(n, { scopes })),
      }));
      await store.debug.putStop({ debugSessionId, adapterRun, stopEpoch, threads });
      const stored = (await store.debug.get({ debugSessionId })).threads;
      assert.equal(stored.length, 64);
      assert.equal(stored[0]?.frames.length, 10);
      assert.ok(stored[0]?.cut && (stored[0]?.frames[0]?.scopes?.[0]?.omittedVariables ?? 0) > 0);
      assert.ok(Buffer.byteLength(JSON.stringify(stored)) < 200_000);
    });

    alone(
      "only the last stops are kept",
      async ({ store }) => {
        const running = await fixtures(store).debugSession();
        const { debugSessionId, adapterRun } = running;
        const adapter = adapterOf(store, running);
        for (let n = 0; n < 6; n++) {
          const { stopEpoch } = await adapter.event("stopped", { reason: "step" });
          await store.debug.putStop({ debugSessionId, adapterRun, stopEpoch, threads: [{ id: 1, name: "main" }] });
        }
        assert.deepEqual((await store.debug.get({ debugSessionId })).stopEpochs, [4, 5, 6]);
      },
      { limits: { debugStopEpochs: 3 } },
    );

    test("values that may be secret are masked before they are stored", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const secret = "hunter2-of-this-test";
      const payload = {
        program: "main.js",
        env: { HOME: secret, API_KEY: secret },
        args: [`--token=${secret}`, "--port=1"],
        auth: { password: secret },
      };
      const opened = await store.debug.open({ sessionId: session.id, name: "n", adapter: "a", payload });
      const running = { debugSessionId: opened.id, adapterRun: 1 };
      const adapter = adapterOf(store, running, 0);
      await adapter.event("initialized");
      await adapter.event("output", {
        category: "stdout",
        output: `connect postgres://me:${secret}@db/x with Authorization: Bearer ${secret}\nSECRET_KEY="${secret}" port=5432\n`,
      });
      const { stopEpoch } = await adapter.event("stopped", { reason: "exception", text: `bad password: ${secret}` });
      const variables = [
        variable("apiToken", secret),
        {
          ...variable("user", `{name: 'me', password: '${secret}'}`),
          variablesReference: 5,
          variables: [variable("name", "'me'"), variable("password", secret)],
        },
        {
          ...variable("env", "{…}"),
          variablesReference: 6,
          variables: [variable("HOME", secret), variable("PATH", secret)],
        },
        {
          ...variable("credentials", "{…}"),
          variablesReference: 7,
          evaluateName: "credentials",
          variables: [variable("id", secret)],
        },
        variable("port", "5432"),
      ];
      const scopes = [{ name: "Local", variablesReference: 1, expensive: false, variables }];
      const frames = [frame(1, { name: `login(password="${secret}")`, scopes })];
      await store.debug.putStop({ ...running, stopEpoch, threads: [{ id: 1, name: "main", frames }] });
      const view = await store.debug.get({ debugSessionId: opened.id });
      assert.ok(!JSON.stringify(view).includes(secret), JSON.stringify(view));
      assert.deepEqual(view.debugSession.payload, {
        program: "main.js",
        env: { HOME: "***", API_KEY: "***" },
        args: ["--token=***", "--port=1"],
        auth: { password: "***" },
      });
      const [token, user, env, credentials, port] = view.threads[0]?.frames[0]?.scopes?.[0]?.variables ?? [];
      assert.deepEqual(token, { name: "apiToken", value: "***", variablesReference: 0, masked: true });
      assert.deepEqual(
        [user?.value, user?.variables?.map(({ value }) => value)],
        ["{name: 'me', password: ***}", ["'me'", "***"]],
      );
      assert.deepEqual(
        env?.variables?.map(({ name, value, masked }) => [name, value, masked]),
        [
          ["HOME", "***", true],
          ["PATH", "***", true],
        ],
      );
      assert.deepEqual([credentials?.variables, credentials?.variablesReference, port?.value], [undefined, 0, "5432"]);
      assert.match(
        String(view.lastOutput?.body?.output),
        /^connect postgres:\/\/me:\*\*\*@db\/x with Authorization: \*\*\*\nSECRET_KEY=\*\*\* port=5432\n$/,
      );
    });

    test("secretNames replaces the list of secret names", async ({ store }) => {
      const { debugSessionId, adapterRun, stopEpoch } = await paused(store);
      const variables = [variable("customerNumber", "42"), variable("password", "shown")];
      const frames = [frame(1, { scopes: [{ name: "Local", variablesReference: 1, expensive: false, variables }] })];
      await store.debug.putStop({
        debugSessionId,
        adapterRun,
        stopEpoch,
        threads: [{ id: 1, name: "main", frames }],
        secretNames: ["customer*"],
      });
      const [thread] = (await store.debug.get({ debugSessionId })).threads;
      assert.deepEqual(
        thread?.frames[0]?.scopes?.[0]?.variables?.map(({ value }) => value),
        ["***", "shown"],
      );
    });

    test("patchState changes a debug session only if it is as the caller saw it", async ({ store }) => {
      const running = await fixtures(store).debugSession();
      const { debugSessionId, adapterRun } = running;
      const input = { debugSessionId, adapterRun, expectedEpoch: 0 };
      await store.debug.applyEvent({ debugSessionId, adapterRun, seq: 2, event: "stopped", body: { reason: "pause" } });
      await fails(store.debug.patchState({ ...input, state: "running" }), "conflict", {
        reason: "epoch",
        currentEpoch: 1,
      });
      await fails(store.debug.patchState({ ...input, expectedEpoch: 1, expectedState: "running" }), "conflict", {
        reason: "state",
        currentState: "stopped",
      });
      await fails(store.debug.patchState({ ...input, expectedEpoch: 1, expectedVersion: 1 }), "conflict", {
        reason: "version",
      });
      await fails(store.debug.patchState({ ...input, expectedEpoch: 1, state: "configuring" }), "invalid_transition", {
        state: "stopped",
      });
      const patched = await store.debug.patchState({
        ...input,
        expectedEpoch: 1,
        capabilities: { supportsStepBack: true },
      });
      assert.deepEqual(
        [patched.state, patched.stopEpoch, patched.capabilities],
        ["stopped", 1, { supportsStepBack: true }],
      );
      assert.deepEqual(
        await store.debug.patchState({ ...input, expectedEpoch: 1, capabilities: { supportsStepBack: true } }),
        patched,
      );
      const resumed = await store.debug.patchState({
        ...input,
        expectedEpoch: 1,
        expectedState: "stopped",
        state: "running",
      });
      assert.deepEqual([resumed.state, resumed.stopEpoch, resumed.stopReason], ["running", 2, null]);
      const failed = await store.debug.patchState({
        ...input,
        expectedEpoch: 2,
        state: "error",
        reason: "the adapter died",
      });
      assert.deepEqual(
        [failed.state, failed.endReason, failed.endedAt instanceof Date],
        ["error", "the adapter died", true],
      );
    });

    test("of eight simultaneous calls that resume a stop, one succeeds", async ({ store }) => {
      const { debugSessionId, adapterRun, stopEpoch } = await fixtures(store).debugStop();
      const settled = await Promise.allSettled(
        Array.from({ length: 8 }, () =>
          store.debug.patchState({ debugSessionId, adapterRun, expectedEpoch: stopEpoch, state: "running" }),
        ),
      );
      assert.equal(settled.filter(({ status }) => status === "fulfilled").length, 1);
      for (const one of settled)
        if (one.status === "rejected")
          assert.deepEqual([one.reason.code, one.reason.details.reason], ["conflict", "epoch"]);
    });

    test("a restart of the adapter starts a new run, in which the old adapter changes nothing", async ({ store }) => {
      const { debugSessionId, adapterRun, stopEpoch, view } = await fixtures(store).debugStop({ name: "n" });
      const { sessionId } = view.debugSession;
      const input = { sessionId, name: "n", adapter: "node" };
      await fails(store.debug.open({ ...input, restartRun: 2 }), "conflict", { reason: "run", currentRun: 1 });
      await fails(store.debug.open({ ...input, name: "none", restartRun: 1 }), "not_found", {
        entity: "debug_session",
      });
      const again = await store.debug.open({ ...input, restartRun: adapterRun });
      assert.deepEqual(
        [again.id, again.state, again.adapterRun, again.lastEvent, again.stopEpoch, again.stopReason],
        [debugSessionId, "initializing", 2, 0, stopEpoch + 1, null],
      );
      const old = { debugSessionId, adapterRun };
      await fails(store.debug.applyEvent({ ...old, seq: 99, event: "output", body: { output: "x" } }), "conflict", {
        reason: "run",
        currentRun: 2,
      });
      await fails(store.debug.putStop({ ...old, stopEpoch, threads: [{ id: 1, name: "t" }] }), "conflict", {
        reason: "run",
        currentRun: 2,
      });
      await fails(store.debug.patchState({ ...old, expectedEpoch: again.stopEpoch, state: "terminated" }), "conflict", {
        reason: "run",
        currentRun: 2,
      });
      await fails(store.debug.close(old), "conflict", { reason: "run", currentRun: 2 });
      const { breakpoints } = await store.debug.get({ debugSessionId });
      assert.deepEqual(
        breakpoints.map(({ id, verified, adapterId, bound, hitCount }) => [id, verified, adapterId, bound, hitCount]),
        [[view.breakpoints[0]?.id, false, null, null, 0]],
      );
      assert.equal(
        (await store.debug.applyEvent({ debugSessionId, adapterRun: 2, seq: 1, event: "initialized" })).state,
        "configuring",
      );
      await store.debug.close({ debugSessionId });
      assert.equal((await store.debug.open({ ...input, restartRun: 2 })).state, "initializing");
    });

    test("close ends a debug session once, with one outcome", async ({ store }) => {
      const { debugSessionId } = await fixtures(store).debugStop();
      const closed = await store.debug.close({ debugSessionId, outcome: "error", reason: "lost" });
      assert.deepEqual(
        [closed.state, closed.endReason, closed.stopReason, closed.stopThreadId, closed.hitBreakpointIds],
        ["error", "lost", null, null, null],
      );
      assert.deepEqual(await store.debug.close({ debugSessionId, outcome: "error" }), closed);
      await fails(store.debug.close({ debugSessionId }), "invalid_transition", { state: "error" });
      await fails(store.debug.close({ debugSessionId: newId() }), "not_found", { entity: "debug_session" });
    });

    test("the end of a session closes its debug sessions in the same transaction", async ({ store }) => {
      const { debugSessionId, view } = await fixtures(store).debugStop();
      const { sessionId } = view.debugSession;
      const { debugSession: other } = await fixtures(store).debugSession({ sessionId });
      const after = await endOfFeed(store);
      await store.sessions.complete({ sessionId });
      const { items } = await store.debug.list({ sessionId });
      assert.deepEqual(
        items.map(({ state, endReason }) => [state, endReason]),
        Array(2).fill(["terminated", "session_ended"]),
      );
      assert.deepEqual(await opsOf(store, after, other.id), [["end", other.version + 1]]);
      await fails(store.debug.open({ sessionId, name: "x", adapter: "a" }), "invalid_transition", {
        state: "completed",
      });
      assert.equal(
        (await store.debug.applyEvent({ debugSessionId, adapterRun: 1, seq: 50, event: "terminated" })).applied,
        true,
      );
    });

    test("every write to a debug session raises its revision", async ({ store }) => {
      const { debugSessionId, adapterRun, stopEpoch, view } = await fixtures(store).debugStop();
      const breakpointId = view.breakpoints[0]?.id as string;
      const revisions = [view.debugSession.revision];
      for (const write of [
        () => store.debug.putStop({ debugSessionId, adapterRun, stopEpoch, threads: [{ id: 1, name: "again" }] }),
        () =>
          store.debug.bindBreakpoints({
            debugSessionId,
            adapterRun,
            bound: [{ breakpointId, breakpoint: { verified: false } }],
          }),
        () => store.debug.setBreakpoints({ debugSessionId, sourcePath, breakpoints: [{ line: 7 }] }),
        () => store.debug.applyEvent({ debugSessionId, adapterRun, seq: 9, event: "output", body: { output: "x" } }),
        () => store.debug.close({ debugSessionId }),
      ]) {
        await write();
        revisions.push((await store.debug.get({ debugSessionId })).debugSession.revision);
      }
      assert.deepEqual(
        revisions,
        [...new Set(revisions)].toSorted((a, b) => a - b),
      );
    });

    alone("deleting a session deletes its debug sessions, in small steps", async ({ store }) => {
      const { debugSessionId, adapterRun, stopEpoch, view } = await fixtures(store).debugStop();
      const { sessionId } = view.debugSession;
      const threads = Array.from({ length: 40 }, (_, id) => ({ id, name: `${id}` }));
      await store.debug.putStop({ debugSessionId, adapterRun, stopEpoch, threads });
      for (let seq = 3; seq < 350; seq++)
        void store.debug.applyEvent({ debugSessionId, adapterRun, seq, event: "output", body: { output: "x" } });
      await store.sessions.cancel({ sessionId });
      const callsOf = async () => Number((await store.maintenance.stats()).serving.calls);
      const before = await callsOf();
      assert.deepEqual(await store.sessions.delete({ sessionId }), { deleted: true });
      // 350 events in 2 steps, 40 threads in 3, the debug session, the session.
      assert.ok((await callsOf()) - before >= 7);
      await fails(store.debug.get({ debugSessionId }), "not_found", { entity: "debug_session" });
      await fails(store.debug.applyEvent({ debugSessionId, adapterRun, seq: 1_000, event: "output" }), "not_found");
    });

    test("the change feed has states and breakpoints, but not every event", async ({ store }) => {
      const after = await endOfFeed(store);
      const { debugSessionId, adapterRun, stopEpoch } = await fixtures(store).debugStop();
      for (let seq = 3; seq < 20; seq++)
        await store.debug.applyEvent({ debugSessionId, adapterRun, seq, event: "output", body: { output: "x" } });
      await store.debug.applyEvent({ debugSessionId, adapterRun, seq: 20, event: "continued", body: { threadId: 1 } });
      await store.debug.applyEvent({ debugSessionId, adapterRun, seq: 21, event: "continued", body: { threadId: 1 } });
      await store.debug.close({ debugSessionId, reason: "done" });
      assert.deepEqual(await opsOf(store, after, debugSessionId), [
        ["open", 1],
        ["configure", 2],
        ["patch", 3],
        ["set_breakpoints", 4],
        ["bind_breakpoints", 5],
        ["stop", 6],
        ["continue", 7],
        ["end", 8],
      ]);
      const { changes } = await store.changes.since({ after, entity: "debug_session" });
      const stop = changes.find(({ entityId, op }) => entityId === debugSessionId && op === "stop");
      assert.deepEqual(stop?.detail, { state: "stopped", stopEpoch, reason: "breakpoint" });
    });

    test("a reader sees a debug session as of one moment while others write", async ({ store, connect }) => {
      const running = await fixtures(store).debugSession();
      const { debugSessionId, adapterRun } = running;
      const adapter = adapterOf(await connect(), running);
      const reader = await connect();
      let over = false;
      const reading = (async () => {
        let [views, epoch] = [0, 0];
        while (!over) {
          const { debugSession, threads, events } = await reader.debug.get({ debugSessionId });
          assert.ok(debugSession.stopEpoch >= epoch);
          epoch = debugSession.stopEpoch;
          assert.equal(debugSession.state === "stopped", epoch % 2 === 1);
          assert.equal(debugSession.nextPosition, (events.at(-1)?.position ?? 0) + 1);
          assert.equal(events.at(-1)?.stopEpoch, epoch);
          for (const { at, stopEpoch, frames } of threads)
            assert.deepEqual([stopEpoch, frames[0]?.id], [epoch, at === null ? undefined : epoch]);
          views++;
        }
        return views;
      })();
      for (let n = 0; n < 25; n++) {
        const { stopEpoch } = await adapter.event("stopped", { reason: "step" });
        await store.debug.putStop({
          debugSessionId,
          adapterRun,
          stopEpoch,
          threads: [{ id: 1, name: "main", frames: [frame(stopEpoch)] }],
        });
        await adapter.event("continued", { threadId: 1 });
      }
      over = true;
      assert.ok((await reading) > 0);
    });

    alone(
      "debug sessions are still there after the store is reopened",
      async (opened) => {
        const { debugSessionId, view } = await fixtures(opened.store).debugStop();
        await opened.reopen();
        assert.deepEqual(await opened.store.debug.get({ debugSessionId }), view);
      },
      { needs: "persists" },
    );
  });
}
