// The tracing channels of a store: what they say of calls and groups, on both sides, on both engines and over HTTP.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import { storeHandler } from "../../../src/http/index.ts";
import { newId, type OwnedStore, openStore, StoreError } from "../../../src/index.ts";
import { fixtures, openTestStore } from "../../../src/testing/index.ts";
import { migratedDatabase } from "../../support/migrated.ts";
import { dropDatabase } from "../../support/postgres.ts";
import { openRemoteStore } from "../../support/remoteStore.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { until } from "../faults/until.ts";
import { listen } from "./listening.ts";

const run = promisify(execFile);
/** A pause of the machine ends no group. */
const quiet = { reapEveryMs: 0, pruneEveryMs: 0, groupMs: 60_000 };
const traceparent = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;

async function openFile(t: TestContext): Promise<OwnedStore> {
  const store = await openStore({ url: `sqlite:${join(temporaryFolder(), "store.db")}`, limits: quiet });
  t.after(() => store.close());
  return store;
}

const engines = {
  sqlite: openFile,
  async postgres(t: TestContext): Promise<OwnedStore> {
    const url = await migratedDatabase();
    t.after(() => dropDatabase(url));
    const store = await openStore({ url, limits: quiet });
    t.after(() => store.close());
    return store;
  },
};

for (const [engine, open] of Object.entries(engines)) {
  describe(`tracing on ${engine}`, () => {
    test("a call is told with its caller, its times, its answer and its group", async (t) => {
      const { calls, served, groups } = listen(t);
      const store = await open(t);
      await Promise.all([
        store.repositories.upsert({ name: "one" }, { actor: "ada", requestId: "r1", traceparent }),
        store.repositories.upsert({ name: "two" }),
      ]);
      const isOwn = ({ operation }: { operation: string }) => operation === "repositories.upsert";
      await until(() => served.messages.filter(isOwn).length === 2);
      const [made] = calls.messages;
      assert.ok(made);
      const { startedAtMs, endedAtMs, ...rest } = made;
      const common = {
        operation: "repositories.upsert",
        operations: [],
        ...{ actor: "ada", requestId: "r1", traceparent, outcome: "done", code: undefined },
      };
      assert.deepEqual(rest, { ...common, error: undefined });
      assert.deepEqual(calls.eventsOf(made), ["start", "end", "asyncStart", "asyncEnd"]);

      const own = served.messages.filter(isOwn);
      const first = own.find(({ actor }) => actor === "ada");
      assert.ok(first?.group);
      const { startedAtMs: arrivedAtMs, endedAtMs: answeredAtMs, group, runs, ...others } = first;
      assert.deepEqual([others, runs], [common, 1]);
      assert.deepEqual(served.eventsOf(first), ["start", "end", "asyncStart", "asyncEnd"]);
      assert.ok(groups.messages.includes(group));
      assert.deepEqual(groups.eventsOf(group), ["start", "end", "asyncStart", "asyncEnd"]);
      const { commitMs = Number.NaN, committedAtMs } = group;
      assert.deepEqual(
        [group.engine, group.onReader, group.wrote, group.code, group.size],
        [engine, false, true, undefined, 2],
      );
      assert.deepEqual(new Set(group.calls), new Set(own));
      assert.ok(commitMs > 0 && commitMs < 10_000);
      // The clocks of two threads begin at their starts, and may differ by some microseconds.
      const order = [
        startedAtMs,
        arrivedAtMs,
        group.startedAtMs,
        committedAtMs,
        group.endedAtMs,
        answeredAtMs,
        endedAtMs,
      ] as number[];
      for (const [index, time] of order.entries())
        assert.ok(time + 2 >= (order[index - 1] ?? Date.now() - 60_000), `${index} of ${order}`);
      // A group is told before the calls that it answers.
      assert.ok(Number(endedAtMs) <= Date.now() + 2);
    });

    test("a failure is told with its code and outcome, where it happens", async (t) => {
      const { calls, served } = listen(t);
      const store = await open(t);
      await assert.rejects(store.sessions.get({ sessionId: newId() }), StoreError);
      await assert.rejects(store.sessions.get({ sessionId: "short" }), StoreError);
      await assert.rejects(store.commands.wait({ commandId: newId() }, { signal: AbortSignal.abort() }), StoreError);
      const told = calls.messages.map((message) => [
        message.code,
        message.outcome,
        (message.error as StoreError).code,
        calls.eventsOf(message).join(" "),
      ]);
      const failed = "start end error asyncStart asyncEnd";
      assert.deepEqual(told, [
        ["not_found", "not_run", "not_found", failed],
        ["invalid_input", "not_run", "invalid_input", failed],
        ["aborted", "not_run", "aborted", failed],
      ]);
      await until(() => served.messages.some(({ operation }) => operation === "sessions.get"));
      const arrived = served.messages.filter(({ operation }) => operation === "sessions.get");
      assert.deepEqual(
        arrived.map((message) => [message.code, message.outcome, served.eventsOf(message).join(" ")]),
        [["not_found", "not_run", failed]],
      );
    });

    test("the calls of atomically are one call with their names, and carry one context", async (t) => {
      const { calls, served } = listen(t);
      const store = await open(t);
      const record = (tx: Parameters<Parameters<OwnedStore["atomically"]>[0]>[0]) => {
        tx.repositories.upsert({ name: "one" });
        tx.repositories.list();
      };
      await store.atomically(record, { traceparent, idempotencyKey: "once" });
      await until(() => served.messages.some(({ operation }) => operation === "atomically"));
      const names = ["repositories.upsert", "repositories.list"];
      const one = served.messages.find(({ operation }) => operation === "atomically");
      assert.deepEqual(
        calls.messages.map(({ operation, operations }) => [operation, operations]),
        [["atomically", names]],
      );
      assert.deepEqual([one?.operations, one?.traceparent, one?.group?.size], [names, traceparent, 1]);
    });

    test("a call that waits is part of several groups, and its end is told when it is answered", async (t) => {
      const { served } = listen(t);
      const store = await open(t);
      const { command, fence } = await fixtures(store).claim();
      const waiting = store.commands.wait({ commandId: command.id, timeoutMs: 60_000 });
      await store.maintenance.stats();
      await store.commands.finish({ commandId: command.id, fence, outcome: "succeeded" });
      await waiting;
      await until(() => served.messages.some(({ operation, outcome }) => operation === "commands.wait" && !!outcome));
      const told = served.messages.find(({ operation, outcome }) => operation === "commands.wait" && !!outcome);
      assert.ok(Number(told?.runs) >= 2);
    });

    test("a long read is told with the transaction of its reader", async (t) => {
      const { served } = listen(t);
      const store = await open(t);
      await store.maintenance.fsck();
      await until(() => served.messages.some(({ operation }) => operation === "maintenance.fsck"));
      const { group } = served.messages.find(({ operation }) => operation === "maintenance.fsck") ?? {};
      assert.deepEqual(
        [group?.engine, group?.onReader, group?.wrote, group?.commitMs],
        [engine, true, false, undefined],
      );
    });

    test("a context that a subscriber sets travels from another thread to the side of the database", async (t) => {
      const { calls, served } = listen(t);
      const store = await open(t);
      const port = store.connect();
      const worker = new Worker(new URL("./callingThread.ts", import.meta.url), {
        workerData: { port, traceparent },
        transferList: [port],
      });
      const [heard] = await once(worker, "message");
      await until(() => served.messages.some(({ actor }) => actor === "thread"));
      assert.deepEqual(heard, ["call repositories.upsert"]);
      assert.deepEqual(calls.messages, []);
      assert.equal(served.messages.find(({ actor }) => actor === "thread")?.traceparent, traceparent);
    });

    test("a context travels through the API over HTTP, and through a remote store", async (t) => {
      const { served } = listen(t);
      const store = await open(t);
      const handler = storeHandler(store, { identify: async () => ({ actor: "api", scopes: ["admin"] }) });
      const post = (name: string, body: object) =>
        handler(
          new Request(`http://localhost/v1/${name}`, {
            method: "POST",
            headers: { traceparent, "content-type": "application/json" },
            body: JSON.stringify(body),
          }),
        );
      assert.equal((await post("repositories.upsert", { name: "one" })).status, 200);
      const remote = await openRemoteStore(store, {}, {});
      t.after(() => remote.close());
      const { store: client } = remote;
      await client.repositories.upsert({ name: "two" }, { actor: "remote", traceparent });
      await client.atomically((tx) => tx.repositories.upsert({ name: "three" }), { actor: "remote", traceparent });
      await client.repositories.list({}, { actor: "remote", traceparent });
      const asAccount = await openRemoteStore(store, {}, {}, { actor: "account", scopes: ["repositories:write"] });
      t.after(() => asAccount.close());
      await asAccount.store.repositories.upsert({ name: "four" }, { actor: "somebody else", traceparent });
      const own = () => served.messages.filter(({ actor }) => ["api", "remote", "account"].includes(actor ?? ""));
      await until(() => own().length === 5);
      assert.deepEqual(
        own().map((message) => [message.operation, message.traceparent]),
        ["repositories.upsert", "repositories.upsert", "atomically", "repositories.list", "repositories.upsert"].map(
          (name) => [name, traceparent],
        ),
      );
    });
  });
}

test("a listener that comes after the store was opened hears its database thread soon, and one that leaves does not", async (t) => {
  const store = await openFile(t);
  await store.repositories.upsert({ name: "one" });
  await t.test("listening", async (inner) => {
    const { served } = listen(inner);
    await until(async () => {
      await store.repositories.upsert({ name: "one" });
      return served.messages.length > 0;
    });
  });
  const { calls } = listen(t);
  await store.repositories.upsert({ name: "one" });
  assert.equal(calls.messages.length, 1);
});

test("in the database thread, its own channels tell the same as it happens", async () => {
  const files = ["./listeningModule.mjs", "./tracedProcess.ts"].map((name) =>
    fileURLToPath(new URL(name, import.meta.url)),
  );
  const [module = "", program = ""] = files;
  const path = join(temporaryFolder(), "store.db");
  const { stderr } = await run(process.execPath, ["--import", module, program, path], { timeout: 60_000 });
  const told = stderr.split("\n").flatMap((line) => (line.startsWith("{") ? [JSON.parse(line)] : []));
  const thread = "debug-server-db";
  assert.deepEqual(told, [
    { thread, channel: "serve", event: "start" },
    { thread, channel: "group", event: "asyncEnd", size: 1 },
    { thread, channel: "serve", event: "asyncEnd", size: 1 },
  ]);
});

test("a port that sends any name, caller and context is told with what is known and well formed", async (t) => {
  const { served } = listen(t);
  const store = await openTestStore();
  t.after(() => store.close());
  const port = store.connect();
  t.after(() => port.close());
  port.postMessage([
    1,
    false,
    ["no.such", [], [1, {}, undefined, undefined, undefined, "x".repeat(55)], "repositories.list", [], "caller"],
  ]);
  await once(port, "message");
  const told = served.messages.map((message) => [message.operation, message.actor, message.traceparent, message.code]);
  assert.deepEqual(told, [
    ["unknown", undefined, undefined, "unknown_operation"],
    ["repositories.list", undefined, undefined, "invalid_input"],
  ]);
});

test("a client that goes away ends its calls", async (t) => {
  const { served } = listen(t);
  const store = await openTestStore();
  t.after(() => store.close());
  const { command } = await fixtures(store).claim();
  const port = store.connect();
  port.postMessage([1, false, ["commands.wait", [command.id, 60_000], undefined]]);
  const waits = () => served.messages.find(({ operation }) => operation === "commands.wait");
  await until(() => waits()?.runs === 1);
  port.close();
  await until(() => waits()?.outcome !== undefined);
  assert.deepEqual([waits()?.code, waits()?.outcome], ["closed", "not_run"]);
});
