// Drives a program of a worktree with Node's inspector, and reads the whole debug session back from the store.
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type DebugView, type OwnedStore, openStore } from "../../../../src/index.ts";
import type { BridgeOptions, NodeBridge } from "../../../../src/runner/debuggers/node/bridge.ts";
import { Inspector } from "../../../../src/runner/debuggers/node/inspector.ts";
import { fixtures } from "../../../../src/testing/index.ts";
import { createWorktree, type DebuggedWorktree, launchBridge, lines } from "./debuggedProgram.ts";

const secret = "s3cret-of-this-test";

async function launch(
  t: TestContext,
  store: OwnedStore,
  worktree: DebuggedWorktree,
  options: Partial<BridgeOptions> = {},
): Promise<NodeBridge> {
  const { session } = await fixtures(store).session({ commitSha: worktree.commitSha });
  const bridge = await launchBridge(store, worktree, {
    sessionId: session.id,
    env: { ...process.env, API_TOKEN: secret },
    ...options,
  });
  // A test that has failed leaves the program running.
  t.after(() => bridge.kill());
  return bridge;
}

const localsOf = ({ threads }: DebugView) =>
  Object.fromEntries(
    threads[0]?.frames[0]?.scopes?.flatMap(({ variables = [] }) => variables.map(({ name, value }) => [name, value])) ??
      [],
  );

test("a reopened store holds breakpoints, logpoints, steps and changes that were made while the program was stopped", async (t) => {
  const worktree = createWorktree();
  const store = await openStore({ url: worktree.url });
  const bridge = await launch(t, store, worktree);
  const debugSessionId = bridge.debugSession.id;
  const look = () => store.debug.get({ debugSessionId });
  assert.equal((await look()).debugSession.state, "configuring");

  const asked = [
    { line: lines.part, condition: "n === 3" },
    { line: lines.comment, condition: "n === 4" },
    { line: lines.square, logMessage: "squaring {n} of {typeof n}" },
  ];
  const pending = await bridge.setBreakpoints(worktree.path, asked);
  assert.deepEqual(
    pending.map(({ verified, bound }) => [verified, bound?.reason]),
    Array(3).fill([false, "pending"]),
  );

  const entry = await bridge.start();
  assert.deepEqual([entry?.reason, entry?.stopEpoch], ["entry", 1]);
  const parsed = await look();
  assert.deepEqual(
    parsed.breakpoints.map(({ id }) => id),
    pending.map(({ id }) => id),
  );
  assert.deepEqual(
    parsed.breakpoints.map(({ line, verified, bound }) => [line, verified, bound?.line]),
    [
      [lines.part, true, lines.part],
      [lines.comment, true, lines.total],
      [lines.square, true, lines.square],
    ],
  );

  const hit = await bridge.move("continue");
  assert.deepEqual([hit?.reason, hit?.line, hit?.functionName, hit?.stopEpoch], ["breakpoint", lines.part, "sum", 3]);
  const atHit = await look();
  assert.deepEqual(atHit.debugSession.hitBreakpointIds, [pending[0]?.id]);
  assert.deepEqual(
    atHit.breakpoints.map(({ hitCount }) => hitCount),
    [1, 0, 0],
  );
  assert.deepEqual(
    atHit.threads[0]?.frames.slice(0, 2).map(({ name, line, source }) => [name, line, source?.path]),
    [
      ["sum", lines.part, worktree.path],
      ["(anonymous)", lines.print, worktree.path],
    ],
  );
  const locals = localsOf(atHit);
  assert.deepEqual([locals.n, locals.total, locals.apiToken], ["3", "5", "***"]);

  const inside = await bridge.move("stepIn");
  assert.deepEqual([inside?.reason, inside?.line, inside?.functionName], ["step", lines.square, "square"]);
  const over = await bridge.move("next");
  assert.deepEqual([over?.reason, over?.line], ["step", lines.returnOfSquare]);
  assert.equal(localsOf(await look()).result, "9");
  const out = await bridge.move("stepOut");
  assert.deepEqual([out?.reason, out?.functionName], ["step", "sum"]);

  // While the program is stopped, the breakpoint on the comment gets another condition, the logpoint stays, and one
  // breakpoint is new.
  const changed = await bridge.setBreakpoints(worktree.path, [
    { line: lines.part, condition: "n === 3" },
    { line: lines.returnOfSum },
    asked[2] as object as { line: number },
  ]);
  assert.deepEqual([changed[0]?.id, changed[0]?.hitCount, changed[2]?.id], [pending[0]?.id, 1, pending[2]?.id]);
  assert.deepEqual([changed[1]?.verified, changed[1]?.bound?.line], [true, lines.returnOfSum]);
  const added = await bridge.move("continue");
  assert.deepEqual([added?.reason, added?.line], ["breakpoint", lines.returnOfSum]);
  assert.equal(localsOf(await look()).total, "30");
  assert.equal(await bridge.move("continue"), undefined);
  assert.deepEqual((await bridge.ended).exitCode, 0);
  const before = await store.debug.get({ debugSessionId, events: 500 });
  await store.close();

  const again = await openStore({ url: worktree.url, migrate: "never" });
  t.after(() => again.close());
  const story = await again.debug.get({ debugSessionId, events: 500 });
  assert.deepEqual(story, before);
  assert.deepEqual(
    [story.debugSession.state, story.debugSession.exitCode, story.stopEpochs],
    ["terminated", 0, [1, 3, 5, 7, 9, 11]],
  );
  const told = story.events
    .filter(({ event }) => event !== "output")
    .map(({ event, body }) => (event === "stopped" ? `stopped: ${body?.reason}` : event));
  assert.deepEqual(
    told.filter((one) => one !== "breakpoint"),
    [
      ...[
        "initialized",
        "process",
        "stopped: entry",
        "continued",
        "stopped: breakpoint",
        "continued",
        "stopped: step",
        "continued",
        "stopped: step",
        "continued",
        "stopped: step",
        "continued",
      ],
      ...["stopped: breakpoint", "continued", "exited", "terminated"],
    ],
  );
  const output = story.events
    .filter(({ event }) => event === "output")
    .map(({ body }) => String(body?.output))
    .join("");
  for (const line of ["squaring 1 of number", "squaring 4 of number", "the sum is 30 3 5000", "token=***", "done"])
    assert.ok(output.includes(`${line}\n`), `${line} in ${output}`);
  const stops = await Promise.all(story.stopEpochs.map((stopEpoch) => again.debug.get({ debugSessionId, stopEpoch })));
  assert.deepEqual(
    stops.slice(1).map(({ threads }) => threads[0]?.frames[0]?.line),
    [lines.part, lines.square, lines.returnOfSquare, out?.line, lines.returnOfSum],
  );
  const settings = stops[1]?.threads[0]?.frames[0]?.scopes
    ?.flatMap(({ variables = [] }) => variables)
    .find(({ name }) => name === "settings");
  const [names, password] = ["names", "password"].map((wanted) =>
    settings?.variables?.find(({ name }) => name === wanted),
  );
  assert.deepEqual([password?.value, password?.masked, names?.type], ["***", true, "array"]);
  assert.ok(!JSON.stringify([story, stops]).includes(secret));
});

test("data beyond the limits is left out and marked as truncated", async (t) => {
  const worktree = createWorktree();
  const store = await openStore({ url: worktree.url });
  t.after(() => store.close());
  const bridge = await launch(t, store, worktree);
  await bridge.setBreakpoints(worktree.path, [{ line: lines.print }]);
  await bridge.start();
  await bridge.move("continue");
  const { threads } = await store.debug.get({ debugSessionId: bridge.debugSession.id });
  const variables = threads[0]?.frames[0]?.scopes?.flatMap(({ variables = [] }) => variables) ?? [];
  const [text, settings] = ["text", "settings"].map((wanted) => variables.find(({ name }) => name === wanted));
  assert.deepEqual([text?.value.length, text?.valueLength, threads[0]?.cut], [1_024, 5_002, true]);
  assert.ok(settings !== undefined);
  assert.equal(await bridge.move("continue"), undefined);
});

test("the store records that the debugged program was killed", async (t) => {
  const worktree = createWorktree();
  const store = await openStore({ url: worktree.url });
  t.after(() => store.close());
  const bridge = await launch(t, store, worktree);
  const debugSessionId = bridge.debugSession.id;
  await bridge.setBreakpoints(worktree.path, [{ line: lines.part }]);
  await bridge.start();
  await bridge.move("continue");
  process.kill(bridge.pid as number, "SIGKILL");
  const { exitCode, signal } = await bridge.ended;
  assert.deepEqual([exitCode, signal], [null, "SIGKILL"]);
  const { debugSession, events, stopEpochs } = await store.debug.get({ debugSessionId });
  assert.deepEqual(
    [debugSession.state, debugSession.exitCode, debugSession.stopReason, stopEpochs],
    ["terminated", 137, null, [1, 3]],
  );
  assert.deepEqual(
    events.slice(-2).map(({ event }) => event),
    ["exited", "terminated"],
  );
  assert.equal(await bridge.move("continue"), undefined);

  const again = await launchBridge(store, worktree, { sessionId: debugSession.sessionId, name: "second" });
  await again.start();
  assert.equal(await again.move("continue"), undefined);
  assert.deepEqual(
    (await store.debug.list({ sessionId: debugSession.sessionId })).items.map(({ name, exitCode }) => [name, exitCode]),
    [
      ["node", 137],
      ["second", 0],
    ],
  );
});

test("a session that ends while the program is stopped closes the debug session of the bridge", async (t) => {
  const worktree = createWorktree();
  const store = await openStore({ url: worktree.url });
  t.after(() => store.close());
  const bridge = await launch(t, store, worktree);
  await bridge.start();
  await store.sessions.cancel({ sessionId: bridge.debugSession.sessionId });
  bridge.kill();
  await bridge.ended;
  const { debugSession } = await store.debug.get({ debugSessionId: bridge.debugSession.id });
  assert.deepEqual([debugSession.state, debugSession.endReason], ["terminated", "session_ended"]);
});

test("a program whose frame is restarted is not resumed once more when the store says first that it runs", async (t) => {
  const worktree = createWorktree();
  const store = await openStore({ url: worktree.url });
  t.after(() => store.close());
  const bridge = await launch(t, store, worktree);
  await bridge.setBreakpoints(worktree.path, [{ line: lines.square }]);
  await bridge.start();
  await bridge.move("continue");
  const stopped = await store.debug.get({ debugSessionId: bridge.debugSession.id });
  const { stopEpoch } = stopped.debugSession;
  const running: DebugView = {
    ...stopped,
    debugSession: { ...stopped.debugSession, state: "running", stopEpoch: stopEpoch + 1 },
  };
  const sent: string[] = [];
  const { send } = Inspector.prototype;
  t.mock.method(Inspector.prototype, "send", async function (this: Inspector, method: string, params?: object) {
    sent.push(method);
    if (method === "Debugger.restartFrame") await bridge.follow(running);
    return await send.call(this, method, params);
  });
  assert.deepEqual(await bridge.answer("goto", {}), {
    success: false,
    message: "goto is not supported by Node's inspector",
  });
  assert.deepEqual(await bridge.answer("restartFrame", { frameId: 1 }), { success: true, body: {} });
  assert.deepEqual(sent, ["Debugger.restartFrame"]);
});
