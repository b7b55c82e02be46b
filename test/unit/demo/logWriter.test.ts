// The log of a command when the store takes nothing.
import assert from "node:assert/strict";
import { test } from "node:test";
import { LogWriter } from "../../../src/demo/logWriter.ts";
import { report } from "../../../src/demo/report.ts";
import { storeError } from "../../../src/index.ts";
import { fixtures, openTestStore, stubStore } from "../../../src/testing/index.ts";

test("a full store is asked again until the stop, then once more, and never again", async () => {
  const real = await openTestStore();
  const { claim } = await fixtures(real).claim();
  await real.close();
  const stop = new AbortController();
  let asked = 0;
  const store = stubStore({
    logs: {
      append: async () => {
        if (++asked === 3) stop.abort();
        throw storeError("storage_full", { retryAfterMs: 1 });
      },
    },
  });
  const log = new LogWriter(store, claim, stop.signal);
  await assert.rejects(log.write("stdout", new Uint8Array(1)), { code: "storage_full" });
  await assert.rejects(log.write("stdout", new Uint8Array(1)), { code: "storage_full" });
  assert.equal(asked, 3);
  const late = new AbortController();
  const waiting = new LogWriter(
    stubStore({ logs: { append: () => Promise.reject(storeError("busy", { retryAfterMs: 600_000 })) } }),
    claim,
    late.signal,
  );
  const written = assert.rejects(waiting.write("stdout", new Uint8Array(1)), { code: "busy" });
  setImmediate(() => late.abort());
  await written;
});

test("a report says whether everything was given back", async () => {
  const store = await openTestStore();
  const { runner } = await fixtures(store).runner();
  const { session } = await fixtures(store).session({
    reserve: { runnerId: runner.id },
    commands: [{ argv: ["true"] }],
  });
  await store.worktrees.ready({ worktreeId: session.worktreeId as string, fence: session.worktreeFence as number });
  const claim = await store.commands.claim({ runnerId: runner.id });
  const isGivenBack = async () =>
    (await report(store, [session.id], { columns: undefined, hasColors: false })).allGivenBack;
  assert.equal(await isGivenBack(), false);
  await store.sessions.cancel({ sessionId: session.id });
  assert.equal(await isGivenBack(), false);
  await store.commands.finish({
    commandId: claim?.command.id as string,
    fence: claim?.fence as number,
    outcome: "cancelled",
  });
  assert.equal(await isGivenBack(), true);
  await store.close();
});
