// Runs one claimed command, from its worktree to its result.
import { resolve } from "node:path";
import type { Claim, Store } from "../index.ts";
import { ownVariable } from "./environment.ts";
import { messageOf } from "./events.ts";
import type { Holding, StopReason } from "./keepAlive.ts";
import { type LogWriter, logWriter } from "./logs/logWriter.ts";
import type { CommandChanges, CommandContext, RunnerParts } from "./options.ts";
import { persistently } from "./persistently.ts";
import { type CommandEnd, runCommand } from "./process/runCommand.ts";
import type { SessionRunner } from "./sessionRunner.ts";
import type { PreparedWorktree, SessionWorktree } from "./sessionWorktree.ts";

type Finish = Parameters<Store["commands"]["finish"]>[0];
type Result = Pick<Finish, "outcome" | "exitCode" | "signal" | "reason">;

/** The reason that a command shows which a runner gave back because it had to stop. */
const handBackReason = "runner_stopped";

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
      const result = await this.#run(stop).catch((error): Result => ({ outcome: "failed", reason: messageOf(error) }));
      if (!this.#holding.isLost) await this.#report(result, stop);
      else this.#runner.onEvent({ type: "stopping", ...this.#ids, reason: "lost" });
    } catch (error) {
      // Nothing more can be reported: the lease is lost, or the store does not answer.
      this.#problem(error);
    } finally {
      this.#holding.drop();
    }
  }

  /** Runs the program in its worktree. Fails with the reason why the command has failed. */
  async #run(stop: AbortSignal): Promise<Result> {
    const { command } = this.#claim;
    const { hooks } = this.#runner.parts;
    const secrets = await secretsOf(this.#claim, hooks?.secrets);
    this.#log = logWriter(this.#runner.store, {
      commandId: command.id,
      fence: this.#claim.fence,
      secrets: Object.values(secrets),
      signal: this.#holding.lost,
    });
    const worktree = await this.#worktree.acquire(stop, (line) => this.#note(line));
    const signal = AbortSignal.any([stop, worktree.holding.signal]);
    const context = this.#context(worktree, signal);
    const changes = (await hooks?.beforeCommand?.(context)) ?? {};
    signal.throwIfAborted();
    this.#hasStarted = true;
    this.#runner.onEvent({ type: "started", ...this.#ids });
    const end = await this.#runProgram(worktree, changes, secrets, signal);
    this.#end = end;
    if (signal.aborted || end.timedOut || end.signal !== null) this.#worktree.distrust();
    await hooks?.afterCommand?.({ ...context, end });
    if (worktree.holding.isLost) return { ...resultOf(end), outcome: "failed", reason: "worktree_lost" };
    return resultOf(end);
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

  /** Reports how the command has ended, or gives it back when the runner has to stop. */
  async #report(result: Result, stop: AbortSignal): Promise<void> {
    const { store } = this.#runner;
    const { command, fence } = this.#claim;
    const stopReason = stop.aborted ? (stop.reason as StopReason) : undefined;
    if (stopReason !== undefined) this.#runner.onEvent({ type: "stopping", ...this.#ids, reason: stopReason });
    const artifacts = stopReason === undefined || stopReason === "timed_out" ? await this.#collectArtifacts() : 0;
    const { offset, truncated, failure } = await this.#endLog();
    const held = { commandId: command.id, fence, logOffset: offset };
    if (stopReason === "interrupted") {
      const given = { ...held, hasStarted: this.#hasStarted, reason: handBackReason };
      const back = await persistently(() => store.commands.handBack(given), this.#holding.lost);
      this.#runner.onEvent({ type: "handed_back", ...this.#ids, state: back.command.state });
      return;
    }
    const finish: Finish = {
      ...held,
      ...(stopReason === undefined ? result : stoppedResult(result, stopReason)),
      ...(stopReason === undefined && failure !== undefined ? { outcome: "failed", reason: failure } : {}),
      release: await this.#worktree.condition(),
    };
    const { command: ended, session } = await persistently(() => store.commands.finish(finish), this.#holding.lost);
    if (session.endedAt !== null) this.#worktree.sessionEnded();
    this.#runner.onEvent({
      type: "ended",
      ...this.#ids,
      state: ended.state,
      exitCode: ended.exitCode,
      signal: ended.signal,
      reason: ended.endReason,
      durationMs: this.#end?.durationMs ?? 0,
      usage: this.#end?.usage ?? { cpuMs: null, memoryBytesMax: null },
      logBytes: offset,
      logTruncated: truncated,
      artifacts,
    });
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

/** Corrects the result of a command that was stopped: it did not end by itself, whatever its exit code is. */
function stoppedResult({ outcome: _, reason: __, ...ending }: Result, reason: StopReason): Result {
  if (reason === "timed_out") return { ...ending, outcome: "timed_out" };
  return { ...ending, outcome: "cancelled", ...(reason === "deadline" ? { reason } : {}) };
}

/** Returns the values of the secret variables of a command. Fails if one has no value. */
async function secretsOf(
  claim: Claim,
  secrets: NonNullable<RunnerParts["hooks"]>["secrets"],
): Promise<Readonly<Record<string, string>>> {
  const names = claim.command.secretEnvKeys ?? [];
  if (names.length === 0) return {};
  const known: Readonly<Record<string, string>> | undefined = await secrets?.(names, claim);
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
