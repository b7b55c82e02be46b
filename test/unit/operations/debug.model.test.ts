// Compares sequences of calls with a small model of the state machine: outcome, state, epoch, events, breakpoints and
// stops.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import fc from "fast-check";
import { type Store, StoreError } from "../../../src/index.ts";
import { isEnded } from "../../../src/model/debug.ts";
import { present } from "../../../src/present.ts";
import { fixtures, openTestStore } from "../../../src/testing/index.ts";
import { assertSound } from "../../support/sound.ts";

const eventLimit = 6;
const stopLimit = 5;
const store = await openTestStore({ limits: { debugEvents: eventLimit, debugStopEpochs: stopLimit } });
after(async () => {
  await assertSound(store);
  await store.close();
});

interface Breakpoint {
  readonly line: number;
  readonly condition: string | undefined;
  adapterId: number | null;
  hits: number;
  id: string;
}

interface Model {
  run: number;
  state: string;
  epoch: number;
  lastSeq: number;
  position: number;
  reason: string | null;
  breakpoints: Breakpoint[];
  events: string[];
  stops: Set<number>;
  seen: Set<number>;
}

type Run = "current" | "old";
type Step =
  | {
      readonly kind: "event";
      readonly event: "initialized" | "stopped" | "continued" | "output" | "terminated";
      readonly ahead: number;
      readonly run: Run;
      readonly hit: number;
    }
  | { readonly kind: "put"; readonly behind: number; readonly run: Run }
  | {
      readonly kind: "patch";
      readonly behind: number;
      readonly state: "configuring" | "running" | "terminated" | "error";
      readonly run: Run;
    }
  | {
      readonly kind: "set";
      readonly breakpoints: readonly { readonly line: number; readonly condition: string | undefined }[];
    }
  | { readonly kind: "bind"; readonly index: number; readonly adapterId: number; readonly run: Run }
  | { readonly kind: "close"; readonly outcome: "terminated" | "error" }
  | { readonly kind: "restart"; readonly behind: number };

const run = fc.oneof(
  { weight: 9, arbitrary: fc.constant<Run>("current") },
  { weight: 1, arbitrary: fc.constant<Run>("old") },
);
const behind = fc.oneof(
  { weight: 4, arbitrary: fc.constant(0) },
  { weight: 1, arbitrary: fc.integer({ min: -1, max: 2 }) },
);
const line = fc.integer({ min: 1, max: 4 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      kind: fc.constant("event" as const),
      event: fc.oneof(
        { weight: 2, arbitrary: fc.constant("initialized" as const) },
        { weight: 6, arbitrary: fc.constant("stopped" as const) },
        { weight: 4, arbitrary: fc.constant("continued" as const) },
        { weight: 3, arbitrary: fc.constant("output" as const) },
        { weight: 1, arbitrary: fc.constant("terminated" as const) },
      ),
      // With 0 or less, the event has a number that was used already.
      ahead: fc.integer({ min: -1, max: 3 }),
      run,
      hit: line,
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("put" as const), behind, run }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("patch" as const),
      behind,
      state: fc.constantFrom("configuring", "running", "terminated", "error"),
      run,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("set" as const),
      breakpoints: fc.array(fc.record({ line, condition: fc.constantFrom(undefined, "x") }), { maxLength: 4 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("bind" as const), index: fc.nat(3), adapterId: line, run }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("close" as const), outcome: fc.constantFrom("terminated", "error") }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("restart" as const), behind }) },
);

const reachable: Readonly<Record<string, readonly string[]>> = {
  initializing: ["configuring", "terminated", "error"],
  configuring: ["running", "terminated", "error"],
  running: ["terminated", "error"],
  stopped: ["running", "terminated", "error"],
};

/** Returns how the call must end, "ok" or the code of its error, and moves the model along. */
function expectedOf(model: Model, one: Step): string {
  if ("run" in one && one.run === "old") return "conflict";
  const over = model.state === "terminated" || model.state === "error";
  const end = (state: string) => Object.assign(model, { state, reason: null });
  switch (one.kind) {
    case "event": {
      const seq = model.lastSeq + one.ahead;
      if (model.seen.has(seq)) return "ok";
      model.seen.add(seq);
      if (one.event === "initialized" && model.state === "initializing") model.state = "configuring";
      if (one.event === "terminated" && !over) end("terminated");
      if ((one.event === "stopped" || one.event === "continued") && !over) {
        model.epoch++;
        const ran = model.state === "initializing" ? "initializing" : "running";
        model.state = one.event === "stopped" ? "stopped" : ran;
        model.reason = one.event === "stopped" ? `at ${seq}` : null;
      }
      if (one.event === "stopped" && !over)
        for (const breakpoint of model.breakpoints) if (breakpoint.adapterId === one.hit) breakpoint.hits++;
      model.lastSeq = seq;
      model.events = [...model.events, `${model.position++} ${one.event} ${model.epoch}`].slice(-eventLimit);
      return "ok";
    }
    case "put": {
      if (model.state !== "stopped" || one.behind !== 0) return "conflict";
      for (const epoch of model.stops) if (epoch <= model.epoch - stopLimit) model.stops.delete(epoch);
      model.stops.add(model.epoch);
      return "ok";
    }
    case "patch":
      if (one.behind !== 0) return "conflict";
      if (one.state === model.state) return "ok";
      if (!reachable[model.state]?.includes(one.state)) return "invalid_transition";
      if (model.state === "stopped" && one.state === "running") model.epoch++;
      end(one.state);
      return "ok";
    case "set": {
      if (over) return "invalid_transition";
      const left = [...model.breakpoints];
      model.breakpoints = one.breakpoints.map(({ line, condition }) => {
        const at = left.findIndex((known) => known.line === line && known.condition === condition);
        return at === -1
          ? { line, condition, adapterId: null, hits: 0, id: "new" }
          : (left.splice(at, 1)[0] as Breakpoint);
      });
      return "ok";
    }
    case "bind": {
      if (over) return "invalid_transition";
      const breakpoint = model.breakpoints[one.index];
      if (breakpoint !== undefined) breakpoint.adapterId = one.adapterId;
      return "ok";
    }
    case "close":
      if (over) return model.state === one.outcome ? "ok" : "invalid_transition";
      end(one.outcome);
      return "ok";
    case "restart":
      if (one.behind !== 0) return "conflict";
      Object.assign(model, {
        run: model.run + 1,
        state: "initializing",
        reason: null,
        epoch: model.epoch + 1,
        lastSeq: 0,
        seen: new Set(),
      });
      for (const breakpoint of model.breakpoints) Object.assign(breakpoint, { adapterId: null, hits: 0 });
      return "ok";
  }
}

const sourcePath = "/srv/main.js";

async function call(
  { debug }: Store,
  id: { readonly debugSessionId: string; readonly sessionId: string },
  model: Model,
  one: Step,
): Promise<unknown> {
  const { debugSessionId } = id;
  const of = { debugSessionId, adapterRun: "run" in one && one.run === "old" ? model.run + 1 : model.run };
  switch (one.kind) {
    case "event": {
      const seq = Math.max(1, model.lastSeq + one.ahead);
      // A hit of an id that is bound later has tests of its own: here, such an id is never bound.
      const isBound = model.breakpoints.some(({ adapterId }) => adapterId === one.hit);
      const bodies = {
        stopped: { reason: `at ${seq}`, threadId: 1, hitBreakpointIds: [isBound ? one.hit : one.hit + 100] },
        continued: { threadId: 1 },
        output: { output: "x" },
      };
      return debug.applyEvent({ ...of, seq, event: one.event, body: { ...bodies[one.event as "output"] } });
    }
    case "put":
      return debug.putStop({
        ...of,
        stopEpoch: Math.max(0, model.epoch - one.behind),
        threads: [{ id: 1, name: `at ${model.epoch}` }],
      });
    case "patch":
      return debug.patchState({ ...of, expectedEpoch: Math.max(0, model.epoch - one.behind), state: one.state });
    case "set":
      return debug.setBreakpoints({
        debugSessionId,
        sourcePath,
        breakpoints: one.breakpoints.map(({ line, condition }) => ({
          line,
          ...present({ condition }),
        })),
      });
    case "bind":
      return debug.bindBreakpoints({
        ...of,
        bound: [
          {
            breakpointId: model.breakpoints[one.index]?.id ?? debugSessionId,
            breakpoint: { id: one.adapterId, verified: true },
          },
        ],
      });
    case "close":
      return debug.close({ debugSessionId, outcome: one.outcome });
    case "restart":
      return debug.open({
        sessionId: id.sessionId,
        name: "n",
        adapter: "a",
        restartRun: Math.max(1, model.run - one.behind),
      });
  }
}

test("any sequence of calls has the outcome and state that the model predicts", async () => {
  const visited = new Set<string>();
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40, size: "max" }), async (steps) => {
      const { session } = await fixtures(store).session();
      const { id: debugSessionId } = await store.debug.open({ sessionId: session.id, name: "n", adapter: "a" });
      const model: Model = {
        run: 1,
        state: "initializing",
        epoch: 0,
        lastSeq: 0,
        position: 1,
        reason: null,
        breakpoints: [],
        events: [],
        stops: new Set(),
        seen: new Set(),
      };
      for (const one of steps) {
        // An event with a number that was not used arrives late: that has tests of its own.
        if (one.kind === "event" && one.ahead < 1 && !model.seen.has(model.lastSeq + one.ahead)) continue;
        if ((one.kind === "put" || one.kind === "patch") && model.epoch - one.behind < 0) continue;
        if (one.kind === "restart" && model.run - one.behind < 1) continue;
        const asked = structuredClone({ ...model, stops: undefined, seen: undefined });
        const outcome = await call(
          store,
          { debugSessionId, sessionId: session.id },
          asked as unknown as Model,
          one,
        ).then(
          () => "ok",
          (error: unknown) => {
            if (!(error instanceof StoreError)) throw error;
            assert.ok(["conflict", "invalid_transition"].includes(error.code), `${error.code}: ${error.message}`);
            return error.code;
          },
        );
        assert.equal(outcome, expectedOf(model, one), JSON.stringify([one, asked]));
        const { debugSession, breakpoints, events, threads, stopEpochs } = await store.debug.get({ debugSessionId });
        visited.add(debugSession.state);
        assert.deepEqual(
          [
            debugSession.adapterRun,
            debugSession.state,
            debugSession.stopEpoch,
            debugSession.lastEvent,
            debugSession.stopReason,
            debugSession.endedAt !== null,
          ],
          [model.run, model.state, model.epoch, model.lastSeq, model.reason, isEnded(debugSession.state)],
        );
        assert.deepEqual(
          breakpoints.map(({ line, requested, adapterId, hitCount }) => [
            line,
            "condition" in requested ? requested.condition : undefined,
            adapterId,
            hitCount,
          ]),
          model.breakpoints.map(({ line, condition, adapterId, hits }) => [line, condition, adapterId, hits]),
        );
        for (const [index, breakpoint] of model.breakpoints.entries()) {
          const { id } = breakpoints[index] as { id: string };
          if (breakpoint.id !== "new") assert.equal(id, breakpoint.id);
          breakpoint.id = id;
        }
        assert.deepEqual(
          events.map(({ position, event, stopEpoch }) => `${position} ${event} ${stopEpoch}`),
          model.events,
        );
        assert.deepEqual(stopEpochs, [...model.stops]);
        assert.deepEqual(
          threads.map(({ threadId, at }) => [threadId, at !== null]),
          model.state === "stopped" ? [[1, model.stops.has(model.epoch)]] : [],
        );
      }
    }),
    { numRuns: 150 },
  );
  assert.deepEqual(visited, new Set(["initializing", "configuring", "running", "stopped", "terminated", "error"]));
});
