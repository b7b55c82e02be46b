// The migration 0020_debug_threads, on rows of the version before it: a stop becomes that of its threads, and the way down
// keeps it.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openStore } from "../../../src/index.ts";
import { downgrade, upgrade } from "../../../src/migrate/upgrade.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { migrate, places } from "./places.ts";
import { assertSoundAtHead } from "./soundAtHead.ts";

describe("0020_debug_threads", () => {
  for (const dialect of ["sqlite", "postgres"] as const) {
    it(`${dialect}: stopped debuggers keep their threads, and ended ones are closed`, async (t) => {
      const place = await places[dialect]();
      t.after(() => place.remove());
      const store = await openStore({ url: place.url, limits: { reapEveryMs: 0 } });
      const rows = fixtures(store);
      const { debugSessionId, adapterRun, stopEpoch, view } = await rows.debugStop();
      const run = { debugSessionId, adapterRun };
      const [main] = view.threads;
      await store.debug.applyEvent({ ...run, seq: 0, event: "output", body: { output: "x" } });
      await store.debug.putStop({ ...run, stopEpoch, threads: [{ id: 2, name: "two", frames: main?.frames ?? [] }] });
      const unread = await rows.debugSession();
      const stopped = { event: "stopped", body: { reason: "pause", threadId: 9 } };
      await store.debug.applyEvent({ debugSessionId: unread.debugSessionId, adapterRun: 1, seq: 2, ...stopped });
      const over = await rows.debugSession();
      await store.debug.close({ debugSessionId: over.debugSessionId });
      await store.close();

      await migrate(place, (migrator) => downgrade(migrator, "0019", { backup: false, allowDataLoss: true }));
      const seqs = await place.query(
        `SELECT seq FROM debug_events WHERE debug_session_id = '${debugSessionId}' ORDER BY 1`,
      );
      assert.deepEqual(
        seqs.map(({ seq }) => Number(seq)),
        [1, 2, 3],
      );
      await migrate(place, (migrator) => upgrade(migrator, "head", { backup: false }));

      const again = await openStore({ url: place.url, migrate: "never", limits: { reapEveryMs: 0 } });
      const { threads, debugSession } = await again.debug.get({ debugSessionId });
      assert.deepEqual(threads, [main, { ...main, threadId: 2, name: "two", ...noCause, at: threads[1]?.at }]);
      assert.deepEqual([debugSession.state, debugSession.eventCounts, debugSession.closedAt], ["stopped", null, null]);
      const alone = await again.debug.get({ debugSessionId: unread.debugSessionId });
      assert.deepEqual(
        alone.threads.map(({ threadId, stopReason, at }) => [threadId, stopReason, at]),
        [[9, "pause", null]],
      );
      const { closedAt, endedAt } = (await again.debug.get({ debugSessionId: over.debugSessionId })).debugSession;
      assert.deepEqual(closedAt, endedAt);
      const resumed = await again.debug.patchState({ ...run, expectedEpoch: stopEpoch, state: "running" });
      assert.equal(resumed.state, "running");
      await again.close();
      await assertSoundAtHead(place);
    });
  }
});

const noCause = { stopReason: null, stopDescription: null, hitBreakpointIds: null };
