// A connection to PostgreSQL of its own. The server limits each statement; the time of a stream, or of a transaction, is
// limited here.
import { StoreError } from "../errors.ts";
import { valueBytes } from "../load.ts";
import { PostgresReads, type PostgresReadsOptions } from "../postgres/reads.ts";
import { realTime } from "../realTime.ts";
import { type ReadSession, type Row, tooLarge, tooLong } from "./sessions.ts";

export interface PostgresSessionOptions extends PostgresReadsOptions {
  readonly resultBytes: number;
  onEnd(): void;
}

/** The time after which a statement that the server did not end is ended from here. */
const graceMs = 1_000;

export class PostgresSession implements ReadSession {
  readonly #options: PostgresSessionOptions;
  readonly #reads: PostgresReads;
  #ended: StoreError | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isInTransaction = false;

  constructor(options: PostgresSessionOptions) {
    this.#options = options;
    this.#reads = new PostgresReads(options);
  }

  get isEnded(): boolean {
    return this.#ended !== undefined || this.#reads.isLost;
  }

  open(): Promise<void> {
    return this.#reads.open();
  }

  async query(sql: string, values: readonly unknown[]): Promise<Row[]> {
    const { resultBytes } = this.#options;
    const rows: Row[] = [];
    let bytes = 0;
    await this.#limited(async () => {
      await this.#reads.run(sql, values, (row) => {
        bytes += valueBytes(Object.values(row));
        if (bytes > resultBytes) throw tooLarge(resultBytes);
        rows.push(row);
      });
    });
    return rows;
  }

  async *stream(sql: string, values: readonly unknown[], rowsMax: number): AsyncIterableIterator<Row[]> {
    this.#hold();
    try {
      yield* this.#reads.stream(sql, values, rowsMax);
    } catch (error) {
      throw this.#reasonOf(error);
    } finally {
      this.#letGo();
    }
  }

  async begin(): Promise<void> {
    await this.#limited(() => this.#reads.begin());
    this.#isInTransaction = true;
    this.#hold();
  }

  async end(): Promise<void> {
    this.#isInTransaction = false;
    this.#letGo();
    // The end of its connection ends a transaction too.
    if (!this.isEnded) await this.#limited(() => this.#reads.end());
  }

  close(reason: StoreError): void {
    if (this.#ended !== undefined) return;
    this.#ended = reason;
    realTime.clearTimeout(this.#timer);
    this.#reads.drop();
    this.#options.onEnd();
  }

  async #limited(run: () => Promise<void>): Promise<void> {
    this.#hold();
    try {
      await run();
    } catch (error) {
      throw this.#reasonOf(error);
    } finally {
      this.#letGo();
    }
  }

  #reasonOf(error: unknown): unknown {
    if (this.#ended !== undefined) return this.#ended;
    const isLate = error instanceof StoreError && error.code === "deadline_exceeded";
    return isLate ? tooLong(this.#options.timeoutMs) : error;
  }

  #hold(): void {
    if (this.#timer !== undefined) return;
    const { timeoutMs } = this.#options;
    this.#timer = realTime.setTimeout(() => this.close(tooLong(timeoutMs)), timeoutMs + graceMs);
  }

  #letGo(): void {
    if (this.#isInTransaction) return;
    realTime.clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
