// Maintenance: the reaper ends what has expired, once, and a clock that has jumped does no harm.
import assert from "node:assert/strict";
import { newId, type Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { subject } from "../suite.ts";

type Pass = Awaited<ReturnType<Store["maintenance"]["reap"]>>;

/** Fails unless a pass of the reaper ended the expected rows, and nothing else. */
function assertReaped(pass: Pass, expected: Partial<Pass>): void {
  const { keys: _keys, more: _more, ...ids } = pass;
  const nothing = Object.fromEntries(Object.keys(ids).map((kind) => [kind, []]));
  assert.deepEqual(pass, { ...nothing, keys: 0, more: false, ...expected });
}

const hourMs = 3_600_000;

/** Returns the sum of a distribution in whole seconds: the clock of a test also goes on by itself. */
const seconds = ({ sum }: { readonly sum: number }): number => Math.floor(sum / 1_000);

export function maintenanceConformance(backend: TestedBackend): void {
  subject(backend, "maintenance", ({ alone }) => {
    alone("reap ends what has expired and nothing else, and returns the ids by kind", async ({ store, clock }) => {
      const { claim, runner } = await fixtures(store).claim();
      const { worktree } = await fixtures(store).lease({ ttlMs: 20_000 });
      const { session } = await fixtures(store).session({ idleTtlMs: 25_000 });
      await fixtures(store).lease({ ttlMs: 600_000 });
      assertReaped(await store.maintenance.reap(), {});
      clock.advance(25_001);
      assertReaped(await store.maintenance.reap(), { worktrees: [worktree.id], sessions: [session.id] });
      clock.advance(60_000);
      const late = await store.maintenance.reap();
      assert.deepEqual([late.commands, late.runners], [[claim.command.id], [runner.id]]);
      assertReaped(await store.maintenance.reap(), {});
    });

    alone(
      "a pass of the reaper is bounded, and reports when there may be more",
      async ({ store, clock }) => {
        const { repository } = await fixtures(store).repository({ maxWorktrees: 20 });
        for (let n = 0; n < 7; n++) await fixtures(store).lease({ repositoryId: repository.id, ttlMs: 20_000 });
        clock.advance(20_001);
        const passes: [number, boolean][] = [];
        for (let more = true; more; ) {
          const pass = await store.maintenance.reap();
          passes.push([pass.worktrees.length, pass.more]);
          ({ more } = pass);
        }
        assert.deepEqual(passes, [
          [3, true],
          [3, true],
          [1, false],
        ]);
      },
      { limits: { reapRows: 3 } },
    );

    alone(
      "the reaper runs by itself",
      async ({ store, clock }) => {
        const { claim } = await fixtures(store).claim();
        const waiting = store.commands.wait({ commandId: claim.command.id });
        clock.advance(60_001);
        assert.equal((await waiting).state, "lost");
      },
      { limits: { reapEveryMs: 10 } },
    );

    alone(
      "after a jump of the clock, what was alive gets a grace period, and what had expired does not",
      async ({ store, clock }) => {
        const { worktree: dead } = await fixtures(store).lease({ ttlMs: 20_000 });
        clock.advance(20_001);
        const { claim, runner } = await fixtures(store).claim();
        const { worktree, fence } = await fixtures(store).lease({ ttlMs: 30_000 });
        const { session } = await fixtures(store).session({ idleTtlMs: 30_000 });
        clock.jump(3_600_000);
        const reaped = await store.maintenance.reap();
        assertReaped(reaped, { worktrees: [dead.id] });
        await store.worktrees.renew({ worktreeId: worktree.id, fence, ttlMs: 600_000 });
        clock.advance(15_000);
        assert.deepEqual((await store.maintenance.reap()).commands, []);
        clock.advance(15_001);
        const late = await store.maintenance.reap();
        assert.deepEqual([late.worktrees, late.commands, late.sessions], [[], [], [session.id]]);
        // The command had a minute left.
        clock.advance(30_000);
        const later = await store.maintenance.reap();
        assert.deepEqual([later.commands, later.runners], [[claim.command.id], [runner.id]]);
      },
    );

    alone(
      "the first write after a jump, if it is not the reaper's, does not end what was alive either",
      async ({ store, clock }) => {
        const { repository } = await fixtures(store).repository({ maxWorktrees: 1 });
        const { worktree, fence } = await fixtures(store).lease({ repositoryId: repository.id });
        clock.jump(86_400_000);
        await assert.rejects(store.worktrees.reserve({ repositoryId: repository.id, owner: "thief" }), {
          code: "capacity_exhausted",
        });
        await store.worktrees.renew({ worktreeId: worktree.id, fence });
      },
    );

    alone("time that passed while the store served is no pause", async ({ store, clock }) => {
      const { worktree } = await fixtures(store).lease({ ttlMs: 20_000 });
      clock.advance(3_600_000);
      assert.deepEqual((await store.maintenance.reap()).worktrees, [worktree.id]);
    });

    alone("a clock that moves back or forward a little has not jumped", async ({ store, clock }) => {
      const { worktree } = await fixtures(store).lease({ ttlMs: 20_000 });
      clock.jump(-1_000);
      assert.deepEqual((await store.maintenance.reap()).worktrees, []);
      clock.advance(18_000);
      clock.jump(4_000);
      assert.deepEqual((await store.maintenance.reap()).worktrees, [worktree.id]);
    });

    for (const [how, needs] of [
      ["while a server runs", []],
      ["just before a server starts", ["persists"]],
    ] as const) {
      alone(
        `after the clock was set ahead ${how}, what remains is what remained before, but at least the grace period`,
        async (opened) => {
          const { clock } = opened;
          const given = fixtures(opened.store);
          const { repository } = await given.repository({ maxWorktrees: 1 });
          const { worktree } = await given.lease({ repositoryId: repository.id, ttlMs: hourMs });
          const { session: short } = await given.session({ idleTtlMs: 10_000 });
          const { session: idle } = await given.session({ idleTtlMs: hourMs });
          const { session: late } = await given.session({ deadlineMs: hourMs });
          const { session } = await given.session();
          const { artifact } = await opened.store.artifacts.begin({
            sessionId: session.id,
            kind: "custom",
            name: "a",
            ttlMs: hourMs,
          });
          const { artifact: kept } = await given.artifact({ sessionId: session.id, ttlMs: hourMs });
          const first = await opened.store.repositories.upsert({ name: "once" }, { idempotencyKey: "k" });
          await opened.store.maintenance.reap();
          clock.jump(2 * 24 * hourMs);
          if (needs.length > 0) await opened.reopen();
          const { store } = opened;
          await assert.rejects(store.worktrees.reserve({ repositoryId: repository.id, owner: "thief" }), {
            code: "capacity_exhausted",
          });
          assertReaped(await store.maintenance.reap(), {});
          clock.advance(31_000);
          assertReaped(await store.maintenance.reap(), { sessions: [short.id] });
          clock.advance(hourMs - 62_000);
          assertReaped(await store.maintenance.reap(), {});
          assert.deepEqual(await store.repositories.upsert({ name: "once" }, { idempotencyKey: "k" }), first);
          clock.advance(62_000);
          const ended = await store.maintenance.reap();
          assert.deepEqual(
            [ended.worktrees, ended.sessions.toSorted(), ended.artifacts.toSorted(), ended.keys],
            [[worktree.id], [idle.id, late.id].toSorted(), [artifact.id, kept.id].toSorted(), 0],
          );
          clock.advance(24 * hourMs - hourMs);
          assert.equal((await store.maintenance.reap()).keys, 1);
        },
        needs.length > 0 ? { needs: "persists" } : {},
      );
    }

    alone(
      "of very many keys, only the newest move with the clock, so that moving them takes no longer",
      async ({ store, clock }) => {
        const upsert = (n: number) => store.repositories.upsert({ name: `r${n}` }, { idempotencyKey: `k${n}` });
        for (let n = 0; n < 4; n++) {
          await upsert(n);
          clock.advance(1_000);
        }
        clock.jump(2 * 24 * hourMs);
        assert.equal((await store.maintenance.reap()).keys, 2);
        clock.advance(23 * hourMs);
        assert.equal((await store.maintenance.reap()).keys, 0);
        clock.advance(hourMs);
        assert.equal((await store.maintenance.reap()).keys, 2);
      },
      { limits: { clockKeys: 2 } },
    );

    alone(
      "after the clock was set back, what remains is what remained before: the dead end, and the living renew",
      async ({ store, clock }) => {
        const year = 365 * 86_400_000;
        clock.jump(year);
        const { claim, runner } = await fixtures(store).claim();
        const { worktree: dead } = await fixtures(store).lease({ ttlMs: 60_000 });
        const { worktree, fence } = await fixtures(store).lease({ ttlMs: 60_000 });
        const idle = await fixtures(store).session({ idleTtlMs: 60_000 });
        const { session } = await fixtures(store).session();
        const { artifact } = await store.artifacts.begin({
          sessionId: session.id,
          kind: "custom",
          name: "a",
          ttlMs: 60_000,
        });
        const { artifact: kept } = await fixtures(store).artifact({ sessionId: session.id, ttlMs: 60_000 });
        await store.repositories.upsert({ name: "once" }, { idempotencyKey: "k" });
        await store.maintenance.reap();
        clock.jump(-year);
        assertReaped(await store.maintenance.reap(), {});
        clock.advance(50_000);
        await store.worktrees.renew({ worktreeId: worktree.id, fence, ttlMs: 60_000 });
        assertReaped(await store.maintenance.reap(), {});
        clock.advance(15_000);
        const pass = await store.maintenance.reap();
        assert.deepEqual(
          [pass.worktrees, pass.commands, pass.runners, pass.sessions, pass.artifacts.toSorted()],
          [[dead.id], [claim.command.id], [runner.id], [idle.session.id], [artifact.id, kept.id].toSorted()],
        );
        clock.advance(86_400_000);
        const { keys, worktrees } = await store.maintenance.reap();
        assert.deepEqual([keys, worktrees], [1, [worktree.id]]);
      },
    );

    for (const closedMs of [4_000, 3_600_000]) {
      alone(
        `what was alive when the store was closed gets a grace period when it is opened ${closedMs / 1_000} s later`,
        async (opened) => {
          const { clock } = opened;
          const { worktree: dead } = await fixtures(opened.store).lease({ ttlMs: 20_000 });
          clock.advance(20_001);
          const { repository } = await fixtures(opened.store).repository({ maxWorktrees: 1 });
          const held = await fixtures(opened.store).lease({ repositoryId: repository.id, ttlMs: 2_000 });
          const { claim, runner } = await fixtures(opened.store).claim();
          assertReaped(await opened.store.maintenance.reap(), { worktrees: [dead.id] });
          clock.advance(closedMs);
          await opened.reopen();
          const { store } = opened;
          // The first write of the new process is no better than the reaper.
          await assert.rejects(store.worktrees.reserve({ repositoryId: repository.id, owner: "thief" }), {
            code: "capacity_exhausted",
          });
          assertReaped(await store.maintenance.reap(), {});
          const beat = await store.runners.heartbeat({
            runnerId: runner.id,
            commands: [{ id: claim.command.id, fence: claim.fence }],
          });
          assert.deepEqual(beat.lost, []);
          clock.advance(30_001);
          assertReaped(await store.maintenance.reap(), { worktrees: [held.worktree.id] });
        },
        { needs: "persists" },
      );
    }

    alone(
      "a store that is opened again and again does not keep the leases of the dead",
      async (opened) => {
        const { clock } = opened;
        const { worktree: dead } = await fixtures(opened.store).lease({ ttlMs: 5_000 });
        const { worktree, fence } = await fixtures(opened.store).lease({ ttlMs: 5_000 });
        const ended: string[] = [];
        for (let n = 0; n < 8; n++) {
          clock.advance(10_000);
          await opened.reopen();
          await opened.store.worktrees.renew({ worktreeId: worktree.id, fence, ttlMs: 5_000 });
          ended.push(...(await opened.store.maintenance.reap()).worktrees);
        }
        assert.deepEqual(ended, [dead.id]);
      },
      { needs: "persists" },
    );

    alone(
      "a store that is opened again and again keeps the leases of the living, however short they are",
      async (opened) => {
        const { clock } = opened;
        const { worktree, fence } = await fixtures(opened.store).lease({ ttlMs: 2_000 });
        for (let n = 0; n < 8; n++) {
          clock.advance(10_000);
          await opened.reopen();
          assertReaped(await opened.store.maintenance.reap(), {});
          await opened.store.worktrees.renew({ worktreeId: worktree.id, fence, ttlMs: 2_000 });
        }
        clock.advance(2_001);
        assertReaped(await opened.store.maintenance.reap(), { worktrees: [worktree.id] });
      },
      { needs: "persists" },
    );

    alone("stats counts rows by state, and the work of the server", async ({ store }) => {
      await fixtures(store).claim();
      await fixtures(store).command();
      await fixtures(store).worktree();
      const { rows, serving } = await store.maintenance.stats();
      assert.deepEqual(rows, {
        accounts: {},
        runners: { online: 1 },
        repositories: { active: 3 },
        worktrees: { idle: 1 },
        sessions: { pending: 1, running: 1 },
        artifacts: {},
        commands: { queued: 1, running: 1 },
        debug_requests: {},
        debug_sessions: {},
        discarded_files: {},
        environments: {},
        logs: { open: 1 },
        patches: {},
        tokens: {},
      });
      for (const name of ["groups", "calls", "commits", "queued", "parked", "clients"])
        assert.ok(Number.isFinite(serving[name]), name);
    });

    alone("stats counts the commands and sessions that have ended, and their times", async ({ store, clock }) => {
      const make = fixtures(store);
      const { session } = await make.command();
      const { runner } = await make.runner();
      const other = await make.command();
      await make.command({ sessionId: other.session.id });
      const undone = await make.command();
      clock.advance(4_000);
      const claim = await store.commands.claim({ runnerId: runner.id, sessionId: session.id, ttlMs: 20_000 });
      const { command, fence } = claim as NonNullable<typeof claim>;
      clock.advance(7_000);
      const failed = { commandId: command.id, fence, outcome: "failed", exitCode: 1 } as const;
      await store.commands.finish(failed);
      // What is repeated, undone or merely read counts nothing.
      await store.commands.finish(failed);
      await assert.rejects(store.commands.finish({ ...failed, outcome: "succeeded", exitCode: 0 }));
      await store.sessions.complete({ sessionId: session.id });
      // Both share a group, which runs again because the second one is undone.
      await Promise.all([
        store.sessions.cancel({ sessionId: other.session.id }),
        assert.rejects(
          store.atomically((tx) => {
            tx.sessions.cancel({ sessionId: undone.session.id });
            tx.commands.get({ commandId: newId() });
          }),
          { code: "not_found" },
        ),
      ]);
      const { ended, distributions } = await store.maintenance.stats();
      assert.deepEqual(ended, {
        commands: { succeeded: 0, failed: 1, timed_out: 0, cancelled: 2, lost: 0 },
        sessions: { completed: 1, failed: 0, cancelled: 1, expired: 0 },
      });
      const { commandStartMs, commandMs, groupCalls, commitMs, waitMs } = distributions;
      const count = ({ counts }: typeof groupCalls) => counts.reduce((sum, one) => sum + one, 0);
      assert.deepEqual([count(commandStartMs), seconds(commandStartMs)], [1, 4]);
      assert.deepEqual(
        Object.entries(commandMs).map(([outcome, times]) => [outcome, count(times), seconds(times)]),
        [
          ["succeeded", 0, 0],
          ["failed", 1, 7],
          ["timed_out", 0, 0],
          ["cancelled", 0, 0],
          ["lost", 0, 0],
        ],
      );
      for (const one of [groupCalls, commitMs, waitMs.normal]) assert.ok(count(one) >= 9 && one.sum > 0);
      // Reads have nothing to commit.
      assert.ok(count(groupCalls) > count(commitMs));
    });

    alone("a command that is claimed again has its time from the last claim, and has started once", async (opened) => {
      const { store, clock } = opened;
      const { command, runner } = await fixtures(store).claim({ maxAttempts: 2 });
      clock.advance(60_001);
      assert.deepEqual((await store.maintenance.reap()).commands, [command.id]);
      await store.runners.heartbeat({ runnerId: runner.id });
      const again = await store.commands.claim({ runnerId: runner.id });
      clock.advance(3_000);
      const { fence } = again as NonNullable<typeof again>;
      await store.commands.finish({ commandId: command.id, fence, outcome: "succeeded" });
      const { distributions, ended } = await store.maintenance.stats();
      assert.deepEqual([seconds(distributions.commandMs.succeeded), distributions.commandMs.lost.sum], [3, 0]);
      assert.equal(
        distributions.commandStartMs.counts.reduce((sum, one) => sum + one, 0),
        1,
      );
      assert.deepEqual([ended.commands.succeeded, ended.commands.lost], [1, 0]);
    });
  });
}
