// A disk that fills up during a group: acknowledged calls are in the file, failed ones are not, and the store works
// again when there is space.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import Database from "better-sqlite3";
import { newId, openStore, StoreError } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { assertSoundAt } from "../../support/sound.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";

test("when sessions exceed the file's limit, exactly the acknowledged ones are stored, each with its command", async () => {
  const path = join(temporaryFolder(), "store.db");
  const store = await openStore({ url: `sqlite:${path}`, maxBytes: 900_000 });
  const { repository } = await fixtures(store).repository();
  const ids = Array.from({ length: 600 }, () => newId());
  // All calls are made in one tick, so they share groups. Each writes a session, a command and three rows of changes.
  const outcomes = await Promise.allSettled(
    ids.map((id) =>
      store.sessions.create({
        id,
        repositoryId: repository.id,
        commitSha: "a".repeat(40),
        metadata: { filler: "x".repeat(900) },
        commands: [{ argv: ["true"] }],
      }),
    ),
  );
  const acknowledged = new Set(ids.filter((_, index) => outcomes[index]?.status === "fulfilled"));
  const failures = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason as StoreError] : []));
  assert.ok(acknowledged.size > 0, "some calls fit");
  assert.ok(failures.length > 0, "some calls did not fit");
  for (const failure of failures) {
    assert.equal(failure.code, "storage_full");
    assert.equal(failure.outcome, "rolled_back");
  }
  // Reads still work, and return what was acknowledged.
  const listed = new Set<string>();
  for await (const { id } of store.sessions.all({ limit: 500 })) listed.add(id);
  assert.deepEqual(listed, acknowledged);
  await store.close();

  const db = new Database(path, { readonly: true });
  assert.equal(db.pragma("integrity_check", { simple: true }), "ok");
  const count = (sql: string) => db.prepare(sql).pluck().get();
  assert.equal(count("SELECT count(*) FROM sessions"), acknowledged.size);
  assert.equal(count("SELECT count(*) FROM commands"), acknowledged.size);
  assert.equal(count("SELECT count(*) FROM changes WHERE entity = 'session'"), acknowledged.size);
  assert.equal(count("SELECT count(*) FROM changes WHERE entity = 'command'"), acknowledged.size);
  assert.equal(count("SELECT count(*) FROM sessions WHERE next_sequence <> 2 OR queued_commands <> 1"), 0);
  db.close();

  await assertSoundAt(`sqlite:${path}`);
  const larger = await openStore({ url: `sqlite:${path}`, maxBytes: 10_000_000 });
  await larger.sessions.create({ repositoryId: repository.id, commitSha: "a".repeat(40) });
  await larger.close();
});

test("when appends exceed the file's limit, each log is as long as was acknowledged", async () => {
  const path = join(temporaryFolder(), "store.db");
  const store = await openStore({ url: `sqlite:${path}`, maxBytes: 900_000 });
  const f = fixtures(store);
  const { repository } = await f.repository();
  const { runner } = await f.runner();
  const claims = [];
  for (let index = 0; index < 8; index++) {
    const { session } = await f.session({ repositoryId: repository.id, commands: [{ argv: ["true"] }] });
    const claim = await store.commands.claim({ runnerId: runner.id, sessionId: session.id });
    assert.ok(claim);
    claims.push({ commandId: claim.command.id, fence: claim.fence, acknowledged: 0 });
  }
  const data = new Uint8Array(3_000).fill(97);
  let full = 0;
  for (let round = 0; round < 40; round++) {
    // One tick holds appends to eight logs, and a read that must not fail with them.
    const reads = store.runners.list();
    const appends: PromiseSettledResult<{ ackOffset: number }>[] = await Promise.allSettled(
      claims.map(({ commandId, fence, acknowledged }) =>
        store.logs.append({ commandId, fence, offset: acknowledged, data }),
      ),
    );
    assert.equal((await reads).items.length, 1);
    for (const [index, outcome] of appends.entries()) {
      const claim = claims[index] as (typeof claims)[number];
      if (outcome.status === "fulfilled") claim.acknowledged = outcome.value.ackOffset;
      else {
        assert.equal((outcome.reason as StoreError).code, "storage_full");
        full++;
      }
    }
  }
  assert.ok(full > 0, "the limit was reached");
  for (const { commandId, acknowledged } of claims) {
    const page = await store.logs.read({ commandId, maxBytes: 1_000_000 });
    assert.equal(page.nextOffset, acknowledged);
    assert.equal(
      page.chunks.reduce((sum, chunk) => sum + chunk.data.length, 0),
      acknowledged,
    );
  }
  await store.close();
  const db = new Database(path, { readonly: true });
  assert.equal(db.pragma("integrity_check", { simple: true }), "ok");
  db.close();
  await assertSoundAt(`sqlite:${path}`);
});

test("a call that fails after it wrote is undone alone, and the other calls of its group are stored", async () => {
  const store = await openStore({ url: `sqlite:${join(temporaryFolder(), "store.db")}` });
  const { repository } = await fixtures(store).repository();
  const existingId = newId();
  await store.sessions.create({
    id: newId(),
    repositoryId: repository.id,
    commitSha: "a".repeat(40),
    commands: [{ id: existingId, argv: ["true"] }],
  });
  // Each call creates its session and then its command; the command id of the third call exists.
  const ids = Array.from({ length: 5 }, () => newId());
  const outcomes = await Promise.allSettled(
    ids.map((id, index) =>
      store.sessions.create({
        id,
        repositoryId: repository.id,
        commitSha: "a".repeat(40),
        commands: [{ id: index === 2 ? existingId : newId(), argv: ["true"] }],
      }),
    ),
  );
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ["fulfilled", "fulfilled", "rejected", "fulfilled", "fulfilled"],
  );
  const [, , failed] = outcomes;
  assert.ok(failed?.status === "rejected" && failed.reason instanceof StoreError);
  assert.equal(failed.reason.code, "conflict");
  assert.equal(failed.reason.outcome, "rolled_back");
  await assert.rejects(store.sessions.get({ sessionId: ids[2] as string }), { code: "not_found" });
  const { changes } = await store.changes.since({ entity: "session" });
  assert.equal(changes.length, 5);
  await store.close();
});
