// One connection to PostgreSQL. It is opened and configured when it is first needed, and again after a loss.

import { hostname } from "node:os";
import pg from "pg";
import { StoreError } from "../errors.ts";
import { shownAddress } from "../place.ts";
import { type PostgresAddress, readPostgresUrl, writePostgresUrl } from "../postgresUrl.ts";
import { realTime } from "../realTime.ts";
import { translate, unusableUrl } from "./errors.ts";
import { openClass, schemaKey } from "./locks.ts";
import { requireSession } from "./pooler.ts";
import { beginSession, type SessionOptions } from "./session.ts";

export interface ConnectionOptions extends SessionOptions {
  /** A connection URI: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS */
  readonly url: string;
  /**
   * Makes this a connection of a store: while it is open, nobody migrates the schema (D-104). Called when it has been
   * opened, and may refuse it.
   */
  readonly onOpened?: ((client: pg.Client) => Promise<void>) | undefined;
  /** True for migrations, which lift the server's limits for their transactions: an answer may take any time. */
  readonly waitsLong?: boolean | undefined;
  /** True for the statements of people. Each is sent when the one before it is answered, because it may be refused. */
  readonly forPeople?: boolean | undefined;
}

/** The longest time between two attempts to reach a server. */
const retryDelayMsMax = 1_000;

export class PostgresConnection {
  readonly #options: ConnectionOptions;
  /** The connection that is open or being opened. */
  #client: Promise<pg.Client> | undefined;
  /** The connection that is open. */
  #live: pg.Client | undefined;
  #openedAtMs = 0;
  /** The time before which no attempt is made to connect, so that a server that is down is not flooded. */
  #retryAtMs = 0;
  #retryDelayMs = 0;
  /** The failure of the last attempt. */
  #lastFailure: StoreError | undefined;
  #closed = false;
  readonly #onLost: () => void;

  constructor(options: ConnectionOptions, onLost: () => void = () => undefined) {
    this.#options = options;
    this.#onLost = onLost;
  }

  /**
   * Returns the connection, which it opens if necessary. Fails with busy when the server cannot be reached, and with
   * incompatible when the server rejects the connection.
   */
  get(): Promise<pg.Client> {
    if (this.#closed) return Promise.reject(new StoreError("closed", "the store is closed"));
    if (this.#client !== undefined) return this.#client;
    if (realTime.elapsed() < this.#retryAtMs) return Promise.reject(this.#lastFailure);
    const connecting = this.#connect();
    this.#client = connecting;
    connecting.then(
      () => {
        this.#retryDelayMs = 0;
      },
      (error: StoreError) => {
        this.#client = undefined;
        this.#lastFailure = error;
        this.#retryDelayMs = Math.min(retryDelayMsMax, Math.max(20, this.#retryDelayMs * 2));
        this.#retryAtMs = realTime.elapsed() + this.#retryDelayMs;
      },
    );
    return connecting;
  }

  /** Closes a connection that cannot be used any more. The next `get` opens another. */
  drop(client: pg.Client): void {
    this.#forget(client);
    client.connection.stream.destroy();
  }

  /**
   * Closes a connection to a server that does not write, so that the next one can lead to another server. One that was
   * opened just now stays for a moment, because its server can still be read.
   */
  leave(client: pg.Client): void {
    if (realTime.elapsed() - this.#openedAtMs > retryDelayMsMax) this.drop(client);
  }

  #forget(client: pg.Client): void {
    if (this.#live !== client) return;
    this.#live = undefined;
    this.#client = undefined;
    if (!this.#closed) this.#onLost();
  }

  async close(): Promise<void> {
    this.#closed = true;
    const client = await this.#client?.catch(() => undefined);
    if (client === undefined) return;
    const forcing = realTime.setTimeout(() => client.connection.stream.destroy(), this.#options.limits.closeMs);
    await client.end().catch(() => undefined);
    realTime.clearTimeout(forcing);
  }

  /** Creates a connection. Fails with incompatible when the URL names files or settings that cannot be used. */
  #newClient(address: PostgresAddress): pg.Client {
    try {
      return this.#clientOf(writePostgresUrl(address));
    } catch (error) {
      throw unusableUrl(error);
    }
  }

  #clientOf(connectionString: string): pg.Client {
    const { limits, waitsLong = false, forPeople = false } = this.#options;
    const client = new pg.Client({
      connectionString,
      // Names the process where a migration, or a person, looks for those that use a database.
      application_name: `debug-server-db ${forPeople ? "sql " : ""}${process.pid} ${hostname()}`.slice(0, 63),
      connectionTimeoutMillis: limits.connectMs,
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
      // The server itself cancels statements that take too long; this limit is for a server that no longer answers.
      query_timeout: waitsLong ? 0 : limits.statementMs * 2,
      // Statements that are sent before the answers to earlier ones have arrived share a round trip.
      pipeline: !forPeople,
      types: {
        getTypeParser: (oid: number, format?: string) => parsers[oid] ?? pg.types.getTypeParser(oid, format as "text"),
      },
    });
    client.on("error", () => this.#forget(client));
    client.on("end", () => this.#forget(client));
    return client;
  }

  /** Connects to the first of the servers that takes part. Fails with the failure that says most. */
  async #connect(): Promise<pg.Client> {
    const { url } = this.#options;
    const address = readPostgresUrl(url) as PostgresAddress;
    let failure: StoreError | undefined;
    for (const host of address.hosts) {
      try {
        return await this.#connectTo({ ...address, hosts: [host] });
      } catch (error) {
        const reason = translate(error);
        // One that is away says less than one that refuses.
        if (failure === undefined || reason.code !== "busy") failure = reason;
      }
    }
    const { code, message, details, retryable } = failure as StoreError;
    throw new StoreError(code, `${shownAddress(url)}: ${message}`, { details, retryable, cause: failure });
  }

  async #connectTo(address: PostgresAddress): Promise<pg.Client> {
    const { limits, onOpened } = this.#options;
    let client: pg.Client | undefined;
    try {
      client = this.#newClient(address);
      await client.connect();
      await requireSession(client, async () => {
        const other = this.#newClient(address);
        await other.connect();
        return other;
      });
      await beginSession(client, this.#options);
      if (onOpened !== undefined) {
        await client.query(`
          SET lock_timeout = ${limits.busyGiveUpMs}; SET statement_timeout = ${limits.busyGiveUpMs + limits.statementMs};
          SELECT pg_advisory_lock_shared(${openClass}, ${schemaKey});
          SET lock_timeout = ${limits.lockMs}; SET statement_timeout = ${limits.statementMs}`);
        await onOpened(client);
      }
      this.#live = client;
      this.#openedAtMs = realTime.elapsed();
      return client;
    } catch (error) {
      client?.connection.stream.destroy();
      throw error;
    }
  }
}

/** The milliseconds of the parts of an interval, in their order. A year and a month count as in extract(epoch). */
const partsMs = [31_557_600_000, 2_592_000_000, 86_400_000, 3_600_000, 60_000, 1_000] as const;

function intervalMs(text: string): number {
  const number = "(-?[\\d.]+)";
  const form = `^P(?:${number}Y)?(?:${number}M)?(?:${number}D)?(?:T(?:${number}H)?(?:${number}M)?(?:${number}S)?)?$`;
  const parts = new RegExp(form).exec(text)?.slice(1) ?? [];
  return partsMs.reduce((sum, ms, index) => sum + ms * Number(parts[index] ?? 0), 0);
}

/**
 * Parsers by type, for rows as bodies expect them: times are milliseconds, booleans 0 or 1, JSON is text. The numbers
 * are those of https://github.com/postgres/postgres/blob/master/src/include/catalog/pg_type.dat
 */
const parsers: Readonly<Record<number, (text: string) => unknown>> = {
  // boolean
  16: (text) => (text === "t" ? 1 : 0),
  // bytea, copied, because a view would take its whole buffer along to another thread
  17: (text) => Uint8Array.from(Buffer.from(text.slice(2), "hex")),
  // bigint
  20: Number,
  // json
  114: (text) => text,
  // interval, as ISO 8601
  1186: intervalMs,
  // timestamptz, which the server sends as ISO in UTC
  1184: (text) => Date.parse(`${text.slice(0, 10)}T${text.slice(11).replace("+00", "Z")}`),
  // numeric
  1700: Number,
};
