// Migrations on a real PostgreSQL server: one transaction under the advisory lock, dry runs that leave nothing, and the
// golden schema.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { appendFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import pg from "pg";
import { newId, openStore } from "../../../src/index.ts";
import { defaultLimits } from "../../../src/limits.ts";
import { plan, verify } from "../../../src/migrate/dryRun.ts";
import { check, current, stamp } from "../../../src/migrate/history.ts";
import { openEngine } from "../../../src/migrate/open.ts";
import { downgrade, type Migrator, upgrade } from "../../../src/migrate/upgrade.ts";
import { migrationClass, schemaKey } from "../../../src/postgres/locks.ts";
import { openPostgresEngine } from "../../../src/postgres/migrator.ts";
import { migrationsFolder, readMigrations } from "../../../src/schema/migrationFiles.ts";
import { ask, dropDatabase, newDatabase } from "../../support/postgres.ts";
import { run as runCommand } from "../../system/cli/commandLine.ts";
import { expectGolden, migrationFolder, type Parts } from "./migrationFolder.ts";

const notes: readonly Parts[] = [
  [
    "notes",
    "CREATE TABLE notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL, parent bigint REFERENCES notes (id));",
    "DROP TABLE notes;",
  ],
  [
    "note_lengths",
    "ALTER TABLE notes ADD COLUMN length bigint;\nUPDATE notes SET length = length(body);\nCREATE INDEX notes_length ON notes (length);",
    "DROP INDEX notes_length;\nALTER TABLE notes DROP COLUMN length;",
  ],
  [
    "authors",
    "CREATE TABLE authors (note bigint NOT NULL REFERENCES notes (id), name text NOT NULL);\nINSERT INTO notes (body) VALUES ('by migration');",
    "DELETE FROM notes WHERE body = 'by migration';\nDROP TABLE authors;",
  ],
];

interface Server {
  readonly url: string;
  readonly migrations: string;
  readonly folder: string;
}

async function server(t: TestContext, files: readonly Parts[] = notes): Promise<Server> {
  const url = await newDatabase();
  t.after(() => dropDatabase(url));
  const { folder, migrations } = migrationFolder([]);
  for (const [index, parts] of files.entries()) write(migrations, index + 1, parts);
  return { url, migrations, folder };
}

function write(folder: string, number: number, [name, up, down]: Parts): void {
  writeFileSync(join(folder, `000${number}_${name}.postgres.sql`), `-- up\n${up}\n-- down\n${down}\n`);
}

async function using<Result>(
  { url, migrations }: Pick<Server, "url" | "migrations">,
  work: (migrator: Migrator) => Promise<Result>,
  lockTimeoutMs = 10_000,
): Promise<Result> {
  const engine = await openEngine(url, { create: true, lockTimeoutMs });
  try {
    return await work({ engine, migrations: readMigrations("postgres", migrations), now: Date.now });
  } finally {
    await engine.close();
  }
}

const up = (at: Pick<Server, "url" | "migrations">, target = "head") =>
  using(at, (migrator) => upgrade(migrator, target, { backup: true }));
const down = (at: Pick<Server, "url" | "migrations">, target: string, allowDataLoss = false) =>
  using(at, (migrator) => downgrade(migrator, target, { backup: true, allowDataLoss }));
const fill = ({ url }: Server) => ask(url, "INSERT INTO notes (body) VALUES ('one'), ('three')");

/** Returns all definitions and rows of a database, without times. */
async function contentsOf(at: Server): Promise<unknown> {
  const objects = await using(at, ({ engine }) => engine.read((run) => run(engine.catalog.objects())));
  const tables = objects.filter(({ type }) => type === "table").map(({ name }) => name);
  const rows = await Promise.all(tables.map((name) => ask(at.url, `SELECT * FROM ${name} ORDER BY 1`)));
  const schemas = await ask(at.url, "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY 1");
  const ledger = await ask(at.url, "SELECT to_regclass('schema_migrations') IS NOT NULL AS made");
  return {
    objects,
    rows,
    schemas,
    ledger,
    applied: ledger[0]?.made ? await ask(at.url, "SELECT revision, sha256 FROM schema_migrations ORDER BY 1") : [],
  };
}

describe("PostgreSQL", () => {
  it("lets a statement take longer than a store would wait for it", async (t) => {
    const at = await server(t, [["slow", "CREATE TABLE a (x bigint);\nSELECT pg_sleep(1.5);", "DROP TABLE a;"]]);
    const limits = { ...defaultLimits, statementMs: 500 };
    const engine = await openPostgresEngine({ url: at.url, lockTimeoutMs: 10_000, limits });
    try {
      const migrator = { engine, migrations: readMigrations("postgres", at.migrations), now: () => Date.now() };
      await upgrade(migrator, "0001", { backup: false });
      assert.deepEqual(await ask(at.url, "SELECT x FROM a"), []);
    } finally {
      await engine.close();
    }
  });

  it("a downgrade followed by an upgrade restores the same database with its data", async (t) => {
    const at = await server(t);
    await up(at, "1");
    await fill(at);
    const moved = await up(at, "2");
    assert.deepEqual(moved.safety?.made, false);
    assert.match(
      moved.safety?.made === false ? moved.safety.advice : "",
      /pg_dump --format=custom --file=metadata\.dump postgres:\/\/\w+@[^@]+\/test_\w+;.*pg_restore/,
    );
    assert.deepEqual(await ask(at.url, "SELECT length::int FROM notes ORDER BY id"), [{ length: 3 }, { length: 5 }]);
    const before = await contentsOf(at);
    await down(at, "1", true);
    await up(at, "2");
    assert.deepEqual(await contentsOf(at), before);
    await up(at);
    await assert.rejects(down(at, "2"), { message: /drops data: 1 row of notes;/ });
    await down(at, "2", true);
    assert.deepEqual(await using(at, check), [{ kind: "pending", revision: "0003", name: "authors" }]);
  });

  const statements = [
    "CREATE TABLE a (x int)",
    "INSERT INTO a VALUES (1)",
    "ALTER TABLE notes ADD COLUMN y text",
    "UPDATE notes SET y = $$;$$",
  ];
  for (let position = 0; position <= statements.length; position++) {
    it(`a statement that fails at position ${position + 1} of ${statements.length + 1} changes nothing`, async (t) => {
      const broken = statements.toSpliced(position, 0, "INSERT INTO nowhere VALUES (';')").join(";\n");
      const at = await server(t, [...notes.slice(0, 2), ["broken", broken, "DROP TABLE a"]]);
      await up(at, "1");
      await fill(at);
      const before = await contentsOf(at);
      await assert.rejects(up(at), {
        message: new RegExp(
          `0003_broken\\.postgres\\.sql, line ${2 + position}, statement ${position + 1} of 5 of its up part, .*: relation "nowhere" does not exist; nothing was changed$`,
        ),
        outcome: "rolled_back",
      });
      assert.deepEqual(await contentsOf(at), before);
    });
  }

  it("a downgrade that loses data is refused with the number of rows and values, and changes nothing", async (t) => {
    const at = await server(t);
    await up(at, "1");
    await fill(at);
    await up(at, "2");
    const before = await contentsOf(at);
    await assert.rejects(down(at, "1"), {
      code: "conflict",
      message: /drops data: 2 values of notes\.length; nothing was changed/,
    });
    await assert.rejects(down(at, "base"), { message: /drops data: 2 rows of notes;/ });
    assert.deepEqual(await contentsOf(at), before);
    assert.deepEqual((await down(at, "1", true)).losses, [{ table: "notes", column: "length", rows: 2 }]);
  });

  it("a downgrade does not count values that are still the default of their column", async (t) => {
    const added = "ALTER TABLE notes ADD COLUMN seen bigint NOT NULL DEFAULT 0;";
    const at = await server(t, [notes[0] as Parts, ["seen", added, "ALTER TABLE notes DROP COLUMN seen;"]]);
    await up(at);
    await fill(at);
    assert.deepEqual((await down(at, "1")).losses, []);
    await up(at);
    await ask(at.url, "UPDATE notes SET seen = 1 WHERE body = 'one'");
    await assert.rejects(down(at, "1"), { message: /drops data: 1 value of notes\.seen;/ });
  });

  it("plan, verify and check work on a copy that leaves nothing, while another process writes", async (t) => {
    const at = await server(t);
    await up(at, "1");
    await fill(at);
    await ask(at.url, "UPDATE notes SET parent = 1");
    const before = await contentsOf(at);
    const writer = new pg.Client({ connectionString: at.url });
    await writer.connect();
    await writer.query("BEGIN; UPDATE notes SET body = 'under way'");
    const planned = await using(at, (migrator) => plan(migrator, "head"));
    assert.deepEqual(
      planned.differences.map(({ change, type, name }) => `${change} ${type} ${name}`),
      ["added table authors", "added index notes_length", "changed table notes"],
    );
    assert.match(planned.backupAdvice ?? "", /pg_dump/);
    assert.deepEqual((await using(at, (migrator) => plan(migrator, "base"))).losses, [{ table: "notes", rows: 2 }]);
    const verified = await using(at, verify);
    assert.deepEqual([verified.steps.length, verified.faults], [8, []]);
    assert.deepEqual(await using(at, check), [
      { kind: "pending", revision: "0002", name: "note_lengths" },
      { kind: "pending", revision: "0003", name: "authors" },
    ]);
    await writer.query("ROLLBACK");
    await writer.end();
    assert.deepEqual(await contentsOf(at), before);
  });

  it("an edited file, a newer database, a missing ledger, drift, and the ledger of another program are found", async (t) => {
    const at = await server(t);
    await up(at);
    const fewer = await server(t, notes.slice(0, 2));
    await assert.rejects(up({ ...fewer, url: at.url }), {
      code: "incompatible",
      message: /0003, which is newer than this version/,
    });
    await ask(at.url, "ALTER TABLE authors ALTER COLUMN name DROP NOT NULL");
    const drift = await using(at, check);
    assert.deepEqual(
      drift.map((finding) => (finding.kind === "drift" ? `${finding.change} ${finding.name}` : finding.kind)),
      ["changed authors"],
    );
    appendFileSync(join(at.migrations, "0001_notes.postgres.sql"), "-- more\n");
    await assert.rejects(up(at), {
      details: { reason: "migration_edited", revision: "0001", file: "0001_notes.postgres.sql" },
    });
    assert.equal((await using(at, (migrator) => stamp(migrator, "head"))).differences.length, 1);
    await ask(at.url, "DROP TABLE schema_migrations");
    await ask(at.url, "CREATE TABLE schema_migrations (version text)");
    await assert.rejects(using(at, current), { code: "incompatible", message: /belongs to another program/ });
    await assert.rejects(openStore({ url: at.url }), { code: "incompatible", message: /belongs to another program/ });
  });

  it("an upgrade waits for another migration and for writers, up to its limit", async (t) => {
    // This statement does not wait by itself, because it does not see the other transaction's row.
    const at = await server(t, [
      notes[0] as Parts,
      ["shout", "UPDATE notes SET body = upper(body);", "UPDATE notes SET body = lower(body);"],
    ]);
    await up(at, "1");
    const other = new pg.Client({ connectionString: at.url });
    await other.connect();
    const migration = `SELECT pg_advisory_xact_lock(${migrationClass}, ${schemaKey})`;
    for (const hold of [migration, "INSERT INTO notes (body) VALUES ('x')"]) {
      await other.query(`BEGIN; ${hold}`);
      await assert.rejects(
        using(at, (migrator) => upgrade(migrator, "head", { backup: true }), 50),
        { code: "busy" },
      );
      await other.query("ROLLBACK");
    }
    await other.end();
    assert.equal((await up(at)).to, "0002");
  });

  it("the golden schema is made by the migrations step by step, by a downgrade and an upgrade, and by openStore", async (t) => {
    const at = { ...(await server(t)), migrations: migrationsFolder };
    const migrations = readMigrations("postgres");
    const expectHead = async (url = at.url) => {
      const objects = await using({ ...at, url }, ({ engine }) => engine.read((run) => run(engine.catalog.objects())));
      expectGolden("postgres", objects.map(({ definition }) => `${definition};\n`).join("\n"));
    };
    for (const [index, { revision }] of migrations.entries()) {
      await up(at, revision);
      // Each run goes through all revisions, so the first and the last one are enough.
      if (index > 0 && index < migrations.length - 1) continue;
      const { steps, faults } = await using(at, verify);
      assert.deepEqual([steps.length, faults], [3 * migrations.length - index - 1, []], revision);
    }
    await expectHead();
    await down(at, "base");
    await up(at);
    await expectHead();
    const fresh = await newDatabase();
    t.after(() => dropDatabase(fresh));
    await (await openStore({ url: fresh })).close();
    await expectHead(fresh);
  });

  it("when three processes upgrade at once, one applies the migrations and the others find them applied", async (t) => {
    const at = await server(t);
    await up(at, "1");
    await fill(at);
    const ended = await Promise.all(
      Array.from({ length: 3 }, () =>
        runCommand(at.folder, ["migrate", "upgrade", "--json", "--url", at.url, "--migrations", at.migrations]),
      ),
    );
    assert.deepEqual(
      ended.map(({ code, stderr }) => [
        code,
        /^debug-server-db: Back up PostgreSQL with its own tools .*\n$/.test(stderr) || stderr,
      ]),
      ended.map(({ stdout }) => [0, JSON.parse(stdout).steps.length === 0 ? "" : true]),
    );
    assert.deepEqual(ended.map(({ stdout }) => JSON.parse(stdout).steps.length).sort(), [0, 0, 2]);
    assert.equal((await using(at, check)).length, 0);
  });

  it("two scratch schemas of one process do not wait for each other", async (t) => {
    const at = await server(t);
    await using(at, async ({ engine }) => {
      const first = await engine.openEmpty();
      const second = await engine.openEmpty();
      await Promise.all([first.close(), second.close()]);
    });
  });

  it("the printed commands restore the state before the upgrade", async (t) => {
    const at = { ...(await server(t, [])), migrations: migrationsFolder };
    const version = Number(
      (await ask<{ server_version_num: string }>(at.url, "SHOW server_version_num"))[0]?.server_version_num.slice(
        0,
        -4,
      ),
    );
    const tools = Number(
      /(\d+)[.\d]*/.exec(spawnSync("pg_dump", ["--version"], { encoding: "utf8" }).stdout ?? "")?.[1] ?? 0,
    );
    if (tools < version)
      return t.skip(tools === 0 ? "there is no pg_dump" : `pg_dump ${tools} does not dump PostgreSQL ${version}`);
    await up(at, "1");
    await ask(
      at.url,
      `INSERT INTO repositories (id, name, name_key, default_branch, max_worktrees, created_at, updated_at)
      VALUES ('${newId()}', 'one', 'one', 'main', 16, now(), now())`,
    );
    const before = await contentsOf(at);
    const { backupAdvice = "" } = await using(at, (migrator) => plan(migrator, "head"));
    const [, dump = "", restore = ""] = /(pg_dump [^;]*);.*: (createdb .*)$/.exec(backupAdvice) ?? [];
    const shell = (line: string) =>
      execFileSync("sh", ["-c", line], {
        cwd: at.folder,
        env: { ...process.env, PGPASSWORD: new URL(at.url).password },
      });
    shell(dump);
    await up(at);
    shell(restore);
    const restored = { ...at, url: `${at.url}_restored` };
    t.after(() => dropDatabase(restored.url));
    assert.deepEqual(await contentsOf(restored as Server), before);
    await up(restored);
    await (await openStore({ url: restored.url })).close();
  });

  it("a server that cannot be reached is named without the password", async () => {
    const { code, stderr } = await runCommand(".", [
      "migrate",
      "current",
      "--url",
      "postgres://me:secret@127.0.0.1:1/x",
    ]);
    assert.match(stderr, /^debug-server-db: postgres:\/\/127\.0\.0\.1:1\/x: the server cannot be reached/);
    assert.deepEqual([code, /secret/.test(stderr)], [4, false]);
  });
});
