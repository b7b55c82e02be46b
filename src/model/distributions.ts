// Distributions of measured values over fixed bounds: to count a value costs a few comparisons, and their size does not
// grow with the number of values.
import type { CommandOutcome, SessionOutcome } from "./vocabulary.ts";

/** Values by size. */
export interface Distribution {
  /** The upper bounds of the parts, in ascending order. A value belongs to the first part whose bound it does not exceed. */
  readonly upTo: readonly number[];
  /** The number of values in each part, and of those above the last bound. */
  readonly counts: readonly number[];
  /** The sum of all values. */
  readonly sum: number;
}

/** The distributions that a server has counted since it was started. */
export interface Distributions {
  /** Calls by group. */
  readonly groupCalls: Distribution;
  /** The times that COMMITs of rows took, in milliseconds. */
  readonly commitMs: Distribution;
  /** The times for which calls that were answered had waited in their lane, in milliseconds. */
  readonly waitMs: Readonly<Record<"urgent" | "normal" | "background", Distribution>>;
  /** The times from the queueing of a command to its first claim, in milliseconds. */
  readonly commandStartMs: Distribution;
  /** The times from the last claim of a command to its end, in milliseconds. */
  readonly commandMs: Readonly<Record<CommandOutcome, Distribution>>;
}

/** The commands and sessions that have ended on a server since it was started. */
export interface Ended {
  readonly commands: Readonly<Record<CommandOutcome, number>>;
  readonly sessions: Readonly<Record<SessionOutcome, number>>;
}

/** Counts values into a distribution. */
export class Counts {
  readonly #upTo: readonly number[];
  readonly #counts: number[];
  #sum = 0;

  constructor(upTo: readonly number[]) {
    this.#upTo = upTo;
    this.#counts = new Array<number>(upTo.length + 1).fill(0);
  }

  add(value: number): void {
    const { length } = this.#upTo;
    let part = 0;
    while (part < length && value > (this.#upTo[part] as number)) part++;
    (this.#counts[part] as number)++;
    this.#sum += value;
  }

  distribution(): Distribution {
    return { upTo: this.#upTo, counts: [...this.#counts], sum: this.#sum };
  }
}

/** Adds up distributions over the same bounds, of which there is at least one. */
export function sumDistributions(all: readonly Distribution[]): Distribution {
  const [{ upTo, counts }] = all as readonly [Distribution];
  return {
    upTo,
    counts: counts.map((_, part) => all.reduce((sum, one) => sum + (one.counts[part] as number), 0)),
    sum: all.reduce((sum, one) => sum + one.sum, 0),
  };
}
