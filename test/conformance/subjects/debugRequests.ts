// Requests to debuggers: who may ask what, in which order a bridge gets it, and how each ends, once; and the history.
import assert from "node:assert/strict";
import { newId, type Store, StoreError, type TakenRequest } from "../../../src/index.ts";
import { present } from "../../../src/present.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { endOfFeed, fails, subject } from "../suite.ts";

type Request = Parameters<Store["debug"]["request"]>[0];

/** A debug session that is stopped, with the calls of its client and of its bridge. */
async function stopped(store: Store, sessionId?: string) {
  const { debugSessionId, adapterRun, stopEpoch } = await fixtures(store).debugStop(present({ sessionId }));
  const run = { debugSessionId, adapterRun };
  let seq = 10;
  return {
    debugSessionId,
    adapterRun,
    run,
    stopEpoch,
    /** Queues a request, and returns it at once. */
    queue: (command: string, more: Partial<Request> = {}) =>
      store.debug.request({ debugSessionId, command, wait: false, ...more }),
    /** Asks, and waits for the answer. */
    ask: (command: string, more: Partial<Request> = {}) => store.debug.request({ debugSessionId, command, ...more }),
    take: async (limit = 16) => (await store.debug.takeRequests({ ...run, limit, waitMs: 0 })).requests,
    reply: (request: TakenRequest, body?: unknown, more: object = {}) =>
      store.debug.reply({ ...run, request, body, ...more }),
    event: (event: string, body: Record<string, unknown> = {}) =>
      store.debug.applyEvent({ ...run, seq: ++seq, event, body }),
    entries: async () => (await store.debug.history({ debugSessionId, limit: 500 })).entries,
  };
}

const commandsOf = (requests: readonly { readonly command: string }[]) => requests.map(({ command }) => command);

/** Takes requests until there is one. */
async function takeOne(store: Store, run: { readonly debugSessionId: string; readonly adapterRun: number }) {
  const { requests } = await store.debug.takeRequests({ ...run, limit: 1, waitMs: 60_000 });
  return requests[0] ?? assert.fail("the bridge has waited in vain");
}

export function debugRequestsConformance(backend: TestedBackend): void {
  subject(backend, "debug requests", ({ test, alone }) => {
    test("a request waits for the answer of the bridge", async ({ store }) => {
      const debug = await stopped(store);
      const asked = debug.ask("evaluate", { arguments: { expression: "1 + 1" }, requestedBy: "ann" });
      const request = await takeOne(store, debug.run);
      assert.deepEqual(
        [request.command, request.arguments, request.requestedBy, request.stopEpoch],
        ["evaluate", { expression: "1 + 1" }, "ann", null],
      );
      const body = { result: "2", variablesReference: 0 };
      await debug.reply(request, body);
      const answered = await asked;
      assert.deepEqual(
        [answered.id, answered.state, answered.success, answered.body, answered.message, answered.requestedBy],
        [request.id, "answered", true, body, null, "ann"],
      );
      assert.ok(answered.takenAt !== null && answered.endedAt !== null);
    });

    test("an adapter that refuses a request has answered it", async ({ store }) => {
      const debug = await stopped(store);
      const asked = debug.ask("evaluate", { arguments: { expression: "x" } });
      await debug.reply(await takeOne(store, debug.run), undefined, { success: false, message: "x is not defined" });
      const { state, success, message, body } = await asked;
      assert.deepEqual([state, success, message, body], ["answered", false, "x is not defined", null]);
    });

    test("requests are handed out in their order, each once", async ({ store }) => {
      const debug = await stopped(store);
      for (const command of ["threads", "modules", "loadedSources"]) await debug.queue(command);
      assert.deepEqual(commandsOf(await debug.take(2)), ["threads", "modules"]);
      assert.deepEqual(commandsOf(await debug.take(2)), ["loadedSources"]);
      assert.deepEqual(await debug.take(), []);
    });

    test("a bridge that waits gets a request when it comes, and two bridges never get the same", async ({ store }) => {
      const debug = await stopped(store);
      const waiting = [takeOne(store, debug.run), takeOne(store, debug.run)];
      const ids = [(await debug.queue("threads")).id, (await debug.queue("modules")).id];
      const taken = await Promise.all(waiting);
      assert.deepEqual(taken.map(({ id }) => id).toSorted(), ids.toSorted());
    });

    test("what depends on a stop has to name it, and one that is over is a conflict", async ({ store }) => {
      const debug = await stopped(store);
      const { stopEpoch } = debug;
      for (const [command, args] of [
        ["next", { threadId: 1 }],
        ["scopes", { frameId: 1 }],
        ["variables", { variablesReference: 1 }],
        ["evaluate", { expression: "a", frameId: 1 }],
        ["locations", { locationReference: 3 }],
        ["dataBreakpointInfo", { name: "a", variablesReference: 4 }],
      ] as const)
        await fails(() => debug.queue(command, { arguments: args }), "invalid_input");
      await debug.queue("evaluate", { arguments: { expression: "a" } });
      await debug.queue("pause", { arguments: { threadId: 1 } });
      await debug.event("continued", { threadId: 1 });
      const over = { reason: "epoch", currentEpoch: stopEpoch + 1 };
      await fails(debug.queue("next", { stopEpoch, arguments: { threadId: 1 } }), "conflict", over);
      await fails(debug.queue("next", { stopEpoch: stopEpoch + 1 }), "conflict", { reason: "epoch", state: "running" });
    });

    test("a queued request fails when its stop is over, and its caller learns of it at once", async ({ store }) => {
      const debug = await stopped(store);
      const { stopEpoch } = debug;
      const id = newId();
      const asked = fails(debug.ask("scopes", { id, stopEpoch, arguments: { frameId: 1 } }), "conflict", {
        reason: "epoch",
      });
      await debug.queue("scopes", { id, stopEpoch, arguments: { frameId: 1 } });
      await debug.event("continued", { threadId: 1 });
      assert.equal((await asked).outcome, "rolled_back");
      assert.deepEqual(await debug.take(), []);
    });

    test("a queued request fails when its thread ends, and those of other threads stay", async ({ store }) => {
      const debug = await stopped(store);
      for (const threadId of [7, 8]) await debug.event("thread", { reason: "started", threadId });
      const { stopEpoch } = await debug.event("stopped", { reason: "step", threadId: 7 });
      await debug.event("stopped", { reason: "step", threadId: 8 });
      const lost = [
        ["pause", { arguments: { threadId: 7 } }],
        ["stackTrace", { stopEpoch, arguments: { threadId: 7 } }],
        ["scopes", { stopEpoch, arguments: { frameId: 1 } }],
      ] as const;
      const failures = lost.map(([command, more]) =>
        fails(debug.ask(command, more), "conflict", { reason: "thread_ended", wasTaken: false }, "rolled_back"),
      );
      const areAsked = async () =>
        (await debug.entries()).filter(({ kind }) => kind === "asked").length === lost.length;
      while (!(await areAsked())) await debug.entries();
      await debug.queue("stackTrace", { stopEpoch: stopEpoch + 1, arguments: { threadId: 8 } });
      await debug.queue("threads");
      const { events } = await store.debug.get({ debugSessionId: debug.debugSessionId });
      await debug.event("thread", { reason: "exited", threadId: 7 });
      await Promise.all(failures);
      assert.deepEqual(commandsOf(await debug.take()), ["stackTrace", "threads"]);
      const ends = (await debug.entries()).filter(({ kind }) => kind === "failed");
      assert.deepEqual(
        ends.map(({ command, reason, eventPosition }) => [command, reason, eventPosition]),
        lost.map(([command]) => [command, "thread_ended", (events.at(-1)?.position ?? 0) + 2]),
      );
    });

    test("behind a request that moves the program, those of its stop wait, and fail when it has moved", async ({
      store,
    }) => {
      const debug = await stopped(store);
      const { stopEpoch } = debug;
      const step = { stopEpoch, arguments: { threadId: 1 } };
      await debug.queue("scopes", { stopEpoch, arguments: { frameId: 1 } });
      await debug.queue("next", step);
      const second = await debug.queue("next", step);
      await debug.queue("pause", { arguments: { threadId: 1 } });
      const [scopes, next = assert.fail(), pause] = await debug.take();
      assert.deepEqual(commandsOf([scopes, next, pause] as never), ["scopes", "next", "pause"]);
      assert.deepEqual(await debug.take(), []);
      await debug.reply(next);
      assert.deepEqual(await debug.take(), []);
      await fails(debug.queue("next", { id: second.id, ...step }), "conflict", { reason: "epoch" });
      const { debugSession } = await store.debug.get({ debugSessionId: debug.debugSessionId });
      assert.deepEqual([debugSession.state, debugSession.stopEpoch], ["running", stopEpoch + 1]);
    });

    test("a move that the adapter refuses leaves the stop, and the next request is handed out", async ({ store }) => {
      const debug = await stopped(store);
      const { stopEpoch } = debug;
      for (const command of ["stepBack", "next"]) await debug.queue(command, { stopEpoch });
      const [back = assert.fail()] = await debug.take();
      await debug.reply(back, undefined, { success: false, message: "not supported" });
      assert.deepEqual(commandsOf(await debug.take()), ["next"]);
      const { debugSession } = await store.debug.get({ debugSessionId: debug.debugSessionId });
      assert.deepEqual([debugSession.state, debugSession.stopEpoch], ["stopped", stopEpoch]);
    });

    test("an answer that comes after the next stop does not end that one", async ({ store }) => {
      const debug = await stopped(store);
      await debug.queue("next", { stopEpoch: debug.stopEpoch });
      const [next = assert.fail()] = await debug.take();
      const { stopEpoch } = await debug.event("stopped", { reason: "step", threadId: 1 });
      await debug.reply(next);
      const { debugSession } = await store.debug.get({ debugSessionId: debug.debugSessionId });
      assert.deepEqual([debugSession.state, debugSession.stopEpoch], ["stopped", stopEpoch]);
    });

    test("a move without a thread is one of the thread that has stopped, also when others stopped with it", async ({
      store,
    }) => {
      const { debugSessionId, run, queue, take, reply, event } = await stopped(store);
      for (const threadId of [1, 2]) await event("thread", { reason: "started", threadId });
      const { stopEpoch } = await event("stopped", { reason: "step", threadId: 2, allThreadsStopped: true });
      assert.equal((await queue("scopes", { stopEpoch, arguments: { frameId: 1 } })).threadId, null);
      assert.equal((await queue("next", { stopEpoch })).threadId, 2);
      const [, next = assert.fail()] = await take();
      assert.equal(next.threadId, 2);
      const again = await event("stopped", { reason: "step", threadId: 2 });
      await reply(next);
      const { debugSession } = await store.debug.get({ debugSessionId });
      assert.deepEqual([debugSession.state, debugSession.stopEpoch], ["stopped", again.stopEpoch]);
      assert.equal(run.adapterRun, debugSession.adapterRun);
    });

    test("only the current run of the adapter takes and answers", async ({ store }) => {
      const debug = await stopped(store);
      await debug.queue("threads");
      const [threads = assert.fail()] = await debug.take();
      const { debugSession } = await store.debug.get({ debugSessionId: debug.debugSessionId });
      const { sessionId, name } = debugSession;
      const { adapterRun } = await store.debug.open({ sessionId, name, adapter: "node", restartRun: 1 });
      const old = { reason: "run", currentRun: adapterRun };
      await fails(debug.take(), "conflict", old);
      await fails(debug.reply(threads, {}), "conflict", old);
      await fails(debug.queue("threads", { id: threads.id }), "conflict", { reason: "adapter_gone", wasTaken: true });
    });

    test("requests fail with the end of the adapter, taken ones with an unknown outcome", async ({ store }) => {
      const debug = await stopped(store);
      const [takenId, queuedId] = [newId(), newId()];
      const gone = { reason: "adapter_gone" };
      const taken = fails(debug.ask("threads", { id: takenId }), "conflict", { ...gone, wasTaken: true }, "unknown");
      await takeOne(store, debug.run);
      const queued = fails(
        debug.ask("modules", { id: queuedId }),
        "conflict",
        { ...gone, wasTaken: false },
        "rolled_back",
      );
      await debug.queue("modules", { id: queuedId });
      await store.debug.close(debug.run);
      await Promise.all([taken, queued]);
      await fails(debug.take(), "invalid_transition", { state: "terminated" });
      await fails(debug.queue("threads"), "invalid_transition", { state: "terminated" });
    });

    test("a bridge that waits learns that its debug session has ended", async ({ store }) => {
      const debug = await stopped(store);
      const waiting = fails(store.debug.takeRequests({ ...debug.run, waitMs: 60_000 }), "invalid_transition");
      await store.debug.close(debug.run);
      await waiting;
    });

    test("requests fail with the session", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const debug = await stopped(store, session.id);
      const { id } = await debug.queue("threads");
      await store.sessions.cancel({ sessionId: session.id });
      await fails(debug.queue("threads", { id }), "conflict", { reason: "adapter_gone", wasTaken: false });
    });

    alone("requests fail when the runner of their debugger is lost", async ({ store, clock }) => {
      const { session, command } = await fixtures(store).claim();
      const { debugSessionId, adapterRun } = await fixtures(store).debugSession({
        sessionId: session.id,
        commandId: command.id,
      });
      const { id } = await store.debug.request({
        debugSessionId,
        command: "threads",
        wait: false,
        timeoutMs: 600_000,
      });
      assert.equal((await store.debug.takeRequests({ debugSessionId, adapterRun, waitMs: 0 })).requests.length, 1);
      clock.advance(90_000);
      await store.maintenance.reap();
      const again = store.debug.request({ id, debugSessionId, command: "threads" });
      await fails(again, "conflict", { reason: "adapter_gone", wasTaken: true }, "unknown");
    });

    alone(
      "a bridge with a lease that does not call again is lost, and its debug session ends",
      async ({ store, clock }) => {
        const debug = await stopped(store);
        const { debugSessionId, run } = debug;
        const ttlMs = 60_000;
        const call = (waitMs = 0) => store.debug.takeRequests({ ...run, ttlMs, waitMs });
        await fails(call(ttlMs), "invalid_input");
        const [taken, queued] = ["threads", "modules"].map((command) => ({ id: newId(), command, timeoutMs: 600_000 }));
        await debug.queue("threads", taken);
        assert.equal((await call()).requests.length, 1);
        clock.advance(ttlMs - 1_000);
        // Each call renews the lease, also one that gets nothing.
        await call();
        clock.advance(ttlMs - 1_000);
        await debug.queue("modules", queued);
        assert.deepEqual((await store.maintenance.reap()).debugSessions, []);
        const gone = { reason: "adapter_gone" };
        const failures = [
          fails(debug.ask("threads", taken), "conflict", { ...gone, wasTaken: true }, "unknown"),
          fails(debug.ask("modules", queued), "conflict", { ...gone, wasTaken: false }, "rolled_back"),
        ];
        clock.advance(1_000);
        const { debugSessions, debugRequests } = await store.maintenance.reap();
        assert.deepEqual([debugSessions, debugRequests], [[debugSessionId], []]);
        await Promise.all(failures);
        const { debugSession, threads } = await store.debug.get({ debugSessionId });
        assert.deepEqual([debugSession.state, debugSession.endReason, threads], ["error", "bridge_lost", []]);
        assert.ok(debugSession.closedAt !== null);
        await fails(call(), "invalid_transition", { state: "error" });
        // The next bridge has no lease until it takes one.
        const { sessionId, name } = debugSession;
        await store.debug.open({ sessionId, name, adapter: "node", restartRun: run.adapterRun });
        clock.advance(ttlMs);
        assert.deepEqual((await store.maintenance.reap()).debugSessions, []);
      },
    );

    alone(
      "a bridge keeps its lease when the clock jumps, and no longer than before when it is set back",
      async (opened) => {
        const { store, clock } = opened;
        const { debugSessionId, run } = await stopped(store);
        const call = () => store.debug.takeRequests({ ...run, ttlMs: 60_000, waitMs: 0 });
        const lost = async () => (await store.maintenance.reap()).debugSessions;
        await call();
        clock.jump(3_600_000);
        assert.deepEqual(await lost(), []);
        await call();
        clock.jump(-86_400_000);
        assert.deepEqual(await lost(), []);
        clock.advance(59_000);
        assert.deepEqual(await lost(), []);
        clock.advance(1_000);
        assert.deepEqual(await lost(), [debugSessionId]);
      },
    );

    test("the same id is asked once, and its answer can be had again", async ({ store }) => {
      const debug = await stopped(store);
      const input = { id: newId(), arguments: { expression: "a" } };
      const both = [debug.ask("evaluate", input), debug.ask("evaluate", input)];
      const request = await takeOne(store, debug.run);
      assert.deepEqual(await debug.take(), []);
      await debug.reply(request, { result: "1", variablesReference: 0 });
      const [one, other] = await Promise.all(both);
      assert.deepEqual(one, other);
      assert.deepEqual(await debug.ask("evaluate", input), one);
      await fails(debug.ask("evaluate", { ...input, arguments: { expression: "b" } }), "conflict", {
        reason: "exists",
      });
      await fails(debug.ask("threads", { id: input.id }), "conflict", { reason: "exists" });
    });

    test("an idempotency key stands for one request, also while the first call waits", async ({ store }) => {
      const { debugSessionId, run, take, reply } = await stopped(store);
      const options = { idempotencyKey: newId(), actor: "ann" };
      const input = { debugSessionId, command: "threads" };
      const both = [store.debug.request(input, options), store.debug.request(input, options)];
      const request = await takeOne(store, run);
      await reply(request, { threads: [] });
      const [one, other] = await Promise.all(both);
      assert.equal(one?.id, other?.id);
      assert.deepEqual(await take(), []);
      assert.equal((await store.debug.request(input, options)).id, one?.id);
    });

    test("an answer can be sent again, and changes nothing", async ({ store }) => {
      const debug = await stopped(store);
      await debug.queue("threads");
      const [threads = assert.fail()] = await debug.take();
      const first = await debug.reply(threads, { threads: [] });
      assert.deepEqual(await debug.reply(threads, { threads: [{ id: 1, name: "other" }] }), first);
    });

    test("a request that was not taken cannot be answered", async ({ store }) => {
      const debug = await stopped(store);
      const { id } = await debug.queue("threads");
      const request = { id, command: "threads" };
      await fails(store.debug.reply({ ...debug.run, request, body: {} }), "invalid_transition", { state: "queued" });
      const other = await stopped(store);
      await fails(store.debug.reply({ ...other.run, request, body: {} }), "not_found", { entity: "request", id });
    });

    alone("a request is open for its time, and no longer", async ({ store, clock }) => {
      const debug = await stopped(store);
      const first = await debug.queue("threads", { timeoutMs: 5_000 });
      const [threads = assert.fail()] = await debug.take();
      const second = await debug.queue("modules", { timeoutMs: 5_000 });
      clock.advance(5_000);
      await fails(
        debug.ask("threads", { id: first.id }),
        "deadline_exceeded",
        { requestId: first.id, wasTaken: true },
        "unknown",
      );
      await fails(debug.ask("modules", { id: second.id }), "deadline_exceeded", { wasTaken: false }, "rolled_back");
      const { requests, cancelled } = await store.debug.takeRequests({ ...debug.run, waitMs: 0 });
      assert.deepEqual([requests, cancelled], [[], [first.id]]);
      assert.deepEqual((await store.debug.takeRequests({ ...debug.run, waitMs: 0 })).cancelled, []);
      assert.equal((await debug.reply(threads, { threads: [] })).state, "expired");
      const kinds = (await debug.entries()).filter(({ requestId }) => requestId !== null).map(({ kind }) => kind);
      assert.deepEqual(kinds, ["asked", "asked", "expired", "expired"]);
    });

    alone("the reaper ends requests that are past their time", async ({ store, clock }) => {
      const debug = await stopped(store);
      const { id } = await debug.queue("threads", { timeoutMs: 5_000 });
      await debug.queue("modules", { timeoutMs: 60_000 });
      clock.advance(5_000);
      assert.deepEqual((await store.maintenance.reap()).debugRequests, [id]);
      assert.deepEqual((await store.maintenance.reap()).debugRequests, []);
      assert.deepEqual(commandsOf(await debug.take()), ["modules"]);
    });

    test("cancelling ends a queued request, and tells the bridge that has taken one", async ({ store }) => {
      const debug = await stopped(store);
      const first = await debug.queue("threads");
      const [threads = assert.fail()] = await debug.take();
      const second = await debug.queue("modules");
      const waiting = debug.ask("modules", { id: second.id });
      const cancelled = await store.debug.cancelRequest({ requestId: second.id, reason: "changed my mind" });
      assert.deepEqual([cancelled.state, cancelled.reason], ["cancelled", "changed my mind"]);
      await fails(waiting, "conflict", { reason: "cancelled", wasTaken: false }, "rolled_back");
      await store.debug.cancelRequest({ requestId: first.id });
      const told = await store.debug.takeRequests({ ...debug.run, waitMs: 0 });
      assert.deepEqual([told.requests, told.cancelled], [[], [first.id]]);
      assert.equal((await debug.reply(threads, { threads: [] })).state, "cancelled");
      assert.equal((await store.debug.cancelRequest({ requestId: first.id })).state, "cancelled");
    });

    test("a caller that gives up cancels its request", async ({ store }) => {
      const debug = await stopped(store);
      const gone = new AbortController();
      const { debugSessionId } = debug;
      const asked = fails(
        store.debug.request({ debugSessionId, command: "threads" }, { signal: gone.signal }),
        "aborted",
      );
      const threads = await takeOne(store, debug.run);
      const told = store.debug.takeRequests({ ...debug.run, waitMs: 60_000 });
      gone.abort();
      await asked;
      assert.deepEqual((await told).cancelled, [threads.id]);
    });

    test("100 requests may be open, and no more", async ({ store }) => {
      const debug = await stopped(store);
      for (let count = 0; count < 100; count++) await debug.queue("threads");
      await fails(debug.queue("threads"), "overloaded", { openRequests: 100 });
      const [first = assert.fail()] = await debug.take(1);
      await debug.reply(first, { threads: [] });
      await debug.queue("threads");
    });

    test("what only the bridge may ask is refused, with what to call instead", async ({ store }) => {
      const { queue } = await stopped(store);
      for (const [command, instead] of [
        ["setBreakpoints", "debug.setBreakpoints"],
        ["disconnect", "debug.close"],
        ["cancel", "debug.cancelRequest"],
        ["initialize", "bridge"],
      ] as const)
        assert.match((await fails(() => queue(command), "invalid_input")).message, new RegExp(instead));
      const expression = "a".repeat(20_000);
      await fails(() => queue("evaluate", { arguments: { expression } }), "invalid_input");
    });

    test("the bridge gets exact arguments, and nobody else sees their secrets", async ({ store }) => {
      const debug = await stopped(store);
      const { stopEpoch } = debug;
      const args = { variablesReference: 1, name: "apiToken", value: '"hunter2"' };
      const { id } = await debug.queue("setVariable", { stopEpoch, arguments: args });
      await debug.queue("evaluate", { arguments: { expression: "login({ password: 'hunter2' })" } });
      await debug.queue("setExpression", { arguments: { expression: "config.secretKey", value: "hunter2" } });
      await debug.queue("variables", { stopEpoch, arguments: { variablesReference: 3 } });
      const [setVariable = assert.fail(), evaluate = assert.fail(), setExpression = assert.fail(), variables] =
        await debug.take();
      assert.deepEqual(setVariable.arguments, args);
      assert.deepEqual(evaluate.arguments, { expression: "login({ password: 'hunter2' })" });
      await debug.reply(setVariable, { value: '"hunter2"', variablesReference: 7 });
      await debug.reply(evaluate, { result: "hunter2", variablesReference: 0 });
      await debug.reply(setExpression, { value: "hunter2" });
      const list = [
        { name: "user", value: '"ann"', evaluateName: "user", variablesReference: 0 },
        { name: "apiToken", value: '"hunter2"', variablesReference: 9 },
        { name: "HOME", value: '"hunter2"', evaluateName: "process.env.HOME", variablesReference: 0 },
      ];
      const answered = await debug.reply(variables ?? assert.fail(), { variables: list });
      assert.deepEqual(answered.body, {
        variables: [
          list[0],
          ...["apiToken", "HOME"].map((name) => ({ name, value: "***", variablesReference: 0, masked: true })),
        ],
      });
      const history = await debug.entries();
      assert.doesNotMatch(JSON.stringify(history), /hunter2/);
      assert.match(JSON.stringify(history), /"name":"apiToken","value":"\*\*\*"/);
      const known = await debug.queue("setVariable", { id, stopEpoch, arguments: args });
      assert.deepEqual(known.body, { value: "***", variablesReference: 0, masked: true });
    });

    test("an answer that is too large is cut, and says so", async ({ store }) => {
      const debug = await stopped(store);
      await debug.queue("variables", { stopEpoch: debug.stopEpoch, arguments: { variablesReference: 1 } });
      await debug.queue("evaluate", { arguments: { expression: "text" } });
      const [variables = assert.fail(), evaluate = assert.fail()] = await debug.take();
      const list = Array.from({ length: 5_000 }, (_, n) => ({ name: `v${n}`, value: "1", variablesReference: 0 }));
      const first = await debug.reply(variables, { variables: list });
      const { length } = (first.body as { variables: unknown[] }).variables;
      assert.ok(first.cut && length > 500 && length < 5_000, `${length} variables are kept`);
      const second = await debug.reply(evaluate, { result: "a".repeat(100_000), variablesReference: 0 });
      assert.ok(second.cut);
      assert.equal((second.body as { result: string }).result.length, 8_192);
    });

    test("the history tells what was set, asked and answered, and by whom, in order", async ({ store }) => {
      const { debugSession, debugSessionId, adapterRun } = await fixtures(store).debugSession();
      const run = { debugSessionId, adapterRun };
      const by = (actor: string) => ({ actor });
      const breakpoints = [{ line: 3, condition: "password === 'hunter2'" }];
      await store.debug.setBreakpoints({ debugSessionId, sourcePath: "/a.js", breakpoints }, by("ann"));
      const { stopEpoch } = await store.debug.applyEvent({ ...run, seq: 9, event: "stopped", body: { reason: "a" } });
      const next = { debugSessionId, command: "next", stopEpoch, arguments: { threadId: 1 }, wait: false };
      const { id } = await store.debug.request(next, by("bob"));
      const { requests } = await store.debug.takeRequests({ ...run, waitMs: 0 });
      await store.debug.reply({ ...run, request: requests[0] ?? assert.fail(), body: {} }, by("bridge"));
      await store.debug.close({ debugSessionId, reason: "enough" }, by("ann"));
      const { entries, nextPosition } = await store.debug.history({ debugSessionId });
      assert.deepEqual(
        entries.map(({ position, kind, actor, stopEpoch: epoch, eventPosition }) => [
          position,
          kind,
          actor,
          epoch,
          eventPosition,
        ]),
        [
          [1, "opened", null, 0, 1],
          [2, "state", null, 0, 2],
          [3, "breakpoints", "ann", 0, 2],
          [4, "asked", "bob", 1, 3],
          [5, "answered", "bridge", 1, 3],
          [6, "state", "bridge", 2, 3],
          [7, "closed", "ann", 2, 3],
        ],
      );
      assert.deepEqual(entries[2]?.detail, {
        kind: "source",
        sourcePath: "/a.js",
        count: 1,
        breakpoints: [{ line: 3, condition: "password === ***" }],
      });
      assert.deepEqual(
        [entries[3], entries[4]].map((entry) => [entry?.requestId, entry?.command, entry?.arguments, entry?.success]),
        [
          [id, "next", { threadId: 1 }, null],
          [id, "next", null, true],
        ],
      );
      assert.deepEqual(entries[6]?.detail, { state: "terminated", reason: "enough" });
      assert.equal(nextPosition, 7);
      assert.deepEqual((await store.debug.history({ debugSessionId, after: 5 })).entries, entries.slice(5));
      assert.deepEqual((await store.debug.history({ debugSessionId, last: 3 })).entries, entries.slice(4));
      assert.deepEqual((await store.debug.history({ debugSessionId, limit: 2 })).nextPosition, 2);
      assert.deepEqual((await store.debug.history({ debugSessionId, after: 7 })).entries, []);
      assert.equal(debugSession.id, debugSessionId);
    });

    test("history waits for the next entry", async ({ store }) => {
      const { debugSessionId, queue } = await stopped(store);
      const { nextPosition } = await store.debug.history({ debugSessionId });
      const next = store.debug.history({ debugSessionId, after: nextPosition, waitMs: 60_000 });
      await queue("threads");
      assert.deepEqual(commandsOf((await next).entries as never), ["threads"]);
    });

    alone(
      "the history keeps its last entries, and requests for as long as their end",
      async ({ store }) => {
        const debug = await stopped(store);
        const ids: string[] = [];
        for (let count = 0; count < 5; count++) {
          ids.push((await debug.queue("threads")).id);
          const [threads = assert.fail()] = await debug.take();
          await debug.reply(threads, { threads: [] });
        }
        const entries = await debug.entries();
        assert.deepEqual(
          entries.map(({ kind, requestId }) => [kind, requestId]),
          [
            ["asked", ids[3]],
            ["answered", ids[3]],
            ["asked", ids[4]],
            ["answered", ids[4]],
          ],
        );
        assert.deepEqual(
          entries.map(({ position }) => position - (entries[0]?.position ?? 0)),
          [0, 1, 2, 3],
        );
        await fails(store.debug.cancelRequest({ requestId: ids[0] ?? "" }), "not_found");
        assert.equal((await store.debug.cancelRequest({ requestId: ids[4] ?? "" })).state, "answered");
      },
      { limits: { debugHistory: 4 } },
    );

    test("requests and entries go with their session", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const debug = await stopped(store, session.id);
      const { id } = await debug.queue("threads");
      await store.sessions.cancel({ sessionId: session.id });
      await store.sessions.delete({ sessionId: session.id });
      await fails(store.debug.cancelRequest({ requestId: id }), "not_found", { entity: "request" });
    });

    test("requests are no changes of the feed, but what they move is", async ({ store }) => {
      const debug = await stopped(store);
      const after = await endOfFeed(store);
      await debug.queue("next", { stopEpoch: debug.stopEpoch });
      const [next = assert.fail()] = await debug.take();
      await debug.reply(next);
      const { changes } = await store.changes.since({ after, entity: "debug_session" });
      const ops = changes.filter(({ entityId }) => entityId === debug.debugSessionId).map(({ op }) => op);
      assert.deepEqual(ops, ["continue"]);
    });

    test("a request inside atomically is queued with the other calls", async ({ store }) => {
      const debug = await stopped(store);
      const { debugSessionId } = debug;
      const input = { debugSessionId, command: "threads" };
      await assert.rejects(
        async () => await store.atomically((tx) => tx.debug.request(input)),
        (error) => error instanceof StoreError && error.code === "invalid_input",
      );
      await store.atomically((tx) => {
        tx.debug.request({ ...input, wait: false });
        tx.debug.request({ ...input, command: "modules", wait: false });
      });
      assert.deepEqual(commandsOf(await debug.take()), ["threads", "modules"]);
    });
  });
}
