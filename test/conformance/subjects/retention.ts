// Retention: what has ended goes when its time is over, whole and once; what is pinned or still named stays. The tests
// move the clock.
import assert from "node:assert/strict";
import { newId, type Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { bytes, collect, endOfFeed, fails, subject } from "../suite.ts";

const dayMs = 86_400_000;

/** Prunes, and returns the numbers of rows that went, without the kinds of which none did. */
async function prune(store: Store, input: Parameters<Store["maintenance"]["prune"]>[0] = {}) {
  const { rows } = await store.maintenance.prune(input);
  return Object.fromEntries(Object.entries(rows).filter(([, count]) => count > 0));
}

/** Creates an ended session with a command that has a log, and an artifact. */
async function endedSession(store: Store, input: Parameters<ReturnType<typeof fixtures>["session"]>[0] = {}) {
  const { session, repository } = await fixtures(store).session(input);
  const { claim, runner } = await fixtures(store).claim({ sessionId: session.id });
  const { command, fence } = claim;
  await store.logs.append({ commandId: command.id, fence, offset: 0, data: bytes("one\ntwo\n") });
  await store.commands.finish({ commandId: command.id, fence, outcome: "succeeded" });
  await store.sessions.complete({ sessionId: session.id });
  return { session, repository, command, runner };
}

const artifactOf = (sessionId: string) => ({
  sessionId,
  name: "report",
  sizeBytes: 1,
  sha256: "a".repeat(64),
  uri: "file:///srv/report",
});

export function retentionConformance(backend: TestedBackend): void {
  subject(backend, "retention: settings", ({ alone }) => {
    alone("settings have defaults, change one by one, and null keeps for ever", async ({ store }) => {
      const before = await store.maintenance.retention();
      assert.deepEqual(
        [before.version, before.updatedAt, before.sessionsMs, before.readyArtifactsMs],
        [0, null, 90 * dayMs, null],
      );
      const cursor = await endOfFeed(store);
      const after = await store.maintenance.setRetention({ logsMs: dayMs, changesMs: null, expectedVersion: 0 });
      assert.deepEqual(after, { ...before, logsMs: dayMs, changesMs: null, version: 1, updatedAt: after.updatedAt });
      assert.deepEqual(await store.maintenance.retention(), after);
      assert.deepEqual(await store.maintenance.setRetention({ logsMs: dayMs }), after);
      await fails(store.maintenance.setRetention({ logsMs: 2 * dayMs, expectedVersion: 2 }), "conflict", {
        reason: "version",
        currentVersion: 1,
      });
      await fails(store.maintenance.setRetention({ logsMs: 0 }), "invalid_input");
      assert.equal((await store.maintenance.setRetention({ logsMs: 2 * dayMs, expectedVersion: 1 })).version, 2);
      const { changes } = await store.changes.since({ after: cursor });
      assert.deepEqual(
        changes.map(({ entity, entityId, op, entityVersion, detail }) => [entity, entityId, op, entityVersion, detail]),
        [
          [
            "retention",
            "store",
            "update",
            1,
            { changed: { logsMs: { from: 30 * dayMs, to: dayMs }, changesMs: { from: 30 * dayMs, to: null } } },
          ],
          ["retention", "store", "update", 2, { changed: { logsMs: { from: dayMs, to: 2 * dayMs } } }],
        ],
      );
    });

    alone(
      "a repository has its own times for what it names, and the store's for the rest",
      async ({ store, clock }) => {
        const keeper = await endedSession(store);
        const brief = await endedSession(store);
        const usual = await endedSession(store);
        const { name } = keeper.repository;
        const upserted = await store.repositories.upsert({ name, retention: { sessionsMs: null } });
        assert.deepEqual(upserted.retention, { sessionsMs: null });
        assert.equal(
          (await store.repositories.upsert({ name, retention: { sessionsMs: null } })).version,
          upserted.version,
        );
        await store.repositories.upsert({
          name: brief.repository.name,
          retention: { sessionsMs: dayMs, logsMs: null },
        });
        clock.advance(2 * dayMs);
        assert.deepEqual(await prune(store), { sessions: 1 });
        await fails(store.sessions.get({ sessionId: brief.session.id }), "not_found");
        clock.advance(30 * dayMs);
        assert.deepEqual(await prune(store, { kinds: ["logs"] }), { logs: 2 });
        clock.advance(60 * dayMs);
        assert.deepEqual(await prune(store, { kinds: ["sessions"] }), { sessions: 1 });
        await fails(store.sessions.get({ sessionId: usual.session.id }), "not_found");
        assert.equal((await store.sessions.get({ sessionId: keeper.session.id })).id, keeper.session.id);
        assert.equal((await store.repositories.upsert({ name, retention: null })).retention, null);
        assert.deepEqual(await prune(store, { kinds: ["sessions"] }), { sessions: 1 });
      },
    );
  });

  subject(backend, "retention: what goes", ({ alone }) => {
    alone("a session goes with all that belongs to it, at its time and not before", async ({ store, clock }) => {
      const { session, command } = await endedSession(store, { patchUri: "file:///srv/patch" });
      const { session: open } = await fixtures(store).session();
      await store.artifacts.record(artifactOf(session.id));
      await store.maintenance.setRetention({ sessionsMs: 10 * dayMs });
      clock.advance(10 * dayMs - 60_000);
      assert.deepEqual(await prune(store, { kinds: ["sessions"] }), {});
      clock.advance(60_000);
      const cursor = await endOfFeed(store);
      assert.deepEqual(await prune(store, { kinds: ["sessions"], dryRun: true }), { sessions: 1 });
      assert.equal(await endOfFeed(store), cursor);
      assert.deepEqual(await prune(store, { kinds: ["sessions"] }), { sessions: 1 });
      assert.deepEqual(await prune(store, { kinds: ["sessions"] }), {});
      await fails(store.sessions.get({ sessionId: session.id }), "not_found");
      await fails(store.commands.get({ commandId: command.id }), "not_found");
      assert.deepEqual((await store.artifacts.list({ sessionId: session.id })).items, []);
      assert.equal((await store.sessions.get({ sessionId: open.id })).state, "pending");
      const { changes } = await store.changes.since({ after: cursor });
      assert.deepEqual(
        changes
          .map(({ entity, op, detail }) => [entity, op, detail as { uri?: string; patchUri?: string; rows?: number }])
          .map(([entity, op, detail]) => [
            entity,
            op,
            (detail as { uri?: string }).uri ?? (detail as { patchUri?: string }).patchUri ?? (detail as object),
          ]),
        [
          ["artifact", "delete", "file:///srv/report"],
          ["session", "delete", "file:///srv/patch"],
          ["pruned", "prune", { rows: 1, ids: [] }],
        ],
      );
    });

    alone("a session without a patch is named in the row of its step", async ({ store, clock }) => {
      const { session } = await endedSession(store);
      clock.advance(91 * dayMs);
      const cursor = await endOfFeed(store);
      await prune(store, { kinds: ["sessions"] });
      const { changes } = await store.changes.since({ after: cursor });
      assert.deepEqual(
        changes.map(({ entity, entityId, op, entityVersion, detail }) => [entity, entityId, op, entityVersion, detail]),
        [["pruned", "sessions", "prune", 1, { rows: 1, ids: [session.id] }]],
      );
    });

    alone("a pinned session stays with all that it has, until it is unpinned", async ({ store, clock }) => {
      const { session, command } = await endedSession(store);
      await store.artifacts.record(artifactOf(session.id));
      const { version } = await store.sessions.get({ sessionId: session.id });
      const pinned = await store.sessions.pin({ sessionId: session.id });
      assert.deepEqual([pinned.pinned, pinned.version], [true, version + 1]);
      assert.equal((await store.sessions.pin({ sessionId: session.id })).version, pinned.version);
      await fails(store.sessions.delete({ sessionId: session.id }), "conflict", {
        reason: "pinned",
        sessionId: session.id,
      });
      await store.maintenance.setRetention({ readyArtifactsMs: dayMs });
      clock.advance(400 * dayMs);
      await store.maintenance.reap();
      const kinds = ["sessions", "logs", "debug", "readyArtifacts", "artifacts"] as const;
      assert.deepEqual(await prune(store, { kinds: [...kinds] }), {});
      assert.equal((await store.logs.read({ commandId: command.id })).state, "sealed");
      await store.sessions.pin({ sessionId: session.id, pinned: false });
      assert.deepEqual(await prune(store, { kinds: ["logs"] }), { logs: 1 });
      assert.deepEqual(await prune(store, { kinds: ["sessions"] }), { sessions: 1 });
    });

    alone("a session with a pinned artifact stays", async ({ store, clock }) => {
      const { session } = await endedSession(store);
      const { artifact } = await store.artifacts.record(artifactOf(session.id));
      await store.artifacts.pin({ artifactId: artifact.id });
      clock.advance(91 * dayMs);
      assert.deepEqual(await prune(store, { kinds: ["sessions", "readyArtifacts"] }), {});
      await store.artifacts.pin({ artifactId: artifact.id, pinned: false });
      assert.deepEqual(await prune(store, { kinds: ["sessions"] }), { sessions: 1 });
    });

    alone("a pruned log says so to every reader", async ({ store, clock }) => {
      const { command, session } = await endedSession(store);
      clock.advance(31 * dayMs);
      assert.deepEqual(await prune(store, { kinds: ["logs"] }), { logs: 1 });
      assert.deepEqual(await prune(store, { kinds: ["logs"] }), {});
      const commandId = command.id;
      const gone = { attempt: 1, chunks: [], endOffset: 8, droppedBytes: 8, ended: true, state: "pruned" };
      assert.deepEqual(await store.logs.read({ commandId }), { ...gone, nextOffset: 0 });
      assert.deepEqual(await store.logs.read({ commandId, offset: 4 }), { ...gone, nextOffset: 4 });
      assert.deepEqual(await store.logs.read({ commandId, lastLines: 1 }), { ...gone, nextOffset: 8 });
      assert.deepEqual(await collect(store.logs.follow({ commandId })), []);
      assert.deepEqual(await collect(store.logs.follow({ commandId, until: "ended", lastLines: 2 })), []);
      const { buckets, endOffset, state } = await store.logs.timeline({ commandId });
      assert.deepEqual([buckets, endOffset, state], [[], 8, "pruned"]);
      assert.equal((await store.sessions.get({ sessionId: session.id })).state, "completed");
    });

    alone("ready artifacts go only when that is set, and their rows later", async ({ store, clock }) => {
      const { session } = await fixtures(store).session();
      const { artifact } = await store.artifacts.record(artifactOf(session.id));
      clock.advance(60 * dayMs);
      assert.deepEqual(await prune(store, { kinds: ["readyArtifacts", "artifacts"] }), {});
      await store.maintenance.setRetention({ readyArtifactsMs: 50 * dayMs });
      assert.deepEqual(await prune(store, { kinds: ["readyArtifacts", "artifacts"] }), { readyArtifacts: 1 });
      assert.equal((await store.artifacts.get({ artifactId: artifact.id })).state, "deleted");
      clock.advance(30 * dayMs);
      assert.deepEqual(await prune(store, { kinds: ["artifacts"] }), { artifacts: 1 });
      await fails(store.artifacts.get({ artifactId: artifact.id }), "not_found");
    });

    alone("an ended debug session goes, with its events and stops", async ({ store, clock }) => {
      const { session } = await fixtures(store).session();
      const { id } = await store.debug.open({ sessionId: session.id, name: "d", adapter: "js", request: "launch" });
      await store.debug.close({ debugSessionId: id });
      const open = await store.debug.open({ sessionId: session.id, name: "e", adapter: "js", request: "launch" });
      clock.advance(31 * dayMs);
      assert.deepEqual(await prune(store, { kinds: ["debug"] }), { debug: 1 });
      const { items } = await store.debug.list({ sessionId: session.id });
      assert.deepEqual(
        items.map((row) => row.id),
        [open.id],
      );
    });

    alone("runners, worktrees and tokens go when nothing names them any more", async ({ store, clock }) => {
      const { runner, session } = await endedSession(store);
      const { runner: idle } = await fixtures(store).runner();
      const { worktree } = await fixtures(store).worktree();
      const { repositoryId } = worktree;
      const evicted = await store.worktrees.evict({ repositoryId, worktreeId: worktree.id, owner: "test" });
      await store.worktrees.completeEvict({ worktreeId: worktree.id, fence: evicted?.fence ?? 0 });
      const { token } = await fixtures(store).token();
      const { token: used } = await fixtures(store).token();
      const { session: requested } = await fixtures(store).session({ tokenId: used.id });
      await store.sessions.complete({ sessionId: requested.id });
      for (const { id } of [token, used]) await store.tokens.revoke({ tokenId: id });
      clock.advance(dayMs);
      await store.maintenance.reap();
      await store.maintenance.reap();
      clock.advance(89 * dayMs - 60_000);
      const kinds = ["worktrees", "runners", "tokens"] as const;
      assert.deepEqual(await prune(store, { kinds: [...kinds] }), { worktrees: 1, runners: 1 });
      await fails(store.runners.get({ runnerId: idle.id }), "not_found");
      await fails(store.worktrees.get({ worktreeId: worktree.id }), "not_found");
      clock.advance(60_000);
      assert.deepEqual(await prune(store, { kinds: [...kinds] }), { tokens: 1 });
      assert.equal((await store.runners.get({ runnerId: runner.id })).state, "gone");
      assert.deepEqual(await prune(store, { kinds: ["sessions", ...kinds] }), { sessions: 2, runners: 1, tokens: 1 });
      await fails(store.sessions.get({ sessionId: session.id }), "not_found");
    });
  });

  subject(backend, "retention: files", ({ alone }) => {
    alone("files that no collector has removed are forgotten after a year", async ({ store, clock }) => {
      const { artifact } = await fixtures(store).artifact();
      await store.artifacts.delete({ artifactId: artifact.id });
      clock.advance(365 * dayMs - 60_000);
      assert.deepEqual(await prune(store, { kinds: ["files"] }), {});
      clock.advance(60_000);
      assert.deepEqual(await prune(store, { kinds: ["files"], dryRun: true }), { files: 1 });
      assert.deepEqual(await prune(store, { kinds: ["files"] }), { files: 1 });
      assert.deepEqual((await store.files.list()).items, []);
      assert.deepEqual((await store.maintenance.stats()).rows.discarded_files, {});
    });
  });

  subject(backend, "retention: the change feed", ({ alone }) => {
    alone("changes go up to the floor, and a reader before it is told", async ({ store, clock }) => {
      await fixtures(store).repository();
      const old = await endOfFeed(store);
      clock.advance(20 * dayMs);
      const { repository } = await fixtures(store).repository();
      clock.advance(10 * dayMs - 60_000);
      assert.deepEqual(await prune(store, { kinds: ["changes"] }), {});
      clock.advance(60_000);
      assert.deepEqual(await prune(store, { kinds: ["changes"], dryRun: true }), { changes: old });
      assert.deepEqual(await prune(store, { kinds: ["changes"] }), { changes: old });
      await fails(store.changes.since({ after: 0 }), "feed_truncated", { floor: old, newest: old + 1 });
      const { changes, nextSeq } = await store.changes.since({ after: old });
      assert.deepEqual([changes.map(({ entityId }) => entityId), nextSeq], [[repository.id], old + 1]);
      clock.advance(30 * dayMs);
      assert.deepEqual(await prune(store, { kinds: ["changes"] }), { changes: 1 });
      assert.deepEqual(await prune(store, { kinds: ["changes"] }), {});
      assert.equal(await endOfFeed(store), old + 1);
      assert.deepEqual(await store.changes.since({ after: old + 1 }), { changes: [], nextSeq: old + 1 });
      await fixtures(store).repository();
      assert.equal(await endOfFeed(store), old + 2);
    });

    alone("a consumer that is behind holds changes up until a bound, and is named", async ({ store, clock }) => {
      await fixtures(store).repository();
      await fixtures(store).repository();
      await store.changes.checkpoint({ consumer: "mirror", seq: 1 });
      await store.changes.checkpoint({ consumer: "index", seq: 2 });
      const registered = await store.changes.since({ after: 2 });
      assert.deepEqual(
        registered.changes.map(({ entity, op, detail }) => [entity, op, detail]),
        [
          ["consumer", "create", { name: "mirror" }],
          ["consumer", "create", { name: "index" }],
        ],
      );
      clock.advance(31 * dayMs);
      const held = await store.maintenance.prune({ kinds: ["changes"] });
      assert.deepEqual([held.rows, held.heldBy], [{ changes: 1 }, ["mirror"]]);
      const { consumers } = await store.changes.consumers();
      assert.deepEqual(
        consumers.map(({ name, seq, lag, lagMs }) => [name, seq, lag, lagMs && Math.round(lagMs / dayMs)]),
        [
          ["mirror", 1, 3, 31],
          ["index", 2, 2, 31],
        ],
      );
      await store.changes.checkpoint({ consumer: "mirror", seq: 4 });
      const next = await store.maintenance.prune({ kinds: ["changes"] });
      assert.deepEqual([next.rows, next.heldBy], [{ changes: 1 }, ["index"]]);
      await store.changes.forget({ consumer: "index" });
      await store.changes.forget({ consumer: "index" });
      assert.deepEqual(await prune(store, { kinds: ["changes"] }), { changes: 2 });
      await store.changes.checkpoint({ consumer: "mirror", seq: 0 });
      clock.advance(31 * dayMs);
      assert.deepEqual((await store.maintenance.prune({ kinds: ["changes"] })).heldBy, ["mirror"]);
      clock.advance(30 * dayMs);
      assert.deepEqual(await prune(store, { kinds: ["changes"] }), { changes: 1 });
    });

    alone("a consumer that has missed changes lags behind them, also when none is left", async ({ store, clock }) => {
      await store.changes.checkpoint({ consumer: "mirror", seq: 0 });
      await fixtures(store).repository();
      clock.advance(61 * dayMs);
      assert.deepEqual(await prune(store, { kinds: ["changes"] }), { changes: 2 });
      const lagOf = async () => (await store.changes.consumers()).consumers.map(({ lag, lagMs }) => [lag, lagMs]);
      assert.deepEqual(await lagOf(), [[2, null]]);
      await store.changes.checkpoint({ consumer: "mirror", seq: 2 });
      assert.deepEqual(await lagOf(), [[0, null]]);
    });

    alone("a store knows a hundred consumers", async ({ store }) => {
      for (let n = 0; n < 100; n++) await store.changes.checkpoint({ consumer: `consumer ${n}`, seq: n });
      await fails(store.changes.checkpoint({ consumer: "one more", seq: 0 }), "conflict", { reason: "consumers" });
      await store.changes.checkpoint({ consumer: "consumer 7", seq: 1_000 });
      await store.changes.forget({ consumer: "consumer 8" });
      await store.changes.checkpoint({ consumer: "one more", seq: 0 });
      const { consumers } = await store.changes.consumers();
      assert.deepEqual([consumers.length, consumers[0]?.name, consumers.at(-1)?.seq], [100, "consumer 0", 1_000]);
    });
  });

  subject(backend, "retention: steps", ({ alone }) => {
    alone("small steps remove the same as a large one, and a dry run counts it", async ({ store, clock }) => {
      const { repository } = await fixtures(store).repository();
      for (let n = 0; n < 5; n++) await endedSession(store, n % 2 === 0 ? {} : { repositoryId: repository.id });
      for (let n = 0; n < 3; n++) await fixtures(store).runner();
      const kept = await endedSession(store);
      await store.sessions.pin({ sessionId: kept.session.id });
      clock.advance(31 * dayMs);
      for (let n = 0; n < 2; n++) await store.maintenance.reap();
      clock.advance(31 * dayMs);
      const expected = { logs: 5, runners: 3 };
      const kinds = ["logs", "runners"] as const;
      assert.deepEqual(await prune(store, { kinds: [...kinds], limit: 1, dryRun: true }), expected);
      assert.deepEqual(await prune(store, { kinds: [...kinds], limit: 1 }), expected);
      clock.advance(31 * dayMs);
      const rest = { sessions: 5, runners: 5 };
      assert.deepEqual(await prune(store, { kinds: ["sessions"], limit: 1, dryRun: true }), { sessions: 5 });
      assert.deepEqual(await prune(store, { kinds: ["sessions", "runners"], limit: 1 }), rest);
      assert.equal((await store.logs.read({ commandId: kept.command.id })).state, "sealed");
    });

    alone("a step may end between two attempts of one command", async ({ store, clock }) => {
      const { command, session } = await fixtures(store).command({ maxAttempts: 3 });
      const { runner } = await fixtures(store).runner();
      for (let n = 1; n <= 3; n++) {
        const claim = await store.commands.claim({ runnerId: runner.id, sessionId: session.id });
        const attempt = { commandId: command.id, fence: claim?.fence as number };
        await store.logs.append({ ...attempt, offset: 0, data: bytes(`attempt ${n}\n`) });
        if (n < 3) await store.commands.handBack(attempt);
        else await store.commands.finish({ ...attempt, outcome: "succeeded" });
      }
      await store.sessions.complete({ sessionId: session.id });
      clock.advance(31 * dayMs);
      for (const limit of [2, 3, 4, 100])
        assert.deepEqual(await prune(store, { kinds: ["logs"], limit, dryRun: true }), { logs: 3 });
      assert.deepEqual(await prune(store, { kinds: ["logs"], limit: 2 }), { logs: 3 });
    });

    alone("a large log goes in steps, and until then only lacks its beginning", async ({ store, clock }) => {
      const { claim, session } = await fixtures(store).claim();
      const commandId = claim.command.id;
      for (let n = 0; n < 6; n++)
        await store.logs.append({ commandId, fence: claim.fence, offset: 4 * n, data: bytes(`n:${n}\n`) });
      await store.commands.finish({ commandId, fence: claim.fence, outcome: "succeeded" });
      await store.sessions.complete({ sessionId: session.id });
      clock.advance(31 * dayMs);
      assert.deepEqual(await prune(store, { kinds: ["logs"], limit: 4 }), { logs: 1 });
      assert.equal((await store.logs.read({ commandId })).state, "pruned");
    });

    alone("a key stands for all steps of a call", async ({ store, clock }) => {
      for (let n = 0; n < 5; n++) await fixtures(store).repository();
      clock.advance(31 * dayMs);
      const input = { kinds: ["changes" as const], limit: 2 };
      const [idempotencyKey, other] = [newId(), newId()];
      const first = await store.maintenance.prune(input, { idempotencyKey });
      assert.deepEqual(first.rows, { changes: 5 });
      assert.deepEqual(await store.maintenance.prune(input, { idempotencyKey }), first);
      assert.deepEqual((await store.maintenance.prune(input, { idempotencyKey: other })).rows, { changes: 0 });
      await fails(store.maintenance.prune({ ...input, limit: 3 }, { idempotencyKey }), "idempotency_mismatch");
    });

    alone("a position that no step has returned is refused", async ({ store }) => {
      await fails(store.maintenance.prune({ from: "next" }), "invalid_input");
    });
  });
}
