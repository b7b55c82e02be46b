// The metrics of a server on a real socket: the format, the scope, and values that follow from what was done.
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { metricsHandler, metricsScope, runnerScopes, serveStore, storeHandler } from "../../../src/http/index.ts";
import { metricFamilies } from "../../../src/http/metrics.ts";
import { newId, openStore, type Scope } from "../../../src/index.ts";
import { scopes } from "../../../src/model/vocabulary.ts";
import { encodeFrame, FrameReader } from "../../../src/remote/frames.ts";
import { framesPath, protocolVersion } from "../../../src/remote/protocol.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { readMetrics, readValue } from "../../support/metricsText.ts";
import { migratedDatabase } from "../../support/migrated.ts";
import { dropDatabase } from "../../support/postgres.ts";
import { until } from "../faults/until.ts";
import { type ApiServer, serveApi } from "./apiServer.ts";

const openMetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const commitSha = "a".repeat(40);
const unknownId = "01900000-0000-7000-8000-000000000000";

/** Serves a store whose metrics are never older than a millisecond. */
const serve = async (t: Parameters<typeof serveApi>[0]) => {
  const api = await serveApi(t, { metrics: { cacheMs: 1 } });
  return { ...api, scrape: () => scrape(api) };
};

async function scrape({ ask }: ApiServer) {
  await new Promise((resolve) => setTimeout(resolve, 5));
  const { status, text } = await ask("/metrics", { headers: { accept: "application/openmetrics-text" } });
  assert.equal(status, 200, text);
  const metrics = readMetrics(text);
  return (series: string, labels: Readonly<Record<string, string>> = {}) => readValue(metrics, series, labels);
}

suite("/metrics", { concurrency: 3 }, () => {
  test("has both formats, and every metric with its type and help", async (t) => {
    const { ask, call, store } = await serve(t);
    await call("repositories.upsert", { name: "demo" });
    await store.changes.checkpoint({ consumer: "indexer", seq: 0 });
    for (const [accept, type] of [
      // What Prometheus sends.
      [
        "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        openMetrics,
      ],
      ["text/plain", "text/plain; version=0.0.4; charset=utf-8"],
      ["*/*", "text/plain; version=0.0.4; charset=utf-8"],
    ] as const) {
      const { status, headers, text } = await ask("/metrics", { headers: { accept } });
      assert.deepEqual([status, headers.get("content-type"), headers.get("cache-control")], [200, type, "no-store"]);
      assert.equal(text.endsWith("# EOF\n"), type === openMetrics);
      const read = [...readMetrics(text)].map(([name, one]) => [name, one.type, one.help]);
      assert.deepEqual(
        read,
        metricFamilies.map(({ name, type, help }) => [name.replace(/_total$/, ""), type, help]),
      );
    }
    const head = await ask("/metrics", { method: "HEAD" });
    assert.deepEqual([head.status, head.text], [200, ""]);
    const put = await ask("/metrics", { method: "PUT", body: {} });
    assert.deepEqual([put.status, put.headers.get("allow")], [405, "GET, HEAD"]);
  });

  test("needs a scope of its own, which no other one but admin includes", async (t) => {
    const { ask, tokenWith } = await serve(t);
    assert.equal((await ask("/metrics", { token: null })).status, 401);
    const others = scopes.filter((scope) => scope !== "admin" && scope !== metricsScope);
    const refused = await ask("/metrics", { token: await tokenWith(...others) });
    assert.deepEqual(
      [refused.status, refused.body.code, refused.body.details],
      [403, "scope_missing", { missing: [metricsScope] }],
    );
    assert.match(refused.headers.get("www-authenticate") ?? "", /scope="metrics:read"/);
    assert.ok(!(runnerScopes as readonly Scope[]).includes(metricsScope));
    const token = await tokenWith(metricsScope);
    assert.equal((await ask("/metrics", { token })).status, 200);
    assert.equal((await ask("/v1/maintenance.stats", { token })).status, 403);
    assert.equal((await serveApi(t, { metrics: false }).then((api) => api.ask("/metrics"))).status, 404);
  });

  test("counts calls by operation and code, whatever a request asks for", async (t) => {
    const { ask, call, scrape } = await serve(t);
    const { id } = await call("repositories.upsert", { name: "demo" });
    for (let n = 0; n < 3; n++) await ask(`/v1/repositories.get?repositoryId=${id}`);
    await ask("/v1/repositories.get", { body: { repositoryId: unknownId } });
    await ask("/v1/repositories.get", { body: { repositoryId: 7 } });
    await ask("/v1/repositories.get", { token: null, body: {} });
    await ask("/v1/repositories.get", { method: "DELETE" });
    await call("atomically", { calls: [{ operation: "repositories.get", input: { repositoryId: id } }] });
    for (let n = 0; n < 50; n++) await ask(`/v1/nothing.number${n}`, { body: {} });
    await ask("/nothing");
    const value = await scrape();
    const calls = (operation: string, code: string) => value("debug_server_calls_total", { operation, code });
    assert.deepEqual(
      ["ok", "not_found", "invalid_input", "unauthenticated", "method_not_allowed", "internal"].map((code) =>
        calls("repositories.get", code),
      ),
      [3, 1, 1, 1, 1, undefined],
    );
    assert.deepEqual(
      [calls("atomically", "ok"), calls("none", "unknown_operation"), calls("none", "no_such_path")],
      [1, 50, 1],
    );
    assert.equal(value("debug_server_call_duration_seconds_count", { operation: "repositories.get" }), 7);
    assert.ok(Number(value("debug_server_call_duration_seconds_sum", { operation: "repositories.get" })) < 7);
  });

  test("counts a stream while it is open, and by its code when it ends", async (t) => {
    const { fetch, call, scrape } = await serve(t);
    const labels = { operation: "changes.watch" };
    const controller = new AbortController();
    const watched = await fetch("/v1/changes.watch", { signal: controller.signal });
    await call("repositories.upsert", { name: "demo" });
    assert.equal((await scrape())("debug_server_streams", labels), 1);
    assert.equal((await scrape())("debug_server_calls_total", { ...labels, code: "ok" }), undefined);
    controller.abort();
    await watched.text().catch(() => undefined);
    await until(async () => (await scrape())("debug_server_streams", labels) === 0);
    const value = await scrape();
    assert.equal(value("debug_server_calls_total", { ...labels, code: "ok" }), 1);
    assert.equal(value("debug_server_call_duration_seconds_count", labels), 1);
    const { session } = await call("sessions.create", {
      repositoryId: (await call("repositories.list")).items[0].id,
      commitSha,
      commands: [{ argv: ["true"] }],
    });
    const [command] = (await call("commands.list", { sessionId: session.id })).items;
    await call("sessions.cancel", { sessionId: session.id });
    assert.equal((await fetch(`/v1/logs.follow?commandId=${command.id}`)).status, 200);
    assert.equal((await fetch(`/v1/logs.follow?commandId=${unknownId}`)).status, 404);
    await until(async () => (await scrape())("debug_server_streams", { operation: "logs.follow" }) === 0);
    const after = await scrape();
    assert.equal(after("debug_server_calls_total", { operation: "logs.follow", code: "ok" }), 1);
    assert.equal(after("debug_server_calls_total", { operation: "logs.follow", code: "not_found" }), 1);
  });

  test("counts the calls of remote stores, with names that there are", async (t) => {
    const { url, admin, scrape, store: owned } = await serve(t);
    const store = await openStore({ url, token: admin });
    t.after(() => store.close());
    await store.repositories.upsert({ name: "demo" });
    await Promise.all(Array.from({ length: 20 }, () => store.repositories.find({ name: "demo" })));
    await assert.rejects(store.sessions.get({ sessionId: unknownId }));
    await assert.rejects(
      store.atomically((tx) => {
        tx.repositories.upsert({ name: "other" });
        tx.sessions.get({ sessionId: unknownId });
      }),
    );
    const value = await scrape();
    const calls = (operation: string, code = "ok") => value("debug_server_calls_total", { operation, code });
    assert.deepEqual(
      [calls("repositories.upsert"), calls("repositories.find"), calls("sessions.get", "not_found")],
      [1, 20, 1],
    );
    assert.deepEqual([calls("atomically", "not_found"), calls("none", "ok")], [1, undefined]);
    assert.equal((await owned.repositories.list()).items.length, 1);
  });

  test("a client of remote stores cannot make up names that are counted", async (t) => {
    const { fetch, ask, scrape } = await serve(t);
    const send = async (...frames: readonly unknown[]) => {
      const body = Buffer.concat(frames.map(encodeFrame));
      const response = await fetch(framesPath, { body: new Uint8Array(body) });
      return new FrameReader().read(new Uint8Array(await response.arrayBuffer()));
    };
    const clientId = newId();
    const [[, session] = []] = (await send(["hello", protocolVersion, clientId])) as string[][];
    const names = ["made.up", "sessions.get.more", "constructor.name", 'x"} 1', "__proto__", 7, null];
    const messages = names.map((name, index) => [index + 1, false, [name, [], [null]]]);
    await send(["post", clientId, session, 1, 0], ...messages);
    await until(
      async () =>
        (await scrape())("debug_server_calls_total", { operation: "none", code: "unknown_operation" }) !== undefined,
    );
    const { text } = await ask("/metrics");
    const operations = readMetrics(text)
      .get("debug_server_calls")
      ?.samples.map(({ labels }) => labels.operation);
    assert.deepEqual([...new Set(operations)], ["none"]);
  });

  test("shows rows, leases, times and ends as the store has them", async (t) => {
    const { store, scrape } = await serve(t);
    const make = fixtures(store);
    const before = await scrape();
    assert.equal(before("debug_server_sessions", { state: "running" }), 0);
    assert.equal(before("debug_server_oldest_age_seconds", { of: "queued_command" }), 0);
    const { command, fence } = await make.claim();
    await make.command();
    await make.lease();
    const during = await scrape();
    assert.deepEqual(
      [
        during("debug_server_commands", { state: "running" }),
        during("debug_server_leases", { kind: "command", state: "running" }),
        during("debug_server_leases", { kind: "worktree", state: "leased" }),
        during("debug_server_worktrees", { state: "idle" }),
        during("debug_server_command_time_to_start_seconds_count"),
        during("debug_server_command_duration_seconds_count", { outcome: "succeeded" }),
      ],
      [1, 1, 1, 0, 1, 0],
    );
    assert.ok(Number(during("debug_server_oldest_age_seconds", { of: "queued_command" })) > 0);
    await store.commands.finish({ commandId: command.id, fence, outcome: "succeeded" });
    const after = await scrape();
    assert.deepEqual(
      [
        after("debug_server_commands", { state: "succeeded" }),
        after("debug_server_commands_ended_total", { outcome: "succeeded" }),
        after("debug_server_command_duration_seconds_count", { outcome: "succeeded" }),
        after("debug_server_ready"),
        after("debug_server_check_ok", { check: "ping" }),
        after("debug_server_check_ok", { check: "file" }),
      ],
      [1, 1, 1, 1, 1, 1],
    );
    for (const series of [
      "debug_server_group_calls_count",
      "debug_server_commit_duration_seconds_count",
      "debug_server_commit_duration_seconds_sum",
      "debug_server_database_size_bytes",
      "debug_server_wal_size_bytes",
      "debug_server_space_left_bytes",
    ])
      assert.ok(Number(after(series)) > 0, series);
    assert.ok(Number(after("debug_server_queue_wait_seconds_count", { lane: "normal" })) > 5);
  });

  test("hostile names of accounts, repositories and consumers break nothing, and are read back", async (t) => {
    const { store, call, scrape, ask } = await serve(t);
    const names = ['a"} 1', "b\\", 'c\\"', "d\\n# TYPE x counter", 'e{f="g"}', "# EOF", "ä ☃ 💥", "le", "|||"];
    const { id: repositoryId } = await call("repositories.upsert", { name: 'x"} 1' });
    for (const name of names) {
      await store.accounts.create({ name: `account ${name}`, kind: "human" });
      await store.changes.checkpoint({ consumer: name, seq: 0 });
      await call("repositories.get", { repositoryId }, { headers: { "x-request-id": '1"}' } });
      await ask(`/v1/${encodeURIComponent(name)}`, { body: {} });
    }
    const value = await scrape();
    for (const name of names)
      assert.ok(Number(value("debug_server_feed_consumer_lag_changes", { consumer: name })) > 0, name);
    assert.equal(value("debug_server_feed_consumer_lag_changes", { consumer: "nobody" }), undefined);
  });

  test("asks the store once however often it is scraped, and writes go on meanwhile", async (t) => {
    const { ask, store } = await serveApi(t, { metrics: { cacheMs: 60_000 } });
    const make = fixtures(store);
    const { claim } = await make.log();
    const answers = await Promise.all(Array.from({ length: 100 }, () => ask("/metrics")));
    assert.equal(new Set(answers.map(({ text }) => text)).size, 1);
    const backgroundCalls = async () => (await store.maintenance.stats()).lanes.background.calls ?? 0;
    const before = await backgroundCalls();
    await Promise.all(Array.from({ length: 100 }, () => ask("/metrics")));
    // The figures that this test reads, and those of the reaper.
    assert.ok((await backgroundCalls()) - before <= 3);
    assert.ok(claim.command.state === "running");
  });

  test("a handler for another server has the metrics of the store alone, and its own senders", async (t) => {
    const { store } = await serveApi(t);
    const identify = async (request: Request) => ({
      scopes: request.headers.has("x-internal") ? [metricsScope] : [],
    });
    const handle = metricsHandler(store, { identify });
    const request = (headers: Record<string, string>) => new Request("http://internal/any/path", { headers });
    assert.equal((await handle(request({}))).status, 403);
    const response = await handle(request({ "x-internal": "1" }));
    const metrics = readMetrics(await response.text());
    assert.equal(readValue(metrics, "debug_server_ready"), 1);
    assert.equal(metrics.has("debug_server_calls"), false);
    assert.equal((await metricsHandler(store)(request({}))).status, 401);
  });

  test("a store that is closed is not ready, and what the server has counted is still there", async (t) => {
    const store = await openStore({ url: "sqlite::memory:" });
    const identify = async () => ({ scopes: ["admin" as const] });
    const handle = storeHandler(store, { identify, metrics: { cacheMs: 1, timeoutMs: 500 } });
    t.after(() => store.close());
    await handle(new Request("http://internal/v1/self"));
    await store.close();
    const response = await handle(new Request("http://internal/metrics"));
    const metrics = readMetrics(await response.text());
    assert.deepEqual([response.status, readValue(metrics, "debug_server_ready")], [200, 0]);
    assert.equal(readValue(metrics, "debug_server_check_ok", { check: "ping" }), 0);
    assert.equal(readValue(metrics, "debug_server_calls_total", { operation: "self", code: "ok" }), 1);
    assert.equal(metrics.has("debug_server_sessions"), false);
  });

  test("on PostgreSQL, the same metrics but those of the SQLite file", async (t) => {
    const url = await migratedDatabase();
    const store = await openStore({ url });
    const api = await serveStore(store, { listen: "127.0.0.1:0" });
    t.after(async () => {
      await api.close({ withinMs: 0 });
      await store.close();
      await dropDatabase(url);
    });
    const { secret } = await store.tokens.bootstrapAdmin();
    const make = fixtures(store);
    const { command, fence } = await make.claim();
    await store.commands.finish({ commandId: command.id, fence, outcome: "failed", exitCode: 1 });
    await store.changes.checkpoint({ consumer: "indexer", seq: 0 });
    const response = await fetch(`${api.url}/metrics`, { headers: { authorization: `Bearer ${secret}` } });
    const metrics = readMetrics(await response.text());
    const missing = metricFamilies.map(({ name }) => name.replace(/_total$/, "")).filter((name) => !metrics.has(name));
    assert.deepEqual(missing, [
      "debug_server_calls",
      "debug_server_call_duration_seconds",
      "debug_server_streams",
      "debug_server_database_size_bytes",
      "debug_server_database_free_bytes",
      "debug_server_wal_size_bytes",
      "debug_server_wal_pending_bytes",
      "debug_server_space_left_bytes",
    ]);
    assert.equal(readValue(metrics, "debug_server_commands_ended_total", { outcome: "failed" }), 1);
    assert.ok(Number(readValue(metrics, "debug_server_commit_duration_seconds_count")) > 3);
    assert.match(JSON.stringify(metrics.get("debug_server_info")), /"engine":"postgres"/);
  });
});
