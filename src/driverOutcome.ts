// The rules that all drivers share: how a job ends, and what a failure of the database means.
// Knows no database.
import type { Group, Job } from "./driver.ts";
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
  /** True when other transactions were in the way, so that the same jobs may succeed when they run again. */
  readonly transient: boolean;
  constructor(reason: StoreError, index = 0, transient = false) {
    super(reason.message);
    this.reason = reason;
    this.index = index;
    this.transient = transient;
  }
}

export function isRead(job: Job): boolean {
  return job.every(({ access }) => access === "read");
}

/** Joins groups that ran one after the other, as if they had been one. */
export function joinGroups(groups: readonly Group[]): Group {
  return { settled: groups.flatMap(({ settled }) => settled), wrote: groups.some(({ wrote }) => wrote) };
}

/**
 * Turns what a body has thrown into an error whose effects are undone: one that its operation declares, or a fault of
 * this package.
 */
export function bodyError(error: unknown): StoreError {
  return rolledBack(
    error instanceof StoreError
      ? error
      : new StoreError("internal", "an operation failed unexpectedly", { cause: error }),
  );
}

export function rolledBack({ code, message, details, cause }: StoreError): StoreError {
  return new StoreError(code, message, { details, cause, outcome: "rolled_back" });
}

/** Passes a parameter through, unless it is undefined: a forgotten value must not become NULL. */
export function requireValue<Value extends SqlValue>(value: Value): Value {
  if (value === undefined)
    throw new StoreError("internal", "a parameter of a statement is undefined: pass null for NULL");
  return value;
}

/** One row of an engine's table of errors: codes of the database that begin with `prefix`, and what they mean here. */
export type ErrorTableRow = readonly [prefix: string, code: ErrorCode, message: string];

/** The row for a primary key that exists. Callers choose ids, so this error is theirs to handle. */
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
