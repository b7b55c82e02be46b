// A server on real sockets: addresses, clients that are slow, many or broken, and the end under load.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, type TestContext, test } from "node:test";
import fc from "fast-check";
import { parseAddress, type ServeStoreOptions, serveStore, statusOf } from "../../../src/http/index.ts";
import { openStore } from "../../../src/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { git, run, startProcess, workingFolder } from "../cli/commandLine.ts";
import { until } from "../faults/until.ts";

async function serving(t: TestContext, options: ServeStoreOptions = {}) {
  const folder = temporaryFolder();
  const store = await openStore({ url: `sqlite:${join(folder, "store.db")}` });
  const admin = (await store.tokens.bootstrapAdmin()).secret as string;
  const api = await serveStore(store, { listen: "127.0.0.1:0", ...options });
  t.after(async () => {
    await api.close({ withinMs: 0 });
    await store.close();
  });
  const { port } = new URL(api.url ?? "http://unused:1");
  const headers = { authorization: `Bearer ${admin}` };
  /** Sends text over a connection, and returns what comes back until the server closes it. */
  const send = async (...parts: readonly string[]): Promise<string> => {
    const socket = connect(Number(port), "127.0.0.1");
    t.after(() => socket.destroy());
    let text = "";
    socket.on("data", (data) => (text += data));
    socket.on("error", () => undefined);
    for (const part of parts) socket.write(part);
    await once(socket, "close");
    return text;
  };
  const isServed = async () => {
    const { status } = await fetch(`${api.url}/v1/self`, { headers });
    assert.equal(status, 200);
  };
  return { store, admin, api, folder, port: Number(port), headers, send, isServed };
}

/** Sends a GET over a Unix socket, and returns the status. */
async function statusOver(socketPath: string, path: string): Promise<number | undefined> {
  const sent = request({ socketPath, path });
  sent.end();
  const [response] = await once(sent, "response");
  response.resume();
  return response.statusCode;
}

suite("serveStore", { concurrency: 3 }, () => {
  test("addresses are parsed, and refused when they are none", () => {
    assert.deepEqual(parseAddress("127.0.0.1:8080"), { host: "127.0.0.1", port: 8080 });
    assert.deepEqual(parseAddress("[::1]:0"), { host: "::1", port: 0 });
    const socketPath = join(tmpdir(), "a.sock");
    assert.deepEqual(parseAddress(`unix:${socketPath}`), { path: socketPath });
    for (const wrong of [
      "",
      "8080",
      ":8080",
      "host",
      "host:",
      "host:65536",
      "a:b:1",
      "unix:",
      `unix:/${"x".repeat(107)}`,
    ])
      assert.throws(() => parseAddress(wrong), { code: "invalid_input" }, wrong);
  });

  test("a Unix socket is this user's, replaces one that was left, and is never taken from a server", async (t) => {
    const socketPath = join(temporaryFolder(), "api.sock");
    const listen = `unix:${socketPath}`;
    const { api, store } = await serving(t, { listen });
    assert.deepEqual([api.address, api.url], [listen, undefined]);
    assert.equal(statSync(socketPath).mode & 0o777, 0o600);
    assert.equal(await statusOver(socketPath, "/livez"), 200);
    await assert.rejects(serveStore(store, { listen }), { code: "invalid_input", message: /another server listens/ });
    assert.equal(await statusOver(socketPath, "/livez"), 200);
    await api.close();
    // What a killed server leaves: a socket at which nobody listens.
    const { folder } = workingFolder(t, { init: false });
    const left = startProcess(folder, ["serve", "--listen", listen]);
    await left.printed("listening on");
    left.kill("SIGKILL");
    await left.ended;
    assert.ok(existsSync(socketPath));
    const again = await serveStore(store, { listen });
    assert.equal(await statusOver(socketPath, "/livez"), 200);
    await again.close();
    const shared = await serveStore(store, { listen, socketMode: 0o660 });
    assert.equal(statSync(socketPath).mode & 0o777, 0o660);
    await shared.close();
    writeFileSync(socketPath, "");
    await assert.rejects(serveStore(store, { listen }), { message: /exists, and is no socket/ });
    assert.ok(existsSync(socketPath));
    await assert.rejects(serveStore(store, { listen: `unix:${folder}/no/api.sock` }), {
      message: /there is no folder/,
    });
  });

  test("a port that is in use is refused", async (t) => {
    const { api, store } = await serving(t);
    await assert.rejects(serveStore(store, { listen: api.address }), {
      code: "invalid_input",
      message: /it is in use/,
    });
  });

  test("a client that waits before it sends a body is told to once the rest of its request has passed", async (t) => {
    const artifactsFolder = temporaryFolder();
    const { api, store, headers } = await serving(t, { artifactsFolder, artifactBytesMax: 1_000 });
    const { id: repositoryId } = await store.repositories.upsert({ name: "demo" });
    const { session } = await store.sessions.create({ repositoryId, commitSha: "a".repeat(40) });
    const place = `${api.url}/v1/artifacts.content?sessionId=${session.id}&name=a`;
    const [text, agent] = ["a file", new Agent({ keepAlive: true, maxSockets: 1 })];
    t.after(() => agent.destroy());
    const ask = async (query: string, length: number, more: Record<string, string> = {}) => {
      const sent = request(`${place}${query}`, {
        method: "POST",
        agent,
        headers: { ...headers, ...more, "content-length": length, expect: "100-continue" },
      });
      let isTold = false;
      sent.once("continue", () => {
        isTold = true;
        sent.end(text);
      });
      sent.on("error", () => undefined);
      sent.flushHeaders();
      const [response] = await once(sent, "response");
      response.resume();
      await once(response, "end");
      if (!isTold) sent.destroy();
      return [response.statusCode, isTold, response.headers.connection];
    };
    assert.deepEqual(await ask("", text.length, { authorization: "Bearer x" }), [401, false, "close"]);
    assert.deepEqual(await ask("", 1_001), [413, false, "close"]);
    assert.deepEqual(await ask("&no=1", text.length), [400, false, "close"]);
    assert.deepEqual(await ask("", text.length), [200, true, "keep-alive"]);
    // The store has the file.
    const [{ sha256 } = {}] = (await store.artifacts.list({ sessionId: session.id })).items;
    assert.deepEqual(await ask(`&sha256=${sha256}`, text.length), [200, false, "close"]);
    assert.deepEqual(await ask("", text.length), [200, true, "keep-alive"]);
  });

  test("requests that are slow, too large, half closed or no HTTP are ended, and others are served", async (t) => {
    const { send, isServed, port, store, admin } = await serving(t, { requestMs: 300 });
    // Requests whose rest does not come.
    assert.match(await send("GET /v1/self HTTP/1.1\r\nhost: x"), /^HTTP\/1\.1 408 /);
    const slow = `POST /v1/self HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{`;
    assert.match(await send(slow), /^HTTP\/1\.1 4\d\d /);
    const large = await send(`GET /v1/self HTTP/1.1\r\nhost: x\r\nx: ${"y".repeat(40_000)}\r\n\r\n`);
    assert.match(large, /^HTTP\/1\.1 431 /);
    assert.match(await send("not http at all\r\n\r\n"), /^HTTP\/1\.1 400 /);
    const halfClosed = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    let answer = "";
    halfClosed.on("data", (data) => (answer += data));
    halfClosed.end(`GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`);
    await once(halfClosed, "close");
    assert.match(answer, /^HTTP\/1\.1 200 /);
    // A body that never comes, from a client that goes.
    const gone = connect(port, "127.0.0.1");
    gone.write(
      `POST /v1/repositories.upsert HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${admin}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"na`,
    );
    await once(gone, "connect");
    gone.destroy();
    // A body in pieces that ends early is no call.
    await send(
      `POST /v1/repositories.upsert HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${admin}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n`,
      '5\r\n{"nam\r\n',
      "zz\r\n",
    );
    await isServed();
    assert.deepEqual((await store.repositories.list()).items, []);
  });

  test("a large file may take longer than another request, and one that stands still is ended", async (t) => {
    const { store, admin, send, port } = await serving(t, { requestMs: 300, artifactsFolder: temporaryFolder() });
    const { id: repositoryId } = await store.repositories.upsert({ name: "demo" });
    const { session } = await store.sessions.create({ repositoryId, commitSha: "a".repeat(40) });
    const head = (path: string) =>
      `POST /v1/${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${admin}\r\ncontent-length: 12\r\nconnection: close\r\n\r\n`;
    const slowly = async (path: string): Promise<string> => {
      const socket = connect(port, "127.0.0.1");
      t.after(() => socket.destroy());
      let text = "";
      socket.on("data", (data) => (text += data));
      socket.on("error", () => undefined);
      socket.write(head(path));
      for (let part = 0; part < 12 && !socket.destroyed; part++) {
        await new Promise((resolve) => setTimeout(resolve, 100));
        socket.write("x");
      }
      if (!socket.closed) await once(socket, "close");
      return text;
    };
    const path = (name: string) => `artifacts.content?sessionId=${session.id}&name=${name}`;
    assert.match(await slowly(path("slow")), /^HTTP\/1\.1 200 /);
    assert.match(await slowly("repositories.upsert"), /^HTTP\/1\.1 408 /);
    assert.match(await send(`${head(path("silent"))}abc`), /^HTTP\/1\.1 408 /);
    const { items } = await store.artifacts.list({ sessionId: session.id });
    assert.deepEqual(
      items.map(({ name }) => name),
      ["slow"],
    );
  });

  test("whatever a request is, it is answered with a typed problem or a result, and the next one is served", async (t) => {
    const { api, headers, isServed } = await serving(t);
    const statuses = new Set([200, 404, 405, 406, 413, 415, 429, ...Object.values(statusOf)]);
    const anyPath = fc.oneof(
      fc.constantFrom(
        "/v1/sessions.get",
        "/v1/sessions.list",
        "/v1/logs.follow",
        "/v1/atomically",
        "/v1/logs.append",
        "/v1/",
      ),
      fc.string({ unit: "binary", maxLength: 30 }).map((text) => `/v1/${encodeURIComponent(text.toWellFormed())}`),
      fc.string({ maxLength: 30 }).map((text) => `/${encodeURI(text)}`),
    );
    const anyBody = fc.oneof(
      fc.json(),
      fc.uint8Array({ maxLength: 200 }),
      fc.record({ calls: fc.anything() }).map((value) => JSON.stringify(value) ?? ""),
      fc.object().map((value) => JSON.stringify(value) ?? ""),
    );
    const anyHeaders = fc.dictionary(
      fc.constantFrom(
        "content-type",
        "content-encoding",
        "accept",
        "last-event-id",
        "idempotency-key",
        "traceparent",
        "x-request-id",
      ),
      fc.oneof(
        fc.constantFrom("application/json", "text/event-stream", "application/octet-stream", "gzip", "1:2"),
        fc.stringMatching(/^[\x20-\x7e]{0,40}$/),
      ),
    );
    await fc.assert(
      fc.asyncProperty(
        anyPath,
        fc.constantFrom("GET", "POST", "PUT", "DELETE", "PATCH"),
        anyHeaders,
        anyBody,
        async (path, method, others, body) => {
          const response = await fetch(`${api.url}${path}`, {
            method,
            headers: { "content-type": "application/json", ...others, ...headers },
            ...(method === "GET" ? {} : { body: body as string }),
          });
          const text = await response.text();
          assert.ok(statuses.has(response.status), `${response.status} ${text}`);
          assert.notEqual(response.status, 500, text);
          if (response.status >= 400) assert.equal(typeof JSON.parse(text).code, "string");
        },
      ),
      { numRuns: 300 },
    );
    await isServed();
  });

  test("a thousand idle long polls cost little memory, and others are served", async (t) => {
    const { store, port, admin, isServed } = await serving(t);
    const { id: runnerId } = await store.runners.register({ name: "one" });
    const body = JSON.stringify({ runnerId, waitMs: 60_000 });
    const before = process.memoryUsage().heapUsed;
    const sockets: Socket[] = [];
    t.after(() => {
      for (const socket of sockets) socket.destroy();
    });
    for (let count = 0; count < 1_000; count++) {
      const socket = connect(port, "127.0.0.1");
      socket.on("error", () => undefined);
      socket.write(
        `POST /v1/commands.claim HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${admin}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
      );
      sockets.push(socket);
    }
    await until(async () => Number((await store.maintenance.stats()).serving.parked) === 1_000);
    await isServed();
    const usedBytes = (process.memoryUsage().heapUsed - before) / 1_000;
    // Both ends of each connection are in this process.
    assert.ok(usedBytes < 200_000, `${usedBytes} bytes for each`);
    for (const socket of sockets) socket.destroy();
    await until(async () => Number((await store.maintenance.stats()).serving.parked) === 0);
  });

  test("a server that is told to end under load keeps what it has acknowledged", async (t) => {
    const { folder, url } = workingFolder(t, { init: false });
    assert.equal((await run(folder, ["admin", "seed", "--url", url, "--out", "admin.token"])).code, 0);
    const server = startProcess(folder, ["serve", "--url", url, "--listen", "127.0.0.1:0"]);
    const [, address] = /listening on (\S+)\n/.exec(await server.printed(/listening on \S+\n/)) ?? [];
    const store = await openStore({ url, role: "visitor" });
    t.after(() => store.close());
    const token = readFileSync(join(folder, "admin.token"), "utf8").trim();
    const acknowledged: string[] = [];
    const refusals: unknown[] = [];
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    const client = async (name: number): Promise<void> => {
      for (let count = 0; ; count++) {
        const response = await fetch(`${address}/v1/repositories.upsert`, {
          method: "POST",
          headers,
          body: JSON.stringify({ name: `repository ${name} ${count}` }),
        }).catch((error: unknown) => void refusals.push(error));
        if (response?.status !== 200) return;
        acknowledged.push(((await response.json()) as { id: string }).id);
      }
    };
    const waiting = fetch(`${address}/v1/changes.watch`, {
      headers: { authorization: `Bearer ${token}`, accept: "text/event-stream" },
    });
    const clients = Array.from({ length: 8 }, (_, name) => client(name));
    await until(() => acknowledged.length > 100);
    const stream = (await waiting).text();
    server.kill("SIGTERM");
    const { code, stderr } = await server.ended;
    await Promise.all(clients);
    assert.deepEqual([code, /ended\n$/.test(stderr)], [0, true], stderr);
    assert.match(await stream, /event: error\ndata: .*"code":"closed"/);
    const stored = new Set<string>();
    for await (const { id } of store.repositories.all({ limit: 500 })) stored.add(id);
    assert.deepEqual(
      acknowledged.filter((id) => !stored.has(id)),
      [],
    );
  });

  test("the server of the README serves, runs a command, and ends at SIGTERM", async (t) => {
    const { folder } = workingFolder(t, { commits: 1 });
    const readme = readFileSync(new URL("../../../README.md", import.meta.url), "utf8");
    const [, code = ""] = /^```js\n(import \{ openStore \}.*?)^```$/ms.exec(readme) ?? [];
    assert.ok(code.split("\n").length <= 30);
    const source = (name: string) => new URL(`../../../src${name}/index.ts`, import.meta.url).href;
    writeFileSync(
      join(folder, "server.mjs"),
      code
        .replaceAll(/"debug-server-db(\/\w+)?"/g, (_, entry: string | undefined) => `"${source(entry ?? "")}"`)
        .replace("127.0.0.1:8080", "127.0.0.1:0"),
    );
    const child = spawn(process.execPath, ["server.mjs"], { cwd: folder, stdio: ["ignore", "pipe", "inherit"] });
    t.after(() => child.kill("SIGKILL"));
    let printed = "";
    child.stdout.setEncoding("utf8").on("data", (piece: string) => (printed += piece));
    await until(() => /^token .*\n/m.test(printed));
    const [, url, token] = /listening on (\S+)\ntoken (\S+)\n/.exec(printed) ?? [];
    const call = async (path: string, input?: object) => {
      const body = input === undefined ? {} : { method: "POST", body: JSON.stringify(input) };
      const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
      return await fetch(`${url}/v1/${path}`, { headers, ...body });
    };
    const { items } = (await (await call("repositories.list")).json()) as { items: [{ id: string }] };
    const commitSha = git(folder, "rev-parse", "HEAD").trim();
    const commands = [{ argv: ["git", "log", "-1", "--format=%s"] }];
    const session = { repositoryId: items[0].id, commitSha, autoComplete: true, commands };
    const made = (await (await call("sessions.create", session)).json()) as { commands: [{ id: string }] };
    const log = await (await call(`logs.follow?commandId=${made.commands[0].id}`)).text();
    assert.ok(log.includes(Buffer.from("Commit 1\n").toString("base64")), log);
    child.kill("SIGTERM");
    const [exitCode] = await once(child, "exit");
    assert.equal(exitCode, 0);
  });
});
