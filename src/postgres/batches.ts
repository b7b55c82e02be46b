// Finds the neighbours in a group that may run side by side. Knows no database.

import type { Job } from "../driver.ts";
import { isRead } from "../driverOutcome.ts";

/** The number of jobs that run side by side at most, so that a group can keep to its time. */
const batchJobsMax = 64;

/**
 * Cuts a group into batches. The jobs of a batch only read, or touch different things, so their statements share round
 * trips (D-043).
 */
export function batchesOf(jobs: readonly Job[]): Job[][] {
  const batches: Job[][] = [];
  const names = new Set<string>();
  let reading = false;
  for (const job of jobs) {
    const batch = batches.at(-1);
    const read = isRead(job);
    const name = job.length === 1 ? job[0]?.touches : undefined;
    const joins = read ? reading : name !== undefined && names.size > 0 && !names.has(name);
    if (batch !== undefined && joins && batch.length < batchJobsMax) batch.push(job);
    else {
      batches.push([job]);
      names.clear();
    }
    reading = read;
    if (!read && name !== undefined) names.add(name);
  }
  return batches;
}
