// A server for the API of a store: limits for clients that are slow or many, and an end that loses nothing.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { realTime } from "../realTime.ts";
import { type Address, listenAt, parseAddress, textOf } from "./listen.ts";
import { nodeHandler } from "./nodeHandler.ts";
import { type StoreHandlerOptions, storeHandler } from "./storeHandler.ts";

export interface ServeStoreOptions extends Omit<StoreHandlerOptions, "closing"> {
  /**
   * The address: "HOST:PORT", or "unix:PATH" for a socket, which this user alone can use by default. Defaults to "127.0.0.1:8080", which
   * only programs of this machine can reach.
   */
  readonly listen?: string;
  /** The rights of a Unix socket, such as 0o660 for a proxy of the same group. Defaults to 0o600. */
  readonly socketMode?: number;
  /** The largest number of connections; others are closed at once. Defaults to 12 000. */
  readonly connectionsMax?: number;
  /**
   * The time in which a client has to send its request, in milliseconds. The file of an artifact may take longer, as long as
   * something of it arrives within each such time. Defaults to 30 000.
   */
  readonly requestMs?: number;
}

/** A server that listens. It does not close the store. */
export interface StoreServer {
  /** The address, as `listen` takes it, with the port that was chosen. */
  readonly address: string;
  /** The base of the paths, such as "http://127.0.0.1:8080"; undefined for a Unix socket. */
  readonly url: string | undefined;
  /** The server itself, for limits and events of its own. */
  readonly server: Server;
  /**
   * Accepts no more connections, ends waits and streams with an error that clients can retry, and resolves when the other
   * requests are answered. After `withinMs`, which defaults to 10 000, the connections that are left are cut.
   */
  close(options?: { readonly withinMs?: number }): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** The time between two looks at connections that may have become idle, in milliseconds. */
const lookMs = 50;

/** Serves a store. Fails with `invalid_input` when the address is wrong or in use. */
export async function serveStore(
  store: Parameters<typeof storeHandler>[0],
  {
    listen = "127.0.0.1:8080",
    socketMode = 0o600,
    connectionsMax = 12_000,
    requestMs = 30_000,
    ...options
  }: ServeStoreOptions = {},
): Promise<StoreServer> {
  const asked = parseAddress(listen);
  const closing = new AbortController();
  const bodies = new Bodies(requestMs);
  const handler = storeHandler(store, { ...options, closing: closing.signal });
  const listener = nodeHandler(handler);
  const server = createServer(
    {
      // Its time would hold for large files too.
      requestTimeout: 0,
      headersTimeout: Math.min(requestMs, 10_000),
      keepAliveTimeout: 65_000,
      connectionsCheckingInterval: Math.min(requestMs, 5_000),
      // Finds clients that have vanished without a word, for example with their machine.
      keepAlive: true,
      keepAliveInitialDelay: 30_000,
    },
    (request, response) => {
      bodies.bound(request, response);
      return listener(request, response);
    },
  );
  const waitingListener = nodeHandler((request, connection) =>
    handler(request, { ...connection, awaitsContinue: true }),
  );
  server.on("checkContinue", (request, response) => {
    bodies.bound(request, response);
    continueOnceRead(request, response);
    void waitingListener(request, response);
  });
  server.maxConnections = connectionsMax;
  await listenAt(server, asked, socketMode);
  const address: Address = "path" in asked ? asked : { host: asked.host, port: (server.address() as AddressInfo).port };
  let closed: Promise<void> | undefined;
  const close: StoreServer["close"] = ({ withinMs = 10_000 } = {}) => {
    closed ??= end(server, bodies, closing, withinMs);
    return closed;
  };
  return {
    address: textOf(address),
    url: "path" in address ? undefined : `http://${textOf(address)}`,
    server,
    close,
    [Symbol.asyncDispose]: () => close(),
  };
}

/** Tells a client to send its body once that is read. The connection of one that was not told ends with its answer. */
function continueOnceRead(request: IncomingMessage, response: ServerResponse): void {
  request.once("resume", () => {
    if (!response.headersSent) response.writeContinue();
  });
}

/** The requests whose bodies have not arrived to their ends. */
class Bodies {
  readonly #requestMs: number;
  readonly #arriving = new Map<IncomingMessage, ServerResponse>();

  constructor(requestMs: number) {
    this.#requestMs = requestMs;
  }

  /**
   * Ends a request whose body does not arrive in time, also when it was answered before; that of a file when nothing of it
   * arrives.
   */
  bound(request: IncomingMessage, response: ServerResponse): void {
    if (request.complete) return;
    const { socket } = request;
    const isFile = /\/v1\/artifacts\.content(?:\?|$)/.test(request.url ?? "");
    let { bytesRead } = socket;
    this.#arriving.set(request, response);
    const timer = realTime.setInterval(() => {
      if (isFile && !response.writableEnded && socket.bytesRead > bytesRead) {
        bytesRead = socket.bytesRead;
        return;
      }
      stop();
      if (response.headersSent) socket.destroy();
      else socket.end("HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n", () => socket.destroy());
    }, this.#requestMs);
    timer.unref();
    const stop = () => {
      realTime.clearInterval(timer);
      this.#arriving.delete(request);
      socket.off("close", stop);
    };
    request.once("end", stop);
    socket.once("close", stop);
  }

  /** Cuts the connections whose requests were answered before they had arrived. */
  cutAnswered(): void {
    for (const [{ socket }, { writableFinished }] of this.#arriving) if (writableFinished) socket.destroy();
  }
}

async function end(server: Server, bodies: Bodies, closing: AbortController, withinMs: number): Promise<void> {
  const ended = new Promise<void>((resolve) => server.close(() => resolve()));
  closing.abort();
  // A connection that was busy is idle once its answer is sent.
  const look = realTime.setInterval(() => {
    bodies.cutAnswered();
    server.closeIdleConnections();
  }, lookMs);
  const cut = realTime.setTimeout(() => server.closeAllConnections(), withinMs);
  await ended;
  realTime.clearInterval(look);
  realTime.clearTimeout(cut);
}
