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
import { nodeHandler, type StoreHandler, storeHandler } from "../../../src/http/index.ts";
import { openStore } from "../../../src/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";

/** Starts a server with a handler, and checks a call, a stream, a problem and the server's own page. */
async function check(
  t: TestContext,
  start: (handler: StoreHandler) => Promise<{ port: number; close(): Promise<unknown> }>,
) {
  const store = await openStore({ url: `sqlite:${join(temporaryFolder(), "store.db")}` });
  const token = (await store.tokens.bootstrapAdmin()).secret as string;
  const server = await start(storeHandler(store));
  t.after(async () => {
    await server.close();
    await store.close();
  });
  const ask = (path: string, body?: object, headers: Record<string, string> = {}) =>
    fetch(`http://127.0.0.1:${server.port}${path}`, {
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json", ...headers },
      ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }),
    });
  const made = await ask("/v1/repositories.upsert", { name: "demo" });
  assert.equal(made.status, 200);
  const { id } = (await made.json()) as { id: string };
  const controller = new AbortController();
  const watched = await fetch(`http://127.0.0.1:${server.port}/v1/changes.watch?entity=repository`, {
    headers: { authorization: `Bearer ${token}`, accept: "text/event-stream", "last-event-id": "0" },
    signal: controller.signal,
  });
  let text = "";
  for await (const part of (watched.body as ReadableStream<Uint8Array>).values({ preventCancel: true })) {
    text += Buffer.from(part).toString();
    if (text.includes(id)) break;
  }
  controller.abort();
  assert.equal((await ask("/v1/sessions.get", {})).headers.get("content-type"), "application/problem+json");
  assert.equal(await (await ask("/own")).text(), "own");
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

test("Hono", async (t) => {
  await check(t, async (handler) => {
    const app = new Hono();
    app.all("/v1/*", (context) => handler(context.req.raw));
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
  });
});
