// The listener on a fake connection publishes topics while a notification is on its way.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { PostgresConnection } from "../../../src/postgres/connection.ts";
import { PostgresListener } from "../../../src/postgres/listener.ts";

function rig() {
  const sent: string[] = [];
  let failing = false;
  let gate = Promise.withResolvers<void>();
  const client = {
    on: () => undefined,
    async query(_text: string, values?: readonly [channel: string, payloads: readonly string[]]) {
      if (values === undefined) return;
      for (const payload of values[1]) sent.push(payload.split("\n").slice(1).join(" "));
      await gate.promise;
      if (failing) throw new Error("lost");
    },
  };
  const connection = { get: async () => client, close: async () => undefined } as unknown as PostgresConnection;
  const listener = new PostgresListener({
    channel: "c",
    rewakeMs: 600_000,
    connection,
    onTouched: () => undefined,
    onFault: () => undefined,
  });
  const pass = async (fails = false) => {
    failing = fails;
    const { resolve } = gate;
    gate = Promise.withResolvers();
    resolve();
    await new Promise(setImmediate);
  };
  return { listener, sent, pass };
}

test("a topic that is touched again while its notification is on its way is sent again", async () => {
  const { listener, sent, pass } = rig();
  listener.publish(["ready"]);
  await new Promise(setImmediate);
  listener.publish(["ready", "other"]);
  await pass();
  assert.deepEqual(sent, ["ready", "ready other"]);
  await pass();
  assert.equal(sent.length, 2);
  await listener.close();
});

test("topics that could not be sent are sent later, and too many topics are sent as all", async () => {
  const { listener, sent, pass } = rig();
  listener.publish(["a"]);
  await new Promise(setImmediate);
  await pass(true);
  listener.publish(["b"]);
  await new Promise(setImmediate);
  assert.deepEqual(sent, ["a", "a b"]);
  listener.publish(Array.from({ length: 2_000 }, (_, n) => `t${n}`));
  await pass();
  assert.deepEqual(sent, ["a", "a b", "*"]);
  await pass();
  await listener.close();
});

test("topics that exceed one notification are sent in several, none of which PostgreSQL refuses", async () => {
  const { listener, sent, pass } = rig();
  const topics = Array.from({ length: 200 }, (_, n) => `${n}`.padStart(84, "t"));
  listener.publish(topics);
  await new Promise(setImmediate);
  assert.deepEqual(
    sent.flatMap((payload) => payload.split(" ")),
    topics,
  );
  assert.deepEqual([sent.length, sent.every((payload) => payload.length < 7_900)], [3, true]);
  await pass();
  await listener.close();
});
