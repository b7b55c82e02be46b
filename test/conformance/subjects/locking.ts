// Optimistic locking: a stale expectedVersion changes nothing, and of several racing updates exactly one succeeds.
import assert from "node:assert/strict";
import { newId, type Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { endOfFeed, fails, subject } from "../suite.ts";

interface Versioned {
  readonly version: number;
}

/** A row, a change of it that takes an expectedVersion, and how to read it again. */
type Case = (store: Store) => Promise<{
  row: Versioned;
  change(expectedVersion: number): Promise<unknown>;
  read(): Promise<Versioned | undefined>;
}>;

const cases: Readonly<Record<string, Case>> = {
  "repositories.upsert": async (store) => {
    const { repository } = await fixtures(store).repository();
    return {
      row: repository,
      change: (expectedVersion) =>
        store.repositories.upsert({ name: repository.name, description: newId(), expectedVersion }),
      read: () => store.repositories.get({ repositoryId: repository.id }),
    };
  },
  "repositories.archive": async (store) => {
    const { repository } = await fixtures(store).repository();
    const repositoryId = repository.id;
    return {
      row: repository,
      change: (expectedVersion) => store.repositories.archive({ repositoryId, expectedVersion }),
      read: () => store.repositories.get({ repositoryId }),
    };
  },
  "worktrees.update": async (store) => {
    const { worktree, fence } = await fixtures(store).lease();
    const worktreeId = worktree.id;
    return {
      row: worktree,
      change: (expectedVersion) => store.worktrees.update({ worktreeId, fence, sizeBytes: 1, expectedVersion }),
      read: () => store.worktrees.get({ worktreeId }),
    };
  },
  "worktrees.restore": async (store) => {
    const { worktree, fence } = await fixtures(store).lease();
    const worktreeId = worktree.id;
    const row = await store.worktrees.quarantine({ worktreeId, fence });
    return {
      row,
      change: (expectedVersion) => store.worktrees.restore({ worktreeId, expectedVersion }),
      read: () => store.worktrees.get({ worktreeId }),
    };
  },
  "worktrees.adopt": async (store) => {
    const { worktree: row } = await fixtures(store).worktree();
    return {
      row,
      change: (expectedVersion) => store.worktrees.adopt({ worktreeId: row.id, place: newId(), expectedVersion }),
      read: () => store.worktrees.get({ worktreeId: row.id }),
    };
  },
  "sessions.complete": async (store) => {
    const { session } = await fixtures(store).session();
    const row = await store.sessions.touch({ sessionId: session.id, start: true });
    return {
      row,
      change: (expectedVersion) => store.sessions.complete({ sessionId: row.id, expectedVersion }),
      read: () => store.sessions.get({ sessionId: row.id }),
    };
  },
  "sessions.cancel": async (store) => {
    const { session: row } = await fixtures(store).session();
    return {
      row,
      change: (expectedVersion) => store.sessions.cancel({ sessionId: row.id, expectedVersion }),
      read: () => store.sessions.get({ sessionId: row.id }),
    };
  },
  "sessions.delete": async (store) => {
    const { session } = await fixtures(store).session();
    const row = await store.sessions.cancel({ sessionId: session.id });
    return {
      row,
      change: (expectedVersion) => store.sessions.delete({ sessionId: row.id, expectedVersion }),
      read: async () => (await store.sessions.list({ repositoryId: row.repositoryId })).items[0],
    };
  },
  "debug.setBreakpoints": async (store) => {
    const { debugSession: row, debugSessionId } = await fixtures(store).debugSession();
    return {
      row,
      change: (expectedVersion) =>
        store.debug.setBreakpoints({ debugSessionId, sourcePath: "/a", breakpoints: [{ line: 1 }], expectedVersion }),
      read: async () => (await store.debug.get({ debugSessionId })).debugSession,
    };
  },
  "debug.patchState": async (store) => {
    const { debugSession: row, debugSessionId, adapterRun } = await fixtures(store).debugSession();
    return {
      row,
      change: (expectedVersion) =>
        store.debug.patchState({ debugSessionId, adapterRun, expectedEpoch: 0, payload: { a: 1 }, expectedVersion }),
      read: async () => (await store.debug.get({ debugSessionId })).debugSession,
    };
  },
  "debug.close": async (store) => {
    const { debugSession: row, debugSessionId } = await fixtures(store).debugSession();
    return {
      row,
      change: (expectedVersion) => store.debug.close({ debugSessionId, expectedVersion }),
      read: async () => (await store.debug.get({ debugSessionId })).debugSession,
    };
  },
  "commands.cancel": async (store) => {
    const { command: row } = await fixtures(store).command();
    return {
      row,
      change: (expectedVersion) => store.commands.cancel({ commandId: row.id, expectedVersion }),
      read: () => store.commands.get({ commandId: row.id }),
    };
  },
};

export function lockingConformance(backend: TestedBackend): void {
  subject(backend, "optimistic locking", ({ test }) => {
    for (const [name, prepare] of Object.entries(cases)) {
      test(`${name} with a stale version is a conflict and changes nothing; with the current version it succeeds`, async ({
        store,
      }) => {
        const { row, change, read } = await prepare(store);
        await fails(change(row.version + 1), "conflict", { reason: "version", currentVersion: row.version });
        assert.deepEqual(await read(), row);
        await change(row.version);
        assert.notDeepEqual(await read(), row);
      });
    }

    test("of eight updates from the same version, one succeeds", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      const calls = Array.from({ length: 8 }, (_, n) =>
        store.repositories.upsert({ name: repository.name, description: `${n}`, expectedVersion: repository.version }),
      );
      const settled = await Promise.allSettled(calls);
      const winners = settled.filter((one) => one.status === "fulfilled");
      assert.equal(winners.length, 1);
      for (const one of settled) {
        if (one.status === "rejected")
          assert.deepEqual(
            [one.reason.code, one.reason.details],
            ["conflict", { reason: "version", currentVersion: 2 }],
          );
      }
      assert.deepEqual(await store.repositories.get({ repositoryId: repository.id }), winners[0]?.value);
    });

    test("every recorded change raises the version by one", async ({ store }) => {
      const nextSeq = await endOfFeed(store);
      const { worktree, fence } = await fixtures(store).lease();
      await store.worktrees.update({ worktreeId: worktree.id, fence, sizeBytes: 5 });
      await store.worktrees.renew({ worktreeId: worktree.id, fence });
      await store.worktrees.release({ worktreeId: worktree.id, fence });
      const { changes } = await store.changes.since({ after: nextSeq, entity: "worktree" });
      assert.deepEqual(
        changes.map(({ op, entityVersion }) => [op, entityVersion]),
        [
          ["create", 1],
          ["ready", 2],
          ["update", 3],
          ["release", 4],
        ],
      );
    });
  });
}
