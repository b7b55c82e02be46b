// Finds the neighbouring jobs of a group that may run at the same time. Knows no database.

import type { Job } from "../driver.ts";
import { isRead } from "../driverOutcome.ts";

/** The maximum number of jobs in a batch. The time limit of a group is checked only between batches. */
const batchJobsMax = 64;

/**
 * Cuts a group into batches of neighbours. The jobs of a batch all read, or all touch different things, so their
 * statements can share round trips (D-043).
 */
export function batchesOf(jobs: readonly Job[]): Job[][] {
  const batches: Job[][] = [];
  // The names of what the last batch touches, if it writes.
  const touched = new Set<string>();
  let lastReads = false;
  for (const job of jobs) {
    const batch = batches.at(-1);
    const reads = isRead(job);
    const name = job.length === 1 ? job[0]?.touches : undefined;
    const joins = reads ? lastReads : name !== undefined && touched.size > 0 && !touched.has(name);
    if (batch !== undefined && joins && batch.length < batchJobsMax) batch.push(job);
    else {
      batches.push([job]);
      touched.clear();
    }
    lastReads = reads;
    if (!reads && name !== undefined) touched.add(name);
  }
  return batches;
}
