// References: an id that names no row is refused with `not_found`, whatever operation it is passed to (D-086).
import assert from "node:assert/strict";
import { it } from "node:test";
import { newId, type Store } from "../../../src/index.ts";
import { operations } from "../../../src/operations/table.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { bytes, fails, subject } from "../suite.ts";

const unknown = newId();
const commitSha = "0123456789abcdef0123456789abcdef01234567";
const sha256 = "0".repeat(64);
const content = { sizeBytes: 1, sha256, uri: "file:///x" };
const commands = [{ argv: ["true"] }];
const adapter = { debugSessionId: unknown, adapterRun: 1 };

/** The ids of existing rows, beside which one unknown id is passed. */
interface Rows {
  readonly repositoryId: string;
  readonly sessionId: string;
  readonly runnerId: string;
  readonly accountId: string;
  readonly createdBy: string;
}

type Call = (store: Store, rows: Rows) => Promise<unknown>;

/** Each field that names a row, by operation and field, and a call whose only unknown id is in this field. */
const calls: Readonly<Record<string, Call>> = {
  "repositories.get repositoryId": (s) => s.repositories.get({ repositoryId: unknown }),
  "repositories.archive repositoryId": (s) => s.repositories.archive({ repositoryId: unknown }),
  "repositories.rename repositoryId": (s) => s.repositories.rename({ repositoryId: unknown, name: "n" }),
  "runners.heartbeat runnerId": (s) => s.runners.heartbeat({ runnerId: unknown }),
  "runners.drain runnerId": (s) => s.runners.drain({ runnerId: unknown }),
  "runners.get runnerId": (s) => s.runners.get({ runnerId: unknown }),
  "worktrees.reserve repositoryId": (s) => s.worktrees.reserve({ repositoryId: unknown, owner: "o" }),
  "worktrees.reserve sessionId": (s, { repositoryId }) =>
    s.worktrees.reserve({ repositoryId, owner: "o", sessionId: unknown }),
  "worktrees.reserve runnerId": (s, { repositoryId }) => s.worktrees.reserve({ repositoryId, runnerId: unknown }),
  "worktrees.register repositoryId": (s) => s.worktrees.register({ repositoryId: unknown, path: "/x" }),
  "worktrees.ready worktreeId": (s) => s.worktrees.ready({ worktreeId: unknown, fence: 1 }),
  "worktrees.renew worktreeId": (s) => s.worktrees.renew({ worktreeId: unknown, fence: 1 }),
  "worktrees.update worktreeId": (s) => s.worktrees.update({ worktreeId: unknown, fence: 1 }),
  "worktrees.release worktreeId": (s) => s.worktrees.release({ worktreeId: unknown, fence: 1 }),
  "worktrees.quarantine worktreeId": (s) => s.worktrees.quarantine({ worktreeId: unknown, fence: 1 }),
  "worktrees.restore worktreeId": (s) => s.worktrees.restore({ worktreeId: unknown }),
  "worktrees.adopt worktreeId": (s) => s.worktrees.adopt({ worktreeId: unknown, place: "a" }),
  "worktrees.evict repositoryId": (s) => s.worktrees.evict({ repositoryId: unknown, owner: "o" }),
  "worktrees.evict worktreeId": (s, { repositoryId }) =>
    s.worktrees.evict({ repositoryId, owner: "o", worktreeId: unknown }),
  "worktrees.evict runnerId": (s, { repositoryId }) => s.worktrees.evict({ repositoryId, runnerId: unknown }),
  "worktrees.evictUnused repositoryId": (s) => s.worktrees.evictUnused({ repositoryId: unknown, owner: "o" }),
  "worktrees.evictUnused runnerId": (s, { repositoryId }) =>
    s.worktrees.evictUnused({ repositoryId, runnerId: unknown }),
  "worktrees.completeEvict worktreeId": (s) => s.worktrees.completeEvict({ worktreeId: unknown, fence: 1 }),
  "worktrees.get worktreeId": (s) => s.worktrees.get({ worktreeId: unknown }),
  "environments.acquire repositoryId": (s) => s.environments.acquire({ repositoryId: unknown, hash: "h", owner: "o" }),
  "environments.acquire sessionId": (s, { repositoryId }) =>
    s.environments.acquire({ repositoryId, hash: "h", owner: "o", sessionId: unknown }),
  "environments.acquire runnerId": (s, { repositoryId }) =>
    s.environments.acquire({ repositoryId, hash: "h", runnerId: unknown }),
  "environments.renew environmentId": (s) => s.environments.renew({ environmentId: unknown, fence: 1 }),
  "environments.ready environmentId": (s) =>
    s.environments.ready({ environmentId: unknown, fence: 1, uri: "file:///x", sizeBytes: 1 }),
  "environments.fail environmentId": (s) => s.environments.fail({ environmentId: unknown, fence: 1 }),
  "environments.pin environmentId": (s) => s.environments.pin({ environmentId: unknown }),
  "environments.get environmentId": (s) => s.environments.get({ environmentId: unknown }),
  "sessions.create repositoryId": (s) => s.sessions.create({ repositoryId: unknown, commitSha }),
  "sessions.create tokenId": (s, { repositoryId }) => s.sessions.create({ repositoryId, commitSha, tokenId: unknown }),
  "sessions.complete sessionId": (s) => s.sessions.complete({ sessionId: unknown }),
  "sessions.cancel sessionId": (s) => s.sessions.cancel({ sessionId: unknown }),
  "sessions.update sessionId": (s) => s.sessions.update({ sessionId: unknown }),
  "sessions.pin sessionId": (s) => s.sessions.pin({ sessionId: unknown }),
  "sessions.touch sessionId": (s) => s.sessions.touch({ sessionId: unknown }),
  "sessions.get sessionId": (s) => s.sessions.get({ sessionId: unknown }),
  "sessions.wait sessionId": (s) => s.sessions.wait({ sessionId: unknown }),
  "commands.enqueue sessionId": (s) => s.commands.enqueue({ sessionId: unknown, commands }),
  "commands.claim runnerId": (s) => s.commands.claim({ runnerId: unknown }),
  "commands.claim sessionId": (s, { runnerId }) => s.commands.claim({ runnerId, sessionId: unknown }),
  "commands.handBack commandId": (s) => s.commands.handBack({ commandId: unknown, fence: 1 }),
  "commands.finish commandId": (s) => s.commands.finish({ commandId: unknown, fence: 1, outcome: "failed" }),
  "commands.cancel commandId": (s) => s.commands.cancel({ commandId: unknown }),
  "commands.explain commandId": (s) => s.commands.explain({ commandId: unknown }),
  "commands.get commandId": (s) => s.commands.get({ commandId: unknown }),
  "commands.attempts commandId": (s) => s.commands.attempts({ commandId: unknown }),
  "commands.wait commandId": (s) => s.commands.wait({ commandId: unknown }),
  "logs.append commandId": (s) => s.logs.append({ commandId: unknown, fence: 1, offset: 0, data: bytes("x") }),
  "logs.read commandId": (s) => s.logs.read({ commandId: unknown }),
  "logs.follow commandId": (s) => s.logs.follow({ commandId: unknown }).next(),
  "logs.followSession sessionId": (s) => s.logs.followSession({ sessionId: unknown }).next(),
  "logs.mark sessionId": (s) => s.logs.mark({ sessionId: unknown, text: "a" }),
  "logs.mark commandId": (s, { sessionId }) => s.logs.mark({ sessionId, text: "a", commandId: unknown, fence: 1 }),
  "logs.timeline commandId": (s) => s.logs.timeline({ commandId: unknown }),
  "logs.archive commandId": (s) => s.logs.archive({ commandId: unknown }),
  "artifacts.record sessionId": (s) => s.artifacts.record({ sessionId: unknown, name: "a", ...content }),
  "artifacts.record commandId": (s, { sessionId }) =>
    s.artifacts.record({ sessionId, commandId: unknown, name: "a", ...content }),
  "artifacts.begin sessionId": (s) => s.artifacts.begin({ sessionId: unknown, name: "a" }),
  "artifacts.begin commandId": (s, { sessionId }) => s.artifacts.begin({ sessionId, commandId: unknown, name: "a" }),
  "artifacts.commit artifactId": (s) => s.artifacts.commit({ artifactId: unknown, ...content }),
  "artifacts.get artifactId": (s) => s.artifacts.get({ artifactId: unknown }),
  "artifacts.delete artifactId": (s) => s.artifacts.delete({ artifactId: unknown }),
  "artifacts.pin artifactId": (s) => s.artifacts.pin({ artifactId: unknown }),
  "patches.get patchId": (s) => s.patches.get({ patchId: unknown }),
  "accounts.disable accountId": (s) => s.accounts.disable({ accountId: unknown }),
  "accounts.enable accountId": (s) => s.accounts.enable({ accountId: unknown }),
  "accounts.rename accountId": (s) => s.accounts.rename({ accountId: unknown, name: "n" }),
  "accounts.get accountId": (s) => s.accounts.get({ accountId: unknown }),
  "tokens.mint accountId": (s, { createdBy }) =>
    s.tokens.mint({ accountId: unknown, name: "n", scopes: ["sessions:read"], createdBy }),
  "tokens.mint createdBy": (s, { accountId }) =>
    s.tokens.mint({ accountId, name: "n", scopes: ["sessions:read"], createdBy: unknown }),
  "tokens.mintForSession sessionId": (s, { createdBy }) =>
    s.tokens.mintForSession({ sessionId: unknown, scopes: ["sessions:read"], createdBy }),
  "tokens.mintForSession createdBy": (s, { sessionId }) =>
    s.tokens.mintForSession({ sessionId, scopes: ["sessions:read"], createdBy: unknown }),
  "tokens.rotate tokenId": (s) => s.tokens.rotate({ tokenId: unknown }),
  "tokens.revoke tokenId": (s) => s.tokens.revoke({ tokenId: unknown }),
  "debug.open sessionId": (s) => s.debug.open({ sessionId: unknown, name: "d", adapter: "node" }),
  "debug.open commandId": (s, { sessionId }) =>
    s.debug.open({ sessionId, commandId: unknown, name: "d", adapter: "node" }),
  "debug.setBreakpoints debugSessionId": (s) =>
    s.debug.setBreakpoints({ debugSessionId: unknown, kind: "source", sourcePath: "/a.js", breakpoints: [] }),
  "debug.bindBreakpoints debugSessionId": (s) =>
    s.debug.bindBreakpoints({ ...adapter, bound: [{ breakpointId: unknown, breakpoint: { verified: true } }] }),
  "debug.applyEvent debugSessionId": (s) => s.debug.applyEvent({ ...adapter, seq: 1, event: "initialized" }),
  "debug.putStop debugSessionId": (s) =>
    s.debug.putStop({ ...adapter, stopEpoch: 1, threads: [{ id: 1, name: "main", frames: [] }] }),
  "debug.patchState debugSessionId": (s) => s.debug.patchState({ ...adapter, expectedEpoch: 0, state: "running" }),
  "debug.get debugSessionId": (s) => s.debug.get({ debugSessionId: unknown }),
  "debug.follow debugSessionId": (s) => s.debug.follow({ debugSessionId: unknown }).next(),
  "debug.request debugSessionId": (s) => s.debug.request({ debugSessionId: unknown, command: "threads" }),
  "debug.takeRequests debugSessionId": (s) => s.debug.takeRequests(adapter),
  "debug.reply debugSessionId": (s) => s.debug.reply({ ...adapter, request: { id: unknown, command: "threads" } }),
  "debug.cancelRequest requestId": (s) => s.debug.cancelRequest({ requestId: unknown }),
  "debug.history debugSessionId": (s) => s.debug.history({ debugSessionId: unknown }),
  "debug.close debugSessionId": (s) => s.debug.close({ debugSessionId: unknown }),
};

/** The fields that only filter rows, or of which no row is required. */
const exempt = (name: string): boolean =>
  /\.list \w+$|^changes\.|^runners\.register bootId$|^(?:sessions|patches|environments)\.delete \w+$|^debug\.\w+ threadId$|^tokens\.check /.test(
    name,
  );

export function referencesConformance(backend: TestedBackend): void {
  it(`${backend.name}: a call is listed for every field that names a row`, () => {
    const fields = Object.entries(operations).flatMap(([entity, verbs]) =>
      Object.entries(verbs).flatMap(([verb, { inputSchema }]) =>
        Object.keys(inputSchema.shape)
          .filter((field) => /Id$|By$/.test(field) && field !== "requestedBy")
          .map((field) => `${entity}.${verb} ${field}`),
      ),
    );
    assert.deepEqual(Object.keys(calls).toSorted(), fields.filter((name) => !exempt(name)).toSorted());
  });

  subject(backend, "references", ({ test }) => {
    test("an id that names no row is not_found, and the error names its entity", async ({ store }) => {
      const { repository, session } = await fixtures(store).session();
      const { runner } = await fixtures(store).runner();
      const { token } = await fixtures(store).token({ scopes: ["admin"] });
      const rows = {
        repositoryId: repository.id,
        sessionId: session.id,
        runnerId: runner.id,
        accountId: token.accountId,
        createdBy: token.id,
      };
      for (const [name, call] of Object.entries(calls)) {
        const error = await fails(() => call(store, rows), "not_found", { id: unknown }).catch((cause: unknown) => {
          throw new Error(name, { cause });
        });
        assert.match(error.message, /^there is no /, name);
        const entity = /(?:createdBy|(\w+?)Id)$/
          .exec(name)?.[1]
          ?.replace(/[A-Z]/, (letter) => `_${letter.toLowerCase()}`);
        assert.equal(error.details.entity, entity ?? "token", name);
      }
    });
  });
}
