// Labels and metadata of sessions: changed while a session runs, and found by lists.
import assert from "node:assert/strict";
import { newId, type Store } from "../../../src/index.ts";
import { bounds } from "../../../src/limits.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { endOfFeed, fails, subject } from "../suite.ts";

const changesOf = async (store: Store, after: number, sessionId: string) =>
  (await store.changes.since({ after, sessionId })).changes.map(({ op, entityVersion, detail }) => [
    op,
    entityVersion,
    detail,
  ]);

export function sessionLabelsConformance(backend: TestedBackend): void {
  subject(backend, "sessions: labels and metadata", ({ test }) => {
    test("update replaces labels and metadata while a session runs and after it, and the feed tells what differs", async ({
      store,
    }) => {
      const { session } = await fixtures(store).session({ labels: { team: "core", old: "" }, metadata: { ci: 1 } });
      assert.deepEqual([session.labels, session.metadata], [{ team: "core", old: "" }, { ci: 1 }]);
      const sessionId = session.id;
      await store.sessions.touch({ sessionId, start: true });
      const after = await endOfFeed(store);
      const labels = { team: "tools", state: "flaky" };
      const first = await store.sessions.update({ sessionId, labels });
      assert.deepEqual([first.labels, first.metadata, first.version], [labels, { ci: 1 }, session.version + 2]);
      const second = await store.sessions.update({ sessionId, metadata: new Map([["a", new Date(5)]]) });
      assert.deepEqual(second.metadata, new Map([["a", new Date(5)]]));
      await store.sessions.complete({ sessionId });
      const last = await store.sessions.update({ sessionId, labels: {}, metadata: null });
      assert.deepEqual([last.labels, last.metadata, last.state], [{}, null, "completed"]);
      assert.deepEqual(await store.sessions.get({ sessionId }), last);
      const version = session.version;
      assert.deepEqual(
        (await changesOf(store, after, sessionId)).filter(([op]) => op === "update"),
        [
          [
            "update",
            version + 2,
            {
              changed: {
                labels: {
                  team: { from: "core", to: "tools" },
                  old: { from: "", to: null },
                  state: { from: null, to: "flaky" },
                },
              },
            },
          ],
          ["update", version + 3, { changed: { metadata: {} } }],
          [
            "update",
            version + 5,
            {
              changed: {
                labels: { team: { from: "tools", to: null }, state: { from: "flaky", to: null } },
                metadata: {},
              },
            },
          ],
        ],
      );
    });

    test("a repeated update changes nothing; one of another version is a conflict; secrets stay out of the feed", async ({
      store,
    }) => {
      const { session } = await fixtures(store).session({ labels: { a: "1", b: "2" } });
      const sessionId = session.id;
      const after = await endOfFeed(store);
      const same = { sessionId, labels: { b: "2", a: "1" }, metadata: null, expectedVersion: session.version + 5 };
      assert.deepEqual(await store.sessions.update(same), session);
      assert.deepEqual(await changesOf(store, after, sessionId), []);
      await fails(store.sessions.update({ sessionId, labels: {}, expectedVersion: session.version + 1 }), "conflict", {
        reason: "version",
        currentVersion: session.version,
      });
      await store.sessions.update({ sessionId, labels: { api_token: "hidden" }, expectedVersion: session.version });
      assert.ok(!JSON.stringify(await changesOf(store, after, sessionId)).includes("hidden"));
      await fails(store.sessions.update({ sessionId: newId(), labels: {} }), "not_found", { entity: "session" });
    });

    test("labels have bounds", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const sessionId = session.id;
      const most = Object.fromEntries(Array.from({ length: bounds.sessionLabels }, (_, n) => [`label-${n}`, ""]));
      const long = "x".repeat(bounds.labelLength - 2);
      assert.deepEqual((await store.sessions.update({ sessionId, labels: most })).labels, most);
      await store.sessions.update({ sessionId, labels: { a: long } });
      assert.equal((await store.sessions.list({ labels: [`a=${long}`] })).items[0]?.id, sessionId);
      for (const labels of [{ ...most, more: "" }, { ab: long }, { "a=b": "c" }, { "": "c" }, { a: "b\nc" }])
        await fails(store.sessions.update({ sessionId, labels: labels as Record<string, string> }), "invalid_input");
      await fails(store.sessions.list({ labels: [] }), "invalid_input");
    });

    test("a list finds sessions by their labels, in order, page by page, also beside other filters", async ({
      store,
    }) => {
      const { repository } = await fixtures(store).repository();
      const team = newId();
      const labelled = async (labels: Record<string, string>) =>
        (await fixtures(store).session({ repositoryId: repository.id, labels })).session.id;
      const [one, two] = [await labelled({ team, urgent: "" }), await labelled({ team, os: "linux" })];
      const [, three] = [await labelled({ team: "other" }), await labelled({ team, os: "mac", urgent: "yes" })];
      const idsOf = async (labels: string[], more: object = {}) =>
        (await store.sessions.list({ labels, ...more })).items.map(({ id }) => id);
      const mine = `team=${team}`;
      assert.deepEqual(await idsOf([mine]), [one, two, three]);
      assert.deepEqual(await idsOf([` team = ${team}`]), [one, two, three]);
      assert.deepEqual(await idsOf([mine, "os"]), [two, three]);
      assert.deepEqual(await idsOf(["os", mine], { order: "desc" }), [three, two]);
      assert.deepEqual(await idsOf([mine, "urgent="]), [one]);
      assert.deepEqual(await idsOf([mine, "urgent", "os=mac"]), [three]);
      assert.deepEqual(await idsOf([mine, "missing"]), []);
      assert.deepEqual(await idsOf([mine], { repositoryId: newId() }), []);
      assert.deepEqual(await idsOf([mine], { state: ["pending", "running"], repositoryId: repository.id, limit: 2 }), [
        one,
        two,
      ]);
      const paged: string[] = [];
      for await (const { id } of store.sessions.all({ labels: [mine], limit: 1, order: "desc" })) paged.push(id);
      assert.deepEqual(paged, [three, two, one]);
      await store.sessions.update({ sessionId: two, labels: { os: "linux" } });
      assert.deepEqual(await idsOf([mine]), [one, three]);
      await store.sessions.cancel({ sessionId: three });
      await store.sessions.delete({ sessionId: three });
      assert.deepEqual(await idsOf([mine]), [one]);
    });
  });
}
