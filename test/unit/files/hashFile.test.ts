// hashFile returns the hash and size of a file without reading it at once.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { it } from "node:test";
import { hashFile } from "../../../src/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";

const folder = temporaryFolder();
const sha256 = (data: Uint8Array | string) => createHash("sha256").update(data).digest("hex");
const file = (name: string, data: Uint8Array | string) => {
  writeFileSync(join(folder, name), data);
  return join(folder, name);
};

it("returns SHA-256 and size, for any size and through a link", async () => {
  for (const data of ["", "abc", Buffer.alloc(1_000_003, 7)]) {
    assert.deepEqual(await hashFile(file("data", data)), { sha256: sha256(data), sizeBytes: Buffer.byteLength(data) });
  }
  symlinkSync(join(folder, "data"), join(folder, "link"));
  assert.equal((await hashFile(join(folder, "link"))).sizeBytes, 1_000_003);
});

it("reads a large file piece by piece, and leaves the event loop free", async () => {
  // A file without content of its own costs no memory, and other tests of this process need some.
  const bytes = 256 * 1024 * 1024;
  const path = file("large", "");
  truncateSync(path, bytes);
  const before = process.memoryUsage().rss;
  let [peak, turns] = [before, 0];
  const watch = setInterval(() => {
    turns++;
    peak = Math.max(peak, process.memoryUsage().rss);
  }, 1);
  const { sizeBytes } = await hashFile(path);
  clearInterval(watch);
  assert.equal(sizeBytes, bytes);
  assert.ok(turns > 10, `${turns} turns`);
  assert.ok(peak - before < bytes / 2, `${peak - before} bytes more`);
});

it("a path that is not a readable file fails with invalid_input, and a pipe does not block", async () => {
  const pipe = join(folder, "pipe");
  execFileSync("mkfifo", [pipe]);
  for (const [path, why] of [
    [join(folder, "absent"), /there is no such file/],
    [folder, /folder|not a regular file/],
    [pipe, /not a regular file/],
    ["/dev/zero", /not a regular file/],
  ] as const) {
    await assert.rejects(
      hashFile(path),
      (error: Error & { code?: string }) => error.code === "invalid_input" && why.test(error.message),
    );
  }
});

it("a file that fails while it is read fails with invalid_input", {
  skip: process.platform === "linux" ? false : "there is no /proc",
}, async () => {
  await assert.rejects(hashFile("/proc/self/mem"), { code: "invalid_input" });
});

it("a signal ends the hashing", async () => {
  await assert.rejects(
    hashFile(file("data", "abc"), { signal: AbortSignal.abort(new Error("enough")) }),
    /^Error: enough$/,
  );
  const aborter = new AbortController();
  const hashing = hashFile(file("data", Buffer.alloc(64 * 1024 * 1024)), { signal: aborter.signal });
  setImmediate(() => aborter.abort(new Error("stop")));
  await assert.rejects(hashing, /^Error: stop$/);
});
