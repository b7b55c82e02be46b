// The schema of each revision, as a file that changes only with a migration: what a change of migrations does to the schema is seen in review.
// UPDATE_GOLDEN=1 writes the files anew.
import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { openStore } from "../../../src/index.ts";
import { downgrade, upgrade } from "../../../src/migrate/upgrade.ts";
import { readMigrations } from "../../../src/schema/migrationFiles.ts";
import { place, withDatabase, withMigrator } from "./place.ts";

const folder = new URL("./golden/", import.meta.url);
const migrations = readMigrations("sqlite");
const head = migrations.at(-1)?.revision as string;

/** Everything in the file, the ledger included. */
function schemaOf(path: string): string {
  return withDatabase(path, (db) => {
    const definitions = db.prepare(
      "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY tbl_name, type DESC, name",
    );
    const pragmas = ["application_id", "auto_vacuum", "journal_mode", "user_version"].map(
      (name) => `-- ${name} ${db.pragma(name, { simple: true })}\n`,
    );
    return `${pragmas.join("")}\n${(definitions.pluck().all() as string[]).map((definition) => `${definition};\n`).join("\n")}`;
  });
}

function golden(revision: string): string {
  return readFileSync(new URL(`${revision}.sqlite.sql`, folder), "utf8");
}

test("each revision has its golden schema, up, down and up again", async (t) => {
  const { url, path } = place(t);
  const expectAt = (revision: string) => assert.equal(schemaOf(path), golden(revision), revision);
  for (const { revision } of migrations) {
    await withMigrator({ url }, (migrator) => upgrade(migrator, revision, { backup: false }));
    if (process.env.UPDATE_GOLDEN === "1") writeFileSync(new URL(`${revision}.sqlite.sql`, folder), schemaOf(path));
    expectAt(revision);
  }
  for (const { revision } of migrations.slice(0, -1).toReversed()) {
    await withMigrator({ url }, (migrator) => downgrade(migrator, revision, { backup: false, allowDataLoss: false }));
    expectAt(revision);
  }
  await withMigrator({ url }, (migrator) => upgrade(migrator, "head", { backup: false }));
  expectAt(head);
});

test("there are no other golden schemas", () => {
  assert.deepEqual(
    readdirSync(folder).sort(),
    [...migrations, ...readMigrations("postgres")].map(({ revision, dialect }) => `${revision}.${dialect}.sql`).sort(),
  );
});

test("a store that openStore makes has the schema of one that was migrated", async (t) => {
  const { url, path } = place(t);
  await (await openStore({ url })).close();
  assert.equal(schemaOf(path), golden(head));
});
