// The schema at the head of the migrations, kept in a file whose diff shows a reviewer what a migration does.
// With UPDATE_GOLDEN=1 the tests write it again.
import assert from "node:assert/strict";
import { test } from "node:test";
import { openStore } from "../../../src/index.ts";
import { verify } from "../../../src/migrate/dryRun.ts";
import { downgrade, upgrade } from "../../../src/migrate/upgrade.ts";
import { readMigrations } from "../../../src/schema/migrationFiles.ts";
import { expectGolden, migrationFolder, withDatabase, withMigrator } from "./migrationFolder.ts";

const migrations = readMigrations("sqlite");

/** Returns all definitions in a database file, including the ledger. */
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

test("the migrations make the golden schema, also after a downgrade to base and an upgrade", async () => {
  const { url, path } = migrationFolder();
  await withMigrator({ url }, (migrator) => upgrade(migrator, "head", { backup: false }));
  expectGolden("sqlite", schemaOf(path));
  await withMigrator({ url }, (migrator) => downgrade(migrator, "base", { backup: false, allowDataLoss: false }));
  await withMigrator({ url }, (migrator) => upgrade(migrator, "head", { backup: false }));
  expectGolden("sqlite", schemaOf(path));
});

test("a revision has the same schema whichever revision it is reached from", async () => {
  const { url, path } = migrationFolder();
  for (const [index, { revision }] of migrations.entries()) {
    await withMigrator({ url }, (migrator) => upgrade(migrator, revision, { backup: false }));
    // Each run goes through all revisions, so the first and the last one are enough.
    if (index > 0 && index < migrations.length - 1) continue;
    const { steps, faults } = await withMigrator({ url }, verify);
    assert.deepEqual([steps.length, faults], [3 * migrations.length - index - 1, []], revision);
  }
  expectGolden("sqlite", schemaOf(path));
});

test("a store that openStore creates has the golden schema", async () => {
  const { url, path } = migrationFolder();
  await (await openStore({ url })).close();
  expectGolden("sqlite", schemaOf(path));
});
