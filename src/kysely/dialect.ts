// A dialect of Kysely whose connections only read. What it writes as SQL is Kysely's own for the engine.
import type * as kysely from "kysely";
import { onlyReads } from "../driverOutcome.ts";
import { StoreError } from "../errors.ts";
import { type CreateSession, type ReadSession, Sessions } from "./sessions.ts";

interface DialectOptions {
  readonly engine: "sqlite" | "postgres";
  /** The most connections. */
  readonly connections: number;
  readonly createSession: CreateSession;
}

const idleMs = 5_000;

/** Creates the dialect from the application's own copy of Kysely. */
export function createDialect(kysely: typeof import("kysely"), options: DialectOptions): kysely.Dialect {
  const { connections: max, createSession } = options;
  const createDriver = (): kysely.Driver => new ReadDriver(new Sessions(createSession, { max, idleMs }));
  if (options.engine === "postgres")
    return {
      createDriver,
      createAdapter: () => new kysely.PostgresAdapter(),
      createQueryCompiler: () => new kysely.PostgresQueryCompiler(),
      createIntrospector: (db) => new kysely.PostgresIntrospector(db),
    };
  // Kysely's own allows for one connection, so that a query beside an open stream would wait for ever.
  class ReadAdapter extends kysely.SqliteAdapter {
    override get supportsMultipleConnections(): boolean {
      return true;
    }
  }
  return {
    createDriver,
    createAdapter: () => new ReadAdapter(),
    createQueryCompiler: () => new kysely.SqliteQueryCompiler(),
    createIntrospector: (db) => new kysely.SqliteIntrospector(db),
  };
}

class ReadDriver implements kysely.Driver {
  readonly #sessions: Sessions;

  constructor(sessions: Sessions) {
    this.#sessions = sessions;
  }

  async init(): Promise<void> {}

  async acquireConnection(): Promise<ReadConnection> {
    return new ReadConnection(await this.#sessions.take());
  }

  async releaseConnection(connection: ReadConnection): Promise<void> {
    this.#sessions.giveBack(connection.session);
  }

  async beginTransaction({ session }: ReadConnection, { accessMode }: kysely.TransactionSettings): Promise<void> {
    if (accessMode === "read write") throw onlyReads();
    await session.begin();
  }

  /** Rolls back: there is nothing to keep, and what a statement has set goes with it. */
  async commitTransaction({ session }: ReadConnection): Promise<void> {
    await session.end();
  }

  async rollbackTransaction({ session }: ReadConnection): Promise<void> {
    await session.end();
  }

  async destroy(): Promise<void> {
    this.#sessions.close();
  }
}

class ReadConnection implements kysely.DatabaseConnection {
  readonly session: ReadSession;

  constructor(session: ReadSession) {
    this.session = session;
  }

  async executeQuery<Row>({ sql, parameters }: kysely.CompiledQuery): Promise<kysely.QueryResult<Row>> {
    return { rows: (await this.session.query(sql, parameters)) as Row[] };
  }

  async *streamQuery<Row>(
    { sql, parameters }: kysely.CompiledQuery,
    chunkSize: number,
  ): AsyncIterableIterator<kysely.QueryResult<Row>> {
    for await (const rows of this.session.stream(sql, parameters, chunkSize)) yield { rows: rows as Row[] };
  }

  /** Ends what runs when the signal of a query fires with the strategy `cancel query`. */
  async cancelQuery(): Promise<void> {
    this.session.close(new StoreError("aborted"));
  }
}
