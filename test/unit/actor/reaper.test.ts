// The reaper's passes: when they run, and what they report. The test moves the clock.
import assert from "node:assert/strict";
import { it, type TestContext } from "node:test";
import { startReaper } from "../../../src/actor/reaper.ts";
import type { StoreEvent } from "../../../src/events.ts";
import { Reaped } from "../../../src/model/reaped.ts";
import type { Reply } from "../../../src/wire.ts";
import { mockTime } from "../../support/mockedTime.ts";

const nothing = {
  commands: [],
  worktrees: [],
  sessions: [],
  runners: [],
  artifacts: [],
  debugSessions: [],
  debugRequests: [],
  environments: [],
  keys: 0,
  more: 0,
};
const answered = (pass: object): Reply => [1, 0, [true, Reaped.toWire({ ...nothing, ...pass })]];
const failed = (code: string): Reply => [1, 0, [false, [code, "why", "not_run", {}]]];

/**
 * Starts a reaper with a pass every 100 ms. Each pass gets the next of the replies, and the passes after them end
 * nothing.
 */
function startTicking(t: TestContext, replies: readonly Promise<Reply>[] = []) {
  mockTime(t.mock, { apis: ["setTimeout"] });
  const events: StoreEvent[] = [];
  let passes = 0;
  const inbox = {
    post: () => replies[passes++] ?? Promise.resolve(answered({})),
    cancel: () => undefined,
    disconnect: () => undefined,
  };
  const stop = startReaper(inbox, 100, (event) => events.push(event));
  /** Advances the clock, and waits until the promises of a pass have settled. */
  const tick = async (ms: number): Promise<number> => {
    t.mock.timers.tick(ms);
    await new Promise(setImmediate);
    return passes;
  };
  return { events, stop, tick };
}

it("a pass runs at each interval, until the reaper is stopped", async (t) => {
  const { stop, tick, events } = startTicking(t);
  assert.deepEqual([await tick(99), await tick(1), await tick(99), await tick(1)], [0, 1, 1, 2]);
  stop();
  assert.equal(await tick(1_000), 2);
  assert.deepEqual(events, []);
});

it("a pass that left rows is followed by the next one at once, and reports what it ended", async (t) => {
  const { tick, events } = startTicking(t, [Promise.resolve(answered({ sessions: ["a"], more: 1 }))]);
  assert.deepEqual([await tick(100), await tick(0), await tick(0)], [1, 2, 2]);
  assert.deepEqual(events, [
    {
      type: "reaped",
      commands: [],
      worktrees: [],
      sessions: ["a"],
      runners: [],
      artifacts: [],
      debugSessions: [],
      debugRequests: [],
      environments: [],
    },
  ]);
});

it("passes do not overlap, and a reaper that is stopped during a pass starts no other", async (t) => {
  const slow = Promise.withResolvers<Reply>();
  const { stop, tick } = startTicking(t, [slow.promise]);
  assert.deepEqual([await tick(100), await tick(1_000)], [1, 1]);
  stop();
  slow.resolve(answered({ more: 1 }));
  assert.deepEqual([await tick(0), await tick(1_000)], [1, 1]);
});

it("a pass that fails is reported and tried again, except when the store is closing", async (t) => {
  const { tick, events } = startTicking(t, [Promise.resolve(failed("busy")), Promise.resolve(failed("closed"))]);
  assert.deepEqual([await tick(100), await tick(100), await tick(100)], [1, 2, 3]);
  assert.deepEqual(events, [{ type: "fault", code: "busy", message: "the reaper failed: why", cause: undefined }]);
});

it("an interval of 0 means that the reaper never runs", () => {
  const post = () => assert.fail("a pass ran");
  startReaper({ post, cancel: () => undefined, disconnect: () => undefined }, 0, () => undefined)();
});
