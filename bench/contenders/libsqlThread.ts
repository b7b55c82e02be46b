// A thread with an @libsql/client on the file, as its reference shows it for local files and interactive transactions:
// https://docs.turso.tech/sdk/ts/reference
import type { Cell, Opened } from "../cells/cell.ts";
import { asyncCalls, type Executor } from "./asyncCalls.ts";
import { unitOf } from "./calls.ts";
import type { ConnectionThread } from "./connectionThread.ts";
import { loadPackage } from "./packages.ts";

/** The part of the package that is used here. */
interface Libsql {
  createClient(options: { url: string; timeout: number; concurrency: number }): Client;
}
interface Statements {
  execute(statement: { sql: string; args: unknown }): Promise<{ rows: unknown[]; rowsAffected: number }>;
}
interface Client extends Statements {
  transaction(mode: "write"): Promise<Statements & { commit(): Promise<void>; close(): void }>;
  close(): void;
}

export async function open(cell: Cell, { path, runnerId }: ConnectionThread): Promise<Opened> {
  const { createClient } = await loadPackage<Libsql>("@libsql/client");
  // With one connection, the pragmas hold for all calls.
  const client = createClient({ url: `file:${path}`, timeout: 5_000, concurrency: 1 });
  for (const sql of ["PRAGMA synchronous = FULL", "PRAGMA foreign_keys = ON"]) await client.execute({ sql, args: [] });
  const executor = (on: Statements): Executor => ({
    async run(sql, args) {
      const { rows, rowsAffected } = await on.execute({ sql, args });
      return { rows, changes: rowsAffected };
    },
  });
  const driver = {
    ...executor(client),
    async transaction(run: (transaction: Executor) => Promise<void>) {
      const transaction = await client.transaction("write");
      try {
        await run(executor(transaction));
        await transaction.commit();
      } finally {
        transaction.close();
      }
    },
  };
  return { unit: unitOf(cell, asyncCalls(driver, runnerId)), close: () => client.close() };
}
