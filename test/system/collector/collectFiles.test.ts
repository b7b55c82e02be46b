// The collector of local folders: it removes what it may, nothing else, and nothing is lost when it dies.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { collectFiles, type DiscardedFile, openStore, type Store } from "../../../src/index.ts";
import { fixtures, openTestStore } from "../../../src/testing/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";

const limits = { fileGraceMs: 0 };

async function openWith(t: TestContext): Promise<Store> {
  const store = await openTestStore({ limits });
  t.after(() => store.close());
  return store;
}

/** Records an artifact at each uri and deletes it, so that its file is due. */
async function discard(store: Store, uris: readonly string[]): Promise<void> {
  const { session } = await fixtures(store).session();
  for (const uri of uris) {
    const { artifact } = await fixtures(store).artifact({ sessionId: session.id, uri });
    await store.artifacts.delete({ artifactId: artifact.id });
  }
}

function fileIn(folder: string, name: string): string {
  const path = join(folder, name);
  writeFileSync(path, "content");
  return path;
}

test("files in the named folders are removed, by URL and by path; a missing one counts as removed", async (t) => {
  const store = await openWith(t);
  const folder = temporaryFolder();
  mkdirSync(join(folder, "sub"));
  const odd = fileIn(folder, "a name with blanks, ü and %41.txt");
  const paths = [fileIn(folder, "plain"), fileIn(join(folder, "sub"), "deep")];
  await discard(store, [
    pathToFileURL(odd).href,
    ...paths,
    pathToFileURL(join(folder, "gone")).href,
    pathToFileURL(join(folder, "no folder", "gone")).href,
  ]);
  assert.deepEqual(await collectFiles(store, { folders: [folder], once: true }), { removed: 5, failed: 0 });
  assert.deepEqual(readdirSync(folder), ["sub"]);
  assert.deepEqual(readdirSync(join(folder, "sub")), []);
  assert.deepEqual((await store.files.list()).items, []);
});

test("nothing outside of the folders is removed, whatever leads there, and no folder", async (t) => {
  const store = await openWith(t);
  const outside = temporaryFolder();
  const folder = join(temporaryFolder(), "artifacts");
  for (const one of [folder, `${folder}-beside`]) mkdirSync(one);
  const kept = fileIn(outside, "kept");
  symlinkSync(outside, join(folder, "way out"));
  symlinkSync(kept, join(folder, "link"));
  mkdirSync(join(folder, "a folder"));
  const uris = [
    kept,
    join(folder, "way out", "kept"),
    `${folder}/../../${basename(outside)}/kept`,
    `${pathToFileURL(folder).href}/%2e%2e/%2e%2e/${basename(outside)}/kept`,
    `${folder}-beside/kept`,
    join(folder, "a folder"),
    "file://elsewhere/share/kept",
    "s3://bucket/kept",
    "relative/kept",
  ];
  fileIn(`${folder}-beside`, "kept");
  await discard(store, uris);
  const seen: string[] = [];
  const total = await collectFiles(store, {
    folders: [folder],
    once: true,
    onFile: (file, error) => seen.push(`${file.uri} ${error === undefined ? "removed" : "refused"}`),
  });
  assert.deepEqual(
    seen,
    uris.map((uri) => `${uri} refused`),
  );
  assert.deepEqual(total, { removed: 0, failed: uris.length });
  assert.ok(existsSync(kept) && existsSync(join(folder, "a folder")) && existsSync(`${folder}-beside/kept`));
  const { items } = await store.files.list();
  assert.ok(items.every(({ lastError, failures }) => lastError !== null && failures === 1));
  // A link in the folder is itself a file of the folder, and what it names is not.
  await discard(store, [join(folder, "link")]);
  assert.deepEqual(await collectFiles(store, { folders: [folder], once: true }), { removed: 1, failed: 0 });
  assert.ok(existsSync(kept) && !readdirSync(folder).includes("link"));
});

test("a file of which not even the folder exists here is not taken for removed", async (t) => {
  const store = await openWith(t);
  const [folder, elsewhere] = [temporaryFolder(), temporaryFolder()];
  symlinkSync(join(elsewhere, "not mounted"), join(folder, "disk"));
  const uris = [
    join(elsewhere, "not mounted", "file"),
    pathToFileURL(join(elsewhere, "not mounted", "deep", "file")).href,
    join(folder, "disk", "file"),
    join(folder, "disk", "deep", "file"),
  ];
  await discard(store, uris);
  assert.deepEqual(await collectFiles(store, { folders: [folder], once: true }), { removed: 0, failed: uris.length });
  // A collector whose own folder is missing knows nothing of its files.
  const missing = join(elsewhere, "missing");
  await discard(store, [join(missing, "file")]);
  assert.deepEqual(await collectFiles(store, { folders: [missing], once: true }), { removed: 0, failed: 1 });
});

test("a function of the caller removes what is no local file, and its failure is kept for the next time", async (t) => {
  const store = await openWith(t);
  await discard(store, ["s3://bucket/one", "s3://bucket/two"]);
  const removed: string[] = [];
  const remove = async ({ uri }: DiscardedFile): Promise<void> => {
    if (uri.endsWith("two")) throw new Error("access denied");
    removed.push(uri);
  };
  assert.deepEqual(await collectFiles(store, { remove, once: true }), { removed: 1, failed: 1 });
  assert.deepEqual(removed, ["s3://bucket/one"]);
  const { items } = await store.files.list();
  assert.deepEqual(
    items.map(({ uri, lastError }) => [uri, lastError]),
    [["s3://bucket/two", "access denied"]],
  );
});

test("a collector that waits removes files as they become due, until its signal aborts", async (t) => {
  const store = await openWith(t);
  const folder = temporaryFolder();
  const stop = new AbortController();
  const found = Promise.withResolvers<void>();
  const collecting = collectFiles(store, {
    folders: [folder],
    signal: stop.signal,
    onFile: () => found.resolve(),
  });
  await discard(store, [fileIn(folder, "late")]);
  await found.promise;
  stop.abort();
  assert.deepEqual(await collecting, { removed: 1, failed: 0 });
  assert.deepEqual(readdirSync(folder), []);
});

test("a collector that is killed before it acknowledges leaves its files to the next one", async (t) => {
  const [folder, data] = [temporaryFolder(), temporaryFolder()];
  const url = `sqlite:${join(data, "store.db")}`;
  const store = await openStore({ url, limits });
  t.after(() => store.close());
  await discard(
    store,
    Array.from({ length: 20 }, (_, index) => fileIn(folder, `file ${index}`)),
  );
  const script = fileURLToPath(new URL("./collectingProcess.ts", import.meta.url));
  const child = spawn(process.execPath, [script, url, folder], { stdio: ["ignore", "pipe", "inherit"] });
  await once(child.stdout, "data");
  child.kill("SIGKILL");
  assert.deepEqual(await once(child, "close"), [null, "SIGKILL"]);
  assert.deepEqual(readdirSync(folder), []);
  // The dead one has them until its lease ends; who knows its fence can speak for it.
  assert.deepEqual((await store.files.claim({ owner: "other" })).files, []);
  const { items } = await store.files.list({ limit: 100 });
  assert.equal(items.length, 20);
  assert.ok(items.every(({ owner, fence }) => owner?.startsWith("collector ") && fence === 1));
  await store.files.acknowledge({ files: items.map(({ id, fence }) => ({ id, fence })) });
  assert.deepEqual((await store.files.list()).items, []);
});
