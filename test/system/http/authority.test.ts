// Limited tokens and other accounts over HTTP: what a token does not reach is refused on every way to the store.
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { newId, openStore } from "../../../src/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { serveApi } from "./apiServer.ts";

const commitSha = "a".repeat(40);

suite("authority over HTTP", () => {
  test("a token of a session gets its rows on every way, and no others on any", async (t) => {
    const { ask, call, store, url, tokenWith } = await serveApi(t);
    const owner = await tokenWith("sessions:write", "sessions:read", "commands:write", "logs:read", "artifacts:write");
    const { id: repositoryId } = await store.repositories.upsert({ name: "demo" });
    const created = async () => {
      const commands = [{ argv: ["true"] }];
      const made = await call("sessions.create", { repositoryId, commitSha, commands }, { token: owner });
      return { sessionId: made.session.id as string, commandId: made.commands[0].id as string };
    };
    const [own, other] = [await created(), await created()];
    const scopes = ["sessions:read", "sessions:write", "logs:read", "artifacts:write", "commands:write"];
    const minted = await call("tokens.mintForSession", { sessionId: own.sessionId, scopes }, { token: owner });
    const token = minted.secret as string;
    const self = (await ask("/v1/self", { token })).body;
    assert.deepEqual([self.sessionId, self.repositoryIds], [own.sessionId, null]);
    const get = (path: string) => ask(path, { token, method: "GET" });
    for (const [{ sessionId, commandId }, status] of [
      [own, 200],
      [other, 403],
    ] as const) {
      assert.equal((await get(`/v1/sessions.get?sessionId=${sessionId}`)).status, status);
      assert.equal((await get(`/v1/logs.read?commandId=${commandId}`)).status, status);
      const stream = await fetch(`${url}/v1/logs.followSession?sessionId=${sessionId}`, {
        headers: { authorization: `Bearer ${token}`, accept: "text/event-stream" },
      });
      assert.equal(stream.status, status);
      await stream.body?.cancel();
      const calls = [{ operation: "sessions.touch", input: { sessionId } }];
      assert.equal((await ask("/v1/atomically", { token, body: { calls } })).status, status);
      assert.equal(
        (await ask("/v1/sessions.wait", { token, body: { sessionId, timeoutMs: 1 } })).body.code,
        status === 403 ? "out_of_reach" : "deadline_exceeded",
      );
    }
    const refused = await ask("/v1/sessions.list", { token, body: {} });
    assert.deepEqual([refused.status, refused.body.code, refused.body.details.limit], [403, "out_of_reach", "session"]);
    const remote = await openStore({ url, token });
    t.after(() => remote.close());
    assert.equal((await remote.sessions.get({ sessionId: own.sessionId })).id, own.sessionId);
    await assert.rejects(remote.sessions.get({ sessionId: other.sessionId }), { code: "out_of_reach" });
    // A client cannot name another authority than its own.
    const { id: adminId } = (await store.tokens.list()).items.find((row) => row.scopes.includes("admin")) as {
      id: string;
    };
    await assert.rejects(remote.sessions.get({ sessionId: other.sessionId }, { tokenId: adminId }), {
      code: "out_of_reach",
    });
    await assert.rejects(
      remote.atomically((tx) => void tx.commands.enqueue({ sessionId: other.sessionId, commands: [{ argv: ["x"] }] })),
      { code: "out_of_reach" },
    );
    await store.sessions.cancel({ sessionId: own.sessionId });
    assert.equal((await get(`/v1/sessions.get?sessionId=${own.sessionId}`)).body.code, "token_expired");
  });

  test("files of a session are sent and got by the tokens that reach it", async (t) => {
    const { call, store, url, tokenWith } = await serveApi(t, { artifactsFolder: temporaryFolder() });
    const owner = await tokenWith("sessions:write", "artifacts:write", "artifacts:read");
    const { id: repositoryId } = await store.repositories.upsert({ name: "demo" });
    const sessions = await Promise.all(
      [1, 2].map(async () => (await call("sessions.create", { repositoryId, commitSha }, { token: owner })).session.id),
    );
    const scopes = ["artifacts:write", "artifacts:read"];
    const { secret } = await call("tokens.mintForSession", { sessionId: sessions[0], scopes }, { token: owner });
    const send = (sessionId: string, token: string) =>
      fetch(`${url}/v1/artifacts.content?sessionId=${sessionId}&name=report`, {
        method: "POST",
        body: "text",
        headers: { authorization: `Bearer ${token}`, "content-type": "text/plain" },
      });
    const sent = await send(sessions[0], secret);
    assert.equal(sent.status, 200);
    const elsewhere = await send(sessions[1], secret);
    assert.deepEqual([elsewhere.status, ((await elsewhere.json()) as { code: string }).code], [403, "out_of_reach"]);
    const { id } = (await (await send(sessions[1], owner)).json()) as { id: string };
    const get = (artifactId: string) =>
      fetch(`${url}/v1/artifacts.content?artifactId=${artifactId}`, { headers: { authorization: `Bearer ${secret}` } });
    assert.equal(await (await get(((await sent.json()) as { id: string }).id)).text(), "text");
    assert.equal((await get(id)).status, 403);
  });

  test("another account's session is cancelled with sessions:any only", async (t) => {
    const { ask, call, store, tokenWith } = await serveApi(t);
    const { id: repositoryId } = await store.repositories.upsert({ name: "demo" });
    const owner = await tokenWith("sessions:write");
    const create = () => call("sessions.create", { repositoryId, commitSha }, { token: owner });
    const sessionId = (await create()).session.id;
    const other = await tokenWith("sessions:write");
    const refused = await ask("/v1/sessions.cancel", { token: other, body: { sessionId } });
    assert.deepEqual([refused.status, refused.body.details.missing], [403, ["sessions:any"]]);
    assert.match(refused.headers.get("www-authenticate") ?? "", /scope="sessions:any"/);
    const any = await tokenWith("sessions:write", "sessions:any");
    await call("sessions.cancel", { sessionId }, { token: any });
    await call("sessions.cancel", { sessionId: (await create()).session.id }, { token: owner });
    await call("sessions.cancel", { sessionId: (await create()).session.id });
    assert.equal((await ask("/v1/sessions.cancel", { token: any, body: { sessionId: newId() } })).status, 404);
  });
});
