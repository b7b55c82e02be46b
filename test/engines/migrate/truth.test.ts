// The migration 0005_truth, on rows as the version before it wrote them: what cannot be trusted is cleared, everything
// else is kept, and the way down keeps all that the version before knows.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { newId, openStore } from "../../../src/index.ts";
import { downgrade, upgrade } from "../../../src/migrate/upgrade.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { migrate, type Place, places, type Row } from "./places.ts";

const down = (place: Place) =>
  migrate(place, (migrator) => downgrade(migrator, "0004", { backup: false, allowDataLoss: true }));
const up = (place: Place) => migrate(place, (migrator) => upgrade(migrator, "0005", { backup: false }));

/** The columns that the version before has, so that rows before and after can be compared. */
const tables = [
  "sessions",
  "commands",
  "attempts",
  "artifacts",
  "debug_sessions",
  "worktrees",
  "repositories",
  "tokens",
];

async function contents(place: Place, columns: ReadonlyMap<string, string>): Promise<Record<string, Row[]>> {
  const entries = tables.map(async (table) => {
    const rows = await place.query(`SELECT ${columns.get(table)} FROM ${table} ORDER BY id`);
    return [table, rows.map((row) => ({ ...row }))] as const;
  });
  return Object.fromEntries(await Promise.all(entries));
}

/** Returns the columns of each table, as a list for SELECT. */
async function columnsOf(place: Place): Promise<ReadonlyMap<string, string>> {
  const lists = new Map<string, string>();
  for (const table of tables) {
    const [row] = await place.query(`SELECT * FROM ${table} LIMIT 1`);
    lists.set(table, Object.keys(row ?? assert.fail(`${table} has no row`)).join(", "));
  }
  return lists;
}

const withIds = (rows: readonly Row[] | undefined) => new Map(rows?.map((row) => [row.id as string, row]));

describe("0005_truth", () => {
  for (const dialect of ["sqlite", "postgres"] as const) {
    it(`${dialect}: clears what cannot be trusted, and keeps all other rows, up and down`, async (t) => {
      const place = await places[dialect]();
      t.after(() => place.remove());
      const store = await openStore({ url: place.url });
      const rows = fixtures(store);
      const { token } = await rows.token();
      const { worktree: idle } = await rows.worktree();
      const { session: good } = await rows.session({
        tokenId: token.id,
        requestedBy: "ada",
        metadata: { at: new Date(0) },
      });
      const { session: dangling } = await rows.session({ reserve: { owner: "o" }, idleTtlMs: 60_000 });
      const { command: cancelling, session: ofCommand } = await rows.claim();
      await store.commands.cancel({ commandId: cancelling.id });
      const { command: running, session: ofRunning } = await rows.claim({ timeoutMs: 90_000 });
      const { command: superfluous } = await rows.command({ sessionId: ofRunning.id });
      await store.commands.cancel({ commandId: superfluous.id });
      await rows.artifact({ sessionId: good.id });
      await rows.debugSession({ sessionId: good.id });
      const { worktree: slashed, repository: root } = await (async () => {
        const { repository } = await rows.repository({ worktreeRoot: "/srv/slashed" });
        return { repository, ...(await rows.worktree({ repositoryId: repository.id, path: "/srv/slashed/w" })) };
      })();
      const { worktree: twin } = await rows.worktree({ path: "/srv/twin" });
      const { worktree: otherTwin } = await rows.worktree({ path: "/srv/other" });
      await store.close();

      await down(place);
      // Rows as the version before could have written them.
      await place.run(`
        UPDATE worktrees SET commit_sha = '${"a".repeat(40)}', environment_hash = 'e' WHERE id = '${idle.id}';
        UPDATE worktrees SET path = '/srv/slashed//w/' WHERE id = '${slashed.id}';
        UPDATE worktrees SET path = '/srv/twin/' WHERE id = '${otherTwin.id}';
        UPDATE repositories SET worktree_root = '/srv/slashed/' WHERE id = '${root.id}';
        UPDATE sessions SET token_id = '${newId()}' WHERE id = '${dangling.id}'`);
      const columns = await columnsOf(place);
      const before = await contents(place, columns);

      await up(place);
      const after = await contents(place, columns);
      const changedSessions = withIds(before.sessions);
      changedSessions.set(dangling.id, { ...changedSessions.get(dangling.id), token_id: null });
      assert.equal(
        Number(changedSessions.get(ofRunning.id)?.failed_commands),
        1,
        "cancelled commands counted as failed",
      );
      const zero = dialect === "sqlite" ? 0 : "0";
      changedSessions.set(ofRunning.id, { ...changedSessions.get(ofRunning.id), failed_commands: zero });
      assert.deepEqual(withIds(after.sessions), changedSessions);
      assert.equal(withIds(after.sessions).get(good.id)?.token_id, token.id);
      for (const table of ["commands", "attempts", "artifacts", "debug_sessions", "tokens"]) {
        assert.ok((after[table]?.length ?? 0) > 0, table);
        assert.deepEqual(after[table], before[table], table);
      }
      assert.deepEqual(
        [...withIds(after.worktrees)].map(([id, row]) => [id, row.path, row.commit_sha, row.environment_hash]),
        [...withIds(before.worktrees)].map(([id, row]) => [
          id,
          id === slashed.id ? "/srv/slashed/w" : row.path,
          null,
          null,
        ]),
      );
      assert.deepEqual(
        [twin.id, otherTwin.id].map((id) => withIds(after.worktrees).get(id)?.path),
        ["/srv/twin", "/srv/twin/"],
      );
      assert.equal(withIds(after.repositories).get(root.id)?.worktree_root, "/srv/slashed");
      const stops = await place.query("SELECT id, stop_at, started_at, cancel_requested_at FROM commands ORDER BY id");
      for (const { id, stop_at, started_at, cancel_requested_at } of stops) {
        if (id === running.id) assert.equal(Number(stop_at) - Number(started_at), 90_000);
        else assert.deepEqual(stop_at, id === cancelling.id ? cancel_requested_at : null);
      }
      assert.notEqual(withIds(stops).get(cancelling.id)?.stop_at, null);

      // The store works on these rows: it ends the session with the cancelling command, and deletes one with all its rows.
      await migrate(place, (migrator) => upgrade(migrator, "head", { backup: false }));
      const again = await openStore({ url: place.url });
      assert.deepEqual((await again.sessions.get({ sessionId: good.id })).metadata, { at: new Date(0) });
      assert.equal((await again.sessions.cancel({ sessionId: ofCommand.id })).state, "cancelling");
      await again.sessions.cancel({ sessionId: good.id });
      await again.sessions.delete({ sessionId: good.id });
      assert.deepEqual((await again.artifacts.list({ sessionId: good.id })).items, []);
      assert.deepEqual((await again.debug.list({ sessionId: good.id })).items, []);
      await again.close();

      const upgraded = await contents(place, columns);
      await down(place);
      const downgraded = await contents(place, columns);
      const counts = withIds(downgraded.sessions);
      assert.equal(Number(counts.get(ofRunning.id)?.failed_commands), 1);
      counts.set(ofRunning.id, { ...counts.get(ofRunning.id), failed_commands: zero });
      assert.deepEqual({ ...downgraded, sessions: [...counts.values()] }, upgraded);
      await up(place);
      assert.deepEqual((await contents(place, columns)).sessions, upgraded.sessions);
    });
  }
});
