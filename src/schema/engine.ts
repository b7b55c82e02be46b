// The interface that an engine must implement so that its schema can be migrated. Knows no database.

import { setTimeout as delay } from "node:timers/promises";
import { StoreError } from "../errors.ts";
import type { Body } from "../sql.ts";
import type { Catalog } from "./ledger.ts";
import type { Migration } from "./migrationFiles.ts";
import type { Dialect } from "./statements.ts";

/** Runs a body in the current transaction. */
export type Run = <Result>(body: Body<Result>) => Promise<Result>;

/** The options for waiting for the locks of other processes. */
export interface LockWait {
  readonly lockTimeoutMs: number;
  /** Ends the waiting, or the work before the next migration. */
  readonly signal?: AbortSignal | undefined;
  /** Called once, when the waiting takes long. */
  readonly onWait?: (() => void) | undefined;
}

/**
 * Repeats an attempt while it returns a busy error, without blocking the event loop. Fails with the last error, or when
 * the signal aborts.
 */
export async function waitForLock(
  { lockTimeoutMs, signal, onWait }: LockWait,
  attempt: () => Promise<StoreError | undefined>,
): Promise<void> {
  const startedAt = performance.now();
  let noticed = false;
  for (;;) {
    const failure = await attempt();
    if (failure === undefined) return;
    const waitedMs = performance.now() - startedAt;
    if (failure.code !== "busy" || waitedMs > lockTimeoutMs) throw failure;
    if (waitedMs > noticeAfterMs && !noticed) {
      noticed = true;
      onWait?.();
    }
    await delay(20);
    if (signal?.aborted)
      throw new StoreError("aborted", "interrupted while waiting for other processes that write; nothing was changed");
  }
}

/** The time after which `onWait` is called. */
const noticeAfterMs = 500;

/** Lets signals arrive between two steps. Fails with aborted when the signal has aborted. */
export async function checkSignal({ signal }: LockWait): Promise<void> {
  await delay(0);
  if (signal?.aborted) throw new StoreError("aborted", "interrupted; nothing was changed", { outcome: "rolled_back" });
}

export interface EngineTransaction {
  /** Runs a body inside the transaction. A failed query is thrown into the body, which adds where it failed. */
  readonly run: Run;
  /** Creates a checked backup of the state before the transaction, or advises how to make one. */
  backUp(reason: string): Promise<RestorePoint>;
}

/**
 * The way back: the backup that was made, or advice on how to make one where it cannot be made from here.
 */
export type RestorePoint =
  | {
      readonly made: true;
      readonly path: string;
      readonly manifestPath: string;
      readonly bytes: number;
      readonly sha256: string;
      readonly restore: readonly string[];
    }
  | { readonly made: false; readonly advice: string };

export interface Engine {
  readonly dialect: Dialect;
  readonly catalog: Catalog;
  /**
   * Runs `work` in a transaction beside which no other process migrates or writes. When `work` returns, everything it
   * did is committed, and that is proven; when it throws, nothing is.
   *
   * Fails    busy when the lock could not be taken in time | aborted
   */
  transact<Result>(work: (transaction: EngineTransaction) => Promise<Result>): Promise<Result>;
  /** Runs `work` on one moment of the database. */
  read<Result>(work: (run: Run) => Promise<Result>): Promise<Result>;
  /** Opens an empty scratch database, which is gone when it is closed. */
  empty(): Promise<Engine>;
  /** Opens a scratch database with all rows of this one. `applied`: the migrations that make up its schema. */
  copy(applied: readonly Migration[]): Promise<Engine>;
  /** Advice on how to make a backup; undefined where backups are made from here. */
  readonly backupAdvice: string | undefined;
  close(): Promise<void>;
}
