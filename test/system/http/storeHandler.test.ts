// The API of a store over real sockets: operations, tokens, bodies, waits and streams.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { suite, test } from "node:test";
import {
  clientScopes,
  type OperationName,
  operationScopes,
  operationsOf,
  RequestError,
  runnerScopes,
  statusOf,
  storeHandler,
  viewerScopes,
} from "../../../src/http/index.ts";
import { errorCodes, openStore } from "../../../src/index.ts";
import { operations } from "../../../src/operations/table.ts";
import { runnerOperations } from "../../../src/runner/index.ts";
import { storeError } from "../../../src/testing/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { until } from "../faults/until.ts";
import { type ApiServer, serveApi } from "./apiServer.ts";

const commitSha = "a".repeat(40);

/** Creates a session with a command that a runner has claimed. */
async function claimed({ call }: ApiServer) {
  const repository = await call("repositories.upsert", { name: "demo" });
  const runner = await call("runners.register", { name: "one" });
  const commands = [{ argv: ["true"] }];
  const { session } = await call("sessions.create", { repositoryId: repository.id, commitSha, commands });
  const { command, fence } = await call("commands.claim", { runnerId: runner.id });
  return { repository, runner, session, commandId: command.id as string, fence: fence as number };
}

/** Reads a body until it has this text, and leaves it open. */
async function readUntil(response: Response, what: string): Promise<string> {
  let text = "";
  for await (const part of (response.body as ReadableStream<Uint8Array>).values({ preventCancel: true })) {
    text += Buffer.from(part).toString();
    if (text.includes(what)) return text;
  }
  throw new Error(`the body has ended without ${what}: ${text}`);
}

suite("storeHandler", { concurrency: 4 }, () => {
  test("operations are called with JSON, times are text and bytes are base64", async (t) => {
    const api = await serveApi(t);
    const { ask, call } = api;
    const { repository, commandId, fence, session } = await claimed(api);
    assert.match(repository.createdAt, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    assert.equal((await call("repositories.list", { since: "2020-01-01T00:00:00Z" })).items.length, 1);
    assert.equal((await call("repositories.list", { until: "2020-01-01T00:00:00Z" })).items.length, 0);
    assert.equal(await call("commands.claim", { runnerId: (await call("runners.list")).items[0].id }), null);
    await call("logs.append", { commandId, fence, offset: 0, data: Buffer.from("hello ").toString("base64") });
    const raw = await ask(`/v1/logs.append?commandId=${commandId}&fence=${fence}&offset=6`, {
      body: new TextEncoder().encode("world\n"),
      headers: { "content-type": "application/octet-stream" },
    });
    assert.deepEqual([raw.status, raw.body], [200, { ackOffset: 12, truncated: false }]);
    const { chunks } = await call("logs.read", { commandId });
    assert.equal(chunks.map(({ data }: { data: string }) => Buffer.from(data, "base64")).join(""), "hello world\n");
    const bytes = await ask(`/v1/logs.read?commandId=${commandId}&lastLines=1`, {
      headers: { accept: "application/octet-stream" },
    });
    assert.deepEqual([bytes.text, bytes.headers.get("x-next-offset")], ["hello world\n", "12"]);
    assert.equal((await ask(`/v1/sessions.get?sessionId=${session.id}`)).body.id, session.id);
    const self = await ask("/v1/self");
    assert.deepEqual([self.body.account.name, self.body.scopes], ["admin", ["admin"]]);
  });

  test("several calls are made in one transaction, all or nothing", async (t) => {
    const { call, ask } = await serveApi(t);
    const upsert = (name: string) => ({ operation: "repositories.upsert", input: { name } });
    const made = await call("atomically", { calls: [upsert("one"), upsert("two")] });
    assert.deepEqual(
      made.map(({ name }: { name: string }) => name),
      ["one", "two"],
    );
    const calls = [upsert("three"), { operation: "repositories.get", input: { repositoryId: "0".repeat(36) } }];
    assert.equal((await ask("/v1/atomically", { body: { calls } })).status, 400);
    assert.equal((await call("repositories.list")).items.length, 2);
    for (const wrong of [
      {},
      { calls: 1 },
      { calls: [null] },
      { calls: [{ operation: 1 }] },
      { calls: [{ operation: "a.b" }] },
    ])
      assert.ok([400, 404].includes((await ask("/v1/atomically", { body: wrong })).status));
  });

  test("a failure is a problem with the code of the store, its outcome and a status of the table", async (t) => {
    const { ask } = await serveApi(t);
    const sessionId = "01900000-0000-7000-8000-000000000000";
    const { status, headers, body } = await ask("/v1/sessions.get", {
      body: { sessionId },
      headers: { "x-request-id": "request-7", traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-01` },
    });
    assert.deepEqual([status, headers.get("content-type")], [404, "application/problem+json"]);
    const { code, outcome, operation, requestId, retryable } = body;
    assert.deepEqual(
      [code, outcome, operation, requestId, retryable],
      ["not_found", "not_run", "sessions.get", "request-7", false],
    );
    assert.equal(headers.get("x-request-id"), "request-7");
    assert.equal(headers.get("traceparent"), `00-${"a".repeat(32)}-${"b".repeat(16)}-01`);
    assert.deepEqual(Object.keys(statusOf).sort(), Object.keys(errorCodes).sort());
  });

  test("the guide shows a failure as it is served", async (t) => {
    const { ask } = await serveApi(t);
    const guide = readFileSync(new URL("../../../docs/guide/http.md", import.meta.url), "utf8");
    const [, example = ""] = /^```json\n(\{\n {2}"type".*?)^```$/ms.exec(guide) ?? [];
    const shown = JSON.parse(example) as { requestId: string; details: { id: string } };
    const { body } = await ask("/v1/sessions.get", {
      body: { sessionId: shown.details.id },
      headers: { "x-request-id": shown.requestId },
    });
    assert.deepEqual(body, shown);
  });

  test("a path that is nearly that of an operation is told where it is", async (t) => {
    const { ask } = await serveApi(t);
    const detailOf = async (path: string) => (await ask(path, { body: {} })).body.detail;
    for (const path of ["/v1/sessions/create", "/sessions.create", "/sessions/create", "/v1/sessions/create/"])
      assert.match(await detailOf(path), /the operation is at \/v1\/sessions\.create$/);
    assert.match(await detailOf("/v1/nothing/at"), /operations are below \/v1\/$/);
    assert.match(await detailOf("/v1/sessions.make"), /sessions has create, complete, /);
  });

  test("the sets of scopes are enough for what they are for", async (t) => {
    const { call, ask, store, tokenWith } = await serveApi(t, { artifactsFolder: temporaryFolder() });
    const { id: repositoryId } = await store.repositories.upsert({ name: "demo" });
    const token = await tokenWith(...clientScopes);
    const created = { repositoryId, commitSha, autoComplete: true, commands: [{ argv: ["true"] }] };
    const { session, commands } = await call("sessions.create", created, { token });
    const [{ id: commandId }] = commands;
    const runner = await call("runners.register", { name: "one" });
    const { fence } = await call("commands.claim", { runnerId: runner.id });
    const upload = `/v1/artifacts.content?sessionId=${session.id}&name=a`;
    await ask(upload, { body: "x" });
    await call("commands.finish", { commandId, fence, outcome: "succeeded", logOffset: 0 });
    await call("commands.wait", { commandId }, { token });
    assert.equal((await ask(`/v1/logs.follow?commandId=${commandId}`, { token })).status, 200);
    assert.equal((await ask(upload, { token })).text, "x");
    const viewer = await tokenWith(...viewerScopes);
    const reads = (Object.keys(operationScopes) as OperationName[]).filter(
      (name) => /\.(?:list|get)$/.test(name) && !/^(?:files|accounts|tokens)\./.test(name),
    );
    for (const name of reads)
      assert.notEqual((await ask(`/v1/${name}`, { token: viewer, body: {} })).status, 403, name);
    assert.ok(viewerScopes.every((scope) => scope.endsWith(":read")));
  });

  test("a request that is no call is refused with the status of its fault", async (t) => {
    const { ask } = await serveApi(t, { bodyBytesMax: 1_000 });
    const cases: [number, string, Parameters<typeof ask>[1]][] = [
      [404, "/nothing", {}],
      [404, "/v1/", {}],
      [404, "/v1/sessions.nothing", { body: {} }],
      [404, "/v1/constructor.name", { body: {} }],
      [404, "/v1/tokens.bootstrapAdmin", { body: {} }],
      [405, "/v1/sessions.get", { method: "DELETE" }],
      [405, "/v1/sessions.get", { method: "HEAD" }],
      [405, "/v1/logs.follow", { method: "HEAD" }],
      [405, "/v1/sessions.create", {}],
      [413, "/v1/sessions.get", { body: { sessionId: "x".repeat(1_000) } }],
      [
        415,
        "/v1/sessions.get",
        { body: "sessionId=1", headers: { "content-type": "application/x-www-form-urlencoded" } },
      ],
      [415, "/v1/sessions.get", { body: "{}", headers: { "content-type": "application/json; charset=latin1" } }],
      [
        415,
        "/v1/sessions.get",
        { body: "{}", headers: { "content-type": "application/json", "content-encoding": "gzip" } },
      ],
      [400, "/v1/sessions.get", { body: "{", headers: { "content-type": "application/json" } }],
      [400, "/v1/sessions.get", { body: "[]", headers: { "content-type": "application/json" } }],
      [400, "/v1/sessions.get", { body: '{"__proto__":{}}', headers: { "content-type": "application/json" } }],
      [
        400,
        "/v1/sessions.get",
        { body: new Uint8Array([0x22, 0xff, 0x22]), headers: { "content-type": "application/json" } },
      ],
      [400, "/v1/sessions.get?sessionId=a&sessionId=b", {}],
      [400, "/v1/sessions.get?unknown=1", {}],
      [400, "/v1/logs.append", { body: { data: "not base64!" } }],
      [406, "/v1/changes.watch", { headers: { accept: "text/html" } }],
    ];
    for (const [status, path, sent] of cases)
      assert.equal((await ask(path, sent)).status, status, `${sent?.method ?? ""} ${path} ${JSON.stringify(sent)}`);
    assert.equal((await ask("/v1/sessions.get", { method: "DELETE" })).headers.get("allow"), "POST, GET");
  });

  test("every operation has a scope, and a token reaches those of its scopes alone", async (t) => {
    const names = Object.entries(operations).flatMap(([entity, verbs]) =>
      Object.keys(verbs).map((verb) => `${entity}.${verb}`),
    );
    assert.deepEqual(Object.keys(operationScopes).sort(), names.sort());
    const { ask, tokenWith, store } = await serveApi(t);
    const reads = await tokenWith("sessions:read");
    for (const name of names as OperationName[]) {
      const { status, body, headers } = await ask(`/v1/${name}`, { token: reads, body: {} });
      if (operationScopes[name] === "sessions:read") assert.notEqual(status, 403, name);
      else if (operationScopes[name] !== null) {
        assert.deepEqual([status, body.code, body.details.missing], [403, "scope_missing", [operationScopes[name]]]);
        assert.match(headers.get("www-authenticate") ?? "", /error="insufficient_scope"/);
      }
    }
    assert.deepEqual((await store.sessions.list()).items, []);
    const needed = runnerOperations.filter((name) => !name.startsWith("debug.") && !name.startsWith("changes."));
    assert.deepEqual(
      needed.filter((name) => !operationsOf(runnerScopes).includes(name as OperationName)),
      [],
    );
    assert.equal(operationsOf(runnerScopes).includes("commands.enqueue"), false);
  });

  test("a token gives nobody the authority of another one", async (t) => {
    const { ask, call, store, tokenWith } = await serveApi(t);
    const { account } = await call("self", undefined, { method: "GET" }).catch(() =>
      ask("/v1/self").then(({ body }) => body),
    );
    const [{ id: adminId }] = (await call("tokens.list", { accountId: account.id })).items;
    const manager = await tokenWith("tokens:write", "tokens:read", "sessions:write");
    const own = (await ask("/v1/self", { token: manager })).body;
    const mint = { accountId: account.id, name: "more", scopes: ["tokens:read"] };
    const refused = (await ask("/v1/tokens.mint", { token: manager, body: { ...mint, scopes: ["admin"] } })).body;
    assert.deepEqual([refused.code, refused.details.missing], ["scope_missing", ["admin"]]);
    const asAdmin = await ask("/v1/tokens.mint", { token: manager, body: { ...mint, createdBy: adminId } });
    assert.deepEqual([asAdmin.status, asAdmin.body.code], [400, "invalid_input"]);
    assert.equal(typeof (await call("tokens.mint", mint, { token: manager })).secret, "string");
    for (const operation of ["tokens.rotate", "tokens.revoke"])
      assert.equal((await ask(`/v1/${operation}`, { token: manager, body: { tokenId: adminId } })).status, 403);
    assert.equal(typeof (await call("tokens.rotate", { tokenId: own.tokenId }, { token: manager })).secret, "string");
    const { id: repositoryId } = await store.repositories.upsert({ name: "demo" });
    const { session } = await call("sessions.create", { repositoryId, commitSha }, { token: manager });
    assert.deepEqual([session.tokenId, session.requestedBy], [own.tokenId, own.account.name]);
    const other = { repositoryId, commitSha, tokenId: adminId };
    assert.equal((await ask("/v1/sessions.create", { token: manager, body: other })).status, 400);
    const watched = (await store.changes.since()).changes.filter(({ entity }) => entity === "session");
    assert.deepEqual([...new Set(watched.map(({ actor }) => actor))], [own.account.name]);
  });

  test("a session with commands or a worktree needs the scopes for these, on every way over HTTP", async (t) => {
    const { ask, call, store, url, tokenWith } = await serveApi(t);
    const worktreeRoot = "/srv/worktrees";
    const { id: repositoryId } = await store.repositories.upsert({ name: "demo", worktreeRoot });
    const [commands, reserve] = [[{ argv: ["true"] }], { owner: "one", ttlMs: 60_000 }];
    const lacked: [object, string[]][] = [
      [{ commands }, ["commands:write"]],
      [{ reserve }, ["worktrees:write"]],
      [{ commands, reserve }, ["commands:write", "worktrees:write"]],
    ];
    const token = await tokenWith("sessions:write");
    const remote = await openStore({ url, token });
    t.after(() => remote.close());
    for (const [more, missing] of lacked) {
      const input = { repositoryId, commitSha, ...more };
      const { status, body, headers } = await ask("/v1/sessions.create", { token, body: input });
      assert.deepEqual([status, body.code, body.details.missing], [403, "scope_missing", missing]);
      assert.match(headers.get("www-authenticate") ?? "", new RegExp(`scope="${missing.join(" ")}"`));
      const calls = [{ operation: "sessions.create", input }];
      const lacks = { message: new RegExp(`does not cover ${missing.join(" and ")}`) };
      assert.equal((await ask("/v1/atomically", { token, body: { calls } })).status, 403);
      await assert.rejects(remote.sessions.create(input), lacks);
      await assert.rejects(
        remote.atomically((tx) => void tx.sessions.create(input)),
        lacks,
      );
    }
    assert.deepEqual((await store.sessions.list()).items, []);
    await call("sessions.create", { repositoryId, commitSha, commands: [] }, { token });
    await remote.sessions.create({ repositoryId, commitSha });
    const whole = await tokenWith("sessions:write", "commands:write", "worktrees:write");
    await call("sessions.create", { repositoryId, commitSha, commands, reserve }, { token: whole });
  });

  test("who tries many tokens is told to wait, and nobody with a valid one is kept out", async (t) => {
    const { ask, store, tokenWith } = await serveApi(t, { wrongTokens: { max: 3, windowMs: 60_000 } });
    const none = await ask("/v1/self", { token: null });
    assert.deepEqual([none.status, none.headers.get("www-authenticate")], [401, 'Bearer realm="debug-server-db"']);
    // One that was valid once is no guess, however often it is sent.
    const old = await tokenWith("sessions:read");
    await store.tokens.revoke({ tokenId: (await ask("/v1/self", { token: old })).body.tokenId });
    for (let tries = 0; tries < 5; tries++) assert.equal((await ask("/v1/self", { token: old })).status, 401);
    const answers = [];
    for (let tries = 0; tries < 5; tries++) answers.push(await ask("/v1/self", { token: `dsp_${tries}` }));
    assert.deepEqual(
      answers.map(({ status }) => status),
      [401, 401, 401, 429, 429],
    );
    assert.ok(Number(answers.at(-1)?.headers.get("retry-after")) > 50);
    assert.equal((await ask("/v1/self")).status, 200);
    assert.equal((await ask("/v1/self", { token: old })).status, 401);
  });

  test("wrong tokens of an address reach the store slowly, and one that was accepted before is not held up", async (t) => {
    const { store, tokenWith } = await serveApi(t);
    const handler = storeHandler(store, { wrongTokens: { max: 3 } });
    const ask = async (token: string) => {
      const request = new Request("http://x/v1/self", { headers: { authorization: `Bearer ${token}` } });
      return (await handler(request, { remoteAddress: "192.0.2.1" })).status;
    };
    const [known, fresh] = [await tokenWith("sessions:read"), await tokenWith("sessions:read")];
    assert.equal(await ask(known), 200);
    const other = await openStore({ url: "sqlite::memory:" });
    const wrong = (await other.tokens.bootstrapAdmin()).secret as string;
    await other.close();
    const verify = t.mock.method(store.tokens, "verify");
    const answers = Promise.all(Array.from({ length: 2_000 }, () => ask(wrong)));
    await until(() => verify.mock.callCount() >= 3);
    assert.equal(await ask(known), 200);
    assert.deepEqual([...new Set(await answers)].toSorted(), [401, 429]);
    // A few at once, a hundred after a wait, and the one that was known.
    const count = verify.mock.callCount();
    assert.ok(count >= 104 && count <= 106, `${count} verified`);
    assert.equal(await ask(fresh), 200);
  });

  test("many that send their first requests at once are all accepted", async (t) => {
    const { ask, tokenWith } = await serveApi(t, { wrongTokens: { max: 3 } });
    const tokens = await Promise.all(Array.from({ length: 12 }, () => tokenWith("sessions:read")));
    const statuses = await Promise.all(
      [...tokens, ...tokens, ...tokens].map(async (token) => (await ask("/v1/self", { token })).status),
    );
    assert.deepEqual([...new Set(statuses)], [200]);
  });

  test("behind a proxy, the address that it appends is the one that counts", async (t) => {
    const statusesOf = async (proxies: number, ...forwarded: string[]) => {
      const { ask } = await serveApi(t, { wrongTokens: { max: 1 }, proxies });
      const statuses: number[] = [];
      for (const value of forwarded)
        statuses.push((await ask("/v1/self", { token: "dsp_x", headers: { "x-forwarded-for": value } })).status);
      return statuses;
    };
    assert.deepEqual(await statusesOf(0, "192.0.2.1", "192.0.2.2"), [401, 429]);
    assert.deepEqual(await statusesOf(1, "192.0.2.1", "192.0.2.2", "192.0.2.9, 192.0.2.1"), [401, 401, 429]);
    assert.deepEqual(
      await statusesOf(2, "192.0.2.1, 10.0.0.1", "192.0.2.2, 10.0.0.1", "192.0.2.1, 10.0.0.2"),
      [401, 401, 429],
    );
  });

  test("an API with its own login tells who sends a request, and how it refuses others", async (t) => {
    const errors: unknown[] = [];
    const api = await serveApi(t, {
      onError: (error) => errors.push(error),
      identify({ headers }) {
        const user = headers.get("x-user");
        if (user === "blocked")
          throw new RequestError("unauthenticated", "log in again", { "www-authenticate": "Session" });
        if (user === "broken") throw new TypeError("a secret of the login");
        return user === null ? undefined : { actor: user, scopes: ["repositories:write"] };
      },
    });
    const as = (user: string | null, path = "repositories.upsert") =>
      api.ask(`/v1/${path}`, { token: null, headers: user === null ? {} : { "x-user": user }, body: { name: "demo" } });
    assert.equal((await as("ada")).status, 200);
    const [{ actor } = {}] = (await api.store.changes.since({ entity: "repository" })).changes;
    assert.equal(actor, "ada");
    assert.equal((await as("ada", "sessions.create")).status, 403);
    const nobody = await as(null);
    assert.deepEqual([nobody.status, nobody.body.code], [401, "unauthenticated"]);
    const blocked = await as("blocked");
    assert.deepEqual(
      [blocked.status, blocked.body.detail, blocked.headers.get("www-authenticate")],
      [401, "log in again", "Session"],
    );
    const broken = await as("broken");
    assert.deepEqual([broken.status, broken.body.code], [500, "identify_failed"]);
    assert.ok(!broken.text.includes("secret"));
    assert.match(String(errors), /^TypeError: a secret of the login$/);
  });

  test("an idempotency key makes a request safe to repeat", async (t) => {
    const { call, ask } = await serveApi(t);
    const { id: repositoryId } = await call("repositories.upsert", { name: "demo" });
    const headers = { "idempotency-key": "create-1" };
    const [one, two] = [
      await call("sessions.create", { repositoryId, commitSha }, { headers }),
      await call("sessions.create", { repositoryId, commitSha }, { headers }),
    ];
    assert.equal(one.session.id, two.session.id);
    const other = await ask("/v1/sessions.create", { headers, body: { repositoryId, commitSha: "b".repeat(40) } });
    assert.deepEqual([other.status, other.body.code], [422, "idempotency_mismatch"]);
  });

  test("a call that waits ends when its client goes", async (t) => {
    const api = await serveApi(t);
    const { call, fetch, store } = api;
    const { runner, session } = await claimed(api);
    const gone = new AbortController();
    const parked = async () => (await store.maintenance.stats()).serving.parked;
    const waiting = fetch("/v1/commands.claim", {
      body: { runnerId: runner.id, waitMs: 60_000 },
      signal: gone.signal,
    });
    await until(async () => (await parked()) === 1);
    gone.abort();
    await assert.rejects(waiting);
    await until(async () => (await parked()) === 0);
    // Nobody has taken the command that comes now.
    await call("commands.enqueue", { sessionId: session.id, commands: [{ argv: ["true"] }] });
    assert.notEqual(await call("commands.claim", { runnerId: runner.id }), undefined);
  });

  test("a log is followed as events and as lines, and goes on from the last event", async (t) => {
    const api = await serveApi(t, { heartbeatMs: 20 });
    const { call, fetch, ask } = api;
    const { commandId, fence } = await claimed(api);
    const append = (offset: number, text: string) =>
      call("logs.append", { commandId, fence, offset, data: Buffer.from(text).toString("base64") });
    await append(0, "one\n");
    const events = await fetch(`/v1/logs.follow?commandId=${commandId}`, { headers: { accept: "text/event-stream" } });
    assert.equal(events.headers.get("content-type"), "text/event-stream; charset=utf-8");
    const seen = await readUntil(events, ": waiting");
    const [id] = /(?<=^id: ).*$/m.exec(seen) ?? [];
    assert.equal(id, "1:4");
    await append(4, "two\n");
    await call("commands.finish", { commandId, fence, outcome: "succeeded", logOffset: 8 });
    const rest = await ask(`/v1/logs.follow?commandId=${commandId}`, {
      headers: { accept: "text/event-stream", "last-event-id": id ?? "" },
    });
    assert.deepEqual(
      [...rest.text.matchAll(/^event: (\w+)$/gm)].map(([, name]) => name),
      ["item", "end"],
    );
    assert.ok(rest.text.includes(Buffer.from("two\n").toString("base64")));
    assert.ok(!rest.text.includes(Buffer.from("one\n").toString("base64")));
    const lines = (await ask(`/v1/logs.follow?commandId=${commandId}`)).text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    assert.equal(
      lines
        .slice(0, -1)
        .map(({ item }) => Buffer.from(item.data, "base64"))
        .join(""),
      "one\ntwo\n",
    );
    assert.deepEqual(lines.at(-1), { end: {} });
    assert.equal((await ask("/v1/logs.follow?commandId=01900000-0000-7000-8000-000000000000")).status, 404);
    const wrong = await ask(`/v1/logs.follow?commandId=${commandId}`, { headers: { "last-event-id": "x" } });
    assert.deepEqual([wrong.status, wrong.body.code], [400, "invalid_input"]);
  });

  test("a log is read and followed as its bytes, and is cut off when it fails", async (t) => {
    const api = await serveApi(t);
    const { call, ask, fetch, store } = api;
    const { commandId, fence, session } = await claimed(api);
    await call("logs.mark", { sessionId: session.id, phase: "checkout" });
    const data = new Uint8Array([255, 0, 10, 111, 110, 101, 10]);
    await call("logs.append", { commandId, fence, offset: 0, data: Buffer.from(data).toString("base64") });
    const path = `/v1/logs.follow?commandId=${commandId}`;
    const bytesOf = async (what: string, accept: string) => {
      const response = await fetch(what, { headers: { accept } });
      return [response.headers.get("content-type"), Buffer.from(await response.arrayBuffer()).toString("hex")];
    };
    const followed = fetch(path, { headers: { accept: "text/plain" } });
    assert.ok((await readUntil(await followed, "one\n")).length > 0);
    await call("commands.finish", { commandId, fence, outcome: "succeeded", logOffset: data.byteLength });
    await call("sessions.complete", { sessionId: session.id });
    const hex = Buffer.from(data).toString("hex");
    const [text, bytes] = ["text/plain; charset=utf-8", "application/octet-stream"];
    for (const what of [
      path,
      `/v1/logs.followSession?sessionId=${session.id}`,
      `/v1/logs.read?commandId=${commandId}`,
    ]) {
      assert.deepEqual(await bytesOf(what, "text/plain"), [text, hex], what);
      assert.deepEqual(await bytesOf(what, bytes), [bytes, hex], what);
    }
    const refused = await ask("/v1/changes.watch", { headers: { accept: "text/plain" } });
    assert.deepEqual([refused.status, refused.body.code], [406, "not_acceptable"]);
    Object.assign(store.logs, {
      async *follow() {
        yield { attempt: 1, offset: 0, data };
        throw storeError("io_error");
      },
    });
    await assert.rejects(bytesOf(path, "text/plain"));
  });

  test("the log of a session goes on after the last event", async (t) => {
    const api = await serveApi(t);
    const { commandId, fence } = await claimed(api);
    const { sessionId } = (await api.call("commands.get", { commandId })) as { sessionId: string };
    await api.call("logs.mark", { sessionId, phase: "checkout" });
    for (const [index, text] of ["one\n", "two\n"].entries())
      await api.call("logs.append", {
        commandId,
        fence,
        offset: index * 4,
        data: Buffer.from(text).toString("base64"),
      });
    await api.call("commands.finish", { commandId, fence, outcome: "succeeded", logOffset: 8 });
    await api.call("sessions.complete", { sessionId });
    const read = async (lastId = "") =>
      (
        await api.ask(`/v1/logs.followSession?sessionId=${sessionId}`, {
          headers: { accept: "text/event-stream", "last-event-id": lastId },
        })
      ).text;
    const itemsOf = (text: string) => [...text.matchAll(/^event: item\nid: (.+)\ndata: (.+)$/gm)];
    const whole = itemsOf(await read());
    const kinds = whole.map(([, , data]) => JSON.parse(data as string).kind);
    assert.deepEqual(kinds.toSorted(), ["ended", "mark", "output", "output", "started"]);
    for (const [index, [, id]] of whole.entries())
      assert.deepEqual(
        itemsOf(await read(id)).map(([, , data]) => data),
        whole.slice(index + 1).map(([, , data]) => data),
      );
  });

  test("the feed goes on after the last event, and a client that goes ends its stream", async (t) => {
    const { call, fetch, store } = await serveApi(t);
    await call("repositories.upsert", { name: "one" });
    const sent = { headers: { accept: "text/event-stream", "last-event-id": "0" } };
    const gone = new AbortController();
    const watching = await fetch("/v1/changes.watch?entity=repository", { ...sent, signal: gone.signal });
    const text = await readUntil(watching, "\n\nevent: item");
    const [id = ""] = /(?<=^id: ).*$/m.exec(text) ?? [];
    await until(async () => (await store.maintenance.stats()).serving.parked === 1);
    gone.abort();
    await until(async () => (await store.maintenance.stats()).serving.parked === 0);
    await call("repositories.upsert", { name: "two" });
    const again = await fetch("/v1/changes.watch?entity=repository", {
      headers: { accept: "text/event-stream", "last-event-id": id },
    });
    const { id: second } = (await store.repositories.find({ name: "two" })) as { id: string };
    const item = await readUntil(again, "\n\nevent: item");
    assert.ok(item.includes(second));
  });

  test("a client that does not read holds up its own stream, and not the memory of the server", async (t) => {
    const { port, admin, store } = await serveApi(t);
    let [items, isEnded] = [0, false];
    const chunk = { attempt: 1, offset: 0, data: new Uint8Array(60_000) };
    Object.assign(store.logs, {
      async *follow() {
        try {
          for (;;) yield await new Promise((resolve) => setImmediate(resolve, { ...chunk, offset: items++ }));
        } finally {
          isEnded = true;
        }
      },
    });
    const socket = connect(port, "127.0.0.1");
    socket.pause();
    socket.write(
      `GET /v1/logs.follow HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${admin}\r\naccept: text/event-stream\r\n\r\n`,
    );
    let before = -1;
    await until(async () => {
      const stands = items > 0 && items === before;
      before = items;
      // Longer than the pause between two items.
      await new Promise((resolve) => setTimeout(resolve, 200));
      return stands;
    });
    // The buffers of the system take some megabytes.
    assert.ok(items < 500, `${items} items were read`);
    socket.destroy();
    await until(() => isEnded);
  });

  test("waits and streams end when the server ends, with an error that can be retried", async (t) => {
    const closing = new AbortController();
    const api = await serveApi(t, { closing: closing.signal });
    const { ask, fetch, store } = api;
    const { runner, commandId } = await claimed(api);
    const waiting = ask("/v1/commands.claim", { body: { runnerId: runner.id, waitMs: 60_000 } });
    const following = await fetch(`/v1/logs.follow?commandId=${commandId}`, {
      headers: { accept: "text/event-stream" },
    });
    await until(async () => (await store.maintenance.stats()).serving.parked === 2);
    closing.abort();
    const { status, body, headers } = await waiting;
    assert.deepEqual([status, body.code, body.retryable, headers.get("retry-after")], [503, "closed", true, "1"]);
    assert.match(await following.text(), /event: error\ndata: .*"code":"closed"/);
  });

  test("pages of the named origins alone may call the API", async (t) => {
    const { ask } = await serveApi(t, { origins: ["https://app.example.org"] });
    const allowed = async (origin: string) => {
      const headers = { origin, "access-control-request-method": "POST" };
      const { status, headers: answered } = await ask("/v1/sessions.get", { method: "OPTIONS", token: null, headers });
      return [status, answered.get("access-control-allow-origin")];
    };
    assert.deepEqual(await allowed("https://app.example.org"), [204, "https://app.example.org"]);
    assert.deepEqual(await allowed("https://other.example.org"), [204, null]);
    const { ask: askOther } = await serveApi(t);
    assert.equal(
      (await askOther("/v1/self", { headers: { origin: "https://app.example.org" } })).headers.get(
        "access-control-allow-origin",
      ),
      null,
    );
  });

  test("requests are reported without their secrets, and a bug says nothing about itself", async (t) => {
    const reported: unknown[] = [];
    const errors: unknown[] = [];
    const api = await serveApi(t, {
      onResponse: (answered) => reported.push(answered),
      onError: (error) => errors.push(error),
    });
    await api.ask("/livez?token=secret");
    await api.ask("/nothing");
    await api.ask("/v1/self");
    const text = JSON.stringify(reported);
    assert.ok(!text.includes(api.admin) && !text.includes("secret"), text);
    assert.deepEqual(
      (reported as { path: string; status: number }[]).map(({ path, status }) => [path, status]),
      [
        ["/livez", 200],
        ["/nothing", 404],
        ["/v1/self", 200],
      ],
    );
    Object.assign(api.store.repositories, {
      list: () => Promise.reject(new TypeError("a secret of the implementation")),
    });
    const { status, body, text: answer } = await api.ask("/v1/repositories.list", { body: {} });
    assert.deepEqual([status, body.code, body.outcome], [500, "internal", "unknown"]);
    assert.ok(!answer.includes("secret of"));
    assert.equal(errors.length, 1);
  });
});
