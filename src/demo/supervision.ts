// Supervises the runners of a run: starts one in each thread of the pool, follows the change feed until every session
// has ended, and stops the runners.
import type { RunnerPool, Store } from "../index.ts";
import { CliError } from "../terminal/exit.ts";
import type { Output } from "../terminal/output.ts";
import { createDisplay, type Display } from "./display.ts";
import { Progress, type Work } from "./progress.ts";
import type { RunnerAssignment, RunnerStop } from "./runner.ts";
import { cancelSessions } from "./sessions.ts";

export interface Supervision {
  readonly store: Store;
  readonly pool: RunnerPool;
  readonly assignments: readonly RunnerAssignment[];
  readonly work: readonly Work[];
  /** The end of the change feed before the sessions were created. */
  readonly cursor: number;
  readonly output: Output;
  readonly interrupted: AbortSignal;
}

/**
 * Returns when the sessions have ended and every runner has stopped, also after an interrupt. Fails as a runner fails.
 */
export async function supervise(supervision: Supervision): Promise<void> {
  const { store, pool, assignments, work, cursor, output, interrupted } = supervision;
  const progress = new Progress(work);
  const display = createDisplay(output, progress, assignments);
  const stopping = new AbortController();
  const stop = (how: RunnerStop): void => stopping.abort(how);
  const tasks = assignments.map((assignment) => pool.run(assignment, { signal: stopping.signal }));
  const allEnded = Promise.all(tasks).then(() => {
    throw new CliError("failure", "the runners ended before the sessions did");
  });
  try {
    const signal = AbortSignal.any([interrupted, stopping.signal]);
    await Promise.race([follow(store, cursor, progress, display, signal), allEnded]);
    stop("done");
    await Promise.all(tasks);
  } catch (error) {
    // The sessions first: after that nothing can be claimed from them, and the runners get the reason.
    const reason = interrupted.aborted ? "interrupted" : "the run failed";
    await cancelSessions(store, sessionIdsOf(work), reason).catch(() => undefined);
    stop("interrupted");
    await Promise.allSettled(tasks);
    if (!interrupted.aborted) throw error;
  } finally {
    display.end();
  }
}

/** Displays the changes that the store reports, until every session has ended. */
async function follow(
  store: Store,
  cursor: number,
  progress: Progress,
  display: Display,
  signal: AbortSignal,
): Promise<void> {
  for await (const change of store.changes.watch({ after: cursor }, { signal })) {
    display.update(progress.apply(change));
    if (progress.done) return;
  }
}

export function sessionIdsOf(work: readonly Work[]): string[] {
  return work.map(({ session }) => session.id);
}
