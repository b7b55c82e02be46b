// The timeline of a log: how many lines and bytes were written when, compared with the chunks of the log.
import assert from "node:assert/strict";
import fc from "fast-check";
import type { Chunk, LogTimeline, Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { Opened, TestedBackend } from "../../support/backends.ts";
import { MemoryArchive } from "../../support/memoryArchive.ts";
import { bytes, collect, fails, subject } from "../suite.ts";

type Log = { readonly commandId: string; readonly fence: number };
type Window = { readonly since?: Date; readonly until?: Date; readonly buckets?: number };

/** Starts a command, and appends parts to its log, each some milliseconds after the one before it. */
async function write({ store, clock }: Opened, parts: readonly (readonly [waitMs: number, text: string])[]) {
  const { session } = await fixtures(store).command();
  const { runner } = await fixtures(store).runner();
  const claim = await store.commands.claim({ runnerId: runner.id, sessionId: session.id, ttlMs: 86_400_000 });
  assert.ok(claim !== undefined);
  const log = { commandId: claim.command.id, fence: claim.fence };
  let offset = 0;
  for (const [waitMs, part] of parts) {
    clock.advance(waitMs);
    ({ ackOffset: offset } = await store.logs.append({ ...log, offset, data: bytes(part) }));
  }
  return log;
}

const seal = (store: Store, log: Log) => store.commands.finish({ ...log, outcome: "succeeded" });

const linesOf = ({ data }: Chunk) => data.filter((byte) => byte === 10).length;

/** Checks a timeline against the chunks of its log, of which none was dropped. */
function check({ buckets, bucketMs, endOffset }: LogTimeline, chunks: readonly Chunk[], window: Window) {
  assert.ok(buckets.length <= (window.buckets ?? 60), `${buckets.length} buckets`);
  const lines = chunks.reduce((sum, chunk) => sum + linesOf(chunk), 0);
  for (const [index, bucket] of buckets.entries()) {
    const [from, to] = [bucket.at.getTime(), bucket.at.getTime() + bucketMs];
    assert.equal(from % bucketMs, 0);
    assert.equal(buckets[index + 1]?.at.getTime() ?? to, to);
    const isFirst = index === 0 && window.since === undefined;
    const isLast = index === buckets.length - 1 && window.until === undefined;
    const within = chunks.filter(({ at }) => (isFirst || at.getTime() >= from) && (isLast || at.getTime() < to));
    const next = isFirst ? chunks[0] : chunks.find(({ at }) => at.getTime() >= from);
    assert.deepEqual(bucket, {
      at: bucket.at,
      offset: next?.offset ?? endOffset,
      line: next?.startLine ?? lines,
      lines: within.reduce((sum, chunk) => sum + linesOf(chunk), 0),
      bytes: within.reduce((sum, { data }) => sum + data.byteLength, 0),
    });
  }
}

export function logTimelineConformance(backend: TestedBackend): void {
  subject(backend, "log timeline", ({ test, alone }) => {
    const archive = new MemoryArchive();

    alone(
      "the timeline of any log counts its chunks, and says the same once the log is archived",
      async (opened) => {
        const { store } = opened;
        const part = fc.tuple(
          fc.oneof(fc.constantFrom(0, 1, 999, 60_000), fc.integer({ min: 0, max: 4_000_000 })),
          fc.constantFrom("one\n", "one\ntwo\n", "\n", "no end", "x".repeat(30_000), `${"line\n".repeat(900)}`),
        );
        const run = async (parts: [number, string][], buckets: number, share: number) => {
          const log = await write(opened, parts);
          await seal(store, log);
          const { commandId } = log;
          const chunks = await collect(store.logs.follow({ commandId }));
          const [first, last] = [chunks[0], chunks.at(-1)].map((chunk) => (chunk as Chunk).at.getTime()) as [
            number,
            number,
          ];
          const middle = new Date(Math.floor(first + (last - first) * share));
          const windows: Window[] = [
            {},
            { buckets },
            { since: middle, buckets },
            { until: middle, buckets },
            { since: new Date(first - 1_000), until: new Date(last + 60_000), buckets },
          ];
          const ask = () => Promise.all(windows.map((window) => store.logs.timeline({ commandId, ...window })));
          const before = await ask();
          for (const [index, window] of windows.entries()) check(before[index] as LogTimeline, chunks, window);
          assert.deepEqual(await store.logs.archive({ commandId, waitMs: 60_000 }), { archived: true });
          const reads = archive.count("get");
          assert.deepEqual(await ask(), before);
          assert.equal(archive.count("get"), reads, "no object is read");
        };
        const parts = fc.array(part, { minLength: 1, maxLength: 12 });
        await fc.assert(
          fc.asyncProperty(parts, fc.integer({ min: 2, max: 80 }), fc.double({ min: 0, max: 1, noNaN: true }), run),
          { numRuns: 8 },
        );
      },
      { logArchive: archive },
    );

    alone("buckets have a length that people count by, and lead to what was written then", async (opened) => {
      const { store } = opened;
      const minute = 60_000;
      const { commandId } = await write(opened, [
        [0, "begin\n"],
        [10 * minute, "a\nb\n"],
        [30 * minute, "c\n"],
        [20 * minute, "end"],
      ]);
      const { attempt, bucketMs, buckets, endOffset, state } = await store.logs.timeline({ commandId });
      assert.deepEqual([attempt, bucketMs, endOffset, state], [1, 2 * minute, 15, "open"]);
      const written = buckets.filter(({ bytes }) => bytes > 0);
      assert.deepEqual(
        written.map(({ offset, line, lines, bytes }) => [offset, line, lines, bytes]),
        [
          [0, 0, 1, 6],
          [6, 1, 2, 4],
          [10, 3, 1, 2],
          [12, 4, 0, 3],
        ],
      );
      for (const { at, offset } of written.slice(1)) {
        const [chunk] = (await store.logs.read({ commandId, offset, maxBytes: 1 })).chunks;
        assert.equal(chunk?.offset, offset);
        assert.ok(chunk.at >= at && chunk.at.getTime() < at.getTime() + bucketMs);
      }
      const wide = await store.logs.timeline({ commandId, buckets: 2, since: new Date(0) });
      assert.equal(wide.bucketMs % 86_400_000, 0);
      assert.ok(wide.buckets.length <= 2);
      assert.equal(
        wide.buckets.reduce((sum, { lines }) => sum + lines, 0),
        4,
      );
    });

    alone(
      "what was dropped from the middle counts before the gap, and the sums are those of the log",
      async (opened) => {
        const { store } = opened;
        const line = `${"x".repeat(8_191)}\n`;
        const log = await write(
          opened,
          Array.from({ length: 50 }, () => [1_000, line]),
        );
        const { endOffset, droppedBytes, buckets } = await store.logs.timeline({ commandId: log.commandId });
        assert.ok(droppedBytes > 100_000);
        assert.equal(endOffset, 50 * 8_192);
        assert.deepEqual(
          [0, 0].map((_, index) => buckets.reduce((sum, { lines, bytes }) => sum + (index === 0 ? lines : bytes), 0)),
          [50, endOffset],
        );
        const { chunks } = await store.logs.read({ commandId: log.commandId, maxBytes: 1_048_576 });
        const gap = chunks.find((chunk) => chunk.droppedBytes > 0) as Chunk;
        assert.ok(buckets.some(({ offset, at }) => offset === gap.offset && at <= gap.at));
      },
      { limits: { logBytes: 262_144 } },
    );

    alone("nothing is left out of the time of the log when the clock is set back", async (opened) => {
      const { store, clock } = opened;
      const sums = async (commandId: string, window: Window = {}) => {
        const { buckets } = await store.logs.timeline({ commandId, ...window });
        return buckets.reduce((sum, { lines }) => sum + lines, 0);
      };
      const log = await write(opened, [[0, "a\n"]]);
      const ofLog = { commandId: log.commandId, fence: log.fence };
      const hourMs = 3_600_000;
      clock.jump(-hourMs);
      await store.logs.append({ ...ofLog, offset: 2, data: bytes("b\n") });
      assert.equal(await sums(log.commandId), 2);
      const early = await write(opened, []);
      clock.jump(-hourMs);
      await store.logs.append({ ...early, offset: 0, data: bytes("before the start\n") });
      assert.equal(await sums(early.commandId), 1);
      assert.equal(await sums(early.commandId, { since: new Date(clock.now() + hourMs / 2) }), 0);
      const late = await write(opened, [[hourMs, "after the end\n"]]);
      clock.jump(-hourMs / 2);
      await seal(store, late);
      assert.equal(await sums(late.commandId), 1);
    });

    test("a log without bytes has no lines, and one without an attempt no buckets", async ({ store }) => {
      const { command: queued } = await fixtures(store).command();
      const none = { bucketMs: 1_000, buckets: [], endOffset: 0, droppedBytes: 0 };
      assert.deepEqual(await store.logs.timeline({ commandId: queued.id }), { attempt: 0, ...none, state: "open" });
      const { command } = await fixtures(store).claim();
      const { attempt, buckets } = await store.logs.timeline({ commandId: command.id });
      assert.equal(attempt, 1);
      assert.ok(buckets.length > 0 && buckets.every(({ lines, bytes, offset }) => lines + bytes + offset === 0));
      await fails(store.logs.timeline({ commandId: command.id, attempt: 2 }), "not_found", { entity: "attempt" });
    });

    test("a time that ends before it begins is refused, and so are too many buckets", async ({ store }) => {
      const { command } = await fixtures(store).claim();
      const at = new Date("2026-11-26T14:00:00Z");
      const ask = (window: Window) => store.logs.timeline({ commandId: command.id, ...window });
      const none = await fails(() => ask({ since: at, until: at }), "invalid_input");
      assert.match(none.message, /until: must be later than since/);
      for (const buckets of [1, 501])
        assert.match((await fails(() => ask({ buckets }), "invalid_input")).message, /buckets/);
    });
  });
}
