// The rules of failures: further attempts after a pause, or the end of the commands behind it; and of commands that wait
// for a time of their own.
import assert from "node:assert/strict";
import { type Claim, newId, type Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { cancelAll, fails, parked, subject } from "../suite.ts";

const argv = ["true"];
const dayMs = 86_400_000;
const commandOf = (store: Store, commandId: string | undefined) =>
  store.commands.get({ commandId: commandId as string });

export function failurePolicyConformance(backend: TestedBackend): void {
  subject(backend, "commands: failures", ({ test, alone }) => {
    const claimOf = async (store: Store, runnerId: string, sessionId: string): Promise<Claim> =>
      (await store.commands.claim({ runnerId, sessionId })) ?? assert.fail("there was nothing to claim");
    const runnerOf = async (store: Store) => (await fixtures(store).runner({ ttlMs: dayMs })).runner.id;
    const failed = { outcome: "failed", exitCode: 3 } as const;

    test("a command that fails is tried again after a pause that doubles, as often as it may", async ({
      store,
      clock,
    }) => {
      const runnerId = await runnerOf(store);
      const { session, commands } = await fixtures(store).session({
        commands: [{ argv, retries: 2, retryDelayMs: 600_000 }, { argv }],
        autoComplete: true,
      });
      const [{ id: commandId } = { id: "" }, second] = commands;
      for (const [attempt, pauseMs] of [
        [1, 600_000],
        [2, 1_200_000],
      ] as const) {
        const { command, fence } = await claimOf(store, runnerId, session.id);
        assert.deepEqual([command.id, command.attempt], [commandId, attempt]);
        const usage = { cpuMs: 10 };
        const outcome = attempt === 1 ? { ...failed, usage } : ({ outcome: "timed_out", usage } as const);
        const finished = await store.commands.finish({ commandId, fence, ...outcome });
        const { state, failedAttempts, notBefore, exitCode, endedAt, updatedAt } = finished.command;
        assert.deepEqual([state, failedAttempts, exitCode, endedAt], ["queued", attempt, null, null]);
        assert.equal(notBefore?.getTime(), updatedAt.getTime() + pauseMs);
        assert.deepEqual([finished.session.state, finished.remainingCommands], ["running", 2]);
        assert.equal(finished.session.failedCommands, 0);
        // The command behind it waits too, and a repeated report changes nothing.
        assert.deepEqual(await store.commands.finish({ commandId, fence, ...outcome }), finished);
        await fails(store.commands.finish({ commandId, fence, outcome: "succeeded" }), "lease_lost");
        assert.equal(await store.commands.claim({ runnerId, sessionId: session.id }), undefined);
        await clock.advance(pauseMs);
      }
      const { fence } = await claimOf(store, runnerId, session.id);
      const last = await store.commands.finish({ commandId, fence, ...failed });
      assert.deepEqual([last.command.state, last.command.exitCode, last.session.failedCommands], ["failed", 3, 1]);
      assert.deepEqual(
        (await store.commands.attempts({ commandId })).map(({ outcome, exitCode, cpuMs }) => [
          outcome,
          exitCode,
          cpuMs,
        ]),
        [
          ["failed", 3, 10],
          ["timed_out", null, 10],
          ["failed", 3, null],
        ],
      );
      const { days } = await store.usage.days({ by: "session", name: session.id });
      assert.equal(days[0]?.cpuMs, 20, "each attempt is counted once");
      assert.equal((await claimOf(store, runnerId, session.id)).command.id, second?.id);
    });

    alone("a pause before another attempt lasts no longer when the clock is set back", async ({ store, clock }) => {
      const runnerId = await runnerOf(store);
      const { session } = await fixtures(store).session({ commands: [{ argv, retries: 1, retryDelayMs: 600_000 }] });
      const { command, fence } = await claimOf(store, runnerId, session.id);
      await store.commands.finish({ commandId: command.id, fence, ...failed });
      clock.jump(-dayMs);
      await store.maintenance.reap();
      const { notBefore } = await commandOf(store, command.id);
      assert.ok(notBefore !== null && notBefore.getTime() <= clock.now() + 600_000);
      clock.advance(590_000);
      assert.equal(await store.commands.claim({ runnerId, sessionId: session.id }), undefined);
      clock.advance(11_000);
      await claimOf(store, runnerId, session.id);
    });

    test("failures do not use up the attempts for lost leases, and a cancelled command is not tried again", async ({
      store,
    }) => {
      const runnerId = await runnerOf(store);
      const { session, commands } = await fixtures(store).session({
        commands: [{ argv, retries: 5, retryDelayMs: 0, maxAttempts: 2 }],
      });
      const commandId = commands[0]?.id as string;
      for (const attempt of [1, 2]) {
        const { fence } = await claimOf(store, runnerId, session.id);
        await store.commands.finish({ commandId, fence, ...failed });
        assert.equal((await commandOf(store, commandId)).failedAttempts, attempt);
      }
      const given = await claimOf(store, runnerId, session.id);
      const back = await store.commands.handBack({ commandId, fence: given.fence });
      assert.equal(back.command.state, "queued");
      const { fence } = await claimOf(store, runnerId, session.id);
      await store.commands.cancel({ commandId });
      const ended = await store.commands.finish({ commandId, fence, ...failed });
      assert.equal(ended.command.state, "failed");
    });

    test("the pause has a bound, and a command counts as waiting from its end", async ({ store, clock }) => {
      await cancelAll(store);
      const { session, commands } = await fixtures(store).session({
        commands: [{ argv, retries: 2, retryDelayMs: dayMs }],
      });
      const commandId = commands[0]?.id as string;
      for (let n = 0; n < 2; n++) {
        const { fence } = await claimOf(store, await runnerOf(store), session.id);
        const { command } = await store.commands.finish({ commandId, fence, ...failed });
        assert.equal(command.notBefore?.getTime(), command.updatedAt.getTime() + dayMs);
        if (n === 0) await clock.advance(dayMs);
      }
      // One that is queued during the pause comes before it, and one that is queued later comes after it.
      await clock.advance(10);
      const during = await fixtures(store).session({ commands: [{ argv }] });
      await clock.advance(dayMs);
      const later = await fixtures(store).session({ commands: [{ argv }] });
      const runnerId = await runnerOf(store);
      for (const id of [during.session.id, session.id, later.session.id])
        assert.equal((await store.commands.claim({ runnerId }))?.session.id, id);
    });

    for (const end of ["finish", "handBack", "cancel by force"] as const)
      test(`a session stops at its first failure if it is to, by ${end}`, async ({ store }) => {
        const runnerId = await runnerOf(store);
        const made = async (onFailure: "stop" | "continue") => {
          const session = { onFailure, autoComplete: true, commands: [{ argv }, { argv }, { argv }] };
          const { session: created, commands } = await fixtures(store).session(session);
          assert.equal(created.onFailure, onFailure);
          const { fence } = await claimOf(store, runnerId, created.id);
          const commandId = commands[0]?.id as string;
          if (end === "finish") await store.commands.finish({ commandId, fence, ...failed });
          else if (end === "handBack") await store.commands.handBack({ commandId, fence });
          else await store.commands.cancel({ commandId, force: true });
          const rows = (await store.commands.list({ sessionId: created.id })).items;
          const { state, queuedCommands } = await store.sessions.get({ sessionId: created.id });
          return [state, queuedCommands, ...rows.map((row) => [row.state, row.endReason])];
        };
        const ended = {
          finish: ["failed", null],
          handBack: ["lost", "handed_back"],
          "cancel by force": ["cancelled", "forced"],
        }[end];
        const waiting = ["queued", null];
        assert.deepEqual(await made("continue"), ["running", 2, ended, waiting, waiting]);
        // What was cancelled has not failed.
        const stopped = ["cancelled", "command_failed"];
        assert.deepEqual(
          await made("stop"),
          end === "cancel by force" ? ["running", 2, ended, waiting, waiting] : ["failed", 0, ended, stopped, stopped],
        );
      });

    test("a retry comes before the session stops, and commands that are added after a failure run", async ({
      store,
    }) => {
      const runnerId = await runnerOf(store);
      const { session } = await fixtures(store).session({
        onFailure: "stop",
        commands: [{ argv, retries: 1, retryDelayMs: 0 }, { argv }],
      });
      for (const left of [2, 0]) {
        const { command, fence } = await claimOf(store, runnerId, session.id);
        const finished = await store.commands.finish({ commandId: command.id, fence, ...failed });
        assert.equal(finished.remainingCommands, left);
      }
      const { command } = await fixtures(store).command({ sessionId: session.id });
      assert.equal((await claimOf(store, runnerId, session.id)).command.id, command.id);
    });

    test("a command waits for its time, and those behind it with it", async ({ store, clock }) => {
      await cancelAll(store);
      const runnerId = await runnerOf(store);
      const notBefore = new Date(clock.now() + 600_000);
      const { session, commands } = await fixtures(store).session({ commands: [{ argv, notBefore }, { argv }] });
      assert.deepEqual(commands[0]?.notBefore, notBefore);
      const waiting = { kind: "not_before", commandId: commands[0]?.id, at: notBefore };
      const { reasons } = await store.commands.explain({ commandId: commands[1]?.id as string });
      assert.deepEqual(reasons, [{ kind: "predecessors", commands: 1, commandId: commands[0]?.id }, waiting]);
      assert.equal(await store.commands.claim({ runnerId }), undefined);
      // Without the one at the head, the next one need not wait.
      const other = await fixtures(store).session({ commands: [{ argv, notBefore }, { argv }] });
      await store.commands.cancel({ commandId: other.commands[0]?.id as string });
      assert.equal((await store.commands.claim({ runnerId }))?.session.id, other.session.id);
      await clock.advance(600_000);
      assert.deepEqual((await store.commands.explain({ commandId: commands[0]?.id as string })).reasons, [
        { kind: "queue", ahead: 0 },
      ]);
      assert.equal((await store.commands.claim({ runnerId }))?.session.id, session.id);
      const past = await fixtures(store).session({ commands: [{ argv, notBefore: new Date(5) }] });
      assert.equal((await store.commands.claim({ runnerId }))?.session.id, past.session.id);
    });

    alone(
      "the reaper wakes a claim that waits when the time has come",
      async ({ store, clock }) => {
        const runnerId = await runnerOf(store);
        // A move of the clock would wake all claims, so its own time has to pass.
        const notBefore = new Date(clock.now() + 300);
        const { session } = await fixtures(store).session({ commands: [{ argv, notBefore }] });
        const claim = store.commands.claim({ runnerId, ttlMs: dayMs, waitMs: 600_000 });
        await parked(store, 1);
        while (clock.now() <= notBefore.getTime()) await store.maintenance.health();
        await store.maintenance.reap();
        assert.equal((await claim)?.session.id, session.id);
      },
      { limits: { rewakeMs: 600_000, dataVersionPollMs: 600_000, reapEveryMs: 0 } },
    );

    test("a rerun names what it repeats, which must be there", async ({ store }) => {
      const { session, command } = await fixtures(store).command();
      const again = await fixtures(store).session({
        rerunOf: session.id,
        commands: [{ argv, rerunOf: command.id }, { argv }],
      });
      assert.equal(again.session.rerunOf, session.id);
      assert.deepEqual(
        again.commands.map(({ rerunOf }) => rerunOf),
        [command.id, null],
      );
      const commands = [
        { argv, rerunOf: command.id },
        { argv, rerunOf: newId() },
      ];
      await fails(store.commands.enqueue({ sessionId: session.id, commands }), "not_found", { entity: "command" });
      await store.sessions.cancel({ sessionId: session.id });
      await store.sessions.delete({ sessionId: session.id });
      assert.equal((await commandOf(store, again.commands[0]?.id)).rerunOf, command.id);
    });
  });
}
