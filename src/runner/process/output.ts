// Reads the two output streams of a program, each as fast as its pieces are taken.
import type { ChildProcess } from "node:child_process";
import type { Readable } from "node:stream";
import { realTime } from "../../realTime.ts";

/** Takes a piece of output. A stream is read on when the promise of its last piece has resolved. */
export type TakeOutput = (stream: "stdout" | "stderr", data: Uint8Array) => unknown;

/**
 * The bounds of what is read after the end of the group, for each stream. What the group has written is in the pipe, which
 * holds at most 1 MiB on Linux by default; a process that has left the group may hold the pipe open, and write for ever.
 */
const drain = { quietMs: 500, bytesMax: 2 * 1_024 * 1_024 };

export class Output {
  /** Resolves when both streams were read to their end. Rejects with what `take` threw. */
  readonly done: Promise<unknown>;
  readonly #streams: readonly (Reader | undefined)[];

  constructor({ stdout, stderr }: ChildProcess, take: TakeOutput) {
    this.#streams = [
      stdout === null ? undefined : new Reader(stdout, (data) => take("stdout", data)),
      stderr === null ? undefined : new Reader(stderr, (data) => take("stderr", data)),
    ];
    this.done = Promise.all(this.#streams.map((stream) => stream?.done));
    // It is awaited after the end of the program.
    this.done.catch(() => undefined);
  }

  /** Resolves when everything was taken that the group has written. Rejects with what `take` threw. */
  async drain(): Promise<void> {
    for (const stream of this.#streams) stream?.drain();
    await this.done;
  }

  /** Takes nothing more. */
  abandon(): void {
    for (const stream of this.#streams) stream?.abandon();
  }
}

class Reader {
  readonly done: Promise<void>;
  readonly #stream: Readable;
  #quiet: NodeJS.Timeout | undefined;
  /** The bytes that may still be read, once the group has ended. */
  #bytesLeft: number | undefined;
  #isTaking = false;

  constructor(stream: Readable, take: (data: Uint8Array) => unknown) {
    this.#stream = stream;
    this.done = this.#read(take);
  }

  drain(): void {
    this.#bytesLeft = drain.bytesMax;
    if (!this.#isTaking) this.#watchQuiet();
  }

  abandon(): void {
    realTime.clearTimeout(this.#quiet);
    this.#stream.destroy();
  }

  async #read(take: (data: Uint8Array) => unknown): Promise<void> {
    try {
      for await (const data of this.#stream) {
        realTime.clearTimeout(this.#quiet);
        this.#isTaking = true;
        await take(data as Uint8Array);
        this.#isTaking = false;
        if (this.#bytesLeft === undefined) continue;
        this.#bytesLeft -= (data as Uint8Array).byteLength;
        if (this.#bytesLeft <= 0) return;
        this.#watchQuiet();
      }
    } catch (error) {
      // Destroyed while it was read, because nothing had come for some time.
      if ((error as NodeJS.ErrnoException).code !== "ERR_STREAM_PREMATURE_CLOSE") throw error;
    } finally {
      realTime.clearTimeout(this.#quiet);
    }
  }

  #watchQuiet(): void {
    this.#quiet = realTime.setTimeout(() => this.#stream.destroy(), drain.quietMs);
  }
}
