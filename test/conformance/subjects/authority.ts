// Authority: what a token may do to which rows, asked with tokens.check and checked with the option `tokenId` of a call.
import assert from "node:assert/strict";
import { newId, type Scope, type Store } from "../../../src/index.ts";
import { scopes } from "../../../src/model/vocabulary.ts";
import { reachFields } from "../../../src/operations/authority.ts";
import { operationScopes, ownTokenFields } from "../../../src/operations/scopes.ts";
import { operations } from "../../../src/operations/table.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { sampleInput } from "../../support/samples.ts";
import { bytes, fails, subject } from "../suite.ts";

/** All scopes but those that lift limits. */
const most = scopes.filter((scope) => scope !== "admin" && scope !== "sessions:any");

/** The rows of one session, of an account of its own. */
async function world(store: Store) {
  const given = fixtures(store);
  const { token: owner } = await given.token({ scopes: [...most] });
  const { repository } = await given.repository();
  const { worktree } = await given.lease({ repositoryId: repository.id });
  const { environment } = await given.environment({ repositoryId: repository.id });
  const { runner } = await given.runner();
  const { session } = await given.session({ repositoryId: repository.id, tokenId: owner.id });
  const [command] = await store.commands.enqueue({ sessionId: session.id, commands: [{ argv: ["true"] }] });
  const { artifact } = await given.artifact({ sessionId: session.id });
  const { debugSession } = await given.debugSession({ sessionId: session.id });
  return {
    owner,
    runner,
    repositoryId: repository.id,
    sessionId: session.id,
    commandId: (command as { id: string }).id,
    artifactId: artifact.id,
    debugSessionId: debugSession.id,
    worktreeId: worktree.id,
    environmentId: environment.id,
  };
}

type World = Awaited<ReturnType<typeof world>>;
type Options = { readonly tokenId: string };
type Ask = (rows: World, store: Store, options: Options) => Promise<unknown>;

/** A call for each kind of row, with the field that names the row. */
const asks: Readonly<Record<string, readonly [field: keyof World & (typeof reachFields)[number], ask: Ask]>> = {
  "repositories.get": ["repositoryId", ({ repositoryId }, s, o) => s.repositories.get({ repositoryId }, o)],
  "sessions.list": ["repositoryId", ({ repositoryId }, s, o) => s.sessions.list({ repositoryId }, o)],
  "worktrees.get": ["worktreeId", ({ worktreeId }, s, o) => s.worktrees.get({ worktreeId }, o)],
  "environments.get": ["environmentId", ({ environmentId }, s, o) => s.environments.get({ environmentId }, o)],
  "sessions.get": ["sessionId", ({ sessionId }, s, o) => s.sessions.get({ sessionId }, o)],
  "sessions.touch": ["sessionId", ({ sessionId }, s, o) => s.sessions.touch({ sessionId }, o)],
  "commands.list": ["sessionId", ({ sessionId }, s, o) => s.commands.list({ sessionId }, o)],
  "changes.since": ["sessionId", ({ sessionId }, s, o) => s.changes.since({ sessionId }, o)],
  "commands.get": ["commandId", ({ commandId }, s, o) => s.commands.get({ commandId }, o)],
  "logs.read": ["commandId", ({ commandId }, s, o) => s.logs.read({ commandId }, o)],
  "artifacts.get": ["artifactId", ({ artifactId }, s, o) => s.artifacts.get({ artifactId }, o)],
  "artifacts.pin": ["artifactId", ({ artifactId }, s, o) => s.artifacts.pin({ artifactId, pinned: false }, o)],
  "debug.get": ["debugSessionId", ({ debugSessionId }, s, o) => s.debug.get({ debugSessionId }, o)],
};

export function authorityConformance(backend: TestedBackend): void {
  subject(backend, "authority", ({ test }) => {
    const mintForSession = async (
      store: Store,
      { sessionId, owner }: Pick<World, "sessionId" | "owner">,
      more: { readonly scopes?: Scope[]; readonly ttlMs?: number; readonly name?: string } = {},
    ) => {
      const name = newId();
      const minted = await store.tokens.mintForSession({
        scopes: [...most],
        name,
        sessionId,
        createdBy: owner.id,
        ...more,
      });
      return { token: minted.token, secret: minted.secret as string };
    };
    /** Makes each call on these rows, and checks that tokens.check says the same. */
    const expectAll = async (
      store: Store,
      tokenId: string,
      rows: World,
      expected: (field: string) => string | null,
    ) => {
      for (const [name, [field, ask]] of Object.entries(asks)) {
        const code = expected(field);
        const answer = await store.tokens.check({ tokenId, operation: name, [field]: rows[field] });
        assert.deepEqual([answer.allowed, answer.code], [code === null, code], `${name} ${field}`);
        const call = () => ask(rows, store, { tokenId });
        if (code === null) await call();
        else await fails(call(), code as "out_of_reach");
      }
    };

    test("a token of a session reaches this session with its rows, and nothing else", async ({ store }) => {
      const [own, other] = [await world(store), await world(store)];
      const { token } = await mintForSession(store, own);
      assert.deepEqual([token.sessionId, token.repositoryIds], [own.sessionId, null]);
      assert.equal(token.accountId, own.owner.accountId);
      // The session has no worktree yet.
      const isElsewhere = (field: string) =>
        /^(?:worktree|environment|repository)Id$/.test(field) ? "out_of_reach" : null;
      await expectAll(store, token.id, own, isElsewhere);
      await expectAll(store, token.id, other, () => "out_of_reach");
      const { repositoryId, sessionId, runner } = own;
      const lease = await store.worktrees.reserve({ repositoryId, sessionId, runnerId: runner.id });
      await store.worktrees.get({ worktreeId: lease.worktree.id }, { tokenId: token.id });
      await fails(store.sessions.list({}, { tokenId: token.id }), "out_of_reach", { limit: "session" });
      const consume = store.changes.consume({ consumer: "app", sessionId: own.sessionId }, { tokenId: token.id });
      await fails(consume, "out_of_reach", { limit: "session" });
      const both = { sessionId: own.sessionId, commandId: other.commandId };
      await fails(
        store.debug.open({ ...both, name: "d", adapter: "node" }, { tokenId: token.id }),
        "out_of_reach",
        { field: "commandId", id: other.commandId },
        "rolled_back",
      );
    });

    test("a token of repositories reaches these, and nothing else", async ({ store }) => {
      const [own, other] = [await world(store), await world(store)];
      const { token } = await fixtures(store).token({
        accountId: own.owner.accountId,
        scopes: [...most],
        repositoryIds: [own.repositoryId, (await world(store)).repositoryId],
      });
      assert.equal(token.repositoryIds?.length, 2);
      await expectAll(store, token.id, own, () => null);
      await expectAll(store, token.id, other, () => "out_of_reach");
      const { commitSha } = fixtures(store);
      const created = { repositoryId: own.repositoryId, commitSha, tokenId: token.id };
      await store.sessions.create(created, { tokenId: token.id });
      await fails(
        store.sessions.create({ ...created, repositoryId: other.repositoryId }, { tokenId: token.id }),
        "out_of_reach",
        { limit: "repositories" },
      );
      await fails(store.runners.list({}, { tokenId: token.id }), "out_of_reach");
      // A patch belongs to no repository. A session of the repository can refer to it.
      const { patch } = await fixtures(store).patch();
      await fails(store.patches.find({ sha256: patch.sha256 }, { tokenId: token.id }), "out_of_reach");
      const withPatch = { ...created, patchHash: patch.sha256 };
      assert.equal((await store.sessions.create(withPatch, { tokenId: token.id })).session.patchId, patch.id);
    });

    test("an operation that names no row is refused to every limited token, and one without a scope too", async ({
      store,
    }) => {
      const { token } = await mintForSession(store, await world(store));
      let refused = 0;
      for (const [entity, verbs] of Object.entries(operations))
        for (const [verb, operation] of Object.entries(verbs)) {
          const name = `${entity}.${verb}`;
          const namesRows = Object.keys(operation.inputSchema.shape).some((field) =>
            (reachFields as readonly string[]).includes(field),
          );
          if (namesRows || ownTokenFields[name] !== undefined) continue;
          const methods = store as unknown as Record<string, Record<string, (...args: unknown[]) => unknown>>;
          const made = methods[entity]?.[verb]?.(sampleInput(name, operation), { tokenId: token.id });
          const answer = operation.stream === undefined ? made : (made as AsyncGenerator).next();
          const covered = most.includes(operationScopes[name as keyof typeof operationScopes] as (typeof most)[number]);
          await fails(answer as Promise<unknown>, covered ? "out_of_reach" : "scope_missing");
          refused++;
        }
      assert.ok(refused > 20, String(refused));
    });

    test("a session is commanded by its account, and by others with sessions:any only", async ({ store }) => {
      const own = await world(store);
      const { token: other } = await fixtures(store).token({ scopes: [...most] });
      const missing = { missing: ["sessions:any"] };
      const { sessionId, commandId, artifactId, debugSessionId } = own;
      const asked = { debugSessionId, command: "pause", arguments: { threadId: 1 }, wait: false };
      const { id: requestId } = await store.debug.request(asked, { tokenId: own.owner.id });
      const commands = (tokenId: string): readonly (() => Promise<unknown>)[] => [
        () => store.sessions.touch({ sessionId, start: true }, { tokenId }),
        () => store.sessions.pin({ sessionId, pinned: false }, { tokenId }),
        () => store.commands.enqueue({ sessionId, commands: [{ argv: ["true"] }] }, { tokenId }),
        () => store.commands.cancel({ commandId }, { tokenId }),
        () => store.artifacts.pin({ artifactId, pinned: false }, { tokenId }),
        () => store.artifacts.delete({ artifactId }, { tokenId }),
        () =>
          store.tokens.mintForSession(
            { sessionId, name: newId(), scopes: ["logs:read"], createdBy: tokenId },
            { tokenId },
          ),
        () => store.debug.request(asked, { tokenId }),
        () => store.debug.cancelRequest({ requestId }, { tokenId }),
        () => store.sessions.complete({ sessionId }, { tokenId }),
        () => store.sessions.cancel({ sessionId }, { tokenId }),
        () => store.sessions.delete({ sessionId }, { tokenId }),
      ];
      for (const command of commands(other.id)) await fails(command(), "scope_missing", missing, "rolled_back");
      // Reading, and what a runner does, are no commands.
      await store.sessions.get({ sessionId }, { tokenId: other.id });
      await store.artifacts.record(
        { sessionId, name: newId(), kind: "custom", uri: "file:///x", sizeBytes: 1, sha256: "0".repeat(64) },
        { tokenId: other.id },
      );
      const refused = await store.tokens.check({ tokenId: other.id, operation: "sessions.cancel", sessionId });
      assert.deepEqual([refused.allowed, refused.code, refused.missing], [false, "scope_missing", ["sessions:any"]]);
      // A token of the same account, as after a rotation, commands it like the one that created it.
      const rotated = await store.tokens.rotate({ tokenId: own.owner.id });
      await store.sessions.touch({ sessionId }, { tokenId: rotated.token.id });
      const { token: any } = await fixtures(store).token({ scopes: [...most, "sessions:any"] });
      await store.sessions.cancel({ sessionId }, { tokenId: any.id });
      // A session that nobody's token has requested is not another account's.
      const { session } = await fixtures(store).session();
      await store.sessions.cancel({ sessionId: session.id }, { tokenId: other.id });
    });

    test("a token of a session ends with it, however the session ends", async ({ store, clock }) => {
      const ends: Readonly<Record<string, (sessionId: string) => Promise<unknown>>> = {
        complete: (sessionId) => store.sessions.complete({ sessionId }),
        cancel: (sessionId) => store.sessions.cancel({ sessionId }),
        reap: async () => {
          clock.advance(3_600_000);
          await store.maintenance.reap();
        },
      };
      for (const [name, end] of Object.entries(ends)) {
        const { repository } = await fixtures(store).repository();
        const { token: owner } = await fixtures(store).token({ scopes: [...most] });
        const { session } = await fixtures(store).session({
          repositoryId: repository.id,
          tokenId: owner.id,
          deadlineMs: 3_600_000,
        });
        const sessionId = session.id;
        const { token, secret } = await mintForSession(store, { sessionId, owner });
        const rotated = await store.tokens.rotate({ tokenId: token.id, graceMs: 7_200_000 });
        const short = await mintForSession(store, { sessionId, owner }, { ttlMs: 1_000 });
        assert.equal((await store.tokens.verify({ token: secret })).sessionId, sessionId);
        await end(sessionId);
        for (const text of [secret, rotated.secret as string, short.secret])
          await fails(store.tokens.verify({ token: text }), "token_expired");
        await fails(store.sessions.get({ sessionId }, { tokenId: token.id }), "token_expired");
        await fails(mintForSession(store, { sessionId, owner }), "invalid_transition", { entity: "session" });
        await fails(store.tokens.rotate({ tokenId: rotated.token.id }), "token_expired");
        const row = (await store.tokens.list({ accountId: owner.accountId })).items.find(({ id }) => id === token.id);
        const { endedAt } = await store.sessions.get({ sessionId });
        assert.equal(row?.expiresAt?.getTime(), endedAt?.getTime(), name);
        await store.sessions.delete({ sessionId });
      }
    });

    test("a token of a session lives until the last command has ended", async ({ store }) => {
      const { command, fence, session } = await fixtures(store).claim();
      const { token: owner } = await fixtures(store).token({ scopes: [...most] });
      const { secret } = await mintForSession(store, { sessionId: session.id, owner });
      assert.equal((await store.sessions.cancel({ sessionId: session.id })).state, "cancelling");
      await store.tokens.verify({ token: secret });
      await store.commands.finish({ commandId: command.id, fence, outcome: "cancelled" });
      await fails(store.tokens.verify({ token: secret }), "token_expired");
    });

    test("a session and its token are created in one transaction, and the secret is shown once", async ({ store }) => {
      const { token: owner } = await fixtures(store).token({ scopes: ["sessions:write", "logs:read", "debug:write"] });
      const { repository } = await fixtures(store).repository();
      const sessionId = newId();
      const idempotencyKey = newId();
      const create = () =>
        store.atomically(
          (tx) => [
            tx.sessions.create({
              id: sessionId,
              repositoryId: repository.id,
              commitSha: fixtures(store).commitSha,
              tokenId: owner.id,
            }),
            tx.tokens.mintForSession({ id: sessionId, sessionId, scopes: ["logs:read"], createdBy: owner.id }),
          ],
          { tokenId: owner.id, idempotencyKey },
        );
      const [, first] = await create();
      assert.deepEqual([first.token.name, first.token.sessionId], [sessionId, sessionId]);
      assert.equal((await store.tokens.verify({ token: first.secret })).tokenId, first.token.id);
      const [, again] = await create();
      assert.deepEqual([again.token, again.secret], [first.token, undefined]);
    });

    test("limits bound what is created under a limited token", async ({ store }) => {
      const [own, other] = [await world(store), await world(store)];
      const { token } = await mintForSession(store, own);
      const { accountId } = own.owner;
      const narrower = await store.tokens.mint({
        accountId,
        name: newId(),
        scopes: ["logs:read"],
        createdBy: token.id,
      });
      assert.equal(narrower.token.sessionId, own.sessionId);
      const forOther = { sessionId: other.sessionId, name: newId(), scopes: ["logs:read"] as Scope[] };
      const { token: any } = await fixtures(store).token({
        scopes: ["tokens:write", "logs:read", "sessions:any"],
        repositoryIds: [own.repositoryId],
      });
      await fails(store.tokens.mintForSession({ ...forOther, createdBy: token.id }), "scope_missing");
      await fails(store.tokens.mintForSession({ ...forOther, createdBy: any.id }), "out_of_reach", {
        limit: "repositories",
      });
      const minted = (repositoryIds: string[] | undefined) =>
        store.tokens.mint({
          accountId,
          name: newId(),
          scopes: ["logs:read"],
          createdBy: any.id,
          ...(repositoryIds === undefined ? {} : { repositoryIds }),
        });
      await fails(minted([other.repositoryId]), "out_of_reach", { repositoryId: other.repositoryId });
      assert.deepEqual((await minted(undefined)).token.repositoryIds, [own.repositoryId]);
      assert.deepEqual((await minted([own.repositoryId, own.repositoryId])).token.repositoryIds, [own.repositoryId]);
      const admin = await fixtures(store).adminTokenId();
      const limited = { accountId, name: newId(), scopes: ["admin"] as Scope[], createdBy: admin };
      await fails(store.tokens.mint({ ...limited, repositoryIds: [own.repositoryId] }), "invalid_input");
      await fails(store.tokens.mint({ ...limited, repositoryIds: [newId()], scopes: ["logs:read"] }), "not_found");
      await fails(
        store.tokens.mintForSession({ sessionId: own.sessionId, name: newId(), scopes: ["admin"], createdBy: admin }),
        "invalid_input",
      );
      for (let count = 2; count < 100; count++) await mintForSession(store, own);
      await fails(mintForSession(store, own), "conflict", { reason: "limit" });
      await store.sessions.cancel({ sessionId: own.sessionId });
      const live = (await store.tokens.list({ accountId, limit: 500 })).items.filter(
        ({ sessionId, expiresAt }) => sessionId !== null && expiresAt === null,
      );
      assert.deepEqual(live, []);
    });

    test("a call under a token is checked in its own transaction, also when it has waited", async ({ store }) => {
      const { token, secret } = await fixtures(store).token({ scopes: ["sessions:read"] });
      await store.tokens.verify({ token: secret });
      const { session } = await fixtures(store).session();
      const sessionId = session.id;
      const waiting = store.sessions.wait({ sessionId, timeoutMs: 60_000 }, { tokenId: token.id });
      waiting.catch(() => undefined);
      await fails(store.sessions.touch({ sessionId }, { tokenId: token.id }), "scope_missing", {
        missing: ["sessions:write"],
      });
      await store.tokens.revoke({ tokenId: token.id });
      await store.sessions.cancel({ sessionId });
      await fails(waiting, "token_revoked");
      await fails(store.sessions.get({ sessionId }, { tokenId: token.id }), "token_revoked", {}, "not_run");
      await fails(store.sessions.get({ sessionId }, { tokenId: newId() }), "token_unknown");
      await fails(store.sessions.get({ sessionId }, { tokenId: "x" }), "invalid_input");
      const { token: writer } = await fixtures(store).token({ scopes: ["sessions:write", "tokens:write"] });
      const created = { repositoryId: session.repositoryId, commitSha: fixtures(store).commitSha };
      const needs = { missing: ["admin"] };
      await fails(store.sessions.create(created, { tokenId: writer.id }), "scope_missing", needs);
      await fails(store.tokens.revoke({ tokenId: newId() }, { tokenId: writer.id }), "scope_missing", needs);
      const commands = [{ argv: ["true"] }];
      await fails(
        store.sessions.create({ ...created, tokenId: writer.id, commands }, { tokenId: writer.id }),
        "scope_missing",
        { missing: ["commands:write"] },
      );
      await store.sessions.create({ ...created, tokenId: writer.id }, { tokenId: writer.id });
      await fails(
        store.atomically(
          (tx) => [
            tx.sessions.create({ ...created, tokenId: writer.id }),
            tx.repositories.get({ repositoryId: session.repositoryId }),
          ],
          { tokenId: writer.id },
        ),
        "scope_missing",
        { missing: ["repositories:read"], index: 1 },
      );
      const unknown = { tokenId: writer.id, operation: "sessions.nothing" };
      await fails(store.tokens.check(unknown), "invalid_input");
      const bootstrap = await store.tokens.check({ tokenId: writer.id, operation: "tokens.bootstrapAdmin" });
      assert.deepEqual([bootstrap.allowed, bootstrap.code], [false, "scope_missing"]);
      const gone = await store.tokens.check({ tokenId: token.id, operation: "sessions.get", sessionId });
      assert.deepEqual([gone.code, gone.missing], ["token_revoked", []]);
    });

    test("neighbouring appends are joined only when they run under the same token", async ({ store }) => {
      const { command, fence, session } = await fixtures(store).claim();
      const { token: runner } = await fixtures(store).token({ scopes: ["logs:write"] });
      const { token: other } = await fixtures(store).token({ scopes: ["logs:read"] });
      const append = (offset: number, tokenId: string) =>
        store.logs.append({ commandId: command.id, fence, offset, data: bytes("line\n") }, { tokenId });
      const [first, second] = await Promise.allSettled([append(0, runner.id), append(5, other.id)]);
      assert.deepEqual([first?.status, second?.status], ["fulfilled", "rejected"]);
      await store.sessions.cancel({ sessionId: session.id, force: true });
    });
  });
}
