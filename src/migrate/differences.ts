// Compares schemas, and finds the schema that migrations produce in an empty database.
import type { Engine } from "../schema/engine.ts";
import { applyMigration, type SchemaObject, stampMigrations } from "../schema/ledger.ts";
import { createdTables, type Migration } from "../schema/migrationFiles.ts";
import { canonicalSql } from "../schema/statements.ts";
import { revisionAt } from "./target.ts";

export interface Difference {
  readonly change: "added" | "removed" | "changed";
  readonly type: string;
  readonly name: string;
  readonly before?: string;
  readonly after?: string;
}

/** Returns the differences between two schemas, apart from comments and white space. */
export function compareSchemas(
  before: readonly SchemaObject[],
  after: readonly SchemaObject[],
  { dialect }: Engine,
): Difference[] {
  const keyOf = ({ type, name }: SchemaObject) => `${type} ${name}`;
  const oldByKey = new Map(before.map((object) => [keyOf(object), object]));
  const newByKey = new Map(after.map((object) => [keyOf(object), object]));
  const removed = before
    .filter((object) => !newByKey.has(keyOf(object)))
    .map(({ type, name, definition }) => ({ change: "removed" as const, type, name, before: definition }));
  const added = after
    .filter((object) => !oldByKey.has(keyOf(object)))
    .map(({ type, name, definition }) => ({ change: "added" as const, type, name, after: definition }));
  const changed = after.flatMap((object) => {
    const old = oldByKey.get(keyOf(object));
    if (old === undefined || canonicalSql(old.definition, dialect) === canonicalSql(object.definition, dialect))
      return [];
    return [
      {
        change: "changed" as const,
        type: object.type,
        name: object.name,
        before: old.definition,
        after: object.definition,
      },
    ];
  });
  return [...removed, ...added, ...changed];
}

/**
 * Returns the differences between the schema that migrations produce and the actual one. Tables, views and functions of others
 * are none, nor are the indexes and triggers on them. Those on our tables are: they change what our writes cost and do.
 */
export function driftOf(
  expected: readonly SchemaObject[],
  actual: readonly SchemaObject[],
  migrations: readonly Migration[],
  engine: Engine,
): Difference[] {
  const ours = new Set([...createdTables(migrations), ...expected.map((object) => object.of)]);
  return compareSchemas(
    expected,
    actual.filter((object) => ours.has(object.of)),
    engine,
  );
}

/** Returns the schema of each revision, as the migrations produce it in an empty database. */
export async function schemasByRevision(
  engine: Engine,
  migrations: readonly Migration[],
  now: () => number,
): Promise<Map<string, readonly SchemaObject[]>> {
  return await usingEngine(await engine.openEmpty(), async (empty) => {
    const schemas = new Map<string, readonly SchemaObject[]>();
    await empty.transact(async ({ run }) => {
      await run(stampMigrations(empty.catalog, [], now));
      schemas.set("base", await run(empty.catalog.objects()));
      for (const migration of migrations) {
        await run(applyMigration(migration, now));
        schemas.set(migration.revision, await run(empty.catalog.objects()));
      }
    });
    return schemas;
  });
}

/** Returns the schema that migrations produce in an empty database. */
export async function expectedObjects(
  engine: Engine,
  migrations: readonly Migration[],
  now: () => number,
): Promise<readonly SchemaObject[]> {
  const schemas = await schemasByRevision(engine, migrations, now);
  return schemas.get(revisionAt(migrations, migrations.length)) ?? [];
}

/** Runs `work` with an engine, and closes the engine afterwards. */
export async function usingEngine<Result>(engine: Engine, work: (engine: Engine) => Promise<Result>): Promise<Result> {
  try {
    return await work(engine);
  } finally {
    await engine.close();
  }
}
