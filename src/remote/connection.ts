// HTTP requests to the server of a remote store, over TCP, TLS or a Unix socket.
import { type ClientRequest, Agent as HttpAgent, request as httpRequest, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { Socket } from "node:net";
import { type ErrorCode, errorCodes, StoreError } from "../errors.ts";
import { FrameReader, framesType } from "./frames.ts";
import { asServerFrame, framesPath, type ServerFrame } from "./protocol.ts";

/** A server that could not be reached, or whose answer was cut off. */
export class Unreachable extends Error {
  override readonly name: string = "Unreachable";
  /** The time after which it may be tried again, if the server has named one, in milliseconds. */
  readonly retryAfterMs: number;
  constructor(message: string, retryAfterMs = 0) {
    super(message);
    this.retryAfterMs = retryAfterMs;
  }
}

/** A server that has refused a request, and so has done nothing with it. */
export class Refused extends StoreError {
  readonly status: number;
  constructor(status: number, code: ErrorCode, message: string | undefined) {
    super(code, message);
    this.status = status;
  }
}

/** The address of a server: "http://HOST:PORT", "https://HOST:PORT" or "unix:PATH", and the token for it. */
export interface ServerAddress {
  readonly url: string;
  readonly token: string | undefined;
}

export interface StreamOptions {
  readonly signal: AbortSignal;
  /** The time without a byte after which the connection counts as cut, in milliseconds. */
  readonly silenceMs: number;
  /** Receives the socket of the request, once it is connected. */
  readonly onSocket?: (socket: Socket) => void;
}

export class Connection {
  /** The address, without what may be secret in it. */
  readonly address: string;
  readonly #target: { readonly socketPath?: string; readonly host?: string; readonly port?: string | number };
  readonly #isTls: boolean;
  readonly #path: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #agent: HttpAgent;

  /** Fails with `invalid_input` when the address is none, and with `token_malformed` when the token cannot be sent. */
  constructor({ url, token }: ServerAddress) {
    const socketPath = /^unix:(.+)$/.exec(url)?.[1];
    const parsed = parse(socketPath === undefined ? url : "http://localhost");
    this.#isTls = parsed.protocol === "https:";
    this.address = socketPath === undefined ? parsed.host : `unix:${socketPath}`;
    this.#target =
      socketPath === undefined
        ? { host: parsed.hostname.replace(/^\[|\]$/g, ""), port: parsed.port || (this.#isTls ? 443 : 80) }
        : { socketPath };
    this.#path = `${parsed.pathname.replace(/\/+$/, "")}${framesPath}`;
    this.#headers = {
      "content-type": framesType,
      host: parsed.host,
      ...(token === undefined ? {} : { authorization: `Bearer ${sendable(token)}` }),
    };
    this.#agent = new (this.#isTls ? HttpsAgent : HttpAgent)({ keepAlive: true });
  }

  /** Sends a request, and returns the first frame of the answer. */
  async ask(bodyOf: () => Uint8Array, options: StreamOptions): Promise<ServerFrame | undefined> {
    let first: ServerFrame | undefined;
    // The rest is read too: a connection whose answer was not read to its end cannot be used again.
    for await (const frame of this.stream(bodyOf, options)) first ??= frame;
    return first;
  }

  /**
   * Sends a request, and yields the frames of the answer. `bodyOf` is called at the moment from which the body may reach the
   * server, and not at all when the server cannot be reached. Fails with Unreachable, or with Refused.
   */
  async *stream(
    bodyOf: () => Uint8Array,
    { signal, silenceMs, onSocket }: StreamOptions,
  ): AsyncGenerator<ServerFrame, void, undefined> {
    const options = {
      ...this.#target,
      method: "POST",
      path: this.#path,
      agent: this.#agent,
      headers: this.#headers,
      signal,
      timeout: silenceMs,
    };
    const request = this.#isTls ? httpsRequest(options) : httpRequest(options);
    const response = await responseTo(request, bodyOf, this.address, onSocket);
    if (response.statusCode !== 200) throw await refusalOf(response);
    const reader = new FrameReader();
    try {
      for await (const piece of response as AsyncIterable<Uint8Array>)
        for (const value of reader.read(piece)) {
          const frame = asServerFrame(value);
          if (frame === undefined) throw new StoreError("invalid_input", "a frame of no known form");
          yield frame;
        }
    } catch (error) {
      if (error instanceof StoreError)
        throw new Refused(200, "incompatible", `${this.address} answers as no server of a store: ${error.message}`);
      throw new Unreachable((error as Error).message);
    }
    if (!response.complete || reader.isWithinFrame) throw new Unreachable("the answer was cut off");
  }

  close(): void {
    this.#agent.destroy();
  }
}

function parse(url: string): URL {
  if (URL.canParse(url)) return new URL(url);
  throw new StoreError("invalid_input", "url: expected http://HOST:PORT, https://HOST:PORT or unix:PATH");
}

/** Returns a token without the blanks around it, which files of tokens end with. */
function sendable(token: string): string {
  const trimmed = token.trim();
  if (/^[\x21-\x7e]+$/.test(trimmed)) return trimmed;
  throw new StoreError("token_malformed", "token: it has characters that no token has");
}

function responseTo(
  request: ClientRequest,
  bodyOf: () => Uint8Array,
  address: string,
  onSocket?: (socket: Socket) => void,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request.once("response", resolve);
    request.once("timeout", () => request.destroy(new Error("no answer")));
    request.once("error", (error: NodeJS.ErrnoException) =>
      reject(new Unreachable(`${address}: ${error.code ?? error.message}`)),
    );
    // Bytes leave only over a socket that is connected.
    request.once("socket", (socket) => {
      const send = () => {
        onSocket?.(socket);
        const body = bodyOf();
        request.setHeader("content-length", body.byteLength);
        request.end(body);
      };
      if (!socket.connecting) send();
      else socket.once("encrypted" in socket ? "secureConnect" : "connect", send);
    });
  });
}

/** The statuses of servers that end, and of proxies before a server that is not there. */
const passing = [408, 425, 429, 502, 503, 504];

/** Reads why the server refuses a request. */
async function refusalOf(response: IncomingMessage): Promise<Refused | Unreachable> {
  const status = response.statusCode as number;
  let text = "";
  try {
    for await (const piece of response as AsyncIterable<Uint8Array>)
      if (text.length < 100_000) text += Buffer.from(piece).toString();
  } catch {
    // The status says enough.
  }
  if (passing.includes(status)) {
    const retryAfterMs = 1_000 * Number(response.headers["retry-after"] ?? 0);
    return new Unreachable(`the server answers ${status}`, Number.isFinite(retryAfterMs) ? retryAfterMs : 0);
  }
  const { code, detail } = problemIn(text);
  if (code !== undefined && code in errorCodes) return new Refused(status, code as ErrorCode, detail);
  if (status === 401) return new Refused(status, "token_unknown", "the server wants a token: pass it as `token`");
  if (status === 413) return new Refused(status, "invalid_input", "the server takes no request as large as this one");
  return new Refused(status, "incompatible", `the server answers ${status}: is it the server of a store?`);
}

function problemIn(text: string): { readonly code?: string; readonly detail?: string } {
  try {
    const { code, detail } = JSON.parse(text) as Record<string, unknown>;
    return { ...(typeof code === "string" ? { code } : {}), ...(typeof detail === "string" ? { detail } : {}) };
  } catch {
    return {};
  }
}
