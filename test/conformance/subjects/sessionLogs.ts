// The log of a session: marks, and one sequence over the logs of all attempts that is exact wherever it is cut.
import assert from "node:assert/strict";
import fc from "fast-check";
import { newId, type SessionLogItem, type Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { bytes, collect, fails, parked, subject, take, text } from "../suite.ts";

type Input = Parameters<Store["logs"]["followSession"]>[0];

export function sessionLogsConformance(backend: TestedBackend): void {
  subject(backend, "session logs", ({ test, alone }) => {
    /** Returns an open session with commands, and a function that claims and writes. */
    const opened = async (store: Store, { commands = 2, maxParallel = 2, maxAttempts = 1 } = {}) => {
      const { session } = await fixtures(store).session({
        maxParallel,
        commands: Array.from({ length: commands }, () => ({ argv: ["true"], maxAttempts })),
      });
      const { runner } = await fixtures(store).runner();
      const sessionId = session.id;
      const claim = async (ttlMs = 60_000) => {
        const claimed = await store.commands.claim({ runnerId: runner.id, sessionId, ttlMs });
        assert.ok(claimed !== undefined);
        const held = { commandId: claimed.command.id, fence: claimed.fence };
        let offset = 0;
        const write = async (data: string, stream: "stdout" | "stderr" | "system" = "stdout") => {
          offset = (await store.logs.append({ ...held, offset, stream, data: bytes(data) })).ackOffset;
        };
        const finish = () => store.commands.finish({ ...held, outcome: "succeeded", logOffset: offset });
        return { ...held, runnerId: runner.id, write, finish };
      };
      const end = () => store.sessions.complete({ sessionId });
      return { sessionId, claim, end };
    };
    const shown = (item: SessionLogItem): string => {
      if (item.kind === "output") return `${item.stream}:${text(item.data)}`;
      if (item.kind === "mark") return `mark:${item.phase}:${item.text}`;
      return item.kind === "ended" ? `ended:${item.outcome}` : "started";
    };
    const follow = (store: Store, input: Input) => store.logs.followSession(input);
    const read = async (store: Store, input: Input) => (await collect(follow(store, input))).map(shown);

    test("shows marks, starts, output and ends in the order of their times", async ({ store, clock }) => {
      const { sessionId, claim, end } = await opened(store);
      await store.logs.mark({ sessionId, phase: "checkout", text: "worktree 1" });
      clock.advance(1);
      const first = await claim();
      await store.logs.mark({ sessionId, phase: "run", commandId: first.commandId, fence: first.fence });
      clock.advance(1);
      await first.write("one\n");
      clock.advance(1);
      const second = await claim();
      await second.write("two\n", "stderr");
      clock.advance(1);
      await first.write("three\n");
      clock.advance(1);
      await second.finish();
      clock.advance(1);
      await first.finish();
      await end();
      const items = await collect(follow(store, { sessionId }));
      assert.deepEqual(items.map(shown), [
        "mark:checkout:worktree 1",
        "started",
        "mark:run:null",
        "stdout:one\n",
        "started",
        "stderr:two\n",
        "stdout:three\n",
        "ended:succeeded",
        "ended:succeeded",
      ]);
      const [checkout, started, run, output, , , , ended] = items;
      const at = (item: SessionLogItem | undefined) => item?.at.getTime() as number;
      assert.ok(at(started) - at(checkout) >= 1 && at(ended) - at(output) >= 3);
      const { commandId, runnerId } = first;
      assert.partialDeepStrictEqual(checkout, { kind: "mark", number: 1, commandId: null, attempt: null });
      assert.partialDeepStrictEqual(run, { number: 2, commandId, attempt: 1 });
      assert.partialDeepStrictEqual(started, { kind: "started", commandId, attempt: 1, runnerId });
      assert.partialDeepStrictEqual(output, { commandId, attempt: 1, offset: 0, startLine: 0, droppedBytes: 0 });
      assert.partialDeepStrictEqual(ended, { exitCode: 0, signal: null, logState: "sealed" });
    });

    test("a mark of a command stands where its log was when it was made, also within one time", async ({ store }) => {
      const { sessionId, claim, end } = await opened(store, { commands: 1 });
      const { commandId, fence, write, finish } = await claim();
      const mark = (phase: string) => store.logs.mark({ sessionId, phase, commandId, fence });
      await mark("checkout");
      await write("cloning\n", "system");
      await mark("install");
      await mark("run");
      await write("hello\n");
      await mark("clean");
      await finish();
      await end();
      assert.deepEqual(await read(store, { sessionId }), [
        "started",
        "mark:checkout:null",
        "system:cloning\n",
        "mark:install:null",
        "mark:run:null",
        "stdout:hello\n",
        "mark:clean:null",
        "ended:succeeded",
      ]);
    });

    test("goes on behind any item without a gap or a repetition", async ({ store, clock }) => {
      const { sessionId, claim, end } = await opened(store, { commands: 6, maxParallel: 3 });
      const running = [await claim(), await claim(), await claim()];
      const order = fc.sample(fc.integer({ min: 0, max: 2 }), { numRuns: 30, seed: 7 });
      for (const [turn, index] of order.entries()) {
        if (turn % 7 === 3) await store.logs.mark({ sessionId, text: `mark ${turn}` });
        if (turn % 10 === 5) {
          await running[index]?.finish();
          running[index] = await claim();
        }
        await running[index]?.write(`${turn}\n`.repeat(turn + 1));
        clock.advance(turn % 2);
      }
      for (const { finish } of running) await finish();
      await end();
      const whole = await collect(follow(store, { sessionId }));
      const texts = whole.map(shown);
      assert.equal(whole.filter(({ kind }) => kind === "ended").length, 6);
      for (const [index, { position }] of whole.entries())
        assert.deepEqual(await read(store, { sessionId, after: position }), texts.slice(index + 1));
      assert.deepEqual(await read(store, { sessionId, maxBytes: 1 }), texts, "pages of one item");
    });

    test("shows what is added while it is followed, to all who follow, and ends with the session", async ({
      store,
    }) => {
      const { sessionId, claim, end } = await opened(store);
      const followers = [collect(follow(store, { sessionId })), collect(follow(store, { sessionId }))];
      await store.logs.mark({ sessionId, phase: "checkout" });
      const [first, second] = [await claim(), await claim()];
      const log = [first, second, first, second, second, first];
      for (const [turn, { write }] of log.entries()) await write(`${turn}\n`);
      await Promise.all([first.finish(), second.finish()]);
      await end();
      for (const items of await Promise.all(followers)) {
        const of = (commandId: string) => items.filter((item) => item.commandId === commandId).map(shown);
        assert.deepEqual(of(first.commandId), ["started", "stdout:0\n", "stdout:2\n", "stdout:5\n", "ended:succeeded"]);
        assert.deepEqual(of(second.commandId), [
          "started",
          "stdout:1\n",
          "stdout:3\n",
          "stdout:4\n",
          "ended:succeeded",
        ]);
        assert.equal(items.length, 11);
      }
    });

    test("a follower waits, and is woken by a mark, a start, output and ends", async ({ store }) => {
      const { sessionId, claim, end } = await opened(store, { commands: 1 });
      const items = follow(store, { sessionId });
      const next = async () => {
        const { value } = await items.next();
        return value && shown(value);
      };
      let waiting = next();
      await store.logs.mark({ sessionId, text: "hello" });
      assert.equal(await waiting, "mark:null:hello");
      waiting = next();
      const { write, finish } = await claim();
      assert.equal(await waiting, "started");
      waiting = next();
      await write("a");
      assert.equal(await waiting, "stdout:a");
      waiting = next();
      await finish();
      assert.equal(await waiting, "ended:succeeded");
      const last = next();
      await end();
      assert.equal(await last, undefined);
    });

    test("shows each attempt of a command, and a lost one as lost", async ({ store, clock }) => {
      const { sessionId, claim, end } = await opened(store, { commands: 1, maxAttempts: 2 });
      const lost = await claim(1_000);
      await lost.write("first\n");
      clock.advance(1_001);
      await store.maintenance.reap();
      const again = await claim();
      await again.write("second\n");
      await again.finish();
      await end();
      assert.deepEqual(await read(store, { sessionId }), [
        "started",
        "stdout:first\n",
        "ended:lost",
        "started",
        "stdout:second\n",
        "ended:succeeded",
      ]);
    });

    test("shows only the streams that are asked for, with everything else", async ({ store }) => {
      const { sessionId, claim, end } = await opened(store, { commands: 1 });
      const { write, finish, commandId } = await claim();
      await write("out\n");
      await write("err\n", "stderr");
      await write("sys\n", "system");
      await finish();
      await end();
      assert.deepEqual(await read(store, { sessionId, stream: "stderr" }), [
        "started",
        "stderr:err\n",
        "ended:succeeded",
      ]);
      const two = await read(store, { sessionId, stream: ["stdout", "system"] });
      assert.deepEqual(two, ["started", "stdout:out\n", "system:sys\n", "ended:succeeded"]);
      const page = await store.logs.read({ commandId, stream: "stderr" });
      assert.deepEqual(
        page.chunks.map(({ offset, startLine, data }) => [offset, startLine, text(data)]),
        [[4, 1, "err\n"]],
      );
      assert.deepEqual([page.nextOffset, page.ended], [12, true]);
      const chunks = await collect(store.logs.follow({ commandId, stream: ["system"], until: "ended" }));
      assert.deepEqual(
        chunks.map(({ data }) => text(data)),
        ["sys\n"],
      );
    });

    test("finds a rare stream in a long log, a part of it at a time", async ({ store }) => {
      const { sessionId, claim, end } = await opened(store, { commands: 1 });
      const { write, finish, commandId } = await claim();
      for (let part = 0; part < 80; part++) await write("x".repeat(65_536));
      await write("rare", "stderr");
      await finish();
      await end();
      const page = await store.logs.read({ commandId, stream: "stderr" });
      assert.deepEqual([page.chunks.length, page.ended, page.nextOffset < page.endOffset], [0, false, true]);
      const chunks = await collect(store.logs.follow({ commandId, stream: "stderr" }));
      assert.deepEqual(
        chunks.map(({ data }) => text(data)),
        ["rare"],
      );
      assert.deepEqual(await read(store, { sessionId, stream: "stderr" }), [
        "started",
        "stderr:rare",
        "ended:succeeded",
      ]);
    });

    test("a follower of a stream waits for it while others grow", async ({ store }) => {
      const { sessionId, claim, end } = await opened(store, { commands: 1 });
      const { write, finish } = await claim();
      const errors = take(follow(store, { sessionId, stream: "stderr" }), 2);
      await write("out\n");
      await write("err\n", "stderr");
      assert.deepEqual((await errors).map(shown), ["started", "stderr:err\n"]);
      await finish();
      await end();
    });

    alone("begins at the end when it is asked to", async ({ store }) => {
      const { sessionId, claim, end } = await opened(store);
      await store.logs.mark({ sessionId, text: "before" });
      const [first, second] = [await claim(), await claim()];
      await first.write("before\n");
      await second.finish();
      const pages = follow(store, { sessionId, start: "end" });
      const next = pages.next();
      await parked(store, 1);
      await first.write("after\n");
      assert.equal(shown((await next).value as SessionLogItem), "stdout:after\n");
      await first.finish();
      await end();
      assert.deepEqual((await collect(pages)).map(shown), ["ended:succeeded"]);
      assert.deepEqual(await read(store, { sessionId, start: "end" }), []);
    });

    test("shows the hole in a log that exceeded its limit", async ({ store }) => {
      const { sessionId, claim, end } = await opened(store, { commands: 1 });
      const { write, finish, commandId } = await claim();
      for (let part = 0; part < 270; part++) await write("x".repeat(65_536));
      await finish();
      await end();
      const { droppedBytes } = await store.logs.read({ commandId });
      assert.ok(droppedBytes > 0);
      let [dropped, size] = [0, 0];
      for await (const item of follow(store, { sessionId })) {
        if (item.kind !== "output") continue;
        dropped += item.droppedBytes;
        size += item.data.byteLength;
      }
      assert.deepEqual([dropped, size], [droppedBytes, 270 * 65_536 - droppedBytes]);
    });

    test("a session without work ends its log at once, and an unknown one is not_found", async ({ store }) => {
      const { sessionId, end } = await opened(store);
      await end();
      assert.deepEqual(await read(store, { sessionId }), []);
      await fails(follow(store, { sessionId: newId() }).next(), "not_found", { entity: "session" });
    });

    test("waits for the last active command of a session that is cancelled", async ({ store }) => {
      const { sessionId, claim } = await opened(store, { commands: 1 });
      const { write, commandId, fence } = await claim();
      await store.sessions.cancel({ sessionId });
      const items = collect(follow(store, { sessionId }));
      await write("stopping\n");
      await store.commands.finish({ commandId, fence, outcome: "cancelled" });
      assert.deepEqual((await items).map(shown), ["started", "stdout:stopping\n", "ended:cancelled"]);
    });

    test("a position of another log is invalid_input", async ({ store }) => {
      const { sessionId, claim } = await opened(store, { commands: 1 });
      await claim();
      const [{ position } = assert.fail()] = await take(follow(store, { sessionId }), 1);
      const other = await opened(store, { commands: 1 });
      await fails(follow(store, { sessionId: other.sessionId, after: position }).next(), "invalid_input");
      await fails(follow(store, { sessionId, after: "7.0" }).next(), "invalid_input");
      for (const after of ["", "1", "0.0.", "0.0.1", "-1.0", "0.0.1:x", "0.0 "])
        await fails(async () => await follow(store, { sessionId, after }).next(), "invalid_input");
      await fails(
        async () => await follow(store, { sessionId, after: position, start: "end" }).next(),
        "invalid_input",
      );
    });

    test("a mark under a fencing token is refused when the token is not the current one", async ({ store, clock }) => {
      const { sessionId, claim } = await opened(store, { commands: 1, maxAttempts: 2 });
      const { commandId, fence } = await claim(1_000);
      await fails(store.logs.mark({ sessionId, phase: "run", commandId, fence: fence + 1 }), "lease_lost", {
        currentFence: fence,
      });
      clock.advance(1_001);
      await store.maintenance.reap();
      await fails(store.logs.mark({ sessionId, phase: "run", commandId, fence }), "lease_lost");
      await fails(store.logs.mark({ sessionId, phase: "run", commandId: newId(), fence }), "not_found");
      const other = await opened(store, { commands: 1 });
      await fails(store.logs.mark({ sessionId: other.sessionId, phase: "run", commandId, fence }), "not_found");
    });

    test("an empty mark, half a lease, and a mark of a session that has ended are refused", async ({ store }) => {
      const { sessionId, end } = await opened(store);
      await fails(async () => await store.logs.mark({ sessionId }), "invalid_input");
      await fails(async () => await store.logs.mark({ sessionId, text: "a", commandId: newId() }), "invalid_input");
      await fails(async () => await store.logs.mark({ sessionId, text: "a", fence: 1 }), "invalid_input");
      const cut = await store.logs.mark({ sessionId, text: "a".repeat(1_001) });
      assert.equal(cut.text, `${"a".repeat(999)}…`);
      await end();
      await fails(store.logs.mark({ sessionId, text: "late" }), "invalid_transition", { state: "completed" });
    });

    test("a session keeps 1 000 marks, and all go with it", async ({ store }) => {
      const { sessionId, end } = await opened(store, { commands: 1 });
      const marks = await Promise.all(Array.from({ length: 1_000 }, () => store.logs.mark({ sessionId, text: "a" })));
      assert.deepEqual(
        marks.map(({ number }) => number),
        Array.from({ length: 1_000 }, (_, index) => index + 1),
      );
      await fails(store.logs.mark({ sessionId, text: "a" }), "invalid_input", { marks: 1_000 });
      await end();
      assert.equal((await read(store, { sessionId })).length, 1_000);
      assert.deepEqual(await store.sessions.delete({ sessionId }), { deleted: true });
      await fails(follow(store, { sessionId }).next(), "not_found");
    });

    test("a mark keeps the session active", async ({ store, clock }) => {
      const { session } = await fixtures(store).session({ idleTtlMs: 60_000 });
      clock.advance(50_000);
      await store.logs.mark({ sessionId: session.id, text: "still here" });
      clock.advance(50_000);
      await store.maintenance.reap();
      assert.equal((await store.sessions.get({ sessionId: session.id })).state, "pending");
    });

    alone("many followers of many sessions wait at no cost to each other", async ({ store }) => {
      const sessions = await Promise.all(Array.from({ length: 10 }, () => opened(store, { commands: 1 })));
      const followers = sessions.map(({ sessionId }) => collect(follow(store, { sessionId })));
      await parked(store, 10);
      await Promise.all(
        sessions.map(async ({ claim, end }, index) => {
          const { write, finish } = await claim();
          await write(`${index}\n`);
          await finish();
          await end();
        }),
      );
      const all = await Promise.all(followers);
      for (const [index, items] of all.entries())
        assert.deepEqual(items.map(shown), ["started", `stdout:${index}\n`, "ended:succeeded"]);
    });
  });
}
