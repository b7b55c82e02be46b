// The files of the page as they are sent: headers, tags, compressed forms, sizes, and what must not be in them.
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { nodeHandler, storeHandler } from "../../../src/http/index.ts";
import { openTestStore } from "../../../src/testing/index.ts";
import { servePage } from "./pageServer.ts";

const folder = fileURLToPath(new URL("../../../src/page/", import.meta.url));
const names = globSync("*.{html,css,svg,ts}", { cwd: folder }).map((name) => name.replace(/\.ts$/, ".js"));

/** Sends a GET with no headers but those that are given, and returns the bytes as they were sent. */
async function get(url: string, headers: Record<string, string> = {}, method = "GET") {
  return await new Promise<{ status: number; headers: Record<string, unknown>; body: Buffer }>((resolve, reject) => {
    const sent = request(url, { method, headers }, async (response) => {
      const parts: Buffer[] = [];
      for await (const part of response) parts.push(part as Buffer);
      resolve({ status: response.statusCode as number, headers: response.headers, body: Buffer.concat(parts) });
    });
    sent.on("error", reject).end();
  });
}

suite("files of the page", () => {
  test("each file is sent with its type and the policy, compressed for those who can read it, and once", async (t) => {
    const { url } = await servePage(t);
    let compressed = 0;
    for (const name of names) {
      const path = name === "index.html" ? `${url}/` : `${url}/page/${name}`;
      const plain = await get(path);
      assert.equal(plain.status, 200, name);
      assert.equal(plain.headers["x-content-type-options"], "nosniff");
      assert.equal(plain.headers["referrer-policy"], "no-referrer");
      const policy = String(plain.headers["content-security-policy"]);
      for (const rule of ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"])
        assert.ok(policy.includes(rule), rule);
      assert.doesNotMatch(policy, /unsafe|\*|https?:/);
      const zipped = await get(path, { "accept-encoding": "br, gzip" });
      assert.equal(zipped.headers["content-encoding"], "gzip");
      assert.deepEqual(gunzipSync(zipped.body), plain.body);
      assert.notEqual(zipped.headers.etag, plain.headers.etag);
      compressed += zipped.body.length;
      const again = await get(path, { "accept-encoding": "gzip", "if-none-match": String(zipped.headers.etag) });
      assert.deepEqual([again.status, again.body.length], [304, 0]);
      assert.equal((await get(path, { "accept-encoding": "gzip;q=0" })).headers["content-encoding"], undefined);
    }
    t.diagnostic(`${names.length} files, ${(compressed / 1024).toFixed(1)} KiB compressed`);
    assert.ok(compressed < 150_000, `${compressed} bytes`);
  });

  test("only GET and HEAD reach the files, and nothing else is below them", async (t) => {
    const { url } = await servePage(t);
    assert.equal((await get(url, {}, "HEAD")).body.length, 0);
    for (const path of ["/page/", "/page/main.ts", "/page/..%2fhttp%2fpage.ts", "/page/tsconfig.json", "/index.html"])
      assert.equal((await get(url + path)).status, 404, path);
    assert.equal((await get(url, {}, "POST")).status, 404);
  });

  test("without the option there is no page", async (t) => {
    const { url } = await servePage(t, { page: false });
    assert.equal((await get(url)).status, 404);
    assert.equal((await get(`${url}/page/main.js`)).status, 404);
  });

  test("the scripts have no types, and import each other by names that are served", async (t) => {
    const { url } = await servePage(t);
    for (const name of names.filter((each) => each.endsWith(".js"))) {
      const script = (await get(`${url}/page/${name}`)).body.toString();
      assert.doesNotMatch(script, /\binterface \w+ \{|from "[^"]*\.ts"/, name);
      for (const [, imported] of script.matchAll(/from "\.\/([^"]+)"/g)) assert.ok(names.includes(imported as string));
    }
  });

  test("no script makes elements or code from text, and all addresses are relative", () => {
    for (const name of globSync("*.{ts,html,css}", { cwd: folder })) {
      const text = readFileSync(join(folder, name), "utf8");
      assert.doesNotMatch(
        text,
        /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setHTML|srcdoc|DOMParser/,
        name,
      );
      assert.doesNotMatch(text, /(?:src|href)="\/|url\(|@import|style="| on\w+="/, name);
    }
  });

  test("below a prefix, the files and the API are found by relative addresses", async (t) => {
    const store = await openTestStore();
    const { secret } = await store.tokens.bootstrapAdmin();
    const handler = nodeHandler(storeHandler(store, { page: true }));
    const server = createServer((incoming, outgoing) => {
      incoming.url = (incoming.url ?? "").replace(/^\/tools\/store/, "");
      void handler(incoming, outgoing);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    t.after(async () => {
      server.closeAllConnections();
      server.close();
      await store.close();
    });
    const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/tools/store/`;
    const html = (await get(base)).body.toString();
    const found = [...html.matchAll(/(?:src|href)="([^"#]+)"/g)].map(([, path]) => path as string);
    assert.ok(found.length > 5);
    for (const path of found) assert.equal((await get(new URL(path, base).href)).status, 200, path);
    const self = await fetch(new URL("v1/self", base), { headers: { authorization: `Bearer ${secret}` } });
    assert.equal(self.status, 200);
  });
});
