// Compares random orders of requests, answers, adapter events, restarts, deaths and time with a plain model of the queue:
// what is handed out, how each request ends, and what the history tells, read by two observers.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import fc from "fast-check";
import { testClock } from "../../../src/clock.ts";
import { newId, StoreError } from "../../../src/index.ts";
import { present } from "../../../src/present.ts";
import { fixtures, openTestStore } from "../../../src/testing/index.ts";
import { assertSound } from "../../support/sound.ts";

const clock = testClock();
const store = await openTestStore({ clock });
after(async () => {
  await assertSound(store);
  await store.close();
});

interface Request {
  readonly id: string;
  readonly command: string;
  readonly epoch: number | undefined;
  readonly expiresAt: number;
  state: string;
  wasTaken: boolean;
  cancelDue: boolean;
}

interface Model {
  run: number;
  seq: number;
  state: "running" | "stopped" | "terminated" | "initializing";
  epoch: number;
  now: number;
  /** The time at which the bridge is lost, if it does not call before. */
  lease: number | undefined;
  /** True when the debug session has ended because its bridge was lost. */
  isLost: boolean;
  requests: Request[];
  log: string[];
}

type Run = "current" | "old";
type Step =
  | { readonly kind: "ask"; readonly command: string; readonly behind: number; readonly timeoutMs: number }
  | { readonly kind: "repeat"; readonly index: number }
  | { readonly kind: "take"; readonly limit: number; readonly run: Run; readonly leases: boolean }
  | { readonly kind: "reply"; readonly index: number; readonly success: boolean; readonly run: Run }
  | { readonly kind: "cancel"; readonly index: number }
  | { readonly kind: "event"; readonly event: "stopped" | "continued" | "thread" | "initialized" }
  | { readonly kind: "restart" }
  | { readonly kind: "close" }
  | { readonly kind: "pass"; readonly ms: number }
  | { readonly kind: "reap" };

const run = fc.oneof(
  { weight: 9, arbitrary: fc.constant<Run>("current") },
  { weight: 1, arbitrary: fc.constant<Run>("old") },
);
const index = fc.nat(7);
const kind = <const Kind extends string>(name: Kind) => fc.constant(name);
// Real time passes too, so the times of the model differ by much more than a run takes.
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      kind: kind("ask"),
      command: fc.constantFrom("next", "continue", "scopes", "threads", "pause"),
      behind: fc.oneof({ weight: 5, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.constantFrom(-1, 1) }),
      timeoutMs: fc.constantFrom(200_000, 600_000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: kind("repeat"), index }) },
  {
    weight: 7,
    arbitrary: fc.record({ kind: kind("take"), limit: fc.integer({ min: 1, max: 4 }), run, leases: fc.boolean() }),
  },
  { weight: 7, arbitrary: fc.record({ kind: kind("reply"), index, success: fc.boolean(), run }) },
  { weight: 2, arbitrary: fc.record({ kind: kind("cancel"), index }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: kind("event"),
      event: fc.constantFrom("stopped", "stopped", "continued", "thread", "initialized"),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: kind("restart") }) },
  { weight: 1, arbitrary: fc.record({ kind: kind("close") }) },
  { weight: 2, arbitrary: fc.record({ kind: kind("pass"), ms: fc.constantFrom(90_000, 400_000) }) },
  { weight: 1, arbitrary: fc.record({ kind: kind("reap") }) },
);

const leaseMs = 300_000;
const moves = ["next", "continue"];
const isOpen = ({ state }: Request) => state === "queued" || state === "taken";

function end(model: Model, request: Request, state: string): void {
  request.cancelDue = request.state === "taken" && (state === "expired" || state === "cancelled");
  request.state = state;
  model.log.push(`${state} ${request.id}`);
}

function expire(model: Model): void {
  for (const request of model.requests)
    if (isOpen(request) && request.expiresAt <= model.now) end(model, request, "expired");
}

/** Ends what is over with a new epoch, or with the adapter. */
function outdate(model: Model, isOver: boolean): void {
  for (const request of model.requests) {
    if (!isOpen(request)) continue;
    const isOfStop = request.epoch !== undefined && request.epoch !== model.epoch && request.state === "queued";
    if (isOver || isOfStop) end(model, request, "failed");
  }
}

function moveOn(model: Model): void {
  model.state = "running";
  model.epoch++;
  model.log.push("state");
  outdate(model, false);
}

/** Ends the debug session, as a client does, or the reaper when the bridge is lost. */
function close(model: Model, isLost: boolean): void {
  model.state = "terminated";
  model.isLost = isLost;
  model.log.push("closed");
  outdate(model, true);
}

/** Returns how the call must answer, and moves the model along. */
function expectedOf(model: Model, one: Step, id: string): unknown {
  if ("run" in one && one.run === "old") return "conflict";
  const isOver = model.state === "terminated";
  switch (one.kind) {
    case "ask": {
      if (isOver) return "invalid_transition";
      const epoch = epochOf(model, one);
      if (epoch !== undefined && (model.state !== "stopped" || epoch !== model.epoch)) return "conflict";
      expire(model);
      const expiresAt = model.now + one.timeoutMs;
      const { command } = one;
      model.requests.push({ id, command, epoch, expiresAt, state: "queued", wasTaken: false, cancelDue: false });
      model.log.push(`asked ${id}`);
      return "queued";
    }
    case "repeat": {
      const request = model.requests[one.index];
      if (request === undefined) return "none";
      // A call whose time is over also ends its request.
      if (isOpen(request) && request.expiresAt <= model.now) end(model, request, "expired");
      if (request.state === "expired") return "deadline_exceeded";
      return request.state === "failed" || request.state === "cancelled" ? "conflict" : request.state;
    }
    case "take": {
      if (isOver) return "invalid_transition";
      if (one.leases) model.lease = model.now + leaseMs;
      const hasWork = model.requests.some(({ state, cancelDue }) => state === "queued" || cancelDue);
      if (!hasWork) return { taken: [], cancelled: [] };
      expire(model);
      let isMoving = model.requests.some(({ state, command }) => state === "taken" && moves.includes(command));
      const taken: string[] = [];
      for (const request of model.requests) {
        if (taken.length === one.limit) break;
        if (request.state !== "queued" || (request.epoch !== undefined && isMoving)) continue;
        isMoving ||= moves.includes(request.command);
        assert.ok(!request.wasTaken, "a request is handed out once");
        Object.assign(request, { state: "taken", wasTaken: true });
        taken.push(request.id);
      }
      const due = model.requests.filter(({ cancelDue }) => cancelDue);
      for (const request of due) request.cancelDue = false;
      return { taken, cancelled: due.map((request) => request.id) };
    }
    case "reply": {
      const request = model.requests[one.index];
      if (request === undefined) return "none";
      if (request.state === "queued") return "invalid_transition";
      if (request.state !== "taken") return request.state;
      end(model, request, "answered");
      const moved = one.success && moves.includes(request.command);
      if (moved && model.state === "stopped" && request.epoch === model.epoch) moveOn(model);
      return "answered";
    }
    case "cancel": {
      const request = model.requests[one.index];
      if (request === undefined) return "none";
      if (isOpen(request)) end(model, request, request.expiresAt <= model.now ? "expired" : "cancelled");
      return request.state;
    }
    case "event":
      if (one.event === "initialized") return "ok";
      // An event after the end is recorded, and changes nothing.
      if (isOver) return "ok";
      // The end of a thread that runs concerns nothing that waits for a stop.
      if (one.event === "thread" && model.state !== "stopped") return "ok";
      model.epoch++;
      if (one.event === "stopped") model.state = "stopped";
      else if (model.state !== "initializing") model.state = "running";
      outdate(model, false);
      return "ok";
    case "restart":
      model.lease = undefined;
      model.run++;
      model.epoch++;
      model.state = "initializing";
      model.log.push("restarted");
      outdate(model, true);
      return "ok";
    case "close":
      // A client cannot end in its way what has ended in another one.
      if (isOver) return model.isLost ? "invalid_transition" : "ok";
      close(model, false);
      return "ok";
    case "pass":
      model.now += one.ms;
      return "ok";
    case "reap": {
      if (!isOver && model.lease !== undefined && model.lease <= model.now) close(model, true);
      const before = model.requests.filter(isOpen);
      expire(model);
      return before.filter((request) => !isOpen(request)).map((request) => request.id);
    }
  }
}

function epochOf(model: Model, { command, behind }: { readonly command: string; readonly behind: number }) {
  return command === "threads" || command === "pause" ? undefined : Math.max(1, model.epoch - behind);
}

interface Ids {
  readonly debugSessionId: string;
  readonly sessionId: string;
  readonly name: string;
}

async function call({ debugSessionId, sessionId, name }: Ids, model: Model, one: Step, id: string): Promise<unknown> {
  const { debug } = store;
  const adapterRun = "run" in one && one.run === "old" ? model.run + 1 : model.run;
  const adapter = { debugSessionId, adapterRun };
  const request = "index" in one ? model.requests[one.index] : undefined;
  switch (one.kind) {
    case "ask": {
      const { command, timeoutMs } = one;
      const stop = present({ stopEpoch: epochOf(model, one) });
      return (await debug.request({ id, debugSessionId, command, timeoutMs, wait: false, ...stop })).state;
    }
    case "repeat": {
      if (request === undefined) return "none";
      const { command, epoch } = request;
      const again = { id: request.id, debugSessionId, command, wait: false, ...present({ stopEpoch: epoch }) };
      return (await debug.request(again)).state;
    }
    case "take": {
      const { requests, cancelled } = await debug.takeRequests({
        ...{ ...adapter, limit: one.limit, waitMs: 0 },
        ...present({ ttlMs: one.leases ? leaseMs : undefined }),
      });
      return { taken: requests.map((taken) => taken.id), cancelled };
    }
    case "reply": {
      if (request === undefined) return one.run === "old" ? "conflict" : "none";
      return (await debug.reply({ ...adapter, request, success: one.success, body: {} })).state;
    }
    case "cancel":
      return request === undefined ? "none" : (await debug.cancelRequest({ requestId: request.id })).state;
    case "event": {
      const body = { reason: one.event === "thread" ? "exited" : "a", threadId: 1 };
      await debug.applyEvent({ ...adapter, seq: model.seq++, event: one.event, body });
      return "ok";
    }
    case "restart":
      await debug.open({ sessionId, name, adapter: "a", restartRun: model.run });
      return "ok";
    case "close":
      await debug.close({ debugSessionId });
      return "ok";
    case "pass":
      clock.advance(one.ms);
      return "ok";
    case "reap": {
      // Other runs have left requests too.
      const { debugRequests } = await store.maintenance.reap();
      return debugRequests.filter((reaped) => model.requests.some((known) => known.id === reaped));
    }
  }
}

test("any order of requests, events and deaths goes as the model says, and none is run twice", async () => {
  const ends = new Set<string>();
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60, size: "max" }), async (steps) => {
      const { debugSession, debugSessionId } = await fixtures(store).debugSession();
      const { sessionId, name, stopEpoch } = debugSession;
      const { nextPosition } = await store.debug.history({ debugSessionId });
      const model: Model = {
        run: 1,
        seq: 10,
        state: "running",
        epoch: stopEpoch,
        now: 0,
        lease: undefined,
        isLost: false,
        requests: [],
        log: [],
      };
      for (const one of steps) {
        // A debugger that starts again is initialized before anything else happens.
        if (one.kind === "event" && (one.event === "initialized") !== (model.state === "initializing")) continue;
        const id = newId();
        const asked = { ...model, requests: model.requests.map((request) => ({ ...request })) };
        const answer = await call({ debugSessionId, sessionId, name }, model, one, id).catch((error: unknown) => {
          if (!(error instanceof StoreError)) throw error;
          return error.code;
        });
        assert.deepEqual(answer, expectedOf(model, one, id), JSON.stringify([one, asked]));
        if (one.kind === "restart") Object.assign(model, { seq: 1 });
        if (one.kind === "event" && one.event === "initialized") Object.assign(model, { state: "running" });
        const observers = await Promise.all([
          store.debug.history({ debugSessionId, after: nextPosition, limit: 500 }),
          store.debug.history({ debugSessionId, last: 500 }),
        ]);
        const [seen, whole] = observers.map(({ entries }) =>
          entries.map(({ kind: entry, requestId }) => (requestId === null ? entry : `${entry} ${requestId}`)),
        );
        assert.deepEqual(seen, model.log);
        assert.deepEqual(whole?.slice(nextPosition), model.log);
        const view = await store.debug.get({ debugSessionId, events: 0 });
        assert.equal(view.debugSession.stopEpoch, model.epoch);
      }
      for (const { state } of model.requests) ends.add(state);
    }),
    { numRuns: 80 },
  );
  assert.deepEqual(ends, new Set(["queued", "taken", "answered", "failed", "expired", "cancelled"]));
});
