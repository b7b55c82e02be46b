// Migration files are parsed strictly and ordered by revision, and each down part undoes its up part.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { it } from "node:test";
import Database from "better-sqlite3";
import {
  createdTables,
  createMigration,
  migrationsFolder,
  parseMigration,
  readMigrations,
} from "../../../src/schema/migrationFiles.ts";
import { dialects } from "../../../src/schema/statements.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";

const good = "-- what for\n-- up\nCREATE TABLE a (x);\n-- down\nDROP TABLE a;\n";

it("a file is parsed into revision, name, up and down parts, and a checksum", () => {
  assert.deepEqual(parseMigration("0007_add_a.sqlite.sql", good), {
    revision: "0007",
    name: "add_a",
    file: "0007_add_a.sqlite.sql",
    dialect: "sqlite",
    lines: { up: 3, down: 5 },
    up: "CREATE TABLE a (x);",
    down: "DROP TABLE a;",
    sha256: createHash("sha256").update(good).digest("hex"),
  });
});

it("a file means the same with line ends of Windows, and with a byte order mark", () => {
  const file = "0007_add_a.sqlite.sql";
  const content = `-- what for\n-- up\nCREATE TABLE a (\n  x TEXT -- a name\n);\n\n-- down\nDROP TABLE a;\n`;
  const withCrlf = content.replaceAll("\n", "\r\n");
  for (const written of [withCrlf, `\ufeff${content}`, `\ufeff${withCrlf}`])
    assert.deepEqual(parseMigration(file, written), parseMigration(file, content));
  for (const migration of dialects.flatMap((dialect) => readMigrations(dialect))) {
    const written = readFileSync(join(migrationsFolder, migration.file), "utf8").replaceAll("\n", "\r\n");
    assert.deepEqual(parseMigration(migration.file, written), migration);
  }
});

for (const [what, file, content] of [
  ["a name without revision", "add_a.sqlite.sql", good],
  ["a revision of three digits", "007_a.sqlite.sql", good],
  ["a name with a dash", "0007_add-a.sqlite.sql", good],
  ["no up line", "0001_a.sqlite.sql", good.replace("-- up\n", "")],
  ["no down line", "0001_a.sqlite.sql", good.replace("-- down\n", "")],
  ["down before up", "0001_a.sqlite.sql", "-- down\nDROP TABLE a;\n-- up\nCREATE TABLE a (x);"],
  ["two up lines", "0001_a.sqlite.sql", `${good}-- up\n`],
  ["an indented mark", "0001_a.sqlite.sql", good.replace("-- down", " -- down")],
  ["nothing", "0001_a.sqlite.sql", ""],
] as const) {
  it(`a file with ${what} is refused, and the error names it`, () => {
    assert.throws(
      () => parseMigration(file, content),
      (error: Error & { code?: string }) => error.code === "incompatible" && error.message.startsWith(file),
    );
  });
}

it("a new file can be read for any message", () => {
  const folder = temporaryFolder();
  for (const message of ["up", "down", " -- up ", "a\n-- up\n-- down"]) createMigration(message, folder);
  for (const dialect of dialects)
    assert.deepEqual(new Set(readMigrations(dialect, folder).map(({ up, down }) => up + down)), new Set([""]));
  assert.equal(readFileSync(join(folder, "0001_up.sqlite.sql"), "utf8"), "-- 0001: up\n-- up\n\n-- down\n");
});

it("the package's migrations have distinct revisions in order", () => {
  const revisions = readMigrations("sqlite").map(({ revision }) => revision);
  assert.ok(revisions.length > 0);
  assert.deepEqual(revisions, [...new Set(revisions)].sort());
});

it("each migration's down part undoes its up part", () => {
  const db = new Database(":memory:");
  const shape = () =>
    db.prepare("SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name").all();
  const shapes: unknown[] = [];
  for (const { up } of readMigrations("sqlite")) {
    shapes.push(shape());
    db.exec(up);
  }
  for (const { down } of readMigrations("sqlite").toReversed()) {
    db.exec(down);
    assert.deepEqual(shape(), shapes.pop());
  }
});

it("the tables that migrations create are read from their text", () => {
  const db = new Database(":memory:");
  for (const { up } of readMigrations("sqlite")) db.exec(up);
  const tables = db
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
    .pluck()
    .all();
  for (const dialect of dialects) assert.deepEqual(createdTables(readMigrations(dialect)).toSorted(), tables);
});
