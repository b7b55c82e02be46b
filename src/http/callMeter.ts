// Counts the calls that come over HTTP, by operation and code, and their times.
import type { ErrorCode } from "../errors.ts";
import { Counts, type Distribution } from "../model/distributions.ts";
import type { OperationName } from "./access.ts";
import type { RequestFault } from "./problems.ts";

/** The operation of a call, or another thing that a request may ask for. `none`: it asked for nothing that there is. */
export type MeteredName = OperationName | "artifacts.content" | "atomically" | "self" | "none";
export type MeteredCode = ErrorCode | RequestFault | "ok";

/** The calls of one operation. */
interface Metered {
  readonly codes: Map<MeteredCode, number>;
  readonly times: Counts;
  /** The number of streams that are open. */
  streams: number;
}

/** The bounds of the times, in milliseconds. Long polls take up to minutes. */
const boundsMs = [1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000];

export class CallMeter {
  readonly #operations = new Map<MeteredName, Metered>();

  /** Counts a call that has ended, with the time until its answer unless that was counted before. */
  count(name: MeteredName, code: MeteredCode, ms?: number): void {
    const { codes, times } = this.#of(name);
    codes.set(code, (codes.get(code) ?? 0) + 1);
    if (ms !== undefined) times.add(ms);
  }

  /** Counts a stream that has begun. The function that is returned counts its end, once. */
  countStream(name: MeteredName, ms: number): (code: MeteredCode) => void {
    const metered = this.#of(name);
    metered.times.add(ms);
    metered.streams++;
    let isOpen = true;
    return (code) => {
      if (!isOpen) return;
      isOpen = false;
      metered.streams--;
      this.count(name, code);
    };
  }

  *codes(): Generator<readonly [operation: MeteredName, code: MeteredCode, calls: number]> {
    for (const [operation, { codes }] of this.#operations)
      for (const [code, calls] of codes) yield [operation, code, calls];
  }

  *timesMs(): Generator<readonly [operation: MeteredName, times: Distribution]> {
    for (const [operation, { times }] of this.#operations) yield [operation, times.distribution()];
  }

  *streams(): Generator<readonly [operation: MeteredName, open: number]> {
    for (const [operation, { streams }] of this.#operations) yield [operation, streams];
  }

  #of(name: MeteredName): Metered {
    let metered = this.#operations.get(name);
    if (metered === undefined) {
      metered = { codes: new Map(), times: new Counts(boundsMs), streams: 0 };
      this.#operations.set(name, metered);
    }
    return metered;
  }
}
