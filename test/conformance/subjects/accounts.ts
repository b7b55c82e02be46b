// Accounts: creating by name, disabling, listing.
import assert from "node:assert/strict";
import { newId } from "../../../src/index.ts";
import { present } from "../../../src/present.ts";
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
      for (const expectedVersion of [undefined, 1])
        assert.deepEqual(
          await store.accounts.disable({ accountId: account.id, ...present({ expectedVersion }) }),
          disabled,
        );
      await fails(store.accounts.disable({ accountId: newId() }), "not_found", { entity: "account" });
    });

    test("the tokens of a disabled account are refused from the next call on, and work again once it is enabled", async ({
      store,
    }) => {
      const { account } = await fixtures(store).account();
      const accountId = account.id;
      const { secret: token } = await fixtures(store).token({ accountId });
      const revoked = await fixtures(store).token({ accountId });
      await store.tokens.revoke({ tokenId: revoked.token.id });
      const after = await endOfFeed(store);
      for (const version of [2, 4]) {
        const disabled = await store.accounts.disable({ accountId });
        assert.equal(disabled.version, version);
        await fails(store.tokens.verify({ token }), "token_revoked", { reason: "account_disabled" });
        await fails(
          store.tokens.mint({ accountId, name: "n", scopes: ["sessions:read"], createdBy: revoked.token.id }),
          "invalid_transition",
        );
        const enabled = await store.accounts.enable({ accountId });
        assert.deepEqual([enabled.disabledAt, enabled.version], [null, version + 1]);
        assert.equal((await store.tokens.verify({ token })).account.id, accountId);
        const error = await fails(store.tokens.verify({ token: revoked.secret }), "token_revoked");
        assert.ok(error.details.revokedAt instanceof Date);
        assert.deepEqual(await store.accounts.enable({ accountId }), enabled);
      }
      const { changes } = await store.changes.since({ after, entity: "account" });
      assert.deepEqual(
        changes.filter(({ entityId }) => entityId === accountId).map(({ op }) => op),
        ["disable", "enable", "disable", "enable"],
      );
    });

    test("rename gives an account another name, or its own in other letter case", async ({ store }) => {
      const { account } = await fixtures(store).account();
      const { account: other } = await fixtures(store).account();
      const accountId = account.id;
      const after = await endOfFeed(store);
      const name = `Renamed ${newId()}`;
      const renamed = await store.accounts.rename({ accountId, name, expectedVersion: 1 });
      assert.deepEqual([renamed.name, renamed.version], [name, 2]);
      assert.deepEqual(await store.accounts.rename({ accountId, name, expectedVersion: 1 }), renamed);
      assert.equal(await store.accounts.find({ name: account.name }), undefined);
      assert.equal((await store.accounts.create({ name: account.name, kind: "agent" })).version, 1);
      const upper = await store.accounts.rename({ accountId, name: name.toUpperCase() });
      assert.deepEqual(await store.accounts.find({ name }), upper);
      const taken = { reason: "name", accountId: other.id };
      await fails(store.accounts.rename({ accountId, name: other.name.toUpperCase() }), "conflict", taken);
      await fails(store.accounts.rename({ accountId, name: newId(), expectedVersion: 2 }), "conflict", {
        reason: "version",
        currentVersion: 3,
      });
      const { changes } = await store.changes.since({ after, entity: "account" });
      assert.deepEqual(
        changes.filter(({ entityId }) => entityId === accountId).map(({ op, detail }) => [op, detail]),
        [
          ["rename", { changed: { name: { from: account.name, to: name } } }],
          ["rename", { changed: { name: { from: name, to: name.toUpperCase() } } }],
        ],
      );
    });

    test("of eight accounts that are renamed to one name at once, one gets it", async ({ store }) => {
      const accounts = await Promise.all(Array.from({ length: 8 }, () => fixtures(store).account()));
      const name = `Raced ${newId()}`;
      const settled = await Promise.allSettled(
        accounts.map(({ account }) => store.accounts.rename({ accountId: account.id, name })),
      );
      const winners = settled.flatMap((one) => (one.status === "fulfilled" ? [one.value.id] : []));
      assert.equal(winners.length, 1);
      for (const one of settled) {
        if (one.status === "rejected")
          assert.deepEqual(
            [one.reason.code, one.reason.details],
            ["conflict", { reason: "name", accountId: winners[0] }],
          );
      }
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
