// Names that look alike are one name or refused, for every entity.
import assert from "node:assert/strict";
import type { Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { fails, subject } from "../suite.ts";

/** For each kind of name, a function that stores it and returns it as it was stored. */
const named: Readonly<Record<string, (store: Store, name: string) => Promise<string | null | undefined>>> = {
  account: async (store, name) => (await store.accounts.create({ name, kind: "human" })).name,
  repository: async (store, name) => (await store.repositories.upsert({ name })).name,
  token: async (store, name) => (await fixtures(store).token({ name })).token.name,
  runner: async (store, name) => (await store.runners.register({ name })).name,
  label: async (store, name) =>
    Object.keys((await store.runners.register({ name: "r", labels: { [name]: "x" } })).labels as object)[0],
  requester: async (store, name) => (await fixtures(store).session({ requestedBy: name })).session.requestedBy,
};

export function namesConformance(backend: TestedBackend): void {
  subject(backend, "names", ({ test }) => {
    for (const [kind, save] of Object.entries(named)) {
      test(`the name of a ${kind} is stored in one form, and what cannot be seen in it is refused`, async ({
        store,
      }) => {
        assert.equal(
          await save(store, " \u00a0Caf\u0065\u0301 \u2003 \uff21\ufb01 "),
          "Caf\u00e9 A\ufb01".normalize("NFKC"),
        );
        for (const hidden of ["\u200b", "\u200d", "\u202e", "\ufeff", "\u00ad", "\u0007", "\t", "\r", "\u3164"])
          await fails(save(store, `ops${hidden}x`), "invalid_input");
        await fails(save(store, " \u00a0 "), "invalid_input");
      });
    }

    test("names that differ in case, blanks or compatibility forms are one name", async ({ store }) => {
      const spellings = ["Stra\u00dfe \u03c2", "STRASSE \u03a3", " strasse  \u03c3", "\uff33trasse\u00a0\u03c3"];
      const { id } = await store.repositories.upsert({ name: spellings[0] as string });
      for (const name of spellings) {
        assert.equal((await store.repositories.upsert({ name })).id, id);
        assert.equal((await store.repositories.find({ name }))?.id, id);
      }
      await store.accounts.create({ name: spellings[0] as string, kind: "human" });
      for (const name of spellings)
        await fails(store.accounts.create({ name, kind: "human" }), "conflict", { reason: "name" });
      const { account } = await fixtures(store).account();
      await fixtures(store).token({ accountId: account.id, name: "ci  a" });
      await fails(fixtures(store).token({ accountId: account.id, name: " ci a" }), "conflict", { reason: "name" });
    });

    test("a list by name finds the rows of every spelling", async ({ store }) => {
      const { id } = await store.runners.register({ name: "build  \uff11" });
      const { items } = await store.runners.list({ name: " build 1" });
      assert.deepEqual(
        items.map((runner) => runner.id),
        [id],
      );
    });

    test("artifacts whose names look alike are one artifact", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const content = { sessionId: session.id, sizeBytes: 1, sha256: "a".repeat(64), uri: "file:///a" };
      const { artifact } = await store.artifacts.record({ ...content, name: "\ufb01le\uff08\u2764\ufe0f\uff09.txt" });
      assert.equal(artifact.name, "file(\u2764).txt");
      const again = await store.artifacts.record({ ...content, name: "fi\u200ble(\u2764).txt" });
      assert.deepEqual([again.artifact.id, again.created], [artifact.id, false]);
    });
  });
}
