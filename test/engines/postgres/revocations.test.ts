// The SQL in the guide to backups, which ends tokens and accounts in a restored database as in the one that it replaces.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { openStore } from "../../../src/index.ts";
import { ask, dropDatabase, newDatabase, postgresUrl } from "../../support/postgres.ts";

const guide = readFileSync(new URL("../../../docs/guide/backups.md", import.meta.url), "utf8");
const query = /^```sql\n(SELECT format\(.*?)^```$/ms.exec(guide)?.[1] as string;

test("the statements of the guide end in a restored database what has ended in the old one", async (t) => {
  const url = await newDatabase();
  t.after(() => dropDatabase(url));
  const store = await openStore({ url });
  const { token: root } = await store.tokens.bootstrapAdmin();
  const account = await store.accounts.create({ name: "o'hara", kind: "human" });
  const mint = async (name: string) =>
    (await store.tokens.mint({ accountId: account.id, name, scopes: ["sessions:read"], createdBy: root.id })).token;
  const [revoked, rotated, live, later] = [await mint("a"), await mint("b"), await mint("c"), await mint("d")];
  await store.close();
  // A copy made by the server stands for a dump that is restored.
  const restored = `${new URL(url).pathname.slice(1)}_restored`;
  await ask(await postgresUrl(), `CREATE DATABASE ${restored} TEMPLATE ${new URL(url).pathname.slice(1)}`);
  const restoredUrl = Object.assign(new URL(url), { pathname: `/${restored}` }).href;
  t.after(() => dropDatabase(restoredUrl));

  const old = await openStore({ url });
  await old.tokens.revoke({ tokenId: revoked.id, reason: "it's gone; DROP TABLE tokens" });
  await old.tokens.rotate({ tokenId: rotated.id, graceMs: 0 });
  await old.accounts.disable({ accountId: account.id });
  await old.close();
  const statements = await ask<{ format: string }>(url, query);
  assert.equal(statements.length, 3);
  for (let times = 0; times < 2; times++)
    await ask(restoredUrl, `BEGIN; ${statements.map(({ format }) => format).join("\n")} COMMIT`);

  const opened = await openStore({ url: restoredUrl });
  t.after(() => opened.close());
  const { items } = await opened.tokens.list({ accountId: account.id });
  const states = new Map(
    items.map(({ id, revokedReason, expiresAt, version }) => [id, [revokedReason, expiresAt !== null, version]]),
  );
  assert.deepEqual(
    [revoked, rotated, live, later].map(({ id }) => states.get(id)),
    [
      ["it's gone; DROP TABLE tokens", false, 2],
      [null, true, 2],
      [null, false, 1],
      [null, false, 1],
    ],
  );
  const { disabledAt, version } = await opened.accounts.get({ accountId: account.id });
  assert.ok(disabledAt !== null && version === 2);
});
