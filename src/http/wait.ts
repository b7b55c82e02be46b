// The wait of a request for an answer that may take long, or never ends: it is over when the client goes, when the server ends,
// and when the token of the client is no longer valid.
import { StoreError } from "../errors.ts";
import { realTime } from "../realTime.ts";

export class Wait {
  readonly #closing: AbortSignal | undefined;
  readonly #gone = new AbortController();
  readonly #timer: NodeJS.Timeout;
  #refusal: unknown;
  /** Fires when the wait is over. */
  readonly signal: AbortSignal;

  /** `verify` is called at each interval, and fails when the client may not wait any longer. */
  constructor(
    [request, closing]: readonly [AbortSignal, AbortSignal | undefined],
    verify: () => Promise<void>,
    everyMs: number,
  ) {
    this.#closing = closing;
    this.signal = AbortSignal.any([request, this.#gone.signal, ...(closing === undefined ? [] : [closing])]);
    this.#timer = realTime.setInterval(() => {
      verify().catch((error: unknown) => {
        // A store that does not answer says nothing about the token.
        if (error instanceof StoreError && error.retryable) return;
        this.#refusal = error;
        this.end();
      });
    }, everyMs);
    this.#timer.unref();
  }

  end(): void {
    realTime.clearInterval(this.#timer);
    this.#gone.abort();
  }

  /** Returns the failure of the call as its client has to know it: why the wait was ended, if that was the reason. */
  failureOf(error: unknown): unknown {
    if (!(error instanceof StoreError) || error.code !== "aborted") return error;
    if (this.#refusal !== undefined) return this.#refusal;
    if (!this.#closing?.aborted) return error;
    const { outcome, operation } = error;
    return new StoreError("closed", "the server is ending: send the request again", {
      outcome,
      operation,
      retryable: true,
    });
  }
}
