// What a database must supply so that its schema can be migrated. Knows no database.

import { setTimeout as delay } from "node:timers/promises";
import { StoreError } from "../errors.ts";
import type { Body } from "../sql.ts";
import type { Catalog } from "./ledger.ts";
import type { Migration } from "./migrationFiles.ts";
import type { Dialect } from "./statements.ts";

export type Run = <Result>(body: Body<Result>) => Promise<Result>;

/** How an engine waits for others that write. */
export interface LockWait {
  readonly lockTimeoutMs: number;
  /** Heard while waiting, and between two migrations. */
  readonly signal?: AbortSignal | undefined;
  /** Told once, when it takes long. */
  readonly onWait?: (() => void) | undefined;
}

/** Tries again and again, not blocking, so that a signal is heard; fails with what the last try failed with. */
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
      throw new StoreError("aborted", "interrupted while waiting for others that write; nothing was changed");
  }
}

const noticeAfterMs = 500;

/** Between two steps. */
export async function checkSignal({ signal }: LockWait): Promise<void> {
  await delay(0);
  if (signal?.aborted) throw new StoreError("aborted", "interrupted; nothing was changed", { outcome: "rolled_back" });
}

export interface EngineTransaction {
  /** Runs statements inside the transaction. What fails is thrown into the body, for it to say more. */
  readonly run: Run;
  /** A verified copy of what was there when the transaction began. */
  backUp(reason: string): Promise<RestorePoint>;
}

/** How to go back: to a backup that was made, or how to make one where it cannot be made from here. */
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
   * Runs alone: no other migration of this database, and nobody's writes, come between. What `work` did stays, all of it, when it returns,
   * and the transaction is proven to be over; when it throws, nothing stays.
   *
   * Fails    busy when the lock was not to be had in time | aborted
   */
  transact<Result>(work: (transaction: EngineTransaction) => Promise<Result>): Promise<Result>;
  /** Reads, at one moment. */
  read<Result>(work: (run: Run) => Promise<Result>): Promise<Result>;
  /** A database to try things on, gone when it is closed, with nothing in it. */
  empty(): Promise<Engine>;
  /** The same with all that this one holds; `applied` has made its schema. */
  copy(applied: readonly Migration[]): Promise<Engine>;
  /** How to make a backup where it cannot be made from here. */
  readonly backupAdvice: string | undefined;
  close(): Promise<void>;
}
