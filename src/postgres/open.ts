// Opens a PostgreSQL database: checks the server's version, creates or checks our schema, and opens the connections of
// this process.

import type pg from "pg";
import type { Clock } from "../clock.ts";
import type { DatabaseFacts } from "../context.ts";
import type { Driver, Synchronous } from "../driver.ts";
import { StoreError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { shownAddress } from "../place.ts";
import { realTime, sleep } from "../realTime.ts";
import { createSchema, hasLedger, readHistory, requireHead } from "../schema/ledger.ts";
import { createdTables, readMigrations } from "../schema/migrationFiles.ts";
import type { Touched } from "../wire.ts";
import { runBody } from "./body.ts";
import { brokenTables, postgresCatalog } from "./catalog.ts";
import { type ConnectionOptions, PostgresConnection } from "./connection.ts";
import { translate } from "./errors.ts";
import { PostgresListener } from "./listener.ts";
import { migrationClass, schemaKey } from "./locks.ts";
import { createServerClock, timeQuery } from "./serverClock.ts";
import { createPostgresDriver } from "./transaction.ts";

/** The oldest major version that is tested. */
const versionMin = 15;

export interface PostgresOptions {
  readonly url: string;
  readonly clock: Clock;
  readonly limits: Limits;
  /** `create` creates the schema of a new database; `never` refuses it. */
  readonly migrate: "create" | "never";
  /** `full`: an acknowledged write survives a crash of the server. `normal`: the last writes may be lost. */
  readonly synchronous: Synchronous;
  /** A `visitor` makes a few calls and writes nothing of its own, so it may be a user who only reads, on a standby. */
  readonly role: "server" | "visitor";
  /** Called with the topics that another process has touched. */
  onTouched(topics: Touched): void;
  /** Called with a failure that belongs to no call. */
  onFault(error: StoreError): void;
}

export interface OpenedPostgres {
  readonly drivers: readonly Driver[];
  /** The server's clock, as this process knows it. */
  readonly clock: Clock;
  /** Returns the driver of a further connection, which opens with its first transaction. */
  connectReader(): Driver;
  /** Notifies other processes of the topics that a commit has touched. */
  publish(topics: ReadonlySet<string>): void;
}

/**
 * Opens a store. Waits for a server that is away, as calls do. Fails with incompatible, busy or read_only; the message names
 * the remedy.
 */
export async function openPostgres(options: PostgresOptions): Promise<OpenedPostgres> {
  const giveUpAtMs = realTime.elapsed() + options.limits.busyGiveUpMs;
  for (;;) {
    try {
      return await open(options);
    } catch (error) {
      // A server that restarts, or an address that leads to a standby during a failover.
      if (!(error instanceof StoreError) || !error.retryable || realTime.elapsed() > giveUpAtMs) throw error;
      await sleep(openPauseMs);
    }
  }
}

/** The pause between two attempts to open. */
const openPauseMs = 100;

async function open(options: PostgresOptions): Promise<OpenedPostgres> {
  let openedId: string | undefined;
  const readsOnly = options.role === "visitor";
  const settings: ConnectionOptions = {
    ...options,
    readsOnly,
    schema: { name: undefined },
    // While the process had no connection, the schema may have been migrated, and the database replaced.
    onOpened: async (client) => {
      if (openedId === undefined) return;
      await requireSchema(client);
      await requireStore(client, openedId);
    },
  };
  const first = new PostgresConnection(settings);
  const listening = new PostgresConnection(settings, () => listener?.lost());
  let listener: PostgresListener | undefined;
  try {
    const client = await first.get();
    const facts = await readFacts(client, options);
    await ensureSchema(client, options);
    await requireTables(client, readsOnly);
    const { epoch, storeId } = await nextEpoch(client, options);
    const started = new PostgresListener({
      channel: `debug_server_db_${storeId}`,
      rewakeMs: options.limits.rewakeMs,
      connection: listening,
      onTouched: options.onTouched,
      onFault: options.onFault,
    });
    listener = started;
    // A standby, which a visitor may read, has no notifications.
    await started.start().catch((error: unknown) => {
      if (!readsOnly) throw error;
      started.lost();
    });
    const { server, watched } = await startClock(client, options.clock);
    const { connections, groupLockMs, lockMs } = options.limits;
    const more = Array.from({ length: Math.max(1, connections) - 1 }, () => new PostgresConnection(settings));
    const driverOf = (connection: PostgresConnection): Driver =>
      createPostgresDriver({
        connection,
        epoch,
        groupLockMs,
        lockMs,
        clock: server,
        facts: () => facts,
        // On the connection that is never in a transaction.
        findProblem: async () => requireTables(await listening.get(), readsOnly),
      });
    const [head, ...others] = [first, ...more].map(driverOf) as [Driver, ...Driver[]];
    // The first driver closes the listener too.
    const close = async (): Promise<void> => {
      await Promise.all([head.close(), started.close()]);
    };
    openedId = storeId;
    return {
      drivers: [{ ...head, close }, ...others],
      clock: watched,
      connectReader: () => driverOf(new PostgresConnection(settings)),
      publish: (topics) => started.publish(topics),
    };
  } catch (error) {
    await Promise.all([first.close(), listener?.close() ?? listening.close()]);
    const reason = translate(error);
    const address = shownAddress(options.url);
    throw reason.message.startsWith(address)
      ? reason
      : new StoreError(reason.code, `${address}: ${reason.message}`, {
          details: reason.details,
          retryable: reason.retryable,
          cause: error,
        });
  }
}

/** Reads the facts that do not change while the store is open. Fails with incompatible when the server is too old. */
async function readFacts(client: pg.Client, { limits, synchronous }: PostgresOptions): Promise<DatabaseFacts> {
  const version = await requireVersion(client);
  await requireEncoding(client);
  const { rows } = await client.query<{ bytes: number }>("SELECT pg_database_size(current_database()) AS bytes");
  return {
    schemaHead: readMigrations("postgres").at(-1)?.revision ?? "none",
    figures: {
      engine: "postgres",
      server_version: version,
      synchronous_commit: synchronous === "full" ? "on" : "off",
      connections: limits.connections,
      bytes_when_opened: rows[0]?.bytes ?? 0,
    },
  };
}

async function requireVersion(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ server_version: string }>("SHOW server_version");
  const version = rows[0]?.server_version ?? "unknown";
  if (Number.parseInt(version, 10) >= versionMin) return version;
  throw new StoreError("incompatible", `PostgreSQL ${version} is too old: use version ${versionMin} or newer`);
}

/** Other encodings than UTF-8 lack characters. A database without encoding, SQL_ASCII, stores bytes as they are. */
async function requireEncoding(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ server_encoding: string }>("SHOW server_encoding");
  const encoding = rows[0]?.server_encoding ?? "unknown";
  if (encoding === "UTF8" || encoding === "SQL_ASCII") return;
  throw new StoreError(
    "incompatible",
    `the database is encoded in ${encoding}, which cannot hold every text: create one with createdb --encoding=UTF8 --template=template0`,
    { details: { reason: "encoding", encoding } },
  );
}

/**
 * Creates the schema of a new database, and fails with incompatible unless the schema is at the head. When several
 * processes open a new database at once, one creates the schema and the others wait.
 */
async function ensureSchema(client: pg.Client, { clock, limits, migrate }: PostgresOptions): Promise<void> {
  const migrations = readMigrations("postgres");
  const { busyGiveUpMs, statementMs } = limits;
  // Another process may be creating the schema. That takes longer than a row stays locked, so opening waits as it does
  // on SQLite.
  await client.query(`
    BEGIN;
    SET LOCAL lock_timeout = ${busyGiveUpMs};
    SET LOCAL statement_timeout = ${busyGiveUpMs + statementMs}`);
  try {
    await client.query(`SELECT pg_advisory_xact_lock(${migrationClass}, ${schemaKey})`);
    const tables = await runBody(client, postgresCatalog.tables());
    if (!hasLedger(tables)) {
      const ours = createdTables(migrations);
      const foreign = tables.find(({ name }) => ours.includes(name));
      if (foreign !== undefined)
        throw new StoreError(
          "incompatible",
          `a table ${foreign.name} of another program is in the way: ${useAnotherDatabase}`,
        );
      if (migrate === "never")
        throw new StoreError("incompatible", "the database is empty: run debug-server-db migrate upgrade head");
      await runBody(
        client,
        createSchema(postgresCatalog, migrations, () => clock.now()),
      );
    }
    await requireSchema(client);
    await client.query("COMMIT");
  } catch (error) {
    await client.query("ROLLBACK").catch(() => undefined);
    throw error;
  }
}

/** Fails with incompatible unless the schema is the one of this version. */
export async function requireSchema(client: pg.Client): Promise<void> {
  const migrations = readMigrations("postgres");
  requireHead(await runBody(client, readHistory(postgresCatalog, migrations)), migrations);
}

/** Fails with incompatible when a table is missing, or when the user lacks a right that the store needs. */
async function requireTables(client: pg.Client, readsOnly: boolean): Promise<void> {
  const broken = await runBody(client, brokenTables(readMigrations("postgres"), readsOnly));
  const missing = broken.filter((table) => table.missing === 1).map(({ name }) => name);
  if (missing.length > 0)
    throw new StoreError(
      "incompatible",
      `tables are missing: run debug-server-db migrate check, and restore a backup (${missing.join(", ")})`,
      { details: { reason: "tables_missing", tables: missing } },
    );
  if (broken.length === 0) return;
  const tables = broken.map(({ name }) => name);
  const rights = readsOnly ? "SELECT" : "SELECT, INSERT, UPDATE, DELETE";
  throw new StoreError("incompatible", `the user lacks a privilege: GRANT ${rights} ON ${tables.join(", ")}`, {
    details: { reason: "privileges", tables },
  });
}

/** Fails with incompatible when the database holds another store than the one that was opened. */
async function requireStore(client: pg.Client, storeId: string): Promise<void> {
  const { rows } = await client.query<{ value: string }>("SELECT value FROM store_meta WHERE key = 'store_id'");
  if (rows[0]?.value === storeId) return;
  throw new StoreError(
    "incompatible",
    "the database was replaced while this process had it open, and holds another store: restart the process to use that one",
    { details: { reason: "other_store" } },
  );
}

const useAnotherDatabase = "name another database, or a schema of its own with ?options=-csearch_path%3DNAME";

/** Counts this start of a server. Returns its number and the id of the store. A visitor gets the number of the last start. */
async function nextEpoch(client: pg.Client, { role }: PostgresOptions): Promise<{ epoch: number; storeId: string }> {
  const { rows } = await client.query<{ key: string; value: string }>(
    role === "visitor"
      ? "SELECT key, value FROM store_meta WHERE key IN ('epoch', 'store_id')"
      : `UPDATE store_meta
         SET value = CASE key WHEN 'epoch' THEN (value::bigint + 1)::text ELSE value END
         WHERE key IN ('epoch', 'store_id')
         RETURNING key, value`,
  );
  const read = (name: string) => rows.find(({ key }) => key === name)?.value as string;
  return { epoch: Number(read("epoch")), storeId: read("store_id") };
}

/** Creates the clock of the store, set from a first reading. */
async function startClock(client: pg.Client, clock: Clock): Promise<ReturnType<typeof createServerClock>> {
  const clocks = createServerClock(clock);
  const askedAtMs = realTime.elapsed();
  const { rows } = await client.query<{ now: number }>(timeQuery);
  clocks.server.set((rows[0] as { now: number }).now, askedAtMs);
  return clocks;
}
