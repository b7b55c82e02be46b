// store.backup copies a store in steps on the writer's own connection, while calls go on.
import assert from "node:assert/strict";
import { existsSync, readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import Database from "better-sqlite3";
import { type BackupProgress, type OwnedStore, openStore } from "../../../src/index.ts";
import { verifyBackup } from "../../../src/sqlite/verify.ts";
import { fixtures, openTestStore } from "../../../src/testing/index.ts";
import { dropDatabase, newDatabase } from "../../support/postgres.ts";
import { assertSoundAt } from "../../support/sound.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";

/** Fills the store with a number of megabytes of log. */
async function fill(store: OwnedStore, megabytes: number): Promise<void> {
  for (let made = 0; made < megabytes; made += 10) {
    const { command, fence } = await fixtures(store).claim();
    for (let offset = 0; offset < 10_485_760; offset += 65_536) {
      await store.logs.append({ commandId: command.id, fence, offset, data: new Uint8Array(65_536).fill(97) });
    }
  }
}

test("a backup beside writers is complete, private and as of one moment, and reports its progress", async (t) => {
  const folder = temporaryFolder();
  const store = await openStore({ url: `sqlite:${join(folder, "store.db")}` });
  t.after(() => store.close());
  await fill(store, 10);
  const { repository } = await fixtures(store).repository();
  const progress: BackupProgress[] = [];
  let written = 0;
  let over = false;
  const writing = (async () => {
    while (!over) {
      // A transaction adds both or neither.
      await store.atomically((tx) => {
        tx.sessions.create({
          repositoryId: repository.id,
          commitSha: "a".repeat(40),
          metadata: { filler: "x".repeat(2_000) },
        });
        tx.repositories.upsert({ name: `other-${written}` });
      });
      written++;
    }
  })();
  const { path, manifestPath, manifest } = await store.backup({
    reason: "a test",
    onProgress: (one) => void progress.push(one),
  });
  over = true;
  await writing;
  assert.equal(dirname(path), join(folder, "backups"));
  assert.deepEqual(
    [path, manifestPath].map((file) => statSync(file).mode & 0o777),
    [0o600, 0o600],
  );
  assert.deepEqual(readdirSync(dirname(path)).length, 2);
  verifyBackup({ path, manifestPath, manifest });
  assert.equal(manifest.reason, "a test");
  assert.equal(manifest.revision, (await store.maintenance.health()).checks.schema.at);
  assert.ok((manifest.rows.sessions as number) > 1 && written > 1);
  const db = new Database(path, { readonly: true });
  t.after(() => db.close());
  assert.equal(
    manifest.rows.repositories,
    (db.prepare("SELECT count(*) FROM sessions WHERE repository_id = ?").pluck().get(repository.id) as number) + 2,
  );
  for (const one of progress) assert.ok(one.doneBytes <= one.totalBytes);
  assert.ok(progress.some(({ phase }) => phase === "copying") && progress.at(-1)?.phase === "checking");
  assert.deepEqual(progress.at(-1)?.doneBytes, manifest.bytes);
  await assertSoundAt(`sqlite:${path}`);
});

test("the 99th percentile of writers during a backup stays within a factor of that before it", async (t) => {
  const folder = temporaryFolder();
  const store = await openStore({ url: `sqlite:${join(folder, "store.db")}` });
  t.after(() => store.close());
  await fill(store, 100);
  const claims = await Promise.all(Array.from({ length: 16 }, () => fixtures(store).claim()));
  const ends = claims.map(() => 0);
  /** Measures the appends of 16 writers, each with one call at a time, until the signal. */
  const measure = async (
    until: Promise<unknown>,
  ): Promise<{ p50: number; p99: number; worst: number; calls: number }> => {
    let over = false;
    const timesMs: number[] = [];
    const writers = claims.map(async ({ command, fence }, index) => {
      while (!over) {
        const startedAtMs = performance.now();
        const { ackOffset } = await store.logs.append({
          commandId: command.id,
          fence,
          offset: ends[index] as number,
          data: Buffer.alloc(100, 98),
        });
        ends[index] = ackOffset;
        timesMs.push(performance.now() - startedAtMs);
      }
    });
    await until;
    over = true;
    await Promise.all(writers);
    timesMs.sort((left, right) => left - right);
    const at = (share: number) => Math.round((timesMs[Math.floor(timesMs.length * share)] as number) * 10) / 10;
    return { p50: at(0.5), p99: at(0.99), worst: at(0.999999), calls: timesMs.length };
  };
  const alone = await measure(new Promise((resolve) => setTimeout(resolve, 2_000)));
  let copied: (() => void) | undefined;
  const copying = new Promise<void>((resolve) => {
    copied = resolve;
  });
  const startedAtMs = performance.now();
  let copiedMs = 0;
  const backup = store.backup({
    onProgress({ phase }) {
      if (phase !== "checking" || copiedMs > 0) return;
      copiedMs = performance.now() - startedAtMs;
      copied?.();
    },
  });
  const during = await measure(copying);
  const { manifest } = await backup;
  const megabytes = Math.round(manifest.bytes / 1_048_576);
  t.diagnostic(
    `16 writers alone: ${JSON.stringify(alone)}; during a backup of ${megabytes} MiB that took ${Math.round(copiedMs)} ms: ${JSON.stringify(during)}`,
  );
  assert.ok(during.calls > 100);
  // A wide margin, because test machines are busy. It only excludes a writer that waits for the whole backup.
  assert.ok(during.worst < copiedMs / 2, `a call took ${during.worst} of ${copiedMs} ms`);
  assert.ok(
    during.p99 < Math.max(100, alone.p99 * 10),
    `p99 was ${alone.p99} ms alone and ${during.p99} ms during the backup`,
  );
});

test("a backup that is aborted by its signal, or by closing the store, fails and leaves nothing", async () => {
  const folder = temporaryFolder();
  const store = await openStore({ url: `sqlite:${join(folder, "store.db")}` });
  await fill(store, 20);
  const aborter = new AbortController();
  const path = join(folder, "copy.db");
  await assert.rejects(store.backup({ path, signal: aborter.signal, onProgress: () => aborter.abort() }), {
    code: "aborted",
  });
  const begun = Promise.withResolvers<void>();
  const closing = store.backup({ path, onProgress: () => begun.resolve() });
  await Promise.all([assert.rejects(closing, { code: "closed" }), begun.promise.then(() => store.close())]);
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith("copy")),
    [],
  );
  await assert.rejects(store.backup({ path }), { code: "closed" });
  assert.ok(!existsSync(path));
});

test("a target that exists is refused, a missing folder is created, and two backups at once do not collide", async (t) => {
  const folder = temporaryFolder();
  const store = await openStore({ url: `sqlite:${join(folder, "store.db")}` });
  t.after(() => store.close());
  const path = join(folder, "elsewhere", "copy.db");
  const { manifest } = await store.backup({ path });
  assert.equal(statSync(dirname(path)).mode & 0o777, 0o700);
  await assert.rejects(store.backup({ path }), { code: "conflict" });
  verifyBackup({ path, manifestPath: `${path}.json`, manifest });
  const [first, second] = await Promise.all(["1.db", "2.db"].map((name) => store.backup({ path: join(folder, name) })));
  assert.deepEqual(first?.manifest.rows, second?.manifest.rows);
});

test("of two backups to one path at the same moment one is made, and the other says why not", async (t) => {
  const folder = temporaryFolder();
  const store = await openStore({ url: `sqlite:${join(folder, "store.db")}` });
  t.after(() => store.close());
  const path = join(folder, "daily.db");
  const [first, second] = await Promise.allSettled([store.backup({ path }), store.backup({ path })]);
  assert.ok(first.status === "fulfilled" && second.status === "rejected");
  assert.deepEqual([second.reason.code, second.reason.details.reason], ["conflict", "in_progress"]);
  verifyBackup(first.value);
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith("daily")),
    ["daily.db", "daily.db.json"],
  );
});

test("a listener of the progress that throws, or rejects, does not disturb the backup", async (t) => {
  const folder = temporaryFolder();
  const stores = [await openStore({ url: `sqlite:${join(folder, "store.db")}` }), await openTestStore()];
  const warnings: string[] = [];
  const warned = t.mock.method(process, "emitWarning", (warning: Error) => void warnings.push(warning.message));
  t.after(async () => {
    for (const store of stores) await store.close();
  });
  let made = 0;
  for (const store of stores) {
    const listeners = [
      () => {
        throw new Error("my progress bar is broken");
      },
      async () => Promise.reject(new Error("my progress bar is broken")),
    ];
    for (const onProgress of listeners) {
      const path = join(folder, `copy-${made++}.db`);
      verifyBackup(await store.backup({ path, onProgress }));
      assert.deepEqual(warnings.splice(0), ["my progress bar is broken"]);
    }
  }
  warned.mock.restore();
});

test("a store in memory is backed up to a named file", async (t) => {
  const path = join(temporaryFolder(), "copy.db");
  const store = await openTestStore();
  t.after(() => store.close());
  await fixtures(store).session();
  await assert.rejects(store.backup(), { code: "invalid_input" });
  const { manifest } = await store.backup({ path });
  assert.equal(manifest.rows.sessions, 1);
});

test("on PostgreSQL the error names the pg_dump command to run, without the password", async (t) => {
  const url = await newDatabase();
  t.after(() => dropDatabase(url));
  const store = await openStore({ url });
  t.after(() => store.close());
  const { username, host, pathname } = new URL(url);
  await assert.rejects(store.backup(), {
    code: "incompatible",
    message: new RegExp(
      `run pg_dump --format=custom --file=metadata\\.dump postgres://${username}@${host}${pathname}$`,
    ),
  });
});
