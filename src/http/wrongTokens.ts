// Bounds what the wrong tokens of an address cost: who tries many is slowed down and told to wait. Tokens that were accepted
// once are never held up, because all clients of a proxy share one address.
import { createHash } from "node:crypto";
import { realTime, sleep } from "../realTime.ts";
import { RequestError } from "./problems.ts";

export interface WrongTokensOptions {
  /**
   * The number of wrong tokens of one address in `windowMs` that are answered with 401; more get 429, and each waits a
   * second before it is verified. Defaults to 20.
   */
  readonly max?: number;
  /** The time for which they are counted, in milliseconds. Defaults to 60 000. */
  readonly windowMs?: number;
}

/** The number of addresses, and of accepted tokens, that are remembered; the oldest is forgotten first. */
const rememberedMax = 10_000;

/** The time that a token waits whose address has sent too many wrong ones, in milliseconds. */
const waitMs = 1_000;

/** The number of tokens of one address that wait so at once; more are refused without being verified. */
const waitingMax = 100;

interface Address {
  count: number;
  untilMs: number;
  /** The number of tokens that are being verified, and were not accepted before. */
  running: number;
  waiting: number;
  /** Lets those go on that wait until another one is verified. */
  readonly turns: (() => void)[];
}

export class WrongTokens {
  readonly #max: number;
  readonly #windowMs: number;
  readonly #byAddress = new Map<string, Address>();
  /** The hashes of tokens that were accepted. They are verified again each time. */
  readonly #accepted = new Set<string>();

  constructor({ max = 20, windowMs = 60_000 }: WrongTokensOptions = {}) {
    this.#max = Math.max(1, max);
    this.#windowMs = windowMs;
  }

  /**
   * Verifies a token, after a wait when its address has sent too many wrong ones and the token was not accepted before.
   * Fails with RequestError when too many wait already.
   */
  async verified<Result extends { readonly ok: boolean }>(
    address: string,
    token: string,
    verify: () => Promise<Result>,
    signal: AbortSignal,
  ): Promise<Result> {
    const hash = createHash("sha256").update(token).digest("base64");
    const from = this.#of(address);
    for (;;) {
      if (this.#accepted.has(hash)) return await verify();
      if (this.#leftMs(from) > 0 && from.count >= this.#max) {
        await this.#wait(from, signal);
        break;
      }
      // Those that come at once are not known to be wrong before they are verified.
      if (from.running < this.#max) break;
      await new Promise<void>((go) => from.turns.push(go));
    }
    from.running++;
    try {
      const result = await verify();
      if (result.ok) {
        this.#accepted.add(hash);
        forgetOldest(this.#accepted);
      }
      return result;
    } finally {
      from.running--;
      // After the caller has counted the token.
      realTime.setImmediate(() => {
        for (const go of from.turns.splice(0)) go();
        if (from.count + from.running + from.waiting + from.turns.length === 0) this.#byAddress.delete(address);
      });
    }
  }

  /** Counts a wrong token. Fails with RequestError when its address has sent too many. */
  add(address: string): void {
    const from = this.#of(address);
    const leftMs = this.#leftMs(from);
    if (leftMs > 0) {
      if (from.count >= this.#max) throw tooMany(leftMs);
      from.count++;
      return;
    }
    from.count = 1;
    from.untilMs = realTime.elapsed() + this.#windowMs;
  }

  #of(address: string): Address {
    const known = this.#byAddress.get(address);
    if (known !== undefined) return known;
    const made: Address = { count: 0, untilMs: 0, running: 0, waiting: 0, turns: [] };
    this.#byAddress.set(address, made);
    forgetOldest(this.#byAddress);
    return made;
  }

  #leftMs({ untilMs }: Address): number {
    return untilMs - realTime.elapsed();
  }

  async #wait(from: Address, signal: AbortSignal): Promise<void> {
    if (from.waiting >= waitingMax) throw tooMany(waitMs);
    from.waiting++;
    try {
      await sleep(waitMs, { signal });
    } finally {
      from.waiting--;
    }
  }
}

function tooMany(leftMs: number): RequestError {
  return new RequestError("too_many_wrong_tokens", undefined, { "retry-after": String(Math.ceil(leftMs / 1_000)) });
}

function forgetOldest(remembered: Set<string> | Map<string, unknown>): void {
  if (remembered.size <= rememberedMax) return;
  const [oldest] = remembered.keys();
  remembered.delete(oldest as string);
}
