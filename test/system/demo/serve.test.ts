// demo --serve: its store over HTTP while it runs and afterwards, with a token that ends with it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { startProcess, withStore, workingFolder } from "../cli/commandLine.ts";

test("demo --serve prints the address of its page and a token, and stays until it is interrupted", async (t) => {
  const { folder, url } = workingFolder(t, { commits: 1 });
  const running = startProcess(folder, ["demo", "--runners", "1", "--serve", "127.0.0.1:0"]);
  const said = await running.said(/token \S+\n/);
  const [, base = "", token = ""] = /the page is at (\S+), and takes the token (\S+)\n/.exec(said) ?? [];
  const page = await fetch(base);
  assert.match(await page.text(), /<script type="module" src="page\/main\.js">/);
  const self = await fetch(`${base}v1/self`, { headers: { authorization: `Bearer ${token}` } });
  assert.deepEqual(await self.json(), { scopes: ["admin"], account: { id: "", name: "demo", kind: "human" } });
  for (const wrong of [undefined, "Bearer wrong", `Bearer ${token}x`]) {
    const refused = await fetch(`${base}v1/self`, wrong === undefined ? {} : { headers: { authorization: wrong } });
    assert.equal(refused.status, 401);
    await refused.body?.cancel();
  }
  await running.said("until Ctrl-C");
  running.kill("SIGINT");
  const { code, stdout } = await running.ended;
  assert.equal(code, 0);
  assert.match(stdout, /1 completed/);
  // The store holds nothing that the demo without the page would not have.
  await withStore(url, async (store) => assert.deepEqual((await store.accounts.list()).items, []));
});
