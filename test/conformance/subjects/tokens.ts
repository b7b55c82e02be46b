// Tokens: minting within the scopes of another token, secrets that are shown once, verifying, rotating, revoking,
// expiry.
import assert from "node:assert/strict";
import { crc32 } from "node:zlib";
import { type MintedToken, newId, type Scope, type Store } from "../../../src/index.ts";
import { present } from "../../../src/present.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { endOfFeed, fails, subject } from "../suite.ts";

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** A second implementation of the checksum: 6 digits in base 62. */
function withChecksum(head: string): string {
  let value = crc32(head);
  let digits = "";
  for (let place = 0; place < 6; place++) {
    digits = alphabet.charAt(value % 62) + digits;
    value = Math.floor(value / 62);
  }
  return head + digits;
}

export function tokensConformance(backend: TestedBackend): void {
  subject(backend, "tokens", ({ test, alone }) => {
    test("mint returns the token and, once, its secret; the row has neither secret nor hash", async ({ store }) => {
      const { account } = await fixtures(store).account();
      const createdBy = await fixtures(store).adminTokenId();
      const scopes: Scope[] = ["sessions:write", "sessions:read", "sessions:write"];
      const { token, secret } = await store.tokens.mint({
        accountId: account.id,
        name: "laptop",
        scopes,
        ttlMs: 60_000,
        createdBy,
      });
      assert.match(secret as string, /^dsp_[0-9A-Za-z]{48}$/);
      assert.equal(withChecksum((secret as string).slice(0, 46)), secret);
      assert.deepEqual(token.scopes, ["sessions:read", "sessions:write"]);
      assert.deepEqual(
        [token.accountId, token.kind, token.name, token.publicId, token.hint, token.createdBy],
        [account.id, "personal", "laptop", (secret as string).slice(4, 14), (secret as string).slice(0, 8), createdBy],
      );
      assert.equal(token.expiresAt?.getTime(), token.createdAt.getTime() + 60_000);
      const { items } = await store.tokens.list({ accountId: account.id });
      assert.deepEqual(items, [token]);
      assert.ok(!Object.keys(token).some((field) => /sha|secret/i.test(field)));
      const runner = await fixtures(store).token({ kind: "runner" });
      assert.match(runner.secret, /^dsr_/);
    });

    test("verify returns the account of a token", async ({ store }) => {
      const { account } = await fixtures(store).account({ kind: "agent" });
      const { token, secret } = await fixtures(store).token({
        accountId: account.id,
        scopes: ["commands:read", "artifacts:read"],
      });
      assert.deepEqual(await store.tokens.verify({ token: secret, scopes: ["artifacts:read"] }), {
        tokenId: token.id,
        kind: "personal",
        scopes: ["commands:read", "artifacts:read"],
        repositoryIds: null,
        sessionId: null,
        expiresAt: null,
        account: { id: account.id, name: account.name, kind: "agent" },
      });
    });

    test("admin covers every scope and excludes others; write scopes do not include read scopes", async ({ store }) => {
      const given = fixtures(store);
      const admin = await given.token({ scopes: ["tokens:read", "admin"] });
      assert.deepEqual(admin.token.scopes, ["admin"]);
      await store.tokens.verify({ token: admin.secret, scopes: ["debug:write", "admin"] });
      const writer = await given.token({ scopes: ["sessions:write"] });
      await fails(
        store.tokens.verify({ token: writer.secret, scopes: ["sessions:write", "sessions:read"] }),
        "scope_missing",
        { missing: ["sessions:read"] },
      );
      await fails(store.tokens.verify({ token: writer.secret, scopes: ["admin"] }), "scope_missing");
    });

    test("a token without scopes, or with an unknown scope, is refused", async ({ store }) => {
      const { account } = await fixtures(store).account();
      const base = { accountId: account.id, name: "none", createdBy: await fixtures(store).adminTokenId() };
      for (const scopes of [
        [],
        ["everything"],
        ["admin:read"],
        "admin",
        undefined,
        ["sessions:read", null],
        ["sessions"],
      ]) {
        await fails(store.tokens.mint({ ...base, scopes: scopes as Scope[] }), "invalid_input");
      }
      assert.deepEqual((await store.tokens.list({ accountId: account.id })).items, []);
    });

    test("a token mints only scopes that it covers, only while it is live, and not for a disabled account", async ({
      store,
      clock,
    }) => {
      const given = fixtures(store);
      const { account } = await given.account();
      const creator = await given.token({ scopes: ["sessions:read", "tokens:write"], ttlMs: 60_000 });
      const mint = (scopes: Scope[], createdBy = creator.token.id) =>
        store.tokens.mint({ accountId: account.id, name: newId(), scopes, createdBy });
      assert.deepEqual((await mint(["sessions:read"])).token.createdBy, creator.token.id);
      await fails(mint(["sessions:read", "sessions:write"]), "scope_missing", { missing: ["sessions:write"] });
      await fails(mint(["admin"]), "scope_missing", { missing: ["admin"] });
      clock.advance(60_000);
      await fails(mint(["sessions:read"]), "token_expired");
      const revoked = await given.token();
      await store.tokens.revoke({ tokenId: revoked.token.id });
      await fails(mint(["sessions:read"], revoked.token.id), "token_revoked");
      await fails(mint(["sessions:read"], newId()), "not_found", { entity: "token" });
      await store.accounts.disable({ accountId: account.id });
      await fails(mint(["sessions:read"], await given.adminTokenId()), "invalid_transition", { state: "disabled" });
    });

    test("a token without tokens:write mints no tokens, and no token outlives the one that minted it", async ({
      store,
    }) => {
      const given = fixtures(store);
      const { account } = await given.account();
      const mint = (createdBy: string, ttlMs?: number) =>
        store.tokens.mint({
          accountId: account.id,
          name: newId(),
          scopes: ["sessions:read"],
          createdBy,
          ...present({ ttlMs }),
        });
      const reader = await given.token({ scopes: ["sessions:read"] });
      await fails(mint(reader.token.id), "scope_missing", { missing: ["tokens:write"] });
      const { token: short } = await given.token({ scopes: ["admin"], ttlMs: 60_000 });
      assert.deepEqual((await mint(short.id)).token.expiresAt, short.expiresAt);
      assert.deepEqual((await mint(short.id, 3_600_000)).token.expiresAt, short.expiresAt);
      const { token: shorter } = await mint(short.id, 2_000);
      assert.equal((shorter.expiresAt?.getTime() ?? 0) - shorter.createdAt.getTime(), 2_000);
    });

    test("text that is not a token is token_malformed; an unknown token, or the secret of another one, is token_unknown", async ({
      store,
    }) => {
      const { secret } = await fixtures(store).token();
      const other = await fixtures(store).token();
      const swapped = secret.slice(0, 20) + (secret[20] === "A" ? "B" : "A") + secret.slice(21);
      const malformed = [
        "",
        "x",
        secret.slice(1),
        `${secret} `,
        ` ${secret}`,
        secret.toLowerCase(),
        swapped,
        `${secret.slice(0, -1)}-`,
        secret.replace("dsp_", "dsr_"),
      ];
      for (const token of [...malformed, `Bearer ${secret}`, "x".repeat(1_000_000), "dsp_\u0000"]) {
        const error = await fails(store.tokens.verify({ token }), "token_malformed", {}, "not_run");
        assert.ok(
          token === "" || token.length < 3 || !JSON.stringify(error).includes(token),
          "the text is not in the error",
        );
      }
      for (const head of [
        `dsp_${"0".repeat(42)}`,
        // The public id of one token with the secret of another.
        `${secret.slice(0, 14)}${other.secret.slice(14, 46)}`,
        // The prefix of another kind of token.
        `dsr_${secret.slice(4, 46)}`,
      ]) {
        await fails(store.tokens.verify({ token: withChecksum(head) }), "token_unknown", {}, "not_run");
      }
      await fails(store.tokens.verify({ token: 7 as never }), "invalid_input");
    });

    test("a revoked token is refused from the next call on, keeps its first timestamp and reason, and frees its name", async ({
      store,
      clock,
    }) => {
      const { token, secret } = await fixtures(store).token();
      await store.tokens.verify({ token: secret });
      const row = await store.tokens.revoke({ tokenId: token.id, reason: "lost" });
      await fails(store.tokens.verify({ token: secret }), "token_revoked", {}, "not_run");
      assert.deepEqual([row.revokedReason, row.version], ["lost", 2]);
      clock.advance(5_000);
      assert.deepEqual(await store.tokens.revoke({ tokenId: token.id, reason: "again" }), row);
      const again = await fixtures(store).token({ accountId: token.accountId, name: token.name });
      assert.equal(again.token.name, token.name);
      await fails(store.tokens.revoke({ tokenId: newId() }), "not_found");
    });

    test("an account has at most one live token of a name", async ({ store }) => {
      const { token } = await fixtures(store).token();
      await fails(fixtures(store).token({ accountId: token.accountId, name: token.name }), "conflict", {
        reason: "name",
      });
      await fixtures(store).token({ name: token.name });
    });

    test("a token expires to the millisecond", async ({ store, clock }) => {
      const { secret } = await fixtures(store).token({ ttlMs: 60_000 });
      clock.advance(30_000);
      await store.tokens.verify({ token: secret });
      clock.advance(30_000);
      const error = await fails(store.tokens.verify({ token: secret }), "token_expired");
      assert.ok(error.details.expiredAt instanceof Date);
    });

    test("the tokens of a disabled account are refused", async ({ store }) => {
      const { token, secret } = await fixtures(store).token();
      await store.accounts.disable({ accountId: token.accountId });
      await fails(store.tokens.verify({ token: secret }), "token_revoked", { reason: "account_disabled" });
    });

    test("rotate returns a new secret, and the old one works for the grace period", async ({ store, clock }) => {
      const old = await fixtures(store).token({ kind: "runner", scopes: ["commands:write"], ttlMs: 100_000 });
      const { token, secret } = await store.tokens.rotate({ tokenId: old.token.id, graceMs: 40_000 });
      assert.match(secret as string, /^dsr_/);
      assert.deepEqual(
        [token.accountId, token.name, token.kind, token.scopes, token.createdBy],
        [old.token.accountId, old.token.name, "runner", ["commands:write"], old.token.createdBy],
      );
      assert.equal((token.expiresAt?.getTime() ?? 0) - token.createdAt.getTime(), 100_000);
      const [before] = (await store.tokens.list({ accountId: token.accountId })).items;
      assert.deepEqual([before?.rotatedTo, before?.version], [token.id, 2]);
      clock.advance(20_000);
      assert.equal((await store.tokens.verify({ token: old.secret })).tokenId, old.token.id);
      assert.equal((await store.tokens.verify({ token: secret as string })).tokenId, token.id);
      clock.advance(20_000);
      await fails(store.tokens.verify({ token: old.secret }), "token_expired");
      await store.tokens.verify({ token: secret as string });
      await fails(store.tokens.rotate({ tokenId: old.token.id }), "conflict", {
        reason: "rotated",
        rotatedTo: token.id,
      });
    });

    test("an expired token gives up its name, and cannot be rotated", async ({ store, clock }) => {
      const given = fixtures(store);
      const { account } = await given.account();
      const input = { accountId: account.id, name: "ci" };
      const expired = await given.token({ ...input, ttlMs: 1_000 });
      await fails(given.token(input), "conflict", { reason: "name" });
      clock.advance(1_000);
      const next = await given.token({ ...input, ttlMs: 1_000 });
      await fails(given.token(input), "conflict", { reason: "name" });
      clock.advance(1_000);
      const last = await given.token(input);
      await fails(given.token(input), "conflict", { reason: "name" });
      for (const { secret } of [expired, next]) await fails(store.tokens.verify({ token: secret }), "token_expired");
      assert.equal((await store.tokens.verify({ token: last.secret })).tokenId, last.token.id);
      const error = await fails(store.tokens.rotate({ tokenId: expired.token.id }), "token_expired");
      assert.match(error.message, /create a new one/);
      const rows = (await store.tokens.list({ accountId: account.id })).items;
      assert.deepEqual(
        rows.map(({ version, revokedAt }) => [version, revokedAt]),
        Array(3).fill([1, null]),
        "giving up a name is no change that callers see",
      );
    });

    test("a grace period does not outlive the token, and a token that has ended is not rotated", async ({
      store,
      clock,
    }) => {
      const given = fixtures(store);
      const short = await given.token({ ttlMs: 30_000 });
      await store.tokens.rotate({ tokenId: short.token.id, graceMs: 60_000, ttlMs: 60_000 });
      clock.advance(30_000);
      await fails(store.tokens.verify({ token: short.secret }), "token_expired");
      const expired = await given.token({ ttlMs: 1_000 });
      const revoked = await given.token();
      await store.tokens.revoke({ tokenId: revoked.token.id });
      clock.advance(1_000);
      await fails(store.tokens.rotate({ tokenId: expired.token.id }), "token_expired");
      await fails(store.tokens.rotate({ tokenId: revoked.token.id }), "token_revoked");
      await fails(store.tokens.rotate({ tokenId: newId() }), "not_found");
      const live = await given.token();
      await fails(store.tokens.rotate({ tokenId: live.token.id, expectedVersion: 3 }), "conflict", {
        reason: "version",
      });
    });

    test("mint, verify and rotate work within atomically, and each call gets its own secret", async ({ store }) => {
      const given = fixtures(store);
      const { account } = await given.account();
      const known = await given.token();
      const base = {
        accountId: account.id,
        scopes: ["sessions:read"] as Scope[],
        createdBy: await given.adminTokenId(),
      };
      const [one, whose, two] = await store.atomically<[MintedToken, { tokenId: string }, MintedToken]>((tx) => {
        tx.tokens.mint({ ...base, name: "one" });
        tx.tokens.verify({ token: known.secret });
        tx.tokens.mint({ ...base, name: "two", kind: "runner" });
      });
      assert.equal(whose.tokenId, known.token.id);
      for (const { token, secret } of [one, two])
        assert.equal((await store.tokens.verify({ token: secret as string })).tokenId, token.id);
    });

    test("changes record what happened to a token, and contain no part of its secret", async ({ store }) => {
      const after = await endOfFeed(store);
      const { token, secret } = await fixtures(store).token();
      const rotated = await store.tokens.rotate({ tokenId: token.id });
      await store.tokens.revoke({ tokenId: token.id, reason: "done" });
      const { changes } = await store.changes.since({ after, entity: "token" });
      const own = changes.filter(({ entityId }) => entityId === token.id || entityId === rotated.token.id);
      assert.deepEqual(
        own.map(({ entityId, op, entityVersion }) => [entityId === token.id, op, entityVersion]),
        [
          [true, "mint", 1],
          [true, "rotate", 2],
          [false, "mint", 1],
          [true, "revoke", 3],
        ],
      );
      assert.ok(!JSON.stringify(changes).includes(secret.slice(14, 46)));
    });

    alone(
      "of eight simultaneous bootstrapAdmin calls one succeeds, and later calls fail while its token is live",
      async ({ store, clock }) => {
        const settled = await Promise.allSettled(
          Array.from({ length: 8 }, (_, index) =>
            store.tokens.bootstrapAdmin({ accountName: `root ${index % 2}`, ttlMs: 200_000 }),
          ),
        );
        const won = settled.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
        assert.equal(won.length, 1);
        for (const one of settled)
          if (one.status === "rejected")
            assert.deepEqual([one.reason.code, one.reason.details], ["conflict", { reason: "admin_exists" }]);
        const [{ token, secret } = assert.fail()] = won;
        assert.deepEqual([token.scopes, token.createdBy], [["admin"], null]);
        assert.equal((await store.tokens.verify({ token: secret as string, scopes: ["admin"] })).account.kind, "human");
        await fails(store.tokens.bootstrapAdmin(), "conflict", { reason: "admin_exists" });
        clock.advance(200_000);
        const second = await store.tokens.bootstrapAdmin({ name: "second" });
        await store.tokens.revoke({ tokenId: second.token.id });
        const third = await store.tokens.bootstrapAdmin({ name: "third" });
        await store.accounts.disable({ accountId: third.token.accountId });
        await fails(store.tokens.bootstrapAdmin({ name: "fourth" }), "invalid_transition", { state: "disabled" });
        await store.tokens.bootstrapAdmin({ accountName: "another account" });
      },
    );

    alone("of two clients that call bootstrapAdmin at once, one succeeds", async (opened) => {
      const other = await opened.connect();
      const settled = await Promise.allSettled([opened.store.tokens.bootstrapAdmin(), other.tokens.bootstrapAdmin()]);
      assert.deepEqual(settled.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
      await other.close();
    });

    alone(
      "verify writes nothing, and many times of last use are written together later",
      async ({ store, clock }) => {
        const given = fixtures(store);
        const { token, secret } = await given.token();
        const other = await given.token();
        const rowOf = async ({ id, accountId }: typeof token) =>
          (await store.tokens.list({ accountId })).items.find((row) => row.id === id);
        // The first uses are written soon. The second token fills the batch.
        await store.tokens.verify({ token: secret });
        await store.tokens.verify({ token: other.secret });
        let first = await rowOf(token);
        while (first?.lastUsedAt === null) first = await rowOf(token);
        const { commits } = (await store.maintenance.stats()).serving;
        clock.advance(1_000);
        for (let n = 0; n < 50; n++) await store.tokens.verify({ token: secret });
        await fails(store.tokens.verify({ token: secret, scopes: ["admin"] }), "scope_missing");
        assert.deepEqual([await rowOf(token), (await store.maintenance.stats()).serving.commits], [first, commits]);
        await store.tokens.verify({ token: other.secret });
        let used = await rowOf(token);
        while (used?.lastUsedAt?.getTime() === first?.lastUsedAt?.getTime()) used = await rowOf(token);
        assert.ok((used?.lastUsedAt?.getTime() ?? 0) >= token.createdAt.getTime() + 1_000);
        assert.equal(used?.version, 1, "a use is no change");
        assert.equal((await store.maintenance.stats()).serving.commits, (commits ?? 0) + 1);
      },
      { limits: { lastUsedTokens: 2 } },
    );

    alone(
      "times of last use are written in time, and before the store closes",
      async (opened) => {
        const { token, secret } = await fixtures(opened.store).token();
        const read = async (store: Store) =>
          (await store.tokens.list({ accountId: token.accountId })).items[0]?.lastUsedAt ?? null;
        await opened.store.tokens.verify({ token: secret });
        assert.equal(await read(opened.store), null);
        await opened.reopen();
        assert.ok((await read(opened.store)) instanceof Date);
      },
      { needs: "persists" },
    );
  });
}
