// The guardian kills the programs of a runner that is killed, that stands still, and whose thread ends.
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { startGuard } from "../../../src/runner/index.ts";
import { guardianScript } from "../../../src/runner/process/guardian.ts";
import { until } from "../faults/until.ts";
import { hasEnded } from "./hasEnded.ts";

const script = new URL("./guardedProgram.ts", import.meta.url);
const programs = process.platform === "linux" ? 2 : 1;

/** Starts a process that runs a program under a guardian, and returns it with the ids of what it has started. */
async function startGuarded(t: TestContext, holdMs: string) {
  const runner = spawn(process.execPath, [fileURLToPath(script), holdMs], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => runner.kill("SIGKILL"));
  let text = "";
  runner.stdout.on("data", (data) => {
    text += data;
  });
  await until(() => text.split("\n").length > programs);
  return { runner, pids: text.trim().split("\n").map(Number) };
}

/** Starts a process group that runs until it is killed. */
function startGroup(t: TestContext): ChildProcess & { readonly pid: number } {
  const group = spawn("sleep", ["60"], { detached: true, stdio: "ignore" });
  t.after(() => group.kill("SIGKILL"));
  return group as ChildProcess & { readonly pid: number };
}

test("the programs of a runner end that is killed", async (t) => {
  const { runner, pids } = await startGuarded(t, "Infinity");
  assert.ok(!pids.some(hasEnded));
  runner.kill("SIGKILL");
  await until(() => pids.every(hasEnded));
});

test("the programs of a runner that stands still end before its lease", async (t) => {
  const { runner, pids } = await startGuarded(t, "3000");
  runner.kill("SIGSTOP");
  assert.ok(!pids.some(hasEnded));
  await until(() => pids.every(hasEnded));
});

test("the programs of a thread end with it, while the process goes on", async () => {
  const thread = new Worker(script, { argv: ["Infinity"] });
  let text = "";
  thread.on("message", (piece: string) => {
    text += piece;
  });
  await until(() => text.split("\n").length > programs);
  await thread.terminate();
  const pids = text.trim().split("\n").map(Number);
  await until(() => pids.every(hasEnded));
});

test("a group lives as long as it is renewed, one that has ended is left alone, and closing kills the rest", async (t) => {
  const guard = await startGuard();
  const [renewed, ended, rest] = [startGroup(t), startGroup(t), startGroup(t)];
  const watched = guard.watch(renewed.pid, 1_500);
  guard.watch(ended.pid, 1_500).end();
  guard.watch(rest.pid, Number.POSITIVE_INFINITY);
  watched.renew(60_000);
  const overdue = startGroup(t);
  guard.watch(overdue.pid, 2_000);
  await until(() => hasEnded(overdue.pid));
  assert.ok(!hasEnded(renewed.pid));
  await guard.close();
  await until(() => hasEnded(renewed.pid) && hasEnded(rest.pid));
  assert.ok(!hasEnded(ended.pid));
  assert.throws(() => guard.watch(1, 1), RangeError);
});

for (const shell of ["dash", "bash"])
  test(`the script runs in ${shell}, and ends with its input`, async (t) => {
    const guardian = spawn(shell, ["-c", guardianScript], { stdio: ["pipe", "ignore", "ignore"], detached: true });
    const error = await Promise.race([once(guardian, "error"), once(guardian, "spawn").then(() => undefined)]);
    if (error !== undefined) return t.skip(`there is no ${shell}`);
    const [overdue, spared, last] = [startGroup(t), startGroup(t), startGroup(t)];
    guardian.stdin.write(`w ${overdue.pid} 50 \nw ${spared.pid} 50 A=b.1\ne ${spared.pid}\nw ${last.pid} - \n`);
    await until(() => hasEnded(overdue.pid));
    assert.ok(!hasEnded(spared.pid) && !hasEnded(last.pid));
    // A signal to the whole group of the guardian, as a service manager sends it.
    process.kill(-(guardian.pid as number), "SIGTERM");
    guardian.stdin.end();
    await once(guardian, "exit");
    await until(() => hasEnded(last.pid));
    assert.ok(!hasEnded(spared.pid));
  });
