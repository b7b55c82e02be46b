// One thread drives a real debugger. Another thread reads the debug session meanwhile, and sees only consistent states.
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { openStore } from "../../../../src/index.ts";
import type { Move } from "../../../../src/runner/debuggers/debugger.ts";
import { fixtures } from "../../../../src/testing/index.ts";
import { createWorktree, launchBridge, lines } from "./debuggedProgram.ts";
import type { Observed, Seen } from "./observerThread.ts";

/** Returns the state that the events so far lead to. */
function stateAfter(events: Seen["events"]): { states: readonly string[]; stopEpoch: number; reason: unknown } {
  let [states, stopEpoch, reason]: [readonly string[], number, unknown] = [["initializing"], 0, null];
  for (const [event, why, epoch] of events) {
    // The request to run is no event, so both states are possible.
    if (event === "initialized") states = ["configuring", "running"];
    if (event === "terminated") states = ["terminated"];
    if (event === "stopped" || event === "continued") {
      states = [event === "stopped" ? "stopped" : "running"];
      stopEpoch++;
    }
    if (event === "stopped" || event === "continued" || event === "terminated")
      reason = event === "stopped" ? why : null;
    assert.equal(epoch, stopEpoch, event);
  }
  return { states, stopEpoch, reason };
}

test("an observer in another thread sees only states that existed", async (t) => {
  const worktree = createWorktree();
  const store = await openStore({ url: worktree.url });
  t.after(() => store.close());
  const { session } = await fixtures(store).session({ commitSha: worktree.commitSha });
  const bridge = await launchBridge(store, worktree, { sessionId: session.id });
  t.after(() => bridge.kill());
  const debugSessionId = bridge.debugSession.id;
  const port = store.connect({ operations: ["debug.get", "debug.follow"] });
  const observer = new Worker(new URL("./observerThread.ts", import.meta.url), {
    workerData: { port, debugSessionId },
    transferList: [port],
  });
  t.after(() => observer.terminate());
  assert.deepEqual(await once(observer, "message"), ["reading"]);
  const told = once(observer, "message") as Promise<[Observed]>;

  await bridge.setBreakpoints(worktree.path, [
    { line: lines.part },
    { line: lines.total, logMessage: "total {total}" },
  ]);
  const linesAt = new Map<number, number>();
  const moves: readonly Move[] = ["continue", "stepIn", "next", "stepOut", "next"];
  for (let [stop, n] = [await bridge.start(), 0]; stop !== undefined; n++) {
    linesAt.set(stop.stopEpoch, stop.line);
    stop = await bridge.move(n < 30 ? (moves[n % moves.length] as Move) : "continue");
  }
  await bridge.ended;

  const [{ views, followed }] = await told;
  assert.ok(linesAt.size > 15 && views.length > 10, `${linesAt.size} stops, ${views.length} views`);
  for (const [index, view] of views.entries()) {
    const { states, stopEpoch, reason } = stateAfter(view.events);
    assert.ok(states.includes(view.state), `${view.state}, and not ${states}`);
    assert.deepEqual([view.stopEpoch, view.stopReason, view.nextPosition], [stopEpoch, reason, view.events.length + 1]);
    if (view.state !== "stopped") assert.deepEqual(view.threads, []);
    for (const [epoch, line] of view.threads)
      assert.deepEqual([epoch, line ?? linesAt.get(epoch)], [stopEpoch, linesAt.get(epoch)]);
    const before = views[index - 1];
    if (before !== undefined) assert.deepEqual(view.events.slice(0, before.events.length), before.events);
  }
  assert.ok(
    new Set(views.filter(({ threads }) => threads[0]?.[1] !== undefined).map(({ stopEpoch }) => stopEpoch)).size > 3,
  );
  const { events } = await store.debug.get({ debugSessionId, events: 500 });
  assert.deepEqual(
    followed,
    events.map(({ position, event }) => ({ position, event })),
  );
});
