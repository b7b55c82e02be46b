// HTTP requests to the server of a remote store, over TCP, TLS or a Unix socket.
import { type ClientRequest, Agent as HttpAgent, request as httpRequest, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { type ErrorCode, errorCodes, StoreError } from "../errors.ts";
import { encodeFrame, FrameReader, framesType } from "./frames.ts";
import { type ClientFrame, framesPath } from "./protocol.ts";

/** A server that could not be reached, or whose answer was cut off. */
export class Unreachable extends Error {
  override readonly name: string = "Unreachable";
}

/** The address of a server: "http://HOST:PORT", "https://HOST:PORT" or "unix:PATH", and the token for it. */
export interface ServerAddress {
  readonly url: string;
  readonly token: string | undefined;
}

/** The largest number of connections for calls that do not wait. Each call that waits has one of its own. */
const connectionsMax = 64;

export class Connection {
  readonly #target: { readonly socketPath?: string; readonly host?: string; readonly port?: string | number };
  readonly #isTls: boolean;
  readonly #path: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #agent: HttpAgent;
  readonly #waitingAgent: HttpAgent;

  constructor({ url, token }: ServerAddress) {
    const socketPath = /^unix:(.+)$/.exec(url)?.[1];
    const parsed = new URL(socketPath === undefined ? url : "http://localhost");
    this.#isTls = parsed.protocol === "https:";
    this.#target =
      socketPath === undefined
        ? { host: parsed.hostname.replace(/^\[|\]$/g, ""), port: parsed.port || (this.#isTls ? 443 : 80) }
        : { socketPath };
    this.#path = `${parsed.pathname.replace(/\/+$/, "")}${framesPath}`;
    this.#headers = {
      "content-type": framesType,
      host: parsed.host,
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    };
    const Agent = this.#isTls ? HttpsAgent : HttpAgent;
    this.#agent = new Agent({ keepAlive: true, maxSockets: connectionsMax });
    this.#waitingAgent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY });
  }

  /** Sends a message that has no answer. */
  async post(message: ClientFrame, signal: AbortSignal): Promise<void> {
    for await (const _ of this.stream(message, signal, false));
  }

  /**
   * Sends a message, and yields the frames of the answer. `onSent` is called before the first byte may arrive. Fails with
   * Unreachable, which can be tried again, or with a StoreError when the server refuses the request.
   */
  async *stream(
    message: ClientFrame,
    signal: AbortSignal,
    waits: boolean,
    onSent?: () => void,
  ): AsyncGenerator<unknown, void, undefined> {
    const body = encodeFrame(message);
    const options = {
      ...this.#target,
      method: "POST",
      path: this.#path,
      agent: waits ? this.#waitingAgent : this.#agent,
      headers: { ...this.#headers, "content-length": body.byteLength },
      signal,
    };
    const sent = this.#isTls ? httpsRequest(options) : httpRequest(options);
    const response = await responseTo(sent, body, onSent);
    if (response.statusCode !== 200 && response.statusCode !== 204) throw await refusalOf(response);
    const reader = new FrameReader();
    try {
      for await (const piece of response as AsyncIterable<Uint8Array>) yield* reader.read(piece);
    } catch (error) {
      if (error instanceof StoreError) throw new Unreachable(`the answer is no answer of a store: ${error.message}`);
      throw new Unreachable((error as Error).message);
    }
    if (!response.complete || reader.isWithinFrame) throw new Unreachable("the answer was cut off");
  }

  close(): void {
    this.#agent.destroy();
    this.#waitingAgent.destroy();
  }
}

function responseTo(sent: ClientRequest, body: Uint8Array, onSent?: () => void): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    let maySent = false;
    const arrives = () => {
      if (maySent) return;
      maySent = true;
      onSent?.();
    };
    // Bytes leave only over a socket that is connected.
    sent.once("socket", (socket) => {
      if (socket.connecting) socket.once("connect", arrives);
      else arrives();
    });
    sent.once("response", resolve);
    sent.once("error", (error: NodeJS.ErrnoException) => reject(new Unreachable(error.code ?? error.message)));
    sent.end(body);
  });
}

/** The statuses of servers that end, and of proxies before a server that is not there. */
const passing = [408, 425, 429, 502, 503, 504];

/** Reads why the server refuses a request. */
async function refusalOf(response: IncomingMessage): Promise<StoreError | Unreachable> {
  const status = response.statusCode as number;
  let text = "";
  try {
    for await (const piece of response as AsyncIterable<Uint8Array>) {
      text += Buffer.from(piece).toString();
      if (text.length > 100_000) break;
    }
  } catch {
    // The status says enough.
  }
  if (passing.includes(status)) return new Unreachable(`the server answers ${status}`);
  const { code, detail } = problemIn(text);
  if (code !== undefined && code in errorCodes) return new StoreError(code as ErrorCode, detail);
  if (status === 401) return new StoreError("token_unknown", "the server wants a token: pass it as `token`");
  return new StoreError("incompatible", `the server answers ${status}: is it the server of a store?`);
}

function problemIn(text: string): { readonly code?: string; readonly detail?: string } {
  try {
    const { code, detail } = JSON.parse(text) as Record<string, unknown>;
    return { ...(typeof code === "string" ? { code } : {}), ...(typeof detail === "string" ? { detail } : {}) };
  } catch {
    return {};
  }
}
