// The pruner's passes: when their steps run, and what they report. The test moves the clock.
import assert from "node:assert/strict";
import { it, type TestContext } from "node:test";
import { startPruner } from "../../../src/actor/pruner.ts";
import type { StoreEvent } from "../../../src/events.ts";
import { Pruned } from "../../../src/model/retention.ts";
import type { Reply } from "../../../src/wire.ts";
import { mockTime } from "../../support/mockedTime.ts";

const answered = (rows: object, heldBy: readonly string[] = [], next?: string): Promise<Reply> =>
  Promise.resolve([1, 0, [true, Pruned.toWire({ rows: JSON.stringify({ json: rows }), heldBy, next })]]);
const failed = (code: string): Promise<Reply> => Promise.resolve([1, 0, [false, [code, "why", "not_run", {}]]]);

/** Starts a pruner with a pass every 100 ms. Each step gets the next of the replies, and those after them remove nothing. */
function startTicking(t: TestContext, replies: readonly Promise<Reply>[] = []) {
  mockTime(t.mock, { apis: ["setTimeout"] });
  const events: StoreEvent[] = [];
  const inputs: unknown[] = [];
  const inbox = {
    post(envelope: unknown) {
      inputs.push((envelope as [number, boolean, [string, unknown]])[2][1]);
      return replies[inputs.length - 1] ?? answered({});
    },
    cancel: () => undefined,
    disconnect: () => undefined,
  };
  const stop = startPruner(inbox as never, { everyMs: 100, owner: "me" }, (event) => events.push(event));
  /** Advances the clock, and waits until the promises of a step have settled. Returns the number of steps. */
  const tick = async (ms: number): Promise<number> => {
    t.mock.timers.tick(ms);
    await new Promise(setImmediate);
    return inputs.length;
  };
  return { events, inputs, stop, tick };
}

it("a pass begins at each interval, until the pruner is stopped", async (t) => {
  const { stop, tick, events } = startTicking(t);
  assert.deepEqual([await tick(99), await tick(1), await tick(99), await tick(1)], [0, 1, 1, 2]);
  stop();
  assert.equal(await tick(1_000), 2);
  assert.deepEqual(events, []);
});

it("the steps of a pass follow each other, each from where the last one ended, and one event reports them all", async (t) => {
  const replies = [answered({ logs: 3, tokens: 0 }, [], "there"), answered({ logs: 5, tokens: 0 })];
  const { tick, events, inputs } = startTicking(t, replies);
  // A step pauses at most a second before the next one.
  assert.deepEqual([await tick(100), await tick(1_000)], [1, 2]);
  assert.deepEqual(inputs, [
    ["me", undefined],
    ["me", "there"],
  ]);
  assert.deepEqual(events, [{ type: "pruned", rows: { logs: 5 }, heldBy: [] }]);
});

it("consumers that hold rows up are reported once, and again when they change", async (t) => {
  const held = ["mirror"];
  const { tick, events } = startTicking(t, [
    answered({}, held),
    answered({}, held),
    answered({}, []),
    answered({}, held),
  ]);
  for (let n = 0; n < 5; n++) await tick(100);
  assert.deepEqual(
    events.map((event) => (event.type === "pruned" ? event.heldBy : event)),
    [["mirror"], [], ["mirror"], []],
  );
});

it("a pass that fails is reported and tried again, except when the store is closing", async (t) => {
  const { tick, events } = startTicking(t, [failed("busy"), failed("closed")]);
  assert.deepEqual([await tick(100), await tick(100), await tick(100)], [1, 2, 3]);
  assert.deepEqual(events, [{ type: "fault", code: "busy", message: "pruning failed: why", cause: undefined }]);
});

it("an interval of 0 means that the pruner never runs", () => {
  const post = () => assert.fail("a step ran");
  startPruner(
    { post, cancel: () => undefined, disconnect: () => undefined },
    { everyMs: 0, owner: "me" },
    () => undefined,
  )();
});
