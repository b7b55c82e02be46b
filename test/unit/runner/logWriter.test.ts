// The log writer against a store that loses requests and answers, and against a real one.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { pipeline } from "node:stream/promises";
import { test } from "node:test";
import fc from "fast-check";
import { StoreError, storeError } from "../../../src/index.ts";
import { logWriter } from "../../../src/runner/index.ts";
import { fixtures, openTestStore, stubStore } from "../../../src/testing/index.ts";

const claim = { commandId: "01900000-0000-7000-8000-000000000000", fence: 1 };
const bytes = (text: string) => new TextEncoder().encode(text);

/** The log of the store as far as a writer can see it. Each append does as the next fate says. */
function unreliableStore(fates: Iterator<"stored" | "busy" | "answer lost" | "late">) {
  let log: { stream: string; data: Buffer }[] = [];
  const length = () => log.reduce((sum, { data }) => sum + data.byteLength, 0);
  const store = stubStore({
    logs: {
      append: async ({ stream = "stdout", offset, data }) => {
        const fate = fates.next().value ?? "stored";
        if (fate === "late") for (let turn = 0; turn < 5; turn++) await Promise.resolve();
        if (fate === "busy") throw storeError("busy", { retryAfterMs: 0 });
        const stored = length();
        if (offset > stored) throw storeError("log_gap", { expectedOffset: stored });
        if (offset + data.byteLength > stored)
          log = [...log, { stream, data: Buffer.from(data.subarray(stored - offset)) }];
        if (fate === "answer lost")
          throw new StoreError("closed", "the answer is lost", { outcome: "unknown", details: { retryAfterMs: 0 } });
        return { ackOffset: Math.max(stored, offset + data.byteLength), truncated: false };
      },
    },
  });
  const textOf = (stream?: string) =>
    Buffer.concat(
      log.filter((part) => stream === undefined || part.stream === stream).map(({ data }) => data),
    ).toString();
  return { store, textOf };
}

test("whatever is lost on the way, each stream is stored whole, once and in order", async () => {
  const fate = fc.constantFrom("stored", "stored", "busy", "answer lost", "late");
  const write = fc.tuple(fc.constantFrom("stdout", "stderr", "system"), fc.string({ maxLength: 12 }));
  await fc.assert(
    fc.asyncProperty(
      fc.array(write, { maxLength: 20 }),
      fc.array(fate, { maxLength: 30 }),
      fc.integer({ min: 1, max: 4 }),
      async (writes, fates, appendsInFlight) => {
        const { store, textOf } = unreliableStore(fates.values());
        const log = logWriter(store, { ...claim, appendsInFlight, bufferBytesMax: 8 });
        for (const [index, [stream, text]] of writes.entries()) {
          const written = log.write(stream, bytes(text));
          if (index % 3 === 0) await written;
        }
        const { offset, sha256 } = await log.end();
        for (const name of ["stdout", "stderr", "system"] as const) {
          const expected = writes.filter(([stream]) => stream === name).map(([, text]) => text);
          assert.equal(textOf(name), Buffer.from(expected.join("")).toString());
        }
        assert.deepEqual(
          [offset, sha256],
          [Buffer.byteLength(textOf()), createHash("sha256").update(textOf()).digest("hex")],
        );
      },
    ),
    { numRuns: 60 },
  );
});

test("an append is retried until the signal fires, which also ends the wait for a retry, and then all fail", async () => {
  const stop = new AbortController();
  let attempts = 0;
  const full = stubStore({
    logs: {
      append: async () => {
        if (++attempts === 3) stop.abort();
        throw storeError("storage_full", { retryAfterMs: 1 });
      },
    },
  });
  const log = logWriter(full, { ...claim, signal: stop.signal });
  await log.write("stdout", new Uint8Array(1));
  await assert.rejects(log.end(), { code: "storage_full" });
  await assert.rejects(log.write("stdout", new Uint8Array(1)), { code: "storage_full" });
  assert.equal(attempts, 3);
  const late = new AbortController();
  const busy = stubStore({ logs: { append: () => Promise.reject(storeError("busy", { retryAfterMs: 600_000 })) } });
  const waiting = logWriter(busy, { ...claim, signal: late.signal });
  const ended = assert.rejects(
    waiting.write("stdout", new Uint8Array(1)).then(() => waiting.end()),
    { code: "busy" },
  );
  setImmediate(() => late.abort());
  await ended;
});

test("a lost lease fails what waits for an answer, and a failure that stays fails everything after it", async () => {
  const silent = stubStore({ logs: { append: () => new Promise(() => undefined) } });
  const lost = new AbortController();
  const log = logWriter(silent, { ...claim, signal: lost.signal, bufferBytesMax: 1 });
  const written = assert.rejects(log.write("stdout", bytes("a")), { code: "aborted" });
  lost.abort("lost");
  await written;
  await assert.rejects(logWriter(silent, { ...claim, signal: lost.signal }).end(), { code: "aborted" });
  let appends = 0;
  const sealed = stubStore({
    logs: {
      append: async () => {
        appends++;
        throw storeError("log_sealed", { nextOffset: 0 });
      },
    },
  });
  const late = logWriter(sealed, claim);
  await late.write("stdout", bytes("a"));
  await assert.rejects(late.end(), { code: "log_sealed" });
  await assert.rejects(late.write("stdout", bytes("b")), { code: "log_sealed" });
  assert.equal(appends, 1);
});

test("a log that the store has less of than it acknowledged is a failure, and no loop", async () => {
  let isFirst = true;
  const store = stubStore({
    logs: {
      append: async ({ offset, data }) => {
        if (!isFirst) throw storeError("log_gap", { expectedOffset: 0 });
        isFirst = false;
        return { ackOffset: offset + data.byteLength, truncated: false };
      },
    },
  });
  const log = logWriter(store, claim);
  await log.write("stdout", bytes("a"));
  await new Promise(setImmediate);
  await log.write("stdout", bytes("b"));
  await assert.rejects(log.end(), { code: "log_gap" });
});

test("a store that does not answer makes writes wait, and what was written meanwhile becomes few appends", async () => {
  const sizes: number[] = [];
  const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
  const store = stubStore({
    logs: {
      append: async ({ offset, data }) => {
        sizes.push(data.byteLength);
        await answered;
        return { ackOffset: offset + data.byteLength, truncated: true };
      },
    },
  });
  const log = logWriter(store, { ...claim, appendsInFlight: 2, bufferBytesMax: 100_000 });
  for (let written = 0; written < 99_000; written += 100) await log.write("stdout", new Uint8Array(100));
  let waits = true;
  const last = log.write("stdout", new Uint8Array(1_000)).then(() => {
    waits = false;
  });
  await new Promise(setImmediate);
  assert.ok(waits, "the buffer is full");
  assert.deepEqual(sizes, [100, 100]);
  answer();
  await last;
  assert.deepEqual([(await log.end()).truncated, log.offset, sizes.slice(2)], [true, 100_000, [65_536, 34_264]]);
});

test("streams of both kinds write to a real store, masked, and a long piece is split", async () => {
  const store = await openTestStore();
  const { claim: claimed } = await fixtures(store).claim();
  const { command, fence } = claimed;
  const log = logWriter(store, { commandId: command.id, fence, secrets: ["hunter22"] });
  await pipeline([bytes("a hun"), bytes("ter22 b\n")], log.nodeWritable("stdout"));
  const web = log.writable("stderr").getWriter();
  await web.write(new Uint8Array(150_000).fill(46));
  await web.close();
  const { offset } = await log.end();
  await store.commands.finish({ commandId: command.id, fence, outcome: "succeeded", exitCode: 0, logOffset: offset });
  const parts: Uint8Array[] = [];
  for await (const { data } of store.logs.follow({ commandId: command.id })) parts.push(data);
  const text = Buffer.concat(parts).toString();
  assert.equal(text, `a *** b\n${".".repeat(150_000)}`);
  await store.close();
});
