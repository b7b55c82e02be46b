// The change feed over HTTP as an outbox: events in a transaction, a consumer as long polls, and the export as a download.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Scope } from "../../../src/index.ts";
import { until } from "../faults/until.ts";
import { serveApi } from "./apiServer.ts";

test("a client publishes within a transaction, consumes by long polls, and a holder that is late is fenced off", async (t) => {
  const { ask, store } = await serveApi(t);
  const post = (name: string, body: object) => ask(`/v1/${name}`, { body });
  const consume = (more: object = {}) =>
    post("changes.consume", { consumer: "webhooks", entity: "event", waitMs: 60_000, ...more });
  const waiting = consume();
  await until(async () => (await store.maintenance.stats()).serving.parked === 1);
  const calls = [
    { operation: "repositories.upsert", input: { name: "demo" } },
    { operation: "changes.publish", input: { topic: "demo.wanted", entityId: "demo", detail: { by: "ada" } } },
  ];
  assert.equal((await post("atomically", { calls })).status, 200);
  const { body: page } = await waiting;
  assert.deepEqual(
    page.changes.map(({ op, entityId, detail }: Record<string, unknown>) => [op, entityId, detail]),
    [["demo.wanted", "demo", { by: "ada" }]],
  );
  const { fence, nextSeq } = page;
  await post("changes.checkpoint", { consumer: "webhooks", seq: nextSeq, fence, release: true });
  const late = await consume({ fence, handled: nextSeq + 1, waitMs: 0 });
  assert.deepEqual([late.status, late.body.code, late.body.details.currentFence], [409, "lease_lost", fence]);
  assert.equal((await consume({ fence, handled: nextSeq, waitMs: 0 })).body.fence, null);
});

test("consuming needs the scopes to read changes and to write them, and publishing the second alone", async (t) => {
  const { ask, tokenWith } = await serveApi(t);
  const statusOf = async (scopes: readonly Scope[], name: string, body: object) =>
    (await ask(`/v1/${name}`, { token: await tokenWith(...scopes), body })).status;
  const consumed = { consumer: "c", waitMs: 0 };
  assert.equal(await statusOf(["changes:write"], "changes.publish", { topic: "a" }), 200);
  assert.equal(await statusOf(["changes:read"], "changes.publish", { topic: "a" }), 403);
  assert.equal(await statusOf(["changes:read"], "changes.consume", consumed), 403);
  assert.equal(await statusOf(["changes:write"], "changes.consume", consumed), 403);
  assert.equal(await statusOf(["changes:read", "changes:write"], "changes.consume", consumed), 200);
});

test("the export is a download of lines that ends, and goes on after a cut", async (t) => {
  const { fetch, store } = await serveApi(t);
  for (let n = 0; n < 3; n++) await store.changes.publish({ topic: "a", entityId: `${n}` });
  const linesOf = async (headers: Record<string, string> = {}) => {
    const body = { entity: ["event", "session"], since: "2026-01-01T00:00:00.000Z" };
    const accept = "application/x-ndjson";
    const response = await fetch("/v1/changes.export", { headers: { accept, ...headers }, body });
    assert.equal(response.headers.get("content-type"), "application/x-ndjson; charset=utf-8");
    return (await response.text())
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
  };
  const lines = await linesOf();
  assert.deepEqual(
    lines.map(({ item, end }) => item?.entityId ?? end),
    ["0", "1", "2", {}],
  );
  assert.deepEqual(await linesOf({ "last-event-id": lines[0].id }), lines.slice(1));
});
