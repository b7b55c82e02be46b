// A debug adapter as a child process: sends requests, matches their answers, and hands out events. Knows no store.
import { PassThrough } from "node:stream";
import { realTime } from "../../../realTime.ts";
import { type CommandEnd, type RunCommandOptions, runCommand } from "../../process/runCommand.ts";
import { AdapterError, type AdapterEvent, type Message, MessageReader, type Request } from "./messageReader.ts";

/** The conditions under which a request ends without its answer. */
interface Giving {
  readonly signal?: AbortSignal;
  /** True when the adapter knows the request `cancel`. */
  readonly cancels?: boolean;
}

interface Waiting {
  resolve(body: unknown): void;
  reject(error: Error): void;
}

/** The part of what the adapter prints on stderr that is kept, to say why it has ended. */
const stderrLength = 1_000;

export class Connection {
  /** Resolves when the adapter has ended. */
  readonly ended: Promise<CommandEnd>;
  /** The error that has ended the connection, and the end of what the adapter has printed on stderr. */
  failure: AdapterError | undefined;
  lastStderr = "";
  isOver = false;
  readonly #name: string;
  readonly #timeoutMs: number;
  readonly #stdin = new PassThrough();
  readonly #stop = new AbortController();
  readonly #waiting = new Map<number, Waiting>();
  readonly #reader = new MessageReader();
  /** The events that came before somebody listened. */
  #early: AdapterEvent[] = [];
  #listener: (event: AdapterEvent) => unknown = (event) => void this.#early.push(event);
  #lastSeq = 0;

  constructor(name: string, command: readonly string[], options: RunCommandOptions, timeoutMs: number) {
    this.#name = name;
    this.#timeoutMs = timeoutMs;
    const end = runCommand(command, {
      ...options,
      stdin: this.#stdin,
      signal: this.#stop.signal,
      output: (stream, data) => (stream === "stdout" ? this.#read(data) : this.#readStderr(data)),
    });
    this.ended = end.finally(() => this.#end());
    this.ended.catch(() => undefined);
  }

  /** Resolves with the body of the answer. Fails with AdapterError when it is refused, late, or does not come. */
  request<Body = Record<string, unknown>>(
    command: string,
    args: object = {},
    timeoutMs = this.#timeoutMs,
    { signal, cancels = false }: Giving = {},
  ) {
    const isUnwanted = () => new AdapterError(`${command}: nobody waits for its answer any more`);
    if (this.isOver) return Promise.reject(new AdapterError(`${command}: ${this.#name} has ended`));
    if (signal?.aborted) return Promise.reject(isUnwanted());
    const seq = this.#send({ type: "request", command, arguments: args });
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const timer = realTime.setTimeout(() => {
      reject(new AdapterError(`${command}: ${this.#name} has not answered within ${timeoutMs} ms`));
    }, timeoutMs);
    const give = () => {
      if (cancels) this.#send({ type: "request", command: "cancel", arguments: { requestId: seq } });
      reject(isUnwanted());
    };
    signal?.addEventListener("abort", give, { once: true });
    this.#waiting.set(seq, { resolve, reject: (error) => reject(new AdapterError(`${command}: ${error.message}`)) });
    return promise.finally(() => {
      realTime.clearTimeout(timer);
      signal?.removeEventListener("abort", give);
      // An answer that comes later is ignored.
      this.#waiting.delete(seq);
    }) as Promise<Body>;
  }

  /** Hands out the events in their order. The adapter is not read on before the promise of the listener has resolved. */
  listen(listener: (event: AdapterEvent) => unknown): void {
    this.#listener = listener;
    for (const event of this.#early) void listener(event);
    this.#early = [];
  }

  /** Asks the process group of the adapter to end, and kills it when it does not. */
  stop(): void {
    this.#stop.abort();
  }

  kill(): void {
    this.#stop.abort("lost");
  }

  /** Returns the reason why the adapter has ended before its program. */
  problemOf({ exitCode, signal }: Pick<CommandEnd, "exitCode" | "signal">): string {
    if (this.failure !== undefined) return `${this.#name} does not speak the protocol: ${this.failure.message}`;
    const how = signal === null ? `with exit code ${exitCode}` : `by ${signal}`;
    const printed = this.lastStderr.trim();
    return `${this.#name} has ended ${how} before its program${printed === "" ? "" : `: ${printed}`}`;
  }

  #send(message: object): number {
    const seq = ++this.#lastSeq;
    const text = JSON.stringify({ seq, ...message });
    if (!this.isOver) this.#stdin.write(`Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
    return seq;
  }

  async #read(data: Uint8Array): Promise<void> {
    // After a fault nothing can be told apart, and what the adapter still writes must not hold it up.
    if (this.failure !== undefined) return;
    try {
      for (const message of this.#reader.read(data)) await this.#receive(message);
    } catch (error) {
      if (!(error instanceof AdapterError)) throw error;
      this.failure = error;
      this.stop();
    }
  }

  #readStderr(data: Uint8Array): void {
    this.lastStderr = (this.lastStderr + Buffer.from(data).toString()).slice(-stderrLength);
  }

  async #receive(message: Message): Promise<void> {
    if (message.type === "event") return void (await this.#listener(message));
    if (message.type === "request") return this.#refuse(message);
    const waiting = this.#waiting.get(message.request_seq);
    if (message.success) waiting?.resolve(message.body ?? {});
    else waiting?.reject(new AdapterError(message.message ?? "the adapter has refused it"));
    // The next message may be an event that this answer leads to. It is handed out after the caller has seen the answer.
    await new Promise<void>((resolve) => realTime.setImmediate(() => resolve()));
  }

  /** Answers a request of the adapter. No terminal exists here, and no second debugger. */
  #refuse({ seq, command }: Request): void {
    const message = `${command} is not supported: this client runs programs without a terminal, one for each adapter`;
    this.#send({ type: "response", request_seq: seq, command, success: false, message });
  }

  #end(): void {
    this.isOver = true;
    this.#stdin.destroy();
    for (const { reject } of this.#waiting.values()) reject(new AdapterError(`${this.#name} has ended`));
  }
}
