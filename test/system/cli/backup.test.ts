// debug-server-db backup beside a server, and its exit codes. The tests in ../backup kill and disturb restores.
import assert from "node:assert/strict";
import {
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { suite, test } from "node:test";
import Database from "better-sqlite3";
import type { BackupManifest } from "../../../src/index.ts";
import { openStore } from "../../../src/index.ts";
import { run, runProcess, startProcess, workingFolder } from "./commandLine.ts";

const names = async (url: string): Promise<string[]> => {
  const store = await openStore({ url, migrate: "never" });
  const { items } = await store.repositories.list();
  await store.close();
  return items.map(({ name }) => name);
};

suite("backup", { concurrency: 2 }, () => {
  test("backup creates beside a server that writes, lists, verifies, and restores after the server has ended", async (t) => {
    const { folder, url } = workingFolder(t, { init: false });
    const store = await openStore({ url });
    await store.repositories.upsert({ name: "one" });
    let writing = true;
    const writer = (async () => {
      for (let n = 0; writing; n++) await store.repositories.upsert({ name: "one", description: String(n) });
    })();
    const created = await run(folder, ["backup", "create", "--reason", "nightly", "--url", url]);
    assert.equal(created.code, 0, created.stderr);
    assert.match(
      created.stdout,
      /^backup +\S+\/backups\/metadata-\w+-\d+\.db\nsize +[\d.]+ KiB\nsha256 +[\da-f]{64}\nrevision +\d{4}\nrows +\d+\n$/,
    );
    const made = JSON.parse(
      (await run(folder, ["backup", "create", "--json", "--out", "copies/own.db", "--url", url])).stdout,
    ) as {
      path: string;
      manifest: BackupManifest;
    };
    writing = false;
    await writer;
    assert.equal(made.path, join(folder, "copies/own.db"));
    assert.deepEqual(
      [
        statSync(made.path).mode & 0o777,
        statSync(`${made.path}.json`).mode & 0o777,
        statSync(dirname(made.path)).mode & 0o777,
      ],
      [0o600, 0o600, 0o700],
    );
    assert.deepEqual(JSON.parse(readFileSync(`${made.path}.json`, "utf8")), made.manifest);

    const listed = await run(folder, ["backup", "list", "--url", url]);
    assert.match(
      listed.stdout,
      /^backup +state +created +size +rows +revision +sha256 +reason\nmetadata-\S+\.db +\S+Z +[\d.]+ KiB +\d+ +\d{4} +\w{12} +nightly\n$/,
    );
    const name = basename(
      (JSON.parse((await run(folder, ["backup", "list", "--json", "--url", url])).stdout) as { path: string }).path,
    );
    const verified = await run(folder, ["backup", "verify", "--url", url]);
    assert.deepEqual(
      [verified.code, /^backup +state\nmetadata-\S+ +ok +\d+ rows, revision \d{4}\n$/.test(verified.stdout)],
      [0, true],
      verified.stdout,
    );

    const busy = await run(folder, ["backup", "restore", name, "--url", url]);
    assert.deepEqual([busy.code, busy.stdout], [4, ""]);
    assert.match(
      busy.stderr,
      /is open in another process: end the servers and runners that use it \(process \d+ on \S+\), then restore\n$/,
    );
    await store.repositories.upsert({ name: "two" });
    await store.close();
    const restored = await run(folder, ["backup", "restore", name, "--url", url]);
    assert.equal(restored.code, 0, restored.stderr);
    assert.match(
      restored.stdout,
      /^restored +\S+metadata\.db\nfrom +\S+\ncreated +\S+Z\nrevision +\d{4}\nkept +\S+\/backups\/metadata-\S+\.db\n$/,
    );
    assert.deepEqual(await names(url), ["one"]);
    const kept = /kept +(\S+)/.exec(restored.stdout)?.[1] as string;
    await run(folder, ["backup", "restore", kept, "--no-keep", "--quiet", "--url", url]);
    assert.deepEqual(await names(url), ["one", "two"]);
    assert.equal((await run(folder, ["backup", "verify", "--url", url])).stdout.split("\n").length, 4);
  });

  test("backup exits with 5 for a damaged backup, and leaves the database alone", async (t) => {
    const { folder, url } = workingFolder(t, { init: false });
    await (await openStore({ url })).close();
    const { path } = JSON.parse((await run(folder, ["backup", "create", "--json", "--url", url])).stdout) as {
      path: string;
    };
    const bytes = readFileSync(path);
    bytes[70_000] = (bytes[70_000] as number) ^ 1;
    writeFileSync(path, bytes);
    const verified = await run(folder, ["backup", "verify", basename(path), "--json", "--url", url]);
    assert.equal(verified.code, 5);
    const { state, finding } = JSON.parse(verified.stdout) as { state: string; finding: string };
    assert.deepEqual([state, /SHA-256/.test(finding)], ["damaged", true]);
    const before = readFileSync(url.slice("sqlite:".length));
    const restored = await run(folder, ["backup", "restore", path, "--url", url]);
    assert.deepEqual([restored.code, restored.stdout], [5, ""]);
    assert.deepEqual(readFileSync(url.slice("sqlite:".length)), before);
  });

  test("verify checks backups whose manifest is damaged, and names the copies that were never finished", async (t) => {
    const { folder, url } = workingFolder(t, { init: false });
    await (await openStore({ url })).close();
    const create = async () =>
      JSON.parse((await run(folder, ["backup", "create", "--json", "--url", url])).stdout) as {
        path: string;
        manifestPath: string;
      };
    const [good, bad, unfinished] = [await create(), await create(), await create()];
    writeFileSync(bad.manifestPath, "{}");
    rmSync(unfinished.manifestPath);
    const verified = await run(folder, ["backup", "verify", "--url", url]);
    assert.equal(verified.code, 5);
    assert.match(verified.stdout, new RegExp(`${basename(good.path)} +ok`));
    assert.match(verified.stdout, new RegExp(`${basename(bad.path)} +damaged .* is not the manifest of a backup`));
    assert.equal(verified.stderr, `Left out, because they were never finished: ${basename(unfinished.path)}.\n`);
    const listed = await run(folder, ["backup", "list", "--url", url]);
    assert.match(listed.stdout, new RegExp(`${basename(bad.path)} +damaged`));
    assert.match(listed.stdout, new RegExp(`${basename(unfinished.path)} +unfinished`));
    assert.match(listed.stderr, /is not the manifest of a backup/);
  });

  test("two processes that back up to one file at once leave one good backup", async (t) => {
    const { folder, url } = workingFolder(t, { init: false });
    const store = await openStore({ url });
    for (let n = 0; n < 20; n++) await store.repositories.upsert({ name: `r-${n}` });
    await store.close();
    const create = () => runProcess(folder, ["backup", "create", "--out", "daily.db", "--url", url]);
    const both = await Promise.all([create(), create()]);
    assert.deepEqual(both.map(({ code }) => code).sort(), [0, 1], both.map(({ stderr }) => stderr).join());
    assert.match(both.map(({ stderr }) => stderr).join(""), /daily\.db (?:is being made by another backup|exists)/);
    assert.equal((await run(folder, ["backup", "verify", "daily.db", "--url", url])).code, 0);
    assert.deepEqual(readdirSync(folder).sort(), [".artifacts", "daily.db", "daily.db.json"]);
  });

  test("backup rejects a missing database, names that exist or are unknown, links, and files of other programs", async (t) => {
    const { folder, url } = workingFolder(t, { init: false });
    const backup = async (...args: readonly string[]) => {
      const { code, stdout, stderr } = await run(folder, ["backup", ...args]);
      assert.equal(stdout, "");
      return [code, stderr] as const;
    };
    assert.match(String(await backup("create", "--url", url)), /^1,.*does not exist, or is empty/);
    assert.ok(!existsSync(join(folder, ".artifacts")));
    assert.match(String(await backup("verify", "--url", url)), /^1,.*there is no backup in /);
    assert.match(String(await backup("list", "--url", url)), /^0,None in /);
    await (await openStore({ url })).close();
    writeFileSync(join(folder, "taken.db"), "mine");
    assert.match(String(await backup("create", "--out", "taken.db", "--url", url)), /^1,.*taken\.db exists/);
    assert.equal(readFileSync(join(folder, "taken.db"), "utf8"), "mine");
    assert.match(
      String(await backup("restore", "none.db", "--url", url)),
      /^2,.*there is no such backup; run debug-server-db backup list/,
    );
    assert.match(String(await backup("restore", "taken.db", "--url", url)), /^2,.*has no manifest/);
    assert.match(String(await backup("restore", "--url", url)), /^2,.*missing required argument 'backup'/);
    assert.match(String(await backup("list", "--url", "sqlite::memory:")), /^2,.*a database in memory/);
    const file = url.slice("sqlite:".length);
    await run(folder, ["backup", "create", "--out", "good.db", "--url", url]);
    renameSync(file, `${file}.real`);
    symlinkSync(`${file}.real`, file);
    assert.match(String(await backup("restore", "good.db", "--url", url)), /^1,.*is not a regular file/);
    const db = new Database(join(folder, "other.db"));
    db.exec("CREATE TABLE theirs (id INTEGER PRIMARY KEY)");
    db.close();
    assert.match(
      String(await backup("restore", "good.db", "--url", "sqlite:other.db")),
      /^1,.*belongs to another program/,
    );
  });

  test("backup exits with 130 when interrupted, and leaves no file behind", async (t) => {
    const { folder, url } = workingFolder(t, { init: false });
    const store = await openStore({ url });
    const { id: repositoryId } = await store.repositories.upsert({ name: "r" });
    const metadata = { filler: "x".repeat(200_000) };
    for (let n = 0; n < 400; n++) await store.sessions.create({ repositoryId, commitSha: "a".repeat(40), metadata });
    await store.close();
    const backups = join(dirname(url.slice("sqlite:".length)), "backups");
    const creating = startProcess(folder, ["backup", "create", "--url", url]);
    // It listens for signals before it creates the first file of the folder.
    while (!existsSync(backups) || readdirSync(backups).length === 0)
      await new Promise((resolve) => setImmediate(resolve));
    creating.kill("SIGINT");
    const { code, stdout, stderr } = await creating.ended;
    assert.deepEqual([code, stdout, stderr], [130, "", "debug-server-db: interrupted; nothing was changed\n"]);
    assert.deepEqual(readdirSync(backups), []);
  });

  test("backup prune removes what is past the settings or the options, and backup create does by the settings", async (t) => {
    const { folder, url } = workingFolder(t, { init: false });
    await (await openStore({ url })).close();
    const call = async (args: readonly string[], code = 0) => {
      const ended = await run(folder, [...args, "--url", url]);
      assert.equal(ended.code, code, ended.stderr);
      return ended;
    };
    const create = async () => JSON.parse((await call(["backup", "create", "--json"])).stdout) as { path: string };
    const [first, second, third] = [await create(), await create(), await create()];
    assert.match(
      (await call(["backup", "prune"])).stderr,
      /^All backups are kept: name --keep or --older-than, or run /,
    );
    const dry = await call(["backup", "prune", "--keep", "2", "--older-than", "52w", "--dry-run", "--json"]);
    assert.equal(dry.stdout, `${JSON.stringify({ path: first.path, state: "would go", reason: null })}\n`);
    assert.match(
      (await call(["backup", "prune", "--keep", "2"])).stdout,
      /^backup +state +reason\n\S+\.db +removed\n$/,
    );
    assert.deepEqual(
      [first, second].map(({ path }) => existsSync(path)),
      [false, true],
    );
    assert.match(
      (await call(["maintenance", "retention", "--set", "backups=30d", "backupsMax=2"])).stdout,
      /\nbackups +30d\nbackupsMax +2\n/,
    );
    const created = await call(["backup", "create"]);
    assert.equal(created.stderr, `Removed ${second.path}, which retention keeps no longer.\n`);
    truncateSync(third.path, 4_096);
    const left = await call(["backup", "prune", "--keep", "1"], 1);
    assert.match(left.stdout, /^backup +state +reason\n\S+\.db +left +it is damaged: its size differs/);
    await call(["backup", "prune", "--keep", "0"], 2);
    await call(["maintenance", "retention", "--set", "backupsMax=0"], 2);
    const set = await call(["maintenance", "retention", "--set", "backupsMax=all", "--json"]);
    assert.equal((JSON.parse(set.stdout) as { backupsMax: unknown }).backupsMax, null);
    rmSync(url.slice("sqlite:".length));
    const lost = await call(["backup", "prune", "--keep", "1"], 1);
    assert.match(lost.stderr, /does not exist, or is empty/);
  });

  test("for PostgreSQL, backup prints the command of its tools without the password, and exits with 1", async (t) => {
    const { folder } = workingFolder(t, { init: false });
    const url = "postgres://ops:hunter2@db.example:5433/metadata?sslmode=verify-full&options=-c%20a";
    const expected = {
      create:
        "pg_dump --format=custom --file=metadata.dump 'postgres://ops@db.example:5433/metadata?sslmode=verify-full'",
      list: "pg_restore --list metadata.dump",
      verify: "pg_restore --list metadata.dump",
      restore:
        "createdb --maintenance-db='postgres://ops@db.example:5433/metadata?sslmode=verify-full' metadata_restored && pg_restore --single-transaction --dbname='postgres://ops@db.example:5433/metadata_restored?sslmode=verify-full' metadata.dump",
    };
    const pruned = await run(folder, ["backup", "prune", "--url", url]);
    assert.deepEqual([pruned.code, pruned.stdout], [1, ""]);
    assert.match(pruned.stderr, /its own tools: remove their dumps where you keep them\n$/);
    for (const [verb, line] of Object.entries(expected)) {
      const { code, stdout, stderr } = await run(folder, [
        "backup",
        verb,
        ...(verb === "restore" ? ["x.db"] : []),
        "--url",
        url,
      ]);
      assert.deepEqual(
        [code, stdout, stderr],
        [1, "", `debug-server-db: PostgreSQL is backed up with its own tools: run ${line}\n`],
      );
    }
  });
});
