// The checks that openSqlite makes before it uses a file. Wrong answers from SQLite or Node provoke each refusal.
import assert from "node:assert/strict";
import { join } from "node:path";
import { it, type TestContext } from "node:test";
import Database from "better-sqlite3";
import { systemClock } from "../../../src/clock.ts";
import { defaultLimits } from "../../../src/limits.ts";
import { checkNodeVersion } from "../../../src/package.ts";
import { connectInMemory } from "../../../src/sqlite/memoryImage.ts";
import { openSqlite } from "../../../src/sqlite/open.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";

const settings = {
  migrate: "create",
  synchronous: "full",
  maxBytes: undefined,
  clock: systemClock,
  limits: defaultLimits,
  onEvent: () => undefined,
} as const;

/** Opens a new file while SQLite gives the answers in `answers` instead of its own. */
function openWith(t: TestContext, answers: Readonly<Record<string, unknown>>): void {
  const folder = temporaryFolder();
  const { pragma, prepare } = Database.prototype;
  t.after(() => {
    Object.assign(Database.prototype, { pragma, prepare });
  });
  Database.prototype.pragma = function (this: Database.Database, source: string, options?: Database.PragmaOptions) {
    return source in answers ? answers[source] : pragma.call(this, source, options);
  };
  Database.prototype.prepare = function (this: Database.Database, source: string) {
    return source in answers ? { pluck: () => ({ get: () => answers[source] }) } : prepare.call(this, source);
  } as typeof prepare;
  const path = join(folder, "metadata.db");
  openSqlite({ ...settings, path });
}

for (const [what, question, answer, message] of [
  [
    "a file system without WAL",
    "journal_mode",
    "delete",
    /journal_mode is delete, expected wal: WAL does not work on this file system/,
  ],
  ["a SQLite without foreign keys", "foreign_keys", 0, /foreign_keys is 0, expected 1/],
  ["synchronization weaker than the option asks for", "synchronous", 0, /synchronous is 0, expected 2/],
  ["a SQLite with the WAL-reset bug", "SELECT sqlite_version()", "3.51.2", /SQLite 3\.51\.2 is too old/],
] as const) {
  it(`${what} is refused`, (t) => {
    assert.throws(() => openWith(t, { [question]: answer }), { code: "incompatible", outcome: "not_run", message });
  });
}

it("a Node that is too old is refused", () => {
  for (const version of ["20.20.2", "22.17.9", "18.0.0"]) {
    assert.throws(() => checkNodeVersion(version), {
      code: "incompatible",
      message: new RegExp(`needs Node 22\\.18\\.?0? or newer, and this is Node ${version}`),
    });
  }
  for (const version of ["22.18.0", "24.0.0", process.versions.node]) checkNodeVersion(version);
});

it("a store in memory is a copy of the first one, with an id and a time of creation of its own", () => {
  openInMemory();
  const clock = { ...systemClock, now: () => 2_000 };
  const [one, other, made] = [connectInMemory(systemClock, 0), connectInMemory(clock, 0), openFile()];
  const idOf = (db: Database.Database) => db.prepare("SELECT value FROM store_meta WHERE key = 'store_id'").get();
  assert.notDeepEqual(idOf(one), idOf(other));
  const appliedAt = "SELECT DISTINCT applied_at FROM schema_migrations";
  assert.deepEqual(other.prepare(appliedAt).pluck().all(), [clock.now()]);
  const rest = [
    "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name",
    "SELECT revision, name, sha256 FROM schema_migrations",
    "SELECT key FROM store_meta WHERE key NOT LIKE 'server %' AND key <> 'epoch' ORDER BY key",
    "SELECT * FROM counters",
  ];
  for (const text of rest) assert.deepEqual(one.prepare(text).all(), made.prepare(text).all(), text);
});

function openInMemory(): void {
  void openSqlite({ ...settings, path: ":memory:" }).close();
}

function openFile(): Database.Database {
  const path = join(temporaryFolder(), "metadata.db");
  void openSqlite({ ...settings, path }).close();
  return new Database(path);
}
