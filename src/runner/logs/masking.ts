// Masks secrets in a stream of bytes, across the borders of its pieces.

/** Values with fewer bytes are not masked: they would occur everywhere by chance. */
export const secretBytesMin = 4;

const mask = Buffer.from("***");
const nothing = Buffer.alloc(0);

/**
 * Replaces secrets in one stream, from left to right, and of two that begin at one place the longer one. The result does
 * not depend on how the stream is cut: a piece that ends with the beginning of a secret is held back until more is known.
 */
export class Masker {
  /** The longest first. */
  readonly #needles: readonly Buffer[];
  /** For each first byte the needles that begin with it. */
  readonly #byFirst: readonly (readonly Buffer[])[];
  readonly #longest: number;
  #held = nothing;

  constructor(secrets: readonly string[]) {
    this.#needles = needlesOf(secrets);
    this.#longest = this.#needles[0]?.byteLength ?? 0;
    this.#byFirst = Array.from({ length: 256 }, (_, byte) => this.#needles.filter((needle) => needle[0] === byte));
  }

  /** Returns what is certain of the stream so far, masked. Less is held back than the longest secret has. */
  push(piece: Uint8Array): Uint8Array {
    if (this.#longest === 0) return piece;
    const bytes = this.#held.byteLength === 0 ? asBuffer(piece) : Buffer.concat([this.#held, piece]);
    const { masked, rest } = this.#replace(bytes, true);
    // A copy, so that a few bytes do not keep the memory of a whole piece.
    this.#held = rest.byteLength === 0 ? nothing : Buffer.from(rest);
    return masked;
  }

  /** Returns the rest of the stream, masked. */
  end(): Uint8Array {
    const { masked } = this.#replace(this.#held, false);
    this.#held = nothing;
    return masked;
  }

  /** Replaces the secrets. With `holds`, it stops where one may have begun that is not complete. */
  #replace(bytes: Buffer, holds: boolean): { readonly masked: Buffer; readonly rest: Buffer } {
    const parts: Buffer[] = [];
    /** The next place of each needle that occurs. */
    const nexts = this.#needles.map((needle) => ({ needle, at: bytes.indexOf(needle) })).filter(({ at }) => at !== -1);
    let [from, open] = [0, holds ? this.#openFrom(bytes, 0) : bytes.byteLength];
    for (;;) {
      let first: { readonly needle: Buffer; at: number } | undefined;
      for (const next of nexts) {
        if (next.at < from) next.at = indexFrom(bytes, next.needle, from);
        // The first of the list is the longest.
        if (first === undefined || next.at < first.at) first = next;
      }
      if (open < from) open = this.#openFrom(bytes, from);
      if (first === undefined || first.at >= open) {
        parts.push(bytes.subarray(from, open));
        return { masked: parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts), rest: bytes.subarray(open) };
      }
      parts.push(bytes.subarray(from, first.at), mask);
      from = first.at + first.needle.byteLength;
    }
  }

  /** Returns the first place from which the rest of the bytes is the beginning of a needle, but not a whole one. */
  #openFrom(bytes: Buffer, from: number): number {
    for (let at = Math.max(from, bytes.byteLength - this.#longest + 1); at < bytes.byteLength; at++) {
      const length = bytes.byteLength - at;
      for (const needle of this.#byFirst[bytes[at] as number] as readonly Buffer[])
        if (needle.byteLength > length && bytes.compare(needle, 0, length, at) === 0) return at;
    }
    return bytes.byteLength;
  }
}

/** Returns the place of a needle, or infinity if there is none. */
function indexFrom(bytes: Buffer, needle: Buffer, from: number): number {
  const at = bytes.indexOf(needle, from);
  return at === -1 ? Number.POSITIVE_INFINITY : at;
}

/** Returns the byte sequences to replace: each secret, each long line of one, and the forms it takes in JSON and URLs. */
function needlesOf(secrets: readonly string[]): readonly Buffer[] {
  const texts = secrets.flatMap((secret) => [secret, ...linesOf(secret)]);
  const forms = texts.flatMap((text) => [
    text,
    JSON.stringify(text).slice(1, -1),
    encodeURIComponent(text.toWellFormed()),
  ]);
  return [...new Set(forms)]
    .map((text) => Buffer.from(text))
    .filter(({ byteLength }) => byteLength >= secretBytesMin)
    .sort((left, right) => right.byteLength - left.byteLength);
}

/** A program may print a secret of several lines line by line. Short lines are too common to be masked. */
function linesOf(secret: string): readonly string[] {
  const lines = secret.split(/\r?\n/);
  return lines.length === 1 ? [] : lines.filter((line) => Buffer.byteLength(line) >= 12);
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
