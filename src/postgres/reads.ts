// Runs SQL that people write on a connection that only reads. Each statement runs in a transaction that is rolled back, so
// that nothing that it sets stays behind.
import { types } from "node:util";
import pg from "pg";
import { onlyReads } from "../driverOutcome.ts";
import { StoreError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { PostgresConnection } from "./connection.ts";
import { translate } from "./errors.ts";
import { requireSchema } from "./open.ts";

export interface PostgresReadsOptions {
  readonly url: string;
  readonly limits: Limits;
  /** The time for which the server lets a statement run. */
  readonly timeoutMs: number;
}

export class PostgresReads {
  readonly #connection: PostgresConnection;
  #client: pg.Client | undefined;
  #isInTransaction = false;

  constructor({ url, limits, timeoutMs }: PostgresReadsOptions) {
    this.#connection = new PostgresConnection({
      url,
      limits: { ...limits, statementMs: timeoutMs },
      synchronous: "normal",
      // The owner ends what takes too long.
      waitsLong: true,
      readsOnly: true,
      schema: { name: undefined },
      forPeople: true,
      onOpened: async (client) => {
        await client.query(`
          SET default_transaction_read_only = on; SET idle_in_transaction_session_timeout = ${timeoutMs + ownerMs};
          ${noticeLostClients}`);
        await requireSchema(client);
      },
    });
  }

  /** Fails with incompatible unless the schema is the one of this version, and with busy when the server is away. */
  async open(): Promise<void> {
    this.#client = await this.#connection.get();
    this.#client.on("error", () => undefined);
  }

  /** Returns true when the connection is lost. */
  get isLost(): boolean {
    return this.#client?.connection.stream.destroyed !== false;
  }

  /** Begins a transaction, which sees the database as it is now. */
  async begin(): Promise<void> {
    // After the first snapshot, the server lets nobody turn it into one that writes.
    await this.#send("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1");
    this.#isInTransaction = true;
  }

  async end(): Promise<void> {
    this.#isInTransaction = false;
    await this.#send("ROLLBACK");
  }

  /**
   * Runs a statement, and passes its rows to `onRow` as they come.
   *
   * Fails    read_only when the statement writes | invalid_input when the server does not accept it |
   *          deadline_exceeded | busy when the connection is lost
   */
  async run(sql: string, values: readonly unknown[], onRow: (row: Record<string, unknown>) => void): Promise<void> {
    await this.#inTransaction(async () => {
      const config = { text: sql, values: await this.#encode(sql, values), queryMode: "extended" };
      await this.#settle(new pg.Query(config), onRow);
      // The statement was a COMMIT or ROLLBACK, after which the next one could be anything.
      if (this.#client?.getTransactionStatus() !== "T") throw onlyReads();
    });
  }

  /** Yields the rows of a statement in parts of `rowsMax`, each when it is asked for. Fails as `run`. */
  async *stream(sql: string, values: readonly unknown[], rowsMax: number): AsyncGenerator<Record<string, unknown>[]> {
    const isOwn = !this.#isInTransaction;
    if (isOwn) await this.#send("BEGIN READ ONLY");
    try {
      const text = `DECLARE rows_left NO SCROLL CURSOR FOR ${sql}`;
      const config = { text, values: await this.#encode(text, values), queryMode: "extended" };
      await this.#settle(new pg.Query(config), () => undefined);
      for (;;) {
        const rows: Record<string, unknown>[] = [];
        const fetch = { text: `FETCH ${rowsMax} FROM rows_left`, queryMode: "extended" };
        await this.#settle(new pg.Query(fetch), (row) => void rows.push(row));
        if (rows.length > 0) yield rows;
        if (rows.length < rowsMax) return;
      }
    } finally {
      if (!this.isLost && (isOwn || this.#client?.getTransactionStatus() === "T"))
        await this.#send(isOwn ? "ROLLBACK" : "CLOSE rows_left");
    }
  }

  /** Closes the connection at once. The server notices that within a second. */
  drop(): void {
    if (this.#client !== undefined) this.#connection.drop(this.#client);
    void this.#connection.close();
  }

  async #inTransaction(run: () => Promise<void>): Promise<void> {
    if (this.#isInTransaction) return run();
    await this.#send("BEGIN READ ONLY");
    try {
      await run();
    } finally {
      if (!this.isLost) await this.#send("ROLLBACK");
    }
  }

  async #send(text: string): Promise<void> {
    await this.#settle(new pg.Query({ text }), () => undefined);
  }

  /**
   * Writes a number as the server expects it: where a time is expected, numbers are milliseconds since 1970, as rows show
   * them. The server says what it expects, so this is so in all parts of a statement.
   */
  async #encode(sql: string, values: readonly unknown[]): Promise<unknown[]> {
    const encoded = values.map(encode);
    if (!values.some(isNumber)) return encoded;
    const described = new DescribedQuery(sql);
    await this.#settle(described, () => undefined);
    return encoded.map((value, index) => {
      const type = described.types[index];
      if (!isNumber(value)) return value;
      if (type === timestamptz) return timeOf(Number(value));
      return type === interval ? `${value} milliseconds` : value;
    });
  }

  async #settle(query: pg.Query, onRow: (row: Record<string, unknown>) => void): Promise<void> {
    const settled = Promise.withResolvers<void>();
    query.on("row", (row: Record<string, unknown>) => {
      try {
        onRow(row);
      } catch (error) {
        // The server goes on to send rows that nobody wants.
        settled.reject(error);
        this.drop();
      }
    });
    query.on("error", settled.reject);
    query.on("end", () => settled.resolve());
    if (this.isLost) settled.reject(new StoreError("busy", "the connection to the server is lost: try again"));
    else this.#client?.query(query);
    try {
      await settled.promise;
    } catch (error) {
      throw readFailure(error);
    }
  }
}

/** The time that the owner has to end a transaction that waits, before the server does it. */
const ownerMs = 5_000;

/** The numbers of types: https://github.com/postgres/postgres/blob/master/src/include/catalog/pg_type.dat */
const [timestamptz, interval] = [1184, 1186];

/** Lets the server end the statements of clients that are gone, where its system can tell. */
const noticeLostClients = `
  DO $$ BEGIN SET client_connection_check_interval = 1000; EXCEPTION WHEN OTHERS THEN NULL; END $$`;

function isNumber(value: unknown): value is number | bigint {
  return typeof value === "number" || typeof value === "bigint";
}

function encode(value: unknown): unknown {
  if (value === undefined)
    throw new StoreError("invalid_input", "a value of the statement is undefined: pass null for NULL");
  return types.isDate(value) ? timeOf(value.getTime()) : value;
}

function timeOf(ms: number): string {
  const time = new Date(ms);
  if (!Number.isNaN(time.getTime())) return time.toISOString();
  throw new StoreError("invalid_input", `${ms} is no time in milliseconds since 1970`);
}

/** Asks which types the server expects of the values of a statement, and does not run it. */
class DescribedQuery extends pg.Query {
  types: readonly number[] = [];
  readonly #sql: string;

  constructor(sql: string) {
    super({ text: sql });
    this.#sql = sql;
  }

  /** https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY */
  override submit = (connection: pg.Connection): void => {
    connection.once("parameterDescription", ({ dataTypeIDs }: { dataTypeIDs: number[] }) => {
      this.types = dataTypeIDs;
    });
    connection.parse({ text: this.#sql, name: "", types: [] } as never, true);
    connection.describe({ type: "S", name: "" } as never, true);
    connection.sync();
  };
}

/** Translates a failure. What is wrong with a statement is told as it is, because its author can mend it. */
function readFailure(error: unknown): StoreError {
  if (!(error instanceof pg.DatabaseError)) return translate(error);
  const { code = "", message } = error;
  // A statement that writes, or SET TRANSACTION READ WRITE.
  if (code === "25006" || code === "25001") return onlyReads(error);
  // A feature that is not supported, wrong data, or a statement that is wrong.
  if (/^(?:0A|22|25P02|34|42)/.test(code) && code !== "42501")
    return new StoreError("invalid_input", message, { cause: error, details: { sqlState: code } });
  return translate(error);
}
