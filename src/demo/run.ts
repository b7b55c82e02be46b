// One run of the demo: an application on the public API of this package, apart from the addresses of src/place.ts.
//
//   plan.ts            what to work on: the repository, its newest commits, folders
//   sessions.ts        creates a session with commands for each commit
//   supervision.ts     starts a runner, follows the change feed, closes the runner; progress.ts, display.ts
//   report.ts          reads back what happened; reportText.ts formats it
//   debugger/          with --debug: a program under Node's inspector, bridged to a debug session
import { type OwnedStore, openStore } from "../index.ts";
import { redactUrl } from "../place.ts";
import { registerRepository } from "../runner/index.ts";
import { stripTerminalControls } from "../terminal/controls.ts";
import { CliError, exitCodes } from "../terminal/exit.ts";
import type { Output } from "../terminal/output.ts";
import { runScenario } from "./debugger/scenario.ts";
import { type DemoOptions, makePlan, type Plan } from "./plan.ts";
import { type Report, readReport } from "./report.ts";
import { formatNext, formatReport } from "./reportText.ts";
import { cancelAbandoned, createSessions } from "./sessions.ts";
import { sessionIdsOf, supervise } from "./supervision.ts";

export interface DemoOutputs {
  /** Receives the report. */
  readonly stdout: Output;
  /** Receives messages and progress. */
  readonly stderr: Output;
  /** Called before anything is written. */
  readonly onStarted: () => void;
}

/** The store of a demo over HTTP, with a token that only this server knows. */
export interface DemoServer {
  readonly url: string;
  readonly token: string;
  close(): Promise<void>;
}

export interface RunOptions extends DemoOptions {
  /** Serves the store until the demo is interrupted. */
  readonly serve: ((store: OwnedStore) => Promise<DemoServer>) | undefined;
}

/**
 * Runs the demo and returns its exit code. Fails with a usage error before anything is created, and as openStore fails.
 */
export async function runDemo(options: RunOptions, outputs: DemoOutputs, interrupted: AbortSignal): Promise<number> {
  const notify = notifierOf(outputs);
  try {
    const plan = await makePlan(options, interrupted);
    const store = await openStore({
      url: options.url,
      onEvent: (event) => {
        if (event.type === "second_server")
          notify(`process ${event.pid} on ${event.host} uses this database too; each waits for the other's writes`);
        if (event.type === "file_lost") notify(`${event.path} was deleted, moved or replaced: end the demo`);
        if (event.type === "fault") notify(`the store reports a fault: ${event.message}`);
      },
    });
    let served: DemoServer | undefined;
    try {
      interrupted.throwIfAborted();
      served = await options.serve?.(store);
      if (served !== undefined) notify(`the page is at ${served.url}, and takes the token ${served.token}`);
      const { allSucceeded, allReleased } = await runPlan(store, plan, options, outputs, interrupted);
      if (interrupted.aborted)
        throw new CliError("interrupted", `interrupted: ${allReleased ? releasedMessage : notReleasedMessage}`);
      if (served !== undefined) {
        notify(`the page stays at ${served.url} until Ctrl-C`);
        await aborted(interrupted);
      }
      return allSucceeded ? exitCodes.ok : exitCodes.failure;
    } finally {
      await served?.close();
      await store.close();
    }
  } catch (error) {
    if (interrupted.aborted && !(error instanceof CliError)) throw new CliError("interrupted", "interrupted");
    throw error;
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

const releasedMessage = "running commands were cancelled, and every worktree was released";
const notReleasedMessage =
  "the store did not take everything, see above; leases expire by themselves, and the next run cancels the rest";

async function runPlan(
  store: OwnedStore,
  plan: Plan,
  { runners, command, url, debug, place }: DemoOptions,
  { stdout, stderr, onStarted }: DemoOutputs,
  interrupted: AbortSignal,
): Promise<Report> {
  const notify = notifierOf({ stderr, onStarted });
  const { gitDir, worktreesFolder } = plan;
  const repository = await registerRepository(store, { path: gitDir, worktreesFolder, worktreesMin: runners });
  const { nextSeq: cursor } = await store.changes.since({ limit: 0 });
  const abandoned = await cancelAbandoned(store);
  if (abandoned > 0) notify(`${count(abandoned, "session")} of a killed run: cancelled`);
  const work = await createSessions(store, repository, plan.commits, command);
  notify(
    `${repository.name}: the newest ${count(plan.commits.length, "commit")}, ${count(runners, "runner")}, ${redactUrl(url)}`,
  );
  const runnerOptions = { folder: plan.runnerFolder, ttlMs: 15_000, graceMs: 800, inherit: "all" } as const;
  await supervise({ store, runners, options: runnerOptions, work, cursor, output: stderr, interrupted, notify });
  const report = await readReport(store, sessionIdsOf(work));
  stdout.write(formatReport(report, stdout));
  const [commit] = plan.commits;
  if (debug && commit !== undefined && !interrupted.aborted) {
    stdout.write(
      `\n${await runScenario({ store, repository, commit, runnerFolder: plan.runnerFolder, screen: stdout, interrupted, notify })}`,
    );
  }
  if (!interrupted.aborted) stdout.write(`\nNext:\n${formatNext(report, place, stdout)}`);
  return report;
}

function notifierOf({ stderr, onStarted }: Pick<DemoOutputs, "stderr" | "onStarted">): (text: string) => void {
  return (text) => {
    onStarted();
    stderr.write(`${stripTerminalControls(text)}\n`);
  };
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
