// Starts an adapter that speaks the Debug Adapter Protocol over its pipes, and a bridge that passes its messages to the
// store unchanged.
import { type ChildProcessWithoutNullStreams, execFileSync, spawn, spawnSync } from "node:child_process";
import { accessSync, constants, readdirSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { DebugProtocol } from "@vscode/debugprotocol";
import { type DebugScope, type DebugSession, type DebugThread, type Store, StoreError } from "../../../src/index.ts";
import { present } from "../../../src/present.ts";

export interface Adapter {
  readonly name: "lldb" | "gdb" | "debugpy";
  readonly argv: readonly string[];
}

/** Returns the newest of lldb's adapters on PATH; it is called lldb-vscode up to version 17. */
export function findLldb(): Adapter | undefined {
  for (const name of ["lldb-dap", "lldb-vscode"]) {
    const [file] = onPath(new RegExp(`^${name}(?:-\\d+)?$`)).toSorted((a, b) =>
      b.localeCompare(a, "en", { numeric: true }),
    );
    if (file !== undefined) return { name: "lldb", argv: [file] };
  }
  return undefined;
}

/** Returns a gdb that is an adapter: from version 14 on. */
export function findGdb(): Adapter | undefined {
  for (const file of onPath(/^gdb$/)) {
    const [, major] = /^GNU gdb .*?(\d+)\.\d+/.exec(execFileSync(file, ["--version"], { encoding: "utf8" })) ?? [];
    if (Number(major) >= 14) return { name: "gdb", argv: [file, "-i", "dap"] };
  }
  return undefined;
}

/** Returns a Python with debugpy. */
export function findDebugpy(): Adapter | undefined {
  const hasDebugpy = (file: string) => spawnSync(file, ["-c", "import debugpy"], { stdio: "ignore" }).status === 0;
  const file = onPath(/^python3$/).find(hasDebugpy);
  return file === undefined ? undefined : { name: "debugpy", argv: [file, "-m", "debugpy.adapter"] };
}

export function findCompiler(): string | undefined {
  return onPath(/^(?:cc|gcc|clang)$/)[0];
}

function onPath(name: RegExp): string[] {
  return (process.env.PATH ?? "").split(delimiter).flatMap((folder) => {
    try {
      return readdirSync(folder)
        .filter((file) => name.test(file))
        .map((file) => join(folder, file))
        .filter(isExecutable);
    } catch {
      return [];
    }
  });
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * A connection that sends messages over pipes:
 * https://microsoft.github.io/debug-adapter-protocol/overview#base-protocol
 */
class Connection {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #waiting = new Map<number, PromiseWithResolvers<DebugProtocol.Response>>();
  readonly ended: Promise<void>;
  #input = Buffer.alloc(0);
  #seq = 0;
  #onEvent: (event: DebugProtocol.Event) => void = () => undefined;

  constructor(argv: readonly string[]) {
    const [file = "", ...rest] = argv;
    this.#child = spawn(file, rest, { stdio: "pipe" });
    this.#child.stderr.resume();
    this.#child.stdin.on("error", () => undefined);
    this.#child.stdout.on("data", (data: Buffer) => this.#receive(data));
    this.ended = new Promise((resolve) => this.#child.once("close", () => resolve()));
    void this.ended.then(() => {
      for (const { reject } of this.#waiting.values()) reject(new Error("the adapter has ended"));
    });
  }

  onEvent(listener: (event: DebugProtocol.Event) => void): void {
    this.#onEvent = listener;
  }

  async request<Response extends DebugProtocol.Response>(
    command: string,
    args: object = {},
  ): Promise<Response["body"]> {
    const seq = ++this.#seq;
    const text = JSON.stringify({ seq, type: "request", command, arguments: args } satisfies DebugProtocol.Request);
    const waiting = Promise.withResolvers<DebugProtocol.Response>();
    this.#waiting.set(seq, waiting);
    this.#child.stdin.write(`Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
    const response = await waiting.promise;
    if (!response.success) throw new Error(`${command}: ${response.message}`);
    return response.body;
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }

  #receive(data: Buffer): void {
    this.#input = Buffer.concat([this.#input, data]);
    for (;;) {
      const head = this.#input.indexOf("\r\n\r\n");
      const [, length] = /Content-Length: (\d+)/i.exec(this.#input.subarray(0, Math.max(0, head)).toString()) ?? [];
      if (head === -1 || length === undefined || this.#input.length < head + 4 + Number(length)) return;
      const message = JSON.parse(
        this.#input.subarray(head + 4, head + 4 + Number(length)).toString(),
      ) as DebugProtocol.ProtocolMessage;
      this.#input = this.#input.subarray(head + 4 + Number(length));
      if (message.type === "event") this.#onEvent(message as DebugProtocol.Event);
      if (message.type === "response")
        this.#waiting.get((message as DebugProtocol.Response).request_seq)?.resolve(message as DebugProtocol.Response);
    }
  }
}

/** The event that the test waits for: a stop that is stored completely, or undefined at the end of the program. */
export type Reached = { readonly stopEpoch: number; readonly threadId: number } | undefined;

export class AdapterBridge {
  readonly debugSession: DebugSession;
  readonly #store: Store;
  readonly #connection: Connection;
  #initialized = Promise.withResolvers<void>();
  #reached = Promise.withResolvers<Reached>();
  #stored: Promise<unknown> = Promise.resolve();

  /** Starts an adapter, and opens its debug session; with `restartRun`, one that exists already. */
  static async open(
    store: Store,
    sessionId: string,
    { name, argv }: Adapter,
    restartRun?: number,
  ): Promise<AdapterBridge> {
    const connection = new Connection(argv);
    const capabilities = await connection.request<DebugProtocol.InitializeResponse>("initialize", {
      adapterID: name,
      linesStartAt1: true,
      columnsStartAt1: true,
    });
    const debugSession = await store.debug.open({
      ...{ sessionId, name, adapter: name, capabilities: { ...capabilities } },
      ...present({ restartRun }),
    });
    return new AdapterBridge(store, connection, debugSession);
  }

  private constructor(store: Store, connection: Connection, debugSession: DebugSession) {
    this.#store = store;
    this.#connection = connection;
    this.debugSession = debugSession;
    connection.onEvent((event) => this.#receive(event));
    void connection.ended.then(() => this.#reached.resolve(undefined));
  }

  get #target() {
    return { debugSessionId: this.debugSession.id, adapterRun: this.debugSession.adapterRun };
  }

  /** Launches the program, and resolves to its first stop. `configure` sets the breakpoints before it runs. */
  async launch(args: object, configure: () => Promise<unknown>): Promise<Reached> {
    const launched = this.#connection.request("launch", args);
    await this.#initialized.promise;
    await configure();
    const reached = this.#reached.promise;
    const { stopEpoch: expectedEpoch } = this.debugSession;
    await this.#store.debug.patchState({ ...this.#target, expectedEpoch, state: "running" });
    await this.#connection.request("configurationDone");
    await launched;
    return await reached;
  }

  async setBreakpoints(path: string, breakpoints: DebugProtocol.SourceBreakpoint[]) {
    const rows = await this.#store.debug.setBreakpoints({
      debugSessionId: this.debugSession.id,
      sourcePath: path,
      breakpoints,
    });
    const answer = await this.#connection.request<DebugProtocol.SetBreakpointsResponse>("setBreakpoints", {
      source: { path },
      breakpoints,
    });
    await this.#bind(rows, answer.breakpoints);
    return rows;
  }

  async setFunctionBreakpoints(breakpoints: DebugProtocol.FunctionBreakpoint[]) {
    const rows = await this.#store.debug.setBreakpoints({
      debugSessionId: this.debugSession.id,
      kind: "function",
      breakpoints,
    });
    const answer = await this.#connection.request<DebugProtocol.SetFunctionBreakpointsResponse>(
      "setFunctionBreakpoints",
      { breakpoints },
    );
    await this.#bind(rows, answer.breakpoints);
    return rows;
  }

  async #bind(
    rows: readonly { readonly id: string }[],
    breakpoints: readonly DebugProtocol.Breakpoint[],
  ): Promise<void> {
    if (rows.length === 0) return;
    const bound = rows.map(({ id }, index) => ({
      breakpointId: id,
      breakpoint: breakpoints[index] as DebugProtocol.Breakpoint,
    }));
    await this.#store.debug.bindBreakpoints({ ...this.#target, bound });
  }

  /** Moves the program on, and resolves to its next stop. Adapters need not send `continued` after such a request. */
  async move(
    command: "continue" | "next" | "stepIn" | "stepOut",
    { stopEpoch, threadId }: NonNullable<Reached>,
  ): Promise<Reached> {
    this.#reached = Promise.withResolvers();
    const reached = this.#reached.promise;
    // The state changes before the request, because the adapter may report the next stop before it answers.
    await this.#store.debug.patchState({ ...this.#target, expectedEpoch: stopEpoch, state: "running" });
    await this.#connection.request(command, { threadId });
    return await reached;
  }

  /** Returns the threads as the adapter has them now, each with the names of its frames. */
  async threads(): Promise<{ readonly id: number; readonly name: string; readonly frames: readonly string[] }[]> {
    const { threads } = await this.#connection.request<DebugProtocol.ThreadsResponse>("threads");
    return await Promise.all(
      threads.map(async ({ id, name }) => {
        const { frames } = await this.#readThread({ id, name }, false);
        return { id, name, frames: frames?.map((frame) => frame.name) ?? [] };
      }),
    );
  }

  /** Lets one thread go on alone, as the adapter answers, and checks that the store then has the others stopped. */
  async continueAlone({ threadId, stopEpoch }: NonNullable<Reached>): Promise<void> {
    const args = { threadId, singleThread: true };
    const answer = await this.#connection.request<DebugProtocol.ContinueResponse>("continue", args);
    const alone = answer?.allThreadsContinued === false ? { threadId } : {};
    await this.#store.debug.patchState({
      ...{ ...this.#target, expectedEpoch: stopEpoch, state: "running" },
      ...alone,
    });
  }

  async end(): Promise<void> {
    await this.#stored;
    this.#connection.kill();
    await this.#connection.ended;
  }

  #receive({ seq, event, body }: DebugProtocol.Event): void {
    this.#stored = this.#stored
      .then(async () => {
        const bodyPart = body === undefined || body === null ? {} : { body };
        const { stopEpoch } = await this.#store.debug.applyEvent({
          ...this.#target,
          seq,
          event,
          ...bodyPart,
        });
        if (event === "initialized") this.#initialized.resolve();
        if (event === "stopped") await this.#readStop(stopEpoch, body);
        if (event === "terminated") this.#reached.resolve(undefined);
      })
      .catch((error: unknown) => this.#reached.reject(error));
  }

  async #readStop(stopEpoch: number, { threadId = 0 }: DebugProtocol.StoppedEvent["body"]): Promise<void> {
    const answer = await this.#connection.request<DebugProtocol.ThreadsResponse>("threads");
    const threads = await Promise.all(answer.threads.map((thread) => this.#readThread(thread, thread.id === threadId)));
    try {
      await this.#store.debug.putStop({ ...this.#target, stopEpoch, threads });
    } catch (error) {
      if (!(error instanceof StoreError && error.code === "conflict")) throw error;
    }
    this.#reached.resolve({ stopEpoch, threadId });
  }

  async #readThread({ id, name }: DebugProtocol.Thread, isStopped: boolean): Promise<DebugThread> {
    const { stackFrames, totalFrames } = await this.#connection.request<DebugProtocol.StackTraceResponse>(
      "stackTrace",
      { threadId: id, levels: 20 },
    );
    const frames: DebugThread["frames"] = [...stackFrames];
    const [top, ...rest] = frames;
    if (top === undefined || !isStopped) return { id, name, frames };
    const scopes = await this.#readScopes(top.id);
    return { id, name, frames: [{ ...top, scopes }, ...rest], ...present({ totalFrames }) };
  }

  async #readScopes(frameId: number): Promise<DebugScope[]> {
    const { scopes } = await this.#connection.request<DebugProtocol.ScopesResponse>("scopes", { frameId });
    return Promise.all(
      scopes.map(async (scope) => {
        if (scope.name === "Registers" || scope.presentationHint === "registers") return scope;
        const { variables } = await this.#connection.request<DebugProtocol.VariablesResponse>("variables", {
          variablesReference: scope.variablesReference,
        });
        return { ...scope, variables };
      }),
    );
  }
}
