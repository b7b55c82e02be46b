// Stops the process group of a program, for each of the reasons that there may be.
import { realTime, sleep } from "../../realTime.ts";
import { isGroupAlive, killGroup } from "./groups.ts";
import type { RunCommandOptions } from "./runCommand.ts";

/** The time that a program has between SIGTERM and SIGKILL, unless the caller says otherwise. */
const graceMsDefault = 5_000;
/** The time between two looks whether a group that was asked to end has ended. */
const pollMs = 20;
/** A longer timer fires at once: https://nodejs.org/api/timers.html#settimeoutcallback-delay-args */
const timerMsMax = 2 ** 31 - 1;

type Reasons = Pick<RunCommandOptions, "signal" | "holdings" | "timeoutMs" | "graceMs" | "guard" | "env" | "marker">;

/** Returns true if a program must not be started at all. */
export function isStoppedAlready({ signal, holdings = [] }: Reasons): boolean {
  return signal?.aborted === true || holdings.some((holding) => holding.signal.aborted || holding.isLost);
}

export class Stopping {
  /** True when the time limit was the first reason to stop. */
  isTimedOut = false;
  /** Fires when the group was killed because a lease is lost. */
  readonly lost: AbortSignal;
  readonly #pid: number;
  readonly #graceMs: number;
  readonly #lost = new AbortController();
  readonly #cleanups: (() => void)[] = [];
  /** The time at which a group that was asked to end is killed. */
  #killAtMs: number | undefined;

  constructor(pid: number, options: Reasons) {
    const { signal, holdings = [], timeoutMs, graceMs } = options;
    this.#pid = pid;
    this.#graceMs = graceMs ?? graceMsDefault;
    this.lost = this.#lost.signal;
    this.#guard(options);
    for (const stop of [signal, ...holdings.map((holding) => holding.signal)])
      this.#on(stop, (reason) => (reason === "lost" ? this.#lose() : this.stop()));
    for (const { lost } of holdings) this.#on(lost, () => this.#lose());
    if (timeoutMs !== undefined && timeoutMs <= timerMsMax)
      this.#after(timeoutMs, () => {
        this.isTimedOut = this.#killAtMs === undefined;
        this.stop();
      });
  }

  /** Asks the group to end, and kills it after the time of grace. */
  stop(): void {
    if (this.#killAtMs !== undefined) return;
    this.#killAtMs = realTime.elapsed() + this.#graceMs;
    killGroup(this.#pid, "SIGTERM");
    this.#after(this.#graceMs, () => this.kill());
  }

  kill(): void {
    this.#killAtMs = 0;
    killGroup(this.#pid, "SIGKILL");
  }

  /**
   * Kills what is left of the group after the end of its first process: at once, or after the rest of the time of grace,
   * in which the others may end by themselves.
   */
  async killRest(): Promise<void> {
    while (realTime.elapsed() < (this.#killAtMs ?? 0) && isGroupAlive(this.#pid)) await sleep(pollMs);
    killGroup(this.#pid, "SIGKILL");
  }

  /** Ends the watch over the group, which has ended. */
  end(): void {
    for (const cleanup of this.#cleanups) cleanup();
  }

  #lose(): void {
    this.kill();
    this.#lost.abort();
  }

  #on(signal: AbortSignal | undefined, run: (reason: unknown) => void): void {
    if (signal === undefined) return;
    const listener = () => run(signal.reason);
    signal.addEventListener("abort", listener, { once: true });
    this.#cleanups.push(() => signal.removeEventListener("abort", listener));
  }

  #after(ms: number, run: () => void): void {
    const timer = realTime.setTimeout(run, ms);
    this.#cleanups.push(() => realTime.clearTimeout(timer));
  }

  #guard({ holdings = [], guard, env, marker }: Reasons): void {
    if (guard === undefined) return;
    const remainingMs = () => Math.min(...holdings.map((holding) => holding.remainingMs()));
    const watched = guard.watch(this.#pid, remainingMs(), marker && variableOf(env, marker));
    const renew = () => watched.renew(remainingMs());
    this.#cleanups.push(() => watched.end(), ...holdings.map((holding) => holding.onRenewed(renew)));
  }
}

/** Returns a variable as it stands in the environment of a process. */
export function variableOf(env: NodeJS.ProcessEnv, name: string): string {
  return `${name}=${env[name]}`;
}
