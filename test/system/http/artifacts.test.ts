// The bytes of artifacts over HTTP: uploads that arrive as a whole or not at all, and downloads of all or a part.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { Agent, type IncomingMessage, request } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { suite, type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import type { StoreHandlerOptions } from "../../../src/http/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { until } from "../faults/until.ts";
import { type Sent, serveApi, without } from "./apiServer.ts";

const run = promisify(execFile);

/** Serves a store with a session and a folder for files. */
async function serving(t: TestContext, options: StoreHandlerOptions = {}) {
  const artifactsFolder = options.artifactsFolder ?? temporaryFolder();
  const api = await serveApi(t, { artifactsFolder, artifactBytesMax: 100_000, ...options });
  const { call, ask, store } = api;
  const { id: repositoryId } = await call("repositories.upsert", { name: "demo" });
  const { session } = await call("sessions.create", {
    repositoryId,
    commitSha: "a".repeat(40),
    commands: [{ argv: ["true"] }],
  });
  const sessionId = session.id as string;
  /** Sends a file. */
  const send = (name: string, text: string, query: Readonly<Record<string, string>> = {}, sent: Sent = {}) =>
    ask(`/v1/artifacts.content?${new URLSearchParams({ sessionId, name, ...query })}`, {
      body: new TextEncoder().encode(text),
      headers: { "content-type": "text/plain" },
      ...sent,
    });
  const get = (query: Readonly<Record<string, string>>, sent: Sent = {}) =>
    ask(`/v1/artifacts.content?${new URLSearchParams(query)}`, sent);
  const files = () =>
    readdirSync(artifactsFolder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const ready = async () => (await store.artifacts.list({ sessionId, state: "ready" })).items;
  /** Records an artifact with this uri, and returns its id. */
  const record = async (uri: string) => {
    const content = { sizeBytes: 4, sha256: "0".repeat(64), uri };
    return (
      await call("artifacts.record", { sessionId, name: createHash("sha256").update(uri).digest("hex"), ...content })
    ).artifact.id as string;
  };
  return { ...api, sessionId, artifactsFolder, send, get, files, ready, record };
}

suite("artifacts over HTTP", { concurrency: 4 }, () => {
  test("the bytes of an artifact are stored as a whole, and sent as they are", async (t) => {
    const { send, get, call, store, files, ready, sessionId, port, admin, artifactsFolder, ...api } = await serving(t);
    const text = "a result of a test\n";
    const made = (await send("report.txt", text)).body;
    assert.deepEqual([made.state, made.sizeBytes, made.contentType], ["ready", text.length, "text/plain"]);
    const got = await get({ artifactId: made.id });
    assert.deepEqual(
      [got.text, got.headers.get("content-type"), got.headers.get("etag"), got.headers.get("x-content-type-options")],
      [text, "text/plain", `"${made.sha256}"`, "nosniff"],
    );
    assert.equal((await send("wrong.txt", text, { sha256: "0".repeat(64) })).status, 400);
    assert.equal((await send("large.bin", "x".repeat(100_001))).status, 413);
    assert.equal((await send("../out", text)).status, 400);
    assert.equal((await send("other", text, { sessionId: "01900000-0000-7000-8000-000000000000" })).status, 404);
    assert.equal((await send("report.txt", text, {}, { token: await api.tokenWith("artifacts:read") })).status, 403);
    // A client that goes in the middle leaves nothing.
    const socket = connect(port, "127.0.0.1");
    socket.write(
      `POST /v1/artifacts.content?sessionId=${sessionId}&name=half HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${admin}\r\ncontent-length: 100\r\n\r\nhalf`,
    );
    await until(() => files().length === 2);
    socket.destroy();
    await until(() => files().length === 1);
    assert.deepEqual(
      (await ready()).map(({ name }) => name),
      ["report.txt"],
    );
    // Files elsewhere are not sent, whatever an artifact says.
    const content = { sizeBytes: 4, sha256: "0".repeat(64), uri: "file:///etc/hostname" };
    const { artifact: elsewhere } = await call("artifacts.record", { sessionId, name: "elsewhere", ...content });
    assert.match((await get({ artifactId: elsewhere.id })).body.detail, /has no file on this server/);
    const other = await serveApi(t);
    assert.equal((await other.ask(`/v1/artifacts.content?artifactId=${made.id}`)).status, 404);
  });

  test("an upload that is not needed or refused leaves its connection to the next request", async (t) => {
    const { send, port, admin, sessionId } = await serving(t, { artifactBytesMax: 1_000_000 });
    const whole = "x".repeat(300_000);
    const { id, sha256 } = (await send("a", whole)).body;
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    t.after(() => agent.destroy());
    const headers = { authorization: `Bearer ${admin}` };
    const post = (path: string, length: number) =>
      request({ port, agent, method: "POST", path, headers: { ...headers, "content-length": length } });
    const answerOf = async (sent: ReturnType<typeof request>) => {
      const [response] = (await once(sent, "response")) as [IncomingMessage];
      let text = "";
      for await (const part of response) text += part;
      return { status: response.statusCode, reused: sent.reusedSocket, body: JSON.parse(text) };
    };
    const cases: [string, Record<string, string>, number][] = [
      ["a", { sha256 }, 200],
      ["../a", {}, 400],
      ["a", { sha256: "0".repeat(64) }, 409],
    ];
    for (const [name, more, status] of cases) {
      const path = `/v1/artifacts.content?${new URLSearchParams({ sessionId, name, ...more })}`;
      const sent = post(path, whole.length);
      const answered = answerOf(sent);
      sent.write(whole.slice(0, 100_000));
      // Longer than the adapter of node:http waits for the rest of a body after its answer.
      await sleep(700);
      sent.end(whole.slice(100_000));
      assert.equal((await answered).status, status, name);
      const next = post("/v1/sessions.list", 0);
      next.end();
      const { status: after, reused } = await answerOf(next);
      assert.deepEqual([after, reused], [200, true], name);
    }
    assert.equal((await send("a", whole, { sha256 })).body.id, id);
    // One that says that it is too large is not read, and of another one the rest is not.
    const path = `/v1/artifacts.content?${new URLSearchParams({ sessionId, name: "large" })}`;
    const declared = post(path, 1_000_001);
    declared.on("error", () => undefined);
    const refused = once(declared, "response");
    declared.write("x");
    const [early] = (await refused) as [IncomingMessage];
    assert.deepEqual([early.statusCode, early.headers.connection], [413, "close"]);
    const parts = Array.from({ length: 30 }, () => new TextEncoder().encode("x".repeat(100_000)));
    const sent = request({
      port,
      method: "POST",
      path,
      headers: { ...headers, "transfer-encoding": "chunked" },
    });
    sent.on("error", () => undefined);
    const large = once(sent, "response");
    for (const part of parts) sent.write(part);
    const [{ statusCode, headers: answered }] = (await large) as [IncomingMessage];
    assert.deepEqual([statusCode, answered.connection], [413, "close"]);
    sent.destroy();
  });

  test("an upload that was cut is repeated with the same idempotency key", async (t) => {
    const { send, port, admin, sessionId, files, store } = await serving(t);
    const text = "the same again";
    const sha256 = createHash("sha256").update(text).digest("hex");
    const query = new URLSearchParams({ sessionId, name: "a", sha256 });
    const socket = connect(port, "127.0.0.1");
    socket.write(
      `POST /v1/artifacts.content?${query} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${admin}\r\nidempotency-key: one\r\ncontent-length: ${text.length}\r\n\r\nthe`,
    );
    await until(() => files().length === 1);
    socket.destroy();
    await until(async () => (await store.artifacts.list({ sessionId })).items[0]?.state === "failed");
    const again = await send("a", text, { sha256 }, { headers: { "idempotency-key": "one" } });
    assert.deepEqual([again.status, again.body.state], [200, "ready"]);
  });

  test("what a server has left of an upload when it was killed is removed by a later upload", async (t) => {
    const { send, artifactsFolder, files } = await serving(t);
    const incoming = join(artifactsFolder, ".incoming");
    await send("a", "one");
    for (const name of ["old", "new"]) writeFileSync(join(incoming, name), "x");
    const oldMs = Date.now() - 2 * 3_600_000;
    utimesSync(join(incoming, "old"), oldMs / 1_000, oldMs / 1_000);
    await send("b", "two");
    assert.deepEqual(readdirSync(incoming), ["new"]);
    assert.equal(files().length, 3);
  });

  test("an upload sets the lifetime of its artifact", async (t) => {
    const { send } = await serving(t);
    const soon = (await send("soon", "x", { ttlMs: "60000" })).body;
    const leftMs = Date.parse(soon.expiresAt) - Date.now();
    assert.ok(leftMs > 0 && leftMs <= 60_000, `${leftMs}`);
    assert.equal((await send("always", "x")).body.expiresAt, null);
    // The same file again keeps it until the later time.
    const later = (await send("soon", "x", { ttlMs: "120000" })).body;
    assert.equal(later.id, soon.id);
    assert.ok(Date.parse(later.expiresAt) > Date.parse(soon.expiresAt));
    assert.equal((await send("soon", "x", { ttlMs: "no" })).status, 400);
  });

  test("the same file again is the same artifact, and another one replaces it only when it is to", async (t) => {
    const { send, files, get, ready } = await serving(t);
    const made = (await send("a", "one")).body;
    assert.equal((await send("a", "one")).body.id, made.id);
    assert.equal((await send("a", "one", { sha256: made.sha256 })).body.id, made.id);
    assert.equal((await send("a", "one", { replace: "true" })).body.id, made.id);
    const refused = await send("a", "two");
    assert.deepEqual([refused.status, refused.body.code], [409, "conflict"]);
    assert.match(refused.body.detail, /replace=true/);
    assert.equal(files().length, 1);
    // One that does not arrive replaces nothing.
    assert.equal((await send("a", "x".repeat(100_001), { replace: "true" })).status, 413);
    assert.equal((await get({ artifactId: made.id })).text, "one");
    const next = (await send("a", "two", { replace: "true" })).body;
    assert.notEqual(next.id, made.id);
    assert.deepEqual(
      (await ready()).map(({ id }) => id),
      [next.id],
    );
  });

  test("several that send one file at once get one artifact", async (t) => {
    const { send, ready, files } = await serving(t);
    const answers = await Promise.all(Array.from({ length: 8 }, () => send("a", "one")));
    assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
    assert.equal(new Set(answers.map(({ body }) => body.id)).size, 1);
    assert.equal((await ready()).length, 1);
    assert.equal(files().length, 1);
    const others = await Promise.all(["b1", "b2", "b3"].map((text) => send("b", text)));
    assert.deepEqual(others.map(({ status }) => status).toSorted(), [200, 409, 409]);
    assert.equal(files().length, 2);
  });

  test("an artifact that was announced gets its file, by its id or by its name", async (t) => {
    const { call, send, ask, sessionId, get } = await serving(t);
    const announce = async (name: string) => (await call("artifacts.begin", { sessionId, name })).artifact.id as string;
    const byId = await announce("one");
    const body = new TextEncoder().encode("1");
    const sent = await ask(`/v1/artifacts.content?artifactId=${byId}`, { body });
    assert.deepEqual([sent.status, sent.body.id, sent.body.state], [200, byId, "ready"]);
    assert.equal((await get({ artifactId: byId })).text, "1");
    // Again, and with something else.
    assert.equal((await ask(`/v1/artifacts.content?artifactId=${byId}`, { body })).body.id, byId);
    const other = await ask(`/v1/artifacts.content?artifactId=${byId}`, { body: new TextEncoder().encode("2") });
    assert.equal(other.status, 409);
    assert.equal((await get({ artifactId: byId })).text, "1");
    assert.equal((await ask(`/v1/artifacts.content?artifactId=${byId}&name=x`, { body })).status, 400);
    const byName = await announce("two");
    assert.equal((await send("two", "2")).body.id, byName);
  });

  test("what is no plain file is refused, and a type that nobody has chosen is none", async (t) => {
    const { send, ready } = await serving(t);
    const typed = (type: string, more = {}) =>
      send("a", "x", {}, { body: "x", headers: { "content-type": type, ...more } });
    const form = await typed("multipart/form-data; boundary=----x");
    assert.deepEqual([form.status, form.body.code], [415, "unsupported_media_type"]);
    assert.match(form.body.detail, /--data-binary @FILE/);
    assert.equal((await typed("text/plain", { "content-encoding": "gzip" })).status, 415);
    assert.deepEqual(await ready(), []);
    assert.equal((await typed("application/x-www-form-urlencoded")).body.contentType, null);
  });

  test("curl sends and gets a file with its plain options", { skip: without("curl") }, async (t) => {
    const { url, admin, sessionId, artifactsFolder } = await serving(t);
    const bytes = Buffer.from([0, 13, 10, 255, 10]);
    writeFileSync(join(artifactsFolder, "..", "file.bin"), bytes);
    const curl = async (...args: string[]) => {
      const all = ["--silent", "--show-error", "-H", `Authorization: Bearer ${admin}`, ...args];
      return (await run("curl", all, { cwd: join(artifactsFolder, ".."), encoding: "buffer" })).stdout;
    };
    const base = `${url}/v1/artifacts.content?sessionId=${sessionId}&name=out/file.bin`;
    const made = JSON.parse(String(await curl("--data-binary", "@file.bin", base)));
    assert.deepEqual([made.contentType, made.sizeBytes], [null, 5]);
    assert.deepEqual(await curl(base), bytes);
    assert.deepEqual(await curl("-r", "1-3", base), bytes.subarray(1, 4));
    assert.match(String(await curl("-I", base)), /^content-length: 5\r$/im);
    const folder = temporaryFolder();
    await curl("--remote-name", "--remote-header-name", "--output-dir", folder, base);
    assert.deepEqual(readFileSync(join(folder, "file.bin")), bytes);
  });

  test("a download names its file, and gives a part of it when it is asked for one", async (t) => {
    const { send, fetch, get } = await serving(t);
    const { id, sha256 } = (await send("out/m\u00fcller 'a'.txt", "0123456789")).body;
    const path = `/v1/artifacts.content?artifactId=${id}`;
    const whole = await get({ artifactId: id });
    assert.deepEqual(
      [whole.headers.get("content-disposition"), whole.headers.get("accept-ranges"), whole.text],
      [`attachment; filename="m_ller 'a'.txt"; filename*=UTF-8''m%C3%BCller%20%27a%27.txt`, "bytes", "0123456789"],
    );
    const head = await fetch(path, { method: "HEAD" });
    assert.deepEqual(
      [head.status, head.headers.get("content-length"), head.headers.get("etag"), await head.text()],
      [200, "10", `"${sha256}"`, ""],
    );
    const parts: [string, number, string | null, string][] = [
      ["bytes=0-0", 206, "bytes 0-0/10", "0"],
      ["bytes=4-", 206, "bytes 4-9/10", "456789"],
      ["bytes=-3", 206, "bytes 7-9/10", "789"],
      ["bytes=-99", 206, "bytes 0-9/10", "0123456789"],
      ["bytes=8-99", 206, "bytes 8-9/10", "89"],
      // Forms that may be ignored.
      ["bytes=3-2", 200, null, "0123456789"],
      ["bytes=-", 200, null, "0123456789"],
      ["bytes=0-1,3-4", 200, null, "0123456789"],
      ["lines=1-2", 200, null, "0123456789"],
    ];
    for (const [range, status, place, text] of parts) {
      const part = await get({ artifactId: id }, { headers: { range } });
      assert.deepEqual([part.status, part.headers.get("content-range"), part.text], [status, place, text], range);
    }
    for (const range of ["bytes=10-", "bytes=-0"]) {
      const behind = await get({ artifactId: id }, { headers: { range } });
      assert.deepEqual(
        [behind.status, behind.headers.get("content-range"), behind.body.code],
        [416, "bytes */10", "range_not_satisfiable"],
      );
    }
    const other = await get({ artifactId: id }, { headers: { range: "bytes=0-0", "if-range": '"other"' } });
    assert.deepEqual([other.status, other.text], [200, "0123456789"]);
    const empty = (await send("empty", "")).body;
    assert.deepEqual((await get({ artifactId: empty.id })).text, "");
  });

  test("a file is found by its session and name, and one that is not there says why", async (t) => {
    const { send, get, call, store, sessionId } = await serving(t);
    const { items } = await store.commands.list({ sessionId });
    const commandId = items[0]?.id as string;
    const runner = await call("runners.register", { name: "one" });
    const { fence } = await call("commands.claim", { runnerId: runner.id });
    await send("a", "of the session");
    await send("a", "of the command", { commandId });
    assert.equal((await get({ sessionId, name: "a" })).text, "of the command");
    assert.equal((await get({ sessionId, name: "a", commandId, attempt: "1" })).text, "of the command");
    assert.equal((await get({ sessionId, name: "a", commandId, attempt: "2" })).status, 404);
    assert.equal((await get({ sessionId, name: "b" })).status, 404);
    assert.equal((await get({ sessionId })).status, 400);
    await call("commands.finish", { commandId, fence, outcome: "succeeded", logOffset: 0 });
    const { artifact } = await call("artifacts.begin", { sessionId, name: "b" });
    const detail = async () => (await get({ artifactId: artifact.id })).body;
    const pending = await detail();
    assert.deepEqual([pending.code, pending.details.state], ["not_found", "pending"]);
    await call("artifacts.delete", { artifactId: artifact.id });
    assert.match((await detail()).detail, /has failed: its file was never stored/);
    assert.equal((await detail()).details.state, "failed");
  });

  test("a uri that leads to no file of the folder is told of, whatever it leads to", async (t) => {
    const errors: unknown[] = [];
    const { send, get, artifactsFolder, record } = await serving(t, { onError: (error) => errors.push(error) });
    const { uri } = (await send("a", "one")).body;
    mkdirSync(join(artifactsFolder, "folder"));
    symlinkSync("loop", join(artifactsFolder, "loop"));
    await run("mkfifo", [join(artifactsFolder, "pipe")]);
    const base = pathToFileURL(artifactsFolder).href;
    const paths = ["folder", "loop", "pipe", "x".repeat(300), "none"].map((name) => `${base}/${name}`);
    for (const wrong of ["file://other/x", "file:///a%2fb", "file:///a%00b", `${uri}/x`, "file:///", ...paths]) {
      const { status, body } = await get({ artifactId: await record(wrong) });
      assert.equal(status, 404, wrong);
      assert.match(body.detail, /has no file on this server/);
    }
    assert.deepEqual(errors, []);
  });

  test("a file that cannot be read to its end ends its response early, and is reported", async (t) => {
    const errors: unknown[] = [];
    const { send, fetch } = await serving(t, { onError: (error) => errors.push(error), artifactBytesMax: 2 ** 25 });
    const { id, uri } = (await send("a", "x".repeat(2 ** 25))).body;
    const response = await fetch(`/v1/artifacts.content?artifactId=${id}`);
    truncateSync(fileURLToPath(uri), 1_000);
    assert.equal(response.status, 200);
    await assert.rejects(response.bytes());
    assert.match(String(errors[0]), /has ended at/);
    assert.equal(errors.length, 1);
  });

  // Reading it fails, and it has a size.
  const unreadable = "/sys/class/net/lo/speed";
  test("a file that fails to read is reported", { skip: !existsSync(unreadable) && unreadable }, async (t) => {
    const errors: unknown[] = [];
    const artifactsFolder = "/sys/devices/virtual/net/lo";
    const { record, fetch } = await serving(t, { artifactsFolder, onError: (error) => errors.push(error) });
    const response = await fetch(`/v1/artifacts.content?artifactId=${await record(`file://${unreadable}`)}`);
    await assert.rejects(response.bytes());
    assert.match(String(errors[0]), /EINVAL/);
  });
});
