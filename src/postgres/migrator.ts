// Migrates a PostgreSQL database in one transaction, which keeps other writers out and holds the advisory lock that
// opening a store takes too.

import { randomBytes } from "node:crypto";
import type pg from "pg";
import { type Details, StoreError } from "../errors.ts";
import { defaultLimits, type Limits } from "../limits.ts";
import { shownAddress } from "../place.ts";
import { realTime } from "../realTime.ts";
import type { Engine, RestorePoint, Run } from "../schema/engine.ts";
import { createSchema } from "../schema/ledger.ts";
import { checkSignal, type LockWait, waitForLock } from "../schema/lockWait.ts";
import type { Migration } from "../schema/migrationFiles.ts";
import { quoteName } from "../sql.ts";
import { dumpAdvice } from "./advice.ts";
import { runBody } from "./body.ts";
import { postgresCatalog } from "./catalog.ts";
import { PostgresConnection } from "./connection.ts";
import { copyRows } from "./copyRows.ts";
import { translate } from "./errors.ts";
import { migrationClass, openClass, schemaKey } from "./locks.ts";
import type { PinnedSchema } from "./session.ts";

export interface PostgresEngineOptions extends LockWait {
  readonly url: string;
  /** Called with advice before the first migration when a backup is wanted, because it cannot be made from here. */
  readonly onBackupAdvice?: ((advice: string) => void) | undefined;
  /** Other limits of the connection than the default ones, for tests. */
  readonly limits?: Limits | undefined;
}

/** Opens a database for migration. Fails with incompatible or busy; the message names the remedy. */
export async function openPostgresEngine(options: PostgresEngineOptions): Promise<Engine> {
  const schema: PinnedSchema = { name: undefined };
  const connection = connectionOf(options, schema);
  const engine = new PostgresEngine(options, connection, schema);
  try {
    await connection.get();
  } catch (error) {
    await connection.close();
    throw error;
  }
  return engine;
}

function connectionOf(
  { url, limits = defaultLimits }: PostgresEngineOptions,
  schema: PinnedSchema,
): PostgresConnection {
  return new PostgresConnection({ url, limits, synchronous: "full", waitsLong: true, schema });
}

class PostgresEngine implements Engine {
  readonly dialect = "postgres";
  readonly catalog = postgresCatalog;
  readonly backupAdvice: string;
  readonly #options: PostgresEngineOptions;
  readonly #connection: PostgresConnection;
  readonly #schema: PinnedSchema;

  constructor(options: PostgresEngineOptions, connection: PostgresConnection, schema: PinnedSchema) {
    this.#options = options;
    this.#schema = schema;
    this.#connection = connection;
    const { dump, restore } = dumpAdvice(options.url);
    this.backupAdvice = `Back up PostgreSQL with its own tools before a migration: ${dump}; to restore it into a new database: ${restore}`;
  }

  async transact<Result>(...[work, needsAlone]: Parameters<Engine["transact"]>): Promise<Result> {
    return await this.#nameInErrors(async (client) => {
      await client.query("BEGIN");
      try {
        const run = runIn(client, this.#options);
        await this.#excludeMigrations(client);
        const isAlone = (await needsAlone?.(run)) ?? false;
        if (isAlone) await this.#excludeStores(client);
        await this.#excludeWriters(client);
        const result = (await work({ run, isAlone, backUp: async () => this.#advise() })) as Result;
        await commit(client);
        return result;
      } catch (error) {
        await client.query("ROLLBACK").catch(() => this.#connection.drop(client));
        throw error;
      }
    });
  }

  async read<Result>(work: (run: Run) => Promise<Result>): Promise<Result> {
    return await this.#nameInErrors(async (client) => {
      await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
      try {
        return await work(runIn(client, this.#options));
      } finally {
        await client.query("ROLLBACK");
      }
    });
  }

  async openEmpty(): Promise<Engine> {
    return await this.#scratch(async () => undefined);
  }

  async openCopy(applied: readonly Migration[]): Promise<Engine> {
    return await this.#scratch(async (client, source) => {
      await runBody(client, createSchema(postgresCatalog, applied, realTime.now));
      await copyRows(client, source);
    });
  }

  async close(): Promise<void> {
    await this.#connection.close();
  }

  #advise(): RestorePoint {
    this.#options.onBackupAdvice?.(this.backupAdvice);
    return { made: false, advice: this.backupAdvice };
  }

  async #excludeMigrations(client: pg.Client): Promise<void> {
    await client.query(withoutTimeouts);
    // A lock_timeout of 0 would mean no limit.
    await client.query(`SET LOCAL lock_timeout = ${Math.max(1, this.#options.lockTimeoutMs)}`);
    await this.#waitFor(client, `${migrationClass}, ${schemaKey}`, async () => ({
      message: "another process is migrating or opening this database",
    }));
  }

  /** Waits until no store is open, and keeps stores from being opened (D-104). */
  async #excludeStores(client: pg.Client): Promise<void> {
    await this.#waitFor(client, `${openClass}, ${schemaKey}`, async () => {
      const { rows } = await client.query<{ name: string }>(openStores);
      const names = rows.map(({ name }) => name).join(", ");
      return {
        message: `other processes have the database open: end the servers and runners that use it (${names}), then migrate`,
        details: { reason: "open" },
      };
    });
  }

  async #waitFor(
    client: pg.Client,
    keys: string,
    describe: () => Promise<{ readonly message: string; readonly details?: Details }>,
  ): Promise<void> {
    const busy = new StoreError("busy");
    try {
      await waitForLock(this.#options, async () => {
        const { rows } = await client.query<{ locked: number | null }>(
          `SELECT pg_try_advisory_xact_lock(${keys}) AS locked`,
        );
        return rows[0]?.locked === 0 ? busy : undefined;
      });
    } catch (error) {
      if (error !== busy) throw error;
      const { message, details } = await describe();
      throw new StoreError("busy", message, { details });
    }
  }

  /**
   * Keeps other writers out, as SQLite does, but no readers (D-065). Also those who have locked rows, and would write them
   * next. Who holds one table may wait for another that is locked here, so no table is waited for long enough to be a
   * deadlock: all are let go then, and the one that was not free is the first of the next attempt.
   */
  async #excludeWriters(client: pg.Client): Promise<void> {
    const names = (await runBody(client, postgresCatalog.tables())).map(({ name }) => name);
    const lockMs = Math.max(1, this.#options.lockTimeoutMs);
    await client.query(`SET LOCAL lock_timeout = ${Math.min(tableLockMs, lockMs)}`);
    await waitForLock(this.#options, async () => {
      await client.query("SAVEPOINT tables");
      for (const name of [...names]) {
        try {
          await client.query(`LOCK TABLE ${quoteName(name)} IN EXCLUSIVE MODE`);
        } catch (error) {
          const reason = translate(error);
          if (reason.code !== "busy") return reason;
          await client.query("ROLLBACK TO SAVEPOINT tables");
          names.unshift(...names.splice(names.indexOf(name), 1));
          return new StoreError(
            "busy",
            `other connections write to the table ${name}: end them, or wait longer with --lock-timeout-ms`,
            { details: { reason: "writers", table: name }, cause: error },
          );
        }
      }
      return undefined;
    });
    await client.query(`SET LOCAL lock_timeout = ${lockMs}`);
  }

  /**
   * Opens an engine on a new schema in a transaction that is never committed (D-064). It leaves nothing behind, and no
   * other process waits for it.
   */
  async #scratch(fill: (client: pg.Client, source: string) => Promise<void>): Promise<Engine> {
    return await this.#nameInErrors(async () => {
      const connection = connectionOf(this.#options, this.#schema);
      try {
        const client = await connection.get();
        await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
        await client.query(withoutTimeouts);
        const { rows } = await client.query<{ source: string }>("SELECT quote_ident(current_schema()) AS source");
        // Processes in different containers may have the same id, and would wait for each other if they used one name.
        const name = `debug_server_db_scratch_${process.pid}_${randomBytes(4).toString("hex")}`;
        await client.query(`CREATE SCHEMA ${name}; SET LOCAL search_path TO ${name}`);
        await fill(client, rows[0]?.source as string);
        return this.#scratchEngine(client, connection);
      } catch (error) {
        await connection.close();
        throw error;
      }
    });
  }

  #scratchEngine(client: pg.Client, connection: PostgresConnection): Engine {
    const run = runIn(client, this.#options);
    return {
      dialect: "postgres",
      catalog: postgresCatalog,
      backupAdvice: undefined,
      transact: (work) =>
        this.#nameInErrors(async () => {
          await client.query("SAVEPOINT trial");
          try {
            const result = await work({
              run,
              isAlone: true,
              backUp: async () => ({ made: false, advice: this.backupAdvice }),
            });
            await client.query("RELEASE SAVEPOINT trial");
            return result;
          } catch (error) {
            await client.query("ROLLBACK TO SAVEPOINT trial");
            throw error;
          }
        }),
      read: (work) => this.#nameInErrors(() => work(run)),
      openEmpty: () => this.openEmpty(),
      openCopy: (applied) => this.openCopy(applied),
      close: () => connection.close(),
    };
  }

  /** Runs a function. If it fails, puts the address of the database in front of the message. */
  async #nameInErrors<Result>(work: (client: pg.Client) => Promise<Result>): Promise<Result> {
    try {
      return await work(await this.#connection.get());
    } catch (error) {
      const { code, message, details, outcome } = translate(error);
      const name = shownAddress(this.#options.url);
      const fullMessage = code === "invalid_input" || message.startsWith(name) ? message : `${name}: ${message}`;
      throw new StoreError(code, fullMessage, { details, outcome, cause: error });
    }
  }
}

/** The time to wait for a table; less than PostgreSQL's deadlock_timeout, which is a second by default. */
const tableLockMs = 200;

/** Removes the time limits of the connection, because a migration may take long. */
const withoutTimeouts = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0";

/** Names the processes that hold the lock of an open store, by the names that they have given to their connections. */
const openStores = `
  SELECT DISTINCT activity.application_name AS name
  FROM pg_locks
  JOIN pg_stat_activity AS activity USING (pid)
  WHERE locktype = 'advisory' AND granted
    AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid = ${openClass} AND objid = ${schemaKey}::oid AND pid <> pg_backend_pid()
  ORDER BY name`;

function runIn(client: pg.Client, waiting: LockWait): Run {
  return async (body) => {
    await checkSignal(waiting);
    return await runBody(client, body);
  };
}

/** Commits, and proves that the transaction is over. */
async function commit(client: pg.Client): Promise<void> {
  let command: string;
  try {
    ({ command } = await client.query("COMMIT"));
  } catch (error) {
    const { code, message } = translate(error);
    throw new StoreError(code, `${message}; run debug-server-db migrate check to see whether it was committed`, {
      outcome: "unknown",
      cause: error,
    });
  }
  // The server answers the COMMIT of a failed transaction with ROLLBACK.
  if (command !== "COMMIT")
    throw new StoreError("internal", `COMMIT was answered with ${command}`, { outcome: "rolled_back" });
}
