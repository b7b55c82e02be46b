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

export class Inspector {
  readonly #socket: WebSocket;
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
    return new Inspector(socket);
  }

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => this.#receive(JSON.parse(String(data))));
    // An error is followed by the end of the connection.
    socket.addEventListener("error", () => undefined);
    this.closed = new Promise((resolve) => socket.addEventListener("close", () => resolve(), { once: true }));
    void this.closed.then(() => {
      for (const { reject, method } of this.#waiting.values())
        reject(new InspectorError(`${method}: the connection has ended`));
      this.#waiting.clear();
    });
  }

  get isOpen(): boolean {
    return this.#socket.readyState === WebSocket.OPEN;
  }

  on<Params>(method: string, listener: (params: Params) => void): void {
    this.#listeners.set(method, listener as Listener);
  }

  send<Result = unknown>(method: string, params: object = {}): Promise<Result> {
    if (!this.isOpen) return Promise.reject(new InspectorError(`${method}: the connection has ended`));
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, method });
      this.#socket.send(JSON.stringify({ id, method, params }));
    });
  }

  close(): void {
    this.#socket.close();
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
