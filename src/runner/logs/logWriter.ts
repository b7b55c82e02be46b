// Writes the log of one command: in order, with several appends on their way, from the byte that the store has on.
import { createHash } from "node:crypto";
import { Writable } from "node:stream";
import { type Store, StoreError } from "../../index.ts";
import { sleep } from "../../realTime.ts";
import { Masker } from "./masking.ts";
import { type Chunk, PendingChunks } from "./pendingChunks.ts";

/** A stream of a log: the two of the program, and that of the runner itself. */
export type LogStream = Chunk["stream"];

export interface LogWriterOptions {
  readonly commandId: string;
  /** The fencing token of the claim. */
  readonly fence: number;
  /**
   * Values that are replaced by `***`, also where they cross the borders of pieces, and in the forms that they take in
   * JSON and in URLs. Of a value of several lines, each line of at least 12 bytes is replaced by itself too. Values of
   * fewer than 4 bytes are not masked, because they occur everywhere. The end of a piece that may be the beginning of a
   * value is written with the next piece of its stream, or at the end.
   */
  readonly secrets?: readonly string[];
  /**
   * Ends the retries when it fires: an append that fails then is final. With the reason "lost", everything that is not
   * stored fails at once. Without it, appends are retried as long as the store calls their failures retryable.
   */
  readonly signal?: AbortSignal;
  /** The number of appends on their way at once. Defaults to 16. At least 1. */
  readonly appendsInFlight?: number;
  /** The bytes that may wait to be stored before `write` waits. Defaults to 1 MiB. */
  readonly bufferBytesMax?: number;
}

/** The measures of a complete log. */
export interface WrittenLog {
  /** The number of bytes that were written, for `commands.finish({ logOffset })`. */
  readonly offset: number;
  /** The SHA-256 of these bytes, with those that the store has dropped. */
  readonly sha256: string;
  /** True when the log exceeded its limit and has lost a part of its middle. `logs.read` says how many bytes. */
  readonly truncated: boolean;
}

export interface LogWriter {
  /** The number of bytes that are stored. */
  readonly offset: number;
  /**
   * Takes a piece of output, whose bytes must not change any more. Resolves when there is room for more, which is usually
   * at once. After a failure every write fails with the same error, so that a log has no gap.
   */
  write(stream: LogStream, data: Uint8Array): Promise<void>;
  /** Returns a stream of the web that writes to a stream of the log. Closing it does not end the log. */
  writable(stream: LogStream): WritableStream<Uint8Array>;
  /** Returns a stream of Node.js that writes to a stream of the log. Ending it does not end the log. */
  nodeWritable(stream: LogStream): Writable;
  /** Resolves when everything is stored, also what the masks had held back. Fails as the first append has failed. */
  end(): Promise<WrittenLog>;
}

/** The time after which an append that failed is repeated, unless the store names one. */
const retryAfterMs = 200;

/** Returns a writer for the log of a claimed command. */
export function logWriter(store: Pick<Store, "logs">, options: LogWriterOptions): LogWriter {
  return new Writer(store, options);
}

class Writer implements LogWriter {
  readonly #store: Pick<Store, "logs">;
  readonly #options: LogWriterOptions;
  readonly #maskers: Readonly<Record<LogStream, Masker>>;
  readonly #hash = createHash("sha256");
  readonly #pending = new PendingChunks();
  #inFlight = 0;
  #isTruncated = false;
  /** The pause before everything is sent again that is not stored, if an append has failed since the last pause. */
  #pauseMs: number | undefined;
  #failure: unknown;
  #wakes: (() => void)[] = [];

  constructor(store: Pick<Store, "logs">, options: LogWriterOptions) {
    this.#store = store;
    this.#options = options;
    const { secrets = [], signal } = options;
    this.#maskers = { stdout: new Masker(secrets), stderr: new Masker(secrets), system: new Masker(secrets) };
    const stop = () => signal?.reason === "lost" && this.#fail(lostError());
    if (signal?.aborted === true) stop();
    else signal?.addEventListener("abort", stop, { once: true });
  }

  get offset(): number {
    return this.#pending.storedOffset;
  }

  async write(stream: LogStream, data: Uint8Array): Promise<void> {
    if (this.#failure === undefined) this.#add(stream, this.#maskers[stream].push(data));
    await this.#until(() => this.#pending.bytes < (this.#options.bufferBytesMax ?? 1_048_576));
  }

  writable(stream: LogStream): WritableStream<Uint8Array> {
    return new WritableStream({ write: (data: Uint8Array) => this.write(stream, data) });
  }

  nodeWritable(stream: LogStream): Writable {
    return new Writable({
      write: (data: Uint8Array, _encoding, done) => {
        this.write(stream, data).then(() => done(), done);
      },
    });
  }

  async end(): Promise<WrittenLog> {
    for (const stream of ["stdout", "stderr", "system"] as const) this.#add(stream, this.#maskers[stream].end());
    await this.#until(() => this.#pending.bytes === 0);
    return { offset: this.offset, sha256: this.#hash.copy().digest("hex"), truncated: this.#isTruncated };
  }

  #add(stream: LogStream, data: Uint8Array): void {
    this.#hash.update(data);
    this.#pending.add(stream, data);
    this.#send();
  }

  /** Sends what may be sent now, in one turn, so that the client can join small appends. */
  #send(): void {
    const inFlightMax = Math.max(1, this.#options.appendsInFlight ?? 16);
    while (this.#failure === undefined && this.#pauseMs === undefined && this.#inFlight < inFlightMax) {
      const chunk = this.#pending.next();
      if (chunk === undefined) return;
      void this.#append(chunk);
    }
  }

  async #append(chunk: Chunk): Promise<void> {
    const { commandId, fence } = this.#options;
    const followsStored = chunk.offset <= this.offset;
    this.#inFlight++;
    try {
      const { ackOffset, truncated } = await this.#store.logs.append({ commandId, fence, ...chunk });
      this.#isTruncated ||= truncated;
      this.#pending.acknowledge(ackOffset);
      this.#wake();
    } catch (error) {
      const pauseMs = this.#pauseAfter(error, followsStored);
      if (pauseMs === undefined) this.#fail(error);
      else this.#pauseMs = Math.max(this.#pauseMs ?? 0, pauseMs);
    }
    this.#inFlight--;
    if (this.#inFlight === 0 && this.#pauseMs !== undefined) await this.#pause(this.#pauseMs);
    this.#send();
  }

  /**
   * Returns the time after which an append that has failed can be repeated, or undefined if it cannot. It can also if
   * nobody knows whether it was stored: the store acknowledges bytes that it has. One that was sent ahead of others finds
   * a gap when one of them has failed, or is later.
   */
  #pauseAfter(error: unknown, followsStored: boolean): number | undefined {
    if (!(error instanceof StoreError) || this.#options.signal?.aborted === true) return undefined;
    if (error.code === "log_gap") return followsStored ? undefined : 0;
    if (!error.retryable && error.outcome !== "unknown") return undefined;
    return Number(error.details.retryAfterMs ?? retryAfterMs);
  }

  /** Waits, and then lets everything be sent again that is not stored. */
  async #pause(ms: number): Promise<void> {
    const { signal } = this.#options;
    await sleep(ms, signal === undefined ? {} : { signal });
    this.#pauseMs = undefined;
    this.#pending.rewind();
  }

  #fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#pending.clear();
    this.#wake();
  }

  async #until(condition: () => boolean): Promise<void> {
    while (this.#failure === undefined && !condition()) await new Promise<void>((resolve) => this.#wakes.push(resolve));
    if (this.#failure !== undefined) throw this.#failure;
  }

  #wake(): void {
    const wakes = this.#wakes;
    this.#wakes = [];
    for (const wake of wakes) wake();
  }
}

function lostError(): StoreError {
  return new StoreError("aborted", "the log is not written any more, because the lease of its command is lost");
}
