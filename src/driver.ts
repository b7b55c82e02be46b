// The seam between the store and a database: a driver runs bodies in a transaction. Knows no database.
import type { DatabaseFacts } from "./context.ts";
import type { StoreError } from "./errors.ts";
import type { Access } from "./operation.ts";
import type { Body } from "./sql.ts";

/** A call as a driver sees it. */
export interface Runnable {
  readonly access: Access;
  /**
   * A name that covers everything the body touches, if there is one. Bodies with different names may run at the same
   * time (D-043).
   */
  readonly touches?: string | undefined;
  /**
   * Starts the body. It is called again when the transaction runs again, after the first run was rolled back.
   */
  startBody(now: Date): Body<unknown>;
}

/** Bodies that succeed or fail together, in order. */
export type Job = readonly Runnable[];

/** The result of a job. */
export type Settled =
  | { readonly ok: true; readonly results: readonly unknown[] }
  /** The failure of one body, whose place in the job is `index`. */
  | { readonly ok: false; readonly error: StoreError; readonly index: number };

/** The result of a transaction. */
export interface Group {
  /**
   * One entry for each job that was started, in order. The jobs after them were not started, because the time was over.
   */
  readonly settled: readonly Settled[];
  /** The time that each of them has used, in milliseconds. */
  readonly usedMs: readonly number[];
  /** True when rows were changed. */
  readonly wrote: boolean;
}

/** The progress callback of a copy, and the signal that aborts it. */
export interface BackUpWatch {
  readonly onProgress?: ((doneBytes: number, totalBytes: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The parts of a transaction that the driver asks for or reports while it runs. */
export interface TransactionHooks {
  /**
   * Returns the body that writes the change rows of the jobs that succeeded, or undefined when they have none. It runs
   * when all jobs have run, and no other transaction can commit before this one (D-044).
   */
  writeChanges?(succeeded: readonly Job[]): Body<unknown> | undefined;
  /** Receives jobs that were committed before the others. */
  onPart?(part: Group): void;
  /** Receives the time that each COMMIT of rows took, in milliseconds. */
  onCommitted?(ms: number): void;
}

/** The work that keeps the file of a database small. Its failures are those of the writes that follow, so it has none. */
export interface Upkeep {
  /** Looks at the file. Called at intervals. Returns true when the file should shrink. */
  look(): boolean;
  /** Takes one step, which lasts some milliseconds. Returns false when the file should not shrink any further now. */
  shrink(): boolean;
}

/** The databases that there is a driver for. */
export type Engine = "sqlite" | "postgres";

export interface Driver {
  readonly engine: Engine;
  /**
   * Runs jobs in order in one transaction and proves that it has ended. A job that fails is undone alone. Starts no
   * further job when `budgetMs` have passed. Throws `busy` when the transaction cannot begin; no job has run then.
   * A driver may run them one by one instead, and then passes each to `onPart` as soon as it is committed; the result
   * holds the jobs after those.
   */
  transact(jobs: readonly Job[], budgetMs: number, hooks?: TransactionHooks): Group | Promise<Group>;
  /**
   * Returns a number that changes when another process has committed. Absent when no other process can commit, or when
   * the driver reports commits itself.
   */
  dataVersion?(): number | Promise<number>;
  /**
   * Looks for what lets some operations fail although others succeed, such as a table that is missing. Rejects with the
   * error for it. Absent where the failure of a write leaves no doubt.
   */
  findProblem?(): Promise<void>;
  /** Returns what the driver knows of the database without a query. */
  facts(): DatabaseFacts;
  /** Copies the database to an existing, empty file, in steps between groups. Absent where other tools make backups. */
  backUp?(target: string, watch: BackUpWatch): Promise<void>;
  /** The upkeep of the database, for which there is time between groups. Absent where the database does it itself. */
  readonly upkeep?: Upkeep;
  close(): void | Promise<void>;
  /** A number that grows with every start of a server on this store. */
  readonly epoch: number;
}

/** The durability of acknowledged writes: `full` survives power loss, `normal` only the death of the process. */
export type Synchronous = "full" | "normal";
