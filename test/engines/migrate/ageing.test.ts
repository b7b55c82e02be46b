// The migration 0008_ageing, down and up again while sessions wait for a runner.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openStore } from "../../../src/index.ts";
import { downgrade, upgrade } from "../../../src/migrate/upgrade.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { migrate, places } from "./places.ts";
import { assertSoundAtHead } from "./soundAtHead.ts";

describe("0008_ageing", () => {
  for (const dialect of ["sqlite", "postgres"] as const) {
    it(`${dialect}: sessions that wait for a runner keep their order`, async (t) => {
      const place = await places[dialect]();
      t.after(() => place.remove());
      const store = await openStore({ url: place.url });
      for (const priority of [-3, 0, 1_000]) await fixtures(store).command({ priority });
      await fixtures(store).session();
      await store.close();

      const read = () => place.query("SELECT id, ready_priority, ready_at FROM sessions ORDER BY ready_at, id");
      const ready = await read();
      assert.deepEqual(
        ready.map(({ ready_priority }) => Number(ready_priority ?? Number.NaN)).filter(Number.isFinite),
        [1_000, 0, -3],
      );
      await migrate(place, (migrator) => downgrade(migrator, "0007", { backup: false, allowDataLoss: false }));
      const differing = await place.query(`
        SELECT commands.id FROM sessions JOIN commands ON commands.session_id = sessions.id
        WHERE ready_at <> queued_at OR ready_priority <> priority OR ready_at IS NULL`);
      assert.deepEqual(differing, []);
      await migrate(place, (migrator) => upgrade(migrator, "0008", { backup: false }));
      assert.deepEqual(await read(), ready);
      await assertSoundAtHead(place);
    });
  }
});
