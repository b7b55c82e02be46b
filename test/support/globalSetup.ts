// Before all test files: one PostgreSQL server for all of them, unless one is named.
import { type OwnServer, ownServer, serverUrlVariable } from "./postgres.ts";

let server: OwnServer | undefined;

export async function globalSetup(): Promise<void> {
  if (process.env[serverUrlVariable] !== undefined) return;
  server = await ownServer();
  process.env[serverUrlVariable] = server.url;
}

export async function globalTeardown(): Promise<void> {
  await server?.remove();
}
