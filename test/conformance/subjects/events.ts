// Events of the application in the change feed: they are there exactly when the rest of their transaction is.
import assert from "node:assert/strict";
import { newId } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { endOfFeed, fails, subject } from "../suite.ts";

export function events(backend: TestedBackend): void {
  subject(backend, "events", ({ test }) => {
    test("an event is a row of the feed, with its topic as the operation", async ({ store }) => {
      const after = await endOfFeed(store);
      const { session } = await fixtures(store).session();
      const at = new Date("2026-11-28T08:00:00Z");
      const detail = { total: 12, lines: [{ name: "ä", at }] };
      const event = { topic: "order.paid", entityId: "order 7", sessionId: session.id, detail };
      const options = { actor: "ada", requestId: "request-1" };
      assert.deepEqual(await store.changes.publish(event, options), { entityId: "order 7" });
      const { changes } = await store.changes.since({ after, entity: "event", sessionId: session.id });
      assert.deepEqual(
        changes.map(({ seq: _, at: __, ...row }) => row),
        [
          {
            ...options,
            entity: "event",
            entityId: "order 7",
            op: "order.paid",
            entityVersion: 1,
            fence: null,
            sessionId: session.id,
            detail,
          },
        ],
      );
    });

    test("an event without an entityId gets an id of its own, and none has to have a detail", async ({ store }) => {
      const after = await endOfFeed(store);
      const [one, other] = await Promise.all([
        store.changes.publish({ topic: "a" }),
        store.changes.publish({ topic: "a" }),
      ]);
      assert.notEqual(one.entityId, other.entityId);
      const { changes } = await store.changes.since({ after, entityId: one.entityId });
      assert.deepEqual(
        changes.map(({ detail, sessionId }) => [detail, sessionId]),
        [[null, null]],
      );
    });

    test("an event is there exactly when the other calls of its transaction took effect", async ({ store }) => {
      const after = await endOfFeed(store);
      const name = newId();
      await store.atomically((tx) => {
        tx.repositories.upsert({ name });
        tx.changes.publish({ topic: "repository.wanted", entityId: name });
      });
      const failing = store.atomically((tx) => {
        tx.changes.publish({ topic: "session.cancelled", entityId: name });
        tx.sessions.cancel({ sessionId: newId() });
      });
      await fails(failing, "not_found", { index: 1 });
      const { changes } = await store.changes.since({ after });
      assert.deepEqual(
        changes.map(({ entity, op }) => `${entity} ${op}`),
        ["repository create", "event repository.wanted"],
      );
    });

    test("secrets in the detail are masked before they are sent", async ({ store }) => {
      const entityId = newId();
      const detail = { apiToken: "hunter2", env: { HOME: "hunter2" }, text: "password=hunter2", pin: "hunter3" };
      await store.changes.publish({ topic: "a", entityId, detail });
      await store.changes.publish({ topic: "b", entityId, detail, secretNames: ["pin"] });
      const { changes } = await store.changes.since({ after: (await endOfFeed(store)) - 2, entityId });
      assert.deepEqual(
        changes.map((row) => row.detail),
        [
          { apiToken: "***", env: { HOME: "***" }, text: "password=***", pin: "hunter3" },
          { apiToken: "hunter2", env: { HOME: "***" }, text: "password=hunter2", pin: "***" },
        ],
      );
    });

    test("an event under a key is published once", async ({ store }) => {
      const [entityId, idempotencyKey] = [newId(), newId()];
      for (let n = 0; n < 2; n++) await store.changes.publish({ topic: "a", entityId }, { idempotencyKey });
      const { changes } = await store.changes.since({ after: (await endOfFeed(store)) - 2, entityId });
      assert.equal(changes.length, 1);
    });

    test("topics, ids and details have bounds", async ({ store }) => {
      const topic = "a";
      await fails(store.changes.publish({ topic: "" }), "invalid_input");
      await fails(store.changes.publish({ topic: "a\nb" }), "invalid_input");
      await fails(store.changes.publish({ topic: "x".repeat(101) }), "invalid_input");
      await fails(store.changes.publish({ topic, entityId: "x".repeat(201) }), "invalid_input");
      await store.changes.publish({ topic: "x".repeat(100), entityId: "x".repeat(200) });
      // The text of the column: {"json":{"text":"..."}}.
      const largest = "x".repeat(16_384 - 20);
      await store.changes.publish({ topic, detail: { text: largest } });
      const tooLarge = { topic, detail: { text: `${largest}x` } };
      await fails(store.changes.publish(tooLarge), "invalid_input", { bytes: 16_385, bytesMax: 16_384 });
      await fails(store.changes.publish({ topic, sessionId: newId() }), "not_found", { entity: "session" });
    });
  });
}
