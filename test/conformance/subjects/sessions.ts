// Sessions: created all at once or not at all, and ended with everything that belongs to them.
import assert from "node:assert/strict";
import { newId, type Session, type Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { bytes, fails, subject } from "../suite.ts";

const argv = ["true"];

/** Creates a session with a leased worktree, one running command and two queued ones. */
async function busySession(store: Store, input: { autoComplete?: boolean; maxParallel?: number } = {}) {
  const { repository } = await fixtures(store).repository();
  const { runner } = await fixtures(store).runner();
  const { commitSha } = fixtures(store);
  const created = await store.sessions.create({
    repositoryId: repository.id,
    commitSha,
    ...input,
    reserve: { runnerId: runner.id },
    commands: [{ argv }, { argv }, { argv }],
  });
  const lease = created.lease as NonNullable<typeof created.lease>;
  await store.worktrees.ready({ worktreeId: lease.worktree.id, fence: lease.fence });
  const claim = await store.commands.claim({ runnerId: runner.id, sessionId: created.session.id });
  if (claim === undefined) throw new Error("nothing to claim");
  return { repository, runner, session: claim.session, lease, claim, commands: created.commands };
}

export function sessionsConformance(backend: TestedBackend): void {
  subject(backend, "sessions", ({ test }) => {
    const statesOf = async (store: Store, sessionId: string) =>
      (await store.commands.list({ sessionId })).items.map(({ state }) => state).sort();
    const get = (store: Store, { id }: { id: string }) => store.sessions.get({ sessionId: id });

    test("create adds a pending session with defaults", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      const { commitSha } = fixtures(store);
      const { session, lease, commands } = await store.sessions.create({ repositoryId: repository.id, commitSha });
      assert.deepEqual(
        [session.state, session.maxParallel, session.autoComplete, session.nextSequence, session.version],
        ["pending", 1, false, 1, 1],
      );
      assert.deepEqual(
        [session.worktreeId, session.expiresAt, session.endedAt, session.metadata, lease, commands],
        [null, null, null, null, null, []],
      );
    });

    test("create with a reservation and commands creates all of it", async ({ store }) => {
      const { repository, session } = await fixtures(store).session({
        reserve: { owner: "o" },
        commands: [{ argv }, { argv: ["b"] }],
      });
      const { items } = await store.commands.list({ sessionId: session.id });
      assert.deepEqual([session.queuedCommands, session.nextSequence, items.length], [2, 3, 2]);
      const worktree = await store.worktrees.get({ worktreeId: session.worktreeId as string });
      assert.deepEqual(
        [worktree.repositoryId, worktree.fence, worktree.commitSha],
        [repository.id, session.worktreeFence, null],
      );
    });

    test("create names a token that exists, revoked or not", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      const { token } = await fixtures(store).token();
      await store.tokens.revoke({ tokenId: token.id });
      const { commitSha } = fixtures(store);
      const { session } = await store.sessions.create({ repositoryId: repository.id, commitSha, tokenId: token.id });
      assert.equal(session.tokenId, token.id);
      const [id, tokenId] = [newId(), newId()];
      await fails(store.sessions.create({ id, repositoryId: repository.id, commitSha, tokenId }), "not_found", {
        entity: "token",
        id: tokenId,
      });
      await fails(store.sessions.get({ sessionId: id }), "not_found");
    });

    test("create with a reservation without a holder is invalid_input", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      const error = await fails(
        store.sessions.create({ repositoryId: repository.id, commitSha: fixtures(store).commitSha, reserve: {} }),
        "invalid_input",
      );
      assert.match(error.message, /runnerId or an owner/);
    });

    test("create that cannot reserve a worktree creates nothing", async ({ store }) => {
      const { repository } = await fixtures(store).repository({ maxWorktrees: 0 });
      const id = newId();
      const { commitSha } = fixtures(store);
      await fails(
        store.sessions.create({
          id,
          repositoryId: repository.id,
          commitSha,
          reserve: { owner: "o" },
          commands: [{ argv }],
        }),
        "capacity_exhausted",
      );
      await fails(store.sessions.get({ sessionId: id }), "not_found", { entity: "session" });
    });

    test("create with the id of an existing command creates nothing", async ({ store }) => {
      const { command } = await fixtures(store).command();
      const { repository } = await fixtures(store).repository();
      const id = newId();
      const { commitSha } = fixtures(store);
      const input = {
        id,
        repositoryId: repository.id,
        commitSha,
        reserve: { owner: "o" },
        commands: [{ argv }, { id: command.id, argv }],
      };
      await fails(store.sessions.create(input), "conflict", { reason: "exists", commandId: command.id });
      await fails(store.sessions.get({ sessionId: id }), "not_found");
      assert.equal((await store.repositories.get({ repositoryId: repository.id })).worktreeCount, 0);
    });

    test("create with an id that exists is a conflict, and for an unknown repository not_found", async ({ store }) => {
      const { repository, session } = await fixtures(store).session();
      const { commitSha } = fixtures(store);
      await fails(store.sessions.create({ id: session.id, repositoryId: repository.id, commitSha }), "conflict", {
        reason: "exists",
        sessionId: session.id,
      });
      await fails(store.sessions.create({ repositoryId: newId(), commitSha }), "not_found", { entity: "repository" });
    });

    test("the first claim starts a session, and so does touch with start", async ({ store }) => {
      const { session } = await fixtures(store).claim();
      assert.equal(session.state, "running");
      assert.ok(session.startedAt instanceof Date);
      const { session: other } = await fixtures(store).session();
      assert.equal((await store.sessions.touch({ sessionId: other.id })).state, "pending");
      const started = await store.sessions.touch({ sessionId: other.id, start: true });
      assert.deepEqual([started.state, started.version], ["running", other.version + 1]);
      assert.deepEqual((await store.sessions.touch({ sessionId: other.id, start: true })).startedAt, started.startedAt);
    });

    for (const outcome of ["completed", "failed"] as const) {
      test(`complete makes a running session ${outcome}, and a repetition changes nothing`, async ({ store }) => {
        const { session } = await fixtures(store).session();
        await store.sessions.touch({ sessionId: session.id, start: true });
        const ended = await store.sessions.complete({ sessionId: session.id, outcome, reason: "because" });
        assert.deepEqual([ended.state, ended.endReason], [outcome, "because"]);
        assert.ok(ended.endedAt instanceof Date);
        assert.deepEqual(await store.sessions.complete({ sessionId: session.id, outcome }), ended);
        const other = outcome === "completed" ? "failed" : "completed";
        await fails(store.sessions.complete({ sessionId: session.id, outcome: other }), "invalid_transition", {
          state: outcome,
        });
        await fails(store.sessions.cancel({ sessionId: session.id }), "invalid_transition", { state: outcome });
        await fails(store.sessions.touch({ sessionId: session.id }), "invalid_transition", { state: outcome });
        await fails(store.commands.enqueue({ sessionId: session.id, commands: [{ argv }] }), "invalid_transition", {
          state: outcome,
        });
      });
    }

    test("completing a busy session cancels queued commands, and keeps the worktree until running ones stop", async ({
      store,
    }) => {
      const { session, claim, lease, runner } = await busySession(store);
      const ended = await store.sessions.complete({ sessionId: session.id });
      assert.deepEqual([ended.state, ended.queuedCommands, ended.activeCommands], ["completed", 0, 1]);
      assert.deepEqual(await statesOf(store, session.id), ["cancelled", "cancelled", "cancelling"]);
      assert.equal((await store.worktrees.get({ worktreeId: lease.worktree.id })).state, "leased");
      const beat = await store.runners.heartbeat({
        runnerId: runner.id,
        commands: [{ id: claim.command.id, fence: claim.fence }],
      });
      assert.deepEqual(beat.cancel, [claim.command.id]);
      await store.commands.finish({
        commandId: claim.command.id,
        fence: claim.fence,
        outcome: "cancelled",
        release: "clean",
      });
      assert.equal((await store.worktrees.get({ worktreeId: lease.worktree.id })).state, "idle");
      assert.equal((await get(store, session)).state, "completed");
    });

    test("ending a session releases its worktree as dirty, unless it was released before", async ({ store }) => {
      const { lease, worktree } = await fixtures(store).lease();
      await store.worktrees.release({ worktreeId: worktree.id, fence: lease.fence, to: "clean" });
      const { commitSha } = fixtures(store);
      const open = async () =>
        (await store.sessions.create({ repositoryId: worktree.repositoryId, commitSha, reserve: { owner: "o" } }))
          .session;
      const first = await open();
      await store.sessions.cancel({ sessionId: first.id });
      assert.equal((await store.worktrees.get({ worktreeId: worktree.id })).state, "dirty");
      const second = await open();
      assert.equal(second.worktreeId, worktree.id);
      await store.worktrees.release({ worktreeId: worktree.id, fence: second.worktreeFence as number, to: "keep" });
      await store.sessions.cancel({ sessionId: second.id });
      assert.equal((await store.worktrees.get({ worktreeId: worktree.id })).state, "quarantined");
    });

    test("a cancelled session is cancelling until its last active command has ended", async ({ store }) => {
      const { session, claim, lease } = await busySession(store);
      const cancelling = await store.sessions.cancel({ sessionId: session.id, reason: "enough" });
      assert.deepEqual([cancelling.state, cancelling.endedAt, cancelling.endReason], ["cancelling", null, "enough"]);
      assert.deepEqual(await store.sessions.cancel({ sessionId: session.id }), cancelling);
      await fails(store.sessions.complete({ sessionId: session.id }), "invalid_transition", { state: "cancelling" });
      await fails(store.commands.enqueue({ sessionId: session.id, commands: [{ argv }] }), "invalid_transition", {
        state: "cancelling",
      });
      const { session: ended } = await store.commands.finish({
        commandId: claim.command.id,
        fence: claim.fence,
        outcome: "cancelled",
      });
      assert.deepEqual([ended.state, ended.endReason, ended.activeCommands], ["cancelled", "enough", 0]);
      assert.equal((await store.worktrees.get({ worktreeId: lease.worktree.id })).state, "dirty");
      assert.deepEqual(await store.sessions.cancel({ sessionId: session.id }), ended);
    });

    test("cancel ends a session without active commands at once", async ({ store }) => {
      const { session } = await fixtures(store).command();
      const ended = await store.sessions.cancel({ sessionId: session.id });
      assert.equal(ended.state, "cancelled");
      assert.deepEqual(await statesOf(store, session.id), ["cancelled"]);
    });

    test("an autoComplete session ends with its last command: completed if all succeeded, otherwise failed", async ({
      store,
    }) => {
      for (const [outcome, state] of [
        ["succeeded", "completed"],
        ["failed", "failed"],
      ] as const) {
        const { session } = await fixtures(store).session({ autoComplete: true, commands: [{ argv }, { argv }] });
        const { runner } = await fixtures(store).runner();
        for (const [turn, expected] of [outcome, "succeeded"].entries()) {
          const claim = await store.commands.claim({ runnerId: runner.id, sessionId: session.id });
          const finish = {
            commandId: claim?.command.id as string,
            fence: claim?.fence as number,
            outcome: expected as "succeeded",
          };
          const { session: after } = await store.commands.finish(finish);
          assert.equal(after.state, turn === 0 ? "running" : state);
        }
      }
    });

    test("a session without autoComplete stays open after its last command", async ({ store }) => {
      const { claim } = await fixtures(store).claim();
      const { session } = await store.commands.finish({
        commandId: claim.command.id,
        fence: claim.fence,
        outcome: "succeeded",
      });
      assert.equal(session.state, "running");
    });

    test("an idle session expires, unless it is touched in time or a command runs", async ({ store, clock }) => {
      const { session: idle } = await fixtures(store).session({ idleTtlMs: 30_000 });
      const { session: touched } = await fixtures(store).session({ idleTtlMs: 30_000 });
      const { session: active } = await fixtures(store).session({ idleTtlMs: 30_000, commands: [{ argv }] });
      const { runner } = await fixtures(store).runner();
      const claim = await store.commands.claim({ runnerId: runner.id, sessionId: active.id });
      clock.advance(18_000);
      await store.sessions.touch({ sessionId: touched.id });
      clock.advance(18_000);
      const { sessions } = await store.maintenance.reap();
      assert.deepEqual(
        [idle, touched, active].map(({ id }) => sessions.includes(id)),
        [true, false, false],
      );
      const ended = await get(store, idle);
      assert.deepEqual([ended.state, ended.endReason], ["expired", "idle"]);
      await fails(store.sessions.touch({ sessionId: idle.id }), "invalid_transition", { state: "expired" });
      await fails(store.sessions.complete({ sessionId: idle.id }), "invalid_transition", { state: "expired" });
      await store.commands.finish({
        commandId: claim?.command.id as string,
        fence: claim?.fence as number,
        outcome: "succeeded",
      });
    });

    test("a session that expires releases its worktree", async ({ store, clock }) => {
      const { worktree } = await fixtures(store).worktree();
      const { commitSha } = fixtures(store);
      const input = {
        repositoryId: worktree.repositoryId,
        commitSha,
        idleTtlMs: 1_000,
        reserve: { owner: "o", ttlMs: 600_000 },
      };
      const { session } = await store.sessions.create(input);
      clock.advance(1_001);
      await store.maintenance.reap();
      assert.equal((await get(store, session)).state, "expired");
      assert.equal((await store.worktrees.get({ worktreeId: worktree.id })).state, "dirty");
    });

    test("a session is not idle while one of its commands waits for a runner", async ({ store, clock }) => {
      const { session, commands } = await fixtures(store).session({ idleTtlMs: 1_000, commands: [{ argv }] });
      clock.advance(3_600_000);
      await store.maintenance.reap();
      assert.equal((await get(store, session)).state, "pending");
      assert.deepEqual(await statesOf(store, session.id), ["queued"]);
      await store.commands.cancel({ commandId: commands[0]?.id as string });
      clock.advance(1_001);
      await store.maintenance.reap();
      assert.equal((await get(store, session)).state, "expired");
    });

    test("wait returns the session when it has ended, or at once if it had ended before", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const waiting = store.sessions.wait({ sessionId: session.id });
      const ended = await store.sessions.cancel({ sessionId: session.id });
      assert.deepEqual(await waiting, ended);
      assert.deepEqual(await store.sessions.wait({ sessionId: session.id }), ended);
    });

    test("wait fails with deadline_exceeded when the session has not ended in time", async ({ store }) => {
      const { session } = await fixtures(store).session();
      await fails(store.sessions.wait({ sessionId: session.id, timeoutMs: 20 }), "deadline_exceeded", {}, "not_run");
      await fails(store.sessions.wait({ sessionId: newId() }), "not_found");
    });

    test("delete removes an ended session with its commands and logs, and can be repeated", async ({ store }) => {
      const { claim, fence, command, session } = await fixtures(store).log("some text\n");
      await fails(store.sessions.delete({ sessionId: session.id }), "invalid_transition", { state: "running" });
      await store.commands.finish({ commandId: command.id, fence, outcome: "succeeded" });
      await store.sessions.complete({ sessionId: session.id });
      assert.deepEqual(await store.sessions.delete({ sessionId: session.id }), { deleted: true });
      await fails(store.sessions.get({ sessionId: session.id }), "not_found");
      await fails(store.commands.get({ commandId: claim.command.id }), "not_found");
      await fails(store.logs.read({ commandId: claim.command.id }), "not_found");
      assert.deepEqual(await store.sessions.delete({ sessionId: session.id }), { deleted: true });
    });

    test("delete removes a session with a long log, in steps that the caller does not see", async ({ store }) => {
      const { fence, command, session } = await fixtures(store).claim();
      await Promise.all(
        Array.from({ length: 700 }, (_, offset) =>
          store.logs.append({ commandId: command.id, fence, offset, data: bytes("x") }),
        ),
      );
      await store.commands.finish({ commandId: command.id, fence, outcome: "succeeded" });
      await store.sessions.complete({ sessionId: session.id });
      assert.deepEqual(await store.sessions.delete({ sessionId: session.id }), { deleted: true });
    });

    test("an ended session with an active command cannot be deleted", async ({ store }) => {
      const { session, claim } = await busySession(store);
      await store.sessions.complete({ sessionId: session.id });
      await fails(store.sessions.delete({ sessionId: session.id }), "invalid_transition", { state: "completed" });
      await store.commands.finish({ commandId: claim.command.id, fence: claim.fence, outcome: "cancelled" });
      await store.sessions.delete({ sessionId: session.id });
    });

    test("the worktree of an ended session can be leased for the next session", async ({ store }) => {
      const { session, claim } = await busySession(store);
      await store.sessions.complete({ sessionId: session.id });
      await store.commands.finish({ commandId: claim.command.id, fence: claim.fence, outcome: "cancelled" });
      const { commitSha } = fixtures(store);
      const { session: next } = await store.sessions.create({
        repositoryId: session.repositoryId,
        commitSha,
        reserve: { owner: "o" },
      });
      assert.equal(next.worktreeId, session.worktreeId);
      assert.ok((next.worktreeFence as number) > (session.worktreeFence as number));
    });

    test("list filters by repository, state and requester", async ({ store }) => {
      const { repository, session } = await fixtures(store).session({ requestedBy: "ada" });
      const { session: other } = await fixtures(store).session({ repositoryId: repository.id, requestedBy: "bob" });
      await store.sessions.cancel({ sessionId: other.id });
      const ids = async (input: Parameters<Store["sessions"]["list"]>[0]) =>
        (await store.sessions.list({ repositoryId: repository.id, ...input })).items.map(({ id }: Session) => id);
      assert.deepEqual(await ids({}), [session.id, other.id].sort());
      assert.deepEqual(await ids({ state: "pending" }), [session.id]);
      assert.deepEqual(await ids({ requestedBy: "bob" }), [other.id]);
      assert.deepEqual(await ids({ requestedBy: "bob", state: "pending" }), []);
    });
  });
}
