// The command line on a store that another process serves: what it can do there, and what it says where it cannot.
import assert from "node:assert/strict";
import { test } from "node:test";
import { serveStore } from "../../../src/http/index.ts";
import { openStore } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { run, workingFolder } from "./commandLine.ts";

test("the command line works on the server of a store, with the token in the environment", async (t) => {
  const { folder, url } = workingFolder(t, { init: false });
  const store = await openStore({ url });
  const admin = (await store.tokens.bootstrapAdmin()).secret as string;
  const api = await serveStore(store, { listen: "127.0.0.1:0" });
  t.after(async () => {
    await api.close({ withinMs: 0 });
    await store.close();
  });
  const { repository } = await fixtures(store).repository();
  const server = api.url as string;
  const as = (token: string, ...args: string[]) =>
    run(folder, args, { env: { DEBUG_SERVER_DB_URL: server, DEBUG_SERVER_DB_TOKEN: `${token}\n` } });
  const listed = await as(admin, "repositories", "list", "--json");
  assert.deepEqual([listed.code, JSON.parse(listed.stdout).id], [0, repository.id], listed.stderr);
  const option = await run(folder, ["sessions", "list", "--url", server], { env: { DEBUG_SERVER_DB_TOKEN: admin } });
  assert.equal(option.code, 0, option.stderr);
  const reader = (await fixtures(store).token({ scopes: ["sessions:read"] })).secret as string;
  assert.equal((await as(reader, "repositories", "list")).code, 1);
  const wrong = await as("", "sessions", "list");
  assert.equal(wrong.code, 1);
  assert.match(wrong.stderr, /token/);
  for (const command of [["migrate", "current"], ["fsck"], ["backup", "create"], ["maintenance", "compact"]]) {
    const { code, stderr } = await as(admin, ...command);
    assert.notEqual(code, 0, command.join(" "));
    assert.match(stderr, /names the server of a store|where its server runs/, command.join(" "));
  }
  const other = await run(folder, ["sessions", "list", "--url", "mysql://x"]);
  assert.match(other.stderr, /expected sqlite:PATH.* postgres:.* http:\/\/HOST:PORT, https:\/\/HOST or unix:PATH/);
});

test("openStore takes the token of a server from the environment", async (t) => {
  const { url } = workingFolder(t, { init: false });
  const store = await openStore({ url });
  const admin = (await store.tokens.bootstrapAdmin()).secret as string;
  const api = await serveStore(store, { listen: "127.0.0.1:0" });
  const before = process.env.DEBUG_SERVER_DB_TOKEN;
  t.after(async () => {
    if (before === undefined) delete process.env.DEBUG_SERVER_DB_TOKEN;
    await api.close({ withinMs: 0 });
    await store.close();
  });
  process.env.DEBUG_SERVER_DB_TOKEN = `${admin}\n`;
  const remote = await openStore({ url: api.url as string });
  assert.deepEqual((await remote.sessions.list()).items, []);
  await remote.close();
});
