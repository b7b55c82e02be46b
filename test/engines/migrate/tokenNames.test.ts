// The migration 0007_token_names, down and up again while an expired token has given up its name.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openStore } from "../../../src/index.ts";
import { downgrade, upgrade } from "../../../src/migrate/upgrade.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { assertSound } from "../../support/sound.ts";
import { migrate, places } from "./places.ts";

describe("0007_token_names", () => {
  for (const dialect of ["sqlite", "postgres"] as const) {
    it(`${dialect}: the token that has the name keeps it, and the expired one is revoked by a downgrade`, async (t) => {
      const place = await places[dialect]();
      t.after(() => place.remove());
      const before = await openStore({ url: place.url });
      const { account } = await fixtures(before).account();
      const input = { accountId: account.id, name: "ci", createdBy: await fixtures(before).adminTokenId() };
      const { token: expired } = await fixtures(before).token({ ...input, ttlMs: 60_000 });
      await place.run(`UPDATE tokens SET expires_at = created_at WHERE id = '${expired.id}'`);
      const { token: live, secret } = await fixtures(before).token(input);
      await before.close();
      await migrate(place, (migrator) => downgrade(migrator, "0006", { backup: false, allowDataLoss: true }));
      await migrate(place, (migrator) => upgrade(migrator, "head", { backup: false }));
      const after = await openStore({ url: place.url });
      t.after(() => after.close());
      const rows = (await after.tokens.list({ accountId: account.id })).items;
      assert.deepEqual(
        rows.map(({ id, revokedAt, revokedReason }) => [id, revokedAt instanceof Date, revokedReason]),
        [
          [expired.id, true, "expired"],
          [live.id, false, null],
        ],
      );
      assert.equal((await after.tokens.verify({ token: secret })).tokenId, live.id);
      await assert.rejects(fixtures(after).token(input), { code: "conflict" });
      await assertSound(after);
    });
  }
});
