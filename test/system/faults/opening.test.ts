// The errors of openStore with their messages, and the files that it creates.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import Database from "better-sqlite3";
import { attachStore, openStore, type StoreEvent, type StoreOptions } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { until } from "./until.ts";

const root = temporaryFolder();
let files = 0;
const newPath = (): string => join(root, `file-${++files}.db`);

async function assertRefused(path: string, code: string, message: RegExp, options: StoreOptions = {}): Promise<void> {
  await assert.rejects(
    openStore({ url: `sqlite:${path}`, ...options }),
    (error: Error & { code: string; outcome: string }) => {
      assert.equal(error.code, code);
      assert.equal(error.outcome, "not_run");
      assert.match(error.message, message);
      assert.ok(!error.message.includes("\n"), "the message is one line");
      return true;
    },
  );
}

/** Creates a store, closes it, and lets the test change its file. */
async function createFile(change: (db: Database.Database) => void = () => undefined): Promise<string> {
  const path = newPath();
  await (await openStore({ url: `sqlite:${path}` })).close();
  const db = new Database(path);
  change(db);
  db.close();
  return path;
}

test("a file that is not a database is refused", async () => {
  const path = newPath();
  writeFileSync(path, "this is text and not a database\n".repeat(100));
  await assertRefused(path, "incompatible", /not a (SQLite )?database/);
});

const noFolders = process.platform === "linux" ? false : "there is no /proc here";

test("a path at which no folder can be made is refused at once, in the words of the system", {
  skip: noFolders,
}, async () => {
  writeFileSync(join(root, "plain"), "");
  for (const [path, message] of [
    ["/proc/nothing/here/store.db", /cannot be created: a part of the path does not exist/],
    ["/proc/store.db", /cannot be created: a part of the path does not exist/],
    ["/dev/null/store.db", /cannot be created: a part of the path is not a folder/],
    [join(root, "plain", "below", "store.db"), /cannot be created: a part of the path is not a folder/],
  ] as const)
    await assertRefused(path, "incompatible", message);
});

test("a database of another program, recognized by its tables or its application id, is refused and left unchanged", async () => {
  for (const text of ["CREATE TABLE other (x)", "PRAGMA application_id = 42"]) {
    const path = newPath();
    const db = new Database(path);
    db.exec(text);
    db.close();
    const before = statSync(path);
    await assertRefused(path, "incompatible", /belongs to another program: name another file/);
    assert.equal(statSync(path).mtimeMs, before.mtimeMs);
    assert.equal(statSync(path).size, before.size);
  }
});

test("an older schema is refused with the command to run", async () => {
  const path = await createFile((db) => db.exec("DELETE FROM schema_migrations"));
  await assertRefused(path, "incompatible", /run debug-server-db migrate upgrade head/);
});

test("a newer schema is refused", async () => {
  const path = await createFile((db) =>
    db.exec(
      "INSERT INTO schema_migrations SELECT '9999', 'later', sha256, applied_at, 0, '9.9.9' FROM schema_migrations LIMIT 1",
    ),
  );
  await assertRefused(path, "incompatible", /9999, which is newer.*install a newer version/);
});

test("a migration that was edited after it was applied is refused", async () => {
  const path = await createFile((db) =>
    db.exec("UPDATE schema_migrations SET sha256 = 'other' WHERE revision = '0001'"),
  );
  await assertRefused(
    path,
    "incompatible",
    /0001_initial\.sqlite\.sql was edited after it was applied: restore the file/,
  );
});

test("a file of ours without its ledger of migrations is refused", async () => {
  const path = await createFile((db) => db.exec("DROP TABLE schema_migrations"));
  await assertRefused(
    path,
    "incompatible",
    /there is no table schema_migrations: restore a backup, or, .* run debug-server-db migrate stamp REV/,
  );
  const empty = await createFile((db) => {
    db.pragma("foreign_keys = OFF");
    for (const name of db
      .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
      .pluck()
      .all())
      db.exec(`DROP TABLE ${name}`);
  });
  await assertRefused(empty, "incompatible", /the database is empty: run debug-server-db migrate upgrade head/);
});

test("a link, a folder, a path below a file, and a missing file are refused", async () => {
  const target = await createFile();
  const link = newPath();
  symlinkSync(target, link);
  await assertRefused(link, "incompatible", /not a regular file/);
  const folder = newPath();
  mkdirSync(folder);
  await assertRefused(folder, "incompatible", /not a regular file/);
  await assertRefused(join(target, "below.db"), "incompatible", /not a folder|cannot be created/);
  await assertRefused(newPath(), "incompatible", /does not exist: run debug-server-db migrate upgrade head/, {
    migrate: "never",
  });
});

test("an empty file becomes a new database", async () => {
  const path = newPath();
  writeFileSync(path, "");
  await assertRefused(path, "incompatible", /empty/, { migrate: "never" });
  await (await openStore({ url: `sqlite:${path}` })).close();
});

test("invalid urls and limits are refused", async () => {
  for (const url of ["mysql://localhost", "sqlite:", "metadata.db"]) {
    await assert.rejects(openStore({ url }), {
      code: "invalid_input",
      message: /expected sqlite:PATH|sqlite: names no file/,
    });
  }
  await assert.rejects(openStore({ url: `sqlite:${newPath()}`, limits: { nothing: 1 } as never }), {
    code: "invalid_input",
    message: /no limit nothing/,
  });
  await assert.rejects(openStore({ url: `sqlite:${newPath()}`, limits: { groupMs: -1 } }), {
    code: "invalid_input",
    message: /groupMs/,
  });
  await assert.rejects(openStore({ url: `sqlite:${newPath()}`, limits: { groupMs: 1.5 } }), { code: "invalid_input" });
  // A longer timer would fire at once.
  await assert.rejects(openStore({ url: `sqlite:${newPath()}`, limits: { callMs: 2 ** 31 } }), {
    code: "invalid_input",
    message: /limits.callMs/,
  });
  // Nothing would ever run in groups of 0 calls.
  await assert.rejects(openStore({ url: `sqlite:${newPath()}`, limits: { groupCalls: 0 } }), {
    code: "invalid_input",
    message: /limits.groupCalls/,
  });
  // SQLite takes a value that is not a number for no limit.
  for (const maxBytes of [Number.NaN, Number.POSITIVE_INFINITY, 0, -1, 1.5, "10MB" as never]) {
    await assert.rejects(openStore({ url: `sqlite:${newPath()}`, maxBytes }), {
      code: "invalid_input",
      message: /^maxBytes: /,
    });
  }
});

test("the file and its companions have mode 0600, in a folder with mode 0700", async () => {
  const folder = join(root, "deep", "er");
  const store = await openStore({ url: `sqlite:${join(folder, "store.db")}` });
  await fixtures(store).repository();
  assert.equal(statSync(folder).mode & 0o777, 0o700);
  const names = readdirSync(folder);
  assert.ok(names.includes("store.db-wal"));
  for (const name of names) assert.equal(statSync(join(folder, name)).mode & 0o777, 0o600, name);
  await store.close();
  assert.deepEqual(readdirSync(folder), ["store.db"]);
});

test("the file keeps WAL, incremental auto_vacuum and the application id", async () => {
  const path = await createFile((db) => {
    assert.equal(db.pragma("journal_mode", { simple: true }), "wal");
    assert.equal(db.pragma("auto_vacuum", { simple: true }), 2);
    assert.equal(db.pragma("application_id", { simple: true }), 0x44534442);
    assert.deepEqual(db.pragma("foreign_key_check"), []);
  });
  // Opening it again starts the next epoch of the same store.
  const events: StoreEvent[] = [];
  const store = await openStore({ url: `sqlite:${path}`, onEvent: (event) => events.push(event) });
  await store.runners.list();
  assert.deepEqual(events, [{ type: "opened", epoch: 2 }]);
  await store.close();
});

test("when 4 processes open the same new file at once, one creates the schema, and all can use it", async () => {
  const path = newPath();
  const script = fileURLToPath(new URL("./openingProcess.ts", import.meta.url));
  const run = promisify(execFile);
  const outputs = await Promise.all(
    Array.from({ length: 4 }, () => run(process.execPath, [script, `sqlite:${path}`], { timeout: 60_000 })),
  );
  for (const { stdout } of outputs) assert.equal(stdout, "ok\n");
  const db = new Database(path, { readonly: true });
  assert.equal(db.prepare("SELECT count(*) FROM repositories").pluck().get(), 4);
  assert.equal(db.prepare("SELECT value FROM store_meta WHERE key = 'epoch'").pluck().get(), "4");
  db.close();
});

test("without a url option, DEBUG_SERVER_DB_URL names the database", async () => {
  const path = newPath();
  const script = fileURLToPath(new URL("./openingProcess.ts", import.meta.url));
  await promisify(execFile)(process.execPath, [script], {
    timeout: 60_000,
    env: { ...process.env, DEBUG_SERVER_DB_URL: `sqlite:${path}` },
  });
  assert.ok(statSync(path).size > 0);
});

test("a url that is empty, or that would name another file than the one meant, is refused; a blank variable is not set", async () => {
  const folder = temporaryFolder();
  for (const url of ["", " ", "sqlite:", "sqlite://x.db", "sqlite: x.db", "sqlite:$HOME/x.db"])
    await assert.rejects(openStore({ url }), { code: "invalid_input", message: /^url: / });
  const script = fileURLToPath(new URL("./openingProcess.ts", import.meta.url));
  const open = (variable: string) =>
    promisify(execFile)(process.execPath, [script], {
      cwd: folder,
      timeout: 60_000,
      env: { ...process.env, DEBUG_SERVER_DB_URL: variable, HOME: folder },
    });
  await open("\r");
  assert.deepEqual(readdirSync(folder, { recursive: true }).sort(), [
    ".artifacts",
    ".artifacts/.gitignore",
    ".artifacts/data",
    ".artifacts/data/metadata.db",
  ]);
  await open("sqlite:~/home.db\r");
  assert.ok(existsSync(join(folder, "home.db")));
  await assert.rejects(open("sqlite://x.db"), /DEBUG_SERVER_DB_URL: after sqlite:\/\//);
  assert.deepEqual(readdirSync(folder).sort(), [".artifacts", "home.db"]);
});

test("while another process holds the write lock, reads run, and writes wait for it or fail with busy after busyGiveUpMs", async () => {
  const path = await createFile();
  const store = await openStore({ url: `sqlite:${path}`, limits: { busyGiveUpMs: 400, busyMs: 10, reapEveryMs: 0 } });
  const other = new Database(path);
  other.exec("BEGIN IMMEDIATE");
  const waits = store.repositories.upsert({ name: "waits" });
  // The reads of a client wait behind its own writes; those of another client run.
  const reader = attachStore(store.connect());
  assert.deepEqual((await reader.runners.list()).items, []);
  other.exec("COMMIT");
  assert.equal((await waits).name, "waits");
  other.exec("BEGIN IMMEDIATE");
  const tooLong = store.repositories.upsert({ name: "too long" });
  await assert.rejects(tooLong, { code: "busy", outcome: "not_run", retryable: true });
  other.exec("COMMIT");
  other.close();
  assert.equal(await store.repositories.find({ name: "too long" }), undefined);
  await store.close();
});

test("a parked call is woken by the commit of another process", async () => {
  const path = newPath();
  const store = await openStore({ url: `sqlite:${path}` });
  const { runner } = await fixtures(store).runner();
  const { repository } = await fixtures(store).repository();
  const claim = store.commands.claim({ runnerId: runner.id, waitMs: 60_000 });
  await until(async () => (await store.maintenance.stats()).serving.parked === 1);
  const script = fileURLToPath(new URL("./openingProcess.ts", import.meta.url));
  await promisify(execFile)(process.execPath, [script, `sqlite:${path}`, "enqueue", repository.id], {
    timeout: 60_000,
  });
  const claimed = await claim;
  assert.deepEqual(claimed?.command.argv, ["from another process"]);
  await store.close();
});
