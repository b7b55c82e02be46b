// Debuggers of the runner with debug adapters that the machine has: a client that knows nothing but the store steps, looks,
// changes, pauses and continues. Skipped without one.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type DebugView, openStore } from "../../../src/index.ts";
import type { DapOptions } from "../../../src/runner/debuggers/dap/dapDebugger.ts";
import { debuggers } from "../../../src/runner/debuggers/debuggers.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { findCompiler, findDebugpy, findGdb, findLldb } from "./adapterBridge.ts";

/** A program that computes a square, and then runs until a debugger sets `go` to 0. */
const sourceInC = `#include <unistd.h>
int square(int n) {
  int result = n * n;
  return result;
}
int main(void) {
  volatile int go = 1;
  int total = square(3); // the breakpoint
  while (go) usleep(1000);
  return total - 6;
}
`;
const sourceInPython = `import sys, time
def square(n):
    result = n * n
    return result
def main():
    go = 1
    total = square(3) # the breakpoint
    while go: time.sleep(0.001)
    return total - 6
sys.exit(main())
`;
const lineOf = (source: string, text: string) => source.slice(0, source.indexOf(text)).split("\n").length;

interface Program {
  readonly path: string;
  readonly argv: readonly string[];
  readonly line: number;
}

function compiled(compiler: string): Program {
  const folder = temporaryFolder();
  const [path, program] = [join(folder, "main.c"), join(folder, "main")];
  writeFileSync(path, sourceInC);
  execFileSync(compiler, ["-g", "-O0", "-o", program, path]);
  return { path, argv: [program], line: lineOf(sourceInC, "// the breakpoint") };
}

function scripted(python: string): Program {
  const path = join(temporaryFolder(), "main.py");
  writeFileSync(path, sourceInPython);
  return { path, argv: [python, path], line: lineOf(sourceInPython, "# the breakpoint") };
}

interface Frame {
  readonly id: number;
  readonly name: string;
}
interface Named {
  readonly name: string;
  readonly value: string;
  readonly variablesReference: number;
}

async function askEverything(t: TestContext, options: DapOptions, { path, argv, line }: Program): Promise<void> {
  const folder = temporaryFolder();
  const store = await openStore({ url: `sqlite:${join(folder, "metadata.db")}` });
  t.after(() => store.close());
  const { command } = await fixtures(store).command({ argv: [...argv] });
  const { sessionId } = command;
  const { id: debugSessionId } = await store.debug.open({ sessionId, name: "main", adapter: "any" });
  const set = (...lines: number[]) =>
    store.debug.setBreakpoints({ debugSessionId, sourcePath: path, breakpoints: lines.map((at) => ({ line: at })) });
  await set(line);
  const stop = new AbortController();
  t.after(() => stop.abort("lost"));
  const run = { store, argv, sessionId, commandId: command.id, cwd: folder, env: process.env, signal: stop.signal };
  const end = debuggers.dap(options).run({ ...run, output: () => undefined });
  end.catch(() => undefined);
  let stopEpoch = 0;
  /** Reads the debug session as soon as it is as wanted. */
  const until = async (isReached: (view: DebugView) => boolean): Promise<DebugView> => {
    for await (const _ of store.changes.watch({ sessionId, after: 0 })) {
      const view = await store.debug.get({ debugSessionId, events: 0 });
      assert.notEqual(view.debugSession.endedAt === null, false, `it has ended: ${view.debugSession.endReason}`);
      if (isReached(view)) return view;
    }
    return assert.fail("the feed has ended");
  };
  const stopped = async () => {
    const view = await until(
      ({ debugSession }) => debugSession.state === "stopped" && debugSession.stopEpoch > stopEpoch,
    );
    stopEpoch = view.debugSession.stopEpoch;
    return view.debugSession;
  };
  const ask = async (request: string, args: Record<string, unknown> = {}) => {
    const asked = { debugSessionId, command: request, arguments: args, stopEpoch };
    const { success, body, message } = await store.debug.request(asked);
    assert.ok(success, `${request}: ${message}`);
    return body as never;
  };
  /** Returns the innermost frame of this function, and its local variables. */
  const inside = async (name: string) => {
    const { stopThreadId: threadId } = (await store.debug.get({ debugSessionId, events: 0 })).debugSession;
    const { stackFrames }: { stackFrames: Frame[] } = await ask("stackTrace", { threadId });
    const frame = stackFrames.find((one) => one.name.startsWith(name)) ?? assert.fail(`${name} is not on the stack`);
    const { scopes }: { scopes: Named[] } = await ask("scopes", { frameId: frame.id });
    const { variablesReference } = scopes[0] as Named;
    const { variables }: { variables: Named[] } = await ask("variables", { variablesReference });
    return {
      frameId: frame.id,
      variablesReference,
      valueOf: (one: string) => variables.find((v) => v.name === one)?.value,
    };
  };

  assert.equal((await stopped()).stopReason, "breakpoint");
  const main = await inside("main");
  assert.equal(main.valueOf("go"), "1");
  const { result }: { result: string } = await ask("evaluate", {
    expression: "go + 1",
    frameId: main.frameId,
    context: "watch",
  });
  assert.equal(result, "2");
  const wrong = {
    debugSessionId,
    command: "evaluate",
    stopEpoch,
    arguments: { expression: "nothing", frameId: main.frameId, context: "watch" },
  };
  assert.equal((await store.debug.request(wrong)).success, false);
  // What the adapter is not capable of does not reach it.
  const frame = { debugSessionId, command: "restartFrame", stopEpoch, arguments: { frameId: main.frameId } };
  const { capabilities } = (await store.debug.get({ debugSessionId, events: 0 })).debugSession;
  if (capabilities?.supportsRestartFrame !== true)
    assert.match((await store.debug.request(frame)).message ?? "", /not capable/);
  await ask("stepIn");
  assert.equal((await stopped()).stopReason, "step");
  assert.equal((await inside("square")).valueOf("n"), "3");
  await ask("next");
  await stopped();
  assert.equal((await inside("square")).valueOf("result"), "9");
  await ask("stepOut");
  await stopped();
  await set();
  await until(({ breakpoints }) => breakpoints.length === 0);
  await ask("continue");
  const { debugSession } = await until((view) => view.debugSession.state === "running");
  assert.equal(debugSession.stopReason, null);
  await store.debug.request({ debugSessionId, command: "pause" });
  await stopped();
  if (capabilities?.supportsGotoTargetsRequest === true) {
    const { targets }: { targets: { id: number }[] } = await ask("gotoTargets", { source: { path }, line });
    await ask("goto", { targetId: targets[0]?.id });
    const { stopReason, stopThreadId: threadId } = await stopped();
    const { stackFrames }: { stackFrames: { line: number }[] } = await ask("stackTrace", { threadId });
    assert.deepEqual([stopReason, stackFrames[0]?.line], ["goto", line]);
  }
  const paused = await inside("main");
  await ask("setVariable", { variablesReference: paused.variablesReference, name: "go", value: "0" });
  await ask("continue");
  const { exitCode, reason } = await end;
  assert.deepEqual([exitCode, reason], [3, undefined]);
  const { entries } = await store.debug.history({ debugSessionId, limit: 500 });
  const [asked, answered] = ["asked", "answered"].map((kind) => entries.filter((entry) => entry.kind === kind));
  assert.equal(asked?.length, answered?.length, "each request was answered once");
}

for (const [name, find] of [
  ["lldb-dap", findLldb],
  ["gdb", findGdb],
] as const) {
  test(`${name}: a client steps through a compiled program, pauses and changes it`, { timeout: 60_000 }, async (t) => {
    const [adapter, compiler] = [find(), findCompiler()];
    if (adapter === undefined) return t.skip(`${name} is not on PATH, or speaks no Debug Adapter Protocol`);
    if (compiler === undefined) return t.skip("there is no C compiler on PATH");
    const launch = ({ argv: [program], cwd }: { readonly argv: readonly string[]; readonly cwd: string }) => ({
      ...{ program, cwd, disableASLR: false },
    });
    await askEverything(t, { command: adapter.argv, adapter: name, arguments: launch }, compiled(compiler));
  });
}

test("debugpy: a client steps through a program of Python, pauses and changes it", { timeout: 60_000 }, async (t) => {
  const adapter = findDebugpy();
  if (adapter === undefined) return t.skip("no python3 on PATH has debugpy");
  const [python = ""] = adapter.argv;
  const launch = ({ argv: [, program], cwd }: { readonly argv: readonly string[]; readonly cwd: string }) => ({
    ...{ program, cwd, python, console: "internalConsole" },
  });
  await askEverything(t, { command: adapter.argv, adapter: "debugpy", arguments: launch }, scripted(python));
});
