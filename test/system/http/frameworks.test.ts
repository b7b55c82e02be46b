// The handler of a store in servers of other frameworks, as the guide shows it.
import assert from "node:assert/strict";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { serve } from "@hono/node-server";
import express from "express";
import fastify from "fastify";
import { Hono } from "hono";
import { nodeHandler, type StoreHandler, type StoreHandlerOptions, storeHandler } from "../../../src/http/index.ts";
import { openStore } from "../../../src/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";

type Start = (handler: StoreHandler) => Promise<{ port: number; close(): Promise<unknown> }>;

interface Mount {
  /** The path below which the handler answers. */
  readonly at?: string;
  readonly options?: StoreHandlerOptions;
}

/** Starts a server with a handler, and checks a call, a stream, a problem, a remote store and the server's own page. */
async function check(t: TestContext, start: Start, { at = "", options = {} }: Mount = {}) {
  const store = await openStore({ url: `sqlite:${join(temporaryFolder(), "store.db")}` });
  const token = (await store.tokens.bootstrapAdmin()).secret as string;
  const server = await start(storeHandler(store, options));
  t.after(async () => {
    await server.close();
    await store.close();
  });
  const ask = (path: string, body?: object, headers: Record<string, string> = {}) =>
    fetch(`http://127.0.0.1:${server.port}${path}`, {
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json", ...headers },
      ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }),
    });
  const made = await ask(`${at}/v1/repositories.upsert`, { name: "demo" });
  assert.equal(made.status, 200);
  const { id } = (await made.json()) as { id: string };
  const controller = new AbortController();
  const watched = await fetch(`http://127.0.0.1:${server.port}${at}/v1/changes.watch?entity=repository`, {
    headers: { authorization: `Bearer ${token}`, accept: "text/event-stream", "last-event-id": "0" },
    signal: controller.signal,
  });
  let text = "";
  for await (const part of (watched.body as ReadableStream<Uint8Array>).values({ preventCancel: true })) {
    text += Buffer.from(part).toString();
    if (text.includes(id)) break;
  }
  controller.abort();
  assert.equal((await ask(`${at}/v1/sessions.get`, {})).headers.get("content-type"), "application/problem+json");
  assert.equal(await (await ask("/own")).text(), "own");
  // A client finds the operations from the document alone.
  const place = `http://127.0.0.1:${server.port}${at}/openapi.json`;
  if (at === "") return;
  const { servers } = (await (await fetch(place)).json()) as { servers: [{ url: string }] };
  const base = new URL(servers[0].url, place).href;
  const found = await fetch(`${base}/v1/self`, { headers: { authorization: `Bearer ${token}` } });
  assert.equal(found.status, 200, base);
  assert.equal((await fetch(`${base}readyz`)).status, 200);
  const remote = await openStore({ url: `http://127.0.0.1:${server.port}${at}`, token });
  assert.equal((await remote.repositories.get({ repositoryId: id })).name, "demo");
  await remote.close();
}

async function listening(server: Server) {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

test("Express", async (t) => {
  await check(t, (handler) => {
    const app = express();
    const api = nodeHandler(handler);
    app.use((request, response, next) => (request.url.startsWith("/v1/") ? api(request, response) : next()));
    app.use(express.json());
    app.get("/own", (_, response) => void response.send("own"));
    return listening(createServer(app));
  });
});

test("Fastify", async (t) => {
  await check(t, async (handler) => {
    const api = nodeHandler(handler);
    const app = fastify({
      serverFactory: (next: RequestListener) =>
        createServer((request, response) =>
          request.url?.startsWith("/v1/") ? void api(request, response) : next(request, response),
        ),
    });
    app.get("/own", async () => "own");
    await app.ready();
    return listening(app.server);
  });
});

/** Starts a server of Hono with the handler at a pattern. */
function honoServer(pattern: string): Start {
  return async (handler) => {
    const app = new Hono();
    app.all(pattern, (context) => handler(context.req.raw));
    app.get("/own", (context) => context.text("own"));
    return await new Promise((resolve) => {
      const server = serve(
        { fetch: app.fetch, port: 0, hostname: "127.0.0.1", overrideGlobalObjects: false },
        ({ port }) =>
          resolve({
            port,
            close: () => {
              (server as Server).closeAllConnections();
              return new Promise((closed) => server.close(closed));
            },
          }),
      );
    });
  };
}

test("Hono", (t) => check(t, honoServer("/v1/*")));

test("Hono below a path", (t) => check(t, honoServer("/debug/*"), { at: "/debug", options: { prefix: "/debug" } }));

test("Express below a path", (t) =>
  check(
    t,
    (handler) => {
      const app = express();
      app.use("/debug", nodeHandler(handler));
      app.use(express.json());
      app.get("/own", (_, response) => void response.send("own"));
      return listening(createServer(app));
    },
    { at: "/debug" },
  ));

test("a prefix is a path, and nothing else is answered", async (t) => {
  const store = await openStore({ url: "sqlite::memory:" });
  t.after(() => store.close());
  for (const prefix of ["debug", "/debug/", "/", "/a?b", "//a"])
    assert.throws(() => storeHandler(store, { prefix }), { code: "invalid_input" }, prefix);
  const handler = storeHandler(store, { prefix: "/debug" });
  const statusOf = async (path: string) => (await handler(new Request(`http://x${path}`))).status;
  assert.deepEqual(
    await Promise.all(["/debug/livez", "/livez", "/debugger/livez", "/debug", "/v1/self"].map(statusOf)),
    [200, 404, 404, 404, 404],
  );
});

test("a body that was read before is told of, instead of a body that is empty", async (t) => {
  const store = await openStore({ url: "sqlite::memory:" });
  const token = (await store.tokens.bootstrapAdmin()).secret as string;
  const errors: unknown[] = [];
  const handler = storeHandler(store, { onError: (error) => errors.push(error) });
  const app = express();
  app.use(express.json());
  app.use(nodeHandler(handler));
  const { port, close } = await listening(createServer(app));
  t.after(async () => {
    await close();
    await store.close();
  });
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  const sent = { method: "POST", headers, body: '{"name":"demo"}' };
  const answer = await fetch(`http://127.0.0.1:${port}/v1/repositories.upsert`, sent);
  const problem = (await answer.json()) as { code: string; detail: string };
  assert.deepEqual([answer.status, problem.code], [500, "body_read_before"]);
  assert.match(problem.detail, /mount the handler before/);
  assert.equal(errors.length, 1);
  // Without a body, nothing was read.
  assert.equal((await fetch(`http://127.0.0.1:${port}/v1/repositories.list`, { headers })).status, 200);
  assert.equal(
    (
      await fetch(`http://127.0.0.1:${port}/v1/repositories.list`, {
        headers: { authorization: `Bearer ${token}` },
        method: "POST",
      })
    ).status,
    200,
  );
  const request = new Request("http://x/v1/repositories.upsert", sent);
  await request.text();
  assert.equal((await handler(request)).status, 500);
});
