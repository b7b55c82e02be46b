// Opens a Kysely instance that reads a store with SQL, on connections of its own.
import { resolve } from "node:path";
import type { Kysely, KyselyConfig } from "kysely";
import { StoreError } from "../errors.ts";
import { checkLimits, defaultLimits } from "../limits.ts";
import { checkNodeVersion } from "../package.ts";
import { chooseUrl, parsePlace } from "../place.ts";
import { present } from "../present.ts";
import type { DebugServerDatabase } from "./database.ts";
import { createDialect } from "./dialect.ts";
import type { CreateSession } from "./sessions.ts";

export interface KyselyOptions {
  /**
   * The database, as `openStore` takes it: "sqlite:PATH" or "postgres://USER:PASSWORD@HOST:PORT/DATABASE". The default is
   * the environment variable DEBUG_SERVER_DB_URL unless it is blank, or else "sqlite:.artifacts/data/metadata.db".
   */
  readonly url?: string;
  /**
   * The most connections, 1 to 16; the default is 2. Each is a process that reads the SQLite file, or a connection to
   * PostgreSQL. They are opened when they are needed, and closed when nobody has read for 5 s.
   */
  readonly connections?: number;
  /**
   * The time, in milliseconds, for which a query, a stream or a transaction may hold one state of the database, at most a
   * day; the default is 30 000. Then it is ended, and fails with `deadline_exceeded`.
   */
  readonly timeoutMs?: number;
  /** The memory, in bytes, that the rows of one `execute` may take; the default is 64 MiB. A stream has no limit. */
  readonly resultBytes?: number;
  /** The log of Kysely: https://kysely.dev/docs/recipes/logging */
  readonly log?: KyselyConfig["log"];
}

/**
 * A Kysely instance that reads. It can be passed where a `Kysely<DebugServerDatabase>` is expected. Statements that write
 * do not compile; those that are hidden from the compiler fail with `read_only`.
 */
export interface ReadingKysely extends Kysely<DebugServerDatabase> {
  readonly insertInto: never;
  readonly replaceInto: never;
  readonly updateTable: never;
  readonly deleteFrom: never;
  readonly mergeInto: never;
  readonly schema: never;
}

const [connectionsMax, timeoutMsMax] = [16, 86_400_000];

/**
 * Opens a Kysely instance on connections of its own, which only read. Writes of the store never wait for it. `destroy()`
 * closes it at once, also in the middle of a query.
 *
 * Fails    invalid_input (url, options) | incompatible (no package kysely, no database, one of another program, an older
 *          or newer schema, a server that refuses the connection) | busy | corrupt
 */
export async function openKysely(options: KyselyOptions = {}): Promise<ReadingKysely> {
  checkNodeVersion();
  const { url, name } = chooseUrl(options.url, process.env);
  const place = parsePlace(url, name);
  const connections = checkOption("connections", options.connections ?? 2, connectionsMax);
  const timeoutMs = checkOption("timeoutMs", options.timeoutMs ?? 30_000, timeoutMsMax);
  const resultBytes = checkOption(
    "resultBytes",
    options.resultBytes ?? defaultLimits.resultBytes,
    Number.MAX_SAFE_INTEGER,
  );
  const kysely = await loadKysely();
  const limits = checkLimits();
  let createSession: CreateSession;
  if (place.engine === "sqlite") {
    if (place.path === ":memory:")
      throw new StoreError("invalid_input", `${name}: a store in memory cannot be read from outside: name a file`);
    const { SqliteSession } = await import("./sqliteSession.ts");
    const path = resolve(place.path);
    createSession = (onEnd) => new SqliteSession({ path, limits, timeoutMs, resultBytes, onEnd });
  } else {
    const { PostgresSession } = await import("./postgresSession.ts");
    createSession = (onEnd) => new PostgresSession({ url: place.url, limits, timeoutMs, resultBytes, onEnd });
  }
  const dialect = createDialect(kysely, { engine: place.engine, connections, createSession });
  const db = new kysely.Kysely<DebugServerDatabase>({ dialect, ...present({ log: options.log }) });
  // Opens a connection, so that what is wrong with the database is told now.
  await db.connection().execute(async () => undefined);
  return db as ReadingKysely;
}

function checkOption(name: keyof KyselyOptions, value: number, max: number): number {
  if (Number.isSafeInteger(value) && value >= 1 && value <= max) return value;
  throw new StoreError("invalid_input", `${name}: expected a whole number from 1 to ${max}, not ${value}`);
}

/** Loads the application's Kysely, which is installed only by those who want it. */
async function loadKysely(): Promise<typeof import("kysely")> {
  try {
    return await import("kysely");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ERR_MODULE_NOT_FOUND") throw error;
    throw new StoreError("incompatible", "openKysely needs the package kysely: run npm install kysely", {
      cause: error,
      details: { reason: "no_kysely" },
    });
  }
}
