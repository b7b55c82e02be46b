// The rules that all drivers share: how a job ends, and what a failure of the database means.
// Knows no database.
import type { Group, Job, Settled } from "./driver.ts";
import { type ErrorCode, StoreError } from "./errors.ts";
import type { SqlValue } from "./sql.ts";

/** The effect of a job on its transaction so far. */
export interface Effect {
  /** True when rows were changed. A statement that matched no row, or failed, has changed nothing. */
  wrote: boolean;
}

/** Thrown when a whole transaction was rolled back, or may have been: none of its jobs has an answer yet. */
export class TransactionLost extends Error {
  readonly reason: StoreError;
  /** The index of the body that failed, in its job. */
  readonly index: number;
  /** True when the cause was a conflict with other transactions: the same jobs may succeed when they run again. */
  readonly transient: boolean;
  constructor(reason: StoreError, index = 0, transient = false) {
    super(reason.message);
    this.reason = reason;
    this.index = index;
    this.transient = transient;
  }
}

/** Returns true when no body of the job writes. */
export function isRead(job: Job): boolean {
  return job.every(({ access }) => access === "read");
}

/** Returns the jobs that succeeded. */
export function succeededOf(jobs: readonly Job[], settled: readonly Settled[]): Job[] {
  return jobs.filter((_, index) => settled[index]?.ok === true);
}

/** Joins groups that ran one after the other, as if they had been one. */
export function joinGroups(groups: readonly Group[]): Group {
  return {
    settled: groups.flatMap(({ settled }) => settled),
    usedMs: groups.flatMap(({ usedMs }) => usedMs),
    wrote: groups.some(({ wrote }) => wrote),
  };
}

/**
 * Turns an error that a body has thrown into one with the outcome `rolled_back`, unless the body says that the outcome is
 * unknown: its effect is then outside of the transaction. An error that is not a StoreError is a fault of this package, and
 * becomes `internal`.
 */
export function bodyError(error: unknown): StoreError {
  if (!(error instanceof StoreError))
    return rolledBack(new StoreError("internal", "an operation failed unexpectedly", { cause: error }));
  return error.outcome === "unknown" ? error : rolledBack(error);
}

/** Returns a copy of an error with the outcome `rolled_back`. */
export function rolledBack({ code, message, details, retryable, cause }: StoreError): StoreError {
  return new StoreError(code, message, { details, retryable, cause, outcome: "rolled_back" });
}

/** Returns a parameter, and fails with internal when it is undefined: a forgotten value must not become NULL. */
export function requireValue<Value extends SqlValue>(value: Value): Value {
  if (value === undefined)
    throw new StoreError("internal", "a parameter of a statement is undefined: pass null for NULL");
  return value;
}

/** A row of an engine's error table: the error for all codes of the database that begin with `prefix`. */
export type ErrorTableRow = readonly [prefix: string, code: ErrorCode, message: string];

/** The row for a primary key that exists. Callers choose ids, so they must be able to handle this error. */
export const idExists: ErrorTableRow = ["", "conflict", "a row with this id exists"];

/** Builds the error for a failure of the database from the row that describes it. */
export function databaseError(
  error: unknown,
  row: ErrorTableRow,
  databaseCode: Readonly<Record<string, string>>,
): StoreError {
  const [, code, message] = row;
  return new StoreError(code, `${message} (${(error as Error).message})`, {
    cause: error,
    details: { ...databaseCode, ...(code === "conflict" ? { reason: "exists" } : {}) },
  });
}

/** Builds the error for a statement that writes, on a connection that only reads. */
export function onlyReads(cause?: unknown): StoreError {
  const message = "this connection only reads (SELECT, VALUES, WITH, EXPLAIN): change the store with its operations";
  return new StoreError("read_only", message, { cause, details: { reason: "read_only" } });
}
