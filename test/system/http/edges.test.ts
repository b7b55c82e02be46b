// The edges of the API: requests that never end, pages of other origins, tokens that are revoked while a stream is read, and
// failures that a server must hear of.
import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { suite, type TestContext, test } from "node:test";
import { type Answered, type ServeStoreOptions, serveStore, storeHandler } from "../../../src/http/index.ts";
import { openStore, StoreError } from "../../../src/index.ts";
import { openTestStore } from "../../../src/testing/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { run, startProcess, workingFolder } from "../cli/commandLine.ts";
import { serveApi } from "./apiServer.ts";

async function serving(t: TestContext, options: ServeStoreOptions = {}) {
  const store = await openStore({ url: `sqlite:${join(temporaryFolder(), "store.db")}` });
  const api = await serveStore(store, { listen: "127.0.0.1:0", ...options });
  t.after(async () => {
    await api.close({ withinMs: 0 });
    await store.close();
  });
  return { api, store, port: Number(new URL(api.url as string).port) };
}

/** Sends text over a connection, and returns it with what has come back so far. */
async function sendRaw(t: TestContext, port: number, text: string) {
  const socket = connect(port, "127.0.0.1");
  t.after(() => socket.destroy());
  let received = "";
  socket.on("data", (data) => {
    received += data.toString();
  });
  socket.on("error", () => undefined);
  socket.write(text);
  return { socket, received: () => received };
}

const closed = (socket: Socket) => new Promise<void>((resolve) => socket.once("close", () => resolve()));

suite("the edges of the API", { concurrency: 4 }, () => {
  test("a request that was answered and whose body trickles is ended, and holds up no end of the server", async (t) => {
    const { api, port } = await serving(t, { requestMs: 300 });
    for (const path of ["/livez", "/v1/self", "/nothing"]) {
      const { socket, received } = await sendRaw(
        t,
        port,
        `GET ${path} HTTP/1.1\r\nhost: a\r\ncontent-length: 9999\r\n\r\n`,
      );
      const trickle = setInterval(() => socket.write("x"), 20);
      await closed(socket);
      clearInterval(trickle);
      assert.match(received(), /^HTTP\/1\.1 (200|401|404) /, path);
    }
    const patient = await serving(t, { requestMs: 600_000 });
    const { socket, received } = await sendRaw(
      t,
      patient.port,
      "GET /livez HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n",
    );
    await new Promise<void>((resolve) => socket.on("data", () => received().includes("200") && resolve()));
    await patient.api.close({ withinMs: 600_000 });
    await api.close();
  });

  test("a request without a host is answered", async (t) => {
    const { port } = await serving(t);
    for (const head of ["GET /livez HTTP/1.0\r\n\r\n", "GET /livez HTTP/1.1\r\nhost:\r\nconnection: close\r\n\r\n"]) {
      const { socket, received } = await sendRaw(t, port, head);
      await closed(socket);
      assert.match(received(), /^HTTP\/1\.1 200 /, head);
    }
  });

  test("a path is logged as it was sent, on one line", async (t) => {
    const paths: string[] = [];
    const api = await serveApi(t, { onResponse: ({ path }: Answered) => void paths.push(path) });
    await api.ask("/v1/x%0aPOST%20/v1/tokens.mint%1b[31m");
    assert.deepEqual(paths, ["/v1/x%0aPOST%20/v1/tokens.mint%1b[31m"]);
    const { folder } = workingFolder(t, { init: false });
    const server = startProcess(folder, ["serve", "--listen", "127.0.0.1:0", "--verbose"]);
    const [, url = ""] = /listening on (\S+)/.exec(await server.printed(/listening on \S+\n/)) ?? [];
    await fetch(`${url}/v1/x%0aforged`);
    server.kill("SIGTERM");
    assert.doesNotMatch((await server.ended).stderr, /^forged/m);
  });

  test("a token that is revoked ends its streams and waits", async (t) => {
    const api = await serveApi(t, { heartbeatMs: 20 });
    const token = await api.tokenWith("changes:read", "sessions:read");
    const repository = await api.call("repositories.upsert", { name: "one" });
    const commitSha = "a".repeat(40);
    const { session } = await api.call("sessions.create", { repositoryId: repository.id, commitSha });
    const events = await api.fetch("/v1/changes.watch", { token, headers: { accept: "text/event-stream" } });
    const lines = await api.fetch("/v1/changes.watch", { token });
    const wait = api.ask(`/v1/sessions.wait?sessionId=${session.id}`, { token });
    const { tokenId } = (await api.ask("/v1/self", { token })).body;
    await api.call("tokens.revoke", { tokenId });
    const [, problem = ""] = /^event: error\ndata: (.+)$/m.exec(await events.text()) ?? [];
    assert.equal(JSON.parse(problem).code, "token_revoked");
    const last = (await lines.text()).trim().split("\n").at(-1) as string;
    assert.equal(JSON.parse(last).error.code, "token_revoked");
    assert.deepEqual([(await wait).status, (await wait).body.code], [401, "token_revoked"]);
  });

  test("lines have the positions of their items, and signs of life", async (t) => {
    const api = await serveApi(t, { heartbeatMs: 20 });
    await api.call("repositories.upsert", { name: "one" });
    const body = await api.fetch("/v1/changes.watch");
    let text = "";
    for await (const part of body.body as ReadableStream<Uint8Array>) {
      text += Buffer.from(part).toString();
      if (text.includes('"item"') && text.includes('{"waiting":{}}\n')) break;
    }
    // A slow machine may say first that it waits.
    const lines = text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    const first = lines.find(({ item }) => item !== undefined);
    assert.equal(first.id, String(first.item.seq));
  });

  test("failures with the status 500 are reported, also those of a stream, and one of onResponse changes no answer", async (t) => {
    const reported: string[] = [];
    const memory = await openTestStore();
    t.after(() => memory.close());
    const bug = new TypeError("a bug");
    const store = {
      ...memory,
      changes: {
        ...memory.changes,
        watch: async function* () {
          yield { seq: 1 };
          throw bug;
        },
      },
      repositories: {
        ...memory.repositories,
        list: async () => {
          throw new StoreError("internal", "inside");
        },
      },
    } as unknown as typeof memory;
    const handler = storeHandler(store, {
      identify: async () => ({ scopes: ["admin"] }),
      onError: (error) => void reported.push(String(error)),
      onResponse: ({ path }) => {
        if (path.endsWith(".upsert")) throw new Error("the log is full");
      },
    });
    const ask = (path: string) => handler(new Request(`http://a${path}`, { method: "POST" }));
    assert.match(await (await ask("/v1/changes.watch")).text(), /"code":"internal"/);
    assert.equal((await ask("/v1/repositories.list")).status, 500);
    assert.equal((await ask("/v1/repositories.upsert?name=one")).status, 200);
    assert.deepEqual(reported, ["TypeError: a bug", "StoreError: inside", "Error: the log is full"]);
  });

  test("a page of another origin cannot write, unless it is named", async (t) => {
    const api = await serveApi(t, { origins: ["https://app.example"] });
    const from = (origin: string, site: string) => ({
      method: "POST",
      headers: { origin, "sec-fetch-site": site },
    });
    const path = "/v1/repositories.upsert?name=one";
    const refused = await api.ask(path, from("https://evil.example", "cross-site"));
    assert.deepEqual([refused.status, refused.body.code], [403, "origin_refused"]);
    assert.equal((await api.ask(path, from("https://app.example", "cross-site"))).status, 200);
    assert.equal((await api.ask(path, from(api.url, "same-origin"))).status, 200);
    const plain = await api.ask("/v1/atomically", {
      method: "POST",
      headers: { "content-type": "text/plain" },
      body: JSON.stringify({ calls: [] }),
    });
    assert.deepEqual([plain.status, plain.body.code], [415, "unsupported_media_type"]);
  });

  test("bodies that arrive on many connections are bounded together", async (t) => {
    const api = await serveApi(t, { bodyBytesMax: 40 * 1024 * 1024 });
    const piece = new Uint8Array(32 * 1024 * 1024).fill(32);
    const hold = Promise.withResolvers<void>();
    const sent = Array.from({ length: 12 }, () => {
      const body = new ReadableStream({
        async start(controller) {
          controller.enqueue(piece);
          await hold.promise;
          controller.close();
        },
      });
      const headers = { authorization: `Bearer ${api.admin}`, "content-type": "application/json" };
      return fetch(`${api.url}/v1/sessions.create`, { method: "POST", headers, body, duplex: "half" } as RequestInit);
    });
    const first = await Promise.race(sent);
    assert.deepEqual([first.status, ((await first.json()) as { code: string }).code], [503, "too_many_bodies"]);
    hold.resolve();
    await Promise.allSettled(sent);
    assert.equal((await api.ask("/v1/repositories.list")).status, 200);
  });

  test("bytes of many MiB are read from base64, and an id of a stream must be one", async (t) => {
    const api = await serveApi(t);
    const large = Buffer.alloc(5 * 1024 * 1024, 65).toString("base64");
    const call = { commandId: "01900000-0000-7000-8000-000000000000", fence: 1, offset: 0 };
    const answer = await api.ask("/v1/logs.append", { body: { ...call, data: large } });
    assert.deepEqual([answer.status, answer.body.code], [400, "invalid_input"]);
    for (const data of ["a", "a===", "ab cd", "@@@@"])
      assert.equal((await api.ask("/v1/logs.append", { body: { ...call, data } })).status, 400, data);
    const follow = await api.ask(`/v1/logs.follow?commandId=${call.commandId}`, {
      headers: { "last-event-id": "1:2:3" },
    });
    assert.deepEqual([follow.status, follow.body.code], [400, "invalid_input"]);
    const utf8 = await api.ask("/v1/repositories.list", {
      body: "{}",
      headers: { "content-type": "application/json; charset=UTF8" },
    });
    assert.equal(utf8.status, 200);
  });

  test("every header that an answer has is one that pages may read", async (t) => {
    const api = await serveApi(t, { origins: ["https://app.example"] });
    const origin = { origin: "https://app.example" };
    const { headers } = await api.ask("/v1/repositories.list", { headers: origin });
    const exposed = (headers.get("access-control-expose-headers") ?? "").toLowerCase().split(",");
    for (const name of ["x-next-offset", "x-log-ended", "content-range", "etag", "content-disposition"])
      assert.ok(exposed.includes(name), name);
  });

  test("the rights of a socket can be given, and are checked", async (t) => {
    const { folder } = workingFolder(t, { init: false });
    const wrong = await run(folder, ["serve", "--listen", "unix:a.sock", "--socket-mode", "rw"]);
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /socket mode: expected three digits/);
  });
});
