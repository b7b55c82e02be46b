// A thread with Kysely on kysely-sqlite-worker, which runs the statements in a worker of its own. They are compiled
// once, which costs less than the query builder at each call: https://kysely.dev/docs/recipes/splitting-query-building-and-execution
import type { Cell, Opened } from "../cells/cell.ts";
import { asyncCalls, type Executor } from "./asyncCalls.ts";
import { unitOf } from "./calls.ts";
import type { ConnectionThread } from "./connectionThread.ts";
import { loadPackage } from "./packages.ts";

/** The part of the packages that is used here. */
interface KyselyModule {
  Kysely: new (options: { dialect: unknown }) => Database;
  CompiledQuery: { raw(sql: string, parameters?: readonly unknown[]): unknown };
}
interface Queries {
  executeQuery(query: unknown): Promise<{ rows: unknown[]; numAffectedRows?: bigint }>;
}
interface Database extends Queries {
  transaction(): { execute(run: (transaction: Queries) => Promise<void>): Promise<void> };
  destroy(): Promise<void>;
}
interface WorkerModule {
  SqliteWorkerDialect: new (options: {
    source: string;
    option: { timeout: number };
    onCreateConnection(connection: Queries): Promise<void>;
  }) => unknown;
}

export async function open(cell: Cell, { path, runnerId }: ConnectionThread): Promise<Opened> {
  const { Kysely, CompiledQuery } = await loadPackage<KyselyModule>("kysely");
  const { SqliteWorkerDialect } = await loadPackage<WorkerModule>("kysely-sqlite-worker");
  const dialect = new SqliteWorkerDialect({
    source: path,
    option: { timeout: 5_000 },
    async onCreateConnection(connection) {
      for (const sql of ["PRAGMA synchronous = FULL", "PRAGMA foreign_keys = ON"])
        await connection.executeQuery(CompiledQuery.raw(sql));
    },
  });
  const db = new Kysely({ dialect });
  const executor = (on: Queries): Executor => ({
    async run(sql, values) {
      const { rows, numAffectedRows } = await on.executeQuery(CompiledQuery.raw(sql, values));
      return { rows, changes: Number(numAffectedRows) };
    },
  });
  // Its transactions begin deferred. All begin with a write here, so none fails for a stale snapshot.
  const driver = {
    ...executor(db),
    transaction: (run: (transaction: Executor) => Promise<void>) =>
      db.transaction().execute((transaction) => run(executor(transaction))),
  };
  return { unit: unitOf(cell, asyncCalls(driver, runnerId)), close: () => db.destroy() };
}
