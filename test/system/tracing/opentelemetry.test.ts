// Spans and metrics of stores: one trace from a caller to the transaction and back, on both engines and over HTTP.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline/promises";
import { after, describe, type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { context, propagation, type Span, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import type { ReadableSpan } from "@opentelemetry/sdk-trace";
import { storeHandler } from "../../../src/http/index.ts";
import { newId, type OwnedStore, openStore, type StoreError } from "../../../src/index.ts";
import { instrumentStores } from "../../../src/opentelemetry/index.ts";
import { openTestStore } from "../../../src/testing/index.ts";
import { migratedDatabase } from "../../support/migrated.ts";
import { dropDatabase } from "../../support/postgres.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { until } from "../faults/until.ts";
import { startTelemetry, timeOf } from "./telemetry.ts";

/** A pause of the machine ends no group. */
const quiet = { reapEveryMs: 0, pruneEveryMs: 0, groupMs: 60_000 };
/** The global context manager is set once. */
const globalTelemetry = startTelemetry();
after(() => {
  context.disable();
  propagation.disable();
});

/** Instruments the stores of this test alone. */
function instrument(t: TestContext) {
  const telemetry = startTelemetry();
  t.after(instrumentStores(telemetry));
  return telemetry;
}

const stores = {
  async sqlite(t: TestContext): Promise<OwnedStore> {
    const store = await openStore({ url: `sqlite:${join(temporaryFolder(), "store.db")}`, limits: quiet });
    t.after(() => store.close());
    return store;
  },
  async postgresql(t: TestContext): Promise<OwnedStore> {
    const url = await migratedDatabase();
    t.after(() => dropDatabase(url));
    const store = await openStore({ url, limits: quiet });
    t.after(() => store.close());
    return store;
  },
};

const idOf = (span: Span | ReadableSpan): string => span.spanContext().spanId;
const traceOf = (span: Span | ReadableSpan): string => span.spanContext().traceId;
const linksOf = ({ links }: ReadableSpan): readonly string[] => links.map((link) => link.context.spanId);
const isKind = (kind: SpanKind) => (span: ReadableSpan) => span.kind === kind;
const only = <Item>(items: readonly Item[]): Item => {
  assert.equal(items.length, 1);
  return items[0] as Item;
};

for (const [engine, open] of Object.entries(stores)) {
  describe(`OpenTelemetry on ${engine}`, () => {
    test("two traces meet in one transaction, which is linked to both", async (t) => {
      const telemetry = instrument(t);
      const store = await open(t);
      await store.repositories.upsert({ name: "first" });
      const roots: Span[] = [];
      const call = (name: string) =>
        telemetry.within("request", async (root) => {
          roots.push(root);
          await store.repositories.upsert({ name }, { actor: name, requestId: "r1" });
        });
      await Promise.all([call("one"), call("two")]);
      const name = "repositories.upsert";
      const named = await telemetry.spansNamed(name, 6);
      const made = named.filter(isKind(SpanKind.CLIENT)).filter((span) => span.parentSpanContext !== undefined);
      const served = named.filter(isKind(SpanKind.SERVER));
      assert.deepEqual(
        made.map((span) => [span.parentSpanContext?.spanId, traceOf(span)]),
        roots.map((root) => [idOf(root), traceOf(root)]),
      );
      const transactions = await telemetry.spansNamed("transaction", 2);
      const shared = only(transactions.filter(({ links }) => links.length === 2));
      assert.deepEqual(new Set(linksOf(shared)), new Set(made.map(idOf)));
      assert.ok(made.some((span) => idOf(span) === shared.parentSpanContext?.spanId));
      assert.deepEqual(shared.attributes, {
        "db.system.name": engine,
        "db.operation.name": "transaction",
        "debug_server_db.group.on_reader": false,
        "debug_server_db.group.size": 2,
        "debug_server_db.group.wrote": true,
      });
      const commit = only(
        (await telemetry.spansNamed("COMMIT", 2)).filter((span) => span.parentSpanContext?.spanId === idOf(shared)),
      );
      assert.equal(commit.attributes["db.system.name"], engine);
      for (const client of made) {
        const server = only(served.filter((span) => span.parentSpanContext?.spanId === idOf(client)));
        assert.deepEqual([traceOf(server), linksOf(server)], [traceOf(client), [idOf(shared)]]);
        const { "debug_server_db.wait_ms": waitMs, ...attributes } = server.attributes;
        assert.ok(Number(waitMs) >= 0);
        const { "debug_server_db.runs": runs, "debug_server_db.group.size": size, ...common } = attributes;
        assert.deepEqual([runs, size], [1, 2]);
        assert.deepEqual(common, client.attributes);
        const times = [client.startTime, server.startTime, shared.startTime, commit.startTime, commit.endTime];
        const order = [...times, shared.endTime, server.endTime, client.endTime].map(timeOf);
        // The clocks of two threads begin at their starts, and may differ by some microseconds.
        for (const [index, time] of order.entries()) assert.ok(time + 2 >= (order[index - 1] ?? 0), String(order));
      }
      const [first] = made;
      assert.deepEqual(first?.attributes, {
        "db.system.name": "debug-server-db",
        "db.operation.name": name,
        "db.collection.name": "repositories",
        "debug_server_db.actor": "one",
        "debug_server_db.request_id": "r1",
        "debug_server_db.outcome": "done",
      });
    });

    test("a request of the API over HTTP is one trace, from its header to COMMIT", async (t) => {
      const telemetry = instrument(t);
      const store = await open(t);
      const handler = storeHandler(store, { identify: async () => ({ actor: "api", scopes: ["admin"] }) });
      const [traceId, parentId] = ["a".repeat(32), "b".repeat(16)];
      const response = await handler(
        new Request("http://localhost/v1/repositories.upsert", {
          method: "POST",
          headers: { traceparent: `00-${traceId}-${parentId}-01`, "content-type": "application/json" },
          body: JSON.stringify({ name: "demo" }),
        }),
      );
      assert.equal(response.status, 200);
      const named = await telemetry.spansNamed("repositories.upsert", 2);
      const client = only(named.filter(isKind(SpanKind.CLIENT)));
      const server = only(named.filter(isKind(SpanKind.SERVER)));
      const transaction = only(await telemetry.spansNamed("transaction", 1));
      const commit = only(await telemetry.spansNamed("COMMIT", 1));
      assert.deepEqual(
        [client, server, transaction, commit].map((span) => [traceOf(span), span.parentSpanContext?.spanId]),
        [parentId, idOf(client), idOf(client), idOf(transaction)].map((id) => [traceId, id]),
      );
      assert.deepEqual([linksOf(transaction), linksOf(server)], [[idOf(client)], [idOf(transaction)]]);
    });

    test("a remote store and its server, two processes, are one trace", async (t) => {
      const url = engine === "sqlite" ? `sqlite:${join(temporaryFolder(), "store.db")}` : await migratedDatabase();
      if (engine !== "sqlite") t.after(() => dropDatabase(url));
      const program = fileURLToPath(new URL("./servingProcess.ts", import.meta.url));
      const child = spawn(process.execPath, [program, url], { stdio: ["pipe", "pipe", "inherit"] });
      t.after(() => child.kill());
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
      const telemetry = instrument(t);
      const store = await openStore({ url: String((await lines.next()).value) });
      await telemetry.within("request", () => store.repositories.upsert({ name: "demo" }));
      await telemetry.within("together", () =>
        store.atomically((tx) => {
          tx.repositories.upsert({ name: "one" });
          tx.repositories.list();
        }),
      );
      await store.close();
      child.stdin.end();
      const remote = JSON.parse(String((await lines.next()).value)) as Record<string, unknown>[];
      for (const name of ["repositories.upsert", "atomically"]) {
        const client = only(await telemetry.spansNamed(name, 1));
        const server = only(remote.filter((span) => span.name === name));
        assert.deepEqual(
          [server.kind, server.traceId, server.parentId],
          [SpanKind.SERVER, traceOf(client), idOf(client)],
        );
        const transaction = only(
          remote.filter(({ name: of, parentId }) => of === "transaction" && parentId === idOf(client)),
        );
        assert.deepEqual([transaction.traceId, transaction.links], [traceOf(client), [idOf(client)]]);
        assert.deepEqual(server.links, [transaction.spanId]);
        assert.equal((transaction.attributes as Record<string, unknown>)["db.system.name"], engine);
      }
      const together = only(await telemetry.spansNamed("atomically", 1));
      assert.equal(together.attributes["db.operation.batch.size"], 2);
      assert.equal(together.attributes["db.collection.name"], "repositories");
    });

    test("a failure has its code as error.type, in its spans and in the metrics", async (t) => {
      const telemetry = instrument(t);
      const store = await open(t);
      await assert.rejects(store.sessions.get({ sessionId: newId() }));
      await store.repositories.upsert({ name: "demo" });
      const spans = await telemetry.spansNamed("sessions.get", 2);
      for (const { attributes, status } of spans) {
        assert.deepEqual(
          [attributes["error.type"], attributes["db.response.status_code"], attributes["debug_server_db.outcome"]],
          ["not_found", "not_found", "not_run"],
        );
        assert.equal(status.code, SpanStatusCode.ERROR);
      }
      await telemetry.spansNamed("repositories.upsert", 2);
      const metrics = await telemetry.metrics();
      assert.deepEqual(
        metrics
          .get("db.client.operation.duration")
          ?.map(({ attributes, value }) => [attributes, (value as { count: number }).count]),
        [
          {
            "db.system.name": "debug-server-db",
            "db.operation.name": "sessions.get",
            "db.collection.name": "sessions",
            "error.type": "not_found",
            "db.response.status_code": "not_found",
          },
          {
            "db.system.name": "debug-server-db",
            "db.operation.name": "repositories.upsert",
            "db.collection.name": "repositories",
          },
        ].map((attributes) => [attributes, 1]),
      );
      const points = metrics.get("debug_server_db.commit.duration") ?? [];
      assert.deepEqual(
        points.map(({ attributes }) => attributes),
        [{ "db.system.name": engine, "debug_server_db.group.on_reader": false }],
      );
      for (const name of [
        "debug_server_db.wait.duration",
        "debug_server_db.group.duration",
        "debug_server_db.group.size",
      ])
        assert.ok((metrics.get(name)?.length ?? 0) > 0, name);
    });
  });
}

test("the trace context of a call is its parent where no span is active, and the active span where one is", async (t) => {
  const telemetry = instrument(t);
  const store = await openTestStore();
  t.after(() => store.close());
  const given = { traceId: "c".repeat(32), spanId: "d".repeat(16) };
  const traceparent = `00-${given.traceId}-${given.spanId}-01`;
  await store.repositories.list({}, { traceparent });
  await telemetry.within("request", () => store.repositories.list({}, { traceparent }));
  await store.repositories.list();
  const spans = (await telemetry.spansNamed("repositories.list", 6)).filter(isKind(SpanKind.CLIENT));
  const request = only(await telemetry.spansNamed("request", 1));
  assert.deepEqual(
    spans.map((span) => span.parentSpanContext?.spanId),
    [given.spanId, idOf(request), undefined],
  );
  assert.equal(traceOf(spans[0] as ReadableSpan), given.traceId);
});

test("a transaction belongs to the first of its traces that is recorded, and calls without a trace have no spans", async (t) => {
  const telemetry = startTelemetry();
  const store = await openTestStore({ limits: { ...quiet, reapEveryMs: 1 } });
  t.after(() => store.close());
  t.after(instrumentStores(telemetry));
  const unrecorded = `00-${"c".repeat(32)}-${"d".repeat(16)}-00`;
  const root = await telemetry.within("request", async (span) => {
    const first = context.with(
      trace.setSpan(
        context.active(),
        trace.wrapSpanContext({ ...span.spanContext(), traceId: "c".repeat(32), traceFlags: 0 }),
      ),
      () => store.repositories.upsert({ name: "one" }, { traceparent: unrecorded }),
    );
    await Promise.all([first, store.repositories.upsert({ name: "two" })]);
    return span;
  });
  const transaction = only((await telemetry.spansNamed("transaction", 1)).filter(({ links }) => links.length === 2));
  assert.equal(traceOf(transaction), traceOf(root));
  await until(async () => ((await telemetry.metrics()).get("debug_server_db.group.size")?.length ?? 0) > 0);
  assert.deepEqual(
    new Set(telemetry.spans().map(({ name }) => name)),
    new Set(["request", "repositories.upsert", "transaction", "COMMIT"]),
  );
});

test("after its end, nothing is made", async (t) => {
  const end = instrumentStores(globalTelemetry);
  const store = await openTestStore();
  t.after(() => store.close());
  await store.repositories.list();
  const { length } = globalTelemetry.spans();
  assert.ok(length > 0);
  end();
  await store.repositories.list();
  await store.repositories.get({ repositoryId: newId() }).catch(({ code }: StoreError) => code);
  assert.equal(globalTelemetry.spans().length, length);
});

test("without a provider, calls run as they do otherwise", async (t) => {
  t.after(instrumentStores());
  const store = await openTestStore();
  t.after(() => store.close());
  assert.deepEqual((await store.repositories.list()).items, []);
});
