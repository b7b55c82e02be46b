// Standard output and standard error of one run: a stream, and what its reader can see. Knows no process.
import { once } from "node:events";
import type { Writable } from "node:stream";
import { setImmediate } from "node:timers/promises";
import { WriteStream } from "node:tty";

/** A stream that may be a terminal, such as `process.stdout`. */
export type OutputStream = Writable & { readonly isTTY?: boolean; readonly columns?: number };

/** The properties of an output that decide how text is formatted for it. */
export interface Screen {
  /** The number of characters that fit on a line; undefined where a line may have any length. */
  readonly columns: number | undefined;
  readonly hasColors: boolean;
}

export class Output implements Screen {
  readonly hasColors: boolean;
  readonly #stream: OutputStream;
  #hasReader: boolean | undefined;

  /** Decides about colors from `env` as Node does: by FORCE_COLOR, NO_COLOR (https://no-color.org) and TERM. */
  constructor(stream: OutputStream, env: NodeJS.ProcessEnv) {
    this.#stream = stream;
    const mayHaveColors = stream.isTTY === true || env.FORCE_COLOR !== undefined;
    this.hasColors = mayHaveColors && WriteStream.prototype.getColorDepth(env) > 2;
  }

  get isTerminal(): boolean {
    return this.#stream.isTTY === true;
  }

  /** A terminal that reports a width of 0 does not know its width. */
  get columns(): number | undefined {
    return (this.isTerminal && this.#stream.columns) || undefined;
  }

  write(data: string | Uint8Array): void {
    this.#stream.write(data);
  }

  /** Writes no faster than the reader reads. Returns false when the reader has gone. */
  async writeToReader(data: string | Uint8Array): Promise<boolean> {
    this.#hasReader ??= this.#watchReader();
    if (!this.#stream.write(data) && this.#hasReader) await this.#drain();
    return this.#hasReader;
  }

  /** Writes, and returns false when it is known afterwards that the reader has gone. */
  async writeAndLook(data: string): Promise<boolean> {
    await this.writeToReader(data);
    // A failed write is reported in a later turn.
    await setImmediate();
    return this.#hasReader === true;
  }

  /** Standard output forgets that it has failed, so this remembers it. */
  #watchReader(): boolean {
    this.#stream.once("close", () => {
      this.#hasReader = false;
    });
    return !this.#stream.destroyed;
  }

  /** Waits until the stream drains. It closes or fails instead when the reader has gone. */
  async #drain(): Promise<void> {
    const over = new AbortController();
    const { signal } = over;
    try {
      await Promise.race([once(this.#stream, "drain", { signal }), once(this.#stream, "close", { signal })]);
    } catch {
      this.#hasReader = false;
    } finally {
      over.abort();
    }
  }
}
