// Libraries for SQLite in place of bare better-sqlite3 connections, with the same tables and calls. Each of the threads
// opens its own, as it would in a program that uses them on several threads.
import type { Contender } from "../cells/cell.ts";
import { connections } from "./connections.ts";

const library = (module: string, ...needs: readonly string[]): Contender => ({
  ...connections,
  thread: new URL(module, import.meta.url),
  needs,
});

export const libraries = {
  Drizzle: library("./drizzleThread.ts", "drizzle-orm"),
  "@libsql/client": library("./libsqlThread.ts", "@libsql/client"),
  "kysely-sqlite-worker": library("./kyselyThread.ts", "kysely", "kysely-sqlite-worker"),
} as const;
