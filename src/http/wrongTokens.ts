// Bounds the requests with wrong tokens from one address, so that nobody can try many.
import { realTime } from "../realTime.ts";
import { RequestError } from "./problems.ts";

export interface WrongTokensOptions {
  /** The number of wrong tokens from one address in `windowMs` before its requests are refused. Defaults to 20. */
  readonly max?: number;
  /** The time for which they are counted, in milliseconds. Defaults to 60 000. */
  readonly windowMs?: number;
}

/** The number of addresses that are remembered; the oldest is forgotten first. */
const addressesMax = 10_000;

export class WrongTokens {
  readonly #max: number;
  readonly #windowMs: number;
  readonly #byAddress = new Map<string, { count: number; readonly untilMs: number }>();

  constructor({ max = 20, windowMs = 60_000 }: WrongTokensOptions = {}) {
    this.#max = max;
    this.#windowMs = windowMs;
  }

  /** Fails with RequestError when an address has sent too many. */
  check(address: string): void {
    const known = this.#byAddress.get(address);
    if (known === undefined) return;
    const leftMs = known.untilMs - realTime.elapsed();
    if (leftMs <= 0) this.#byAddress.delete(address);
    else if (known.count >= this.#max)
      throw new RequestError("too_many_wrong_tokens", undefined, { "retry-after": String(Math.ceil(leftMs / 1_000)) });
  }

  /** Counts a wrong token. */
  add(address: string): void {
    const known = this.#byAddress.get(address);
    if (known !== undefined && known.untilMs > realTime.elapsed()) {
      known.count++;
      return;
    }
    this.#byAddress.delete(address);
    this.#byAddress.set(address, { count: 1, untilMs: realTime.elapsed() + this.#windowMs });
    if (this.#byAddress.size <= addressesMax) return;
    const [oldest] = this.#byAddress.keys();
    this.#byAddress.delete(oldest as string);
  }
}
