// Tells a write that the database could not store from one that an operation refused.
import type { TransactionOutcome } from "../dispatch.ts";
import type { ErrorCode, WireFailure } from "../errors.ts";
import { type Entry, writes } from "./entry.ts";

/** The codes with which a write fails when the database could not store its rows. */
const storageFailures: readonly ErrorCode[] = [
  "storage_full",
  "file_lost",
  "read_only",
  "io_error",
  "corrupt",
  "incompatible",
];

/**
 * Checks whether the database failed, in a known way or in one that has no code. `busy` only shows that when the answer
 * to a COMMIT was lost, or the server is out of resources: a transaction that waited too long for a row, or met others
 * too often, says nothing about other rows.
 */
function isStorageFailure([code, , outcome, { sqliteCode, sqlState }]: WireFailure): boolean {
  if (code === "busy") return outcome === "unknown" || (typeof sqlState === "string" && sqlState.startsWith("53"));
  const hasNoCode = code === "internal" && (sqliteCode !== undefined || sqlState !== undefined);
  return hasNoCode || storageFailures.includes(code);
}

/** Returns the code with which the database failed to store a write of the group, or undefined. */
export function writeFailureOf(
  group: readonly Entry[],
  outcomes: TransactionOutcome["outcomes"],
): ErrorCode | undefined {
  for (const [index, { answers }] of outcomes.entries()) {
    const [ok, wire] = answers[0] ?? [true];
    if (!ok && isStorageFailure(wire) && writes(group[index] as Entry)) return wire[0];
  }
  return undefined;
}
