// What a database must supply: one function that runs bodies in a transaction. Knows no database.

import type { DatabaseFacts } from "./context.ts";
import type { StoreError } from "./errors.ts";
import type { Access } from "./operation.ts";
import type { Body } from "./sql.ts";

/** A call as a driver sees it. */
export interface Runnable {
  readonly access: Access;
  /** Names all that it reads and writes, if that is known: bodies of different names may run side by side in one transaction (D-043). */
  readonly touches?: string | undefined;
  /** Starts the body; called anew when the transaction has to be run again, with nothing left of the first run. */
  startBody(now: Date): Body<unknown>;
  /**
   * Returns the body that writes the change rows of the call, if it has any. It runs when all jobs of the transaction have run, its own job
   * has succeeded, and no other transaction can commit before this one (D-044).
   */
  writeChanges?(): Body<unknown> | undefined;
}

/** Bodies that succeed or fail together, in order. */
export type Job = readonly Runnable[];

export type Settled =
  | { readonly ok: true; readonly results: readonly unknown[] }
  /** `index`: which body of the job failed. */
  | { readonly ok: false; readonly error: StoreError; readonly index: number };

export interface Group {
  /** One for each job from the first on; jobs without one were not begun, because the time was up. */
  readonly settled: readonly Settled[];
  readonly wrote: boolean;
}

export interface BackUpWatch {
  readonly onProgress?: ((doneBytes: number, totalBytes: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface Driver {
  /**
   * Runs jobs in order in one transaction and proves that it has ended. A failing job is undone alone.
   * Throws busy when the transaction could not begin: nothing has run.
   */
  transact(jobs: readonly Job[], budgetMs: number): Group | Promise<Group>;
  /** Changes when another process has committed; absent when no other can, or when it says so itself. */
  dataVersion?(): number | Promise<number>;
  /** Told at once, without asking the database's own process. */
  facts(): DatabaseFacts;
  /** Copies all to a file that is there and empty, in steps between groups. Absent where the database's own tools do that. */
  backUp?(target: string, watch: BackUpWatch): Promise<void>;
  close(): void | Promise<void>;
  /** Grows with every start of a server on this store. */
  readonly epoch: number;
}

/** `full`: an acknowledged write survives power loss. `normal`: it survives the death of the process only. */
export type Synchronous = "full" | "normal";
