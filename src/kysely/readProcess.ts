// The main function of a process that reads a SQLite file (D-152): opens it, runs what its owner sends, and is killed by
// its own watchdog when a read takes too long. SQLite cannot be interrupted in another way from here.
import { setPriority } from "node:os";
import { isMainThread, Worker, workerData } from "node:worker_threads";
import { StoreError, toWireFailure, type WireFailure } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { workerUrl } from "../package.ts";
import { realTime } from "../realTime.ts";
import { type RowsPart, SqliteReads } from "../sqlite/reads.ts";
import { threadOptions } from "../threadOptions.ts";

/**
 * The requests to a process. The first one opens the file. Each has one answer, and the next one is sent after it. One
 * statement at a time has rows left.
 */
export type ReadRequest =
  | {
      readonly type: "open";
      readonly path: string;
      readonly limits: Pick<Limits, "busyMs" | "busyGiveUpMs">;
      /** The time for which a statement, or all of a transaction, may hold one state of the database. */
      readonly timeoutMs: number;
    }
  | { readonly type: "run"; readonly sql: string; readonly values: readonly unknown[]; readonly rowsMax: number }
  | { readonly type: "more"; readonly rowsMax: number }
  | { readonly type: "stop" | "begin" | "end" };

export type ReadAnswer =
  | { readonly type: "done"; readonly part?: RowsPart }
  | { readonly type: "failed"; readonly failure: WireFailure };

export function runReadProcess(): void {
  if (isMainThread) serve();
  else watch(new BigInt64Array(workerData as SharedArrayBuffer));
}

function serve(): void {
  process.title = "debug-server-db read";
  // Those who write go first when there are more of them than processors.
  setPriority(niceness);
  // A terminal and a service manager signal the whole group, and the owner may still read while it ends.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => undefined);
  process.on("disconnect", () => process.exit());
  const watchdog = new Watchdog();
  let reads: SqliteReads | undefined;
  let timeoutMs = 0;
  let isInTransaction = false;
  const handle = (request: ReadRequest): RowsPart | undefined => {
    if (request.type === "open") {
      timeoutMs = request.timeoutMs;
      reads = new SqliteReads(request.path, request.limits);
      return undefined;
    }
    const opened = reads as SqliteReads;
    if (!watchdog.isArmed) watchdog.arm(timeoutMs);
    try {
      if (request.type === "run") return opened.run(request.sql, request.values, request.rowsMax);
      if (request.type === "more") return opened.more(request.rowsMax);
      if (request.type === "stop") opened.stop();
      else {
        isInTransaction = request.type === "begin";
        if (isInTransaction) opened.begin();
        else opened.end();
      }
      return undefined;
    } finally {
      if (!isInTransaction && !opened.isReading) watchdog.disarm();
    }
  };
  process.on("message", (request: ReadRequest) => {
    try {
      const part = handle(request);
      answer(part === undefined ? { type: "done" } : { type: "done", part });
    } catch (error) {
      answer({ type: "failed", failure: wireFailureOf(error) });
    }
  });
}

function answer(message: ReadAnswer): void {
  process.send?.(message);
}

function wireFailureOf(error: unknown): WireFailure {
  return toWireFailure(
    error instanceof StoreError ? error : new StoreError("internal", String((error as Error).stack ?? error)),
  );
}

/** The nice value of the process, the one that the readers of a store have (D-121). */
const niceness = 5;

/** Kills this process at a given time, whatever its main thread does: also when the owner is gone, or stopped. */
class Watchdog {
  /** The time at which the process is killed, as `realTime.hrtime` tells it; 0 when there is none. */
  readonly #killAt = new BigInt64Array(new SharedArrayBuffer(BigInt64Array.BYTES_PER_ELEMENT));

  constructor() {
    new Worker(workerUrl("readProcess"), { workerData: this.#killAt.buffer, ...threadOptions() }).unref();
  }

  get isArmed(): boolean {
    return this.#killAt[0] !== 0n;
  }

  arm(ms: number): void {
    this.#set(realTime.hrtime() + BigInt(ms) * 1_000_000n);
  }

  disarm(): void {
    this.#set(0n);
  }

  #set(killAt: bigint): void {
    Atomics.store(this.#killAt, 0, killAt);
    Atomics.notify(this.#killAt, 0);
  }
}

/** The main function of the watchdog's thread. */
function watch(killAt: BigInt64Array): void {
  for (;;) {
    const atNs = Atomics.load(killAt, 0);
    const leftMs = atNs === 0n ? Number.POSITIVE_INFINITY : Number(atNs - realTime.hrtime()) / 1e6;
    if (leftMs <= 0) process.kill(process.pid, "SIGKILL");
    Atomics.wait(killAt, 0, atNs, leftMs);
  }
}
