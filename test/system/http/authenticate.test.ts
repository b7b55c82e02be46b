// An HTTP API that checks bearer tokens: on a real store behind a real socket, and again on a stub.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { authenticate, newId, type OwnedStore, openStore, type Scope } from "../../../src/index.ts";
import { fixtures, storeError, stubStore, testClock } from "../../../src/testing/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { createApi, listen } from "./api.ts";

describe("an API on a real store", () => {
  const folder = temporaryFolder();
  const clock = testClock();
  let store: OwnedStore;
  let api: Awaited<ReturnType<typeof listen>>;
  let admin: string;

  before(async () => {
    store = await openStore({ url: `sqlite:${join(folder, "store.db")}`, clock });
    admin = (await store.tokens.bootstrapAdmin()).secret as string;
    api = await listen(createApi(store));
  });
  after(async () => {
    await api.close();
    await store.close();
  });

  const ask = async (path: string, authorization: string | undefined, init: RequestInit = {}) => {
    const headers = { ...(init.headers as object), ...(authorization === undefined ? {} : { authorization }) };
    const response = await fetch(`${api.url}${path}`, { ...init, headers });
    return {
      status: response.status,
      challenge: response.headers.get("www-authenticate"),
      body: (await response.json()) as Record<string, unknown>,
    };
  };
  const post = (path: string, authorization: string, body: unknown, headers: Record<string, string> = {}) =>
    ask(path, authorization, { method: "POST", body: JSON.stringify(body), headers });
  const secretOf = async (scopes: Scope[], ttlMs?: number) =>
    (
      await fixtures(store).token({
        scopes,
        ...(ttlMs === undefined ? {} : { ttlMs }),
        createdBy: (await store.tokens.verify({ token: admin })).tokenId,
      })
    ).secret;

  it("a request without a bearer token gets 401 and the scheme to use", async () => {
    for (const authorization of [undefined, "Basic YTpi", "Digest x", "BearerX abc", admin]) {
      const { status, challenge, body } = await ask("/me", authorization);
      assert.deepEqual([status, challenge, body.error], [401, 'Bearer realm="debug-server-db"', "unauthenticated"]);
    }
  });

  it("a request with an invalid token gets 401 invalid_token and the reason", async () => {
    const revoked = await fixtures(store).token({ createdBy: (await store.tokens.verify({ token: admin })).tokenId });
    await store.tokens.revoke({ tokenId: revoked.token.id });
    const expired = await secretOf(["sessions:read"], 1_000);
    clock.advance(1_000);
    for (const [authorization, why] of [
      ["Bearer", "malformed"],
      ["Bearer x", "malformed"],
      [`Bearer ${admin}x`, "malformed"],
      [`Bearer ${admin}, Bearer ${admin}`, "malformed"],
      [`Bearer ${revoked.secret}`, "was revoked"],
      [`Bearer ${expired}`, "has expired"],
    ] as const) {
      const { status, challenge, body } = await ask("/me", authorization);
      assert.equal(status, 401);
      assert.match(
        challenge ?? "",
        new RegExp(
          `^Bearer realm="debug-server-db", error="invalid_token", error_description="the token (?:is )?${why}"$`,
        ),
      );
      assert.ok(!JSON.stringify(body).includes(admin));
    }
  });

  it("a request whose token lacks a scope gets 403 insufficient_scope and the required scopes", async () => {
    const secret = await secretOf(["sessions:read"]);
    const { status, challenge, body } = await post("/sessions", `Bearer ${secret}`, {});
    assert.deepEqual(
      [status, challenge],
      [403, 'Bearer realm="debug-server-db", error="insufficient_scope", scope="sessions:write"'],
    );
    assert.equal(body.error, "scope_missing");
  });

  it("a request is refused for a row that its token does not reach, with what is missing", async () => {
    const check = authenticate(store);
    const requestWith = (secret: string) => new Headers({ authorization: `Bearer ${secret}` });
    const createdBy = (await store.tokens.verify({ token: admin })).tokenId;
    const { token: owner, secret } = await fixtures(store).token({ scopes: ["sessions:write"], createdBy });
    const { session } = await fixtures(store).session({ tokenId: owner.id });
    const asked = { operation: "sessions.cancel", sessionId: session.id };
    assert.equal((await check(requestWith(secret), asked)).ok, true);
    const other = await check(requestWith(await secretOf(["sessions:write"])), asked);
    assert.ok(!other.ok);
    assert.deepEqual([other.status, other.code], [403, "scope_missing"]);
    assert.match(other.wwwAuthenticate, /error="insufficient_scope", scope="sessions:any"$/);
    const { repository } = await fixtures(store).repository();
    const scopes: Scope[] = ["sessions:write", "sessions:any"];
    const limited = await fixtures(store).token({ scopes, createdBy, repositoryIds: [repository.id] });
    const outside = await check(requestWith(limited.secret), asked);
    assert.ok(!outside.ok);
    assert.deepEqual([outside.status, outside.code], [403, "out_of_reach"]);
    assert.match(JSON.stringify(await outside.response().json()), /limited to some repositories/);
  });

  it("a request with a valid token is handled for its principal; the scheme may be in any case", async () => {
    const { repository } = await fixtures(store).repository();
    const writer = `bearer ${await secretOf(["sessions:write", "sessions:read"])}`;
    const request = { repositoryId: repository.id, commitSha: fixtures(store).commitSha };
    const key = { "idempotency-key": newId() };
    const created = await post("/sessions", writer, request, key);
    assert.equal(created.status, 201);
    assert.deepEqual((await post("/sessions", writer, request, key)).body, created.body);
    assert.equal((await post("/sessions", writer, { ...request, commitSha: "f".repeat(40) }, key)).status, 422);
    const me = await ask("/me", writer);
    assert.equal(created.body.requestedBy, (me.body.account as { name: string }).name);
    assert.equal(created.body.tokenId, me.body.tokenId);
    assert.equal((await ask(`/sessions/${created.body.id}`, writer)).body.commitSha, request.commitSha);
    assert.equal((await ask("/sessions/no-id", writer)).status, 400);
    assert.equal((await ask(`/sessions/${newId()}`, writer)).status, 404);
  });

  it("a token mints others within its own scopes, and they are valid at once", async () => {
    const { account } = await fixtures(store).account();
    const minter = `Bearer ${await secretOf(["tokens:write", "sessions:read"])}`;
    const created = await post("/tokens", minter, { accountId: account.id, name: "made", scopes: ["sessions:read"] });
    assert.equal(created.status, 201);
    assert.equal((await ask("/me", `Bearer ${created.body.secret}`)).status, 200);
    assert.equal(
      (await post("/tokens", minter, { accountId: account.id, name: "more", scopes: ["admin"] })).status,
      403,
    );
  });
});

describe("the same API on a stub", () => {
  const principal = {
    tokenId: newId(),
    kind: "personal",
    scopes: ["sessions:write"],
    repositoryIds: null,
    sessionId: null,
    expiresAt: null,
    account: { id: newId(), name: "ada", kind: "human" },
  };

  it("verifies with the scopes of the route, and passes the principal on", async () => {
    const stub = stubStore({
      tokens: { verify: () => principal },
      sessions: { create: (input) => ({ session: input }) },
    });
    const api = createApi(stub);
    const body = { repositoryId: newId(), commitSha: "a".repeat(40) };
    const request = new Request("http://localhost/sessions", {
      method: "POST",
      body: JSON.stringify(body),
      headers: { authorization: "Bearer t" },
    });
    const response = await api(request);
    assert.deepEqual(await response.json(), { ...body, tokenId: principal.tokenId, requestedBy: "ada" });
    assert.deepEqual(
      stub.calls.map(({ name, input, options }) => [name, input, options]),
      [
        ["tokens.verify", { token: "t", scopes: ["sessions:write"] }, undefined],
        ["sessions.create", { ...body, tokenId: principal.tokenId, requestedBy: "ada" }, { actor: "ada" }],
      ],
    );
  });

  for (const [code, status] of [
    ["token_malformed", 401],
    ["token_unknown", 401],
    ["token_expired", 401],
    ["token_revoked", 401],
    ["scope_missing", 403],
    // These say nothing about the token, so the status must not make a client discard it.
    ["overloaded", 503],
    ["busy", 503],
    ["closed", 500],
  ] as const) {
    it(`${code} is ${status}`, async () => {
      const api = createApi(stubStore({ tokens: { verify: () => Promise.reject(storeError(code)) } }));
      const response = await api(new Request("http://localhost/me", { headers: { authorization: "Bearer t" } }));
      assert.deepEqual(
        [response.status, response.headers.has("www-authenticate")],
        [status, status === 401 || status === 403],
      );
      assert.equal(((await response.json()) as { error: string }).error, code);
    });
  }

  it("accepts the headers and requests of any implementation", async () => {
    const check = authenticate(stubStore({ tokens: { verify: () => principal } }));
    const headers = { get: (name: string) => (name === "authorization" ? "Bearer t" : null) } as Headers;
    for (const request of [headers, { headers } as Request]) assert.ok((await check(request)).ok);
  });

  it("accepts headers alone, escapes the realm, and returns a new response each time", async () => {
    const check = authenticate(stubStore(), { realm: 'a "b"\\\r\nx: y' });
    const result = await check(new Headers());
    assert.ok(!result.ok);
    assert.equal(result.wwwAuthenticate, 'Bearer realm="a \\"b\\"\\\\??x: y"');
    assert.notEqual(result.response(), result.response());
    assert.deepEqual(
      [result.status, result.code, result.response().headers.get("cache-control")],
      [401, undefined, "no-store"],
    );
  });
});
