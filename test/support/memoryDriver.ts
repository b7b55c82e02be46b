// A driver with a database in memory, for tests of the layers between driver and client.
import Database from "better-sqlite3";
import { anonymous } from "../../src/caller.ts";
import { systemClock } from "../../src/clock.ts";
import { createDispatcher } from "../../src/dispatch.ts";
import type { StoreError } from "../../src/errors.ts";
import { defaultLimits } from "../../src/limits.ts";
import type { OperationTable } from "../../src/operation.ts";
import { readMigrations } from "../../src/schema/migrationFiles.ts";
import { createSqliteDriver } from "../../src/sqlite/transaction.ts";
import { idleServer } from "./serverState.ts";

export function memoryDatabase(): Database.Database {
  const db = new Database(":memory:");
  for (const { up } of readMigrations("sqlite")) db.exec(up);
  return db;
}

/** The name of an operation, and its wire input. */
type WireCall = readonly [name: string, ...wire: unknown[]];
type Jobs = readonly (WireCall | readonly WireCall[])[];

/** Creates a dispatcher that runs calls of any operations, several in one transaction. */
export function memoryDispatcher(operations: OperationTable, db = memoryDatabase()) {
  const driver = createSqliteDriver({ db, clock: systemClock, epoch: 1, close: () => void db.close() });
  const faults: StoreError[] = [];
  const dispatcher = createDispatcher({
    operations,
    driver,
    limits: defaultLimits,
    serverState: () => idleServer,
    onInternal: (error) => void faults.push(error),
  });
  const outcomesOf = async (jobs: Jobs) => {
    const calls = jobs.map((job) =>
      Array.isArray(job[0]) ? (job as [string, ...unknown[]][]) : [job as [string, ...unknown[]]],
    );
    const { outcomes } = await dispatcher.runTransaction(
      calls.map((job) => job.map(([name, ...wire]) => dispatcher.decodeCall(name, wire, anonymous))),
      60_000,
    );
    return outcomes;
  };
  return {
    db,
    driver,
    dispatcher,
    faults,
    /** Runs jobs and resolves to the answers of each. */
    // biome-ignore lint/suspicious/noExplicitAny: tests inspect failures and results of any shape.
    async run(...jobs: Jobs): Promise<any> {
      return (await outcomesOf(jobs)).map(({ answers }) => answers);
    },
    /** Runs jobs and resolves to the number that shared the first transaction. */
    async firstTransactionSize(...jobs: Jobs): Promise<number> {
      return (await outcomesOf(jobs)).length;
    },
  };
}
