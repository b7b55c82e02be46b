// Answers: the rows that a write returns are those that are stored, in every column. Bodies build most of them from the
// row before and what they have changed, and do not read them back.
import assert from "node:assert/strict";
import { newId, type Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { fails, subject } from "../suite.ts";

/** Returns the functions that read the rows of an answer, by the name of the row in it. */
function readers(store: Store): Readonly<Record<string, (id: string) => Promise<object>>> {
  return {
    artifact: (artifactId) => store.artifacts.get({ artifactId }),
    command: (commandId) => store.commands.get({ commandId }),
    session: (sessionId) => store.sessions.get({ sessionId }),
    worktree: (worktreeId) => store.worktrees.get({ worktreeId }),
  };
}

/** Resolves to the answer of a call. Fails unless its rows, by their names, are the stored ones. */
async function checked<Answer extends object>(
  store: Store,
  call: Promise<Answer>,
  rowsOf: (answer: Answer) => Readonly<Record<string, object | readonly object[]>>,
): Promise<Answer> {
  const answer = await call;
  for (const [name, rows] of Object.entries(rowsOf(answer))) {
    const read = readers(store)[name] as (id: string) => Promise<object>;
    for (const row of [rows].flat() as { id: string }[]) assert.deepEqual(row, await read(row.id), name);
  }
  return answer;
}

const sha256 = "c".repeat(64);

export function answersConformance(backend: TestedBackend): void {
  subject(backend, "answers", ({ test, alone }) => {
    test("every write of a runner's day answers with the rows that are stored", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      const { runner } = await fixtures(store).runner();
      const [repositoryId, runnerId] = [repository.id, runner.id];
      const { commitSha } = fixtures(store);
      for (const round of ["a new worktree", "a worktree with an environment", "one whose facts are forgotten"]) {
        const { session } = await store.sessions.create({
          repositoryId,
          commitSha,
          idleTtlMs: 600_000,
          metadata: { round },
        });
        const sessionId = session.id;
        const environmentHash = round === "one whose facts are forgotten" ? "other" : "first";
        const { worktree, fence } = await checked(
          store,
          store.worktrees.reserve({ repositoryId, sessionId, runnerId, environmentHash }),
          ({ worktree }) => ({ worktree }),
        );
        const lease = { worktreeId: worktree.id, fence };
        const asWorktree = (row: object) => ({ worktree: row });
        const facts = { commitSha, environmentHash, sizeBytes: 7 };
        if (worktree.state === "creating")
          await checked(store, store.worktrees.ready({ ...lease, ...facts }), asWorktree);
        await checked(store, store.worktrees.update({ ...lease, ...facts, sizeBytes: worktree.fence }), asWorktree);
        const [command] = await checked(
          store,
          store.commands.enqueue({
            sessionId,
            commands: [
              {
                argv: ["a", ""],
                cwd: "packages/a",
                env: { A: "1" },
                secretEnvKeys: ["B"],
                priority: 3,
                timeoutMs: 60_000,
              },
              { argv: ["b"], maxAttempts: 2 },
            ],
          }),
          (command) => ({ command }),
        );
        const commandId = command?.id as string;
        const claim = await checked(
          store,
          store.commands.claim({ runnerId, sessionId }) as Promise<object>,
          (answer) => {
            const { command, session } = answer as { command: object; session: object };
            return { command, session };
          },
        );
        const asArtifact = ({ artifact }: { artifact: object }) => ({ artifact });
        const { artifact } = await checked(
          store,
          store.artifacts.begin({ sessionId, commandId, name: "a/b.xml", kind: "junit", metadata: { a: [1] } }),
          asArtifact,
        );
        const content = { sizeBytes: 3, sha256, uri: "s3://reports/b.xml" };
        const artifactId = artifact.id;
        await checked(store, store.artifacts.commit({ artifactId, ...content, ttlMs: 60_000 }), (row) => ({
          artifact: row,
        }));
        for (const pinned of [true, false])
          await checked(store, store.artifacts.pin({ artifactId, pinned }), (row) => ({ artifact: row }));
        // The same content, for longer.
        const again = { sessionId, commandId, name: "a/b.xml", ...content };
        await checked(store, store.artifacts.record(again), asArtifact);
        await checked(store, store.artifacts.delete({ artifactId }), (row) => ({ artifact: row }));
        await checked(
          store,
          store.artifacts.record({ ...again, contentType: "text/xml", description: "d", ttlMs: 60_000 }),
          asArtifact,
        );
        const rowsOf = ({ command, session }: { command: object; session: object }) => ({ command, session });
        const result = { commandId, fence: (claim as { fence: number }).fence, reason: "it ended" } as const;
        await checked(
          store,
          store.commands.finish({ ...result, outcome: "failed", exitCode: 3, signal: "SIGHUP" }),
          rowsOf,
        );
        await checked(store, store.worktrees.release({ ...lease, to: "clean", reason: "done" }), asWorktree);
        const { items } = await store.commands.list({ sessionId, state: "queued" });
        await checked(store, store.commands.cancel({ commandId: items[0]?.id as string }), (row) => ({ command: row }));
        await checked(store, store.sessions.complete({ sessionId, outcome: "completed" }), (row) => ({ session: row }));
      }
      await checked(store, store.worktrees.evict({ repositoryId, owner: "cleaner" }) as Promise<object>, (row) => ({
        worktree: row,
      }));
    });

    alone("many commands of one call have consecutive places, and answers that are stored", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const sessionId = session.id;
      // As many as need an INSERT of each size, some of them twice.
      const argvs = Array.from({ length: 64 + 16 + 4 + 4 + 1 + 1 }, (_, index) => [String(index)]);
      const answer = await checked(
        store,
        store.commands.enqueue({ sessionId, commands: argvs.map((argv) => ({ argv })) }),
        (command) => ({ command }),
      );
      assert.deepEqual(
        answer.map(({ argv }) => argv),
        argvs,
      );
      assert.deepEqual(
        answer.map(({ sequence }) => sequence),
        argvs.map((_, index) => index + 1),
      );
    });

    alone("of many commands, the first one whose id exists is named, and nothing is enqueued", async ({ store }) => {
      const { session } = await fixtures(store).session({ commands: [{ argv: ["known"] }] });
      const sessionId = session.id;
      const known = (await store.commands.list({ sessionId })).items[0]?.id as string;
      const ids = Array.from({ length: 70 }, () => newId());
      const enqueue = (all: readonly string[]) =>
        store.commands.enqueue({ sessionId, commands: all.map((id) => ({ id, argv: ["a"] })) });
      for (const place of [0, 20, 66, 69])
        await fails(enqueue(ids.with(place, known)), "conflict", { reason: "exists", commandId: known }, "rolled_back");
      await fails(enqueue(ids.with(68, ids[2] as string)), "conflict", { commandId: ids[2] }, "rolled_back");
      assert.equal((await store.commands.list({ sessionId })).items.length, 1);
      assert.equal((await enqueue(ids)).length, 70);
    });

    alone("commands at the end of a queue do not bring their session forward", async ({ store }) => {
      const { runner } = await fixtures(store).runner();
      const enqueue = (sessionId: string, priority: number) =>
        store.commands.enqueue({ sessionId, commands: [{ argv: ["a"], priority }] });
      const sessions = [(await fixtures(store).session()).session.id, (await fixtures(store).session()).session.id];
      const [low, high] = sessions as [string, string];
      await enqueue(low, 0);
      await enqueue(high, 500);
      await enqueue(low, 1_000);
      const claimed = async () => (await store.commands.claim({ runnerId: runner.id }))?.command.sessionId;
      assert.deepEqual([await claimed(), await claimed()], [high, low]);
    });
  });
}
