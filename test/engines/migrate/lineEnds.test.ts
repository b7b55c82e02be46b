// A checkout of the migrations with line ends of Windows belongs to the same databases as one without.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { it } from "node:test";
import { check, listHistory } from "../../../src/migrate/history.ts";
import { upgrade } from "../../../src/migrate/upgrade.ts";
import { readMigrations } from "../../../src/schema/migrationFiles.ts";
import { contentsOf, migrationFolder, withMigrator } from "./migrationFolder.ts";

it("a database may be upgraded with CRLF line ends and then with LF, and the other way round", async () => {
  const [lf, crlf, mixed] = [migrationFolder(), migrationFolder(), migrationFolder()];
  for (const { file } of readMigrations("sqlite", crlf.migrations)) {
    const path = join(crlf.migrations, file);
    writeFileSync(path, readFileSync(path, "utf8").replaceAll("\n", "\r\n"));
  }
  const up = ({ url }: { url: string }, { migrations }: { migrations: string }, target: string) =>
    withMigrator({ url, migrations }, (migrator) => upgrade(migrator, target, { backup: false }));
  await up(lf, lf, "head");
  await up(crlf, crlf, "head");
  await up(mixed, lf, "1");
  await up(mixed, crlf, "2");
  await up(mixed, lf, "3");
  assert.deepEqual(contentsOf(crlf.path), contentsOf(lf.path));
  assert.deepEqual(contentsOf(mixed.path), contentsOf(lf.path));
  for (const { migrations } of [lf, crlf]) {
    const [findings, history] = await withMigrator({ url: mixed.url, migrations }, async (migrator) => [
      await check(migrator),
      await listHistory(migrator),
    ]);
    assert.deepEqual(findings, []);
    assert.deepEqual(new Set(history.map(({ state }) => state)), new Set(["applied"]));
  }
});
