// A reader outside the store that keeps the write-ahead log from being emptied: it is told, and when the reader is gone,
// another thread empties the log, so that no commit has to.
import assert from "node:assert/strict";
import { statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import Database from "better-sqlite3";
import { openStore, type StoreEvent } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { until } from "./until.ts";

const folder = temporaryFolder();
const walBytes = 8 * 1024 * 1024;

async function rig(name: string) {
  const path = join(folder, `${name}.db`);
  const events: StoreEvent[] = [];
  const limits = { reapEveryMs: 0, walBytes };
  const store = await openStore({ url: `sqlite:${path}`, limits, onEvent: (event) => events.push(event) });
  const { repository } = await fixtures(store).repository();
  /** Writes some megabytes. */
  const write = async (megabytes: number) => {
    const metadata = { text: "x".repeat(200_000) };
    for (let n = 0; n < megabytes * 5; n++) await fixtures(store).session({ repositoryId: repository.id, metadata });
  };
  const statedBytes = async () => Number((await store.maintenance.stats()).database.wal_pending_bytes);
  /** Returns the content of the log that is not in the database yet, as another program sees it. */
  const pendingBytes = () => {
    const db = new Database(path);
    const [{ log, checkpointed }] = db.pragma("wal_checkpoint(NOOP)") as [{ log: number; checkpointed: number }];
    const bytes = (log - checkpointed) * Number(db.pragma("page_size", { simple: true }));
    db.close();
    return bytes;
  };
  const pinned = () => events.filter(({ type }) => type === "wal_pinned");
  const fileBytes = () => statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0;
  return { path, store, write, statedBytes, pendingBytes, pinned, fileBytes };
}

/** Reads the state of now, until the returned function is called. */
function readFor(path: string): () => void {
  const db = new Database(path, { readonly: true });
  db.exec("BEGIN");
  db.prepare("SELECT count(*) FROM sessions").get();
  return () => db.close();
}

test("a reader that pins the log is told once, and after it the log is emptied without a commit", async () => {
  const { path, store, write, statedBytes, pendingBytes, pinned, fileBytes } = await rig("pinned");
  const release = readFor(path);
  await write(24);
  await until(() => pinned().length > 0);
  await until(async () => (await statedBytes()) > walBytes);
  assert.ok(pendingBytes() > walBytes);
  await write(8);
  const [event, ...others] = pinned();
  assert.equal(others.length, 0);
  assert.ok(event?.type === "wal_pinned" && event.path === path && event.walBytes > walBytes / 2);
  release();
  await until(async () => (await statedBytes()) === 0);
  assert.ok(pendingBytes() <= walBytes / 4);
  // Later commits cut the file, a part each time.
  for (let n = 0; n < 20 && fileBytes() > walBytes; n++) await write(5);
  assert.ok(fileBytes() <= walBytes, `${fileBytes()} bytes`);
  // The log can be pinned again.
  const releaseAgain = readFor(path);
  await write(16);
  await until(() => pinned().length === 2);
  releaseAgain();
  await store.close();
});

test("a store that is closed while a reader pins its log closes at once, and loses nothing", async () => {
  const { path, store, write, pinned } = await rig("closed");
  const release = readFor(path);
  await write(16);
  await until(() => pinned().length > 0);
  const { items } = await store.sessions.list({ limit: 500 });
  await store.close();
  release();
  const again = await openStore({ url: `sqlite:${path}` });
  assert.equal((await again.sessions.list({ limit: 500 })).items.length, items.length);
  await again.close();
});

test("a log without a reader that pins it stays small, and is not told", async () => {
  const { store, write, pinned, fileBytes } = await rig("free");
  await write(24);
  assert.ok(fileBytes() <= walBytes);
  assert.deepEqual(pinned(), []);
  await store.close();
});
