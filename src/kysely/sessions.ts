// Shares out the few connections of one Kysely instance: opens them when they are needed, and closes them when nobody
// has read for a while.
import { StoreError } from "../errors.ts";
import { realTime } from "../realTime.ts";

export type Row = Readonly<Record<string, unknown>>;

/** One connection that only reads, used by one reader at a time. */
export interface ReadSession {
  /** True when it was lost or ended, and cannot be used any more. */
  readonly isEnded: boolean;
  /** Opens the database. Fails with `incompatible` unless its schema is the one of this version. */
  open(): Promise<void>;
  /** Returns all rows. Fails with `invalid_input` when they take too much memory. */
  query(sql: string, values: readonly unknown[]): Promise<Row[]>;
  /** Yields the rows in parts of `rowsMax`, each when it is asked for. */
  stream(sql: string, values: readonly unknown[], rowsMax: number): AsyncIterableIterator<Row[]>;
  /** Begins a transaction, which sees the database as it is at one moment. */
  begin(): Promise<void>;
  end(): Promise<void>;
  /** Ends it at once. What it runs fails with the reason. */
  close(reason: StoreError): void;
}

/** Creates a connection that calls `onEnd` when it has ended, also while somebody uses it. */
export type CreateSession = (onEnd: () => void) => ReadSession;

interface SessionsOptions {
  /** The most connections. */
  readonly max: number;
  /** The time without work after which a connection is closed. Migrations and restores wait for those that are open. */
  readonly idleMs: number;
}

export class Sessions {
  readonly #create: CreateSession;
  readonly #options: SessionsOptions;
  readonly #all = new Set<ReadSession>();
  readonly #idle = new Map<ReadSession, NodeJS.Timeout>();
  /** Those who wait. They get a connection, or nothing when there may be room for a new one. */
  readonly #waiting: PromiseWithResolvers<ReadSession | undefined>[] = [];
  #isClosed = false;

  constructor(create: CreateSession, options: SessionsOptions) {
    this.#create = create;
    this.#options = options;
  }

  /** Returns a connection that nobody uses; waits for one when all are in use. */
  async take(): Promise<ReadSession> {
    for (;;) {
      if (this.#isClosed) throw closedError();
      const session = this.#takeIdle();
      if (session !== undefined) return session;
      if (this.#all.size < this.#options.max) return this.#open();
      const turn = Promise.withResolvers<ReadSession | undefined>();
      this.#waiting.push(turn);
      const given = await turn.promise;
      if (given !== undefined) return given;
    }
  }

  #takeIdle(): ReadSession | undefined {
    for (const [session, timer] of this.#idle) {
      realTime.clearTimeout(timer);
      this.#idle.delete(session);
      if (!session.isEnded) return session;
      this.#forget(session);
    }
    return undefined;
  }

  giveBack(session: ReadSession): void {
    if (session.isEnded || this.#isClosed) this.#forget(session);
    else if (this.#waiting.length > 0) this.#waiting.shift()?.resolve(session);
    else {
      const close = (): void => {
        this.#idle.delete(session);
        session.close(closedError());
      };
      this.#idle.set(session, realTime.setTimeout(close, this.#options.idleMs));
    }
  }

  /** Gives the place of a connection that has ended to the next one, although somebody may still hold it. */
  #forget(session: ReadSession): void {
    if (this.#all.delete(session)) this.#waiting.shift()?.resolve(undefined);
  }

  /** Closes all connections at once: what they run fails with `closed`, and so does what waits for one. */
  close(): void {
    this.#isClosed = true;
    for (const timer of this.#idle.values()) realTime.clearTimeout(timer);
    for (const session of this.#all) session.close(closedError());
    for (const turn of this.#waiting.splice(0)) turn.resolve(undefined);
  }

  async #open(): Promise<ReadSession> {
    const session: ReadSession = this.#create(() => this.#forget(session));
    this.#all.add(session);
    try {
      await session.open();
      return session;
    } catch (error) {
      session.close(closedError());
      throw error;
    }
  }
}

function closedError(): StoreError {
  return new StoreError("closed", "the Kysely instance is closed: open another one");
}

/** Builds the error for rows that take more memory than one query may return. */
export function tooLarge(bytesMax: number): StoreError {
  return new StoreError(
    "invalid_input",
    `the rows take more than ${bytesMax} bytes: read fewer rows or columns, or use stream()`,
  );
}

/** Builds the error for a read that was ended because it took too long. */
export function tooLong(timeoutMs: number): StoreError {
  return new StoreError(
    "deadline_exceeded",
    `the read took longer than ${timeoutMs} ms: read less at once, or open with a larger timeoutMs`,
  );
}
