// Artifacts: what globs may name, what is stored of it, and what remains when storing fails.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { collectFiles } from "../../../src/index.ts";
import { type ArtifactSink, type ArtifactsOptions, artifacts, localSink } from "../../../src/runner/index.ts";
import { fixtures, openTestStore } from "../../../src/testing/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";

const { signal } = new AbortController();
const store = await openTestStore({ limits: { fileGraceMs: 0 } });
after(() => store.close());

/** Creates a folder with files, whose content is their name, a session, and a collector with a sink of its own. */
async function worktree(names: readonly string[], options: Partial<ArtifactsOptions> = {}) {
  const outer = temporaryFolder();
  const [folder, sinkFolder] = [join(outer, "tree"), join(outer, "sink")];
  mkdirSync(folder);
  for (const name of names) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), name);
  }
  const { session } = await fixtures(store).session();
  const sessionId = session.id;
  const sink = localSink(sinkFolder);
  const collector = artifacts(store, { sink, ...options });
  const collect = (...globs: readonly string[]) => collector.collect({ sessionId, folder, globs, signal });
  const rows = async () => (await store.artifacts.list({ sessionId })).items;
  const stored = () => (existsSync(sinkFolder) ? readdirSync(join(sinkFolder, sessionId)) : []);
  return { outer, folder, sinkFolder, sink, sessionId, collect, rows, stored };
}

test("files are stored under their paths, once, and a collector removes them when their artifacts are deleted", async () => {
  const { folder, sinkFolder, collect, rows, stored } = await worktree([
    "b/report.JSON",
    "a.txt",
    "b/deep/er/ä b.unknown",
    "c.txt",
    ".git",
  ]);
  const { artifacts: found, refused } = await collect("b/**", "*.txt", "a.*");
  assert.deepEqual(refused, []);
  assert.deepEqual(
    found.map(({ name, contentType, state, sizeBytes }) => [name, contentType, state, sizeBytes]),
    [
      ["a.txt", "text/plain; charset=utf-8", "ready", 5],
      ["b/deep/er/ä b.unknown", null, "ready", 22],
      ["b/report.JSON", "application/json", "ready", 13],
      ["c.txt", "text/plain; charset=utf-8", "ready", 5],
    ],
  );
  for (const { name, uri, sha256 } of found) {
    const path = fileURLToPath(uri as string);
    assert.equal(readFileSync(path, "utf8"), name);
    assert.equal(sha256, createHash("sha256").update(name).digest("hex"));
    assert.deepEqual(
      [path, dirname(path), sinkFolder].map((one) => statSync(one).mode & 0o777),
      [0o600, 0o700, 0o700],
    );
  }
  assert.equal(stored().length, 4);
  appendFileSync(join(folder, "c.txt"), "changed");
  const again = await collect("**");
  assert.deepEqual(again.artifacts, found.slice(0, 3));
  assert.match(JSON.stringify(again.refused), /^\[\{"name":"c\.txt","reason":"[^"]*has the name c\.txt: replace it/);
  assert.equal(stored().length, 4);
  for (const { id } of await rows()) await store.artifacts.delete({ artifactId: id });
  assert.deepEqual(await collectFiles(store, { folders: [sinkFolder], once: true }), { removed: 4, failed: 0 });
  assert.deepEqual(stored(), []);
});

test("no glob and no link leads out of the folder", async () => {
  const { outer, folder, collect, rows } = await worktree(["src/a.txt", ".git/config"]);
  writeFileSync(join(outer, "secret.txt"), "secret");
  symlinkSync("../secret.txt", join(folder, "link.txt"));
  symlinkSync("..", join(folder, "up"));
  symlinkSync(".", join(folder, "src/loop"));
  symlinkSync("nowhere", join(folder, "broken.txt"));
  execFileSync("mkfifo", [join(folder, "pipe")]);
  for (const one of ["../secret.txt", "src/../../secret.txt", "/etc/passwd", "", "!src", ".git/config", "a\0b"])
    await assert.rejects(collect(one), { code: "invalid_input", details: { reason: "glob", glob: one } }, one);
  const { artifacts: found, refused } = await collect(
    "**",
    "*/*.txt",
    "up/*.txt",
    "up/**",
    "{..,src}/*.txt",
    "*.txt",
    "broken.txt",
    "link.txt",
    "src/loop/a.txt",
    "*/config",
    "pipe",
  );
  assert.deepEqual(
    found.map(({ name }) => name),
    ["src/a.txt"],
  );
  assert.deepEqual(
    refused.filter(({ name }) => !name.startsWith("up")),
    [
      { name: "broken.txt", reason: "it is a symbolic link" },
      { name: "link.txt", reason: "it is a symbolic link" },
      { name: "pipe", reason: "it is not a regular file" },
      { name: "src/loop/a.txt", reason: "a symbolic link leads to its folder" },
    ],
  );
  assert.ok(refused.some(({ name }) => name === "up/secret.txt"));
  assert.equal((await rows()).length, 1);
});

test("more files or bytes than allowed are refused before anything is stored", async () => {
  const names = ["1", "2", "3"];
  for (const [bounds, reason] of [
    [{ filesMax: 2 }, "too_many"],
    [{ bytesMax: 2 }, "too_large"],
  ] as const) {
    const { collect, rows } = await worktree(names, bounds);
    await assert.rejects(
      collect("*"),
      (error: Error & { details: { reason: string } }) => error.details.reason === reason,
    );
    assert.deepEqual(await rows(), []);
    assert.equal((await collect("[12]")).artifacts.length, 2);
  }
});

test("a file that changes while it is copied is not stored, and its artifact has failed", async () => {
  const changes: Readonly<Record<string, (path: string) => void>> = {
    "grows.txt": (path) => appendFileSync(path, "x"),
    "is set back.txt": (path) => {
      writeFileSync(path, "x".repeat(statSync(path).size));
      utimesSync(path, 1_000, 1_000);
    },
  };
  let [sink, deleted]: [ArtifactSink | undefined, string[]] = [undefined, []];
  // Changes the file after its content was copied, which only the facts of the file can show.
  const changing: ArtifactSink = {
    async put(key, path, options) {
      const put = await (sink as ArtifactSink).put(key, path, options);
      changes[path.split("/").at(-1) as string]?.(path);
      return put;
    },
    async delete(uri) {
      deleted.push(uri);
      await sink?.delete?.(uri);
    },
  };
  const tree = await worktree([...Object.keys(changes), "stays.txt"], { sink: changing });
  sink = tree.sink;
  utimesSync(join(tree.folder, "is set back.txt"), 1_000, 1_000);
  const { artifacts: found, refused } = await tree.collect("*");
  assert.deepEqual(
    found.map(({ name }) => name),
    ["stays.txt"],
  );
  assert.deepEqual(
    refused.map(({ name, reason }) => [name, reason]),
    Object.keys(changes).map((name) => [name, "it was changed while it was copied"]),
  );
  assert.deepEqual((await tree.rows()).map(({ state }) => state).sort(), ["failed", "failed", "ready"]);
  assert.deepEqual([deleted.length, tree.stored().length], [2, 1]);
  deleted = [];
  // Changes it before, which the sink notices by the hash of what it has copied.
  const path = join(tree.folder, "stays.txt");
  for (const [content, sizeBytes] of [
    ["other.txt", 9],
    ["stays.txt and more", 9],
    ["stays", 9],
  ] as const) {
    writeFileSync(path, content);
    const sha256 = createHash("sha256").update("stays.txt").digest("hex");
    await assert.rejects(sink.put("other/key", path, { sizeBytes, sha256, signal }), /changed while it was copied/);
  }
  assert.deepEqual(readdirSync(join(tree.sinkFolder, "other")), []);
  await assert.rejects(sink.put("../key", path, { sizeBytes: 5, sha256: "", signal }), /is not below/);
  await assert.rejects(async () => await sink?.delete?.(`file://${path}`), /is not below/);
});

test("a file that cannot be stored does not keep the others from it, and a stop ends all", async () => {
  const stop = new AbortController();
  const failing: ArtifactSink = {
    async put(_, path, { signal: stopped }) {
      if (path.endsWith("1")) throw new Error("the disk is full");
      stop.abort("lost");
      stopped.throwIfAborted();
      return { uri: "s3:x" };
    },
  };
  const { folder, sessionId, rows } = await worktree(["1", "2", "3", 'no "name"'], { sink: failing });
  const input = { sessionId, folder, globs: ["*"], signal: stop.signal };
  const { artifacts: found, refused } = await artifacts(store, { sink: failing }).collect(input);
  assert.deepEqual(found, []);
  assert.deepEqual(refused.slice(0, 3), [
    { name: "1", reason: "the disk is full" },
    { name: "2", reason: "stopped" },
    { name: "3", reason: "stopped" },
  ]);
  assert.deepEqual(
    (await rows()).map(({ state }) => state),
    ["failed", "failed"],
  );
});

test("a file whose commit was lost on its way is left to the collector, because the store may know of it", async () => {
  const { sink, folder, sessionId, sinkFolder, rows, stored } = await worktree(["1", 'no "name"']);
  const lossy = {
    ...store.artifacts,
    commit: async (input: Parameters<typeof store.artifacts.commit>[0]) => {
      await store.artifacts.commit(input);
      throw new Error("the answer was lost");
    },
  };
  const collector = artifacts({ artifacts: lossy }, { sink });
  const { refused } = await collector.collect({ sessionId, folder, globs: ["*"], signal });
  assert.deepEqual(refused[0], { name: "1", reason: "the answer was lost" });
  assert.match(refused[1]?.reason ?? "", /must be a relative path of plain parts/);
  assert.deepEqual([(await rows()).map(({ state }) => state), stored().length], [["deleted"], 1]);
  assert.deepEqual(await collectFiles(store, { folders: [sinkFolder], once: true }), { removed: 1, failed: 0 });
  assert.deepEqual(stored(), []);
});
