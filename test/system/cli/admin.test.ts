// debug-server-db admin on both engines: accounts and tokens. A secret is printed alone on stdout, or into a file that
// only its owner can read.
import assert from "node:assert/strict";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite, type TestContext, test } from "node:test";
import { runnerScopes } from "../../../src/http/index.ts";
import type { Token } from "../../../src/index.ts";
import { dropDatabase, newDatabase } from "../../support/postgres.ts";
import { type RunOptions, run, withStore, workingFolder } from "./commandLine.ts";

const secretPattern = /^ds[pr]_[0-9A-Za-z]{48}\n$/;
const idPattern = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/;

const engines = {
  SQLite: async (t: TestContext) => workingFolder(t, { init: false }),
  PostgreSQL: async (t: TestContext) => {
    const url = await newDatabase();
    t.after(() => dropDatabase(url));
    return { ...workingFolder(t, { init: false }), url };
  },
} as const;

for (const [engine, open] of Object.entries(engines)) {
  suite(`admin on ${engine}`, () => {
    test("a token for repositories reaches these, and the list says so", async (t) => {
      const { folder, url } = await open(t);
      const env = { DEBUG_SERVER_DB_URL: url };
      assert.equal((await run(folder, ["migrate", "upgrade", "head"], { env })).code, 0);
      const create = ["admin", "create-token", "--user", "app", "--scopes", "sessions:read", "--repository"];
      const unknown = await run(folder, [...create, "demo"], { env });
      assert.deepEqual([unknown.code, unknown.stdout], [1, ""]);
      assert.match(unknown.stderr, /there is no repository demo/);
      const ids = await withStore(url, async (store) => {
        const named = ["demo", "other"].map((name) => store.repositories.upsert({ name }));
        return (await Promise.all(named)).map(({ id }) => id);
      });
      const made = await run(folder, [...create, "demo", ids[1] as string], { env });
      await withStore(url, async (store) => {
        const { repositoryIds } = await store.tokens.verify({ token: made.stdout.trim() });
        assert.deepEqual(repositoryIds, ids.toSorted());
      });
      const listed = await run(folder, ["admin", "list-tokens", "--user", "app"], { env });
      assert.match(listed.stdout, new RegExp(ids.toSorted().join(" ")));
    });

    test("a token for a runner covers what a runner needs, unless other scopes are named", async (t) => {
      const { folder, url } = await open(t);
      const env = { DEBUG_SERVER_DB_URL: url };
      assert.equal((await run(folder, ["migrate", "upgrade", "head"], { env })).code, 0);
      const create = ["admin", "create-token", "--user", "ci", "--kind", "runner"];
      const made = [
        await run(folder, create, { env }),
        await run(folder, [...create, "--scopes", "logs:read"], { env }),
      ];
      await withStore(url, async (store) => {
        const covered = await Promise.all(made.map(({ stdout }) => store.tokens.verify({ token: stdout.trim() })));
        assert.deepEqual(
          covered.map(({ scopes }) => scopes.toSorted()),
          [runnerScopes.toSorted(), ["logs:read"]],
        );
      });
    });

    test("the first commands of a store create it and print the secret of a token alone, and may be repeated", async (t) => {
      const { folder, url } = await open(t);
      const env = { DEBUG_SERVER_DB_URL: url };
      const upgrade = ["migrate", "upgrade", "head"];
      const create = ["admin", "create-token", "--user", "ops"];
      const secrets = new Set<string>();
      for (let time = 1; time <= 2; time++) {
        const upgraded = await run(folder, upgrade, { env });
        assert.equal(upgraded.code, 0, upgraded.stderr);
        // As scripts do: several at once.
        for (const { code, stdout, stderr } of await Promise.all([
          run(folder, create, { env }),
          run(folder, create, { env }),
        ])) {
          assert.equal(code, 0, stderr);
          assert.match(stdout, secretPattern);
          assert.match(stderr, /^Token cli-\S+ of ops, id /);
          secrets.add(stdout.trim());
        }
      }
      assert.equal(secrets.size, 4);
      await withStore(url, async (store) => {
        const { items: accounts } = await store.accounts.list();
        assert.deepEqual(
          accounts.map(({ name, kind }) => [name, kind]),
          [["ops", "human"]],
        );
        for (const secret of secrets) {
          const { scopes } = await store.tokens.verify({ token: secret });
          assert.ok(scopes.length > 5 && scopes.every((scope) => scope.endsWith(":read")));
        }
        const { items: tokens } = await store.tokens.list();
        const names = tokens.filter(({ revokedAt }) => revokedAt === null).map(({ name }) => name.slice(14));
        assert.deepEqual(names.toSorted(), ["", "-2", "-3", "-4"]);
        // What issued them covers everything, and nobody can use it any more.
        assert.ok(tokens.every(({ scopes, revokedAt }) => !scopes.includes("admin") || revokedAt !== null));
      });
      // So the first admin token can still be created, in either way.
      const admin = await run(folder, [...create, "--name", "root", "--scopes", "admin"], { env });
      assert.deepEqual([admin.code, secretPattern.test(admin.stdout)], [0, true], admin.stderr);
      assert.match((await run(folder, ["admin", "seed"], { env })).stderr, /already exists/);
      const more = await run(folder, ["admin", "create-token", "--user", "ci"], { env });
      assert.equal(more.code, 0, more.stderr);
      await withStore(url, async (store) => {
        const { items: tokens } = await store.tokens.list();
        const root = tokens.find(({ name }) => name === "root");
        const ofCi = await store.tokens.verify({ token: more.stdout.trim() });
        assert.equal(tokens.find(({ id }) => id === ofCi.tokenId)?.createdBy, root?.id);
      });
    });

    test("beside a server, admin seeds, issues, rotates and revokes tokens, and disables an account", async (t) => {
      const { folder, url } = await open(t);
      const admin = (args: readonly string[], options?: RunOptions) =>
        run(folder, ["admin", ...args, "--url", url], options);
      const seeded = await admin(["seed", "--out", join(folder, "admin.token")]);
      assert.deepEqual([seeded.code, seeded.stdout], [0, ""], seeded.stderr);
      const adminSecret = readFileSync(join(folder, "admin.token"), "utf8");
      assert.match(adminSecret, secretPattern);
      assert.match(seeded.stderr, /^Admin token bootstrap of admin, id [\da-f-]{36}; does not expire\n$/);
      const nothingDone = { code: 0, stdout: "", stderr: "An admin token already exists: nothing was done.\n" };
      assert.deepEqual(await admin(["seed"]), nothingDone);
      assert.deepEqual(await admin(["seed", "--out", join(folder, "admin.token")]), nothingDone);
      assert.equal(readFileSync(join(folder, "admin.token"), "utf8"), adminSecret);

      await withStore(url, async (store) => {
        const who = await store.tokens.verify({ token: adminSecret.trim(), scopes: ["tokens:write"] });
        assert.equal(who.account.name, "admin");

        const made = await admin(["create-token", "--user", "ops"]);
        assert.deepEqual([made.code, secretPattern.test(made.stdout)], [0, true], made.stderr);
        const ops = await store.tokens.verify({ token: made.stdout.trim() });
        assert.deepEqual(
          [ops.account.name, ops.account.kind, ops.kind, ops.expiresAt],
          ["ops", "human", "personal", null],
        );
        assert.ok(ops.scopes.length > 5 && ops.scopes.every((scope) => scope.endsWith(":read")));
        const { items } = await store.tokens.list({ accountId: ops.account.id });
        assert.match(items[0]?.name ?? "", /^cli-\d{4}-\d\d-\d\d$/);

        const file = join(folder, "ci.token");
        const args = [
          "create-token",
          "--user",
          "ci",
          "--name",
          "nightly",
          "--kind",
          "runner",
          "--scopes",
          "commands:write, artifacts:write",
          "--expires-in",
          "30d",
        ];
        const filed = await admin([...args, "--out", file]);
        assert.deepEqual([filed.code, filed.stdout, statSync(file).mode & 0o777], [0, "", 0o600]);
        assert.match(readFileSync(file, "utf8"), secretPattern);
        assert.ok(!filed.stderr.includes(readFileSync(file, "utf8").trim()));
        const ci = await store.tokens.verify({ token: readFileSync(file, "utf8").trim() });
        assert.deepEqual(
          [ci.account.kind, ci.kind, ci.scopes],
          ["runner", "runner", ["commands:write", "artifacts:write"]],
        );
        assert.ok(Math.abs((ci.expiresAt?.getTime() ?? 0) - Date.now() - 30 * 86_400_000) < 60_000);

        const taken = await admin([...args.with(2, "other"), "--out", file]);
        assert.deepEqual([taken.code, taken.stderr], [1, `debug-server-db: ${file} exists: name a new file\n`]);
        assert.equal(await store.accounts.find({ name: "other" }), undefined);

        const rotated = await admin(["rotate-token", ci.tokenId, "--grace", "0s", "--json"]);
        const { token: next, secret } = JSON.parse(rotated.stdout) as { token: Token; secret: string };
        assert.equal(next.name, "nightly");
        await assert.rejects(store.tokens.verify({ token: readFileSync(file, "utf8").trim() }), {
          code: "token_expired",
        });
        assert.equal((await store.tokens.verify({ token: secret })).tokenId, next.id);

        const revoked = await admin(["revoke-token", next.id, "--reason", "a test"]);
        assert.match(revoked.stdout, /^revoked +nightly\nid +[\da-f-]{36}\nat +\S+Z\nreason +a test\n$/);
        await assert.rejects(store.tokens.verify({ token: secret }), { code: "token_revoked" });

        const disabled = await admin(["disable-account", "OPS", "--json"]);
        assert.notEqual(JSON.parse(disabled.stdout).disabledAt, null);
        await assert.rejects(store.tokens.verify({ token: made.stdout.trim() }), { code: "token_revoked" });
        const { changes } = await store.changes.since();
        assert.ok(changes.filter(({ op }) => op !== "register").every(({ actor }) => actor?.startsWith("cli:")));
      });

      const table = await admin(["list-tokens"]);
      assert.match(table.stdout, /^id +account +name +begins +kind +state +expires +last used +reaches +scopes\n/);
      assert.match(table.stdout, /admin +bootstrap +dsp_\w{4} +personal +live/);
      assert.match(table.stdout, /ci +nightly +dsr_\w{4} +runner +revoked/);
      assert.doesNotMatch(table.stdout, /ds[pr]_\w{5}/);
      const lines = (await admin(["list-tokens", "--user", "ci", "--json"])).stdout.trim().split("\n");
      assert.deepEqual(
        lines.map((line) => (JSON.parse(line) as Token).name),
        ["nightly", "nightly"],
      );
      const accounts = await admin(["list-accounts", "--all", "--quiet"]);
      assert.match(accounts.stdout, /ops +human +disabled/);
      assert.equal(accounts.stderr, "");
      const account = await admin(["create-account", "agent-7", "--kind", "agent"]);
      assert.match(account.stdout, /^account +agent-7\nkind +agent\nid +\S+\n$/);
      assert.deepEqual((await admin(["create-account", "Agent-7"])).code, 1);
      assert.match((await admin(["enable-account", "OPS"])).stdout, /^enabled +ops\nid +\S+\n$/);
      assert.match((await admin(["list-accounts"])).stdout, /ops +human +live/);
      assert.match(
        (await admin(["rename-account", "ops", "Operations"])).stdout,
        /^account +Operations\nkind +human\n/,
      );
      const taken = await admin(["rename-account", "operations", "AGENT-7"]);
      assert.deepEqual([taken.code, taken.stdout], [1, ""]);
      assert.match(taken.stderr, /another account has the name AGENT-7: choose another one/);
    });
  });
}

suite("admin, mistakes", { concurrency: 2 }, () => {
  test("admin fails without a database, an admin token, or the named account or token", async (t) => {
    const { folder, url } = workingFolder(t, { init: false });
    const absent = await run(folder, ["admin", "create-token", "--user", "ops", "--url", url]);
    assert.equal(absent.code, 1);
    assert.match(
      absent.stderr,
      /does not exist: run debug-server-db migrate upgrade head --url sqlite:\S+metadata\.db\n$/,
    );
    assert.ok(!existsSync(join(folder, ".artifacts")));
    await run(folder, ["admin", "seed", "--expires-in", "1s", "--url", url]);
    await withStore(url, async (store) => {
      const [token] = (await store.tokens.list()).items;
      await store.tokens.revoke({ tokenId: token?.id as string });
    });
    const taken = join(folder, "taken");
    writeFileSync(taken, "");
    const unseeded = await run(folder, ["admin", "seed", "--out", taken, "--url", url]);
    assert.deepEqual([unseeded.code, unseeded.stderr], [1, `debug-server-db: ${taken} exists: name a new file\n`]);
    assert.equal((await run(folder, ["admin", "seed", "--url", url])).code, 0);
    assert.deepEqual((await run(folder, ["admin", "disable-account", "unknown", "--url", url])).code, 1);
    assert.deepEqual(
      (await run(folder, ["admin", "revoke-token", "01890a5d-ac96-774b-bcce-b302099a8057", "--url", url])).code,
      1,
    );
  });

  test("a token in an argument is rejected and not printed; a token in the environment issues the new ones", async (t) => {
    const { folder, url } = workingFolder(t, { init: false });
    const { stdout } = await run(folder, ["admin", "seed", "--url", url]);
    const secret = stdout.trim();
    for (const args of [
      ["revoke-token", secret],
      ["rotate-token", secret],
      ["disable-account", secret],
    ]) {
      const ended = await run(folder, ["admin", ...args, "--url", url]);
      assert.notEqual(ended.code, 0);
      assert.ok(!(ended.stdout + ended.stderr).includes(secret), ended.stderr);
    }
    const weak = await run(folder, [
      "admin",
      "create-token",
      "--user",
      "ops",
      "--scopes",
      "tokens:write",
      "--url",
      url,
    ]);
    // As a file with CRLF has it.
    const env = { DEBUG_SERVER_DB_TOKEN: ` ${weak.stdout.trim()}\r\n` };
    const refused = await run(
      folder,
      ["admin", "create-token", "--user", "ops", "--name", "more", "--scopes", "admin", "--url", url],
      { env },
    );
    assert.deepEqual([refused.code, refused.stdout], [1, ""]);
    assert.match(refused.stderr, /creating this token needs admin, which token \S+ does not cover/);
    const within = await run(
      folder,
      ["admin", "create-token", "--user", "ops", "--name", "same", "--scopes", "tokens:write", "--url", url],
      { env },
    );
    assert.equal(within.code, 0);
    const wrong = await run(folder, ["admin", "create-token", "--user", "ops", "--url", url], {
      env: { DEBUG_SERVER_DB_TOKEN: "dsp_nonsense" },
    });
    assert.deepEqual([wrong.code, wrong.stderr.includes("nonsense")], [1, false]);
    assert.match(wrong.stderr, /^debug-server-db: DEBUG_SERVER_DB_TOKEN: /);
    const blank = await run(folder, ["admin", "create-token", "--user", "ops", "--url", url], {
      env: { DEBUG_SERVER_DB_TOKEN: "\r" },
    });
    assert.equal(blank.code, 0, blank.stderr);
  });

  const usage: readonly (readonly [args: readonly string[], pattern: RegExp])[] = [
    [["create-tokn"], /unknown command 'create-tokn'\n\(Did you mean create-token\?\)/],
    [["create-token"], /required option '--user <name>' not specified/],
    [["create-token", "--user", "x", "--scope", "admin"], /unknown option '--scope'\n\(Did you mean --scopes\?\)/],
    [
      ["create-token", "--user", "x", "--scopes", "sessions:reed"],
      /there is no scope sessions:reed; known are admin, /,
    ],
    [["create-token", "--user", "x", "--kind", "robot"], /Allowed choices are personal, runner/],
    [
      ["create-token", "--user", "x", "--expires-in", "30"],
      /Expected a number with its unit \(s, m, h, d or w\), from 1s to 3650d, such as 30d/,
    ],
    [["create-token", "--user", "x", "--expires-in", "99999d"], /Expected a number with its unit/],
    [["revoke-token", "x"], /tokenId/],
    [["list-tokens", "--limit", "0"], /Expected a whole number from 1/],
    [["list-tokens", "--cursor", "x"], /must be the nextCursor of an earlier page/],
  ];
  for (const [args, pattern] of usage) {
    test(`admin ${args.join(" ")} is a usage error`, async (t) => {
      const { folder, url } = workingFolder(t, { init: false });
      if (args[0] === "revoke-token" || args[0] === "list-tokens") await run(folder, ["admin", "seed", "--url", url]);
      const { code, stdout, stderr } = await run(folder, [
        "admin",
        ...args,
        ...(args[0] === "create-tokn" ? [] : ["--url", url]),
      ]);
      assert.match(stderr, pattern);
      assert.deepEqual([code, stdout], [2, ""]);
    });
  }

  test("the file for a secret is removed when no secret was created", async (t) => {
    const { folder, url } = workingFolder(t, { init: false });
    await run(folder, ["admin", "seed", "--url", url]);
    const out = join(folder, "x.token");
    const args = ["admin", "create-token", "--user", "ops", "--name", "one", "--url", url];
    assert.equal((await run(folder, args)).code, 0);
    assert.equal((await run(folder, [...args, "--out", out])).code, 1);
    assert.ok(!existsSync(out));
    writeFileSync(out, "mine");
    assert.equal((await run(folder, [...args.with(5, "two"), "--out", out])).code, 1);
    assert.equal(readFileSync(out, "utf8"), "mine");
  });

  test("messages contain whole ids, which can be copied", async (t) => {
    const { folder, url } = workingFolder(t, { init: false });
    assert.match((await run(folder, ["admin", "seed", "--url", url])).stderr, idPattern);
  });
});
