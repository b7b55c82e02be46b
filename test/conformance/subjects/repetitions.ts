// Repetitions: a call whose answer was lost can be repeated with the same input, its expectedVersion included, and
// changes nothing.
import assert from "node:assert/strict";
import { it } from "node:test";
import { newId, type Store } from "../../../src/index.ts";
import { operations } from "../../../src/operations/table.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { endOfFeed, subject } from "../suite.ts";

/** Prepares a row, and returns the call that changes it. The call names the version that the row has before. */
type Prepare = (store: Store) => Promise<() => Promise<{ readonly id: string }>>;

const content = { sizeBytes: 4, sha256: "0".repeat(64), uri: "file:///srv/x" };

const repeatable: Readonly<Record<string, Prepare>> = {
  "repositories.archive": async (store) => {
    const { repository } = await fixtures(store).repository();
    return () => store.repositories.archive({ repositoryId: repository.id, expectedVersion: repository.version });
  },
  "repositories.rename": async (store) => {
    const { repository } = await fixtures(store).repository();
    const name = newId();
    return () => store.repositories.rename({ repositoryId: repository.id, name, expectedVersion: repository.version });
  },
  "repositories.upsert": async (store) => {
    const { repository } = await fixtures(store).repository();
    const { name, version: expectedVersion } = repository;
    return () => store.repositories.upsert({ name, description: "d", expectedVersion });
  },
  "worktrees.restore": async (store) => {
    const { worktree, fence } = await fixtures(store).lease();
    const { id, version } = await store.worktrees.release({ worktreeId: worktree.id, fence, to: "keep" });
    return () => store.worktrees.restore({ worktreeId: id, expectedVersion: version });
  },
  "worktrees.adopt": async (store) => {
    const { worktree } = await fixtures(store).worktree();
    const { id: worktreeId, version: expectedVersion } = worktree;
    return () => store.worktrees.adopt({ worktreeId, place: "elsewhere", expectedVersion });
  },
  "sessions.complete": async (store) => {
    const { session } = await fixtures(store).session();
    return () => store.sessions.complete({ sessionId: session.id, expectedVersion: session.version });
  },
  "sessions.pin": async (store) => {
    const { session } = await fixtures(store).session();
    return () => store.sessions.pin({ sessionId: session.id, expectedVersion: session.version });
  },
  "sessions.update": async (store) => {
    const { session } = await fixtures(store).session();
    const { id: sessionId, version: expectedVersion } = session;
    return () => store.sessions.update({ sessionId, labels: { a: "" }, metadata: [1], expectedVersion });
  },
  "sessions.cancel": async (store) => {
    const { session } = await fixtures(store).claim();
    return () => store.sessions.cancel({ sessionId: session.id, expectedVersion: session.version });
  },
  "commands.cancel": async (store) => {
    const { command } = await fixtures(store).command();
    return () => store.commands.cancel({ commandId: command.id, expectedVersion: command.version });
  },
  "artifacts.commit": async (store) => {
    const { session } = await fixtures(store).session();
    const { artifact } = await store.artifacts.begin({ sessionId: session.id, name: "a" });
    return () => store.artifacts.commit({ artifactId: artifact.id, ...content, expectedVersion: artifact.version });
  },
  "artifacts.delete": async (store) => {
    const { artifact } = await fixtures(store).artifact();
    return () => store.artifacts.delete({ artifactId: artifact.id, expectedVersion: artifact.version });
  },
  "environments.pin": async (store) => {
    const { environment } = await fixtures(store).environment();
    return () => store.environments.pin({ environmentId: environment.id, expectedVersion: environment.version });
  },
  "artifacts.pin": async (store) => {
    const { artifact } = await fixtures(store).artifact();
    return () => store.artifacts.pin({ artifactId: artifact.id, expectedVersion: artifact.version });
  },
  "accounts.disable": async (store) => {
    const { account } = await fixtures(store).account();
    return () => store.accounts.disable({ accountId: account.id, expectedVersion: account.version });
  },
  "accounts.enable": async (store) => {
    const { account } = await fixtures(store).account();
    const { id, version } = await store.accounts.disable({ accountId: account.id });
    return () => store.accounts.enable({ accountId: id, expectedVersion: version });
  },
  "accounts.rename": async (store) => {
    const { account } = await fixtures(store).account();
    const name = newId();
    return () => store.accounts.rename({ accountId: account.id, name, expectedVersion: account.version });
  },
  "tokens.revoke": async (store) => {
    const { token } = await fixtures(store).token();
    return () => store.tokens.revoke({ tokenId: token.id, expectedVersion: token.version });
  },
  "debug.close": async (store) => {
    const { debugSession } = await fixtures(store).debugSession();
    const { id, version } = debugSession;
    return () => store.debug.close({ debugSessionId: id, expectedVersion: version });
  },
};

/** The operations that take an expectedVersion and whose repetition has an effect, or an answer of its own. */
const others = [
  "debug.patchState",
  "debug.setBreakpoints",
  "maintenance.setRetention",
  "sessions.delete",
  "environments.delete",
  "patches.delete",
  "tokens.rotate",
  "worktrees.update",
];

export function repetitionsConformance(backend: TestedBackend): void {
  it(`${backend.name}: every operation with an expectedVersion is listed`, () => {
    const names = Object.entries(operations).flatMap(([entity, verbs]) =>
      Object.entries(verbs)
        .filter(([, { inputSchema }]) => "expectedVersion" in inputSchema.shape)
        .map(([verb]) => `${entity}.${verb}`),
    );
    assert.deepEqual([...Object.keys(repeatable), ...others].toSorted(), names.toSorted());
  });

  subject(backend, "repetitions", ({ test }) => {
    for (const [name, prepare] of Object.entries(repeatable)) {
      test(`${name} with an expectedVersion can be repeated, and changes nothing then`, async ({ store }) => {
        const call = await prepare(store);
        const first = await call();
        const after = await endOfFeed(store);
        assert.deepEqual(await call(), first);
        const { changes } = await store.changes.since({ after });
        assert.deepEqual(
          changes.filter(({ entityId }) => entityId === first.id),
          [],
        );
      });
    }
  });
}
