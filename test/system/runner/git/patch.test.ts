// Patches: read from each kind of URI, checked, and applied as a whole or not at all.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, test } from "node:test";
import { pathToFileURL } from "node:url";
import { applyPatch, checkOut, type PatchProblem } from "../../../../src/runner/index.ts";
import { git } from "../../cli/commandLine.ts";
import { never, testRepository } from "./gitRepository.ts";

const { repository, worktreesRoot, commits, home } = await testRepository();
const [commitSha] = commits;
const signal = never;
const path = join(worktreesRoot, "tree");
const scrubbed = () => checkOut({ repository, worktreesRoot, path, commitSha, signal });
const sha256 = (content: string | Buffer) => createHash("sha256").update(content).digest("hex");
const dataUri = (patch: string) => `data:text/x-patch;base64,${Buffer.from(patch).toString("base64")}`;

await scrubbed();
const binary = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
writeFileSync(join(path, "src/main.txt"), "patched\n");
writeFileSync(join(path, "image.bin"), binary);
git(path, "add", ".");
const patch = git(path, "diff", "--cached", "--binary");
const file = join(home, "../a patch");
writeFileSync(file, patch);

const server = createServer(({ url }, response) => {
  if (url === "/patch") response.end(patch);
  else if (url === "/moved") response.writeHead(302, { location: "/patch" }).end();
  else if (url === "/endless") {
    const write = (): void => void (response.destroyed || response.write(Buffer.alloc(65_536), write));
    write();
  } else if (url !== "/silent") response.writeHead(404).end();
}).listen(0, "127.0.0.1");
await once(server, "listening");
after(() => {
  server.closeAllConnections();
  server.close();
});
const http = `http://user:s3cret@127.0.0.1:${(server.address() as AddressInfo).port}`;
const plain = http.replace("user:s3cret@", "");

test("a patch is applied from a file, from a server and from its own URI", async () => {
  for (const uri of [pathToFileURL(file).href, `${plain}/moved`, dataUri(patch)]) {
    await scrubbed();
    await applyPatch(path, { uri, hash: `sha256:${sha256(patch).toUpperCase()}`, signal });
    assert.equal(readFileSync(join(path, "src/main.txt"), "utf8"), "patched\n");
    assert.deepEqual(readFileSync(join(path, "image.bin")), binary);
  }
});

const beside = "--- a/src/main.txt\n+++ b/src/main.txt\n@@ -1 +1 @@\n-one\n+changed\n";
const newFile = (name: string) => `--- /dev/null\n+++ b/${name}\n@@ -0,0 +1 @@\n+x\n`;

test("a patch that is refused leaves the worktree as it was, and says why", async () => {
  await scrubbed();
  const hash = sha256(patch);
  const data = (content: string) => ({ uri: dataUri(content) });
  const cases: readonly (readonly [
    PatchProblem,
    RegExp,
    { uri: string; hash?: string; bytesMax?: number; timeoutMs?: number },
  ])[] = [
    ["hash_differs", /has the sha256 [0-9a-f]{64}, not 0{64}/, { uri: `${plain}/patch`, hash: "0".repeat(64) }],
    ["hash_missing", /it has no hash: set patchHash/, { uri: `${plain}/patch` }],
    ["hash_missing", /its hash "md5:1" is no sha256/, { ...data(patch), hash: "md5:1" }],
    ["too_large", /larger than 1000000 bytes/, { uri: `${plain}/endless`, hash, bytesMax: 1_000_000 }],
    ["too_large", /its data URI is larger than 10 bytes/, { ...data(patch), bytesMax: 10 }],
    ["unreadable", /took longer than 20 ms/, { uri: `${plain}/silent`, hash, timeoutMs: 20 }],
    ["unreadable", /http:\/\/\*\*\*@127.*cannot be read/, { uri: `${http}/patch`, hash }],
    ["unreadable", /answers 404 Not Found/, { uri: `${plain}/none`, hash }],
    ["unreadable", /ENOENT/, { uri: `${pathToFileURL(file).href}.none`, hash }],
    ["unreadable", /not a regular file/, { uri: "file:///dev/zero", hash }],
    ["unreadable", /give a file, data, https or http URI/, { uri: "ftp://host/x", hash }],
    ["does_not_apply", /src\/main\.txt.*git diff --binary/, data(`${newFile("x")}${beside.replace("-one", "-three")}`)],
    ["does_not_apply", /invalid path|outside/, data(`${beside}${newFile("../escaped")}`)],
    ["does_not_apply", /beyond a symbolic link/, data(`${beside}${newFile("link/escaped")}`)],
    ["does_not_apply", /[Nn]o valid patches/, data("")],
  ];
  symlinkSync(home, join(path, "link"));
  for (const [problem, message, options] of cases) {
    await assert.rejects(applyPatch(path, { signal, ...options }), { name: "PatchError", problem, message });
    assert.equal(git(path, "status", "--porcelain"), "?? link\n", String(message));
  }
  assert.ok(!existsSync(join(home, "escaped")));
  const stopped = applyPatch(path, { uri: `${plain}/silent`, hash, signal: AbortSignal.abort("lost") });
  await assert.rejects(stopped, { name: "GitError", message: "stopped" });
});
