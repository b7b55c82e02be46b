// demo --debug: debugs one program from its first line to its end, in a worktree of its own, and prints what the store
// knows of it.
import { rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import type { Repository, Session, Store } from "../../index.ts";
import type { DrivenProgram, Move, Stop } from "../../runner/debuggers/debugger.ts";
import { debuggers } from "../../runner/debuggers/debuggers.ts";
import { inspectWorktree } from "../../runner/git/checkout.ts";
import { worktreeEnvironment } from "../../runner/git/environment.ts";
import { Heartbeat, leaseTtlMs } from "../../runner/keepAlive.ts";
import { logWriter } from "../../runner/logs/logWriter.ts";
import { acquireWorktree, type Holder, releaseWorktree, reportCommit } from "../../runner/worktrees.ts";
import { readDebugViews, renderDebugViews } from "../../terminal/debugView.ts";
import type { Screen } from "../../terminal/output.ts";
import type { Commit } from "../plan.ts";
import { createDebugSession } from "../sessions.ts";
import { fileName, lines, source } from "./example.ts";

export interface Scenario {
  readonly store: Store;
  readonly repository: Repository;
  readonly commit: Commit;
  readonly screen: Screen;
  readonly interrupted: AbortSignal;
  notify(text: string): void;
}

/**
 * Returns the debug session as text. Fails as the worktree and the bridge fail; in any case it releases and ends
 * everything.
 */
export async function runScenario(scenario: Scenario): Promise<string> {
  const { store, repository, commit, screen, interrupted } = scenario;
  const runner = await store.runners.register({
    name: "debugger",
    host: hostname(),
    pid: process.pid,
    ttlMs: leaseTtlMs,
  });
  const heartbeat = new Heartbeat(store, runner.id);
  const session = await createDebugSession(store, repository, commit);
  try {
    await debugInWorktree(scenario, { store, runnerId: runner.id, heartbeat }, session);
    if (!interrupted.aborted) await store.sessions.complete({ sessionId: session.id });
  } finally {
    await store.sessions
      .cancel({ sessionId: session.id, reason: interrupted.aborted ? "interrupted" : "the demo failed" })
      .catch(() => undefined);
    heartbeat.stop();
    await store.runners.drain({ runnerId: runner.id });
  }
  const text = renderDebugViews(await readDebugViews(store, session.id, { events: 10 }), screen);
  return `${text}\nTo show an earlier stop: npx debug-server-db debug show ${session.id} --epoch 3\n`;
}

async function debugInWorktree(scenario: Scenario, holder: Holder, session: Session): Promise<void> {
  const { interrupted } = scenario;
  const { path, lease } = await acquireWorktree(holder, session, interrupted);
  try {
    await runCommand(scenario, holder, session.id, path);
  } finally {
    const { commitSha, isClean } = await inspectWorktree(path, interrupted);
    await reportCommit(holder, lease, commitSha);
    await releaseWorktree(holder, lease, isClean ? "clean" : "dirty");
  }
}

/** Runs the program as a command of the session, with its log and its result. */
async function runCommand(
  { store, interrupted, notify }: Scenario,
  { runnerId, heartbeat }: Holder,
  sessionId: string,
  worktreePath: string,
): Promise<void> {
  const program = join(worktreePath, fileName);
  await store.commands.enqueue({ sessionId, commands: [{ argv: ["node", fileName] }] });
  // No other runner can claim it, because this one leases the session's worktree.
  const claim = await store.commands.claim({ runnerId, sessionId, ttlMs: leaseTtlMs });
  if (claim === undefined) throw new Error("the enqueued command cannot be claimed");
  const { command, fence } = claim;
  const lease = heartbeat.hold("command", command.id, fence);
  const stop = AbortSignal.any([interrupted, lease.stop]);
  const log = logWriter(store, { commandId: command.id, fence, signal: stop });
  let end: { readonly exitCode: number | null; readonly signal: string | null } = { exitCode: 1, signal: null };
  try {
    await writeFile(program, source);
    const nodeDebugger = debuggers.node({
      name: "demo",
      stopOnEntry: true,
      drive: (driven) => drive(driven, program, notify),
    });
    end = await nodeDebugger.run({
      store,
      sessionId,
      commandId: command.id,
      argv: ["node", program],
      cwd: worktreePath,
      env: { ...worktreeEnvironment(dirname(worktreePath)), DEMO_API_TOKEN: "nobody-sees-this" },
      signal: stop,
      output: (stream, data) => log.write(stream, data),
    });
    await log.end();
  } finally {
    await rm(program, { force: true });
    heartbeat.drop(lease);
    const { exitCode, signal } = end;
    const outcome = exitCode === 0 ? "succeeded" : "failed";
    // A lost lease has been reported by the heartbeat, and allows no result.
    if (!lease.lost)
      await store.commands.finish({ commandId: command.id, fence, outcome, exitCode, signal, logOffset: log.offset });
  }
}

/** Moves through the program: breakpoints, steps, a breakpoint that is moved, and on to the end. */
async function drive(bridge: DrivenProgram, program: string, notify: (text: string) => void): Promise<void> {
  const conditional = { line: lines.part, condition: "n === 3" };
  const logpoint = { line: lines.result, logMessage: "squaring {n}" };
  await bridge.setBreakpoints(program, [conditional, { line: lines.comment, condition: "n === 4" }, logpoint]);
  /** Returns false when the program has ended instead of stopping. */
  const describe = (what: string, stop: Stop | undefined): boolean => {
    if (stop === undefined) return false;
    notify(`${what}: stopped (${stop.reason}) in ${stop.functionName}, line ${stop.line}, epoch ${stop.stopEpoch}`);
    return true;
  };
  const move = async (name: Move) => describe(name, await bridge.move(name));
  if (!describe("start", await bridge.start())) return;
  for (const name of ["continue", "stepIn", "next", "stepOut"] as const) if (!(await move(name))) return;
  const [, moved] = await bridge.setBreakpoints(program, [conditional, { line: lines.returnOfSum }, logpoint]);
  notify(`a breakpoint is moved while the program is stopped: line ${lines.comment} to ${moved?.bound?.line}`);
  while (await move("continue"));
}
