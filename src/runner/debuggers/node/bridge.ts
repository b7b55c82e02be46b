// The debug adapter of the demo: turns what Node's inspector reports into events, stops and breakpoints of a debug
// session, and numbers the events.
import { type DebugBreakpoint, type DebugSession, type Store, StoreError } from "../../../index.ts";
import { Breakpoints, type DebugRun, type SourceBreakpoint } from "./breakpoints.ts";
import { type Debuggee, type DebuggeeOptions, startDebuggee } from "./debuggee.ts";
import { Inspector, InspectorError, type Location, type Paused } from "./inspector.ts";
import { readFrames } from "./variables.ts";

export interface BridgeOptions extends Omit<DebuggeeOptions, "output"> {
  readonly sessionId: string;
  readonly commandId?: string;
  readonly name: string;
  /** The names whose values are masked. Default to those of the store. */
  readonly secretNames?: readonly string[];
  /** Receives the output of the program, in addition to the debug session. */
  output?(category: "stdout" | "stderr", text: string): void;
}

export type Move = "continue" | "stepIn" | "next" | "stepOut";

const methods: Readonly<Record<Move, string>> = {
  continue: "Debugger.resume",
  stepIn: "Debugger.stepInto",
  next: "Debugger.stepOver",
  stepOut: "Debugger.stepOut",
};

/** One stop, after its frames and variables have been stored. */
export interface Stop {
  readonly stopEpoch: number;
  readonly reason: string;
  readonly line: number;
  readonly functionName: string;
}

type DebugStore = Pick<Store, "debug">;

/** The bridge reports Node's main thread only. */
const threadId = 1;

export class NodeBridge {
  readonly debugSession: DebugSession;
  readonly pid: number;
  /** Resolves when the program has ended and its end is stored. */
  readonly ended: Promise<{ readonly exitCode: number; readonly signal: NodeJS.Signals | null }>;
  readonly #store: DebugStore;
  readonly #inspector: Inspector;
  readonly #debuggee: Debuggee;
  readonly #run: DebugRun;
  readonly #masking: { readonly secretNames?: string[] };
  readonly #breakpoints: Breakpoints;
  readonly #urlsByScript = new Map<string, string>();
  #lastSeq = 0;
  #move: Move | "entry" = "entry";
  #nextStop = createNextStop();
  #over = false;
  /** The last of the reports to the store, which go out one after the other. */
  #lastReport: Promise<unknown> = Promise.resolve();

  /** Starts the program, which waits before its first line, and opens the debug session in the state `configuring`. */
  static async launch(store: DebugStore, options: BridgeOptions): Promise<NodeBridge> {
    const earlyOutput: [string, string][] = [];
    let bridge: NodeBridge | undefined;
    const debuggee = await startDebuggee({
      ...options,
      output: (category, text) => {
        options.output?.(category, text);
        if (bridge === undefined) earlyOutput.push([category, text]);
        else bridge.#event("output", { category, output: text });
      },
    });
    try {
      const inspector = await Inspector.connect(debuggee.url);
      const { sessionId, commandId, name, argv, secretNames } = options;
      const masking = secretNames === undefined ? {} : { secretNames: [...secretNames] };
      const debugSession = await store.debug.open({
        sessionId,
        name,
        adapter: "node-inspector",
        capabilities: {
          supportsConfigurationDoneRequest: true,
          supportsConditionalBreakpoints: true,
          supportsLogPoints: true,
        },
        payload: { argv, pid: debuggee.pid },
        ...(commandId === undefined ? {} : { commandId }),
        ...masking,
      });
      bridge = new NodeBridge(store, inspector, debuggee, debugSession, masking);
      for (const [category, output] of earlyOutput) bridge.#event("output", { category, output });
      await inspector.send("Runtime.enable");
      await inspector.send("Debugger.enable");
      bridge.#event("initialized");
      bridge.#event("process", {
        name: argv[0] ?? "node",
        systemProcessId: debuggee.pid,
        isLocalProcess: true,
        startMethod: "launch",
      });
      await bridge.#lastReport;
      return bridge;
    } catch (error) {
      debuggee.kill("SIGKILL");
      await debuggee.ended.catch(() => undefined);
      throw error;
    }
  }

  private constructor(
    store: DebugStore,
    inspector: Inspector,
    debuggee: Debuggee,
    debugSession: DebugSession,
    masking: { readonly secretNames?: string[] },
  ) {
    this.#store = store;
    this.#inspector = inspector;
    this.#debuggee = debuggee;
    this.debugSession = debugSession;
    this.pid = debuggee.pid;
    this.#run = { debugSessionId: debugSession.id, adapterRun: debugSession.adapterRun };
    this.#masking = masking;
    this.#breakpoints = new Breakpoints(store, inspector, this.#run, masking);
    this.#listen();
    this.ended = this.#reportEnd();
    this.ended.catch(() => undefined);
  }

  #listen(): void {
    const inspector = this.#inspector;
    inspector.on<{ scriptId: string; url: string }>(
      "Debugger.scriptParsed",
      ({ scriptId, url }) => void this.#urlsByScript.set(scriptId, url),
    );
    inspector.on<Paused>("Debugger.paused", (paused) => this.#report(() => this.#reportStop(paused)));
    inspector.on("Debugger.resumed", () => this.#event("continued", { threadId, allThreadsContinued: true }));
    inspector.on<{ breakpointId: string; location: Location }>(
      "Debugger.breakpointResolved",
      ({ breakpointId, location }) => this.#report(() => this.#reportBreakpoint(breakpointId, location)),
    );
    // The program has finished, and waits only for its debugger to disconnect.
    inspector.on("Runtime.executionContextDestroyed", () => inspector.close());
  }

  async #reportEnd() {
    const ending = await this.#debuggee.ended;
    this.#inspector.close();
    this.#event("exited", { exitCode: ending.exitCode });
    this.#event("terminated");
    await this.#lastReport;
    this.#over = true;
    this.#nextStop.resolve(undefined);
    return ending;
  }

  /** Replaces the breakpoints of a file. The program may be stopped or running. */
  setBreakpoints(path: string, breakpoints: readonly SourceBreakpoint[]): Promise<DebugBreakpoint[]> {
    return this.#breakpoints.replace(path, breakpoints);
  }

  /** Ends the configuration, and starts the program. Resolves with its first stop, at its first line. */
  async start(): Promise<Stop | undefined> {
    const { stopEpoch: expectedEpoch } = this.debugSession;
    await this.#store.debug.patchState({ ...this.#run, expectedEpoch, expectedState: "configuring", state: "running" });
    const stop = this.#nextStop.promise;
    await this.#inspector.send("Runtime.runIfWaitingForDebugger");
    return await stop;
  }

  /** Resolves with the next stop, or with undefined when the program has ended instead. */
  async move(move: Move): Promise<Stop | undefined> {
    if (this.#over) return undefined;
    this.#nextStop = createNextStop();
    const stop = this.#nextStop.promise;
    this.#move = move;
    await this.#inspector.send(methods[move]);
    return await stop;
  }

  kill(signal: NodeJS.Signals = "SIGKILL"): void {
    this.#debuggee.kill(signal);
  }

  #event(event: string, body?: Record<string, unknown>): void {
    this.#report(() => this.#applyEvent(event, body));
  }

  #applyEvent(event: string, body?: Record<string, unknown>) {
    const seq = ++this.#lastSeq;
    return this.#store.debug.applyEvent({
      ...this.#run,
      ...this.#masking,
      seq,
      event,
      ...(body === undefined ? {} : { body }),
    });
  }

  /**
   * Sends a report after those before it. Ignores that the program is gone, or that its debug session has been closed.
   */
  #report(send: () => Promise<unknown>): void {
    this.#lastReport = this.#lastReport.then(send).catch((error: unknown) => {
      if (error instanceof InspectorError) return;
      const closedCodes = ["conflict", "invalid_transition", "not_found", "closed"];
      if (error instanceof StoreError && closedCodes.includes(error.code)) return;
      this.#nextStop.reject(error);
    });
  }

  async #reportStop({ callFrames, reason, data, hitBreakpoints = [] }: Paused): Promise<void> {
    const hitBreakpointIds = this.#breakpoints.adapterIdsOf(hitBreakpoints);
    const isException = reason === "exception" || reason === "promiseRejection";
    const stopReason = isException ? "exception" : stopReasonOf(reason, hitBreakpointIds.length > 0, this.#move);
    const { stopEpoch } = await this.#applyEvent("stopped", {
      reason: stopReason,
      threadId,
      allThreadsStopped: true,
      hitBreakpointIds,
      ...(isException ? { text: data?.description ?? String(data?.value) } : {}),
    });
    const frames = await readFrames(this.#inspector, callFrames, this.#urlsByScript);
    const threads = [{ id: threadId, name: "main", totalFrames: callFrames.length, frames }];
    await this.#store.debug.putStop({ ...this.#run, ...this.#masking, stopEpoch, threads });
    const [top] = frames;
    this.#nextStop.resolve({ stopEpoch, reason: stopReason, line: top?.line ?? 0, functionName: top?.name ?? "" });
  }

  async #reportBreakpoint(breakpointId: string, location: Location): Promise<void> {
    const breakpoint = this.#breakpoints.at(breakpointId, location);
    if (breakpoint !== undefined) await this.#applyEvent("breakpoint", { reason: "changed", breakpoint });
  }
}

/** Marks a promise as handled: it may be rejected while no caller waits for it. */
function createNextStop(): PromiseWithResolvers<Stop | undefined> {
  const stop = Promise.withResolvers<Stop | undefined>();
  stop.promise.catch(() => undefined);
  return stop;
}

function stopReasonOf(inspectorReason: string, isHit: boolean, move: Move | "entry"): string {
  if (isHit) return "breakpoint";
  if (inspectorReason.startsWith("Break on start")) return "entry";
  return move === "continue" ? "pause" : "step";
}
