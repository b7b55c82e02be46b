// PostgreSQL for tests: the server at DEBUG_SERVER_DB_TEST_PG_URL, or the server that all test files of a run share, or
// a server of this process when a file runs by itself. No server starts before a test needs it.
import { randomBytes } from "node:crypto";
import { after } from "node:test";
import pg from "pg";
import { type OwnServer, ownServer, type PostgresServer } from "./postgresServer.ts";
import { sharedPostgresUrl } from "./sharedPostgres.ts";

export { ownServer } from "./postgresServer.ts";

let processServer: Promise<OwnServer> | undefined;
let serverUrl: Promise<string> | undefined;

/** Returns the URL of the server that the tests share. */
export function postgresUrl(): Promise<string> {
  serverUrl ??= findServer();
  return serverUrl;
}

async function findServer(): Promise<string> {
  const url = process.env.DEBUG_SERVER_DB_TEST_PG_URL ?? (await sharedPostgresUrl());
  if (url !== undefined) return url;
  processServer = ownServer();
  return (await processServer).url;
}

after(async () => {
  const server = await processServer?.catch(() => undefined);
  await server?.remove();
});

/** Creates an empty database and returns its URL. */
export async function newDatabase(server?: PostgresServer): Promise<string> {
  const url = new URL(server?.url ?? (await postgresUrl()));
  const name = `test_${randomBytes(8).toString("hex")}`;
  await ask(url.href, `CREATE DATABASE ${name}`);
  url.pathname = `/${name}`;
  return url.href;
}

/** Drops a database, and closes the connections to it. */
export async function dropDatabase(url: string): Promise<void> {
  const server = new URL(url);
  const name = server.pathname.slice(1);
  server.pathname = "/postgres";
  await ask(server.href, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
}

/** Runs one query over a connection of its own, and resolves to its rows. */
export async function ask<Row extends pg.QueryResultRow>(
  url: string,
  text: string,
  values: readonly unknown[] = [],
): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    // The client reads times in this form alone, and the server of the tests has another one.
    await client.query("SET DateStyle = 'ISO, YMD'");
    return (await client.query<Row>(text, [...values])).rows;
  } finally {
    await client.end();
  }
}
