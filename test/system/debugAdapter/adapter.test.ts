// Drives a debug adapter that the machine has, and sends its messages to the store unchanged. Skipped without one.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { openStore } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { AdapterBridge, findCompiler, findGdb, findLldb } from "./adapterBridge.ts";

const source = `#include <stdio.h>

int square(int n) {
  int result = n * n;
  return result;
}

int main(void) {
  const char *password = "hunter2";
  int total = 0;
  for (int i = 1; i <= 4; i++) {
    total += square(i);
  }

  printf("the sum is %d, password=%s\\n", total, password);
  return 0;
}
`;
const lineOf = (text: string) => source.slice(0, source.indexOf(text)).split("\n").length;

test("the store holds what a debug adapter of this machine reports about a compiled program", {
  timeout: 60_000,
}, async (t) => {
  const [adapter, compiler] = [findLldb() ?? findGdb(), findCompiler()];
  if (adapter === undefined)
    return t.skip("no debugger on PATH speaks the Debug Adapter Protocol: lldb-dap, lldb-vscode, or gdb from 14 on");
  if (compiler === undefined) return t.skip("there is no C compiler on PATH");
  const folder = temporaryFolder();
  const [path, program] = [join(folder, "main.c"), join(folder, "main")];
  writeFileSync(path, source);
  execFileSync(compiler, ["-g", "-O0", "-o", program, path]);

  const url = `sqlite:${join(folder, "metadata.db")}`;
  const store = await openStore({ url });
  const { session } = await fixtures(store).session();
  const bridge = await AdapterBridge.open(store, session.id, adapter);
  t.after(() => bridge.end());
  const debugSessionId = bridge.debugSession.id;
  const readView = () => store.debug.get({ debugSessionId });
  const topOf = async () => {
    const { threads, debugSession } = await readView();
    return threads.find(({ threadId }) => threadId === debugSession.stopThreadId)?.frames[0];
  };

  const first = await bridge.launch({ program, cwd: folder, disableASLR: false }, async () => {
    await bridge.setBreakpoints(path, [{ line: lineOf("total += square") }, { line: lineOf("printf") - 1 }]);
    await bridge.setFunctionBreakpoints([{ name: "square", condition: "n == 3" }]);
  });
  assert.ok(first !== undefined);
  const atFirst = await readView();
  assert.deepEqual([atFirst.debugSession.state, atFirst.debugSession.stopReason], ["stopped", "breakpoint"]);
  assert.equal(atFirst.debugSession.capabilities?.supportsConfigurationDoneRequest, true);
  const bySource = atFirst.breakpoints.filter(({ kind }) => kind === "source");
  assert.deepEqual(
    bySource.map(({ line, verified, bound }) => [line, verified, bound?.line]),
    [
      [lineOf("total += square"), true, lineOf("total += square")],
      [lineOf("printf") - 1, true, lineOf("printf")],
    ],
  );
  const top = await topOf();
  assert.deepEqual([top?.name, top?.line, top?.source?.path], ["main", lineOf("total += square"), path]);
  const variables = new Map(
    top?.scopes?.flatMap(({ variables = [] }) => variables).map((variable) => [variable.name, variable]),
  );
  assert.deepEqual([variables.get("i")?.value, variables.get("total")?.value], ["1", "0"]);
  assert.deepEqual([variables.get("password")?.value, variables.get("password")?.masked], ["***", true]);

  const inside = await bridge.move("stepIn", first);
  assert.deepEqual([(await topOf())?.name.replace(/\(.*/, ""), inside !== undefined], ["square", true]);
  const over = await bridge.move("next", inside as NonNullable<typeof inside>);
  assert.equal((await topOf())?.line, lineOf("return result"));
  const out = await bridge.move("stepOut", over as NonNullable<typeof over>);
  assert.equal((await topOf())?.name, "main");

  // While the program is stopped, the breakpoint on the line with code is removed.
  await bridge.setBreakpoints(path, [{ line: lineOf("printf") - 1 }]);
  const conditional = await bridge.move("continue", out as NonNullable<typeof out>);
  const third = await topOf();
  assert.equal(third?.scopes?.flatMap(({ variables = [] }) => variables).find(({ name }) => name === "n")?.value, "3");
  const moved = await bridge.move("continue", conditional as NonNullable<typeof conditional>);
  assert.equal((await topOf())?.line, lineOf("printf"));
  assert.equal(await bridge.move("continue", moved as NonNullable<typeof moved>), undefined);
  await bridge.end();
  const before = await store.debug.get({ debugSessionId, events: 500 });
  await store.close();

  const again = await openStore({ url, migrate: "never" });
  t.after(() => again.close());
  const view = await again.debug.get({ debugSessionId, events: 500 });
  assert.deepEqual(view, before);
  assert.deepEqual([view.debugSession.state, view.debugSession.exitCode, view.stopEpochs.length], ["terminated", 0, 6]);
  assert.ok(
    view.events.some(({ event, body }) => event === "output" && String(body?.output).includes("the sum is 30")),
  );
  assert.ok(!JSON.stringify(view).includes("hunter2"));
});
