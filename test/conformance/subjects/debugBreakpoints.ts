// Breakpoints that a client asks for and an adapter binds, and those that the adapter makes by itself.
import assert from "node:assert/strict";
import type { Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { subject } from "../suite.ts";

const sourcePath = "/srv/main.js";

async function running(store: Store) {
  const { debugSessionId, adapterRun, debugSession } = await fixtures(store).debugSession();
  const run = { debugSessionId, adapterRun };
  let seq = 1;
  const event = (name: string, body: Record<string, unknown>) =>
    store.debug.applyEvent({ ...run, seq: ++seq, event: name, body });
  return {
    ...{ run, debugSessionId, debugSession, event },
    report: (reason: string, breakpoint: object) => event("breakpoint", { reason, breakpoint }),
    set: (breakpoints: Parameters<Store["debug"]["setBreakpoints"]>[0]["breakpoints"], path = sourcePath) =>
      store.debug.setBreakpoints({ debugSessionId, sourcePath: path, breakpoints }),
    bind: (row: { readonly id: string } | undefined, breakpoint: { id?: number; verified: boolean; line?: number }) =>
      store.debug.bindBreakpoints({ ...run, bound: [{ breakpointId: row?.id as string, breakpoint }] }),
    hit: (...hitBreakpointIds: number[]) => event("stopped", { reason: "breakpoint", threadId: 1, hitBreakpointIds }),
    async rows() {
      const { breakpoints, debugSession: row } = await store.debug.get({ debugSessionId });
      assert.equal(row.breakpointCount, breakpoints.length);
      return breakpoints;
    },
  };
}

const place = (line: number, path = sourcePath) => ({ line, source: { path } });

export function debugBreakpointsConformance(backend: TestedBackend): void {
  subject(backend, "debug breakpoints", ({ test, alone }) => {
    test("an adapter's breakpoint is told from a client's, and is removed when the adapter removes it", async ({
      store,
    }) => {
      const { set, report, rows } = await running(store);
      const [mine] = await set([{ line: 10 }]);
      for (let n = 0; n < 2; n++) await report("new", { id: 9, verified: true, ...place(10) });
      await report("changed", { id: 9, verified: true, line: 11 });
      assert.deepEqual(
        (await rows()).map(({ origin, line, adapterId, bound }) => [origin, line, adapterId, bound]),
        [
          ["client", 10, null, null],
          ["adapter", 10, 9, { id: 9, verified: true, line: 11, source: { path: sourcePath } }],
        ],
      );
      // What a client sets in the same file leaves it alone.
      assert.deepEqual(
        (await set([{ line: 10 }, { line: 11 }])).map(({ origin, line }) => [origin, line]),
        [
          ["client", 10],
          ["client", 11],
        ],
      );
      assert.equal((await rows()).length, 3);
      await report("removed", { id: 9, verified: false });
      assert.deepEqual((await rows()).map(({ id }) => id)[0], mine?.id);
      assert.deepEqual(
        (await rows()).map(({ origin }) => origin),
        ["client", "client"],
      );
    });

    test("an adapter's breakpoint without an id is one row for each place", async ({ store }) => {
      const { report, rows } = await running(store);
      for (const line of [3, 3, 4]) await report("new", { verified: true, ...place(line) });
      await report("new", { verified: true, ...place(3, "file:///srv/main.js") });
      assert.deepEqual(
        (await rows()).map(({ line }) => line),
        [3, 4],
      );
      await report("removed", { verified: true, ...place(3) });
      assert.deepEqual(
        (await rows()).map(({ line }) => line),
        [4],
      );
    });

    test("the answer that binds an adapter's breakpoint takes it over, with its hits and its stop", async ({
      store,
    }) => {
      const { debugSessionId, set, bind, report, hit, rows } = await running(store);
      const [mine] = await set([{ line: 4 }]);
      await report("new", { id: 7, verified: false, ...place(5) });
      await hit(7);
      await report("changed", { id: 7, verified: true });
      await bind(mine, { id: 7, verified: false });
      const [row, ...others] = await rows();
      assert.deepEqual([row?.id, row?.origin, row?.hitCount, row?.verified, others], [mine?.id, "client", 1, true, []]);
      assert.deepEqual(row?.bound, { id: 7, verified: true, line: 5, source: { path: sourcePath } });
      const { debugSession, threads } = await store.debug.get({ debugSessionId });
      assert.deepEqual([debugSession.hitBreakpointIds, threads[0]?.hitBreakpointIds], [[mine?.id], [mine?.id]]);
      await hit(7);
      assert.equal((await rows())[0]?.hitCount, 2);
    });

    test("an answer is later than what the adapter has reported before the breakpoint was set", async ({ store }) => {
      const { set, bind, report, hit, rows } = await running(store);
      await report("new", { id: 7, verified: false, ...place(5) });
      await report("changed", { id: 8, verified: false, message: "old" });
      await hit(8);
      const [one, two] = await set([{ line: 5 }, { line: 6 }]);
      await bind(one, { id: 7, verified: true, line: 5 });
      await bind(two, { id: 8, verified: true });
      assert.deepEqual(
        (await rows()).map(({ bound, hitCount }) => [bound, hitCount]),
        [
          [{ id: 7, verified: true, line: 5 }, 0],
          [{ id: 8, verified: true }, 0],
        ],
      );
    });

    test("events that overtake the answer to setBreakpoints take effect when it is bound", async ({ store }) => {
      const { set, bind, report, hit, rows } = await running(store);
      const [a, b, c] = await set([{ line: 1 }, { line: 2 }, { line: 3 }]);
      await report("changed", { id: 1, verified: false, message: "pending", line: 8 });
      await report("changed", { id: 1, verified: true, line: 9 });
      await hit(1, 3);
      await hit(3);
      await report("removed", { id: 2, verified: false });
      assert.equal((await rows()).length, 3);
      await bind(a, { id: 1, verified: false, line: 1 });
      await bind(b, { id: 2, verified: true, line: 2 });
      await bind(c, { id: 3, verified: true, line: 3 });
      const after = (await rows()).map(({ verified, adapterId, bound, hitCount }) => [
        ...[verified, adapterId, bound?.line, bound?.message, hitCount],
      ]);
      assert.deepEqual(after, [
        [true, 1, 9, "pending", 1],
        [false, null, undefined, undefined, 0],
        [true, 3, 3, undefined, 2],
      ]);
      // They take effect once.
      await bind(a, { id: 1, verified: true, line: 4 });
      assert.deepEqual((await rows()).map(({ bound, hitCount }) => [bound?.line, hitCount])[0], [4, 1]);
    });

    test("an event changes the attributes that it names, of all breakpoints that the adapter has made one", async ({
      store,
    }) => {
      const { set, bind, report, hit, rows } = await running(store);
      for (const row of await set([{ line: 1 }, { line: 1 }])) await bind(row, { id: 5, verified: false, line: 2 });
      await report("changed", { id: 5, verified: true });
      await hit(5, 5);
      assert.deepEqual(
        (await rows()).map(({ verified, bound, hitCount }) => [verified, bound?.line, hitCount]),
        Array(2).fill([true, 2, 1]),
      );
      await report("removed", { id: 5, verified: true });
      assert.deepEqual(
        (await rows()).map(({ verified, bound, adapterId }) => [verified, bound, adapterId]),
        Array(2).fill([false, null, null]),
      );
    });

    test("a restart drops what the adapter has made and reported, and keeps what clients have set", async ({
      store,
    }) => {
      const { debugSession, set, bind, report, rows } = await running(store);
      const [mine] = await set([{ line: 1 }]);
      await report("new", { id: 9, verified: true, ...place(10) });
      await report("changed", { id: 1, verified: true, line: 7 });
      const { sessionId, name } = debugSession;
      await store.debug.open({ sessionId, name, adapter: "a", restartRun: 1 });
      assert.deepEqual(
        (await rows()).map(({ id, origin, verified }) => [id, origin, verified]),
        [[mine?.id, "client", false]],
      );
      await store.debug.bindBreakpoints({
        ...{ debugSessionId: debugSession.id, adapterRun: 2 },
        bound: [{ breakpointId: mine?.id as string, breakpoint: { id: 1, verified: true, line: 1 } }],
      });
      assert.equal((await rows())[0]?.bound?.line, 1);
      await assert.rejects(bind(mine, { verified: true }), { code: "conflict" });
    });

    test("a breakpoint that is written in another way is the same one", async ({ store }) => {
      const { set, rows } = await running(store);
      const ids = async (breakpoints: Parameters<typeof set>[0], path?: string) =>
        (await set(breakpoints, path)).map(({ id }) => id);
      const first = await ids([{ line: 3, condition: "x" }], "C:\\src\\a b.js");
      const ways = ["c:\\src\\a b.js", "C:/src/a b.js", "file:///C:/src/a%20b.js", "file:///c%3A/src/a%20b.js"];
      for (const path of ways) {
        assert.deepEqual(await ids([{ condition: "x", line: 3 }], path), first, path);
        assert.deepEqual(await ids([{ line: 3, condition: "x", logMessage: undefined }], path), first, path);
      }
      const [added] = (await set([{ line: 4 }, { line: 3, condition: "x" }], "c:/src/a b.js")).map((row) => row);
      assert.equal(added?.sourcePath, "C:\\src\\a b.js");
      for (const other of ["c:\\SRC\\a b.js", "file:///srv/a", "\\\\host\\c\\src\\a b.js"])
        assert.notDeepEqual(await ids([{ line: 3, condition: "x" }], other), first);
      const share = (await rows()).find((row) => row.sourcePath?.startsWith("\\\\host"));
      assert.deepEqual(await ids([{ line: 3, condition: "x" }], "//host/c/src/a b.js"), [share?.id]);
      const plain = await ids([{ line: 1 }], "/srv/a%20b");
      assert.notDeepEqual(await ids([{ line: 1 }], "file:///srv/a%20b"), plain);
      assert.notDeepEqual(await ids([{ line: 1 }], "/SRV/a%20b"), plain);
    });

    test("a request of an exception breakpoint is the same in any order of its fields", async ({ store }) => {
      const { debugSessionId } = await running(store);
      const set = (requested: object) =>
        store.debug.setBreakpoints({ debugSessionId, kind: "exception", breakpoints: [requested as never] });
      const [one] = await set({ breakMode: "always", path: [{ negate: undefined, names: ["Error"] }] });
      const [same] = await set({ path: [{ names: ["Error"] }], breakMode: "always" });
      const [other] = await set({ path: [{ names: ["Error"], negate: true }], breakMode: "always" });
      assert.deepEqual([same?.id === one?.id, other?.id === one?.id], [true, false]);
      assert.deepEqual(one?.requested, { breakMode: "always", path: [{ names: ["Error"] }] });
    });

    alone("reports about breakpoints that are never bound are kept for the last 100", async ({ store }) => {
      const { set, bind, report, rows } = await running(store);
      const [one, two] = await set([{ line: 1 }, { line: 2 }]);
      for (let id = 1; id <= 101; id++) await report("changed", { id, verified: true, message: "early" });
      await bind(one, { id: 1, verified: false });
      await bind(two, { id: 2, verified: false });
      assert.deepEqual(
        (await rows()).map(({ bound }) => bound?.message),
        [undefined, "early"],
      );
    });
  });
}
