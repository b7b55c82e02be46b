// Frames: messages between a remote store and its server, as JSON with the bytes behind it, so that no byte becomes text.
// Both sides read what the other one wrote with suspicion: a frame has bounds, and its values are only data.
import { StoreError } from "../errors.ts";

/** The media type of a sequence of frames. */
export const framesType = "application/vnd.debug-server-db.frames";

/** The largest frame: all that a transaction may return (`limits.resultBytes`), and what its form adds. */
export const frameBytesMax = 128 * 1024 * 1024;

/** The length of the frame after these bytes, and of its JSON, each as 32 bits. */
const headBytes = 8;
/** The depth to which values are nested at most. JSON of callers travels as text. */
const depthMax = 500;
/** The key of an object that stands for a value which JSON does not have. */
const mark = "$";

/** Encodes a value: text, numbers, lists, plain objects, and undefined, bigint, Date and bytes among them. */
export function encodeFrame(value: unknown): Buffer {
  const parts: Uint8Array[] = [];
  let partsBytes = 0;
  const json = Buffer.from(
    JSON.stringify(
      tagged(value, (bytes) => {
        parts.push(bytes);
        partsBytes += bytes.byteLength;
        return [partsBytes - bytes.byteLength, bytes.byteLength];
      }),
    ),
  );
  const head = Buffer.alloc(headBytes);
  head.writeUInt32BE(headBytes - 4 + json.byteLength + partsBytes, 0);
  head.writeUInt32BE(json.byteLength, 4);
  return Buffer.concat([head, json, ...parts]);
}

function tagged(value: unknown, add: (bytes: Uint8Array) => readonly [number, number]): unknown {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value;
    case "number":
      return Number.isFinite(value) && !Object.is(value, -0)
        ? value
        : { [mark]: "number", of: String(Object.is(value, -0) ? "-0" : value) };
    case "undefined":
      return { [mark]: "" };
    case "bigint":
      return { [mark]: "bigint", of: String(value) };
    case "object":
      break;
    default:
      throw new StoreError("invalid_input", `a ${typeof value} cannot be sent`);
  }
  if (value === null) return null;
  if (Array.isArray(value)) return value.map((item) => tagged(item, add));
  if (value instanceof Uint8Array) return { [mark]: "bytes", of: add(value) };
  if (value instanceof Date) return { [mark]: "date", of: value.getTime() };
  const entries = Object.entries(value).map(([key, item]) => [key, tagged(item, add)] as const);
  return mark in value ? { [mark]: "object", of: entries } : Object.fromEntries(entries);
}

/** Splits bytes that arrive in any pieces into frames, and decodes them. Fails with `invalid_input`. */
export class FrameReader {
  readonly #bytesMax: number;
  #pieces: Uint8Array[] = [];
  #bytes = 0;

  constructor(bytesMax: number = frameBytesMax) {
    this.#bytesMax = bytesMax;
  }

  /** True when a frame has begun and not ended. */
  get isWithinFrame(): boolean {
    return this.#bytes > 0;
  }

  /** Returns the values of the frames that end with this piece. */
  read(piece: Uint8Array): readonly unknown[] {
    this.#pieces.push(piece);
    this.#bytes += piece.byteLength;
    const values: unknown[] = [];
    for (;;) {
      if (this.#bytes < headBytes) return values;
      let joined = this.#joined();
      const lengthBytes = 4 + joined.readUInt32BE(0);
      if (lengthBytes > this.#bytesMax || lengthBytes < headBytes)
        throw new StoreError("invalid_input", `a frame of ${lengthBytes} bytes: at most ${this.#bytesMax} are allowed`);
      if (joined.byteLength < lengthBytes) return values;
      values.push(decode(joined.subarray(4, lengthBytes)));
      joined = joined.subarray(lengthBytes);
      this.#pieces = joined.byteLength === 0 ? [] : [joined];
      this.#bytes = joined.byteLength;
    }
  }

  /** A frame is joined once it is there as a whole, or to read its length. */
  #joined(): Buffer {
    const [first] = this.#pieces as [Uint8Array];
    const known = Buffer.from(first.buffer, first.byteOffset, first.byteLength);
    if (this.#pieces.length === 1) return known;
    if (known.byteLength >= 4 && this.#bytes < 4 + known.readUInt32BE(0)) return known;
    const joined = Buffer.concat(this.#pieces);
    this.#pieces = [joined];
    return joined;
  }
}

function decode(frame: Buffer): unknown {
  const jsonBytes = frame.readUInt32BE(0);
  if (jsonBytes > frame.byteLength - 4) throw malformed();
  const parts = frame.subarray(4 + jsonBytes);
  let value: unknown;
  try {
    value = JSON.parse(frame.toString("utf8", 4, 4 + jsonBytes));
  } catch {
    throw malformed();
  }
  return untagged(value, parts);
}

const malformed = () => new StoreError("invalid_input", "a frame that is malformed");

function untagged(value: unknown, parts: Buffer, depth = 0): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (depth > depthMax) throw malformed();
  if (Array.isArray(value)) return value.map((item) => untagged(item, parts, depth + 1));
  if (!Object.hasOwn(value, mark)) return objectOf(Object.entries(value), parts, depth);
  const { [mark]: kind, of } = value as { readonly [mark]: unknown; readonly of?: unknown };
  if (kind === "") return undefined;
  if (kind === "number" && typeof of === "string") return Number(of);
  if (kind === "date" && (typeof of === "number" || of === null)) return new Date(of ?? Number.NaN);
  if (kind === "bigint" && typeof of === "string" && /^-?\d{1,100}$/.test(of)) return BigInt(of);
  if (kind === "object" && Array.isArray(of)) return objectOf(of as [string, unknown][], parts, depth);
  if (kind !== "bytes" || !Array.isArray(of)) throw malformed();
  const [start, length] = of as readonly unknown[];
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(length)) throw malformed();
  const [from, size] = [start as number, length as number];
  if (from < 0 || size < 0 || from + size > parts.byteLength) throw malformed();
  return new Uint8Array(parts.subarray(from, from + size));
}

function objectOf(entries: readonly (readonly [string, unknown])[], parts: Buffer, depth: number): unknown {
  const object: Record<string, unknown> = {};
  for (const [key, item] of entries) {
    // Assigned, it would set the prototype.
    if (key === "__proto__" || typeof key !== "string") throw malformed();
    object[key] = untagged(item, parts, depth + 1);
  }
  return object;
}
