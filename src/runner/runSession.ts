// Executes one claimed command, from its worktree to its result.
import { dirname, resolve } from "node:path";
import { type Claim, type Command, type Release, type Store, StoreError } from "../index.ts";
import { recordFileList, recordLog } from "./artifacts/artifacts.ts";
import { type Condition, inspectWorktree } from "./git/checkout.ts";
import { worktreeEnvironment } from "./git/environment.ts";
import { GitError } from "./git/git.ts";
import type { HeldLease, StopReason } from "./keepAlive.ts";
import { type LogWriter, logWriter, type WrittenLog } from "./logs/logWriter.ts";
import { type CommandEnd, runCommand } from "./process/runCommand.ts";
import { acquireWorktree, type HeldWorktree, type Holder, reportCommit } from "./worktrees.ts";

export type RunnerStore = Pick<Store, "repositories" | "runners" | "worktrees" | "commands" | "logs" | "artifacts">;

export interface Runner extends Holder {
  readonly store: RunnerStore;
  /** The folder for the files of sessions. */
  readonly filesRoot: string;
  /** Fires when the whole run must end at once. */
  readonly interrupted: AbortSignal;
}

type Finish = Parameters<Store["commands"]["finish"]>[0];
type Result = Pick<Finish, "outcome" | "exitCode" | "signal" | "reason">;

export interface Executed {
  /** The worktree of the session, if it could be acquired. */
  readonly worktree: HeldWorktree | undefined;
  /** The number of commands that the session still has. */
  readonly remainingCommands: number;
  /** The state to release the worktree in; undefined when the end of the session has released it. */
  readonly release: Release | undefined;
}

/** Runs a command in the session's worktree, acquiring it if the session has none yet, and reports the result. */
export async function execute(runner: Runner, claim: Claim, held: HeldWorktree | undefined): Promise<Executed> {
  const { store, heartbeat, interrupted } = runner;
  const { command, session, fence } = claim;
  const lease = heartbeat.hold("command", command.id, fence);
  const stop = AbortSignal.any([lease.stop, interrupted]);
  const log = logWriter(store, { commandId: command.id, fence, signal: stop });
  let worktree = held;
  let written: WrittenLog | undefined;
  let result: Result;
  try {
    worktree ??= await acquireWorktree(runner, session, stop);
    if (held === undefined) await log.write("system", checkoutNote(worktree, session.commitSha));
    result = await runProgram(command, worktree, log, stop);
    if (held === undefined && !stop.aborted) await recordFileList(store, claim, worktree.path, runner.filesRoot, stop);
    written = await log.end();
  } catch (error) {
    result = { outcome: "failed", reason: failureReason(error) };
  }
  result = await resultOfStop(runner, lease, worktree, stop, result);
  const isLast = session.queuedCommands === 0 && !stop.aborted;
  const { commitSha, isClean }: Condition =
    isLast && worktree !== undefined && !worktree.lease.lost
      ? await inspectWorktree(worktree.path, stop)
      : { commitSha: null, isClean: false };
  const release = isClean ? "clean" : "dirty";
  if (worktree !== undefined && (isLast || stop.aborted)) await reportCommit(runner, worktree.lease, commitSha);
  if (written !== undefined && !lease.lost) await recordLog(store, claim, written);
  const finished = lease.lost
    ? undefined
    : await finish(store, { commandId: command.id, fence, ...result, logOffset: log.offset, release });
  heartbeat.drop(lease);
  const sessionIsOpen = finished === undefined || finished.session.endedAt === null;
  return {
    worktree,
    remainingCommands: finished?.remainingCommands ?? 0,
    release: sessionIsOpen ? release : undefined,
  };
}

function checkoutNote({ path, checkedOut }: HeldWorktree, commitSha: string): Uint8Array {
  return new TextEncoder().encode(`worktree ${path}: ${checkedOut.how}, at ${commitSha.slice(0, 12)}\n`);
}

async function runProgram(
  command: Command,
  { path, lease }: HeldWorktree,
  log: LogWriter,
  stop: AbortSignal,
): Promise<Result> {
  const ending = await runCommand(command.argv, {
    cwd: resolve(path, command.cwd ?? "."),
    env: { ...worktreeEnvironment(dirname(path)), ...command.env },
    signal: AbortSignal.any([stop, lease.stop]),
    graceMs: 800,
    ...(command.timeoutMs === null ? {} : { timeoutMs: command.timeoutMs }),
    output: (stream, data) => log.write(stream, data),
  });
  return resultOf(ending);
}

function resultOf({ exitCode, signal, reason, timedOut }: CommandEnd): Result {
  if (reason !== undefined) return { outcome: "failed", reason };
  const ending = { ...(exitCode === null ? {} : { exitCode }), ...(signal === null ? {} : { signal }) };
  if (timedOut) return { ...ending, outcome: "timed_out" };
  return { ...ending, outcome: exitCode === 0 ? "succeeded" : "failed" };
}

/** Corrects the result of a command that was stopped: it did not end by itself, whatever its exit code is. */
async function resultOfStop(
  { store }: Runner,
  lease: HeldLease,
  worktree: HeldWorktree | undefined,
  stop: AbortSignal,
  result: Result,
): Promise<Result> {
  const { outcome: _, reason: __, ...ending } = result;
  if (stop.aborted) {
    const reason = stop.reason as StopReason;
    if (reason === "interrupted" && !(await cancel(store, lease))) return result;
    return { ...ending, outcome: "cancelled", reason };
  }
  return worktree?.lease.lost ? { ...ending, outcome: "failed", reason: "the lease of its worktree was lost" } : result;
}

/**
 * Requests the cancellation without which a command cannot end as cancelled. The end of its session may have requested
 * it already.
 */
async function cancel(store: RunnerStore, { id }: HeldLease): Promise<boolean> {
  try {
    await store.commands.cancel({ commandId: id, reason: "interrupted" });
    return true;
  } catch (error) {
    if (error instanceof StoreError && error.code === "invalid_transition") return false;
    throw error;
  }
}

/** Returns undefined when the command is no longer this runner's to finish. */
async function finish(store: RunnerStore, input: Finish) {
  try {
    return await store.commands.finish(input);
  } catch (error) {
    if (error instanceof StoreError && (error.code === "lease_lost" || error.code === "invalid_transition"))
      return undefined;
    throw error;
  }
}

/** Returns the reason of a failure that belongs to the command. Any other error is a bug, and is thrown again. */
function failureReason(error: unknown): string {
  if (error instanceof GitError) return `worktree: ${error.message}`.slice(0, 1_000);
  if (error instanceof StoreError) return `${error.operation ?? "store"}: ${error.message}`.slice(0, 1_000);
  throw error;
}
