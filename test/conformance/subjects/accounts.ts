// Accounts: creating by name, disabling, listing.
import assert from "node:assert/strict";
import { newId } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { endOfFeed, fails, subject } from "../suite.ts";

export function accountsConformance(backend: TestedBackend): void {
  subject(backend, "accounts", ({ test }) => {
    test("create adds an account and a row of changes", async ({ store }) => {
      const after = await endOfFeed(store);
      const name = `Ada ${newId()}`;
      const row = await store.accounts.create({ name, kind: "human" }, { actor: "ada" });
      assert.deepEqual([row.name, row.kind, row.disabledAt, row.version], [name, "human", null, 1]);
      assert.deepEqual(await store.accounts.get({ accountId: row.id }), row);
      const { changes } = await store.changes.since({ after, entity: "account" });
      assert.deepEqual(
        changes.map(({ entityId, op, actor }) => [entityId, op, actor]),
        [[row.id, "create", "ada"]],
      );
    });

    test("a name is unique, ignoring case, and of eight simultaneous creations one succeeds", async ({ store }) => {
      const name = `Ämne ${newId()}`;
      const settled = await Promise.allSettled(
        Array.from({ length: 8 }, (_, index) =>
          store.accounts.create({ name: index % 2 === 0 ? name : name.toUpperCase(), kind: "agent" }),
        ),
      );
      const made = settled.flatMap((one) => (one.status === "fulfilled" ? [one.value.id] : []));
      assert.equal(made.length, 1);
      for (const one of settled) {
        if (one.status === "rejected")
          assert.deepEqual([one.reason.code, one.reason.details], ["conflict", { reason: "name", accountId: made[0] }]);
      }
    });

    test("find ignores case, finds disabled accounts too, and returns undefined for an unknown name", async ({
      store,
    }) => {
      const name = `Ömer ${newId()}`;
      assert.equal(await store.accounts.find({ name }), undefined);
      const { id } = await store.accounts.create({ name, kind: "human" });
      assert.equal((await store.accounts.find({ name: name.toUpperCase() }))?.id, id);
      const disabled = await store.accounts.disable({ accountId: id });
      assert.deepEqual(await store.accounts.find({ name }), disabled);
    });

    test("creating an account with an id that exists is a conflict", async ({ store }) => {
      const { account } = await fixtures(store).account();
      await fails(store.accounts.create({ id: account.id, name: newId(), kind: "human" }), "conflict", {
        reason: "exists",
      });
    });

    test("disable is idempotent, keeps its first timestamp, and checks the expected version", async ({
      store,
      clock,
    }) => {
      const { account } = await fixtures(store).account();
      await fails(store.accounts.disable({ accountId: account.id, expectedVersion: 9 }), "conflict", {
        reason: "version",
        currentVersion: 1,
      });
      const disabled = await store.accounts.disable({ accountId: account.id });
      assert.ok(disabled.disabledAt instanceof Date);
      assert.equal(disabled.version, 2);
      clock.advance(1_000);
      assert.deepEqual(await store.accounts.disable({ accountId: account.id }), disabled);
      await fails(store.accounts.disable({ accountId: newId() }), "not_found", { entity: "account" });
    });

    test("list returns disabled accounts only with includeDisabled", async ({ store }) => {
      const { account } = await fixtures(store).account();
      await store.accounts.disable({ accountId: account.id });
      const ids = async (includeDisabled: boolean) =>
        (await store.accounts.list({ includeDisabled, limit: 500 })).items.map(({ id }) => id);
      assert.deepEqual(
        [(await ids(false)).includes(account.id), (await ids(true)).includes(account.id)],
        [false, true],
      );
    });

    test("an unknown kind and an empty name are refused", async ({ store }) => {
      await fails(store.accounts.create({ name: "x", kind: "robot" as "agent" }), "invalid_input");
      await fails(store.accounts.create({ name: "", kind: "agent" }), "invalid_input");
    });
  });
}
