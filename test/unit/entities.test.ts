// Checks the places that a new table or entity is easily forgotten in, because no other test and no compiler needs them.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { it } from "node:test";
import { createdTables, readMigrations } from "../../src/schema/migrationFiles.ts";

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");

it("docs/architecture.md draws every table", () => {
  const [, schema = ""] = /^## Schema\n\n```\n([\s\S]*?)^```$/m.exec(read("docs/architecture.md")) ?? [];
  const tables = createdTables(readMigrations("sqlite"));
  assert.ok(tables.length > 10);
  assert.deepEqual(
    tables.filter((table) => !new RegExp(`\\b${table}\\b`).test(schema)),
    [],
  );
});

it("src/index.ts exports the type of every row in docs/operations.md", () => {
  const [, rows = ""] = /^## Rows\n([\s\S]*)/m.exec(read("docs/operations.md")) ?? [];
  const names = [...rows.matchAll(/^### (\w+)$/gm)].map(([, name]) => name as string);
  assert.ok(names.length > 10);
  const index = read("src/index.ts");
  assert.deepEqual(
    names.filter((name) => !new RegExp(`\\b${name}\\b`).test(index)),
    [],
  );
});
