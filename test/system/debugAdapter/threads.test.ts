// Debug adapters of this machine with programs of two threads: after each stop, step, restart and exit, the store says what
// the adapter says. An adapter that is missing is skipped.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type DebugEvent, openStore } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import {
  type Adapter,
  AdapterBridge,
  findCompiler,
  findDebugpy,
  findGdb,
  findLldb,
  type Reached,
} from "./adapterBridge.ts";

/** The second thread waits until the first one has come back from work, and then works too. */
const inC = `#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static pthread_barrier_t ready;
static volatile int go = 0;

int work(int n) {
  int twice = n * 2;
  return twice;
}

void *second(void *arg) {
  int mine = 7;
  pthread_barrier_wait(&ready);
  while (!go) usleep(1000);
  mine = work(mine);
  return (void *)(long)mine;
}

int main(void) {
  pthread_t thread;
  void *result;
  pthread_barrier_init(&ready, 0, 2);
  pthread_create(&thread, 0, second, 0);
  pthread_barrier_wait(&ready);
  int total = work(1);
  go = 1;
  pthread_join(thread, &result);
  printf("total %d\\n", total + (int)(long)result);
  return 3;
}
`;
const inPython = `import threading

ready = threading.Barrier(2)
go = threading.Event()

def work(n):
    twice = n * 2
    return twice

results = []

def second():
    mine = 7
    ready.wait()
    go.wait()
    results.append(work(mine))

thread = threading.Thread(target=second, name="second")
thread.start()
ready.wait()
total = work(1)
go.set()
thread.join()
print(f"total {total + results[0]}")
raise SystemExit(3)
`;

const inPythonLine = lineOf(inPython, "twice = n * 2");
const inCLine = lineOf(inC, "int twice = n * 2");

function lineOf(source: string, text: string): number {
  return source.slice(0, source.indexOf(text)).split("\n").length;
}

interface Program {
  readonly path: string;
  readonly line: number;
  readonly launch: object;
}

function compiled(folder: string, compiler: string): Program {
  const [path, program] = [join(folder, "two.c"), join(folder, "two")];
  writeFileSync(path, inC);
  execFileSync(compiler, ["-g", "-O0", "-pthread", "-o", program, path]);
  return { path, line: inCLine, launch: { program, cwd: folder, disableASLR: false } };
}

function scripted(folder: string, python: string): Program {
  const path = join(folder, "two.py");
  writeFileSync(path, inPython);
  return {
    path,
    line: inPythonLine,
    launch: { program: path, cwd: folder, console: "internalConsole", python: [python] },
  };
}

async function debugTwoThreads(t: TestContext, adapter: Adapter, { path, line, launch }: Program): Promise<void> {
  const store = await openStore({ url: `sqlite:${join(temporaryFolder(), "metadata.db")}` });
  t.after(() => store.close());
  const { session } = await fixtures(store).session();
  let bridge = await AdapterBridge.open(store, session.id, adapter);
  t.after(() => bridge.end());
  const debugSessionId = bridge.debugSession.id;
  const events: DebugEvent[] = [];
  const following = (async () => {
    for await (const event of store.debug.follow({ debugSessionId })) events.push(event);
  })();

  /** Checks that the store has the threads of the adapter, and returns the thread in focus. */
  const agreed = async (reached: Reached) => {
    const { debugSession, threads, runningThreads } = await store.debug.get({ debugSessionId });
    assert.deepEqual([debugSession.state, debugSession.stopThreadId], ["stopped", reached?.threadId]);
    assert.deepEqual(
      threads.map(({ threadId: id, name, frames }) => ({ id, name, frames: frames.map((frame) => frame.name) })),
      (await bridge.threads()).toSorted((a, b) => a.id - b.id),
    );
    assert.deepEqual([threads.length, runningThreads], [2, []]);
    for (const { at, stopEpoch } of threads) assert.deepEqual([at !== null, stopEpoch], [true, debugSession.stopEpoch]);
    const inFocus = threads.find(({ threadId }) => threadId === reached?.threadId);
    const [top, below] = inFocus?.frames ?? [];
    const variables = top?.scopes?.flatMap((scope) => scope.variables ?? []) ?? [];
    return {
      ...{ thread: inFocus, reason: inFocus?.stopReason, line: top?.line, path: top?.source?.path, below: below?.name },
      values: Object.fromEntries(variables.map(({ name, value }) => [name, value])),
      other: threads.find((one) => one !== inFocus),
    };
  };
  const breakpoints = async () => (await store.debug.get({ debugSessionId })).breakpoints;
  const start = () => bridge.launch(launch, () => bridge.setBreakpoints(path, [{ line }]));
  const move = async (command: "continue" | "next", from: Reached) =>
    bridge.move(command, from ?? assert.fail("the program has ended"));

  const first = await start();
  const main = await agreed(first);
  assert.deepEqual([main.reason, main.line, main.path, main.values.n], ["breakpoint", line, path, "1"]);
  assert.deepEqual([main.other?.stopReason, main.thread?.hitBreakpointIds], [null, [(await breakpoints())[0]?.id]]);
  const [set, ...others] = await breakpoints();
  assert.deepEqual([set?.verified, set?.origin, set?.hitCount, others], [true, "client", 1, []]);

  const stepped = await move("next", first);
  const next = await agreed(stepped);
  assert.deepEqual([next.reason, next.line, next.values.twice], ["step", line + 1, "2"]);
  assert.equal(next.thread?.threadId, main.thread?.threadId);

  const inSecond = await move("continue", stepped);
  const second = await agreed(inSecond);
  assert.deepEqual([second.reason, second.values.n, second.below?.includes("second")], ["breakpoint", "7", true]);
  assert.equal(second.thread?.threadId, main.other?.threadId);
  assert.equal((await breakpoints())[0]?.hitCount, 2);
  if (bridge.debugSession.capabilities?.supportsSingleThreadExecutionRequests !== true)
    t.diagnostic("the adapter lets no thread go on alone");
  else {
    await bridge.continueAlone(inSecond ?? assert.fail("the program has ended"));
    const { debugSession, runningThreads } = await store.debug.get({ debugSessionId });
    assert.deepEqual(
      [debugSession.state, runningThreads.map(({ threadId }) => threadId)],
      ["stopped", [inSecond?.threadId]],
    );
  }

  // The adapter dies, and another one is started in its place.
  await bridge.end();
  const run = bridge.debugSession.adapterRun;
  bridge = await AdapterBridge.open(store, session.id, adapter, run);
  const restarted = await store.debug.get({ debugSessionId });
  assert.deepEqual(
    [restarted.debugSession.state, restarted.threads, restarted.runningThreads],
    ["initializing", [], []],
  );
  assert.deepEqual([restarted.breakpoints[0]?.id, restarted.breakpoints[0]?.hitCount], [set?.id, 0]);
  const again = await start();
  const anew = await agreed(again);
  assert.deepEqual([anew.reason, anew.values.n], ["breakpoint", "1"]);
  assert.deepEqual(
    (await breakpoints()).map(({ id, hitCount }) => [id, hitCount]),
    [[set?.id, 1]],
  );

  const last = await move("continue", again);
  assert.equal((await agreed(last)).values.n, "7");
  assert.equal(await move("continue", last), undefined);
  await bridge.end();
  await store.debug.close({ debugSessionId });
  await following;
  const { debugSession, threads, runningThreads } = await store.debug.get({ debugSessionId });
  assert.deepEqual([debugSession.state, debugSession.exitCode, threads, runningThreads], ["terminated", 3, [], []]);
  assert.match(events.map(({ event, body }) => (event === "output" ? String(body?.output) : "")).join(""), /total 16/);
  assert.deepEqual(
    events.map(({ position }) => position),
    events.map((_, index) => index + 1),
  );
  const counts = Object.values(debugSession.eventCounts ?? {}).reduce((sum, count) => sum + count, 0);
  assert.equal(counts, events.length);
}

for (const [name, find] of [
  ["lldb-dap", findLldb],
  ["gdb", findGdb],
] as const) {
  test(`${name}: the store says what the adapter says of the two threads of a compiled program`, {
    timeout: 120_000,
  }, async (t) => {
    const [adapter, compiler] = [find(), findCompiler()];
    if (adapter === undefined) return t.skip(`${name} is not on PATH, or speaks no Debug Adapter Protocol`);
    if (compiler === undefined) return t.skip("there is no C compiler on PATH");
    await debugTwoThreads(t, adapter, compiled(temporaryFolder(), compiler));
  });
}

test("debugpy: the store says what the adapter says of the two threads of a program of Python", {
  timeout: 120_000,
}, async (t) => {
  const adapter = findDebugpy();
  if (adapter === undefined) return t.skip("no python3 on PATH has debugpy");
  await debugTwoThreads(t, adapter, scripted(temporaryFolder(), adapter.argv[0] as string));
});
