// PostgreSQL for tests: the server that DEBUG_SERVER_DB_TEST_PG_URL names, or the one that all test files of a run
// share, or one of this process when a file runs by itself. No server starts before a test asks for it.
import { randomBytes } from "node:crypto";
import { after } from "node:test";
import pg from "pg";
import { type OwnServer, ownServer, type PostgresServer } from "./postgresServer.ts";
import { sharedPostgresUrl } from "./sharedPostgres.ts";

export { ownServer } from "./postgresServer.ts";

let own: Promise<OwnServer> | undefined;
let found: Promise<string> | undefined;

/** Returns the URL of the server that the tests share. */
export function postgresUrl(): Promise<string> {
  found ??= find();
  return found;
}

async function find(): Promise<string> {
  const url = process.env.DEBUG_SERVER_DB_TEST_PG_URL ?? (await sharedPostgresUrl());
  if (url !== undefined) return url;
  own = ownServer();
  return (await own).url;
}

after(async () => {
  const server = await own?.catch(() => undefined);
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

export async function dropDatabase(url: string): Promise<void> {
  const server = new URL(url);
  const name = server.pathname.slice(1);
  server.pathname = "/postgres";
  await ask(server.href, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
}

/** Sends one query over a connection of its own. */
export async function ask<Row extends pg.QueryResultRow>(
  url: string,
  text: string,
  values: readonly unknown[] = [],
): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Row>(text, [...values])).rows;
  } finally {
    await client.end();
  }
}
