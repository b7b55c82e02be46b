// debug-server-db files: what waits to be removed, and a collector of local folders.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import Database from "better-sqlite3";
import { openStore } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { run, workingFolder } from "./commandLine.ts";

test("files list shows what waits, and files collect removes what is in its folder, relative to this one", async (t) => {
  const { folder, url } = workingFolder(t, { init: false });
  mkdirSync(join(folder, "artifacts"));
  const [inside, outside] = [join(folder, "artifacts", "report"), join(folder, "other")];
  for (const path of [inside, outside]) writeFileSync(path, "content");
  const store = await openStore({ url });
  for (const uri of [inside, outside, "https://user:secret@host/file"]) {
    const { artifact } = await fixtures(store).artifact({ uri });
    await store.artifacts.delete({ artifactId: artifact.id });
  }
  await store.close();
  const listed = await run(folder, ["files", "list", "--kind", "artifact", "--url", url]);
  assert.equal(listed.code, 0);
  assert.ok(listed.stdout.includes(inside) && !listed.stdout.includes("secret"), listed.stdout);
  const early = await run(folder, ["files", "collect", "--folder", "artifacts", "--url", url]);
  assert.deepEqual([early.code, early.stdout], [0, "removed  0\nfailed   0\n"]);
  const db = new Database(url.slice("sqlite:".length));
  db.exec("UPDATE discarded_files SET due_at = 0");
  db.close();
  const dry = await run(folder, ["files", "collect", "--folder", "artifacts", "--url", url, "--json", "--dry-run"]);
  assert.deepEqual([dry.code, JSON.parse(dry.stdout)], [0, { wouldRemove: 1, wouldFail: 2, bytes: 4 }]);
  assert.match(dry.stderr, /report: would be removed\n/);
  assert.ok(existsSync(inside) && !dry.stderr.includes("secret"));
  const both = await run(folder, ["files", "collect", "--folder", "artifacts", "--url", url, "--dry-run", "--watch"]);
  assert.equal(both.code, 2);
  const collected = await run(folder, ["files", "collect", "--folder", "artifacts", "--url", url, "--json"]);
  assert.deepEqual([collected.code, JSON.parse(collected.stdout)], [1, { removed: 1, failed: 2 }]);
  assert.match(collected.stderr, /other: .* is in none of the folders of this collector\n/);
  assert.ok(!collected.stderr.includes("secret"));
  assert.ok(!existsSync(inside) && existsSync(outside));
  const missing = await run(folder, ["files", "collect", "--url", url]);
  assert.deepEqual([missing.code, missing.stdout], [2, ""]);
  assert.match(missing.stderr, /--folder.*--log-archive/);
});

test("files collect removes logs that have left the store, from an archive that no server has", async (t) => {
  const { folder, url } = workingFolder(t, { init: false });
  const server = await openStore({ url, logArchive: { folder: join(folder, "logs") } });
  const { command, fence, session } = await fixtures(server).log();
  await server.commands.finish({ commandId: command.id, fence, outcome: "succeeded" });
  assert.deepEqual(await server.logs.archive({ commandId: command.id }), { archived: true });
  await server.close();
  const objects = () =>
    readdirSync(join(folder, "logs"), { recursive: true }).filter((name) => String(name).endsWith(".zst"));
  assert.equal(objects().length, 1);
  const store = await openStore({ url, logArchive: false });
  await store.sessions.cancel({ sessionId: session.id });
  await store.sessions.delete({ sessionId: session.id });
  await store.close();
  const listed = await run(folder, ["files", "list", "--kind", "log", "--url", url]);
  assert.ok(listed.stdout.includes(`archive:${objects()[0]}`), listed.stdout);
  const collect = ["files", "collect", "--url", url, "--json"];
  const others = await run(folder, [...collect, "--folder", "."]);
  assert.deepEqual(JSON.parse(others.stdout), { removed: 0, failed: 0 });
  const dry = await run(folder, [...collect, "--log-archive", "logs", "--dry-run"]);
  assert.deepEqual([JSON.parse(dry.stdout).wouldRemove, objects().length], [1, 1]);
  const elsewhere = await run(folder, [...collect, "--log-archive", "not here"]);
  assert.deepEqual([elsewhere.code, JSON.parse(elsewhere.stdout)], [1, { removed: 0, failed: 1 }]);
  const db = new Database(url.slice("sqlite:".length));
  db.exec("UPDATE discarded_files SET due_at = 0");
  db.close();
  const collected = await run(folder, [...collect, "--log-archive", "logs"]);
  assert.deepEqual([collected.code, JSON.parse(collected.stdout)], [0, { removed: 1, failed: 0 }]);
  assert.deepEqual(objects(), []);
});
