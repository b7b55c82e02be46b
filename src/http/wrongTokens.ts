// Counts the wrong tokens of an address, so that who tries many is told to wait, and those who have a valid one are not.
import { realTime } from "../realTime.ts";
import { RequestError } from "./problems.ts";

export interface WrongTokensOptions {
  /** The number of wrong tokens of one address in `windowMs` that are answered with 401; more get 429. Defaults to 20. */
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

  /** Counts a wrong token. Fails with RequestError when its address has sent too many. */
  add(address: string): void {
    const known = this.#byAddress.get(address);
    const leftMs = known === undefined ? 0 : known.untilMs - realTime.elapsed();
    if (known !== undefined && leftMs > 0) {
      if (known.count >= this.#max)
        throw new RequestError("too_many_wrong_tokens", undefined, {
          "retry-after": String(Math.ceil(leftMs / 1_000)),
        });
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
