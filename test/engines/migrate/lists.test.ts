// The migration 0006_lists, on rows of the version before it: sessions get the account of their token and the outcome of
// the command that ended last.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openStore } from "../../../src/index.ts";
import { downgrade, upgrade } from "../../../src/migrate/upgrade.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { migrate, places } from "./places.ts";
import { assertSoundAtHead } from "./soundAtHead.ts";

describe("0006_lists", () => {
  for (const dialect of ["sqlite", "postgres"] as const) {
    it(`${dialect}: sessions have the account and the last outcome as if they were new`, async (t) => {
      const place = await places[dialect]();
      t.after(() => place.remove());
      const store = await openStore({ url: place.url });
      const rows = fixtures(store);
      const { token } = await rows.token();
      const { session } = await rows.session({ tokenId: token.id, maxParallel: 3 });
      await rows.session();
      const first = await rows.claim({ sessionId: session.id });
      const second = await rows.claim({ sessionId: session.id });
      const { command: waiting } = await rows.command({ sessionId: session.id });
      // The first command ends last of those that have started.
      await store.commands.finish({ commandId: second.command.id, fence: second.fence, outcome: "succeeded" });
      const failed = { outcome: "failed", exitCode: 4, signal: "SIGKILL" } as const;
      await store.commands.finish({ commandId: first.command.id, fence: first.fence, ...failed });
      await store.commands.cancel({ commandId: waiting.id });
      await store.close();
      // Two commands may have ended in one millisecond.
      await place.run(`UPDATE commands SET ended_at = started_at WHERE id = '${second.command.id}'`);

      const read = () =>
        place.query(
          "SELECT id, account_id, last_command_id, last_command_state, last_exit_code, last_signal FROM sessions ORDER BY id",
        );
      const made = await read();
      assert.deepEqual(
        made.map(({ account_id, last_command_id, last_signal }) => [account_id, last_command_id, last_signal]),
        [
          [token.accountId, first.command.id, "SIGKILL"],
          [null, null, null],
        ],
      );
      await migrate(place, (migrator) => downgrade(migrator, "0005", { backup: false, allowDataLoss: true }));
      await migrate(place, (migrator) => upgrade(migrator, "0006", { backup: false }));
      assert.deepEqual(await read(), made);
      await assertSoundAtHead(place);
    });
  }
});
