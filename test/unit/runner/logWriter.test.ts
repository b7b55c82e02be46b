// The log writer retries while the store refuses every append.
import assert from "node:assert/strict";
import { test } from "node:test";
import { storeError } from "../../../src/index.ts";
import { LogWriter } from "../../../src/runner/logs/logWriter.ts";
import { fixtures, openTestStore, stubStore } from "../../../src/testing/index.ts";

test("an append is retried while the store is full, once more after the stop, and then never", async () => {
  const real = await openTestStore();
  const { claim } = await fixtures(real).claim();
  await real.close();
  const stop = new AbortController();
  let attempts = 0;
  const store = stubStore({
    logs: {
      append: async () => {
        if (++attempts === 3) stop.abort();
        throw storeError("storage_full", { retryAfterMs: 1 });
      },
    },
  });
  const log = new LogWriter(store, claim, stop.signal);
  await assert.rejects(log.write("stdout", new Uint8Array(1)), { code: "storage_full" });
  await assert.rejects(log.write("stdout", new Uint8Array(1)), { code: "storage_full" });
  assert.equal(attempts, 3);
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
