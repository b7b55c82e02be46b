// Stops: a command ends at its timeout or after its cancellation, whatever its runner does, and a session at its
// deadline, whatever its commands do.
import assert from "node:assert/strict";
import { type Claim, defaultLimits, type Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { Opened, TestedBackend } from "../../support/backends.ts";
import { bytes, collect, endOfFeed, fails, subject } from "../suite.ts";

const argv = ["true"];
const timeoutMs = 10_000;
const graceMs = defaultLimits.stopGraceMs;
/** Longer than all that these tests let pass, so that no lease expires. */
const ttlMs = 86_400_000;

type Create = Parameters<Store["sessions"]["create"]>[0];

const held = ({ command, fence }: Claim) => ({ commandId: command.id, fence });
const lease = ({ command, fence }: Claim) => ({ id: command.id, fence });
const sessionOf = (store: Store, { session }: Claim) => store.sessions.get({ sessionId: session.id });
const commandOf = (store: Store, { command }: Claim) => store.commands.get({ commandId: command.id });

/** Claims as many commands of a session as may run at once. */
async function claimAll(store: Store, runnerId: string, sessionId: string): Promise<readonly [Claim, ...Claim[]]> {
  const claims: Claim[] = [];
  for (;;) {
    const claim = await store.commands.claim({ runnerId, sessionId, ttlMs });
    if (claim === undefined) return claims as [Claim, ...Claim[]];
    claims.push(claim);
  }
}

/** Creates a session without a worktree, and claims as many of its commands as may run at once. */
async function started(store: Store, input: Partial<Create> = {}) {
  const { runner } = await fixtures(store).runner({ ttlMs });
  const { session } = await fixtures(store).session({ commands: [{ argv, timeoutMs }], ...input });
  const [claim] = await claimAll(store, runner.id, session.id);
  return { runner, session, claim };
}

/** Creates such a session in a worktree that is ready for use, and leased by the runner of its commands. */
async function startedInWorktree(store: Store, input: Partial<Create> = {}) {
  const { repository } = await fixtures(store).repository();
  const { runner } = await fixtures(store).runner({ ttlMs });
  const created = await fixtures(store).session({
    repositoryId: repository.id,
    reserve: { runnerId: runner.id, ttlMs },
    commands: [{ argv, timeoutMs }],
    ...input,
  });
  const { worktree, fence } = created.lease as NonNullable<typeof created.lease>;
  await store.worktrees.ready({ worktreeId: worktree.id, fence });
  const claims = await claimAll(store, runner.id, created.session.id);
  const worktreeId = worktree.id;
  return {
    runner,
    session: created.session,
    claims,
    claim: claims[0],
    leases: { runnerId: runner.id, commands: claims.map(lease), worktrees: [{ id: worktreeId, fence }] },
    worktree: () => store.worktrees.get({ worktreeId }),
  };
}

/** Lets the runners of all commands that have been asked to stop miss the time for it. */
async function overrun({ store, clock }: Opened, ms = timeoutMs + graceMs): Promise<void> {
  clock.advance(ms + 1);
  await store.maintenance.reap();
}

/** Fails unless nothing that the runner of a command may still report is accepted. */
async function assertFencedOff(store: Store, claim: Claim): Promise<void> {
  const currentFence = claim.fence + 1;
  const before = await commandOf(store, claim);
  assert.equal(before.fence, currentFence);
  for (const outcome of ["succeeded", "cancelled", "timed_out"] as const)
    await fails(store.commands.finish({ ...held(claim), outcome }), "lease_lost", { currentFence });
  await fails(store.logs.append({ ...held(claim), offset: 50, data: bytes("late") }), "lease_lost", { currentFence });
  assert.deepEqual(await commandOf(store, claim), before);
}

export function stopsConformance(backend: TestedBackend): void {
  subject(backend, "stops: timeouts", ({ test }) => {
    test("a command must stop at its timeout, counted from its claim, while it runs and only then", async (opened) => {
      const { store, clock } = opened;
      const { claim, session } = await started(store, {
        commands: [{ argv, timeoutMs, maxAttempts: 2 }, { argv }],
        maxParallel: 2,
      });
      const startedAt = claim.command.startedAt as Date;
      assert.equal(claim.command.stopAt?.getTime(), startedAt.getTime() + timeoutMs);
      const [first, second] = (await store.commands.list({ sessionId: session.id })).items;
      assert.deepEqual([first?.stopAt, second?.stopAt], [claim.command.stopAt, null]);
      const { command } = await store.commands.finish({ ...held(claim), outcome: "failed" });
      assert.equal(command.stopAt, null);
      const { claim: again } = await started(store, { commands: [{ argv, timeoutMs: 2 * ttlMs, maxAttempts: 2 }] });
      clock.advance(ttlMs + 1);
      await store.maintenance.reap();
      const queued = await commandOf(store, again);
      assert.deepEqual([queued.state, queued.stopAt], ["queued", null]);
    });

    test("a cancelled command must stop at once, unless its timeout was earlier", async ({ store, clock }) => {
      const { claim } = await started(store);
      const cancelled = await store.commands.cancel({ commandId: claim.command.id });
      assert.deepEqual(cancelled.stopAt, cancelled.cancelRequestedAt);
      const { claim: late } = await started(store);
      clock.advance(timeoutMs + 1);
      const stopAt = late.command.stopAt;
      assert.deepEqual((await store.commands.cancel({ commandId: late.command.id })).stopAt, stopAt);
      const { claim: ending, session } = await started(store, { commands: [{ argv }] });
      await store.sessions.complete({ sessionId: session.id });
      const asked = await commandOf(store, ending);
      assert.ok(asked.stopAt !== null);
      assert.deepEqual(asked.stopAt, asked.cancelRequestedAt);
    });

    test("a heartbeat lists a command that is over its timeout in cancel, and renews its lease", async (opened) => {
      const { store, clock } = opened;
      const { claim, runner } = await started(store);
      const beat = () => store.runners.heartbeat({ runnerId: runner.id, commands: [lease(claim)], ttlMs });
      clock.advance(timeoutMs - 1_000);
      assert.deepEqual((await beat()).cancel, []);
      clock.advance(1_001);
      const { cancel, lost, expiresAt } = await beat();
      assert.deepEqual([cancel, lost], [[claim.command.id], []]);
      const { state, leaseExpiresAt } = await commandOf(store, claim);
      assert.deepEqual([state, leaseExpiresAt], ["running", expiresAt]);
      assert.deepEqual((await beat()).cancel, [claim.command.id]);
    });

    test("a runner that reports cancelled for a command over its timeout has stopped one that timed out", async ({
      store,
      clock,
    }) => {
      const { claim } = await started(store);
      const report = { ...held(claim), outcome: "cancelled", signal: "SIGTERM" } as const;
      await fails(store.commands.finish(report), "invalid_transition", { state: "running" });
      clock.advance(timeoutMs + 1);
      const first = await store.commands.finish(report);
      assert.deepEqual(
        [first.command.state, first.command.signal, first.command.fence, first.session.failedCommands],
        ["timed_out", "SIGTERM", claim.fence, 1],
      );
      assert.deepEqual(await store.commands.finish(report), first);
      assert.deepEqual(await store.commands.finish({ ...report, outcome: "timed_out" }), first);
      await fails(store.commands.finish({ ...report, signal: "SIGKILL" }), "invalid_transition", {
        state: "timed_out",
      });
    });

    test("a command that was cancelled ends as cancelled, also after its timeout", async ({ store, clock }) => {
      const { claim } = await started(store);
      await store.commands.cancel({ commandId: claim.command.id });
      clock.advance(timeoutMs + 1);
      const { command, session } = await store.commands.finish({ ...held(claim), outcome: "cancelled" });
      assert.deepEqual([command.state, session.failedCommands], ["cancelled", 0]);
      const { claim: other } = await started(store);
      await store.commands.cancel({ commandId: other.command.id });
      await store.commands.finish({ ...held(other), outcome: "timed_out" });
      await fails(store.commands.finish({ ...held(other), outcome: "cancelled" }), "invalid_transition", {
        state: "timed_out",
      });
    });

    for (const outcome of ["succeeded", "failed", "timed_out"] as const) {
      test(`a result of ${outcome} that arrives after the timeout is recorded as it was reported`, async (opened) => {
        const { claim } = await started(opened.store);
        await overrun(opened, timeoutMs + graceMs - 1_000);
        const { command } = await opened.store.commands.finish({ ...held(claim), outcome });
        assert.equal(command.state, outcome);
      });
    }
  });

  subject(backend, "stops: runners that do not stop", ({ test }) => {
    test("a command that its runner does not stop ends by itself, and its runner has lost it", async (opened) => {
      const { store, clock } = opened;
      const { claim, runner, session } = await started(store);
      await store.logs.append({ ...held(claim), offset: 0, data: bytes("last words\n") });
      const waiting = store.commands.wait({ commandId: claim.command.id });
      const following = collect(store.logs.follow({ commandId: claim.command.id }));
      await overrun(opened, timeoutMs + graceMs - 1_000);
      assert.equal((await commandOf(store, claim)).state, "running");
      const nextSeq = await endOfFeed(store);
      clock.advance(1_001);
      assert.ok((await store.maintenance.reap()).commands.includes(claim.command.id));
      const command = await waiting;
      assert.deepEqual(
        [command.state, command.exitCode, command.signal, command.endReason, command.leaseExpiresAt, command.stopAt],
        ["timed_out", null, null, "forced", null, null],
      );
      assert.equal((await following).length, 1);
      await assertFencedOff(store, claim);
      const beat = { runnerId: runner.id, commands: [lease(claim)] };
      assert.deepEqual((await store.runners.heartbeat(beat)).lost, [{ kind: "command", ...lease(claim) }]);
      // Bytes that were stored are still acknowledged.
      assert.equal(
        (await store.logs.append({ ...held(claim), offset: 0, data: bytes("last words\n") })).ackOffset,
        bytes("last words\n").length,
      );
      const { changes } = await store.changes.since({ after: nextSeq, sessionId: session.id });
      assert.deepEqual(
        changes.map(({ entity, op, fence, detail }) => [entity, op, fence, detail]),
        [["command", "force", claim.fence + 1, { outcome: "timed_out" }]],
      );
    });

    test("its worktree is quarantined, because its process may still write there, and its session fails", async (opened) => {
      const { store } = opened;
      const { claim, claims, leases, session, worktree } = await startedInWorktree(store, {
        commands: [{ argv, timeoutMs }, { argv }],
      });
      assert.equal(claims.length, 1);
      const waiting = store.sessions.wait({ sessionId: session.id });
      const nextSeq = await endOfFeed(store);
      await overrun(opened);
      const ended = await waiting;
      assert.deepEqual(
        [ended.state, ended.endReason, ended.activeCommands, ended.queuedCommands, ended.failedCommands],
        ["failed", "worktree_quarantined", 0, 0, 1],
      );
      const { state, leaseRunnerId, leaseExpiresAt, fence } = await worktree();
      assert.deepEqual([state, leaseRunnerId, leaseExpiresAt], ["quarantined", null, null]);
      assert.deepEqual([ended.worktreeId, ended.worktreeFence], [session.worktreeId, fence]);
      assert.deepEqual(
        (await store.commands.list({ sessionId: session.id })).items.map((row) => row.state),
        ["timed_out", "cancelled"],
      );
      await assertFencedOff(store, claim);
      assert.deepEqual((await store.runners.heartbeat(leases)).lost, [
        ...leases.worktrees.map((one) => ({ kind: "worktree", ...one })),
        { kind: "command", ...lease(claim) },
      ]);
      await fails(store.worktrees.renew({ worktreeId: session.worktreeId as string, fence }), "lease_lost");
      const { changes } = await store.changes.since({ after: nextSeq, sessionId: session.id });
      assert.deepEqual(
        changes.map(({ entity, op }) => [entity, op]),
        [
          ["command", "force"],
          ["worktree", "quarantine"],
          ["command", "cancel"],
          ["session", "end"],
        ],
      );
      assert.deepEqual(changes[1]?.detail, { state: "quarantined", reason: "forced" });
    });

    test("a cancelled command ends as cancelled with the reason of its cancellation", async (opened) => {
      const { store } = opened;
      const { claim } = await started(store, { commands: [{ argv }] });
      await store.commands.cancel({ commandId: claim.command.id, reason: "obsolete" });
      await overrun(opened, graceMs);
      const { state, endReason } = await commandOf(store, claim);
      assert.deepEqual(
        [state, endReason, (await sessionOf(store, claim)).failedCommands],
        ["cancelled", "obsolete", 0],
      );
      await assertFencedOff(store, claim);
    });

    test("a session that is cancelling ends as cancelled", async (opened) => {
      const { store } = opened;
      const { claim, session, worktree } = await startedInWorktree(store, { commands: [{ argv }] });
      await store.sessions.cancel({ sessionId: session.id, reason: "enough" });
      await overrun(opened, graceMs);
      const ended = await sessionOf(store, claim);
      assert.deepEqual([ended.state, ended.endReason, ended.worktreeId], ["cancelled", "enough", session.worktreeId]);
      assert.equal((await worktree()).state, "quarantined");
    });

    test("a session that has ended keeps its state", async (opened) => {
      const { store } = opened;
      const { claim, session, worktree } = await startedInWorktree(store, { commands: [{ argv }] });
      const completed = await store.sessions.complete({ sessionId: session.id });
      await overrun(opened, graceMs);
      const { state, endReason, version, activeCommands } = await sessionOf(store, claim);
      assert.deepEqual([state, endReason, version, activeCommands], ["completed", null, completed.version, 0]);
      assert.equal((await worktree()).state, "quarantined");
      await store.sessions.delete({ sessionId: session.id });
    });

    test("a session without a worktree goes on with its next command", async (opened) => {
      const { store } = opened;
      const { claim, runner, session } = await started(store, { commands: [{ argv, timeoutMs }, { argv }] });
      await overrun(opened);
      assert.equal((await commandOf(store, claim)).state, "timed_out");
      await store.runners.heartbeat({ runnerId: runner.id });
      const next = await store.commands.claim({ runnerId: runner.id, sessionId: session.id, ttlMs });
      assert.equal(next?.command.sequence, 2);
      const { claim: only } = await started(store, { autoComplete: true });
      await overrun(opened);
      const ended = await sessionOf(store, only);
      assert.deepEqual([ended.state, ended.endReason], ["failed", null]);
    });

    test("the other commands of a session that loses its worktree are asked to stop", async (opened) => {
      const { store } = opened;
      const { claims, leases, session, worktree } = await startedInWorktree(store, {
        commands: [{ argv, timeoutMs }, { argv }],
        maxParallel: 2,
      });
      const [stuck, other] = claims as readonly [Claim, Claim];
      await overrun(opened);
      assert.deepEqual([(await sessionOf(store, stuck)).state, (await worktree()).state], ["failed", "quarantined"]);
      assert.deepEqual((await store.runners.heartbeat(leases)).cancel, [other.command.id]);
      await store.commands.finish({ ...held(other), outcome: "cancelled", release: "clean" });
      assert.equal((await worktree()).state, "quarantined");
      const { state, activeCommands, failedCommands } = await sessionOf(store, other);
      assert.deepEqual([state, activeCommands, failedCommands], ["failed", 0, 1]);
      await store.sessions.delete({ sessionId: session.id });
    });

    test("a cancelling session stays so until its other commands have ended, without its worktree", async (opened) => {
      const { store } = opened;
      const { claims, session, worktree } = await startedInWorktree(store, {
        commands: [{ argv, timeoutMs }, { argv }],
        maxParallel: 2,
      });
      const [stuck, other] = claims as readonly [Claim, Claim];
      opened.clock.advance(timeoutMs + 1);
      await store.sessions.cancel({ sessionId: session.id });
      // The first one has been over its timeout for as long as the second one has been cancelled, and 10 s.
      await overrun(opened, graceMs - 1_000);
      assert.equal((await commandOf(store, stuck)).state, "cancelling");
      await store.commands.cancel({ commandId: stuck.command.id, force: true });
      const cancelling = await sessionOf(store, stuck);
      assert.deepEqual([cancelling.state, cancelling.worktreeId, cancelling.activeCommands], ["cancelling", null, 1]);
      assert.equal((await worktree()).state, "quarantined");
      const { session: ended } = await store.commands.finish({ ...held(other), outcome: "succeeded" });
      assert.equal(ended.state, "cancelled");
    });

    test("a worktree that was still being created is quarantined too", async (opened) => {
      const { store } = opened;
      const { claim, runner, session } = await started(store);
      const { worktree } = await store.worktrees.reserve({
        repositoryId: session.repositoryId,
        runnerId: runner.id,
        sessionId: session.id,
        ttlMs,
      });
      await overrun(opened);
      assert.equal((await store.worktrees.get({ worktreeId: worktree.id })).state, "quarantined");
      assert.equal((await sessionOf(store, claim)).state, "failed");
    });
  });

  subject(backend, "stops: force", ({ test }) => {
    for (const state of ["running", "cancelling"] as const) {
      test(`cancel with force ends a ${state} command at once, and a repetition changes nothing`, async ({ store }) => {
        const { claim, leases, session, worktree } = await startedInWorktree(store);
        const commandId = claim.command.id;
        if (state === "cancelling") await store.commands.cancel({ commandId, reason: "first" });
        const ended = await store.commands.cancel({ commandId, force: true, reason: "stuck" });
        assert.deepEqual([ended.state, ended.endReason, ended.fence], ["cancelled", "stuck", claim.fence + 1]);
        assert.ok(ended.cancelRequestedAt instanceof Date);
        assert.deepEqual(await store.commands.cancel({ commandId, force: true }), ended);
        assert.deepEqual(await store.commands.cancel({ commandId }), ended);
        await assertFencedOff(store, claim);
        assert.deepEqual(
          (await store.runners.heartbeat(leases)).lost.map(({ kind }) => kind),
          ["worktree", "command"],
        );
        assert.equal((await worktree()).state, "quarantined");
        const after = await store.sessions.get({ sessionId: session.id });
        assert.deepEqual([after.state, after.failedCommands], ["failed", 0]);
      });
    }

    test("cancel with force keeps the reason of the first cancellation unless it has its own", async ({ store }) => {
      const { claim } = await started(store);
      const commandId = claim.command.id;
      await store.commands.cancel({ commandId, reason: "first" });
      assert.equal((await store.commands.cancel({ commandId, force: true })).endReason, "first");
      const { claim: other } = await started(store);
      assert.equal((await store.commands.cancel({ commandId: other.command.id, force: true })).endReason, "forced");
    });

    test("cancel with force of a queued command is an ordinary cancellation", async ({ store }) => {
      const { session } = await fixtures(store).session({ reserve: { owner: "o" }, commands: [{ argv }] });
      const [command] = (await store.commands.list({ sessionId: session.id })).items;
      const ended = await store.commands.cancel({ commandId: command?.id as string, force: true });
      assert.deepEqual([ended.state, ended.fence, ended.endReason], ["cancelled", 0, null]);
      assert.equal((await store.sessions.get({ sessionId: session.id })).state, "pending");
    });

    test("cancel with force of a command with another result is invalid_transition, with a stale version a conflict", async ({
      store,
    }) => {
      const { claim } = await started(store);
      const commandId = claim.command.id;
      const { version } = await store.commands.cancel({ commandId });
      await fails(store.commands.cancel({ commandId, force: true, expectedVersion: version - 1 }), "conflict", {
        currentVersion: version,
      });
      await store.commands.finish({ ...held(claim), outcome: "succeeded" });
      await fails(store.commands.cancel({ commandId, force: true }), "invalid_transition", { state: "succeeded" });
    });

    for (const state of ["running", "cancelling"] as const) {
      test(`cancel with force ends a ${state} session and its active commands at once`, async ({ store }) => {
        const { claims, session, worktree } = await startedInWorktree(store, {
          commands: [{ argv }, { argv, timeoutMs }, { argv }],
          maxParallel: 2,
        });
        assert.equal(claims.length, 2);
        if (state === "cancelling") await store.sessions.cancel({ sessionId: session.id, reason: "first" });
        const ended = await store.sessions.cancel({ sessionId: session.id, force: true, reason: "stuck" });
        assert.deepEqual(
          [ended.state, ended.endReason, ended.activeCommands, ended.queuedCommands, ended.failedCommands],
          ["cancelled", "stuck", 0, 0, 0],
        );
        assert.equal(ended.worktreeId, session.worktreeId);
        assert.deepEqual(await store.sessions.cancel({ sessionId: session.id, force: true }), ended);
        assert.deepEqual(
          (await store.commands.list({ sessionId: session.id })).items.map((row) => row.state),
          ["cancelled", "cancelled", "cancelled"],
        );
        for (const claim of claims) await assertFencedOff(store, claim);
        assert.equal((await worktree()).state, "quarantined");
      });
    }

    test("cancel with force of a session without active commands leaves its worktree usable", async ({ store }) => {
      const { claim, session, worktree } = await startedInWorktree(store);
      await store.commands.finish({ ...held(claim), outcome: "succeeded" });
      assert.equal((await store.sessions.cancel({ sessionId: session.id, force: true })).state, "cancelled");
      assert.equal((await worktree()).state, "dirty");
    });

    test("cancel with force of a session with another result is invalid_transition", async ({ store }) => {
      const { session } = await started(store);
      await store.sessions.complete({ sessionId: session.id });
      await fails(store.sessions.cancel({ sessionId: session.id, force: true }), "invalid_transition", {
        state: "completed",
      });
    });
  });

  subject(backend, "stops: deadlines", ({ test }) => {
    const deadlineMs = 20_000;

    test("a session expires at its deadline, however active it is", async ({ store, clock }) => {
      const { claim, leases, session, worktree } = await startedInWorktree(store, {
        deadlineMs,
        idleTtlMs: 15_000,
        commands: [{ argv }, { argv }],
      });
      assert.equal(session.deadlineAt?.getTime(), session.createdAt.getTime() + deadlineMs);
      clock.advance(deadlineMs - 1_000);
      assert.deepEqual((await store.sessions.touch({ sessionId: session.id })).deadlineAt, session.deadlineAt);
      assert.ok(!(await store.maintenance.reap()).sessions.includes(session.id));
      clock.advance(1_001);
      assert.ok((await store.maintenance.reap()).sessions.includes(session.id));
      const ended = await sessionOf(store, claim);
      assert.deepEqual(
        [ended.state, ended.endReason, ended.queuedCommands, ended.activeCommands],
        ["expired", "deadline", 0, 1],
      );
      assert.ok(!(await store.maintenance.reap()).sessions.includes(session.id));
      assert.equal((await worktree()).state, "leased");
      assert.deepEqual((await store.runners.heartbeat(leases)).cancel, [claim.command.id]);
      await store.commands.finish({ ...held(claim), outcome: "cancelled", release: "clean" });
      assert.equal((await worktree()).state, "idle");
      const { state, endReason, version, activeCommands } = await sessionOf(store, claim);
      assert.deepEqual([state, endReason, version, activeCommands], ["expired", "deadline", ended.version, 0]);
    });

    test("the commands of such a session are ended by force when their runner does not stop them", async (opened) => {
      const { store } = opened;
      const { claim, worktree } = await startedInWorktree(store, { deadlineMs, commands: [{ argv }] });
      await overrun(opened, deadlineMs);
      assert.equal((await commandOf(store, claim)).state, "cancelling");
      await overrun(opened, graceMs);
      assert.equal((await commandOf(store, claim)).state, "cancelled");
      const { state, endReason, activeCommands } = await sessionOf(store, claim);
      assert.deepEqual([state, endReason, activeCommands], ["expired", "deadline", 0]);
      assert.equal((await worktree()).state, "quarantined");
    });

    test("a session that is cancelling at its deadline ends as cancelled", async (opened) => {
      const { store, clock } = opened;
      const { claim, session } = await started(store, { deadlineMs, commands: [{ argv }] });
      clock.advance(deadlineMs - 1_000);
      await store.sessions.cancel({ sessionId: session.id });
      await overrun(opened, 1_000);
      assert.equal((await sessionOf(store, claim)).state, "cancelling");
      await overrun(opened, graceMs);
      assert.deepEqual((await sessionOf(store, claim)).state, "cancelled");
    });

    test("a pending session expires at its deadline, and without one never", async (opened) => {
      const { store } = opened;
      const { session } = await fixtures(store).session({ deadlineMs, commands: [{ argv }] });
      const { session: other } = await fixtures(store).session({ commands: [{ argv }] });
      assert.equal(other.deadlineAt, null);
      await overrun(opened, deadlineMs);
      const { state, endReason } = await store.sessions.get({ sessionId: session.id });
      assert.deepEqual([state, endReason], ["expired", "deadline"]);
      assert.equal((await store.sessions.get({ sessionId: other.id })).state, "pending");
    });

    test("a deadline of less than a second is invalid_input", async ({ store }) => {
      await fails(fixtures(store).session({ deadlineMs: 999 }), "invalid_input");
      await fails(fixtures(store).session({ deadlineMs: 31_536_000_001 }), "invalid_input");
    });
  });

  subject(backend, "stops: jumps of the clock", ({ alone }) => {
    alone("a command whose time was skipped by a jump gets a grace period, and then ends", async ({ store, clock }) => {
      const { claim, runner } = await started(store);
      const { session } = await fixtures(store).session({ deadlineMs: 20_000 });
      const { claim: asked } = await started(store, { commands: [{ argv }] });
      await store.commands.cancel({ commandId: asked.command.id });
      clock.jump(3_600_000);
      assert.deepEqual((await store.maintenance.reap()).commands, []);
      const beat = { runnerId: runner.id, commands: [lease(claim)], ttlMs };
      assert.deepEqual((await store.runners.heartbeat(beat)).cancel, []);
      assert.equal((await store.sessions.get({ sessionId: session.id })).state, "pending");
      clock.advance(defaultLimits.clockGraceMs + 1);
      assert.deepEqual((await store.runners.heartbeat(beat)).cancel, [claim.command.id]);
      assert.deepEqual((await store.maintenance.reap()).sessions, [session.id]);
      clock.advance(graceMs - defaultLimits.clockGraceMs);
      assert.deepEqual((await store.maintenance.reap()).commands, [asked.command.id]);
      clock.advance(defaultLimits.clockGraceMs);
      assert.deepEqual((await store.maintenance.reap()).commands, [claim.command.id]);
    });
  });

  subject(backend, "stops: results of autoComplete sessions", ({ test }) => {
    const results = {
      completed: [["succeeded"], ["succeeded", "queued"], ["queued", "succeeded"], ["cancelled", "succeeded"]],
      failed: [
        ["failed", "queued"],
        ["timed_out", "succeeded"],
        ["cancelled", "failed"],
      ],
      cancelled: [["queued"], ["queued", "queued"], ["cancelled"], ["cancelled", "queued"]],
    } as const;
    for (const [state, cases] of Object.entries(results)) {
      for (const fates of cases) {
        test(`commands that are ${fates.join(" and ")} make it ${state} (queued: cancelled before it ran)`, async ({
          store,
        }) => {
          const { runner } = await fixtures(store).runner();
          const { session, commands } = await fixtures(store).session({
            autoComplete: true,
            commands: fates.map(() => ({ argv })),
          });
          for (const [index, fate] of fates.entries()) {
            if (fate === "queued") await store.commands.cancel({ commandId: commands[index]?.id as string });
          }
          for (const fate of fates.filter((one) => one !== "queued")) {
            const claim = await store.commands.claim({ runnerId: runner.id, sessionId: session.id });
            if (claim === undefined) assert.fail("there is nothing to claim");
            if (fate === "cancelled") await store.commands.cancel({ commandId: claim.command.id });
            await store.commands.finish({ ...held(claim), outcome: fate });
          }
          const ended = await store.sessions.get({ sessionId: session.id });
          const failed = fates.filter((fate) => fate === "failed" || fate === "timed_out").length;
          assert.deepEqual([ended.state, ended.endReason, ended.failedCommands], [state, null, failed]);
        });
      }
    }

    test("commands that the store lost make it failed, and one that was lost while cancelling does not", async (opened) => {
      const { store, clock } = opened;
      for (const cancelled of [false, true]) {
        const { claim } = await started(store, { autoComplete: true, commands: [{ argv }] });
        if (cancelled) await store.commands.cancel({ commandId: claim.command.id });
        await store.runners.heartbeat({ runnerId: claim.command.runnerId as string, commands: [lease(claim)] });
        clock.advance(60_001);
        await store.maintenance.reap();
        const { state, failedCommands } = await sessionOf(store, claim);
        assert.deepEqual([state, failedCommands], cancelled ? ["cancelled", 0] : ["failed", 1]);
      }
    });
  });
}
