// Commands on a database that can be read and not written: on a read-only file system, in a folder or of a file
// without the rights to write. Commands that read work, and the others say what is read-only.
import assert from "node:assert/strict";
import { type ExecFileOptions, execFile, spawnSync } from "node:child_process";
import { chmodSync, chownSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { openStore } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { isOpenToAll } from "../../support/openToAll.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { type Ended, inheritedVariables, runProcess } from "./commandLine.ts";

/** Creates a database with a claimed command and its log. */
async function filled(t: TestContext) {
  const folder = temporaryFolder();
  const path = join(folder, "metadata.db");
  const url = `sqlite:${path}`;
  const store = await openStore({ url, limits: { reapEveryMs: 0 } });
  t.after(() => store.close());
  const { repository } = await fixtures(store).repository({ name: "read" });
  const owned = await fixtures(store).session({ repositoryId: repository.id });
  const { claim } = await fixtures(store).claim({ sessionId: owned.session.id });
  const { session, command } = claim;
  await store.logs.append({
    commandId: command.id,
    fence: claim.fence,
    offset: 0,
    data: new TextEncoder().encode("one line\n"),
  });
  return { folder, path, url, store, sessionId: session.id, commandId: command.id };
}

type Filled = Awaited<ReturnType<typeof filled>>;
/** Runs commands one after the other, in one process: starting it takes longer than most of them. */
type RunAll = (...calls: readonly (readonly string[])[]) => Promise<readonly Ended[]>;

/** Runs the commands that read, and some that write. */
async function assertOnlyReads(
  { url, path, sessionId, commandId }: Filled,
  runAll: RunAll,
  reason: RegExp,
): Promise<void> {
  const reads: readonly (readonly [args: readonly string[], output: RegExp])[] = [
    [["repositories", "list"], /read/],
    [["sessions", "show", sessionId], new RegExp(commandId)],
    [["logs", "show", commandId], /^one line\n$/],
    [["runners", "list"], /online/],
    [["info"], new RegExp(path)],
    [["migrate", "current"], /^0\d{3} /],
  ];
  const writes = [
    ["commands", "cancel", commandId],
    ["admin", "create-account", "ada"],
    ["migrate", "downgrade", "0001", "--allow-data-loss"],
  ];
  const calls = [...reads.map(([args]) => args), ["health"], ...writes];
  const ended = await runAll(...calls.map((args) => [...args, "--url", url]));
  assert.equal(ended.length, calls.length);
  for (const [index, { code, stdout, stderr }] of ended.entries()) {
    const what = calls[index]?.join(" ") ?? "";
    if (index < reads.length) {
      assert.equal(code, 0, `${what}: ${stderr}`);
      assert.match(stdout, reads[index]?.[1] as RegExp);
    } else if (what === "health") {
      assert.equal(code, 7);
      assert.match(stdout, /^file +not ok +read-only$/m);
    } else {
      assert.equal(code, 1, what);
      assert.match(stderr, /^debug-server-db: .*read-only/);
      assert.match(stderr, reason);
      assert.ok(!stderr.trimEnd().includes("\n"), "one sentence");
    }
  }
}

const runner = fileURLToPath(new URL("runAll.ts", import.meta.url));

function runAllIn(file: string, args: readonly string[], calls: unknown, options: ExecFileOptions) {
  return new Promise<readonly Ended[]>((resolve, reject) => {
    const all = [...args, process.execPath, runner, JSON.stringify(calls)];
    execFile(file, all, { ...options, timeout: 60_000, env: inheritedVariables() }, (error, stdout) =>
      error === null ? resolve(JSON.parse(String(stdout)) as readonly Ended[]) : reject(error),
    );
  });
}

/** Runs commands in a mount namespace of their own, in which the folder is read-only. */
function onReadOnlyMount(folder: string): RunAll {
  const script = `mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"`;
  return (...calls) => runAllIn("unshare", ["--mount", "sh", "-c", script, folder], calls, {});
}

const mounts = spawnSync("unshare", ["--mount", "sh", "-c", `mount --bind "$0" "$0"`, temporaryFolder()]);
const noMounts = mounts.status === 0 ? false : "file systems may not be mounted here";

test("on a read-only file system, a database that was closed, killed or is being served can be read", {
  skip: noMounts,
}, async (t) => {
  const database = await filled(t);
  const runAll = onReadOnlyMount(database.folder);
  const reason = /metadata\.db is on a read-only file system: mount it/;
  await assertOnlyReads(database, runAll, reason);
  await database.store.repositories.upsert({ name: "newest" });
  const [newest] = await runAll(["repositories", "list", "--url", database.url]);
  assert.match(newest?.stdout ?? "", /newest/);
  await database.store.close();
  assert.deepEqual(readdirSync(database.folder), ["metadata.db"]);
  await assertOnlyReads(database, runAll, reason);
  const target = join(temporaryFolder(), "copy.db");
  const missing = `sqlite:${join(database.folder, "new", "x.db")}`;
  const [backup, demo, seed, seedOfNew] = await runAll(
    ["backup", "create", "--out", target, "--url", database.url],
    ["demo", "--url", database.url],
    ["admin", "seed", "--url", database.url],
    ["admin", "seed", "--url", missing],
  );
  assert.equal(backup?.code, 0, backup?.stderr);
  assert.equal((await runProcess(database.folder, ["repositories", "list", "--url", `sqlite:${target}`])).code, 0);
  for (const ended of [demo, seed]) assert.deepEqual([ended?.code, reason.test(ended?.stderr ?? "")], [1, true]);
  assert.match(seedOfNew?.stderr ?? "", /cannot be created: the file system is read-only/);
});

test("changes that are only in a WAL are not left out: the database is refused until both are copied", {
  skip: noMounts,
}, async (t) => {
  const database = await filled(t);
  await database.store.close();
  const db = new Database(database.path);
  db.exec("UPDATE repositories SET name = 'in the WAL'");
  const content = [database.path, `${database.path}-wal`].map((file) => [file, readFileSync(file)] as const);
  db.close();
  for (const [file, bytes] of content) writeFileSync(file, bytes);
  const runAll = onReadOnlyMount(database.folder);
  const [list] = await runAll(["repositories", "list", "--url", database.url]);
  assert.equal(list?.code, 1);
  assert.match(list?.stderr ?? "", /-wal holds changes that cannot be read in a folder that cannot be written: copy /);
  rmSync(`${database.path}-wal`);
});

const noUser =
  process.getuid?.() !== 0
    ? "another user needs root"
    : isOpenToAll(import.meta.dirname)
      ? false
      : "no other user may enter the folder of this package";

for (const [what, modes] of [
  ["a file that may not be written, in a folder that may", { file: 0o444, folder: 0o777 }],
  ["a folder that may not be written", { file: 0o666, folder: 0o755 }],
] as const)
  test(`${what} can be read, and nothing is left in the folder`, { skip: noUser }, async (t) => {
    const database = await filled(t);
    await database.store.close();
    chmodSync(database.path, modes.file);
    chmodSync(database.folder, modes.folder);
    const before = readFileSync(database.path);
    const runAll: RunAll = (...calls) => runAllIn("/usr/bin/env", [], calls, { cwd: "/", uid: 65_534, gid: 65_534 });
    await assertOnlyReads(
      database,
      runAll,
      /belongs to user 0 \(mode (?:444|755)\), and this process runs as user 65534/,
    );
    assert.deepEqual(readdirSync(database.folder), ["metadata.db"]);
    assert.deepEqual(readFileSync(database.path), before);
    // The user who owns both goes on as before.
    for (const file of [database.folder, database.path]) chownSync(file, 65_534, 65_534);
    chmodSync(database.path, 0o600);
    const [cancel] = await runAll(["commands", "cancel", database.commandId, "--url", database.url]);
    assert.equal(cancel?.code, 0, cancel?.stderr);
  });
