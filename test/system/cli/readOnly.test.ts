// Commands on a database that can be read and not written: on a read-only file system, in a folder or of a file
// without the rights to write. Commands that read work, and the others say what is read-only.
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { chmodSync, chownSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import Database from "better-sqlite3";
import { openStore } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { isOpenToAll } from "../../support/openToAll.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { bin, type Ended, inheritedVariables, runProcess } from "./commandLine.ts";

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
type Run = (...args: readonly string[]) => Promise<Ended>;

/** Runs the commands that read, and some that write. */
async function assertOnlyReads({ url, path, sessionId, commandId }: Filled, run: Run, reason: RegExp): Promise<void> {
  const at = ["--url", url];
  for (const [args, output] of [
    [["repositories", "list"], /read/],
    [["sessions", "show", sessionId], new RegExp(commandId)],
    [["logs", "show", commandId], /^one line\n$/],
    [["runners", "list"], /online/],
    [["info"], new RegExp(path)],
    [["migrate", "current"], /^0\d{3} /],
  ] as const) {
    const { code, stdout, stderr } = await run(...args, ...at);
    assert.equal(code, 0, `${args.join(" ")}: ${stderr}`);
    assert.match(stdout, output);
  }
  const health = await run("health", ...at);
  assert.equal(health.code, 7);
  assert.match(health.stdout, /^file +not ok +read-only$/m);
  for (const args of [
    ["commands", "cancel", commandId],
    ["admin", "create-account", "ada"],
    ["migrate", "downgrade", "0001", "--allow-data-loss"],
  ]) {
    const { code, stderr } = await run(...args, ...at);
    assert.equal(code, 1, args.join(" "));
    assert.match(stderr, /^debug-server-db: .*read-only/);
    assert.match(stderr, reason);
    assert.ok(!stderr.trimEnd().includes("\n"), "one sentence");
  }
}

/** Runs a command in a mount namespace of its own, in which the folder is read-only. */
function onReadOnlyMount(folder: string): Run {
  const script = `mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"`;
  return (...args) =>
    new Promise((resolve) => {
      const command = ["--mount", "sh", "-c", script, folder, process.execPath, bin, ...args];
      execFile("unshare", command, { timeout: 60_000, env: inheritedVariables() }, (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
      );
    });
}

const mounts = spawnSync("unshare", ["--mount", "sh", "-c", `mount --bind "$0" "$0"`, temporaryFolder()]);
const noMounts = mounts.status === 0 ? false : "file systems may not be mounted here";

test("on a read-only file system, a database that was closed, killed or is being served can be read", {
  skip: noMounts,
}, async (t) => {
  const database = await filled(t);
  const run = onReadOnlyMount(database.folder);
  const reason = /metadata\.db is on a read-only file system: mount it/;
  await assertOnlyReads(database, run, reason);
  await database.store.repositories.upsert({ name: "newest" });
  assert.match((await run("repositories", "list", "--url", database.url)).stdout, /newest/);
  await database.store.close();
  assert.deepEqual(readdirSync(database.folder), ["metadata.db"]);
  await assertOnlyReads(database, run, reason);
  const target = join(temporaryFolder(), "copy.db");
  assert.equal((await run("backup", "create", "--out", target, "--url", database.url)).code, 0);
  assert.equal((await runProcess(database.folder, ["repositories", "list", "--url", `sqlite:${target}`])).code, 0);
  for (const args of [["demo"], ["admin", "seed"]]) {
    const { code, stderr } = await run(...args, "--url", database.url);
    assert.deepEqual([code, reason.test(stderr)], [1, true], stderr);
  }
  const missing = await run("admin", "seed", "--url", `sqlite:${join(database.folder, "new", "x.db")}`);
  assert.match(missing.stderr, /cannot be created: the file system is read-only/);
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
  const run = onReadOnlyMount(database.folder);
  const { code, stderr } = await run("repositories", "list", "--url", database.url);
  assert.equal(code, 1);
  assert.match(stderr, /-wal holds changes that cannot be read in a folder that cannot be written: copy /);
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
    const run: Run = (...args) => runProcess("/", args, { uid: 65_534 });
    await assertOnlyReads(database, run, /belongs to user 0 \(mode (?:444|755)\), and this process runs as user 65534/);
    assert.deepEqual(readdirSync(database.folder), ["metadata.db"]);
    assert.deepEqual(readFileSync(database.path), before);
    // The user who owns both goes on as before.
    for (const file of [database.folder, database.path]) chownSync(file, 65_534, 65_534);
    chmodSync(database.path, 0o600);
    assert.equal((await run("commands", "cancel", database.commandId, "--url", database.url)).code, 0);
  });
