// The fake runner plays scripted results: every ending that a command may have, on the real operations.
import assert from "node:assert/strict";
import { after, it } from "node:test";
import { type FakeScript, fakeRunner, fixtures, openTestStore, testClock } from "../../../src/testing/index.ts";

const clock = testClock();
const store = await openTestStore({ clock });
after(() => store.close());

async function play(script: FakeScript, commands: Parameters<typeof store.commands.enqueue>[0]["commands"]) {
  const { session } = await fixtures(store).session();
  const rows = await store.commands.enqueue({ sessionId: session.id, commands });
  const runner = await fakeRunner(store, script, { clock });
  const textOf = async (commandId: string, attempt?: number) =>
    (await store.logs.read({ commandId, ...(attempt === undefined ? {} : { attempt }) })).chunks
      .map(({ stream, data }) => `${stream}:${Buffer.from(data).toString()}`)
      .join("");
  return { session, runner, ids: rows.map(({ id }) => id), textOf };
}

const endOf = async (commandId: string) => {
  const { state, exitCode, signal, endReason } = await store.commands.wait({ commandId });
  return [state, exitCode, signal, endReason];
};

it("plays output, exit codes, signals, artifacts and failures to start by the arguments of each command", async () => {
  const { runner, ids, textOf } = await play(
    [
      { argv: ["npm", "test"], output: ["1..2\n", { text: "not ok\n", stream: "stderr" }], exitCode: 1 },
      { argv: ["crash"], signal: "SIGSEGV" },
      { argv: ["missing"], startFails: "missing: no such program", output: ["never"] },
      { argv: ["slow"], outcome: "timed_out", signal: "SIGKILL", reason: "too slow" },
      { argv: ["npm"], artifacts: [{ name: "report.txt", content: "all well", contentType: "text/plain" }] },
    ],
    [["npm", "test", "--all"], ["crash"], ["missing"], ["slow"], ["npm", "run"], ["other"]].map((argv) => ({ argv })),
  );
  const [test = "", crash = "", missing = "", slow = "", npm = "", other = ""] = ids;
  assert.deepEqual(await endOf(test), ["failed", 1, null, null]);
  assert.deepEqual(await endOf(crash), ["failed", null, "SIGSEGV", null]);
  assert.deepEqual(await endOf(missing), ["failed", null, null, "missing: no such program"]);
  assert.deepEqual(await endOf(slow), ["timed_out", null, "SIGKILL", "too slow"]);
  assert.deepEqual(await endOf(npm), ["succeeded", 0, null, null]);
  assert.deepEqual(await endOf(other), [
    "failed",
    null,
    null,
    'the script of the fake runner has nothing for ["other"]',
  ]);
  assert.equal(await textOf(test), "stdout:1..2\nstderr:not ok\n");
  assert.equal(await textOf(missing), "");
  const { items } = await store.artifacts.list({ commandId: npm });
  assert.deepEqual(
    items.map(({ name, state, sizeBytes }) => [name, state, sizeBytes]),
    [["report.txt", "ready", 8]],
  );
  assert.equal(await (await fetch(items[0]?.uri ?? "")).text(), "all well");
  assert.deepEqual(
    runner.commands.map(({ id }) => id),
    ids,
  );
  await runner.close();
  assert.equal((await store.runners.get({ runnerId: runner.runner.id })).state, "draining");
});

it("waits until the test moves the clock, and stops for a cancellation and at the end of a command's time", async () => {
  const { runner, ids, textOf } = await play(
    [{ output: ["begun\n", { text: "an hour later\n", afterMs: 3_600_000 }], afterMs: 3_600_000 }],
    [{ argv: ["a"] }, { argv: ["b"] }, { argv: ["c"], timeoutMs: 7_000_000 }],
  );
  const [first = "", cancelled = "", tooLong = ""] = ids;
  await runner.untilWaiting(first);
  assert.equal(await textOf(first), "stdout:begun\n");
  clock.advance(3_600_000);
  assert.deepEqual((await store.maintenance.reap()).commands, []);
  await runner.untilWaiting(first);
  assert.equal(await textOf(first), "stdout:begun\nstdout:an hour later\n");
  clock.advance(3_600_000);
  assert.deepEqual(await endOf(first), ["succeeded", 0, null, null]);
  await runner.untilWaiting(first);
  await runner.untilWaiting(cancelled);
  await store.commands.cancel({ commandId: cancelled, reason: "unwanted" });
  assert.deepEqual(await endOf(cancelled), ["cancelled", null, "SIGTERM", "unwanted"]);
  await runner.untilWaiting(tooLong);
  clock.advance(7_000_001);
  assert.deepEqual((await endOf(tooLong)).slice(0, 3), ["timed_out", null, "SIGTERM"]);
  await runner.close();
});

it("loses itself with a command, whose next attempt a new runner plays", async () => {
  const { runner, ids, textOf } = await play(
    [
      { attempt: 1, output: ["half"], isLost: true },
      { output: ["whole"], afterMs: 60_000 },
    ],
    [{ argv: ["a"], maxAttempts: 2 }, { argv: ["b"] }],
  );
  const [retried = "", lost = ""] = ids;
  const former = runner.runner.id;
  await runner.untilWaiting(retried);
  clock.advance(60_000);
  assert.equal((await endOf(retried))[0], "succeeded");
  assert.deepEqual([await textOf(retried, 1), await textOf(retried, 2)], ["stdout:half", "stdout:whole"]);
  assert.equal((await endOf(lost))[0], "lost");
  assert.notEqual(runner.runner.id, former);
  assert.equal((await store.runners.get({ runnerId: former })).state, "gone");
  await runner.close();
});

it("hands back what waits when it is closed, and ends with the error of its script", async () => {
  const waiting = await play([{ afterMs: 60_000 }], [{ argv: ["a"], maxAttempts: 2 }]);
  const [id = ""] = waiting.ids;
  await waiting.runner.untilWaiting(id);
  await waiting.runner.close();
  assert.deepEqual((await store.commands.get({ commandId: id })).state, "queued");

  const failing = await fakeRunner(
    store,
    ({ argv }) => {
      throw new Error(`nothing prepared for ${argv}`);
    },
    { clock },
  );
  assert.equal((await endOf(id))[3], "the script of the fake runner failed: Error: nothing prepared for a");
  await assert.rejects(failing.close(), /nothing prepared for a/);
});

it("ends when the store is closed under it", async () => {
  const own = await openTestStore({ clock });
  const runner = await fakeRunner(own, [], { clock });
  await own.close();
  await runner.close();
});
