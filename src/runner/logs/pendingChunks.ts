// The bytes of a log that are not stored yet, in chunks with their offsets.
import type { Store } from "../../index.ts";

/** One append to a log. */
export interface Chunk {
  readonly stream: NonNullable<Append["stream"]>;
  readonly offset: number;
  readonly data: Uint8Array;
}

type Append = Parameters<Store["logs"]["append"]>[0];

/** The most bytes that one append takes. */
const chunkBytesMax = 65_536;

interface Pending {
  readonly stream: Chunk["stream"];
  readonly offset: number;
  byteLength: number;
  parts: Uint8Array[];
}

/** A queue of chunks. One that was not sent yet grows with what comes next, so that small writes make few appends. */
export class PendingChunks {
  /** In order and without gaps. The first `#sent` of them were sent. */
  #chunks: Pending[] = [];
  #sent = 0;
  #stored = 0;
  #end = 0;

  /** Everything before this offset is stored. */
  get storedOffset(): number {
    return this.#stored;
  }

  /** The number of bytes that are not stored. */
  get bytes(): number {
    return this.#chunks.reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  add(stream: Chunk["stream"], data: Uint8Array): void {
    let rest = data;
    while (rest.byteLength > 0) {
      const last = this.#chunks.length > this.#sent ? this.#chunks.at(-1) : undefined;
      const grows = last?.stream === stream && last.byteLength < chunkBytesMax;
      const part = rest.subarray(0, grows ? chunkBytesMax - last.byteLength : chunkBytesMax);
      if (grows) {
        last.parts.push(part);
        last.byteLength += part.byteLength;
      } else this.#chunks.push({ stream, offset: this.#end, byteLength: part.byteLength, parts: [part] });
      this.#end += part.byteLength;
      rest = rest.subarray(part.byteLength);
    }
  }

  /** Returns the next chunk to send. */
  next(): Chunk | undefined {
    const chunk = this.#chunks[this.#sent];
    if (chunk === undefined) return undefined;
    this.#sent++;
    if (chunk.parts.length > 1) chunk.parts = [Buffer.concat(chunk.parts, chunk.byteLength)];
    return { stream: chunk.stream, offset: chunk.offset, data: chunk.parts[0] as Uint8Array };
  }

  /** Drops what is stored: everything before this offset. */
  acknowledge(offset: number): void {
    this.#stored = Math.max(this.#stored, Math.min(offset, this.#end));
    const kept = this.#chunks.findIndex((chunk) => chunk.offset + chunk.byteLength > this.#stored);
    const stored = kept === -1 ? this.#chunks.length : kept;
    this.#chunks.splice(0, stored);
    this.#sent = Math.max(0, this.#sent - stored);
  }

  /** Makes everything that is not stored be sent again. */
  rewind(): void {
    this.#sent = 0;
  }

  /** Forgets everything that is not stored. */
  clear(): void {
    this.#chunks = [];
    this.#sent = 0;
  }
}
