// Checks the places where a new table or entity is easily forgotten, because no compiler and no other test needs them.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { it } from "node:test";
import { scopes } from "../../src/model/vocabulary.ts";
import { operations } from "../../src/operations/table.ts";
import { createdTables, readMigrations } from "../../src/schema/migrationFiles.ts";
import { openTestStore } from "../../src/testing/index.ts";
import { memoryDatabase } from "../support/memoryDriver.ts";

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

it("maintenance.stats counts the rows of every table that has a state, and those of some others", async () => {
  const db = memoryDatabase();
  const tables = createdTables(readMigrations("sqlite")).filter(
    (table) =>
      (db.pragma(`table_info(${table})`) as { name: string }[]).some(({ name }) => name === "state") &&
      table !== "counters",
  );
  db.close();
  const store = await openTestStore();
  const { rows } = await store.maintenance.stats();
  await store.close();
  assert.deepEqual(
    tables.filter((table) => !(table in rows)),
    [],
  );
  assert.deepEqual(
    Object.keys(rows)
      .filter((name) => !tables.includes(name))
      .sort(),
    ["accounts", "discarded_files", "logs", "patches", "repositories", "tokens"],
  );
});

/** Entities without scopes of their own: over HTTP, they need `admin`, or a scope of tokens or of sessions. */
const unscoped = ["files", "environments", "patches", "accounts", "usage", "maintenance"];

it("every entity has scopes, or is known to have none", () => {
  const ofEntities = scopes.filter((scope) => scope !== "admin" && scope !== "metrics:read");
  const scoped = new Set(ofEntities.map((scope) => scope.split(":")[0] as string));
  assert.deepEqual([...scoped, ...unscoped].sort(), Object.keys(operations).sort());
});
