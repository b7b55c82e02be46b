// The migration 0003_lookups: changes of a worktree get the session that used it, and no other change does.
import assert from "node:assert/strict";
import { test } from "node:test";
import { openStore } from "../../../src/index.ts";
import { downgrade, upgrade } from "../../../src/migrate/upgrade.ts";
import { readMigrations } from "../../../src/schema/migrationFiles.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { assertSoundAt } from "../../support/sound.ts";
import { migrationFolder, withDatabase, withMigrator } from "./migrationFolder.ts";

test("a change of a worktree gets the session that held it with that fencing token", async () => {
  const { url, path } = migrationFolder([]);
  const store = await openStore({ url });
  const { repository } = await fixtures(store).repository({ maxWorktrees: 1 });
  const sessions: string[] = [];
  for (let n = 0; n < 2; n++) {
    const { session, lease } = await fixtures(store).session({ repositoryId: repository.id, reserve: { owner: "o" } });
    if (lease?.match === "created") await store.worktrees.ready({ worktreeId: lease.worktree.id, fence: lease.fence });
    await store.sessions.complete({ sessionId: session.id });
    sessions.push(session.id);
  }
  await store.worktrees.reserve({ repositoryId: repository.id, owner: "no session" });
  await store.close();
  const index = readMigrations("sqlite").findIndex(({ name }) => name === "lookups");
  const revision = readMigrations("sqlite")[index]?.revision as string;
  const below = readMigrations("sqlite")[index - 1]?.revision as string;
  const rows = () =>
    withDatabase(
      path,
      (db) =>
        db.prepare("SELECT * FROM changes ORDER BY seq").all() as {
          entity: string;
          op: string;
          session_id: string | null;
        }[],
    );
  const after = rows();
  await withMigrator({ url }, (migrator) => downgrade(migrator, below, { backup: false, allowDataLoss: true }));
  // Rows as an older version wrote them.
  withDatabase(path, (db) =>
    db.exec("UPDATE changes SET session_id = NULL WHERE entity = 'worktree' AND op <> 'release'"),
  );
  assert.notDeepEqual(rows(), after);
  await withMigrator({ url }, (migrator) => upgrade(migrator, revision, { backup: false }));
  assert.deepEqual(rows(), after);
  assert.deepEqual(
    after
      .filter(({ entity }) => entity === "worktree")
      .map(({ op, session_id }) => [op, session_id === null ? null : sessions.indexOf(session_id)]),
    [
      ["create", 0],
      ["ready", 0],
      ["release", 0],
      ["reserve", 1],
      ["release", 1],
      ["reserve", null],
    ],
  );
  await withMigrator({ url }, (migrator) => upgrade(migrator, "head", { backup: false }));
  await assertSoundAt(url);
});

test("one call reads the history of a session past any number of other changes, and a watch starts at its end", async () => {
  const { url, path } = migrationFolder([]);
  const store = await openStore({ url });
  const { session } = await fixtures(store).session();
  const made = await store.changes.since({ sessionId: session.id });
  withDatabase(path, (db) =>
    db.exec(`WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 25000)
      INSERT INTO changes (at, entity, entity_id, op, entity_version) SELECT n, 'runner', n, 'update', n FROM numbers`),
  );
  await store.sessions.complete({ sessionId: session.id });
  const page = await store.changes.since({ after: made.nextSeq, sessionId: session.id });
  assert.deepEqual(
    page.changes.map(({ op }) => op),
    ["end"],
  );
  assert.equal(page.nextSeq, made.nextSeq + 25_001);
  const none = await store.changes.since({ after: made.nextSeq, sessionId: session.repositoryId });
  assert.deepEqual(none, { changes: [], nextSeq: page.nextSeq });
  await store.close();
});
