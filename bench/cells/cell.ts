// A cell of a benchmark: one contender in one scenario, in a process of its own. These are the types that the process,
// its threads and the contenders share.
import type { MessagePort } from "node:worker_threads";

/** The unit that each scenario counts. */
export const scenarios = {
  /** A command from its claim to the release of its worktree, with 50 appends to its log. */
  "runner-day": "days",
  /** One command or job that is added to a queue. */
  enqueue: "jobs",
  /** One command or job that is taken from a queue and reported as done. */
  work: "jobs",
  /** One append to a log, with nothing else under way. */
  lone: "calls",
} as const;
export type Scenario = keyof typeof scenarios;

export interface Cell {
  readonly scenario: Scenario;
  readonly contender: string;
  readonly threads: number;
  /** The number of calls that a thread keeps in flight; in `runner-day`, of appends within a day. */
  readonly inFlight: number;
  readonly warmUpSeconds: number;
  readonly seconds: number;
}

/** A contender in the main thread of a cell. */
export interface Contender {
  /** The scenarios that it can run. */
  readonly scenarios: readonly Scenario[];
  /** The module of its threads; it exports `open`. */
  readonly thread: URL;
  /** The packages that have to be installed for it, if any. */
  readonly needs?: readonly string[];
  /** Creates what the cell needs in the folder. */
  prepare(cell: Cell, folder: string): Promise<Prepared>;
}

export interface Prepared {
  /** The data of each thread. */
  readonly threads: readonly ThreadData[];
  /** Ends the contender, and returns the number of units that are stored, as a new connection counts them. */
  finish(): Promise<number>;
}

export interface ThreadData {
  readonly data: unknown;
  readonly ports?: readonly MessagePort[];
}

/** A contender in a thread. */
export interface Opened {
  /** Does one unit of work, and resolves when it is stored. */
  unit(): Promise<void> | void;
  close(): Promise<void> | void;
}
export type Open = (cell: Cell, data: never) => Promise<Opened> | Opened;

/** The number of appends of a day, and their size in bytes. */
export const day = { appends: 50, bytes: 256 } as const;

/** The units that are prepared for one second, for scenarios that use up what was there before. */
export const preparedPerSecond = { "runner-day": 1_000, work: 6_000 } as const;

/** Returns the number of units to prepare for a cell, more than any contender can use up. */
export function unitsToPrepare({ scenario, seconds, warmUpSeconds }: Cell): number {
  const perSecond = scenario === "runner-day" || scenario === "work" ? preparedPerSecond[scenario] : 0;
  return Math.ceil(perSecond * (seconds + warmUpSeconds));
}

/** The figures of one cell in one round. */
export interface CellRound {
  readonly unitsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly worstMs: number;
  /** The CPU time of the whole process for one unit, in microseconds. */
  readonly cpuUs: number;
  /** The part of it that the calling threads used. */
  readonly callersCpuUs: number;
  readonly memoryMb: number;
  /** The p99 of the delay of the main thread's event loop. */
  readonly loopDelayMs: number;
  readonly starvedThreads: number;
}

/** The figures that a thread measures. */
export interface Tally {
  readonly units: number;
  readonly latenciesMs: Float64Array;
  readonly cpuUs: number;
}
