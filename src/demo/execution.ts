// One claimed command, from its tree to its result.
import { dirname, resolve } from "node:path";
import { StoreError } from "../errors.ts";
import { timerMsMax } from "../limits.ts";
import type { Claim, Command } from "../model/commands.ts";
import { isOpen } from "../model/sessions.ts";
import type { Release } from "../model/vocabulary.ts";
import type { Store } from "../storeTypes.ts";
import { recordLog, recordTree } from "./artifacts.ts";
import { isClean } from "./checkout.ts";
import { GitError, treeEnvironment } from "./git.ts";
import type { Holding, StopReason } from "./heartbeat.ts";
import { LogWriter } from "./logWriter.ts";
import { type Ending, runProgram } from "./program.ts";
import { type Holder, type Tree, takeTree } from "./tree.ts";

export type RunnerStore = Pick<Store, "repositories" | "runners" | "worktrees" | "commands" | "logs" | "artifacts">;

export interface Worker extends Holder {
  readonly store: RunnerStore;
  /** Where files that belong to sessions are kept. */
  readonly filesRoot: string;
  /** Fires when the whole run is to end at once. */
  readonly interrupted: AbortSignal;
}

type Finish = Parameters<Store["commands"]["finish"]>[0];
type Result = Pick<Finish, "outcome" | "exitCode" | "signal" | "reason">;

export interface Executed {
  /** The tree of the session, if it could be had. */
  readonly tree: Tree | undefined;
  /** Commands that the session still has. */
  readonly remainingCommands: number;
  /** What to say of the tree when giving it back; undefined when the end of the session has given it back already. */
  readonly release: Release | undefined;
}

/** Runs the command of a claim in the session's tree, taking one if the session has none yet, and reports what became of it. */
export async function execute(worker: Worker, claim: Claim, tree: Tree | undefined): Promise<Executed> {
  const { store, heartbeat, interrupted } = worker;
  const { command, session, fence } = claim;
  const holding = heartbeat.hold("command", command.id, fence);
  const stop = AbortSignal.any([holding.stop, interrupted]);
  const log = new LogWriter(store, claim, stop);
  let inTree = tree;
  let result: Result;
  try {
    inTree ??= await takeTree(worker, session, stop);
    if (tree === undefined) await log.write("system", noteOf(inTree, session.commitSha));
    result = await runInTree(command, inTree, log, stop);
    if (tree === undefined && !stop.aborted) await recordTree(store, claim, inTree.path, worker.filesRoot, stop);
  } catch (error) {
    result = { outcome: "failed", reason: sentence(error) };
  }
  result = await asStopped(worker, holding, inTree, stop, result);
  const isLast = session.queuedCommands === 0 && !stop.aborted;
  const release =
    isLast && inTree !== undefined && !inTree.holding.lost && (await isClean(inTree.path, stop)) ? "clean" : "dirty";
  if (!holding.lost) await recordLog(store, claim, log);
  const finished = holding.lost
    ? undefined
    : await finish(store, { commandId: command.id, fence, ...result, logOffset: log.offset, release });
  heartbeat.drop(holding);
  const goesOn = finished === undefined || isOpen(finished.session.state);
  return { tree: inTree, remainingCommands: finished?.remainingCommands ?? 0, release: goesOn ? release : undefined };
}

function noteOf({ path, made }: Tree, commitSha: string): Uint8Array {
  return new TextEncoder().encode(`worktree ${path}: ${made}, at ${commitSha.slice(0, 12)}\n`);
}

async function runInTree(
  command: Command,
  { path, holding }: Tree,
  log: LogWriter,
  stop: AbortSignal,
): Promise<Result> {
  const late = new AbortController();
  const timer =
    command.timeoutMs === null ? undefined : setTimeout(() => late.abort(), Math.min(command.timeoutMs, timerMsMax));
  const ending = await runProgram(command.argv, {
    cwd: resolve(path, command.cwd ?? "."),
    env: { ...treeEnvironment(dirname(path)), ...command.env },
    signal: AbortSignal.any([stop, holding.stop, late.signal]),
    output: (stream, data) => log.write(stream, data),
  });
  clearTimeout(timer);
  const result = resultOf(ending);
  return late.signal.aborted ? { ...result, outcome: "timed_out" } : result;
}

function resultOf(ending: Ending): Result {
  if ("reason" in ending) return { outcome: "failed", reason: ending.reason };
  if ("signal" in ending) return { outcome: "failed", signal: ending.signal };
  return ending.exitCode === 0
    ? { outcome: "succeeded", exitCode: 0 }
    : { outcome: "failed", exitCode: ending.exitCode };
}

/** What was stopped did not end by itself, whatever its exit code says. */
async function asStopped(
  { store }: Worker,
  holding: Holding,
  tree: Tree | undefined,
  stop: AbortSignal,
  result: Result,
): Promise<Result> {
  const { exitCode, signal } = result;
  const facts = { ...(exitCode === undefined ? {} : { exitCode }), ...(signal === undefined ? {} : { signal }) };
  if (stop.aborted) {
    const reason = stop.reason as StopReason;
    if (reason === "interrupted" && !(await cancel(store, holding))) return result;
    return { outcome: "cancelled", ...facts, reason };
  }
  return tree?.holding.lost ? { outcome: "failed", ...facts, reason: "the lease of its worktree was lost" } : result;
}

/** Only what somebody asked to cancel can end as cancelled; usually the end of its session has asked already. */
async function cancel(store: RunnerStore, { id }: Holding): Promise<boolean> {
  try {
    await store.commands.cancel({ commandId: id, reason: "interrupted" });
    return true;
  } catch (error) {
    if (error instanceof StoreError && error.code === "invalid_transition") return false;
    throw error;
  }
}

/** Undefined when the command was no longer this runner's to finish. */
async function finish(store: RunnerStore, input: Finish) {
  try {
    return await store.commands.finish(input);
  } catch (error) {
    if (error instanceof StoreError && (error.code === "lease_lost" || error.code === "invalid_transition"))
      return undefined;
    throw error;
  }
}

function sentence(error: unknown): string {
  if (error instanceof GitError) return `worktree: ${error.message}`.slice(0, 1_000);
  if (error instanceof StoreError) return `${error.operation ?? "store"}: ${error.message}`.slice(0, 1_000);
  throw error;
}
