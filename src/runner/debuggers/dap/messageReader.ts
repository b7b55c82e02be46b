// Reads the messages of the Debug Adapter Protocol from a stream of bytes:
// https://microsoft.github.io/debug-adapter-protocol/overview#base-protocol

export interface Request {
  readonly type: "request";
  readonly seq: number;
  readonly command: string;
}

export interface Response {
  readonly type: "response";
  readonly request_seq: number;
  readonly success: boolean;
  readonly command?: string;
  readonly message?: string;
  readonly body?: unknown;
}

export interface AdapterEvent {
  readonly type: "event";
  readonly event: string;
  readonly body?: Record<string, unknown>;
}

export type Message = Request | Response | AdapterEvent;

/** The adapter does not speak the protocol, does not answer, refuses a request, or has ended. */
export class AdapterError extends Error {
  override readonly name = "AdapterError";
}

/** The bounds of a header, with what an adapter prints before it, and of a body. */
const headerBytesMax = 64 * 1024;
const bodyBytesMax = 16 * 1024 * 1024;

const headerEnd = Buffer.from("\r\n\r\n");

export class MessageReader {
  #chunks: Uint8Array[] = [];
  #length = 0;
  /** The length of the body that is being read; undefined within a header. */
  #bodyLength: number | undefined;

  /** Returns the messages that these bytes complete. Fails with AdapterError when they are none. */
  *read(data: Uint8Array): Generator<Message> {
    this.#chunks.push(data);
    this.#length += data.length;
    for (;;) {
      if (this.#bodyLength === undefined && !this.#readHeader()) return;
      const length = this.#bodyLength as number;
      if (this.#length < length) return;
      this.#bodyLength = undefined;
      yield parse(this.#take(length));
    }
  }

  /** Returns whether the header is complete. Lines in it that are no fields are those of a library that prints. */
  #readHeader(): boolean {
    const bytes = this.#join();
    const end = bytes.indexOf(headerEnd);
    if (end === -1 && this.#length <= headerBytesMax) return false;
    const header = bytes.subarray(0, end === -1 ? headerBytesMax : end).toString("latin1");
    const [, length] = /(?:^|\n)Content-Length: *(\d+)[^\n]*(?:\n(?!.*Content-Length:)|$)/i.exec(header) ?? [];
    if (length === undefined || end === -1)
      throw new AdapterError(`expected a header with Content-Length, and got ${JSON.stringify(header.slice(0, 100))}`);
    if (Number(length) > bodyBytesMax)
      throw new AdapterError(`a message of ${length} bytes is too large: at most ${bodyBytesMax} are read`);
    this.#take(end + headerEnd.length);
    this.#bodyLength = Number(length);
    return true;
  }

  #join(): Buffer {
    const bytes = this.#chunks.length === 1 ? Buffer.from(this.#chunks[0] as Uint8Array) : Buffer.concat(this.#chunks);
    this.#chunks = [bytes];
    return bytes;
  }

  #take(length: number): Buffer {
    const bytes = this.#join();
    this.#chunks = [bytes.subarray(length)];
    this.#length -= length;
    return bytes.subarray(0, length);
  }
}

function parse(body: Buffer): Message {
  const text = body.toString();
  let message: Partial<Message> | undefined;
  try {
    message = JSON.parse(text, withoutNull);
  } catch {
    throw new AdapterError(`expected a message in JSON, and got ${JSON.stringify(text.slice(0, 100))}`);
  }
  const isMessage =
    (message?.type === "request" && typeof message.command === "string") ||
    (message?.type === "response" && typeof message.request_seq === "number") ||
    (message?.type === "event" && typeof message.event === "string");
  if (!isMessage) throw new AdapterError(`expected a message, and got ${JSON.stringify(text.slice(0, 100))}`);
  return message as Message;
}

/** Leaves out properties that are null, which adapters send for absent ones. */
function withoutNull(this: unknown, _key: string, value: unknown): unknown {
  return value === null && !Array.isArray(this) ? undefined : value;
}
