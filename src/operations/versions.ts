// Optimistic locking, the same for every row that has a version.
import { fail } from "../operation.ts";

/** Fails with `conflict` when the row is not at the version that the caller has seen. */
export function requireVersion(row: { readonly version: number }, expectedVersion: number | undefined): void {
  if (expectedVersion === undefined || expectedVersion === row.version) return;
  const message = `the row is at version ${row.version}, not ${expectedVersion}: read it again`;
  fail("conflict", { reason: "version", currentVersion: row.version }, message);
}
