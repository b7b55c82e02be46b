// Runs one claimed command, from its worktree to its result.
import { resolve } from "node:path";
import type { Claim, Store } from "../index.ts";
import { present } from "../present.ts";
import { sleep } from "../realTime.ts";
import { isRefused } from "./access.ts";
import { callHook, HookAbandoned, type HookLimits } from "./callHook.ts";
import { ownVariable } from "./environment.ts";
import { messageOf } from "./events.ts";
import { GitError } from "./git/git.ts";
import { type Holding, type StopReason, untilConfirmed } from "./keepAlive.ts";
import { type LogWriter, logWriter } from "./logs/logWriter.ts";
import type { CommandChanges, CommandContext, RunnerParts } from "./options.ts";
import { passes, persistently } from "./persistently.ts";
import { type CommandEnd, runCommand } from "./process/runCommand.ts";
import { type Usage, unknownUsage } from "./process/usage.ts";
import type { SessionRunner } from "./sessionRunner.ts";
import type { Phase, PreparedWorktree, SessionWorktree } from "./sessionWorktree.ts";

type Finish = Parameters<Store["commands"]["finish"]>[0];
type Result = Pick<Finish, "outcome" | "exitCode" | "signal" | "reason">;
/** The result of a command, or the reason why it is given back for another runner, or for a later try. */
type Ending = { readonly result: Result } | { readonly giveBack: string };

/** The reason that a command shows which a runner gave back because it had to stop. */
const handBackReason = "runner_stopped";
const worktreeLostReason = "worktree_lost";
/** The pause of a runner after a command that it could not run. Without it, it would claim the same one at once. */
const afterGivingBackMs = 5_000;

/** Runs a command of a session, and reports its result. Never fails because of the command, its files or its hooks. */
export async function execute(runner: SessionRunner, claim: Claim, worktree: SessionWorktree): Promise<void> {
  await new Execution(runner, claim, worktree).run();
}

class Execution {
  readonly #runner: SessionRunner;
  readonly #claim: Claim;
  readonly #worktree: SessionWorktree;
  readonly #holding: Holding;
  readonly #ids: { readonly commandId: string; readonly sessionId: string; readonly attempt: number };
  #log: LogWriter | undefined;
  #hasStarted = false;
  #end: CommandEnd | undefined;
  /** The reason for which the program was stopped, or was not started; none when it has ended by itself. */
  #stopReason: StopReason | undefined;

  constructor(runner: SessionRunner, claim: Claim, worktree: SessionWorktree) {
    const { command, session, fence } = claim;
    this.#runner = runner;
    this.#claim = claim;
    this.#worktree = worktree;
    this.#ids = { commandId: command.id, sessionId: session.id, attempt: command.attempt };
    this.#holding = runner.keepAlive.hold({
      kind: "command",
      id: command.id,
      fence,
      timeoutMs: command.timeoutMs,
      // Both times are of the store's clock.
      deadlineMs: session.deadlineAt && session.deadlineAt.getTime() - (command.startedAt as Date).getTime(),
    });
    runner.onEvent({ type: "claimed", ...this.#ids, runnerId: runner.runnerId, argv: command.argv });
  }

  async run(): Promise<void> {
    const stop = AbortSignal.any([this.#holding.signal, this.#runner.interrupted]);
    try {
      const ending = await this.#run(stop).catch((error: unknown) => this.#endingOf(error, stop));
      if (this.#stopReason !== undefined)
        this.#runner.onEvent({ type: "stopping", ...this.#ids, reason: this.#stopReason });
      if (this.#holding.isLost) return;
      if ("giveBack" in ending) await this.#handBack(ending.giveBack);
      else await this.#finish(ending.result);
    } catch (error) {
      // Nothing more can be reported: the lease is lost, or the store does not answer.
      this.#problem(error);
    } finally {
      this.#holding.drop();
    }
  }

  /** Runs the program in its worktree. Fails with the reason why it could not be run. */
  async #run(stop: AbortSignal): Promise<Ending> {
    const { hooks, graceMs } = this.#runner.parts;
    const { lost } = this.#holding;
    const secrets = await secretsOf(this.#claim, hooks?.secrets, { signal: stop, lost, graceMs });
    this.#log = this.#openLog(Object.values(secrets));
    const worktree = await this.#worktree.acquire(stop, {
      note: (line) => this.#note(line),
      phase: (name) => this.#phase(name),
    });
    const signal = AbortSignal.any([stop, worktree.holding.signal]);
    const limits = { signal, lost: AbortSignal.any([lost, worktree.holding.lost]), graceMs };
    const context = this.#context(worktree, signal);
    const changes = await callHook("the hook beforeCommand", () => hooks?.beforeCommand?.(context), limits);
    await untilConfirmed(this.#holding, signal);
    this.#hasStarted = true;
    this.#runner.onEvent({ type: "started", ...this.#ids });
    const end = await this.#runProgram(worktree, changes ?? {}, secrets, signal);
    this.#end = end;
    // Taken now: what happens to the runner from here on does not change how the program has ended.
    this.#stopReason = reasonOf(stop);
    const isLost = worktree.holding.isLost;
    if (signal.aborted || end.timedOut || end.signal !== null) this.#worktree.distrust("dirty");
    const failure = await this.#afterCommand(context, end, limits);
    const result = resultOf(end);
    if (this.#stopReason !== undefined) return stoppedEnding(result, this.#stopReason);
    if (isLost) return { giveBack: worktreeLostReason };
    return { result: failure === undefined ? result : { ...result, outcome: "failed", reason: failure } };
  }

  /** Returns the reason why the hook has failed, if it has: the exit code of the program is kept beside it. */
  async #afterCommand(context: CommandContext, end: CommandEnd, limits: HookLimits): Promise<string | undefined> {
    const { hooks } = this.#runner.parts;
    try {
      await callHook("the hook afterCommand", () => hooks?.afterCommand?.({ ...context, end }), limits);
      return undefined;
    } catch (error) {
      this.#noteAbandoned(error);
      return messageOf(error);
    }
  }

  /** Returns how a command ends whose program was not started, or did not come to an end of its own. */
  #endingOf(error: unknown, stop: AbortSignal): Ending {
    this.#stopReason ??= reasonOf(stop);
    this.#noteAbandoned(error);
    const reason = messageOf(error);
    if (this.#stopReason !== undefined) return stoppedEnding({ outcome: "failed", reason }, this.#stopReason);
    if (this.#worktree.current?.holding.isLost) return { giveBack: worktreeLostReason };
    // The fault of this machine, of its token or of the store, and not of the command.
    if (passes(error) || isRefused(error) || (error instanceof GitError && (error.notInstalled || error.notHere)))
      return { giveBack: reason };
    return { result: { outcome: "failed", reason } };
  }

  #noteAbandoned(error: unknown): void {
    if (error instanceof HookAbandoned) this.#worktree.distrust("broken");
  }

  async #runProgram(
    worktree: PreparedWorktree,
    changes: CommandChanges,
    secrets: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<CommandEnd> {
    const { command, session } = this.#claim;
    const { store, guard, parts } = this.#runner;
    const argv = changes.argv ?? command.argv;
    const log = this.#log as LogWriter;
    const program = {
      cwd: resolve(worktree.path, command.cwd ?? "."),
      env: {
        ...worktree.env,
        ...command.env,
        ...changes.env,
        ...secrets,
        DEBUG_SERVER_DB_SESSION: session.id,
        DEBUG_SERVER_DB_COMMAND: `${command.id}.${command.attempt}`,
      },
      signal,
      output: (stream: "stdout" | "stderr", data: Uint8Array) => log.write(stream, data),
      holdings: [this.#holding, worktree.holding],
      ...(parts.graceMs === undefined ? {} : { graceMs: parts.graceMs }),
      ...(guard === undefined ? {} : { guard }),
      marker: "DEBUG_SERVER_DB_COMMAND",
    };
    if (changes.debugger === undefined) return await runCommand(argv, program);
    return await changes.debugger.run({ ...program, store, argv, sessionId: session.id, commandId: command.id });
  }

  /** Gives the command back. Another runner can claim it at once, and this one pauses if it could not run it. */
  async #handBack(reason: string): Promise<void> {
    const { store, draining, onEvent } = this.#runner;
    const { command, fence } = this.#claim;
    const { offset: logOffset } = await this.#endLog();
    const given = { commandId: command.id, fence, hasStarted: this.#hasStarted, reason, logOffset };
    const back = await persistently(() => store.commands.handBack(given), this.#holding.lost);
    this.#holding.drop();
    onEvent({ type: "handed_back", ...this.#ids, state: back.command.state, reason });
    if (this.#stopReason === undefined) await sleep(afterGivingBackMs, { signal: draining });
  }

  /** Reports the result of the command, after what belongs to it: its artifacts and its log. */
  async #finish(result: Result): Promise<void> {
    const { store, onEvent } = this.#runner;
    const { command, fence } = this.#claim;
    const artifacts = result.outcome === "cancelled" ? 0 : await this.#collectArtifacts();
    // Whoever follows the log of a program that was never started would see nothing but its end.
    if (result.outcome === "failed" && result.reason !== undefined) {
      this.#log ??= this.#openLog([]);
      await this.#note(`failed: ${result.reason}`);
    }
    const { offset: logOffset, truncated: logTruncated, failure } = await this.#endLog();
    const isFailure = failure !== undefined && this.#stopReason === undefined;
    const release = await this.#worktree.endCondition();
    const finish: Finish = {
      commandId: command.id,
      fence,
      logOffset,
      ...result,
      ...(isFailure ? { outcome: "failed", reason: failure } : {}),
      ...present({ release, usage: this.#end && reportOf(this.#end.usage) }),
    };
    const { command: ended, session } = await persistently(() => store.commands.finish(finish), this.#holding.lost);
    if (session.endedAt !== null) this.#worktree.sessionEnded();
    onEvent({
      type: "ended",
      ...this.#ids,
      state: ended.state,
      exitCode: ended.exitCode,
      signal: ended.signal,
      reason: ended.endReason,
      durationMs: this.#end?.durationMs ?? 0,
      usage: this.#end?.usage ?? unknownUsage,
      logBytes: logOffset,
      logTruncated,
      artifacts,
    });
  }

  #openLog(secrets: readonly string[]): LogWriter {
    const { command, fence } = this.#claim;
    return logWriter(this.#runner.store, { commandId: command.id, fence, secrets, signal: this.#holding.lost });
  }

  /** Completes the log. One that cannot be stored is the reason why the command has failed. */
  async #endLog(): Promise<{ readonly offset: number; readonly truncated: boolean; readonly failure?: string }> {
    if (this.#log === undefined) return { offset: 0, truncated: false };
    try {
      return await this.#log.end();
    } catch (error) {
      if (this.#holding.isLost) throw error;
      return { offset: this.#log.offset, truncated: false, failure: `log: ${messageOf(error)}` };
    }
  }

  /** Collects the files that the command was to leave behind. Returns their number. */
  async #collectArtifacts(): Promise<number> {
    const { artifacts, parts } = this.#runner;
    const worktree = this.#worktree.current;
    if (artifacts === undefined || !this.#hasStarted || worktree === undefined) return 0;
    const { artifacts: collected, refused } = await artifacts.collect({
      ...this.#ids,
      folder: worktree.path,
      globs: parts.artifacts ?? [],
      signal: AbortSignal.any([this.#holding.lost, worktree.holding.signal, this.#runner.interrupted]),
    });
    for (const { name, reason } of refused) await this.#note(`artifact ${name} is not kept: ${reason}`);
    return collected.length;
  }

  #context(worktree: PreparedWorktree, signal: AbortSignal): CommandContext {
    const { command, session } = this.#claim;
    const note = (line: string) => void this.#note(line);
    return { claim: this.#claim, command, session, path: worktree.path, signal, note };
  }

  /** Writes a line of the runner itself to the log of the command. */
  async #note(line: string): Promise<void> {
    // A log that cannot be written fails the command with its next output, or at its end.
    await this.#log?.write("system", new TextEncoder().encode(`${line}\n`)).catch(() => undefined);
  }

  /** Marks the beginning of a phase in the log of the session. The command does not depend on it, and does not wait. */
  #phase(phase: Phase): void {
    const { commandId, sessionId } = this.#ids;
    const { fence } = this.#claim;
    this.#runner.store.logs.mark({ sessionId, commandId, fence, phase }).catch((error: unknown) => {
      if (!this.#holding.isLost) this.#problem(error);
    });
  }

  #problem(error: unknown): void {
    this.#runner.onEvent({ type: "problem", message: messageOf(error), ...this.#ids });
  }
}

function resultOf({ exitCode, signal, reason, timedOut }: CommandEnd): Result {
  const ending = { ...(exitCode === null ? {} : { exitCode }), ...(signal === null ? {} : { signal }) };
  if (timedOut) return { ...ending, outcome: "timed_out" };
  if (exitCode === 0 && signal === null) return { outcome: "succeeded", exitCode };
  return { ...ending, outcome: "failed", ...(reason === undefined ? {} : { reason }) };
}

/** Returns how a command ends that was stopped: not by itself, whatever its exit code is. */
function stoppedEnding({ outcome: _, reason: __, ...ending }: Result, reason: StopReason): Ending {
  if (reason === "interrupted") return { giveBack: handBackReason };
  if (reason === "timed_out") return { result: { ...ending, outcome: "timed_out" } };
  return { result: { ...ending, outcome: "cancelled", ...(reason === "deadline" ? { reason } : {}) } };
}

function reasonOf(stop: AbortSignal): StopReason | undefined {
  return stop.aborted ? (stop.reason as StopReason) : undefined;
}

/** Returns the values of the secret variables of a command. Fails if one has no value. */
async function secretsOf(
  claim: Claim,
  secrets: NonNullable<RunnerParts["hooks"]>["secrets"],
  limits: HookLimits,
): Promise<Readonly<Record<string, string>>> {
  const names = claim.command.secretEnvKeys ?? [];
  if (names.length === 0) return {};
  const known: Readonly<Record<string, string>> | undefined = await callHook(
    "the hook secrets",
    () => secrets?.(names, claim, limits.signal),
    limits,
  );
  return Object.fromEntries(
    names.map((name) => {
      const value = known === undefined ? ownVariable(name) : known[name];
      if (value === undefined)
        throw new Error(
          `the runner has no value for the secret variable ${name}: set it, or give it a hook \`secrets\``,
        );
      return [name, value];
    }),
  );
}

/** Returns the use of a program as the store takes it. */
function reportOf({ cpuMs, memoryBytesMax, writtenBytes }: Usage): Finish["usage"] {
  return { cpuMs, memoryBytes: memoryBytesMax, writtenBytes };
}
