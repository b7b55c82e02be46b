// Optimistic locking, the same for every versioned row.
import { fail } from "../operation.ts";

/** Fails conflict { reason: "version", currentVersion } unless the caller saw the row as it is. */
export function requireVersion(row: { readonly version: number }, expectedVersion: number | undefined): void {
  if (expectedVersion !== undefined && expectedVersion !== row.version) {
    fail(
      "conflict",
      { reason: "version", currentVersion: row.version },
      `the row has version ${row.version}, not ${expectedVersion}`,
    );
  }
}
