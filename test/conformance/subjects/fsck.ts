// The check of the store: its steps, its bounds, and what it says of a store that has run.
import assert from "node:assert/strict";
import { checks } from "../../../src/operations/fsck/checks.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { findingsOf } from "../../support/sound.ts";
import { fails, subject } from "../suite.ts";

export function fsck(backend: TestedBackend): void {
  subject(backend, "fsck", ({ test, alone }) => {
    alone(
      "a store with rows of every kind breaks no rule, and neither does one of which a session was deleted",
      async ({ store }) => {
        const rows = fixtures(store);
        await rows.log();
        await rows.worktree();
        await rows.lease();
        const { token } = await rows.token();
        await store.tokens.rotate({ tokenId: token.id });
        await rows.debugStop();
        const { session } = await rows.session({ commands: [{ argv: ["a"] }], idleTtlMs: 60_000, tokenId: token.id });
        await rows.artifact({ sessionId: session.id });
        await rows.artifact();
        await rows.environment();
        const { patch } = await rows.patch();
        await rows.session({ patchHash: patch.sha256 });
        assert.deepEqual(await findingsOf(store), []);
        await store.sessions.cancel({ sessionId: session.id });
        await store.sessions.delete({ sessionId: session.id });
        assert.deepEqual(await findingsOf(store), []);
      },
    );

    alone("a small store is checked in one step, and every row once for each check of its table", async ({ store }) => {
      await fixtures(store).worktree();
      const all = await store.maintenance.fsck();
      assert.deepEqual(all.findings, []);
      assert.equal(all.next, undefined);
      const worktreeChecks = checks.filter(({ name, isDeep = false }) => name.startsWith("worktree-") && !isDeep);
      for (const { name } of worktreeChecks) assert.equal((await store.maintenance.fsck({ check: name })).rows, 1);
      assert.ok(all.rows > worktreeChecks.length);
    });

    alone("a step ends after as many rows as its check allows, and the next one goes on there", async ({ store }) => {
      const check = "repository-worktree-count";
      const rows = fixtures(store);
      for (let count = 0; count < 20; count++) await rows.repository();
      const first = await store.maintenance.fsck({ check });
      assert.equal(first.rows, 16);
      const second = await store.maintenance.fsck({ check, from: first.next });
      assert.deepEqual([second.rows, second.next], [4, undefined]);
      const repair = await store.maintenance.repair({ check });
      assert.deepEqual([repair.rows, repair.next], [16, first.next]);
      assert.deepEqual([repair.repaired, repair.left], [[], []]);
    });

    test("a place of another check, or of nothing, is refused", async ({ store }) => {
      const { fsck: run, repair } = store.maintenance;
      const check = "session-ready";
      const at = `["${"0".repeat(8)}-0000-0000-0000-${"0".repeat(12)}"]`;
      for (const from of ["", "session-ready", "other []", 'session-ready ["a"]', "session-ready [1]", "feed-gap [1]"])
        await fails(run({ check, from }), "invalid_input");
      await fails(repair({ check, from: `session-start ${at}` }), "invalid_input");
      await fails(run({ from: "log-gap [1]" }), "invalid_input");
      await run({ check, from: `session-ready ${at}` });
    });
  });
}
