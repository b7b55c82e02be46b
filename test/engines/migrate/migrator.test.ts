// Upgrades and downgrades of real files: failures, refusals, losses, and the reports of a database.
import assert from "node:assert/strict";
import { appendFileSync, existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import type { StoreError } from "../../../src/index.ts";
import { plan, verify } from "../../../src/migrate/dryRun.ts";
import { check, current, listHistory, listPending, stamp } from "../../../src/migrate/history.ts";
import { downgrade, upgrade } from "../../../src/migrate/upgrade.ts";
import { startWriter } from "../../system/migrate/writer.ts";
import {
  contentsOf,
  type MigrationFolder,
  migrationFolder,
  notes,
  type Parts,
  withDatabase,
  withMigrator,
  writeMigration,
} from "./migrationFolder.ts";

const up = (at: MigrationFolder, target = "head", backup = false) =>
  withMigrator(at, (migrator) => upgrade(migrator, target, { backup }));
const down = (at: MigrationFolder, target: string, options: { backup?: boolean; allowDataLoss?: boolean } = {}) =>
  withMigrator(at, (migrator) => downgrade(migrator, target, { backup: false, allowDataLoss: false, ...options }));

function fill({ path }: MigrationFolder): void {
  withDatabase(path, (db) => db.exec("INSERT INTO notes (body) VALUES ('one'), ('three')"));
}

const steps = (moved: { readonly steps: readonly { readonly revision: string; readonly direction: string }[] }) =>
  moved.steps.map(({ revision, direction }) => `${direction} ${revision}`);

describe("upgrade and downgrade", () => {
  it("an upgrade takes a new file to the head, step by step, together with its data", async () => {
    const at = migrationFolder();
    const first = await up(at, "1");
    fill(at);
    const rest = await up(at);
    assert.deepEqual([first.from, first.to, steps(first)], ["base", "0001", ["up 0001"]]);
    assert.deepEqual([rest.from, rest.to, steps(rest)], ["0001", "0003", ["up 0002", "up 0003"]]);
    withDatabase(at.path, (db) =>
      assert.deepEqual(db.prepare("SELECT length FROM notes ORDER BY id").pluck().all(), [3, 5]),
    );
    assert.deepEqual(steps(await up(at)), []);
  });

  it("a downgrade followed by an upgrade restores the same database", async () => {
    const at = migrationFolder();
    await up(at, "1");
    fill(at);
    await up(at);
    const before = contentsOf(at.path);
    const undone = await down(at, "-2", { allowDataLoss: true });
    assert.deepEqual(steps(undone), ["down 0003", "down 0002"]);
    await up(at, "+2");
    assert.deepEqual(contentsOf(at.path), before);
    await down(at, "base", { allowDataLoss: true });
    assert.equal((await withMigrator(at, current)).revision, "base");
    await up(at);
    await down(at, "0001");
  });

  it("a table that others refer to is rebuilt without losing their rows", async () => {
    const at = migrationFolder([
      [
        "parents",
        "CREATE TABLE parents (id INTEGER PRIMARY KEY); CREATE TABLE children (parent INTEGER REFERENCES parents (id) ON DELETE CASCADE);",
        "DROP TABLE children; DROP TABLE parents;",
      ],
      [
        "rebuild",
        "CREATE TABLE new (id INTEGER PRIMARY KEY, x); INSERT INTO new (id) SELECT id FROM parents; DROP TABLE parents; ALTER TABLE new RENAME TO parents;",
        "ALTER TABLE parents DROP COLUMN x;",
      ],
    ]);
    await up(at, "1");
    withDatabase(at.path, (db) => db.exec("INSERT INTO parents VALUES (1); INSERT INTO children VALUES (1)"));
    await up(at);
    withDatabase(at.path, (db) => assert.equal(db.prepare("SELECT count(*) FROM children").pluck().get(), 1));
  });

  it("a target in the other direction, or one that does not exist, is refused", async () => {
    const at = migrationFolder();
    await up(at, "2");
    const refused = (run: Promise<unknown>, message: RegExp) => assert.rejects(run, { code: "invalid_input", message });
    await refused(
      up(at, "1"),
      /the schema is at 0002, which is after 0001: run debug-server-db migrate downgrade 0001/,
    );
    await refused(down(at, "3"), /migrate upgrade 0003/);
    await refused(up(at, "+2"), /there is only 1 migration to apply/);
    await refused(down(at, "-3"), /only 2 migrations to undo/);
    for (const target of ["9", "0009", "x", "", "+", "--1", "1.5", "00001"])
      await refused(up(at, target), /no such revision; use 0001, 0002, 0003/);
  });
});

describe("a failure", () => {
  const statements = [
    "CREATE TABLE a (x)",
    "INSERT INTO a VALUES (1)",
    "ALTER TABLE notes ADD COLUMN y TEXT",
    "UPDATE notes SET y = 'y'",
    "CREATE INDEX a_x ON a (x)",
  ];
  for (let position = 0; position <= statements.length; position++) {
    it(`a statement that fails at position ${position + 1} of ${statements.length + 1} changes nothing, up or down`, async () => {
      const broken = statements.toSpliced(position, 0, "INSERT INTO\n  nowhere VALUES (';')").join(";\n-- between;\n");
      const at = migrationFolder([...notes.slice(0, 2), ["broken", broken, "DROP TABLE a"]]);
      await up(at, "1");
      fill(at);
      const before = contentsOf(at.path);
      const line = 2 + 2 * position;
      const message = new RegExp(
        `store\\.db: 0003_broken\\.sqlite\\.sql, line ${line}, statement ${position + 1} of 6 of its up part, "INSERT INTO": no such table: nowhere; nothing was changed$`,
      );
      await assert.rejects(up(at, "head", true), { message, outcome: "rolled_back" });
      // Migration 0002, which ran before it, is undone too, and the backup is removed.
      assert.deepEqual(contentsOf(at.path), before);
      assert.deepEqual(readdirSync(join(at.folder, "data")), ["backups", "store.db"]);
      assert.deepEqual(readdirSync(join(at.folder, "data", "backups")), []);

      writeMigration(at.migrations, 3, ["broken", "CREATE TABLE b (x)", broken]);
      await up(at);
      const above = contentsOf(at.path);
      await assert.rejects(down(at, "base", { allowDataLoss: true }), {
        message: /of its down part, "INSERT INTO": no such table: nowhere/,
        outcome: "rolled_back",
      });
      assert.deepEqual(contentsOf(at.path), above);
    });
  }

  it("a migration that fails on a new file leaves it empty", async () => {
    const at = migrationFolder([["broken", "CREATE TABLE a (x); SELECT nowhere;", "DROP TABLE a;"]]);
    await assert.rejects(up(at), { message: /no such column: nowhere/ });
    assert.deepEqual(contentsOf(at.path), { objects: [], rows: [] });
  });

  it("rows that break a foreign key undo the migration", async () => {
    const at = migrationFolder([
      [
        "orphans",
        "CREATE TABLE a (id INTEGER PRIMARY KEY); CREATE TABLE b (a INTEGER REFERENCES a (id)); INSERT INTO b VALUES (7);",
        "DROP TABLE b;",
      ],
    ]);
    await assert.rejects(up(at), {
      code: "constraint",
      message: /rows that break a foreign key: b row 1 has no row of a/,
    });
    assert.deepEqual(contentsOf(at.path), { objects: [], rows: [] });
  });

  for (const statement of [
    "COMMIT",
    "begin",
    "ROLLBACK TO x",
    "PRAGMA foreign_keys = OFF",
    "ATTACH 'x' AS y",
    "VACUUM",
  ]) {
    it(`${statement} is not allowed in a migration`, async () => {
      const at = migrationFolder([["escape", `CREATE TABLE a (x);\n${statement};`, "DROP TABLE a;"]]);
      await assert.rejects(up(at), {
        code: "incompatible",
        message: /0001_escape\.sqlite\.sql, line 3: \w+ is not allowed in a migration/,
      });
      assert.deepEqual(contentsOf(at.path), { objects: [], rows: [] });
    });
  }

  it("a part without statements is not applied", async () => {
    const at = migrationFolder([
      ["up_only", "CREATE TABLE a (x);", "-- nothing"],
      ["empty", "-- later", "-- later"],
    ]);
    await assert.rejects(up(at), { message: /0002_empty\.sqlite\.sql: the up part is empty: write it first/ });
    await up(at, "1");
    await assert.rejects(down(at, "base"), {
      message: /0001_up_only\.sqlite\.sql: the down part is empty: it cannot be undone, restore a backup/,
    });
  });
});

describe("a downgrade that loses data", () => {
  it("is refused with the number of rows and values, and changes nothing", async () => {
    const at = migrationFolder();
    await up(at, "1");
    fill(at);
    await up(at);
    withDatabase(at.path, (db) =>
      db.exec("UPDATE notes SET length = NULL WHERE id = 1; INSERT INTO authors VALUES ('a')"),
    );
    const before = contentsOf(at.path);
    const refused = async (target: string, message: RegExp) => {
      await assert.rejects(down(at, target), (error: StoreError) => {
        assert.deepEqual([error.code, error.details.reason, error.outcome], ["conflict", "data_loss", "rolled_back"]);
        assert.match(error.message, message);
        return true;
      });
      assert.deepEqual(contentsOf(at.path), before);
    };
    await refused("2", /drops data: 1 row of authors; nothing was changed\. To allow it, add --allow-data-loss/);
    await refused("1", /drops data: 1 row of authors, 1 value of notes\.length;/);
    await refused("base", /drops data: 1 row of authors, 2 rows of notes;/);
    const gone = await down(at, "1", { allowDataLoss: true });
    assert.deepEqual(gone.losses, [
      { table: "authors", rows: 1 },
      { table: "notes", column: "length", rows: 1 },
    ]);
  });

  it("does not count values that are still the default of their column", async () => {
    const added = "ALTER TABLE notes ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;";
    const at = migrationFolder([notes[0] as Parts, ["seen", added, "ALTER TABLE notes DROP COLUMN seen;"]]);
    await up(at);
    fill(at);
    assert.deepEqual((await down(at, "1")).losses, []);
    await up(at);
    withDatabase(at.path, (db) => db.exec("UPDATE notes SET seen = 1 WHERE id = 1"));
    await assert.rejects(down(at, "1"), { message: /drops data: 1 value of notes\.seen;/ });
  });

  it("needs no permission when it drops nothing", async () => {
    const at = migrationFolder();
    await up(at);
    assert.deepEqual((await down(at, "base")).losses, []);
  });
});

describe("a database that does not match the migrations", () => {
  it("an edited file is refused by all commands except stamp", async () => {
    const at = migrationFolder();
    await up(at, "2");
    appendFileSync(join(at.migrations, "0001_notes.sqlite.sql"), "-- a word more\n");
    const edited = { code: "incompatible", message: /0001_notes\.sqlite\.sql was edited after it was applied/ };
    for (const run of [
      () => up(at),
      () => down(at, "1"),
      () => withMigrator(at, (migrator) => plan(migrator, "head")),
      () => withMigrator(at, verify),
    ]) {
      await assert.rejects(run, edited);
    }
    assert.deepEqual(await withMigrator(at, check), [
      { kind: "edited", revision: "0001", name: "notes" },
      { kind: "pending", revision: "0003", name: "note_authors" },
    ]);
    const stamped = await withMigrator(at, (migrator) => stamp(migrator, "2"));
    assert.deepEqual(stamped, { from: "0002", to: "0002", differences: [] });
    await up(at);
    assert.deepEqual(await withMigrator(at, check), []);
  });

  it("a database of a newer version is refused", async () => {
    const at = migrationFolder();
    await up(at);
    const older = migrationFolder(notes.slice(0, 2));
    const mixed = { ...older, url: at.url };
    await assert.rejects(up(mixed), {
      code: "incompatible",
      message: /at revision 0003, which is newer than this version/,
    });
    await assert.rejects(down(mixed, "1"), { message: /which is newer/ });
    assert.deepEqual(await withMigrator(mixed, check), [{ kind: "newer", revision: "0003", name: "note_authors" }]);
  });

  it("a migration that was added before applied ones is refused", async () => {
    const at = migrationFolder();
    await up(at);
    withDatabase(at.path, (db) => db.exec("DELETE FROM schema_migrations WHERE revision = '0002'"));
    await assert.rejects(up(at), {
      code: "incompatible",
      message: /0002_note_lengths\.sqlite\.sql is not applied, although a later migration is/,
    });
    assert.deepEqual((await withMigrator(at, check))[0], { kind: "skipped", revision: "0002", name: "note_lengths" });
  });

  it("a database of this package without a ledger is refused until it is stamped", async () => {
    const at = migrationFolder();
    await up(at);
    withDatabase(at.path, (db) => db.exec("DROP TABLE schema_migrations"));
    await assert.rejects(up(at), {
      code: "incompatible",
      message: /there is no table schema_migrations: restore a backup, or, .* migrate stamp REV/,
    });
    assert.deepEqual(await withMigrator(at, check), [{ kind: "no_ledger" }]);
    assert.deepEqual(await withMigrator(at, (migrator) => stamp(migrator, "head")), {
      from: "base",
      to: "0003",
      differences: [],
    });
    assert.deepEqual(await withMigrator(at, check), []);
  });

  it("changes of the schema by hand are found as drift, object by object", async () => {
    const at = migrationFolder();
    await up(at);
    withDatabase(at.path, (db) =>
      db.exec("DROP INDEX notes_length; CREATE VIEW v AS SELECT 1; ALTER TABLE authors ADD COLUMN born INTEGER"),
    );
    const drift = await withMigrator(at, check);
    assert.deepEqual(
      drift.map((finding) => (finding.kind === "drift" ? [finding.change, finding.type, finding.name] : finding.kind)),
      [
        ["removed", "index", "notes_length"],
        ["changed", "table", "authors"],
      ],
      "a view is another's, and no drift",
    );
  });

  it("two files with the same number, and a folder that does not exist, are refused", async () => {
    const at = migrationFolder();
    writeMigration(at.migrations, 2, ["again", "SELECT 1", "SELECT 1"]);
    await assert.rejects(up(at), {
      message: /0002_again\.sqlite\.sql and 0002_note_lengths\.sqlite\.sql have the same revision/,
    });
    await assert.rejects(up({ ...at, migrations: join(at.folder, "nowhere") }), {
      code: "invalid_input",
      message: /no such folder/,
    });
  });
});

describe("reports", () => {
  it("current, history and pending report the revisions", async () => {
    const at = migrationFolder();
    await up(at, "2");
    assert.deepEqual(await withMigrator(at, current), {
      revision: "0002",
      name: "note_lengths",
      head: "0003",
      atHead: false,
    });
    const entries = await withMigrator(at, (migrator) => listHistory(migrator));
    assert.deepEqual(
      entries.map(({ revision, state }) => [revision, state]),
      [
        ["0001", "applied"],
        ["0002", "applied"],
        ["0003", "pending"],
      ],
    );
    assert.match(entries[0]?.appliedAt ?? "", /^\d{4}-\d\d-\d\dT.*Z$/);
    for (const [range, revisions] of [
      ["2:3", ["0002", "0003"]],
      ["0003:", ["0003"]],
      [":1", ["0001"]],
      [":head", ["0001", "0002", "0003"]],
      ["base:1", ["0001"]],
    ] as const) {
      const found = await withMigrator(at, (migrator) => listHistory(migrator, range));
      assert.deepEqual(
        found.map(({ revision }) => revision),
        revisions,
        range,
      );
    }
    await assert.rejects(
      withMigrator(at, (migrator) => listHistory(migrator, "1")),
      { code: "invalid_input" },
    );
    assert.deepEqual(await withMigrator(at, listPending), [
      { revision: "0003", name: "note_authors", state: "pending" },
    ]);
  });

  it("a plan runs the migrations on a copy, reports the changes, and does not change the file", async () => {
    const at = migrationFolder();
    await up(at, "1");
    fill(at);
    const before = contentsOf(at.path);
    const planned = await withMigrator(at, (migrator) => plan(migrator, "2"));
    assert.deepEqual([planned.from, planned.to, steps(planned), planned.losses], ["0001", "0002", ["up 0002"], []]);
    assert.deepEqual(
      planned.differences.map(({ change, type, name }) => [change, type, name]),
      [
        ["added", "index", "notes_length"],
        ["changed", "table", "notes"],
      ],
    );
    const back = await withMigrator(at, (migrator) => plan(migrator, "base"));
    assert.deepEqual([steps(back), back.losses], [["down 0001"], [{ table: "notes", rows: 2 }]]);
    writeMigration(at.migrations, 3, ["note_authors", "SELECT nowhere", "SELECT 1"]);
    await assert.rejects(
      withMigrator(at, (migrator) => plan(migrator, "head")),
      { message: /store\.db: 0003_note_authors\.sqlite\.sql, line 2/ },
    );
    assert.deepEqual(contentsOf(at.path), before);
  });

  it("plan and verify work while another process writes", async (t) => {
    const at = migrationFolder();
    await up(at, "1");
    withDatabase(at.path, (db) =>
      db.exec(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) INSERT INTO notes (body) SELECT 'note ' || i FROM n",
      ),
    );
    await startWriter(t, at.path);
    for (let round = 0; round < 3; round++) {
      assert.deepEqual(steps(await withMigrator(at, (migrator) => plan(migrator, "head"))), ["up 0002", "up 0003"]);
      assert.deepEqual((await withMigrator(at, verify)).faults, []);
    }
  });

  it("verify finds a down part that does not undo its up part", async () => {
    const at = migrationFolder();
    await up(at, "2");
    fill(at);
    const before = contentsOf(at.path);
    const sound = await withMigrator(at, verify);
    assert.deepEqual(
      [steps(sound), sound.faults],
      [["up 0003", "down 0003", "down 0002", "down 0001", "up 0001", "up 0002", "up 0003"], []],
    );
    const leaky: Parts = ["note_authors", notes[2]?.[1] as string, "DROP TABLE authors;"];
    writeMigration(at.migrations, 3, leaky);
    await assert.rejects(withMigrator(at, verify), {
      message: /0002_note_lengths\.sqlite\.sql, .* of its down part, .*: error in trigger notes_author/,
    });
    writeMigration(at.migrations, 3, [
      "note_authors",
      "CREATE INDEX IF NOT EXISTS notes_body ON notes (body);",
      "SELECT 1;",
    ]);
    const faulty = await withMigrator(at, verify);
    assert.deepEqual(
      faulty.faults.map(({ after, differences }) => [
        after.direction,
        after.revision,
        differences.map(({ change, name }) => `${change} ${name}`),
      ]),
      [
        ["down", "0003", ["added notes_body"]],
        ["down", "0002", ["added notes_body"]],
      ],
    );
    assert.deepEqual(contentsOf(at.path), before);
  });

  it("a report creates no file beside the database", async () => {
    const at = migrationFolder();
    await up(at);
    for (const report of [current, listPending, check, verify] as const)
      await withMigrator(at, report as typeof current);
    assert.deepEqual(readdirSync(join(at.folder, "data")), ["store.db"]);
    assert.ok(!existsSync(join(at.folder, "backups")));
  });
});
