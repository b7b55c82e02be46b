// Calls of the API with the token of this tab, and streams that go on by themselves after a cut.
import { Slices } from "./slices.ts";
import { untilVisible, whileVisible } from "./visibility.ts";

/** A failure that the server has reported: https://www.rfc-editor.org/rfc/rfc9457 */
export class Problem extends Error {
  readonly status: number;
  readonly code: string;
  readonly retryable: boolean;
  readonly details: Readonly<Record<string, unknown>>;
  constructor(
    status: number,
    code: string,
    message: string,
    retryable: boolean,
    details: Readonly<Record<string, unknown>> = {},
  ) {
    super(message);
    this.details = details;
    this.status = status;
    this.code = code;
    this.retryable = retryable;
  }
}

/** The sender of the requests. A server with an authentication of its own may know no token and no account. */
export interface Self {
  readonly tokenId?: string;
  readonly scopes: readonly string[];
  readonly account?: { readonly id: string; readonly name: string };
}

/** Receives what the page shows of its connection. */
export interface Watcher {
  /** Receives true when the server answers again, and false when it cannot be reached. */
  onConnection(isConnected: boolean): void;
  /** Receives a token that the server refuses. */
  onUnauthorized(): void;
}

const storageKey = "debug-server-db.token";
const retryMsMin = 500;
const retryMsMax = 10_000;

export class Api {
  readonly #watcher: Watcher;
  #token = sessionStorage.getItem(storageKey) ?? "";
  #self: Self | undefined;
  #isConnected = true;
  /** The times that the last calls took, in milliseconds. */
  readonly latencies: number[] = [];

  constructor(watcher: Watcher) {
    this.#watcher = watcher;
  }

  get hasToken(): boolean {
    return this.#token !== "";
  }

  /** Keeps the token for this tab, and asks the server whose it is. */
  async signIn(token: string): Promise<Self> {
    this.#token = token;
    sessionStorage.setItem(storageKey, token);
    return await this.readSelf();
  }

  get self(): Self | undefined {
    return this.#self;
  }

  signOut(): void {
    this.#token = "";
    this.#self = undefined;
    sessionStorage.removeItem(storageKey);
  }

  async readSelf(): Promise<Self> {
    this.#self = (await (await this.#send("v1/self", { method: "GET" })).json()) as Self;
    return this.#self;
  }

  /** Checks whether the token covers a scope. Writing does not cover reading. */
  may(scope: string): boolean {
    const { scopes = [] } = this.#self ?? {};
    return scopes.includes("admin") || scopes.includes(scope);
  }

  /** Calls an operation, such as "sessions.list". */
  async call<Result>(operation: string, input: object = {}, signal?: AbortSignal): Promise<Result> {
    const startedMs = performance.now();
    const response = await this.#send(`v1/${operation}`, body(input, signal));
    const result = (await response.json()) as Result;
    this.latencies.push(performance.now() - startedMs);
    if (this.latencies.length > 200) this.latencies.shift();
    return result;
  }

  /** Calls an operation that waits for something to happen, which says nothing about the speed of the server. */
  async wait<Result>(operation: string, input: object, signal: AbortSignal): Promise<Result> {
    return (await (await this.#send(`v1/${operation}`, body(input, signal))).json()) as Result;
  }

  /** Gets a path that needs no token, or the bytes of a file. */
  async get(path: string): Promise<Response> {
    return await this.#send(path, { method: "GET" }, [200, 503]);
  }

  /**
   * Yields the items of a stream. After a cut it goes on from the input that `inputOf` returns then. Ends with the stream,
   * or when the signal fires. A hidden tab follows nothing: a browser has few connections for all tabs of a server.
   */
  async *follow<Item>(operation: string, inputOf: () => object, signal: AbortSignal): AsyncGenerator<Item, void> {
    for (let pauseMs = retryMsMin; !signal.aborted; pauseMs = Math.min(2 * pauseMs, retryMsMax)) {
      await untilVisible(signal);
      const visible = whileVisible(signal);
      try {
        const response = await this.#send(`v1/${operation}`, {
          ...body(inputOf(), visible.signal),
          headers: { accept: "application/x-ndjson", "content-type": "application/json" },
        });
        for await (const line of linesOf(response.body as ReadableStream<Uint8Array>)) {
          pauseMs = retryMsMin;
          if ("end" in line) return;
          if ("error" in line) throw problemOf(line.error as ProblemJson);
          if ("item" in line) yield line.item as Item;
        }
      } catch (error) {
        if (signal.aborted) return;
        if (visible.signal.aborted) continue;
        if (error instanceof Problem && !error.retryable) throw error;
      } finally {
        visible.end();
      }
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }

  async #send(path: string, init: RequestInit, statuses: readonly number[] = [200]): Promise<Response> {
    const headers = new Headers(init.headers);
    if (this.#token !== "") headers.set("authorization", `Bearer ${this.#token}`);
    let response: Response;
    try {
      response = await fetch(new URL(path, document.baseURI), { ...init, headers, cache: "no-store" });
    } catch (error) {
      if (init.signal?.aborted) throw error;
      this.#connected(false);
      throw new Problem(0, "unreachable", "the server cannot be reached", true);
    }
    if (statuses.includes(response.status)) {
      this.#connected(true);
      return response;
    }
    const body = (await response.json().catch(() => ({}))) as ProblemJson;
    // A proxy whose server is away answers for it, and not in the words of the store.
    this.#connected(body.code !== undefined || response.status < 500);
    if (response.status === 401) this.#watcher.onUnauthorized();
    throw problemOf({ status: response.status, ...body });
  }

  #connected(isConnected: boolean): void {
    if (isConnected === this.#isConnected) return;
    this.#isConnected = isConnected;
    this.#watcher.onConnection(isConnected);
  }
}

interface ProblemJson {
  readonly status?: number;
  readonly code?: string;
  readonly detail?: string;
  readonly title?: string;
  readonly retryable?: boolean;
  readonly details?: Readonly<Record<string, unknown>>;
}

function problemOf({ status = 0, code = "unknown", detail, title, retryable, details }: ProblemJson): Problem {
  const isTransient = retryable ?? (code === "unknown" && status >= 500);
  return new Problem(
    status,
    code,
    detail ?? title ?? `the server answered with status ${status}`,
    isTransient,
    details,
  );
}

function body(input: object, signal: AbortSignal | undefined): RequestInit {
  return {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(input),
    ...(signal === undefined ? {} : { signal }),
  };
}

/** Yields the lines of JSON in a body. A last line without its end was cut, and is left out. */
async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<Record<string, unknown>, void> {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  const slices = new Slices();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = lines.pop() as string;
      for (const line of lines) {
        yield JSON.parse(line) as Record<string, unknown>;
        await slices.turn();
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
