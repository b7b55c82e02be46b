// The migration 0014_places, on rows of the version before it: worktrees get the place of the runner that used them, and
// on the way down no two of them keep one path.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openStore } from "../../../src/index.ts";
import { downgrade, upgrade } from "../../../src/migrate/upgrade.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { migrate, places } from "./places.ts";
import { assertSoundAtHead } from "./soundAtHead.ts";

describe("0014_places", () => {
  for (const dialect of ["sqlite", "postgres"] as const) {
    it(`${dialect}: worktrees are where they were used last, and their paths stay unique`, async (t) => {
      const place = await places[dialect]();
      t.after(() => place.remove());
      const store = await openStore({ url: place.url, limits: { reapEveryMs: 0 } });
      const rows = fixtures(store);
      const { repository } = await rows.repository();
      const repositoryId = repository.id;
      const { runner: local } = await rows.runner();
      const { runner: one } = await rows.runner({ host: "one" });
      const { runner: two } = await rows.runner({ host: "two" });
      const leased = (await rows.lease({ repositoryId, runnerId: one.id })).worktree;
      /** Runs commands of two runners in a worktree, one after the other, and returns it. */
      const used = async (...runners: readonly (typeof one)[]) => {
        const { worktree } = await rows.worktree({ repositoryId, place: "x" });
        for (const { id: runnerId } of runners) {
          const { session, lease } = await rows.session({
            repositoryId,
            reserve: { runnerId, place: "x" },
            commands: [{ argv: ["true"] }],
          });
          assert.equal(lease?.worktree.id, worktree.id);
          const claim = await store.commands.claim({ runnerId, sessionId: session.id });
          const { command, fence } = claim ?? assert.fail();
          await store.commands.finish({ commandId: command.id, fence, outcome: "succeeded", exitCode: 0 });
          await store.sessions.complete({ sessionId: session.id });
          await place.run(
            `UPDATE sessions SET started_at = ${dialect === "sqlite" ? "started_at - 60000" : "started_at - interval '1 minute'"}`,
          );
        }
        await store.worktrees.adopt({ worktreeId: worktree.id, place: worktree.id });
        return worktree;
      };
      const wanted = new Map([
        [leased.id, "one"],
        [(await used(one, two)).id, "two"],
        [(await used(two, one)).id, "one"],
        [(await used(one, local)).id, ""],
        [(await rows.worktree({ repositoryId, place: "never used" })).worktree.id, ""],
      ]);
      const path = "/srv/twins/a";
      const twins = [
        await store.worktrees.register({ repositoryId, path, place: "a" }),
        await store.worktrees.register({ repositoryId, path, place: "b" }),
      ] as const;
      await store.close();
      await migrate(place, (migrator) => downgrade(migrator, "0013", { backup: false, allowDataLoss: true }));
      const pathOf = async (id: string) =>
        (await place.query(`SELECT path FROM worktrees WHERE id = '${id}'`))[0]?.path as string;
      assert.deepEqual(await Promise.all(twins.map(({ id }) => pathOf(id))), [path, `${path}.${twins[1].id}`]);
      await migrate(place, (migrator) => upgrade(migrator, "0014", { backup: false }));
      const runnersOf = await place.query("SELECT host, place FROM runners ORDER BY created_at, id");
      assert.deepEqual(
        runnersOf.map(({ host, place: there }) => [host, there]),
        [
          ["localhost", ""],
          ["one", "one"],
          ["two", "two"],
        ],
      );
      for (const { id, place: there } of await place.query("SELECT id, place FROM worktrees"))
        assert.equal(there, wanted.get(id as string) ?? "", id as string);
      const counts = await place.query("SELECT place, worktree_count FROM repository_places ORDER BY place");
      assert.deepEqual(
        counts.map(({ place: there, worktree_count }) => [there, Number(worktree_count)]),
        [
          ["", 4],
          ["one", 2],
          ["two", 1],
        ],
      );
      await assertSoundAtHead(place);
    });
  }
});
