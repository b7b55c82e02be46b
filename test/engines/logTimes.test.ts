// Timelines of logs in states that no operation shows: archived before the index had times, and being pruned in steps.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openStore } from "../../src/index.ts";
import { fixtures } from "../../src/testing/index.ts";
import { MemoryArchive } from "../support/memoryArchive.ts";
import { places } from "./migrate/places.ts";

describe("logs without a timeline", { concurrency: true }, () => {
  for (const dialect of ["sqlite", "postgres"] as const)
    it(`are one that is being pruned, and one that was archived without times, on ${dialect}`, async (t) => {
      const place = await places[dialect]();
      const store = await openStore({ url: place.url, logArchive: new MemoryArchive() });
      t.after(async () => {
        await store.close();
        await place.remove();
      });
      const { command, fence } = await fixtures(store).claim();
      const log = { commandId: command.id, fence };
      await store.logs.append({ ...log, offset: 0, data: new TextEncoder().encode("a line\n") });
      await store.commands.finish({ ...log, outcome: "succeeded" });
      const { commandId } = log;
      await place.run("UPDATE attempts SET log_state = 'pruned'");
      assert.deepEqual((await store.logs.timeline({ commandId })).buckets, []);
      await place.run("UPDATE attempts SET log_state = 'sealed'");
      await store.logs.archive({ commandId, waitMs: 60_000 });
      assert.notDeepEqual((await store.logs.timeline({ commandId })).buckets, []);
      await place.run("UPDATE log_blocks SET times = NULL");
      const { buckets, endOffset, state } = await store.logs.timeline({ commandId });
      assert.deepEqual([buckets, endOffset, state], [[], 7, "sealed"]);
      assert.equal((await store.logs.read({ commandId })).chunks[0]?.data.byteLength, 7);
    });
});
