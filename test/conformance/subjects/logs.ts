// Logs: appends with offsets and acknowledgements, reads with cursors; no byte is lost or duplicated.
import assert from "node:assert/strict";
import fc from "fast-check";
import { type Chunk, newId, type Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { bytes, collect, fails, subject, text } from "../suite.ts";

export function logsConformance(backend: TestedBackend): void {
  subject(backend, "logs", ({ test, alone }) => {
    const running = async (store: Store, ttlMs = 60_000) => {
      const { session } = await fixtures(store).command();
      const { runner } = await fixtures(store).runner();
      const claim = await store.commands.claim({ runnerId: runner.id, sessionId: session.id, ttlMs });
      assert.ok(claim !== undefined);
      return { commandId: claim.command.id, fence: claim.fence };
    };
    const seal = (store: Store, log: { commandId: string; fence: number }) =>
      store.commands.finish({ ...log, outcome: "succeeded" });
    const written = async (store: Store, ...parts: string[]) => {
      const log = await running(store);
      let offset = 0;
      for (const part of parts) offset = (await store.logs.append({ ...log, offset, data: bytes(part) })).ackOffset;
      return { ...log, offset };
    };
    const textOf = (chunks: readonly Chunk[]) => chunks.map(({ data }) => text(data)).join("");
    const readText = async (store: Store, input: Parameters<Store["logs"]["read"]>[0]) =>
      textOf((await store.logs.read(input)).chunks);

    test("follow from an offset beyond the end waits for the bytes at that offset, and returns none before it", async ({
      store,
    }) => {
      const log = await written(store, "abc");
      const page = await store.logs.read({ commandId: log.commandId, offset: 5 });
      assert.deepEqual([page.chunks, page.nextOffset, page.endOffset, page.ended], [[], 5, 3, false]);
      const followed = collect(store.logs.follow({ commandId: log.commandId, offset: 5 }));
      await store.logs.append({ ...log, offset: 3, data: bytes("defg") });
      await seal(store, { commandId: log.commandId, fence: log.fence });
      assert.equal(textOf(await followed), "fg");
      assert.deepEqual(await collect(store.logs.follow({ commandId: log.commandId, offset: 99 })), []);
    });

    test("appended bytes are read back with their stream, lines and time", async ({ store }) => {
      const log = await running(store);
      assert.deepEqual(await store.logs.append({ ...log, offset: 0, data: bytes("one\ntwo\n") }), {
        ackOffset: 8,
        truncated: false,
      });
      await store.logs.append({ ...log, offset: 8, stream: "stderr", data: bytes("three") });
      const page = await store.logs.read({ commandId: log.commandId });
      assert.deepEqual([page.attempt, page.nextOffset, page.ended, page.state], [1, 13, false, "open"]);
      assert.deepEqual(
        page.chunks.map(({ offset, startLine, stream, data, droppedBytes }) => [
          offset,
          startLine,
          stream,
          text(data),
          droppedBytes,
        ]),
        [
          [0, 0, "stdout", "one\ntwo\n", 0],
          [8, 2, "stderr", "three", 0],
        ],
      );
      assert.ok(page.chunks.every(({ at, data }) => at instanceof Date && data instanceof Uint8Array));
    });

    test("every byte value is read back unchanged", async ({ store }) => {
      const log = await running(store);
      const data = Uint8Array.from({ length: 65_536 }, (_, index) => index % 256);
      await store.logs.append({ ...log, offset: 0, data });
      assert.deepEqual(
        (await store.logs.read({ commandId: log.commandId })).chunks.map((chunk) => [...chunk.data]),
        [[...data]],
      );
    });

    test("the bytes at the moment of the call are stored, even if the buffer changes later", async ({ store }) => {
      const log = await running(store);
      const [reused, handedOn] = [bytes("first\n"), bytes("second\n")];
      const appends = [
        store.logs.append({ ...log, offset: 0, data: reused }),
        store.logs.append({ ...log, offset: 6, stream: "stderr", data: handedOn }),
      ];
      reused.fill(120);
      structuredClone(handedOn.buffer, { transfer: [handedOn.buffer as ArrayBuffer] });
      assert.deepEqual(
        (await Promise.all(appends)).map(({ ackOffset }) => ackOffset),
        [6, 13],
      );
      assert.equal(await readText(store, { commandId: log.commandId }), "first\nsecond\n");
    });

    test("a repeated append in the tick of a new one has its own answer", async ({ store, clock }) => {
      const answers = async (log: { commandId: string; fence: number }) => {
        const calls = [0, 3, 6].map((offset) => store.logs.append({ ...log, offset, data: bytes("abc") }));
        return (await Promise.allSettled(calls)).map((one) =>
          one.status === "fulfilled" ? one.value.ackOffset : one.reason.code,
        );
      };
      const { offset, ...sealed } = await written(store, "abcabc");
      await store.commands.finish({ ...sealed, outcome: "succeeded", logOffset: offset });
      assert.deepEqual(await answers(sealed), [6, 6, "log_sealed"]);
      const { offset: _end, ...lost } = await written(store, "abcabc");
      clock.advance(60_001);
      await store.maintenance.reap();
      assert.deepEqual(await answers(lost), [6, 6, "lease_lost"]);
    });

    test("empty and oversized chunks are invalid_input", async ({ store }) => {
      const log = await running(store);
      await fails(store.logs.append({ ...log, offset: 0, data: new Uint8Array(0) }), "invalid_input");
      await fails(store.logs.append({ ...log, offset: 0, data: new Uint8Array(65_537) }), "invalid_input");
    });

    test("a repeated append is acknowledged and stored once", async ({ store }) => {
      const { offset, ...log } = await written(store, "abc");
      assert.deepEqual(await store.logs.append({ ...log, offset: 0, data: bytes("abc") }), {
        ackOffset: 3,
        truncated: false,
      });
      assert.deepEqual(await store.logs.append({ ...log, offset: 1, data: bytes("b") }), {
        ackOffset: offset,
        truncated: false,
      });
      assert.equal(await readText(store, { commandId: log.commandId }), "abc");
    });

    test("bytes that overlap stored bytes are dropped", async ({ store }) => {
      const { offset, ...log } = await written(store, "a\nb");
      assert.deepEqual(await store.logs.append({ ...log, offset: offset - 1, data: bytes("b\nc\n") }), {
        ackOffset: 6,
        truncated: false,
      });
      const { chunks } = await store.logs.read({ commandId: log.commandId });
      assert.deepEqual(
        chunks.map(({ offset: at, startLine, data }) => [at, startLine, text(data)]),
        [
          [0, 0, "a\nb"],
          [3, 1, "\nc\n"],
        ],
      );
    });

    test("consecutive appends need not wait for each other", async ({ store }) => {
      const log = await running(store);
      const parts = Array.from({ length: 30 }, (_, index) => `${index}\n`.repeat(1_000));
      let offset = 0;
      const calls = parts.map((part) => {
        const call = store.logs.append({ ...log, offset, data: bytes(part) });
        offset += part.length;
        return { call, end: offset };
      });
      for (const { call, end } of calls) assert.ok((await call).ackOffset >= end);
      assert.equal(await readText(store, { commandId: log.commandId }), parts.join(""));
      const lost = parts.map((part) => store.logs.append({ ...log, fence: log.fence + 1, offset, data: bytes(part) }));
      for (const call of lost) await fails(call, "lease_lost", { currentFence: log.fence });
      const strays = [offset + 1, offset + 2, offset + 3].map((at) =>
        store.logs.append({ ...log, offset: at, data: bytes("x") }),
      );
      for (const stray of strays) await fails(stray, "log_gap", { expectedOffset: offset });
    });

    test("appends of one tick to several streams and logs keep their order, with a finish between them", async ({
      store,
    }) => {
      const [log, other] = [await running(store), await running(store)];
      const append = (to: typeof log, offset: number, data: string, stream: "stdout" | "stderr" = "stdout") =>
        store.logs.append({ ...to, offset, stream, data: bytes(data) });
      const calls = [
        append(log, 0, "a"),
        append(log, 1, "b", "stderr"),
        append(other, 0, "x"),
        append(log, 2, "c", "stderr"),
        append(other, 1, "y"),
      ];
      const sealed = seal(store, other);
      const late = append(other, 2, "z");
      assert.deepEqual(
        (await Promise.all(calls)).map(({ ackOffset }) => ackOffset),
        [1, 2, 1, 3, 2],
      );
      await sealed;
      await fails(late, "log_sealed", { nextOffset: 2 });
      const { chunks } = await store.logs.read({ commandId: log.commandId });
      assert.deepEqual(
        chunks.map(({ stream, data }) => [stream, text(data)]),
        [
          ["stdout", "a"],
          ["stderr", "b"],
          ["stderr", "c"],
        ],
      );
    });

    test("a gap is log_gap with the expected offset, and stores nothing", async ({ store }) => {
      const { offset, ...log } = await written(store, "abc");
      await fails(store.logs.append({ ...log, offset: offset + 1, data: bytes("x") }), "log_gap", {
        expectedOffset: offset,
      });
      assert.equal(await readText(store, { commandId: log.commandId }), "abc");
    });

    test("a sealed log refuses new bytes, and acknowledges stored ones", async ({ store }) => {
      const { offset, ...log } = await written(store, "abc");
      await seal(store, log);
      assert.equal((await store.logs.append({ ...log, offset: 0, data: bytes("abc") })).ackOffset, offset);
      await fails(store.logs.append({ ...log, offset, data: bytes("d") }), "log_sealed", { nextOffset: offset });
      await fails(store.logs.append({ ...log, offset: 2, data: bytes("cd") }), "log_sealed");
    });

    test("an append needs the current fence, and a lease that nobody has taken", async ({ store, clock }) => {
      const { offset, ...log } = await written(store, "abc");
      await fails(store.logs.append({ ...log, fence: log.fence + 1, offset, data: bytes("d") }), "lease_lost", {
        currentFence: log.fence,
      });
      await fails(store.logs.append({ commandId: newId(), fence: 1, offset: 0, data: bytes("d") }), "not_found");
      clock.advance(60_001);
      assert.equal((await store.logs.append({ ...log, offset, data: bytes("d") })).ackOffset, offset + 1);
      await store.maintenance.reap();
      const late = store.logs.append({ ...log, offset: offset + 1, data: bytes("e") });
      await fails(late, "lease_lost", { currentFence: log.fence, state: "lost" });
    });

    test("a second attempt has its own log, and the first log is kept", async ({ store, clock }) => {
      const { session, command } = await fixtures(store).command({ maxAttempts: 2 });
      const { runner } = await fixtures(store).runner({ ttlMs: 3_600_000 });
      for (const word of ["first", "second"]) {
        const claim = await store.commands.claim({ runnerId: runner.id, sessionId: session.id });
        await store.logs.append({ commandId: command.id, fence: claim?.fence as number, offset: 0, data: bytes(word) });
        if (word === "first") clock.advance(60_001);
        await store.maintenance.reap();
      }
      assert.equal(await readText(store, { commandId: command.id }), "second");
      assert.equal(await readText(store, { commandId: command.id, attempt: 1 }), "first");
      assert.equal((await store.logs.read({ commandId: command.id, attempt: 1 })).state, "sealed");
      await fails(store.logs.read({ commandId: command.id, attempt: 3 }), "not_found", { entity: "attempt" });
      await fails(store.logs.append({ commandId: command.id, fence: 1, offset: 5, data: bytes("!") }), "lease_lost", {
        currentFence: 2,
      });
    });

    test("read starts at an offset, even within a chunk", async ({ store }) => {
      const { commandId } = await written(store, "ab\ncd\n", "ef\n");
      for (let offset = 0; offset <= 9; offset++)
        assert.equal(await readText(store, { commandId, offset }), "ab\ncd\nef\n".slice(offset));
      const { chunks } = await store.logs.read({ commandId, offset: 4 });
      assert.deepEqual(
        chunks.map(({ offset, startLine }) => [offset, startLine]),
        [
          [4, 1],
          [6, 2],
        ],
      );
    });

    test("read finds a line, and the last lines, however the chunks break", async ({ store }) => {
      for (const whole of ["a\nbb\n\nccc\nd", "a\nbb\n\nccc\nd\n", "\n\n\n", "no line break"]) {
        for (const size of [1, 2, 3, 100]) {
          const { commandId } = await written(store, ...(whole.match(new RegExp(`[^]{1,${size}}`, "g")) as string[]));
          const lines = whole.split(/(?<=\n)/);
          for (let n = 0; n <= lines.length + 1; n++) {
            assert.equal(
              await readText(store, { commandId, line: n }),
              lines.slice(n).join(""),
              `line ${n} of ${JSON.stringify(whole)} by ${size}`,
            );
            const last = n === 0 ? "" : lines.slice(-n).join("");
            assert.equal(
              await readText(store, { commandId, lastLines: n }),
              last,
              `last ${n} of ${JSON.stringify(whole)} by ${size}`,
            );
          }
        }
      }
    });

    test("offset, line and lastLines exclude each other", async ({ store }) => {
      const { commandId } = await written(store, "a");
      await fails(store.logs.read({ commandId, offset: 0, line: 0 }), "invalid_input");
      await fails(store.logs.read({ commandId, line: 0, lastLines: 1 }), "invalid_input");
    });

    test("a long log is read in pages, by nextOffset", async ({ store }) => {
      const parts = Array.from({ length: 100 }, (_, n) => `line ${n}\n`);
      const { offset: _, ...log } = await written(store, ...parts);
      await seal(store, log);
      let [read, pages] = ["", 0];
      for (let offset = 0, ended = false; !ended; pages++) {
        const page = await store.logs.read({ commandId: log.commandId, offset, maxBytes: 100 });
        read += textOf(page.chunks);
        ({ ended, nextOffset: offset } = page);
      }
      assert.equal(read, parts.join(""));
      assert.ok(pages > 5);
    });

    test("the log of a queued command is empty, and that of one cancelled before its start has ended", async ({
      store,
    }) => {
      const { command } = await fixtures(store).command();
      assert.deepEqual(await store.logs.read({ commandId: command.id }), {
        attempt: 0,
        chunks: [],
        nextOffset: 0,
        endOffset: 0,
        droppedBytes: 0,
        ended: false,
        state: "open",
      });
      await store.commands.cancel({ commandId: command.id });
      assert.equal((await store.logs.read({ commandId: command.id })).ended, true);
      assert.deepEqual(await collect(store.logs.follow({ commandId: command.id })), []);
      await fails(store.logs.read({ commandId: newId() }), "not_found");
      await fails(collect(store.logs.follow({ commandId: newId() })), "not_found");
    });

    test("follow returns every byte once while another client appends, and ends when the log is sealed", async ({
      store,
    }) => {
      const { session, command } = await fixtures(store).command();
      const following = [{}, {}, { maxBytes: 1 }].map((input) =>
        collect(store.logs.follow({ commandId: command.id, waitMs: 60_000, ...input })),
      );
      const { runner } = await fixtures(store).runner();
      const claim = await store.commands.claim({ runnerId: runner.id, sessionId: session.id });
      const log = { commandId: command.id, fence: claim?.fence as number };
      let [offset, whole] = [0, ""];
      for (let n = 0; n < 40; n++) {
        const part = `part ${n}\n`;
        whole += part;
        const appended = store.logs.append({ ...log, offset, data: bytes(part) });
        if (n % 3 === 0) await appended;
        offset += part.length;
      }
      following.push(collect(store.logs.follow({ commandId: command.id, offset: 5 })));
      await seal(store, log);
      const [first, second, small, late] = await Promise.all(following);
      for (const chunks of [first, second, small]) assert.equal(textOf(chunks as Chunk[]), whole);
      assert.equal(textOf(late as Chunk[]), whole.slice(5));
      let expected = 0;
      for (const { offset: at, data } of first as Chunk[]) {
        assert.equal(at, expected);
        expected += data.byteLength;
      }
    });

    const attemptsOf = (chunks: readonly Chunk[]) =>
      chunks.map(({ attempt, offset, data }) => [attempt, offset, text(data)]);

    alone(
      "follow ends with its attempt, or goes on with the next ones until the command has ended",
      async ({ store, clock }) => {
        const { command, session } = await fixtures(store).command({ maxAttempts: 4 });
        const commandId = command.id;
        const claim = async () => {
          const { runner } = await fixtures(store).runner();
          const claimed = await store.commands.claim({ runnerId: runner.id, sessionId: session.id, ttlMs: 10_000 });
          return { commandId, fence: claimed?.fence as number };
        };
        const lose = async () => {
          clock.advance(600_000);
          await store.maintenance.reap();
          assert.equal((await store.commands.get({ commandId })).state, "queued");
        };
        const follow = (input: Partial<Parameters<Store["logs"]["follow"]>[0]> = {}) =>
          collect(store.logs.follow({ commandId, waitMs: 3_600_000, ...input }));
        const whole = [{}, { maxBytes: 1 }, { lastLines: 5 }].map((input) => follow({ until: "ended", ...input }));
        const ofFirst = [follow()];
        const first = await claim();
        ofFirst.push(follow());
        await store.logs.append({ ...first, offset: 0, data: bytes("one\n") });
        await lose();
        for (const chunks of await Promise.all(ofFirst)) assert.deepEqual(attemptsOf(chunks), [[1, 0, "one\n"]]);
        const between = [follow({ until: "ended" }), follow({ until: "ended", offset: 4 })];
        assert.deepEqual(attemptsOf(await follow()), [[1, 0, "one\n"]]);
        // The second attempt writes nothing.
        await claim();
        await lose();
        const third = await claim();
        await store.logs.append({ ...third, offset: 0, data: bytes("three\n") });
        await store.logs.append({ ...third, offset: 6, stream: "stderr", data: bytes("end\n") });
        await seal(store, third);
        const end = [
          [3, 0, "three\n"],
          [3, 6, "end\n"],
        ];
        const all = [[1, 0, "one\n"], ...end];
        for (const chunks of await Promise.all(whole)) assert.deepEqual(attemptsOf(chunks), all);
        assert.deepEqual((await Promise.all(between)).map(attemptsOf), [all, end]);
        assert.deepEqual(attemptsOf(await follow({ until: "ended" })), end);
        assert.deepEqual(attemptsOf(await follow({ until: "ended", attempt: 1 })), all);
        assert.deepEqual(attemptsOf(await follow({ until: "ended", attempt: 1, offset: 2 })), [[1, 2, "e\n"], ...end]);
        assert.deepEqual(attemptsOf(await follow({ attempt: 1 })), [[1, 0, "one\n"]]);
        assert.deepEqual(attemptsOf(await follow({ until: "ended", attempt: 2 })), end);
      },
    );

    alone("follow until the end ends when a command is cancelled before its next attempt", async ({ store, clock }) => {
      const { command, fence } = await fixtures(store).claim({ maxAttempts: 2 });
      const commandId = command.id;
      await store.logs.append({ commandId, fence, offset: 0, data: bytes("one\n") });
      const following = store.logs.follow({ commandId, until: "ended", waitMs: 3_600_000 });
      assert.equal((await following.next()).value?.attempt, 1);
      const waiting = following.next();
      clock.advance(600_000);
      await store.maintenance.reap();
      assert.equal((await store.commands.get({ commandId })).state, "queued");
      await store.commands.cancel({ commandId });
      assert.deepEqual(await waiting, { done: true, value: undefined });
      assert.deepEqual(attemptsOf(await collect(store.logs.follow({ commandId, until: "ended" }))), [[1, 0, "one\n"]]);
    });

    test("follow from the last lines returns all that is appended while it waits", async ({ store }) => {
      const log = await running(store);
      const following = collect(store.logs.follow({ commandId: log.commandId, lastLines: 1, waitMs: 3_600_000 }));
      // The answer to a later call shows that the iteration has begun.
      await store.commands.get({ commandId: log.commandId });
      await store.logs.append({ ...log, offset: 0, data: bytes("one\ntwo\nthree\n") });
      await seal(store, log);
      assert.equal(textOf(await following), "one\ntwo\nthree\n");
    });

    test("follow continues after a wait without new bytes", async ({ store }) => {
      const { offset, ...log } = await written(store, "a");
      const stream = store.logs.follow({ commandId: log.commandId, waitMs: 1 });
      assert.equal(text((await stream.next()).value?.data as Uint8Array), "a");
      const next = stream.next();
      await fails(store.commands.wait({ commandId: log.commandId, timeoutMs: 15 }), "deadline_exceeded");
      await store.logs.append({ ...log, offset, data: bytes("b") });
      assert.equal(text((await next).value?.data as Uint8Array), "b");
      await stream.return(undefined);
    });

    alone(
      "a log over its limit loses its middle, which is counted and marked, and keeps its beginning and its end",
      async ({ store }) => {
        const limit = 262_144;
        const log = await running(store);
        const chunk = (n: number) => bytes(`${String(n).padStart(7, "0")}\n`.repeat(2_048));
        let [offset, truncated] = [0, false];
        for (let n = 0; n < 30; n++) {
          const data = chunk(n);
          const answer = await store.logs.append({ ...log, offset, data });
          assert.equal(answer.ackOffset, offset + data.byteLength);
          assert.equal(answer.truncated, answer.ackOffset > limit);
          ({ ackOffset: offset, truncated } = answer);
        }
        assert.equal(truncated, true);
        await store.commands.finish({ ...log, outcome: "succeeded", logOffset: offset });
        const chunks = await collect(store.logs.follow({ commandId: log.commandId }));
        const kept = chunks.reduce((sum, { data }) => sum + data.byteLength, 0);
        const dropped = chunks.reduce((sum, { droppedBytes }) => sum + droppedBytes, 0);
        assert.equal(kept + dropped, offset);
        assert.ok(kept <= limit && kept > limit - 16_384, `${kept}`);
        assert.equal(chunks.filter(({ droppedBytes }) => droppedBytes > 0).length, 1);
        for (const { offset: at, data } of chunks) assert.deepEqual(data, chunk(at / 16_384));
        assert.deepEqual([chunks[0]?.offset, chunks.at(-1)?.offset], [0, offset - 16_384]);
        const lastLine = await store.logs.read({ commandId: log.commandId, lastLines: 1 });
        assert.equal(textOf(lastLine.chunks), "0000029\n");
        assert.deepEqual(await store.logs.append({ ...log, offset: 0, data: chunk(0) }), {
          ackOffset: offset,
          truncated: true,
        });
      },
      { limits: { logBytes: 262_144 } },
    );

    alone(
      "a log of very small chunks returns to its limit in bounded steps",
      async ({ store }) => {
        const log = await running(store, 3_600_000);
        const limit = 262_144;
        let offset = 0;
        const add = async (length: number, options = {}) => {
          const added = store.logs.append({ ...log, offset, data: new Uint8Array(length) }, options);
          offset += length;
          await added;
        };
        await add(65_536);
        await add(65_536);
        // A deadline of its own keeps each append a chunk of its own.
        for (let n = 0; n < 3; n++)
          await Promise.all(Array.from({ length: 1_000 }, () => add(1, { timeoutMs: 60_000 })));
        await add(65_536);
        const sizeOf = async () => {
          const { endOffset, droppedBytes } = await store.logs.read({
            commandId: log.commandId,
            lastLines: 0,
            maxBytes: 1,
          });
          return endOffset - droppedBytes;
        };
        const sizes: number[] = [];
        for (const length of [65_536, 1, 1]) {
          await add(length);
          sizes.push((await sizeOf()) - limit);
        }
        assert.deepEqual(sizes.slice(0, 2), [3_000 - 1_024, 3_001 - 2 * 1_024]);
        assert.ok((sizes[2] as number) <= 0, `${sizes}`);
        const { chunks } = await store.logs.read({ commandId: log.commandId, offset: 65_536 });
        assert.equal(chunks.filter(({ droppedBytes }) => droppedBytes > 0).length, 1);
      },
      { limits: { logBytes: 262_144 } },
    );

    test("random appends and reads behave like a byte string", async ({ store }) => {
      const step = fc.record({
        back: fc.integer({ min: 0, max: 6 }),
        data: fc.uint8Array({ minLength: 1, maxLength: 20 }),
        from: fc.nat(200),
        maxBytes: fc.integer({ min: 1, max: 60 }),
      });
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (steps) => {
          const log = await running(store);
          let whole = new Uint8Array(0);
          for (const { back, data, from, maxBytes } of steps) {
            const overlap = Math.min(back, whole.byteLength);
            const offset = whole.byteLength - overlap;
            // Overlapping bytes are the same bytes, as an honest sender repeats them.
            const sent = Uint8Array.from([...whole.subarray(offset), ...data]);
            whole = Uint8Array.from([...whole, ...data]);
            assert.equal((await store.logs.append({ ...log, offset, data: sent })).ackOffset, whole.byteLength);
            const page = await store.logs.read({ commandId: log.commandId, offset: from, maxBytes });
            const start = Math.min(from, whole.byteLength);
            const read = page.chunks.flatMap((chunk) => [...chunk.data]);
            assert.deepEqual(read, [...whole.subarray(start, page.nextOffset)]);
            assert.ok(read.length >= Math.min(maxBytes, whole.byteLength - start));
          }
        }),
        { numRuns: 25 },
      );
    });
  });
}
