// Supervises a run: starts the runner, follows the change feed until every session has ended, and closes the runner.
import type { OwnedStore } from "../index.ts";
import { type RunnerEvent, type StartRunnerOptions, startRunner } from "../runner/index.ts";
import { CliError } from "../terminal/exit.ts";
import type { Output } from "../terminal/output.ts";
import { createDisplay, type Display, type NamedRunner } from "./display.ts";
import { Progress, type Work } from "./progress.ts";
import { cancelSessions } from "./sessions.ts";

export interface Supervision {
  readonly store: OwnedStore;
  readonly runners: number;
  readonly options: Pick<StartRunnerOptions, "folder" | "ttlMs" | "graceMs" | "inherit">;
  readonly work: readonly Work[];
  /** The end of the change feed before the sessions were created. */
  readonly cursor: number;
  readonly output: Output;
  readonly interrupted: AbortSignal;
  notify(text: string): void;
}

/**
 * Returns when the sessions have ended and the runner has stopped, also after an interrupt. Fails as the runner fails.
 */
export async function supervise(supervision: Supervision): Promise<void> {
  const { store, runners, options, work, cursor, output, interrupted, notify } = supervision;
  const progress = new Progress(work);
  const named: NamedRunner[] = [];
  // The first frame is there before the threads are.
  const display = createDisplay(output, progress, named);
  const onEvent = (event: RunnerEvent): void => {
    if (event.type === "registered") {
      named.push(event);
      named.sort(byName);
    }
    if (event.type === "problem") notify(event.message);
  };
  try {
    const runner = await startRunner(store, { ...options, name: "runner", threads: runners, signals: false, onEvent });
    const ended = runner.ended.then(() => {
      throw new CliError("failure", "the runner ended before the sessions did");
    });
    try {
      await Promise.race([follow(store, cursor, progress, display, interrupted), ended]);
      await runner.close();
    } catch (error) {
      // The sessions first: after that nothing can be claimed from them, and the runner gets the reason.
      const reason = interrupted.aborted ? "interrupted" : "the run failed";
      await cancelSessions(store, sessionIdsOf(work), reason).catch(() => undefined);
      await runner.close({ drainMs: 0 }).catch(() => undefined);
      if (!interrupted.aborted) throw error;
    }
  } finally {
    display.end();
  }
}

const byName = (one: NamedRunner, other: NamedRunner) => one.name.localeCompare(other.name, "en", { numeric: true });

/** Displays the changes that the store reports, until every session has ended. */
async function follow(
  store: OwnedStore,
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
