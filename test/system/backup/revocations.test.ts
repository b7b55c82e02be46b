// Tokens and accounts that ended after a backup do not come back to life with it, unless that is asked for.
import assert from "node:assert/strict";
import { copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import Database from "better-sqlite3";
import { newId, type OwnedStore, openStore } from "../../../src/index.ts";
import { restoreSqlite } from "../../../src/sqlite/restore.ts";
import { wrongCountersAt } from "../../support/counters.ts";
import { assertSound } from "../../support/sound.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { run } from "../cli/commandLine.ts";

interface Prepared {
  readonly folder: string;
  readonly path: string;
  readonly url: string;
  readonly backup: string;
  readonly secrets: Readonly<Record<string, string>>;
  readonly tokens: Readonly<Record<string, string>>;
  /** Restores, and returns what became of each secret: "valid", or the code of the error. */
  restore(keepRevocations?: boolean): Promise<{
    readonly restored: ReturnType<typeof restoreSqlite>;
    readonly states: Readonly<Record<string, string>>;
  }>;
}

/** Opens the store of a file for some calls, and checks its counters afterwards. */
async function withStore<Result>(url: string, work: (store: OwnedStore) => Promise<Result>): Promise<Result> {
  const store = await openStore({ url, migrate: "never" });
  try {
    return await work(store);
  } finally {
    await store.close();
    assert.deepEqual(await wrongCountersAt(url), []);
  }
}

/** Makes tokens, then a backup, and then ends some of them. */
async function prepare(): Promise<Prepared> {
  const folder = temporaryFolder();
  const path = join(folder, "store.db");
  const url = `sqlite:${path}`;
  const store = await openStore({ url });
  const secrets: Record<string, string> = {};
  const tokens: Record<string, string> = {};
  const keep = (name: string, { token, secret }: { token: { id: string }; secret: string | undefined }) => {
    secrets[name] = secret as string;
    tokens[name] = token.id;
  };
  keep("root", await store.tokens.bootstrapAdmin());
  const createdBy = tokens.root as string;
  const mint = async (name: string, accountId: string) =>
    keep(name, await store.tokens.mint({ accountId, name, scopes: ["sessions:read"], createdBy }));
  const ada = await store.accounts.create({ name: "ada", kind: "human" });
  const bob = await store.accounts.create({ name: "bob", kind: "human" });
  for (const name of ["live", "revoked", "rotated", "twice", "before"]) await mint(name, ada.id);
  await mint("disabled", bob.id);
  await store.tokens.revoke({ tokenId: tokens.before as string });
  const { path: backup } = await store.backup({ path: join(folder, "backup.db") });

  await store.tokens.revoke({ tokenId: tokens.revoked as string, reason: "laptop lost" });
  keep("rotated+1", await store.tokens.rotate({ tokenId: tokens.rotated as string, graceMs: 0 }));
  keep("twice+1", await store.tokens.rotate({ tokenId: tokens.twice as string, graceMs: 3_600_000 }));
  keep("twice+2", await store.tokens.rotate({ tokenId: tokens["twice+1"] as string, graceMs: 0 }));
  await store.accounts.disable({ accountId: bob.id });
  // What is made after the backup is gone with it.
  await mint("later", ada.id);
  await store.close();
  return {
    folder,
    path,
    url,
    backup,
    secrets,
    tokens,
    async restore(keepRevocations = true) {
      const restored = restoreSqlite({ backup, path, keep: true, keepRevocations });
      return { restored, states: await statesOf(url, secrets) };
    },
  };
}

async function statesOf(url: string, secrets: Readonly<Record<string, string>>): Promise<Record<string, string>> {
  return await withStore(url, async (opened) => {
    const states = Object.entries(secrets).map(async ([name, token]) => {
      const state = await opened.tokens.verify({ token }).then(
        () => "valid",
        ({ code }: { code: string }) => code,
      );
      return [name, state] as const;
    });
    return Object.fromEntries(await Promise.all(states));
  });
}

const before = { root: "valid", live: "valid", before: "token_revoked", later: "token_unknown" };
const ended = {
  ...before,
  revoked: "token_revoked",
  rotated: "token_expired",
  "rotated+1": "valid",
  twice: "valid",
  "twice+1": "token_expired",
  "twice+2": "valid",
  disabled: "token_revoked",
};
const revived = {
  ...before,
  revoked: "valid",
  rotated: "valid",
  "rotated+1": "token_unknown",
  twice: "valid",
  "twice+1": "token_unknown",
  "twice+2": "token_unknown",
  disabled: "valid",
};

test("a restore ends again what has ended since the backup, keeps what has replaced it, and records that", async () => {
  const { url, restore, tokens } = await prepare();
  const { restored, states } = await restore();
  assert.deepEqual(states, ended);
  assert.equal(restored.revocations.state, "kept");
  assert.deepEqual(
    restored.revocations.found.map(({ entity, op, name, account }) => `${op} ${entity} ${name} of ${account}`).sort(),
    [
      "disable account bob of bob",
      "revoke token revoked of ada",
      "rotate token rotated of ada",
      "rotate token twice of ada",
    ],
  );
  await withStore(url, async (store) => {
    const { items } = await store.tokens.list();
    const revoked = items.find(({ id }) => id === tokens.revoked);
    assert.deepEqual([revoked?.revokedReason, revoked?.version], ["laptop lost", 2]);
    // The rows are whole: they can be changed further.
    await store.tokens.rotate({ tokenId: tokens["twice+2"] as string });
    await store.tokens.revoke({ tokenId: tokens["rotated+1"] as string });
    const { changes } = await store.changes.since({ after: 0, limit: 500 });
    const recorded = changes.filter(({ actor }) => actor === "backup restore");
    assert.deepEqual(recorded.map(({ entity, op }) => `${op} ${entity}`).sort(), [
      "disable account",
      "mint token",
      "mint token",
      "mint token",
      "revoke token",
      "rotate token",
      "rotate token",
    ]);
    await assertSound(store);
  });
});

test("a second restore of the same backup keeps the revocations too", async () => {
  const { restore } = await prepare();
  await restore();
  assert.deepEqual((await restore()).states, ended);
});

test("with keepRevocations false everything is as at the time of the backup, and what works again is listed", async () => {
  const { restore } = await prepare();
  const { restored, states } = await restore(false);
  assert.deepEqual(states, revived);
  assert.deepEqual([restored.revocations.state, restored.revocations.found.length], ["undone", 4]);
});

test("without a previous database, or with one that cannot be read, the revocations are unknown", async () => {
  const { path, restore } = await prepare();
  const bytes = readFileSync(path);
  rmSync(path);
  const absent = await restore();
  assert.deepEqual([absent.restored.revocations, absent.states], [{ state: "unknown", found: [] }, revived]);
  // Only the table of tokens is damaged.
  writeFileSync(path, bytes);
  const db = new Database(path, { readonly: true });
  const page = db.prepare("SELECT rootpage FROM sqlite_schema WHERE name = 'tokens'").pluck().get() as number;
  db.close();
  writeFileSync(path, bytes.fill(0xff, (page - 1) * 4_096, page * 4_096));
  const damaged = await restore();
  assert.deepEqual([damaged.restored.revocations, damaged.states], [{ state: "unknown", found: [] }, revived]);
});

test("the command line lists what it ended again, or what works again, and what else is undone", async () => {
  const { folder, path, url, backup, tokens } = await prepare();
  const old = join(folder, "old.db");
  copyFileSync(path, old);
  const kept = await run(folder, ["backup", "restore", backup, "--url", url]);
  assert.equal(kept.code, 0, kept.stderr);
  assert.match(kept.stderr, /^These had ended after the backup, and were ended again \(--no-keep-revocations .*:\n/);
  assert.match(kept.stderr, new RegExp(`\n  token revoked of ada, ${tokens.revoked}: revoked \\S+Z\n`));
  assert.match(
    kept.stderr,
    new RegExp(`\n  token rotated of ada, ${tokens.rotated}: rotated, and valid until \\S+Z\n`),
  );
  assert.match(kept.stderr, /\n {2}account bob, \S+: disabled \S+Z\n/);
  assert.match(kept.stderr, /\nLeases granted after \S+Z are forgotten, and their fencing tokens may be granted again/);

  copyFileSync(old, path);
  const undone = await run(folder, ["backup", "restore", backup, "--no-keep-revocations", "--json", "--url", url]);
  assert.match(undone.stderr, /^These had ended after the backup, and work again\. Revoke the tokens .* should not:\n/);
  const { revocations } = JSON.parse(undone.stdout) as { revocations: { state: string; found: unknown[] } };
  assert.deepEqual([revocations.state, revocations.found.length], ["undone", 4]);

  rmSync(path);
  const unknown = await run(folder, ["backup", "restore", backup, "--url", url]);
  assert.match(unknown.stderr, /^There was no previous database that could be read: tokens .* work again\./);
  const quiet = await run(folder, ["backup", "restore", backup, "--quiet", "--url", url]);
  assert.deepEqual([quiet.code, quiet.stderr], [0, ""]);
});

test("a backup that cannot take the rows is not restored, and the message says how to do it", async () => {
  const { path, url, backup } = await prepare();
  // The row that replaced a token names an account that the backup does not have.
  const db = new Database(path);
  db.pragma("foreign_keys = OFF");
  db.prepare("UPDATE tokens SET account_id = ? WHERE name = 'rotated' AND rotated_to IS NULL").run(newId());
  db.close();
  assert.throws(() => restoreSqlite({ backup, path, keep: true }), {
    code: "incompatible",
    message: /the revocations since the backup cannot be kept \(.*\): restore with --no-keep-revocations/,
  });
  const { items } = await withStore(url, (store) => store.tokens.list());
  assert.ok(items.some(({ name }) => name === "later"));
});

test("a token that retention has removed since the backup does not come back to life", async () => {
  const { path, url, tokens, restore } = await prepare();
  const db = new Database(path);
  db.prepare("UPDATE tokens SET revoked_at = 0 WHERE id = ?").run(tokens.revoked);
  db.close();
  const { rows } = await withStore(url, ({ maintenance }) => maintenance.prune({ kinds: ["tokens"] }));
  // The one that was revoked before the backup is too young to go.
  assert.deepEqual(rows, { tokens: 1 });
  const { states } = await restore();
  assert.deepEqual([states.revoked, states.live], ["token_revoked", "valid"]);
});
