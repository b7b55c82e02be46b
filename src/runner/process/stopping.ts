// Stops the process group of a program, for each of the reasons that there may be.
import { realTime, sleep } from "../../realTime.ts";
import { isGroupAlive, killGroup } from "./groups.ts";
import type { ProcessGuard } from "./guard.ts";

/** The time that a program has between SIGTERM and SIGKILL, unless the caller says otherwise. */
const graceMsDefault = 5_000;
/** The time between two looks whether a group that was asked to end has ended. */
const pollMs = 20;
/** A longer timer fires at once: https://nodejs.org/api/timers.html#settimeoutcallback-delay-args */
const timerMsMax = 2 ** 31 - 1;

/** The part of a lease that a running program depends on. Each `Holding` of `keepAlive` is one. */
export interface ProgramLease {
  /** Asks the program to end, or kills it when the reason is "lost". */
  readonly signal: AbortSignal;
  /** Kills the program, also if `signal` has fired before for another reason. */
  readonly lost: AbortSignal;
  readonly isLost: boolean;
  /** Returns the time for which nobody else can have the lease, in milliseconds. */
  remainingMs(): number;
  /** Calls the listener after each renewal. Returns a function that ends this. */
  onRenewed(listener: () => void): () => void;
}

/** The reasons for which a program is stopped, and how. */
export interface StopOptions {
  /** The whole environment: nothing is inherited. */
  readonly env: NodeJS.ProcessEnv;
  /** Asks the group to end when it fires. With the reason "lost", the group is killed at once. */
  readonly signal?: AbortSignal;
  /** Leases without which the program may not run: it is stopped with the first that ends, and killed when one is lost. */
  readonly holdings?: readonly ProgramLease[];
  /** The time after which the group is asked to end, in milliseconds. More than 2 147 483 647 is no limit. */
  readonly timeoutMs?: number;
  /** The time between SIGTERM and SIGKILL, in milliseconds. Defaults to 5 000. */
  readonly graceMs?: number;
  /** Kills the group when this thread or its process ends, or when no lease was renewed in time. */
  readonly guard?: ProcessGuard;
  /**
   * The name of a variable in `env` whose value no other program has. On Linux, processes that have left the group are
   * found by it, and killed when the program has ended. Elsewhere they go on.
   */
  readonly marker?: string;
}

/** Returns true if a program must not be started at all. */
export function isStoppedAlready({ signal, holdings = [] }: StopOptions): boolean {
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

  constructor(pid: number, options: StopOptions) {
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

  #guard({ holdings = [], guard, env, marker }: StopOptions): void {
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
