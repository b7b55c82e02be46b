// A remote store beside the promises of a local one: order, outcomes, cancellation, sizes, closing, and servers that it
// cannot trust.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { suite, type TestContext, test } from "node:test";
import { nodeHandler, storeHandler } from "../../../src/http/index.ts";
import { attachStore, newId, openStore, type StoreError } from "../../../src/index.ts";
import { encodeFrame, FrameReader } from "../../../src/remote/frames.ts";
import { protocolVersion } from "../../../src/remote/protocol.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { until } from "../faults/until.ts";
import { behindProxy } from "./behindProxy.ts";

type Behind = Awaited<ReturnType<typeof behindProxy>>;

const failureOf = (call: Promise<unknown>): Promise<StoreError> =>
  call.then(
    (value) => assert.fail(`answered ${JSON.stringify(value)?.slice(0, 200)}`),
    (error: unknown) => error as StoreError,
  );
const parkedIn = async ({ owned }: Pick<Behind, "owned">) => Number((await owned.maintenance.stats()).serving.parked);

/** Starts a server that answers each request as a test says, by its first frame. */
async function fakeServer(t: TestContext, answer: (head: readonly unknown[]) => readonly unknown[]) {
  const server = createServer(async (incoming, outgoing) => {
    const body: Buffer[] = [];
    for await (const piece of incoming) body.push(piece as Buffer);
    const [head] = new FrameReader().read(Buffer.concat(body)) as [readonly unknown[]];
    for (const frame of answer(head)) outgoing.write(encodeFrame(frame));
    // The stream of answers goes on.
    if (head[0] !== "listen") outgoing.end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

suite("the exchange of a remote store", { concurrency: 4 }, () => {
  test("claims that are aborted at any moment take no command and no place", async (t) => {
    const behind = await behindProxy(t);
    const { owned, store } = behind;
    const { runner } = await fixtures(owned).runner();
    const claims = Array.from({ length: 40 }, async (_, index) => {
      const gone = new AbortController();
      const claim = store.commands.claim({ runnerId: runner.id, waitMs: 60_000 }, { signal: gone.signal });
      for (let turn = 0; turn < index % 8; turn++) await new Promise((resolve) => setImmediate(resolve));
      gone.abort();
      return await failureOf(claim);
    });
    for (const { code } of await Promise.all(claims)) assert.equal(code, "aborted");
    await until(async () => (await parkedIn(behind)) === 0);
    const { command } = await fixtures(owned).command();
    assert.equal((await owned.commands.get({ commandId: command.id })).state, "queued");
  });

  test("a call that is given up while its connection is cut is dropped once it is there again", async (t) => {
    const behind = await behindProxy(t);
    const { owned, store, proxy, port } = behind;
    const { runner } = await fixtures(owned).runner();
    const gone = new AbortController();
    const claim = store.commands.claim({ runnerId: runner.id, waitMs: 60_000 }, { signal: gone.signal });
    await until(async () => (await parkedIn(behind)) === 1);
    proxy.leadTo(1);
    proxy.cutAll();
    gone.abort();
    assert.equal((await failureOf(claim)).code, "aborted");
    proxy.leadTo(port);
    await store.repositories.list();
    await until(async () => (await parkedIn(behind)) === 0);
  });

  test("a wait goes on after its server was out of reach for longer than it keeps waits of others", async (t) => {
    const behind = await behindProxy(t);
    const { owned, store, proxy, port } = behind;
    const { runner } = await fixtures(owned).runner();
    const { session } = await fixtures(owned).session();
    const claim = store.commands.claim({ runnerId: runner.id, waitMs: 120_000 });
    await until(async () => (await parkedIn(behind)) === 1);
    proxy.leadTo(1);
    proxy.cutAll();
    await until(async () => (await parkedIn(behind)) === 0);
    proxy.leadTo(port);
    await until(async () => (await parkedIn(behind)) === 1);
    await owned.commands.enqueue({ sessionId: session.id, commands: [{ argv: ["true"] }] });
    assert.equal((await claim)?.command.sessionId, session.id);
  });

  test("a call that has not run by its report does not run later", async (t) => {
    const { owned, store, proxy, url } = await behindProxy(t);
    // From now on connections are refused.
    await proxy.close();
    await failureOf(store.repositories.list({}, { timeoutMs: 200 }));
    const given = failureOf(store.repositories.upsert({ name: "given up" }, { timeoutMs: 200 }));
    const kept = store.repositories.upsert({ name: "kept" });
    const { code, outcome } = await given;
    assert.deepEqual([code, outcome], ["deadline_exceeded", "not_run"]);
    await proxy.listen(Number(new URL(url).port));
    await kept;
    assert.deepEqual(
      (await owned.repositories.list()).items.map(({ name }) => name),
      ["kept"],
    );
  });

  test("calls run in the order in which they were made, whatever their size, and through cuts", async (t) => {
    const { owned, store, proxy } = await behindProxy(t);
    for (let round = 0; round < 12; round++) {
      const { claim } = await fixtures(owned).claim();
      const log = { commandId: claim.command.id, fence: claim.fence };
      const sizes = [65_536, 1, 40_000, 3, 65_536, 65_536, 2, 7];
      let offset = 0;
      const appends: Promise<unknown>[] = [];
      if (round % 3 === 2) proxy.cutNext([{ direction: "to server", afterBytes: 30_000 }]);
      for (const [index, size] of sizes.entries()) {
        appends.push(store.logs.append({ ...log, offset, data: new Uint8Array(size).fill(48 + index) }));
        offset += size;
        await new Promise((resolve) => setImmediate(resolve));
      }
      await Promise.all(appends);
    }
  });

  test("a call that is refused fails by itself, with its own code", async (t) => {
    const { owned, url } = await behindProxy(t);
    const { token } = await fixtures(owned).token();
    const limited = await fixtures(owned).token({ scopes: ["repositories:write", "sessions:read", "tokens:write"] });
    const remote = await openStore({ url, token: limited.secret });
    t.after(() => remote.close());
    const [listed, made, refused] = await Promise.allSettled([
      remote.sessions.list(),
      remote.repositories.upsert({ name: "made" }),
      remote.tokens.rotate({ tokenId: token.id }),
    ]);
    assert.deepEqual([listed.status, made.status, refused.status], ["fulfilled", "fulfilled", "rejected"]);
    const { code, outcome } = (refused as PromiseRejectedResult).reason as StoreError;
    assert.deepEqual([code, outcome], ["scope_missing", "not_run"]);
  });

  test("answers of many MiB and large requests arrive", async (t) => {
    const { owned, store } = await behindProxy(t);
    const { claim } = await fixtures(owned).claim();
    const log = { commandId: claim.command.id, fence: claim.fence };
    for (let part = 0; part < 16; part++)
      await owned.logs.append({ ...log, offset: part * 65_536, data: new Uint8Array(65_536).fill(97) });
    const reads = Array.from({ length: 80 }, () => store.logs.read({ commandId: log.commandId, maxBytes: 1_048_576 }));
    for (const { nextOffset } of await Promise.all(reads)) assert.equal(nextOffset, 1_048_576);
    const { session } = await fixtures(owned).session();
    const argv = ["€".repeat(80_000)];
    const enqueues = Array.from({ length: 60 }, () =>
      store.commands.enqueue({ sessionId: session.id, commands: [{ argv }] }),
    );
    assert.equal((await Promise.all(enqueues)).length, 60);
  });

  test("many calls take few connections", async (t) => {
    const { store, connections } = await behindProxy(t);
    await store.repositories.list();
    const before = connections();
    for (let call = 0; call < 100; call++) await store.repositories.upsert({ name: `repository ${call}` });
    assert.ok(connections() - before <= 2, `${connections() - before} connections for 100 calls`);
  });

  test("closing answers what is open, also at ports, and lets the process end", async (t) => {
    const { url, token, owned, store } = await behindProxy(t);
    const { session } = await fixtures(owned).session();
    const attached = attachStore(store.connect());
    const waiting = failureOf(attached.sessions.wait({ sessionId: session.id }));
    await until(async () => (await parkedIn({ owned })) === 1);
    await store.close();
    assert.equal((await waiting).code, "closed");
    assert.equal((await failureOf(attached.sessions.get({ sessionId: session.id }))).code, "closed");
    const program = `
      import { openStore } from ${JSON.stringify(new URL("../../../src/index.ts", import.meta.url).href)};
      const store = await openStore({ url: process.argv[1], token: process.argv[2] });
      const port = store.connect();
      await store.repositories.list();
      await store.close();`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", program, url, token], { stdio: "inherit" });
    t.after(() => child.kill("SIGKILL"));
    assert.equal(await new Promise((resolve) => child.once("exit", resolve)), 0);
  });

  test("an open store without calls does not keep the process alive", async (t) => {
    const { url, token } = await behindProxy(t);
    const program = `
      import { openStore } from ${JSON.stringify(new URL("../../../src/index.ts", import.meta.url).href)};
      const store = await openStore({ url: process.argv[1], token: process.argv[2] });
      await store.repositories.list();`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", program, url, token], { stdio: "inherit" });
    t.after(() => child.kill("SIGKILL"));
    assert.equal(await new Promise((resolve) => child.once("exit", resolve)), 0);
  });

  test("a token that is revoked ends the waits of its client", async (t) => {
    const behind = await behindProxy(t);
    const { owned, url } = behind;
    const { secret, token } = await fixtures(owned).token({ scopes: ["sessions:read"] });
    const { session } = await fixtures(owned).session();
    const remote = await openStore({ url, token: secret });
    t.after(() => remote.close());
    const waiting = failureOf(remote.sessions.wait({ sessionId: session.id }));
    await until(async () => (await parkedIn(behind)) === 1);
    await owned.tokens.revoke({ tokenId: token.id });
    const { code, outcome } = await waiting;
    assert.deepEqual([code, outcome], ["token_revoked", "not_run"]);
    assert.equal(await parkedIn(behind), 0);
  });

  test("a caller whose scopes were reduced can do no more than they allow", async (t) => {
    let scopes: ("admin" | "sessions:read")[] = ["admin"];
    const { store } = await behindProxy(t, { identify: async () => ({ scopes }) });
    await store.repositories.upsert({ name: "one" });
    scopes = ["sessions:read"];
    assert.equal((await failureOf(store.repositories.upsert({ name: "two" }))).code, "unknown_operation");
    assert.deepEqual((await store.sessions.list()).items, []);
  });

  test("a token and an address are checked where they are given", async (t) => {
    const { url, token } = await behindProxy(t);
    const store = await openStore({ url, token: `${token}\n` });
    await store.repositories.list();
    await store.close();
    await assert.rejects(openStore({ url, token: "é" }), { code: "token_malformed" });
    for (const wrong of ["http://", "http://127.0.0.1:99999"])
      await assert.rejects(openStore({ url: wrong, token }), { code: "invalid_input" });
    await assert.rejects(openStore({ url: "unix:/nowhere.sock", token }), (error: StoreError) => {
      assert.equal(error.code, "busy");
      assert.match(error.message, /unix:\/nowhere\.sock: ENOENT/);
      return true;
    });
  });

  test("a server that sends what no server sends is incompatible, and the caller's process goes on", async (t) => {
    const hello = (limits: unknown) => ["session", "one", limits, 1_000_000];
    const answers: readonly (readonly unknown[])[] = [
      [null],
      [["last"]],
      [["reply", 1, 1, [1, 1, "no list"]]],
      [["reply", 1, 1, [1, 1, [false, ["busy"]]]]],
      [["over"]],
    ];
    for (const frames of answers) {
      const url = await fakeServer(t, ([what]) => {
        if (what === "hello") return [hello({})];
        return what === "post" ? [["taken", 2]] : frames;
      });
      const store = await openStore({ url, token: "x" });
      const { code, outcome } = await failureOf(store.repositories.list());
      assert.deepEqual([code, outcome], ["incompatible", "not_run"], JSON.stringify(frames));
      await store.close();
    }
    await assert.rejects(openStore({ url: await fakeServer(t, () => [["session"]]), token: "x" }), {
      code: "incompatible",
    });
  });

  test("a server of a newer release may have limits that are not known here, and none of another protocol", async (t) => {
    const newer = await fakeServer(t, ([what]) =>
      what === "hello" ? [["session", "one", { callMs: 12_345, brandNewMs: 5 }, 1_000_000]] : [["beat"]],
    );
    const store = await openStore({ url: newer, token: "x" });
    await store.close();
    const { url, token } = await behindProxy(t);
    const refused = await fetch(`${url}/v1/envelopes`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}` },
      body: encodeFrame(["hello", protocolVersion + 1, newId()]),
    });
    const { code, detail } = (await refused.json()) as { code: string; detail: string };
    assert.equal(code, "incompatible");
    assert.match(detail, /use the same version/);
  });

  test("requests that reach another server each time fail with the reason", async (t) => {
    const { owned, port, token } = await behindProxy(t);
    const second = createServer(nodeHandler(storeHandler(owned)));
    await new Promise<void>((resolve) => second.listen(0, "127.0.0.1", resolve));
    const ports = [port, (second.address() as AddressInfo).port];
    let turn = 0;
    const balancer = createServer((incoming, outgoing) => {
      const { method, url, headers } = incoming;
      const forwarded = request({ port: ports[turn++ % 2], method, path: url, headers }, (answer) => {
        outgoing.writeHead(answer.statusCode as number, answer.headers);
        answer.pipe(outgoing);
      });
      forwarded.on("error", () => outgoing.destroy());
      outgoing.on("close", () => forwarded.destroy());
      incoming.pipe(forwarded);
    });
    await new Promise<void>((resolve) => balancer.listen(0, "127.0.0.1", resolve));
    t.after(() => {
      for (const server of [second, balancer]) {
        server.closeAllConnections();
        server.close();
      }
    });
    const store = await openStore({ url: `http://127.0.0.1:${(balancer.address() as AddressInfo).port}`, token });
    t.after(() => store.close());
    const failure = await failureOf(store.repositories.upsert({ name: "one" }));
    assert.equal(failure.code, "incompatible");
    assert.match(failure.message, /reaches another server/);
  });

  test("a request of a client that is none is refused", async (t) => {
    const { url, token } = await behindProxy(t);
    const send = async (...frames: readonly unknown[]) => {
      const answer = await fetch(`${url}/v1/envelopes`, {
        method: "POST",
        headers: { authorization: `Bearer ${token}` },
        body: Buffer.concat(frames.map(encodeFrame)),
      });
      return [answer.status, answer.status === 200 ? undefined : ((await answer.json()) as { code: string }).code];
    };
    const clientId = newId();
    const wrong = [
      [null],
      [["hello"]],
      [["hello", protocolVersion, "short"]],
      [
        ["hello", protocolVersion, clientId],
        [1, false, ["sessions.list", [], undefined]],
      ],
      [["post", clientId, "one", 1, 0], "no message"],
      [
        ["post", clientId, "one", 1, 0],
        [1, false, ["sessions.list"]],
      ],
      [["post", clientId, "one", -1, 0]],
    ];
    for (const frames of wrong) assert.deepEqual(await send(...frames), [400, "invalid_input"], JSON.stringify(frames));
  });
});
