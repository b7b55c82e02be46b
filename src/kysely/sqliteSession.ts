// A connection to a SQLite file in a process of its own. A statement of SQLite can only be interrupted with its process,
// and one that runs in a thread would keep this process from ending.
import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { types } from "node:util";
import { fromWireFailure, StoreError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { valueBytes } from "../load.ts";
import { workerUrl } from "../package.ts";
import { realTime } from "../realTime.ts";
import type { RowsPart } from "../sqlite/reads.ts";
import { loadingFlags, threadOptions } from "../threadOptions.ts";
import type { ReadAnswer, ReadRequest } from "./readProcess.ts";
import { type ReadSession, type Row, tooLarge, tooLong } from "./sessions.ts";

export interface SqliteSessionOptions {
  readonly path: string;
  readonly limits: Pick<Limits, "busyMs" | "busyGiveUpMs">;
  readonly timeoutMs: number;
  readonly resultBytes: number;
  onEnd(): void;
}

export class SqliteSession implements ReadSession {
  readonly #options: SqliteSessionOptions;
  #process: ChildProcess | undefined;
  /** The request without an answer. Kysely uses a connection for one thing at a time. */
  #pending: PromiseWithResolvers<RowsPart | undefined> | undefined;
  /** The reason why the process has ended, or is about to be. */
  #ended: StoreError | undefined;
  /** The time since which one state of the database is held. */
  #heldSinceMs: number | undefined;
  #isInTransaction = false;

  constructor(options: SqliteSessionOptions) {
    this.#options = options;
  }

  get isEnded(): boolean {
    return this.#ended !== undefined;
  }

  async open(): Promise<void> {
    const { path, limits, timeoutMs } = this.#options;
    const child = fork(fileURLToPath(workerUrl("readProcess")), [], {
      ...threadOptions(),
      execArgv: loadingFlags(process.execArgv),
      serialization: "advanced",
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    this.#process = child;
    child.on("message", (answer: ReadAnswer) => this.#settle(answer));
    child.on("error", (error) =>
      this.#end(new StoreError("internal", `a process that reads failed: ${error.message}`)),
    );
    child.on("exit", (code, signal) => this.#end(this.#deathOf(code, signal)));
    await this.#ask({ type: "open", path, limits, timeoutMs });
  }

  async query(sql: string, values: readonly unknown[]): Promise<Row[]> {
    const rows: Row[] = [];
    let bytes = 0;
    for await (const part of this.#parts(sql, values, Number.MAX_SAFE_INTEGER)) {
      bytes += valueBytes(part.rows);
      if (bytes > this.#options.resultBytes) throw tooLarge(this.#options.resultBytes);
      for (const row of rowsOf(part)) rows.push(row);
    }
    return rows;
  }

  async *stream(sql: string, values: readonly unknown[], rowsMax: number): AsyncIterableIterator<Row[]> {
    for await (const part of this.#parts(sql, values, rowsMax)) yield rowsOf(part);
  }

  async begin(): Promise<void> {
    this.#heldSinceMs = realTime.elapsed();
    this.#isInTransaction = true;
    await this.#ask({ type: "begin" });
  }

  async end(): Promise<void> {
    this.#isInTransaction = false;
    this.#heldSinceMs = undefined;
    // The end of its process ends a transaction too.
    if (this.#ended === undefined) await this.#ask({ type: "end" });
  }

  close(reason: StoreError): void {
    this.#end(reason);
    this.#process?.kill("SIGKILL");
  }

  async *#parts(sql: string, values: readonly unknown[], rowsMax: number): AsyncIterableIterator<RowsPart> {
    if (!this.#isInTransaction) this.#heldSinceMs = realTime.elapsed();
    let part = await this.#ask({ type: "run", sql, values: values.map(encode), rowsMax });
    try {
      for (;;) {
        yield part as RowsPart;
        if (part?.isLast !== false) return;
        part = await this.#ask({ type: "more", rowsMax });
      }
    } finally {
      if (part?.isLast === false && this.#ended === undefined) await this.#ask({ type: "stop" });
    }
  }

  #ask(request: ReadRequest): Promise<RowsPart | undefined> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    const answer = Promise.withResolvers<RowsPart | undefined>();
    this.#pending = answer;
    // A message that cannot be sent has no answer, because the process has ended.
    this.#process?.send(request, () => undefined);
    return answer.promise;
  }

  #settle(answer: ReadAnswer): void {
    const pending = this.#pending;
    this.#pending = undefined;
    if (answer.type === "done") pending?.resolve(answer.part);
    else {
      const error = fromWireFailure(answer.failure, undefined);
      pending?.reject(error);
      if (error.code === "file_lost") this.close(error);
    }
  }

  #end(reason: StoreError): void {
    if (this.#ended !== undefined) return;
    this.#ended = reason;
    this.#pending?.reject(reason);
    this.#pending = undefined;
    this.#options.onEnd();
  }

  #deathOf(code: number | null, signal: NodeJS.Signals | null): StoreError {
    const { timeoutMs } = this.#options;
    const heldMs = this.#heldSinceMs === undefined ? 0 : realTime.elapsed() - this.#heldSinceMs;
    if (heldMs >= timeoutMs) return tooLong(timeoutMs);
    return new StoreError("internal", `a process that reads ended with ${signal ?? `code ${code}`}`);
  }
}

function rowsOf({ columns, rows }: RowsPart): Row[] {
  return rows.map((values) => Object.fromEntries(columns.map((name, index) => [name, values[index]])));
}

/** Converts a value to the form that it has in the file: times are milliseconds, booleans 0 or 1. */
function encode(value: unknown): unknown {
  if (typeof value === "boolean") return value ? 1 : 0;
  if (types.isDate(value)) return value.getTime();
  if (types.isUint8Array(value)) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  if (value === null || ["string", "number", "bigint"].includes(typeof value)) return value;
  throw new StoreError(
    "invalid_input",
    `a value of the statement is of type ${typeof value}: expected a text, number, bigint, boolean, Date, Uint8Array or null`,
  );
}
