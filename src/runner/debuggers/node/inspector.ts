// Node's inspector: the Chrome DevTools Protocol over a WebSocket.
// https://chromedevtools.github.io/devtools-protocol/v8/Debugger/ A client of the protocol, with the parts of its types
// that the bridge uses. Knows no store.

export interface Location {
  readonly scriptId: string;
  /** Counted from 0, as everywhere in the protocol. */
  readonly lineNumber: number;
  readonly columnNumber?: number;
}

export interface RemoteObject {
  readonly type: string;
  readonly subtype?: string;
  readonly className?: string;
  readonly value?: unknown;
  readonly unserializableValue?: string;
  readonly description?: string;
  readonly objectId?: string;
}

export interface CallFrame {
  readonly callFrameId: string;
  readonly functionName: string;
  readonly location: Location;
  readonly scopeChain: readonly { readonly type: string; readonly name?: string; readonly object: RemoteObject }[];
  readonly this: RemoteObject;
}

export interface Property {
  readonly name: string;
  readonly value?: RemoteObject;
  readonly get?: RemoteObject;
}

export interface Paused {
  readonly callFrames: readonly CallFrame[];
  readonly reason: string;
  readonly data?: RemoteObject;
  readonly hitBreakpoints?: readonly string[];
}

type Listener = (params: never) => void;

/** The debuggee refused a request, or has ended. */
export class InspectorError extends Error {
  override readonly name = "InspectorError";
}

/** The way of messages to a thread of the program. */
interface Transport {
  /** Resolves when no message can be sent any more. */
  readonly closed: Promise<void>;
  readonly isOpen: () => boolean;
  post(message: string): void;
  close(): void;
}

/** The connection to one thread of the program: the main thread has a socket, and each worker is reached through its parent. */
export class Inspector {
  readonly #transport: Transport;
  readonly #waiting = new Map<
    number,
    { resolve(result: never): void; reject(error: Error): void; readonly method: string }
  >();
  readonly #listeners = new Map<string, Listener>();
  readonly closed: Promise<void>;
  #lastId = 0;

  static async connect(url: string): Promise<Inspector> {
    const socket = new WebSocket(url);
    await new Promise<void>((resolve, reject) => {
      socket.addEventListener("open", () => resolve(), { once: true });
      socket.addEventListener("error", () => reject(new InspectorError(`${url} cannot be reached`)), { once: true });
    });
    // An error is followed by the end of the connection.
    socket.addEventListener("error", () => undefined);
    const inspector = new Inspector({
      closed: new Promise((resolve) => socket.addEventListener("close", () => resolve(), { once: true })),
      isOpen: () => socket.readyState === WebSocket.OPEN,
      post: (message) => socket.send(message),
      close: () => socket.close(),
    });
    socket.addEventListener("message", ({ data }) => inspector.#receive(JSON.parse(String(data))));
    return inspector;
  }

  private constructor(transport: Transport) {
    this.#transport = transport;
    this.closed = transport.closed;
    void this.closed.then(() => {
      for (const { reject, method } of this.#waiting.values())
        reject(new InspectorError(`${method}: the connection has ended`));
      this.#waiting.clear();
    });
  }

  get isOpen(): boolean {
    return this.#transport.isOpen();
  }

  on<Params>(method: string, listener: (params: Params) => void): void {
    this.#listeners.set(method, listener as Listener);
  }

  send<Result = unknown>(method: string, params: object = {}): Promise<Result> {
    if (!this.isOpen) return Promise.reject(new InspectorError(`${method}: the connection has ended`));
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, method });
      this.#transport.post(JSON.stringify({ id, method, params }));
    });
  }

  close(): void {
    this.#transport.close();
  }

  /**
   * Calls back with each worker that the program starts, in whichever thread. A worker that starts waits until it is told to run
   * (`Runtime.runIfWaitingForDebugger`), because its program waited for a debugger.
   */
  async followWorkers(started: (worker: Inspector, title: string) => void): Promise<void> {
    const workers = new Map<string, { readonly inspector: Inspector; readonly end: () => void }>();
    this.on<{ sessionId: string; workerInfo: { title: string } }>(
      "NodeWorker.attachedToWorker",
      ({ sessionId, workerInfo }) => {
        const { promise: closed, resolve: end } = Promise.withResolvers<void>();
        const inspector = new Inspector({
          closed,
          isOpen: () => this.isOpen && workers.has(sessionId),
          post: (message) => {
            // Its answer says only that the message was passed on, and the end of the worker is an event.
            this.send("NodeWorker.sendMessageToWorker", { sessionId, message }).catch(() => undefined);
          },
          close: () => undefined,
        });
        workers.set(sessionId, { inspector, end });
        started(inspector, workerInfo.title);
      },
    );
    this.on<{ sessionId: string; message: string }>(
      "NodeWorker.receivedMessageFromWorker",
      ({ sessionId, message }) => {
        const { inspector } = workers.get(sessionId) ?? {};
        if (inspector !== undefined) inspector.#receive(JSON.parse(message));
      },
    );
    const detach = (sessionId: string) => {
      const { end } = workers.get(sessionId) ?? {};
      workers.delete(sessionId);
      end?.();
    };
    this.on<{ sessionId: string }>("NodeWorker.detachedFromWorker", ({ sessionId }) => detach(sessionId));
    void this.closed.then(() => [...workers.keys()].forEach(detach));
    await this.send("NodeWorker.enable", { waitForDebuggerOnStart: true });
  }

  #receive({
    id,
    method,
    params,
    result,
    error,
  }: {
    id?: number;
    method?: string;
    params?: never;
    result?: never;
    error?: { message: string };
  }): void {
    if (method !== undefined) {
      this.#listeners.get(method)?.(params as never);
      return;
    }
    const waiting = this.#waiting.get(id as number);
    this.#waiting.delete(id as number);
    if (error === undefined) waiting?.resolve(result as never);
    else waiting?.reject(new InspectorError(`${waiting.method}: ${error.message}`));
  }
}
