// Writes the log of one command: in order, one append at a time, from the byte that the store acknowledged last.
import { createHash } from "node:crypto";
import { type Claim, type Store, StoreError } from "../../index.ts";
import { sleep } from "../../realTime.ts";

type LogStream = "stdout" | "stderr" | "system";

/** The most that one append takes. */
const chunkBytesMax = 65_536;

export class LogWriter {
  readonly #store: Pick<Store, "logs">;
  readonly #commandId: string;
  readonly #fence: number;
  readonly #stop: AbortSignal;
  readonly #hash = createHash("sha256");
  #offset = 0;
  #lastWrite: Promise<void> = Promise.resolve();

  constructor(store: Pick<Store, "logs">, { command, fence }: Claim, stop: AbortSignal) {
    this.#store = store;
    this.#commandId = command.id;
    this.#fence = fence;
    this.#stop = stop;
  }

  /** The number of bytes that are stored. */
  get offset(): number {
    return this.#offset;
  }

  /** The SHA-256 of everything written, including what a log over its limit does not keep. */
  get sha256(): string {
    return this.#hash.copy().digest("hex");
  }

  /** Resolves when the bytes are stored. After a failure every write fails, so that a log has no gap. */
  write(stream: LogStream, data: Uint8Array): Promise<void> {
    const written = this.#lastWrite.then(async () => {
      for (let at = 0; at < data.byteLength; at += chunkBytesMax)
        await this.#append(stream, data.subarray(at, at + chunkBytesMax));
    });
    this.#lastWrite = written;
    return written;
  }

  /**
   * Appends, and retries while the store is busy or full: the offset makes that safe. After the stop it tries only once
   * more.
   */
  async #append(stream: LogStream, data: Uint8Array): Promise<void> {
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
        const retryAfterMs = Number(error.details.retryAfterMs ?? 200);
        await sleep(retryAfterMs, { signal: this.#stop });
      }
    }
  }
}
