// Writes the log of one command: in order, one append at a time, from the byte that the store acknowledged last.
import { createHash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { StoreError } from "../errors.ts";
import { bounds } from "../limits.ts";
import type { Claim } from "../model/commands.ts";
import type { Store } from "../storeTypes.ts";

export class LogWriter {
  readonly #store: Pick<Store, "logs">;
  readonly #commandId: string;
  readonly #fence: number;
  readonly #stop: AbortSignal;
  readonly #hash = createHash("sha256");
  #offset = 0;
  #last: Promise<void> = Promise.resolve();

  constructor(store: Pick<Store, "logs">, { command, fence }: Claim, stop: AbortSignal) {
    this.#store = store;
    this.#commandId = command.id;
    this.#fence = fence;
    this.#stop = stop;
  }

  /** How much is stored. */
  get offset(): number {
    return this.#offset;
  }

  /** Of all that was written, also of what a log over its limit does not keep. */
  get sha256(): string {
    return this.#hash.copy().digest("hex");
  }

  /** Resolves when the bytes are stored. After a failure nothing is written any more, so that a log has no hole. */
  write(stream: "stdout" | "stderr" | "system", data: Uint8Array): Promise<void> {
    const written = this.#last.then(async () => {
      for (let at = 0; at < data.byteLength; at += bounds.logChunkBytes)
        await this.#append(stream, data.subarray(at, at + bounds.logChunkBytes));
    });
    this.#last = written;
    return written;
  }

  /** Repeated while the store is busy or full: the offset makes a repetition safe. After the stop once more, because nobody waits for it then. */
  async #append(stream: "stdout" | "stderr" | "system", data: Uint8Array): Promise<void> {
    for (;;) {
      try {
        const { ackOffset } = await this.#store.logs.append({
          commandId: this.#commandId,
          fence: this.#fence,
          offset: this.#offset,
          stream,
          data,
        });
        this.#offset = ackOffset;
        this.#hash.update(data);
        return;
      } catch (error) {
        if (!(error instanceof StoreError) || !error.retryable || this.#stop.aborted) throw error;
        await delay(Number(error.details.retryAfterMs ?? 200), undefined, { signal: this.#stop }).catch(
          () => undefined,
        );
      }
    }
  }
}
