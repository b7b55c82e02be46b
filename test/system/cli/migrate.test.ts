// debug-server-db migrate as people and scripts use it: its messages, its JSON, and every exit code.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  cpSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { suite, test } from "node:test";
import Database from "better-sqlite3";
import { openStore } from "../../../src/index.ts";
import { migrationsFolder, readMigrations } from "../../../src/schema/migrationFiles.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { contentsOf, migrationFolder, withDatabase } from "../../engines/migrate/migrationFolder.ts";
import { isOpenToAll } from "../../support/openToAll.ts";
import { type Ended, run, runProcess, startProcess, workingFolder } from "./commandLine.ts";

const migrations = readMigrations("sqlite");
const head = migrations.at(-1)?.revision as string;
const before = migrations.at(-2)?.revision as string;

interface StoreFolder {
  readonly folder: string;
  readonly path: string;
  readonly url: string;
  migrate(...args: readonly string[]): Promise<Ended>;
}

function storeFolder(): StoreFolder {
  const { folder, path, url } = migrationFolder([]);
  return { folder, path, url, migrate: (...args) => run(folder, ["migrate", ...args, "--url", url]) };
}

/** Creates a store with data at a revision. */
async function filled(revision = head): Promise<StoreFolder> {
  const store = storeFolder();
  const owned = await openStore({ url: store.url });
  const { session, lease } = await fixtures(owned).session({ reserve: { owner: "o" }, commands: [{ argv: ["a"] }] });
  await owned.worktrees.ready({ worktreeId: lease?.worktree.id as string, fence: lease?.fence as number });
  await owned.sessions.cancel({ sessionId: session.id });
  await owned.close();
  if (revision !== head)
    assert.equal((await store.migrate("downgrade", revision, "--no-backup", "--allow-data-loss")).code, 0);
  return store;
}

function sentence({ stderr, stdout, code }: Ended, expected: number, pattern: RegExp): void {
  assert.match(stderr, pattern);
  assert.match(stderr, /^debug-server-db: [^\n]+\n$/);
  assert.deepEqual([code, stdout], [expected, ""]);
}

suite("migrate", { concurrency: 2 }, () => {
  test("upgrade creates the same database as openStore, and the other commands agree", async () => {
    const { migrate, path, url } = storeFolder();
    const made = await migrate("upgrade");
    assert.match(made.stdout, new RegExp(`\\nThe schema was at base and is now at ${head}\\.\\n$`));
    assert.deepEqual([made.code, statSync(path).mode & 0o777, readdirSync(join(path, ".."))], [0, 0o600, ["store.db"]]);
    assert.equal((await migrate("upgrade")).stdout, `The schema is at ${head}: nothing to do.\n`);
    assert.equal((await migrate("current")).stdout, `${head} ${migrations.at(-1)?.name} (head)\n`);
    assert.match(
      (await migrate("history")).stdout,
      /^revision {2}name +state +applied +time {2}by\n0001 +initial +applied {2}\d{4}-/,
    );
    assert.equal((await migrate("pending")).stdout, "None.\n");
    assert.match((await migrate("check")).stdout, /^Nothing found/);
    assert.match((await migrate("plan")).stdout, /nothing to do/);
    assert.match((await migrate("verify")).stdout, /the same whichever way it is reached\.\n$/);
    await (await openStore({ url, migrate: "never" })).close();
  });

  test("upgrade and downgrade make backups, and the printed command restores the old database", async () => {
    const { migrate, path, folder, url } = await filled(before);
    const old = contentsOf(path);
    const went = await migrate("upgrade");
    const [, backup, sha256] =
      /\nBackup: (\S+) \(\S+ KiB, sha256 (\w{64})\)\nTo go back, stop all processes that use the database, then run:\n/.exec(
        went.stdout,
      ) ?? [];
    assert.ok(backup !== undefined, went.stdout);
    assert.equal(createHash("sha256").update(readFileSync(backup)).digest("hex"), sha256);
    const manifest = JSON.parse(readFileSync(`${backup}.json`, "utf8"));
    assert.deepEqual(
      [manifest.sha256, manifest.bytes, manifest.source, manifest.reason, manifest.rows.sessions],
      [sha256, statSync(backup).size, path, `before upgrade from ${before} to ${head}`, 1],
    );
    for (const name of readdirSync(join(path, "../backups")))
      assert.equal(statSync(join(path, "../backups", name)).mode & 0o777, 0o600, name);
    assert.equal(statSync(join(path, "../backups")).mode & 0o777, 0o700);
    const store = await openStore({ url });
    await fixtures(store).repository();
    await store.close();
    const restore = (/^ {2}debug-server-db (.+)$/m.exec(went.stdout)?.[1] ?? "").split(" ");
    assert.equal((await run(folder, restore)).code, 0, went.stdout);
    assert.deepEqual(contentsOf(path), old);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.equal(JSON.parse((await migrate("upgrade", "--json", "--no-backup")).stdout).safety, undefined);
    const down = await migrate("downgrade", "--json", "--allow-data-loss");
    assert.equal(JSON.parse(down.stdout).safety.made, true);
  });

  test("a file without data needs no backup", async () => {
    const { migrate, path } = storeFolder();
    await migrate("upgrade", "1");
    assert.equal(JSON.parse((await migrate("upgrade", "--json")).stdout).safety, undefined);
    assert.deepEqual(readdirSync(join(path, "..")), ["store.db"]);
  });

  test("a downgrade that would lose data lists the losses, and requires --allow-data-loss", async () => {
    const { migrate, path } = await filled();
    const old = contentsOf(path);
    const refused = await migrate("downgrade", "base");
    sentence(refused, 1, /drops data: .*1 row of sessions.*; nothing was changed\. To allow it, add --allow-data-loss/);
    assert.deepEqual(contentsOf(path), old);
    const planned = await migrate("plan", "base");
    assert.match(planned.stdout, /\n- table sessions\n[\s\S]*\nWould drop: 1 row of sessions\.\n/);
    const gone = await migrate("downgrade", "base", "--allow-data-loss");
    assert.match(gone.stdout, /\nDropped: 1 row of sessions\.\n[\s\S]*\nBackup: /);
    assert.match((await migrate("upgrade")).stdout, /was at base and is now at/);
  });

  test("three processes upgrade at once: one applies the migrations, the others find them applied", async () => {
    const { folder, url, path } = await filled(before);
    const other = new Database(path);
    other.exec("BEGIN IMMEDIATE");
    const started = Array.from({ length: 3 }, () =>
      startProcess(folder, ["migrate", "upgrade", "--json", "--url", url, "--lock-timeout-ms", "60000"]),
    );
    const waits = "debug-server-db: waiting for another process that uses the database\n";
    await Promise.all(started.map(({ said }) => said(waits)));
    other.exec("COMMIT");
    other.close();
    const ended = await Promise.all(started.map((one) => one.ended));
    assert.deepEqual(
      ended.map(({ code, stderr }) => [code, stderr]),
      Array.from({ length: 3 }, () => [0, waits]),
    );
    assert.deepEqual(ended.map(({ stdout }) => JSON.parse(stdout).steps.length).sort(), [0, 0, 1]);
    withDatabase(path, (db) =>
      assert.equal(db.prepare("SELECT count(*) FROM schema_migrations").pluck().get(), migrations.length),
    );
    assert.equal(readdirSync(join(path, "../backups")).length, 2);
  });

  test("revision creates the files of both dialects, which cannot be applied while they are empty", async () => {
    const { folder, migrate } = storeFolder();
    const own = join(folder, "own");
    cpSync(migrationsFolder, own, { recursive: true });
    const made = await run(folder, [
      "migrate",
      "revision",
      "-m",
      "Sessions: know their branch!",
      "--migrations",
      own,
      "--json",
    ]);
    const next = String(Number(head) + 1).padStart(4, "0");
    assert.deepEqual(JSON.parse(made.stdout), {
      files: ["sqlite", "postgres"].map((dialect) => join(own, `${next}_sessions_know_their_branch.${dialect}.sql`)),
    });
    assert.equal(
      readFileSync(JSON.parse(made.stdout).files[0], "utf8"),
      `-- ${next}: Sessions: know their branch!\n-- up\n\n-- down\n`,
    );
    sentence(await migrate("upgrade", "--migrations", own), 1, /the up part is empty: write it first/);
    sentence(
      await run(folder, ["migrate", "revision", "-m", "!", "--migrations", own]),
      2,
      /must contain letters or digits/,
    );
  });

  test("every command prints JSON, and takes the URL from the environment", async () => {
    const { folder, url, migrate } = await filled(before);
    for (const [args, expected] of [
      [["current"], { revision: before, name: migrations.at(-2)?.name, head, atHead: false }],
      [["pending"], [{ revision: head, name: migrations.at(-1)?.name, state: "pending" }]],
      [["stamp", before], { from: before, to: before, differences: [] }],
      [["check"], [{ kind: "pending", revision: head, name: migrations.at(-1)?.name }]],
    ] as const) {
      const { stdout } = await run(folder, ["migrate", ...args, "--json"], { env: { DEBUG_SERVER_DB_URL: url } });
      assert.deepEqual(JSON.parse(stdout), expected, args[0]);
    }
    const entries = JSON.parse((await migrate("history", "-r", `${before}:`, "--json")).stdout);
    assert.deepEqual(
      entries.map(({ revision, state }: { revision: string; state: string }) => [revision, state]),
      [
        [before, "applied"],
        [head, "pending"],
      ],
    );
    assert.deepEqual(JSON.parse((await migrate("plan", "--json")).stdout).to, head);
    assert.deepEqual(JSON.parse((await migrate("verify", "--json")).stdout).faults, []);
  });

  test("terminal controls in the database are not printed", async () => {
    const store = await filled();
    const evil = "\u001b[2J\u001b]0;title\u0007\u009b31m\u202e\nNothing found";
    withDatabase(store.path, (db) => {
      db.exec(`CREATE TABLE "${evil}" (x)`);
      db.prepare("UPDATE schema_migrations SET name = ?, applied_by = ?").run(evil, evil);
    });
    for (const args of [["check"], ["current"], ["history"], ["plan", "-1"], ["verify"], ["stamp", "head"]]) {
      const { stdout, stderr } = await store.migrate(...args);
      assert.notEqual(stdout, "", args[0]);
      assert.doesNotMatch(
        stdout + stderr,
        /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]|^Nothing found$/m,
        args[0],
      );
    }
    withDatabase(store.path, (db) =>
      db.prepare("INSERT INTO schema_migrations VALUES ('9999', ?, '', 1, 1, '')").run(evil),
    );
    assert.doesNotMatch(
      (await store.migrate("check")).stdout,
      /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]|^Nothing found$/m,
    );
  });

  test("every help text has examples and exit codes", async () => {
    const { folder } = storeFolder();
    for (const name of [
      "",
      "upgrade",
      "downgrade",
      "current",
      "history",
      "pending",
      "stamp",
      "check",
      "plan",
      "verify",
      "revision",
    ]) {
      const { code, stdout } = await run(folder, ["migrate", ...(name === "" ? [] : [name]), "--help"]);
      assert.match(stdout, new RegExp(`\nExamples:\n  debug-server-db migrate ${name}`), name);
      assert.match(
        stdout,
        /\nExit codes: 0 ok, 1 failure, 2 usage, 3 the check found something, 4 busy, 5 corrupt, 6 edited migration/,
        name,
      );
      assert.equal(code, 0);
    }
  });
});

suite("exit codes of migrate", { concurrency: 2 }, () => {
  test("1: without a file, and none is created", async () => {
    const { migrate, folder } = storeFolder();
    for (const command of ["current", "history", "pending", "check", "plan", "verify", "downgrade"]) {
      sentence(await migrate(command), 1, /store\.db does not exist: run debug-server-db migrate upgrade head/);
    }
    sentence(await migrate("stamp", "head"), 1, /does not exist/);
    assert.deepEqual(readdirSync(folder), ["migrations"]);
  });

  test("an upgrade that applies nothing removes the file that it created", async () => {
    const { migrate, folder, path } = storeFolder();
    const broken = join(folder, "broken");
    cpSync(migrationsFolder, broken, { recursive: true });
    appendFileSync(
      join(broken, `${head}_broken.sqlite.sql`.replace(head, String(Number(head) + 1).padStart(4, "0"))),
      "-- up\nSELECT nowhere;\n-- down\nSELECT 1;\n",
    );
    sentence(await migrate("upgrade", "--migrations", broken), 1, /no such column: nowhere; nothing was changed/);
    assert.deepEqual(readdirSync(join(path, "..")), []);
    for (const target of ["base", "+0"]) {
      assert.deepEqual(await migrate("upgrade", target), {
        code: 0,
        stdout: "The schema is at base: nothing to do.\n",
        stderr: "",
      });
      assert.deepEqual(readdirSync(join(path, "..")), [], target);
    }
    sentence(await migrate("upgrade", "-1"), 2, /-1: there are only 0 migrations to undo/);
    assert.deepEqual(readdirSync(join(path, "..")), []);
    await migrate("upgrade", before);
    sentence(await migrate("upgrade", "--migrations", broken), 1, /nothing was changed/);
    sentence(
      await migrate("upgrade", "-1"),
      2,
      /the schema is at \d{4}, which is after \d{4}: run debug-server-db migrate downgrade \d{4}/,
    );
    assert.equal(readdirSync(join(path, "..")).includes("store.db"), true);
  });

  test("1: for a file of another program, which stays unchanged", async () => {
    const { migrate, path } = storeFolder();
    mkdirSync(join(path, ".."));
    const commands = ["upgrade", "downgrade", "current", "check", "plan", "verify"];
    writeFileSync(path, "a text that is no database\n".repeat(50));
    for (const command of commands) sentence(await migrate(command), 1, /not a (SQLite )?database/);
    assert.equal(readFileSync(path, "utf8"), "a text that is no database\n".repeat(50));
    rmSync(path);
    withDatabase(path, (db) => db.exec("CREATE TABLE theirs (x)"));
    const bytes = readFileSync(path);
    for (const command of commands)
      sentence(await migrate(command), 1, /belongs to another program: name another file/);
    sentence(await migrate("stamp", "head"), 1, /belongs to another program/);
    assert.deepEqual(readFileSync(path), bytes);
  });

  test("1: for a newer database, which check reports with 3", async () => {
    const { migrate, path } = await filled();
    withDatabase(path, (db) => db.exec("INSERT INTO schema_migrations VALUES ('9999', 'later', 'x', 0, 0, '9.9.9')"));
    const newer = contentsOf(path);
    for (const command of ["upgrade", "downgrade", "plan", "verify"])
      sentence(await migrate(command), 1, /revision 9999, which is newer than this version/);
    const checked = await migrate("check");
    assert.deepEqual([checked.code, checked.stdout], [3, "newer: 9999 later\n"]);
    assert.deepEqual(contentsOf(path), newer);
  });

  test("1: without a ledger, which check reports with 3 and stamp creates", async () => {
    const { migrate, path } = await filled();
    withDatabase(path, (db) => db.exec("DROP TABLE schema_migrations"));
    for (const command of ["upgrade", "current"])
      sentence(await migrate(command), 1, /there is no table schema_migrations: restore a backup/);
    assert.equal((await migrate("check")).code, 3);
    assert.deepEqual([(await migrate("stamp", "head")).code, (await migrate("check")).code], [0, 0]);
  });

  test("1: for changing a read-only file, which can be inspected", async (t) => {
    if (process.getuid?.() === 0 && !isOpenToAll(import.meta.dirname))
      return t.skip("root runs the tests in a folder that no other user may enter, and root may write every file");
    const { path, folder, url } = await filled(before);
    if (process.getuid?.() === 0) {
      // Root may write everything, so another user tries.
      for (const file of [folder, join(path, ".."), path]) chownSync(file, 65_534, 65_534);
    }
    chmodSync(path, 0o400);
    const bytes = readFileSync(path);
    const asOwner = (...args: readonly string[]) =>
      runProcess(folder, ["migrate", ...args, "--url", url], process.getuid?.() === 0 ? { uid: 65_534 } : {});
    assert.equal((await asOwner("current")).stdout.split(" ")[0], before);
    for (const command of ["upgrade", "downgrade"])
      sentence(await asOwner(command), 1, /store\.db belongs to user \d+ \(mode 400\), .*: change its mode/);
    assert.deepEqual(readFileSync(path), bytes);
  });

  test("2: for usage errors", async () => {
    const { migrate, folder, path } = storeFolder();
    sentence(await migrate("upgrade", "9999"), 2, /there is no such revision; use 0001, /);
    sentence(await migrate("upgrade", "+999"), 2, /there are only \d+ migrations to apply/);
    sentence(await migrate("upgrade", "--lock-timeout-ms", "x"), 2, /Expected a whole number/);
    sentence(await migrate("upgrade", "--migrations", "nowhere"), 2, /there is no such folder of migrations/);
    sentence(
      await run(folder, ["migrate", "upgrade", "--url", "sqlite::memory:"]),
      2,
      /a database in memory cannot be migrated/,
    );
    sentence(await run(folder, ["migrate", "upgrade", "--url", "mysql://x"]), 2, /expected sqlite:PATH/);
    assert.equal((await run(folder, ["migrate"])).code, 2);
    assert.equal((await run(folder, ["migrate", "stamp"])).code, 2);
    assert.equal((await run(folder, ["migrate", "upgrad"])).code, 2);
    assert.throws(() => statSync(path));
    await migrate("upgrade");
    sentence(await migrate("upgrade", "1"), 2, /which is after 0001: run debug-server-db migrate downgrade 0001/);
    sentence(await migrate("downgrade", "-999"), 2, /migrations to undo/);
  });

  test("3: when a migration is pending or the schema has drifted", async () => {
    const { migrate, path } = await filled(before);
    assert.deepEqual(
      [(await migrate("check")).code, (await migrate("check")).stdout],
      [3, `pending: ${head} ${migrations.at(-1)?.name}\n`],
    );
    await migrate("upgrade");
    withDatabase(path, (db) => db.exec("ALTER TABLE runners ADD COLUMN mood TEXT"));
    const drifted = await migrate("check");
    assert.equal(drifted.code, 3);
    assert.match(drifted.stdout, /^drift: ~ table runners\n {4}- .*\n {4}\+ .*mood TEXT/);
  });

  test("4: when another process uses the file, and 130 when interrupted while waiting for it", async () => {
    const { migrate, path, folder, url } = await filled(before);
    const old = contentsOf(path);
    const other = new Database(path);
    other.exec("BEGIN IMMEDIATE");
    sentence(
      await migrate("upgrade", "--lock-timeout-ms", "50"),
      4,
      /store\.db is open in another process: end the servers/,
    );
    const waiting = startProcess(folder, ["migrate", "upgrade", "--url", url, "--lock-timeout-ms", "60000"]);
    await waiting.said("waiting for another process that uses the database\n");
    waiting.kill("SIGINT");
    const { code, stderr } = await waiting.ended;
    assert.match(
      stderr,
      /\ndebug-server-db: \S+: interrupted(?: while waiting for other processes that use the database)?; nothing was changed\n$/,
    );
    assert.equal(code, 130);
    other.exec("COMMIT");
    other.close();
    assert.deepEqual(contentsOf(path), old);
  });

  test("5: for a damaged file", async () => {
    const { migrate, path } = await filled(before);
    const fd = openSync(path, "r+");
    writeSync(fd, Buffer.alloc(900, 0x5a), 0, 900, 100);
    const damaged = readFileSync(path);
    for (const command of ["current", "upgrade", "check", "plan"])
      sentence(await migrate(command), 5, /the database file is damaged/);
    assert.deepEqual(readFileSync(path), damaged);
  });

  test("6: for an applied migration that was edited, which openStore refuses too", async (t) => {
    const { migrate, path, url, folder } = await filled();
    const own = join(folder, "own");
    cpSync(migrationsFolder, own, { recursive: true });
    appendFileSync(join(own, "0001_initial.sqlite.sql"), "\n");
    for (const command of ["upgrade", "downgrade", "plan", "verify"]) {
      sentence(
        await migrate(command, "--migrations", own),
        6,
        /0001_initial\.sqlite\.sql was edited after it was applied: restore the file/,
      );
    }
    const checked = await migrate("check", "--migrations", own);
    assert.deepEqual([checked.code, checked.stdout], [6, "edited: 0001 initial\n"]);
    withDatabase(path, (db) => db.exec("UPDATE schema_migrations SET sha256 = 'other' WHERE revision = '0001'"));
    await assert.rejects(openStore({ url }), { code: "incompatible", message: /0001_initial\.sqlite\.sql was edited/ });
    sentence(
      await run(folder, ["demo", "--url", url, "--repo", workingFolder(t).folder]),
      6,
      /was edited after it was applied/,
    );
    assert.deepEqual([(await migrate("stamp", "head")).code, (await migrate("check")).code], [0, 0]);
  });
});
