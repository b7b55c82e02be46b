// Calls that wait cost nothing while nothing happens for them, and none of them misses what it waits for.
import assert from "node:assert/strict";
import { newId, type Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { endOfFeed, fails, parked, subject } from "../suite.ts";

const argv = ["true"];
/** A claim with a short ttlMs runs now and then to renew its runner. */
const lasting = { ttlMs: 3_600_000, waitMs: 600_000 };
/** Nothing but a commit wakes a call that waits. */
const limits = { rewakeMs: 600_000, dataVersionPollMs: 600_000, reapEveryMs: 0 };

export function waitingConformance(backend: TestedBackend): void {
  subject(backend, "waiting", ({ alone }) => {
    /** Counts the calls that the server runs, with those that are woken, besides those that the work itself makes. */
    const runsDuring = async (store: Store, work: () => Promise<unknown>) => {
      const runs = async () => (await store.maintenance.stats()).serving.calls as number;
      const before = await runs();
      await work();
      return (await runs()) - before;
    };

    alone(
      "a command wakes one of the claims that wait, and those of a named session wait for that session only",
      async ({ store }) => {
        const aborter = new AbortController();
        const options = { signal: aborter.signal };
        const { session: idle } = await fixtures(store).session();
        const claims: Promise<unknown>[] = [];
        for (let n = 0; n < 40; n++) {
          const { runner } = await fixtures(store).runner({ ttlMs: 3_600_000 });
          const named = n % 2 === 0 ? {} : { sessionId: idle.id };
          claims.push(store.commands.claim({ runnerId: runner.id, ...lasting, ...named }, options));
        }
        await parked(store, 40);
        const { session } = await fixtures(store).session();
        const runs = await runsDuring(store, async () => {
          const settled = Promise.race(claims);
          await store.commands.enqueue({ sessionId: session.id, commands: [{ argv }] });
          assert.equal(((await settled) as { session: { id: string } }).session.id, session.id);
        });
        assert.ok(runs <= 6, `${runs} calls ran`);
        aborter.abort();
        await Promise.allSettled(claims);
      },
      { limits },
    );

    alone(
      "a command of a session whose worktree a runner leases wakes the claim of that runner",
      async ({ store }) => {
        const claims: Promise<unknown>[] = [];
        const aborter = new AbortController();
        const runnerIds: string[] = [];
        for (let n = 0; n < 5; n++) {
          const { runner } = await fixtures(store).runner({ ttlMs: 3_600_000 });
          runnerIds.push(runner.id);
          claims.push(store.commands.claim({ runnerId: runner.id, ...lasting }, { signal: aborter.signal }));
        }
        await parked(store, 5);
        const { session } = await fixtures(store).session({ reserve: { runnerId: runnerIds[3] as string } });
        await store.commands.enqueue({ sessionId: session.id, commands: [{ argv }] });
        assert.equal(((await claims[3]) as { session: { id: string } }).session.id, session.id);
        aborter.abort();
        await Promise.allSettled(claims);
      },
      { limits },
    );

    alone(
      "every command that may be claimed is claimed, whatever becomes of the claims that were woken for it",
      async ({ store }) => {
        const given = fixtures(store);
        const { repository } = await given.repository({ maxWorktrees: 500 });
        const commands = 120;
        let claimed = 0;
        const done = new AbortController();
        const runners = await Promise.all(Array.from({ length: 10 }, () => given.runner({ ttlMs: 3_600_000 })));
        const run = async (runnerId: string, index: number): Promise<void> => {
          for (let n = 0; !done.signal.aborted; n++) {
            // Some callers give up while they wait, or when they were just woken.
            const leaves = index % 2 === 0 ? AbortSignal.timeout(5 + ((n * 7 + index) % 30)) : done.signal;
            const signal = AbortSignal.any([leaves, done.signal]);
            const claim = await store.commands.claim({ runnerId, ...lasting }, { signal }).catch((error) => {
              if (error.code !== "aborted") throw error;
              // The server may have granted it meanwhile.
              if (error.outcome === "unknown") claimed++;
            });
            if (claim === undefined) continue;
            claimed++;
            const { command, fence } = claim;
            await store.commands.finish({ commandId: command.id, fence, outcome: "succeeded" });
          }
        };
        const running = runners.map(({ runner }, index) => run(runner.id, index));
        const sessionIds: string[] = [];
        for (let n = 0; n < commands / 3; n++) {
          const reserve = n % 3 === 0 ? { reserve: { runnerId: runners[n % 10]?.runner.id as string } } : {};
          const { session } = await store.sessions.create({
            repositoryId: repository.id,
            commitSha: given.commitSha,
            maxParallel: (n % 2) + 1,
            commands: [{ argv }, { argv }],
            ...reserve,
          });
          sessionIds.push(session.id);
          await store.commands.enqueue({ sessionId: session.id, commands: [{ argv }] });
        }
        // A session that is given up by its holder's lease goes to any runner.
        for (const sessionId of sessionIds) {
          for (;;) {
            const { queuedCommands } = await store.sessions.get({ sessionId });
            if (queuedCommands === 0) break;
            await new Promise((resolve) => setTimeout(resolve, 5));
          }
        }
        done.abort();
        await Promise.all(running);
        assert.ok(claimed >= commands - 20, `${claimed} claims`);
      },
      { limits },
    );

    alone(
      "a worktree that is free wakes one of the calls that wait for it, and the next one when that call fails",
      async ({ store }) => {
        const { repository } = await fixtures(store).repository({ maxWorktrees: 1 });
        const repositoryId = repository.id;
        const { worktree, fence } = await fixtures(store).lease({ repositoryId });
        const { session } = await fixtures(store).session({ repositoryId });
        const reserve = (owner: string, more = {}) =>
          store.worktrees.reserve({ repositoryId, owner, waitMs: 600_000, ...more });
        const failing = reserve("for a session that ends", { sessionId: session.id });
        await parked(store, 1);
        const waiting = Array.from({ length: 20 }, (_, n) => reserve(`${n}`));
        await parked(store, 21);
        let granted: { worktree: { id: string }; fence: number } | undefined;
        const runs = await runsDuring(store, async () => {
          await store.worktrees.release({ worktreeId: worktree.id, fence, to: "clean" });
          granted = await failing;
        });
        assert.ok(runs <= 6, `${runs} calls ran`);
        if (granted === undefined) throw new Error("nothing was granted");
        // In one transaction, so that the session has ended when the call for it is woken.
        const { session: other } = await fixtures(store).session({ repositoryId });
        const second = fails(reserve("for another session that ends", { sessionId: other.id }), "invalid_transition");
        await parked(store, 21);
        await store.sessions.cancel({ sessionId: other.id });
        await second;
        await store.worktrees.release({ worktreeId: granted.worktree.id, fence: granted.fence, to: "clean" });
        const next = await Promise.race(waiting);
        await store.worktrees.release({ worktreeId: next.worktree.id, fence: next.fence, to: "clean" });
        // The limit is raised by far: all that wait get one.
        await store.repositories.upsert({ name: repository.name, maxWorktrees: 50 });
        const all = await Promise.all(waiting);
        assert.equal(new Set(all.map((lease) => `${lease.worktree.id} ${lease.fence}`)).size, 20);
      },
      { limits },
    );

    alone(
      "a claim that is woken for one session and takes another leaves the first one to another claim",
      async ({ store }) => {
        const given = fixtures(store);
        const { runner: holder } = await given.runner({ ttlMs: 3_600_000 });
        const { runner: other } = await given.runner({ ttlMs: 3_600_000 });
        const { session: free } = await given.session();
        const { session: bound } = await given.session();
        await store.worktrees.reserve({
          repositoryId: bound.repositoryId,
          runnerId: holder.id,
          sessionId: bound.id,
          ttlMs: 3_600_000,
        });
        const first = store.commands.claim({ runnerId: holder.id, ...lasting });
        await parked(store, 1);
        const second = store.commands.claim({ runnerId: other.id, ...lasting, waitMs: 5_000 });
        await parked(store, 2);
        await store.atomically((tx) => [
          tx.commands.enqueue({ sessionId: free.id, commands: [{ argv }] }),
          tx.commands.enqueue({ sessionId: bound.id, commands: [{ argv }] }),
        ]);
        assert.equal((await first)?.session.id, bound.id);
        assert.equal((await second)?.session.id, free.id);
      },
      { limits },
    );

    alone(
      "a watcher of a session or of an entity runs for its own changes only",
      async ({ store }) => {
        const { session: idle } = await fixtures(store).session();
        const { session: busy } = await fixtures(store).session();
        const after = await endOfFeed(store);
        const filters = [{ sessionId: idle.id }, { entity: "token" }, { sessionId: idle.id, entity: "command" }];
        const watchers = Array.from({ length: 30 }, (_, n) =>
          store.changes.watch({ after, waitMs: 600_000, ...filters[n % filters.length] }),
        );
        const next = watchers.map((watcher) => watcher.next());
        await parked(store, 30);
        const runs = await runsDuring(store, async () => {
          for (let n = 0; n < 20; n++) await store.commands.enqueue({ sessionId: busy.id, commands: [{ argv }] });
        });
        assert.ok(runs <= 25, `${runs} calls ran`);
        const [command] = await store.commands.enqueue({ sessionId: idle.id, commands: [{ argv }] });
        const { account } = await fixtures(store).account();
        const { token } = await fixtures(store).token({ accountId: account.id });
        const seen = (await Promise.all(next)).map(({ value }) => value?.entityId);
        const expected = [command?.id, undefined, command?.id];
        for (const [index, id] of seen.entries()) {
          const wanted = expected[index % 3];
          if (wanted !== undefined) assert.equal(id, wanted);
        }
        assert.ok(
          seen.includes(token.id) || seen.filter((_, index) => index % 3 === 1).every((id) => id !== undefined),
        );
        for (const watcher of watchers) await watcher.return();
      },
      { limits },
    );

    alone(
      "a claim that is woken for a runner that no longer gets commands leaves the command to another",
      async ({ store }) => {
        const { runner: leaving } = await fixtures(store).runner({ ttlMs: 3_600_000 });
        const { runner: staying } = await fixtures(store).runner({ ttlMs: 3_600_000 });
        for (let round = 0; round < 5; round++) {
          const bootId = newId();
          const { id: runnerId } = await store.runners.register({ name: leaving.name, bootId, ttlMs: 3_600_000 });
          const first = store.commands.claim({ runnerId, ...lasting });
          first.catch(() => undefined);
          await parked(store, 1);
          const second = store.commands.claim({ runnerId: staying.id, ...lasting });
          await parked(store, 2);
          const { session } = await fixtures(store).session();
          const [claim] = await Promise.all([
            second,
            store.runners.drain({ runnerId }),
            store.commands.enqueue({ sessionId: session.id, commands: [{ argv }] }),
            fails(first, "invalid_transition", { state: "draining" }),
          ]);
          assert.equal(claim?.session.id, session.id);
        }
      },
      { limits },
    );
  });
}
