// Many clients of one server: a thousand followers of one log, and ten thousand idle long polls.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { openStore } from "../../../src/index.ts";
import { run, startProcess, workingFolder } from "../cli/commandLine.ts";
import { until } from "../faults/until.ts";

/** Starts a server in a process of its own, and opens the store from the outside. */
async function serving(t: TestContext) {
  const { folder, url } = workingFolder(t, { init: false });
  await run(folder, ["admin", "seed", "--url", url, "--out", "admin.token"]);
  const token = readFileSync(join(folder, "admin.token"), "utf8").trim();
  const server = startProcess(folder, ["serve", "--url", url, "--listen", "127.0.0.1:0"]);
  t.after(() => server.kill("SIGKILL"));
  const [, base = "", port = ""] =
    /(http:\/\/127\.0\.0\.1:(\d+))/.exec(await server.printed(/listening on \S+\n/)) ?? [];
  const store = await openStore({ url: base, token });
  t.after(() => store.close());
  const memoryBytes = () =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.pid}/status`, "utf8"))?.[1]) * 1_024;
  return { store, token, port: Number(port), memoryBytes };
}

function ask(port: number, token: string, head: string, body = ""): Socket {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => undefined);
  const length = body === "" ? "" : `content-type: application/json\r\ncontent-length: ${body.length}\r\n`;
  socket.write(
    `${head} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\n${length}accept: text/event-stream\r\n\r\n${body}`,
  );
  return socket;
}

test("a thousand followers of one log get each line once, and cost bounded memory", { timeout: 240_000 }, async (t) => {
  const { store, token, port, memoryBytes } = await serving(t);
  const { id: repositoryId } = await store.repositories.upsert({ name: "demo" });
  const { id: runnerId } = await store.runners.register({ name: "one" });
  await store.sessions.create({ repositoryId, commitSha: "0".repeat(40), commands: [{ argv: ["true"] }] });
  const claim = await store.commands.claim({ runnerId, ttlMs: 600_000 });
  assert.ok(claim !== undefined);
  const { fence } = claim;
  const { id: commandId } = claim.command;
  const before = memoryBytes();
  const followers = Array.from({ length: 1_000 }, () => {
    const follower = { text: "" };
    const socket = ask(port, token, `GET /v1/logs.follow?commandId=${commandId}`);
    t.after(() => socket.destroy());
    socket.on("data", (data) => {
      follower.text += data;
    });
    return follower;
  });
  await until(() => followers.every(({ text }) => text.includes(": connected")));
  const startedMs = performance.now();
  const lines = 30;
  let offset = 0;
  for (let line = 0; line < lines; line++) {
    const data = new TextEncoder().encode(`line ${line}\n`);
    await store.logs.append({ commandId, fence, offset, data });
    offset += data.byteLength;
  }
  await store.commands.finish({ commandId, fence, outcome: "succeeded", logOffset: offset });
  await until(() => followers.every(({ text }) => text.includes("event: end")));
  const tookMs = performance.now() - startedMs;
  const expected = Array.from({ length: lines }, (_, line) => `line ${line}\n`).join("");
  for (const { text } of followers) {
    const data = [...text.matchAll(/"data":"([^"]*)"/g)].map(([, part = ""]) => Buffer.from(part, "base64").toString());
    assert.equal(data.join(""), expected);
  }
  const grownBytes = (memoryBytes() - before) / followers.length;
  t.diagnostic(
    `${lines} lines to 1000 followers in ${tookMs.toFixed(0)} ms, ${(grownBytes / 1_024).toFixed(0)} KiB for each`,
  );
  assert.ok(grownBytes < 800_000, `${grownBytes} bytes for each follower`);
});

test("ten thousand idle long polls cost bounded memory, and others are served", { timeout: 240_000 }, async (t) => {
  const { store, token, port, memoryBytes } = await serving(t);
  const { id: runnerId } = await store.runners.register({ name: "one", ttlMs: 600_000 });
  const before = memoryBytes();
  const body = JSON.stringify({ runnerId, waitMs: 120_000, ttlMs: 600_000 });
  const sockets: Socket[] = [];
  t.after(() => {
    for (const socket of sockets) socket.destroy();
  });
  const parked = async () => Number((await store.maintenance.stats()).serving.parked);
  for (let count = 0; count < 10_000; count += 500) {
    for (let more = 0; more < 500; more++) sockets.push(ask(port, token, "POST /v1/commands.claim", body));
    await until(async () => (await parked()) >= count + 500);
  }
  const bytesEach = (memoryBytes() - before) / sockets.length;
  const startedMs = performance.now();
  await store.repositories.upsert({ name: "served" });
  t.diagnostic(
    `${(bytesEach / 1_024).toFixed(0)} KiB for each, another call took ${(performance.now() - startedMs).toFixed(0)} ms`,
  );
  assert.ok(bytesEach < 100_000, `${bytesEach} bytes for each`);
});
