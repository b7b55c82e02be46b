// A runner for tests of code that enqueues commands and reads their results: it claims them from the store and plays
// results that the test has written, without processes and without git.
import { createHash } from "node:crypto";
import { type Clock, systemClock } from "../clock.ts";
import { StoreError } from "../errors.ts";
import { bounds } from "../limits.ts";
import { type Claim, type Command, isFinal, type Outcome } from "../model/commands.ts";
import type { Runner } from "../model/runners.ts";
import { present } from "../present.ts";
import { realTime } from "../realTime.ts";
import type { Store } from "../storeTypes.ts";

export interface FakeOutput {
  readonly text: string;
  readonly stream?: "stdout" | "stderr" | "system";
  /** The time by the clock that passes before this output. */
  readonly afterMs?: number;
}

export interface FakeArtifact {
  readonly name: string;
  readonly content: string | Uint8Array;
  readonly contentType?: string;
  /** Defaults to a `data:` URI with the content, or to a `fake:` URI when that would be too long. */
  readonly uri?: string;
}

/** The result of one attempt of a command, as the fake runner plays it. Without any field, the command succeeds. */
export interface FakeRun {
  /** A string is text on stdout. */
  readonly output?: readonly (string | FakeOutput)[];
  readonly artifacts?: readonly FakeArtifact[];
  /** The time by the clock that passes between the last output and the end. */
  readonly afterMs?: number;
  /** Defaults to 0 when the command succeeds. */
  readonly exitCode?: number;
  readonly signal?: string;
  /** Defaults to `succeeded` for exit code 0 without a signal, and to `failed` otherwise. */
  readonly outcome?: Exclude<Outcome, "cancelled">;
  readonly reason?: string;
  /** The reason why the program cannot be started: the command fails without output and without an exit code. */
  readonly startFails?: string;
  /** Ends with the loss of the runner instead of a result: its leases end at once, and another runner takes its place. */
  readonly isLost?: boolean;
}

/** A run for the commands whose arguments begin with `argv`, or for all commands without it. */
export interface FakeRule extends FakeRun {
  readonly argv?: readonly string[];
  /** The only attempt that the rule is for, counted from 1. */
  readonly attempt?: number;
}

/** The rules, of which the first that matches is played, or a function that returns what to play. */
export type FakeScript =
  | readonly FakeRule[]
  | ((command: Command, claim: Claim) => FakeRun | undefined | Promise<FakeRun | undefined>);

export interface FakeRunnerOptions {
  /** The clock of the store. Defaults to the time of the system. */
  readonly clock?: Clock;
  readonly name?: string;
  readonly labels?: Record<string, string>;
  /** The number of commands that it runs at once. */
  readonly threads?: number;
}

export interface FakeRunner extends AsyncDisposable {
  /** The runner as it was registered last: a new one after each loss. */
  readonly runner: Runner;
  /** The commands that it has claimed, in that order, as they were then. */
  readonly commands: readonly Command[];
  /** Resolves when the command waits for time to pass, or has ended: the moment to move the clock. */
  untilWaiting(commandId: string): Promise<void>;
  /** Claims nothing more, hands back the commands that wait, and drains the runner. Fails as its script has failed. */
  close(): Promise<void>;
}

/** So long that no test loses a lease that it did not mean to lose. */
const ttlMs = bounds.leaseMsMax;
/** The longest time that a timer can wait. */
const timerMsMax = 2 ** 31 - 1;
/** The longest URI of an artifact. */
const uriLengthMax = 4_096;

/** Registers a runner that plays results. It claims commands until it is closed. */
export async function fakeRunner(
  store: Store,
  script: FakeScript,
  options: FakeRunnerOptions = {},
): Promise<FakeRunner> {
  const { clock = systemClock, threads = 1 } = options;
  const player = new Player(store, script, clock, present({ name: options.name ?? "fake", labels: options.labels }));
  await player.register();
  const loops = Promise.all(Array.from({ length: threads }, () => player.play()));
  loops.catch(() => undefined);
  let closed: Promise<void> | undefined;
  const close = () => {
    closed ??= player.close(loops);
    return closed;
  };
  return {
    get runner() {
      return player.runner;
    },
    commands: player.commands,
    untilWaiting: (commandId) => player.untilWaiting(commandId),
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** The next or the current time for which a command waits. */
interface Pause {
  /** Resolves with the elapsed time at which it is over, which is infinite for a command that has ended. */
  readonly begun: PromiseWithResolvers<number>;
  readonly over: PromiseWithResolvers<void>;
}

/** Ends the run of a command that has no result to report. */
class Ended extends Error {}

class Player {
  runner!: Runner;
  readonly commands: Command[] = [];
  readonly #store: Store;
  readonly #script: FakeScript;
  readonly #clock: Clock;
  readonly #identity: { name: string; labels?: Record<string, string> };
  readonly #closing = new AbortController();
  readonly #failures: unknown[] = [];
  readonly #pauses = new Map<string, Pause>();

  constructor(
    store: Store,
    script: FakeScript,
    clock: Clock,
    identity: { name: string; labels?: Record<string, string> },
  ) {
    this.#store = store;
    this.#script = script;
    this.#clock = clock;
    this.#identity = identity;
  }

  async register(replaces?: string): Promise<void> {
    this.runner = await this.#store.runners.register({ ...this.#identity, ttlMs, ...present({ replaces }) });
  }

  /** Claims commands and plays their runs, one after the other, until the runner is closed. */
  async play(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      const runnerId = this.runner.id;
      let claim: Claim | undefined;
      try {
        claim = await this.#store.commands.claim({ runnerId, ttlMs, waitMs: bounds.waitMsMax }, { signal });
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        if (error.code === "aborted" || error.code === "closed") return;
        if (error.code !== "invalid_transition") throw error;
        // It is gone, because the test has moved the clock far, or because another loop has lost it.
        if (runnerId === this.runner.id) await this.register();
      }
      if (claim === undefined) continue;
      this.commands.push(claim.command);
      try {
        await this.#run(claim, runnerId);
      } catch (error) {
        if (!(error instanceof Ended) && !isOver(error)) await this.#fail(claim, error);
      }
      await this.#noteEnd(claim.command.id);
    }
  }

  async untilWaiting(commandId: string): Promise<void> {
    for (;;) {
      const { begun, over } = this.#pauseOf(commandId);
      // A pause whose time has passed is over, even if the runner has yet to notice it.
      if ((await begun.promise) > this.#clock.elapsed()) return;
      await over.promise;
    }
  }

  async close(loops: Promise<unknown>): Promise<void> {
    this.#closing.abort();
    await loops;
    try {
      await this.#store.runners.drain({ runnerId: this.runner.id });
    } catch (error) {
      if (!isOver(error)) throw error;
    }
    if (this.#failures.length > 0) throw this.#failures[0];
  }

  /** Lets nobody wait for a command that has ended. One that has another attempt will wait again. */
  async #noteEnd(commandId: string): Promise<void> {
    let hasEnded = true;
    try {
      hasEnded = isFinal((await this.#store.commands.get({ commandId })).state);
    } catch (error) {
      if (!isOver(error)) throw error;
    }
    if (hasEnded || this.#closing.signal.aborted) this.#pauseOf(commandId).begun.resolve(Number.POSITIVE_INFINITY);
  }

  /** Ends a command whose script has thrown, so that a test that waits for it sees why. */
  async #fail({ command, fence }: Claim, error: unknown): Promise<void> {
    this.#failures.push(error);
    const reason = `the script of the fake runner failed: ${String(error)}`;
    try {
      await this.#store.commands.finish({ commandId: command.id, fence, outcome: "failed", reason });
    } catch (finishError) {
      if (!isOver(finishError)) throw finishError;
    }
  }

  async #run(claim: Claim, runnerId: string): Promise<void> {
    const { command, fence } = claim;
    const held = { commandId: command.id, fence };
    let logOffset = 0;
    const write = async (text: string, stream: FakeOutput["stream"] = "stdout") => {
      const bytes = Buffer.from(text);
      for (let start = 0; start < bytes.length; start += bounds.logChunkBytes) {
        const data = bytes.subarray(start, start + bounds.logChunkBytes);
        await this.#store.logs.append({ ...held, offset: logOffset, stream, data });
        logOffset += data.length;
      }
    };
    const run = await this.#runOf(claim);
    if (run === undefined) {
      const reason = `the script of the fake runner has nothing for ${JSON.stringify(command.argv)}`;
      return void (await this.#store.commands.finish({ ...held, outcome: "failed", reason }));
    }
    if (run.startFails !== undefined)
      return void (await this.#store.commands.finish({ ...held, outcome: "failed", reason: run.startFails }));
    const until = async (ms: number): Promise<"over" | "stopped"> => {
      const waited = await this.#wait(claim, runnerId, ms);
      if (waited === "closed") await this.#store.commands.handBack({ ...held, logOffset });
      if (waited === "closed" || waited === "lost") throw new Ended();
      return waited;
    };
    for (const piece of run.output ?? []) {
      const { text, stream, afterMs } = typeof piece === "string" ? { text: piece } : piece;
      if (afterMs !== undefined && (await until(afterMs)) === "stopped") return await this.#stop(held, logOffset);
      await write(text, stream);
    }
    if (run.afterMs !== undefined && (await until(run.afterMs)) === "stopped") return await this.#stop(held, logOffset);
    for (const artifact of run.artifacts ?? []) await this.#record(claim, artifact);
    if (run.isLost) {
      // Another loop may have replaced it already.
      if (runnerId === this.runner.id) await this.register(runnerId);
      return;
    }
    const { signal, reason } = run;
    const exitCode = run.exitCode ?? (signal === undefined && run.outcome === undefined ? 0 : undefined);
    const outcome = run.outcome ?? (exitCode === 0 && signal === undefined ? "succeeded" : "failed");
    await this.#store.commands.finish({ ...held, outcome, logOffset, ...present({ exitCode, signal, reason }) });
  }

  async #runOf(claim: Claim): Promise<FakeRun | undefined> {
    const { command } = claim;
    if (typeof this.#script === "function") return await this.#script(command, claim);
    return this.#script.find(
      ({ argv = [], attempt = command.attempt }) =>
        attempt === command.attempt && argv.every((argument, index) => argument === command.argv[index]),
    );
  }

  /** Reports that the command was stopped, as the store has asked. The store knows whether its time was over. */
  async #stop(held: { readonly commandId: string; readonly fence: number }, logOffset: number): Promise<void> {
    await this.#store.commands.finish({ ...held, outcome: "cancelled", signal: "SIGTERM", logOffset });
  }

  async #record({ command, session }: Claim, { name, content, contentType, uri }: FakeArtifact): Promise<void> {
    const bytes = Buffer.from(content);
    const data = `data:${contentType ?? "application/octet-stream"};base64,${bytes.toString("base64")}`;
    await this.#store.artifacts.record({
      sessionId: session.id,
      commandId: command.id,
      attempt: command.attempt,
      name,
      sizeBytes: bytes.length,
      sha256: createHash("sha256").update(bytes).digest("hex"),
      uri: uri ?? (data.length <= uriLengthMax ? data : `fake:${command.id}/${command.attempt}`),
      replace: true,
      ...present({ contentType }),
    });
  }

  /**
   * Waits until this time has passed by the clock, until the store asks to stop the command, or until its lease is lost.
   * Asks the store, with a heartbeat, after each change of the session and each move of the clock.
   */
  async #wait({ command, session, fence }: Claim, runnerId: string, ms: number) {
    const { id } = command;
    const due = this.#clock.elapsed() + ms;
    const over = new AbortController();
    const signal = AbortSignal.any([over.signal, this.#closing.signal]);
    let ending: "over" | "stopped" | "lost" | "closed" = "closed";
    let failure: unknown;
    const end = (why: typeof ending, error?: unknown) => {
      if (!signal.aborted) [ending, failure] = [why, error];
      over.abort();
    };
    const ask = async () => {
      try {
        const { lost, cancel } = await this.#store.runners.heartbeat({ runnerId, commands: [{ id, fence }], ttlMs });
        if (lost.length > 0) end("lost");
        else if (cancel.includes(id)) end("stopped");
      } catch (error) {
        end("lost", isOver(error) ? undefined : error);
      }
    };
    const { nextSeq: after } = await this.#store.changes.since({ limit: 0 });
    const watch = async () => {
      try {
        for await (const { entityId } of this.#store.changes.watch({ sessionId: session.id, after }, { signal }))
          if (entityId === id) await ask();
      } catch (error) {
        end("lost", isOver(error) ? undefined : error);
      }
    };
    const watching = watch();
    const stopListening = this.#clock.onMoved?.(() => void ask());
    await ask();
    const pause = this.#pauseOf(id);
    pause.begun.resolve(due);
    await reached(this.#clock, due, signal);
    stopListening?.();
    this.#pauses.delete(id);
    pause.over.resolve();
    // A move of the clock may be over the time of the command too, and what the store says about it comes first.
    if (!signal.aborted) await ask();
    end("over");
    await watching;
    if (failure !== undefined) throw failure;
    return ending;
  }

  #pauseOf(commandId: string): Pause {
    const known = this.#pauses.get(commandId) ?? { begun: Promise.withResolvers(), over: Promise.withResolvers() };
    this.#pauses.set(commandId, known);
    return known;
  }
}

/** Checks whether the store has refused a call because the command, the runner or the store itself has ended. */
function isOver(error: unknown): boolean {
  const codes = ["aborted", "closed", "lease_lost", "invalid_transition", "log_sealed", "not_found"];
  return error instanceof StoreError && codes.includes(error.code);
}

/** Resolves when the clock has reached this elapsed time, or when the signal fires. */
function reached(clock: Clock, due: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    let timer: NodeJS.Timeout | undefined;
    const check = () => {
      realTime.clearTimeout(timer);
      const leftMs = due - clock.elapsed();
      if (leftMs > 0 && !signal.aborted) {
        timer = realTime.setTimeout(check, Math.min(Math.ceil(leftMs), timerMsMax));
        return;
      }
      stopListening?.();
      signal.removeEventListener("abort", check);
      resolve();
    };
    const stopListening = clock.onMoved?.(check);
    signal.addEventListener("abort", check, { once: true });
    check();
  });
}
