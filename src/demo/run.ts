// One run of the demo, from start to table: repository, sessions and a pool of runners on one store.

import { createHash } from "node:crypto";
import { join } from "node:path";
import { StoreError } from "../errors.ts";
import { newId } from "../model/ids.ts";
import type { Repository } from "../model/repositories.ts";
import { redactUrl } from "../place.ts";
import { createRunnerPool } from "../runners/pool.ts";
import { openStore } from "../store.ts";
import type { OwnedStore, Store } from "../storeTypes.ts";
import { stripTerminalControls } from "../terminal/controls.ts";
import { CliError, exitCodes } from "../terminal/exit.ts";
import type { Output } from "../terminal/output.ts";
import { runScenario } from "./debugger/scenario.ts";
import { createDisplay, type Display } from "./display.ts";
import { type DemoOptions, makePlan, type Plan } from "./plan.ts";
import { Progress, type Work } from "./progress.ts";
import { type Report, report } from "./report.ts";
import { type RunnerAssignment, type RunnerStop, runnerOperations } from "./runner.ts";
import { cancelAbandoned, cancelSessions, createSessions } from "./sessions.ts";

export interface Outputs {
  readonly stdout: Output;
  readonly stderr: Output;
}

/** The exit code. Fails usage before anything is made, and as openStore does. */
export async function runDemo(options: DemoOptions, outputs: Outputs, interrupted: AbortSignal): Promise<number> {
  const say = sayOn(outputs.stderr);
  try {
    const plan = await makePlan(options, interrupted);
    const store = await openStore({
      url: options.url,
      onEvent: (event) => {
        if (event.type === "second_server")
          say(`process ${event.pid} uses this database too; each waits for the other's writes`);
        if (event.type === "fault") say(`the store reports a fault: ${event.message}`);
      },
    });
    try {
      interrupted.throwIfAborted();
      const { allSucceeded, allGivenBack } = await runPlan(store, plan, options, outputs, interrupted);
      if (interrupted.aborted)
        throw new CliError("interrupted", `interrupted: ${allGivenBack ? givenBack : notGivenBack}`);
      return allSucceeded ? exitCodes.ok : exitCodes.failure;
    } finally {
      await store.close();
    }
  } catch (error) {
    if (interrupted.aborted && !(error instanceof CliError)) throw new CliError("interrupted", "interrupted");
    throw error;
  }
}

const givenBack = "what ran was cancelled, and every worktree given back";
const notGivenBack =
  "the store did not take all of it, see above; what is held ends with its lease, and the next run cancels the rest";

function sayOn(stderr: Output): (text: string) => void {
  return (text) => stderr.write(`${stripTerminalControls(text)}\n`);
}

async function runPlan(
  store: OwnedStore,
  plan: Plan,
  { runners, command, url, debug }: DemoOptions,
  { stdout, stderr }: Outputs,
  interrupted: AbortSignal,
): Promise<Report> {
  const say = sayOn(stderr);
  const assignments = Array.from(
    { length: runners },
    (_, index): RunnerAssignment => ({ runnerId: newId(), name: `runner-${index + 1}`, filesRoot: plan.filesRoot }),
  );
  const filename = new URL(import.meta.url.endsWith(".ts") ? "./runner.ts" : "./runner.js", import.meta.url);
  const pool = createRunnerPool(store, { filename, threads: runners, operations: runnerOperations });
  try {
    const repository = await registerRepository(store, plan, runners);
    const cursor = await endOfFeed(store);
    const abandoned = await cancelAbandoned(store);
    if (abandoned > 0) say(`${count(abandoned, "session")} of a run that was killed: cancelled`);
    const work = await createSessions(store, repository, plan.commits, command);
    say(
      `${repository.name}: the newest ${count(plan.commits.length, "commit")}, ${count(runners, "runner")}, ${redactUrl(url)}`,
    );
    await serve({ store, pool, assignments, work, cursor, stderr, interrupted });
    const reported = await report(store, idsOf(work), stdout);
    stdout.write(reported.text);
    const [commit] = plan.commits;
    if (debug && commit !== undefined && !interrupted.aborted) {
      stdout.write(`\n${await runScenario({ store, repository, commit, screen: stdout, interrupted, say })}`);
    }
    return reported;
  } finally {
    await pool.close({ abort: true });
  }
}

/** Two repositories may have the same name; what tells them apart is where git keeps them. */
async function registerRepository(
  store: Store,
  { gitDir, name, branch, worktreesRoot }: Plan,
  runners: number,
): Promise<Repository> {
  const namesake = await store.repositories.find({ name });
  const isOther = namesake !== undefined && namesake.remoteUrl !== gitDir;
  const ownName = isOther ? `${name}-${createHash("sha256").update(gitDir).digest("hex").slice(0, 8)}` : name;
  const known = isOther ? await store.repositories.find({ name: ownName }) : namesake;
  return await store.repositories.upsert({
    name: ownName,
    remoteUrl: gitDir,
    worktreeRoot: known?.worktreeRoot ?? join(worktreesRoot, ownName),
    maxWorktrees: Math.max(known?.maxWorktrees ?? 16, runners),
    ...(branch === undefined ? {} : { defaultBranch: branch }),
  });
}

/** The cursor after which everything is new. */
async function endOfFeed(store: Store, after = 0): Promise<number> {
  try {
    const { nextSeq } = await store.changes.since({ after, limit: 0 });
    return nextSeq;
  } catch (error) {
    if (!(error instanceof StoreError && error.code === "feed_truncated")) throw error;
    return await endOfFeed(store, Number(error.details.floor));
  }
}

interface Serving {
  readonly store: Store;
  readonly pool: ReturnType<typeof createRunnerPool>;
  readonly assignments: readonly RunnerAssignment[];
  readonly work: readonly Work[];
  readonly cursor: number;
  readonly stderr: Output;
  readonly interrupted: AbortSignal;
}

/** Returns when the sessions have ended and no runner is at work, also after an interrupt. Fails with what a runner failed with. */
async function serve({ store, pool, assignments, work, cursor, stderr, interrupted }: Serving): Promise<void> {
  const progress = new Progress(work);
  const display = createDisplay(stderr, progress, assignments);
  const stopping = new AbortController();
  const stop = (how: RunnerStop): void => stopping.abort(how);
  const tasks = assignments.map((assignment) => pool.run(assignment, { signal: stopping.signal }));
  const ended = Promise.all(tasks).then(() => {
    throw new CliError("failure", "the runners ended before the sessions did");
  });
  try {
    await Promise.race([
      follow(store, cursor, progress, display, AbortSignal.any([interrupted, stopping.signal])),
      ended,
    ]);
    stop("done");
    await Promise.all(tasks);
  } catch (error) {
    // The sessions first: nothing is claimed from them any more, and the runners are told why they stop.
    await cancelSessions(store, idsOf(work), interrupted.aborted ? "interrupted" : "the run failed").catch(
      () => undefined,
    );
    stop("interrupted");
    await Promise.allSettled(tasks);
    if (!interrupted.aborted) throw error;
  } finally {
    display.end();
  }
}

/** Shows what the store says has happened, until every session has ended. */
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

function idsOf(work: readonly Work[]): string[] {
  return work.map(({ session }) => session.id);
}

function count(many: number, what: string): string {
  return `${many} ${what}${many === 1 ? "" : "s"}`;
}
