// Many clients at once: no update is lost, nothing is leased twice, no client starves, and each client's order holds.
import assert from "node:assert/strict";
import { newId, type Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { bytes, cancelAll, collect, subject, text } from "../suite.ts";

export function concurrencyConformance(backend: TestedBackend): void {
  subject(backend, "concurrency and order", ({ test }) => {
    test("three clients run forty commands: each command runs once, and every log is complete", async (opened) => {
      const { store } = opened;
      const clients: Store[] = [store, await opened.connect(), await opened.connect()];
      await cancelAll(store);
      const { repository } = await fixtures(store).repository();
      const { commitSha } = fixtures(store);
      const sessions = await Promise.all(
        Array.from({ length: 8 }, () =>
          store.sessions.create({
            repositoryId: repository.id,
            commitSha,
            maxParallel: 2,
            autoComplete: true,
            commands: Array.from({ length: 5 }, () => ({ argv: ["x"] })),
          }),
        ),
      );
      const ran: string[] = [];
      const work = async (client: Store) => {
        const { runner } = await fixtures(client).runner();
        for (;;) {
          const claim = await client.commands.claim({ runnerId: runner.id });
          if (claim === undefined) return;
          ran.push(claim.command.id);
          const held = { commandId: claim.command.id, fence: claim.fence };
          const parts = ["begin\n", `${claim.command.sequence}\n`, "end\n"];
          let offset = 0;
          for (const part of parts)
            ({ ackOffset: offset } = await client.logs.append({ ...held, offset, data: bytes(part) }));
          await client.commands.finish({ ...held, outcome: "succeeded", logOffset: offset });
        }
      };
      const ids = sessions.flatMap(({ commands }) => commands.map(({ id }) => id)).sort();
      // A worker that finds nothing may be ahead of the finish that makes the next command claimable.
      while (ran.length < ids.length) await Promise.all(clients.flatMap((client) => [work(client), work(client)]));
      assert.deepEqual(ran.sort(), ids);
      for (const { session, commands } of sessions) {
        const after = await store.sessions.get({ sessionId: session.id });
        assert.deepEqual(
          [after.state, after.queuedCommands, after.activeCommands, after.failedCommands],
          ["completed", 0, 0, 0],
        );
        for (const { id, sequence } of commands) {
          const chunks = await collect(store.logs.follow({ commandId: id }));
          assert.equal(chunks.map(({ data }) => text(data)).join(""), `begin\n${sequence}\nend\n`);
        }
      }
    });

    test("a token that its client has revoked, rotated or disabled before in the same tick is refused", async ({
      store,
    }) => {
      const ends = [
        (tokenId: string) => store.tokens.revoke({ tokenId }),
        (tokenId: string) => store.tokens.rotate({ tokenId, graceMs: 0 }),
        (_tokenId: string, accountId: string) => store.accounts.disable({ accountId }),
      ];
      for (const end of ends) {
        const { token, secret } = await fixtures(store).token();
        const [, verified] = await Promise.allSettled([
          end(token.id, token.accountId),
          store.tokens.verify({ token: secret }),
        ]);
        assert.equal(verified.status, "rejected", String(end));
      }
    });

    test("clients that race for two worktrees never hold one at the same time", async (opened) => {
      const { store } = opened;
      const clients: Store[] = [store, await opened.connect(), await opened.connect()];
      const { repository } = await fixtures(store).repository({ maxWorktrees: 2 });
      const holders = new Map<string, number>();
      const fences = new Map<string, number>();
      await Promise.all(
        Array.from({ length: 9 }, async (_, n) => {
          const client = clients[n % 3] as Store;
          for (let turn = 0; turn < 4; turn++) {
            const { worktree, fence } = await client.worktrees.reserve({
              repositoryId: repository.id,
              owner: `o${n}`,
              waitMs: 60_000,
            });
            assert.equal(holders.get(worktree.id), undefined);
            assert.ok(fence > (fences.get(worktree.id) ?? 0));
            holders.set(worktree.id, n);
            fences.set(worktree.id, fence);
            if (worktree.state === "creating") await client.worktrees.ready({ worktreeId: worktree.id, fence });
            await client.worktrees.renew({ worktreeId: worktree.id, fence });
            holders.delete(worktree.id);
            await client.worktrees.release({ worktreeId: worktree.id, fence, to: turn % 2 === 0 ? "clean" : "dirty" });
          }
        }),
      );
      assert.equal(fences.size, 2);
      assert.equal(
        [...fences.values()].reduce((sum, fence) => sum + fence, 0),
        36,
      );
    });

    test("the calls of a client run in the order in which it made them", async (opened) => {
      for (const store of [opened.store, await opened.connect()]) {
        const { session } = await fixtures(store).session();
        const calls = Array.from({ length: 50 }, (_, n) =>
          store.commands.enqueue({ sessionId: session.id, commands: [{ argv: [`${n}`] }] }),
        );
        const reads = store.sessions.get({ sessionId: session.id });
        const later = store.commands.enqueue({ sessionId: session.id, commands: [{ argv: ["later"] }] });
        const rows = (await Promise.all(calls)).map(([row]) => row);
        assert.deepEqual(
          rows.map((row) => row?.sequence),
          Array.from({ length: 50 }, (_, n) => n + 1),
        );
        assert.equal((await reads).nextSequence, 51);
        assert.equal((await later)[0]?.sequence, 51);
      }
    });

    test("the order of calls also holds across transactions and waiting calls", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const { runner } = await fixtures(store).runner();
      const sessionId = session.id;
      const [enqueued, claim, [touched], ended, waited] = await Promise.all([
        store.commands.enqueue({ sessionId, commands: [{ argv: ["a"] }] }),
        store.commands.claim({ runnerId: runner.id, sessionId, waitMs: 1_000 }),
        store.atomically((tx) => tx.sessions.touch({ sessionId })),
        store.sessions.complete({ sessionId }),
        store.sessions.wait({ sessionId }),
      ]);
      assert.equal(claim?.command.id, enqueued[0]?.id);
      assert.deepEqual(
        [touched.state, touched.activeCommands, ended.state, waited.state],
        ["running", 1, "completed", "completed"],
      );
    });

    test("urgent calls that overtake other calls lose none of them", async ({ store }) => {
      const { worktree, fence } = await fixtures(store).lease();
      const { runner } = await fixtures(store).runner();
      const name = newId();
      const settled = await Promise.all([
        ...Array.from({ length: 30 }, (_, n) => store.repositories.upsert({ name, description: `${n}` })),
        store.worktrees.renew({ worktreeId: worktree.id, fence }),
        store.runners.heartbeat({ runnerId: runner.id }),
      ]);
      assert.equal(settled.length, 32);
      assert.equal((await store.repositories.find({ name }))?.description, "29");
    });

    test("a slow stream of one client does not delay another client", async (opened) => {
      const other = await opened.connect();
      const { claim } = await fixtures(opened.store).claim();
      const waiting = opened.store.commands.wait({ commandId: claim.command.id });
      const { repository } = await fixtures(other).repository();
      assert.deepEqual(await other.repositories.get({ repositoryId: repository.id }), repository);
      await other.commands.finish({ commandId: claim.command.id, fence: claim.fence, outcome: "succeeded" });
      assert.equal((await waiting).state, "succeeded");
    });
  });
}
