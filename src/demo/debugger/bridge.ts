// Between Node's inspector and the store: what the inspector says becomes events, stops and breakpoints of a debug session. It is the adapter, so it
// numbers the events.
import { pathToFileURL } from "node:url";
import { StoreError } from "../../errors.ts";
import type { DebugBreakpoint, DebugSession } from "../../model/debug.ts";
import type { Breakpoint, SourceBreakpoint } from "../../model/debugProtocol.ts";
import type { Store } from "../../storeTypes.ts";
import { Inspector, InspectorError, type Location, type Paused } from "./inspector.ts";
import { type Inspected, type InspectedOptions, startInspected } from "./program.ts";
import { readFrames, sourceOf } from "./variables.ts";

export interface BridgeOptions extends Omit<InspectedOptions, "output"> {
  readonly sessionId: string;
  readonly commandId?: string;
  readonly name: string;
  /** Names of which values are masked, instead of the store's own. */
  readonly secretNames?: readonly string[];
  /** What the program writes is told here too. */
  output?(category: "stdout" | "stderr", text: string): void;
}

export type Move = "continue" | "stepIn" | "next" | "stepOut";

const methods: Readonly<Record<Move, string>> = {
  continue: "Debugger.resume",
  stepIn: "Debugger.stepInto",
  next: "Debugger.stepOver",
  stepOut: "Debugger.stepOut",
};

/** One stop, when what is seen there has been stored. */
export interface Stop {
  readonly stopEpoch: number;
  readonly reason: string;
  readonly line: number;
  readonly functionName: string;
}

type DebugStore = Pick<Store, "debug">;
interface Bound {
  readonly row: DebugBreakpoint;
  readonly adapterId: number;
  /** The inspector's; undefined when it refused. */
  readonly breakpointId: string | undefined;
}

/** Node has one thread that this bridge sees. */
const threadId = 1;

export class NodeBridge {
  readonly debugSession: DebugSession;
  readonly pid: number;
  /** Resolves when the program has ended and the store knows. */
  readonly ended: Promise<{ readonly exitCode: number; readonly signal: NodeJS.Signals | null }>;
  readonly #store: DebugStore;
  readonly #inspector: Inspector;
  readonly #inspected: Inspected;
  readonly #masking: { readonly secretNames?: string[] };
  readonly #urls = new Map<string, string>();
  readonly #bound = new Map<string, Bound[]>();
  #lastSeq = 0;
  #lastAdapterId = 0;
  #move: Move | "entry" = "entry";
  #stop = awaited();
  #over = false;
  /** What is said is stored in that order. */
  #said: Promise<unknown> = Promise.resolve();

  /** Starts the program, which waits at its first line, and opens the debug session in `configuring`. */
  static async launch(store: DebugStore, options: BridgeOptions): Promise<NodeBridge> {
    const early: [string, string][] = [];
    let bridge: NodeBridge | undefined;
    const inspected = await startInspected({
      ...options,
      output: (category, text) => {
        options.output?.(category, text);
        if (bridge === undefined) early.push([category, text]);
        else bridge.#event("output", { category, output: text });
      },
    });
    try {
      const inspector = await Inspector.connect(inspected.url);
      const { sessionId, commandId, name, argv, secretNames } = options;
      const debugSession = await store.debug.open({
        sessionId,
        name,
        adapter: "node-inspector",
        capabilities: {
          supportsConfigurationDoneRequest: true,
          supportsConditionalBreakpoints: true,
          supportsLogPoints: true,
        },
        payload: { argv, pid: inspected.pid },
        ...(commandId === undefined ? {} : { commandId }),
        ...(secretNames === undefined ? {} : { secretNames: [...secretNames] }),
      });
      bridge = new NodeBridge(store, inspector, inspected, debugSession, secretNames);
      for (const [category, output] of early) bridge.#event("output", { category, output });
      await inspector.send("Runtime.enable");
      await inspector.send("Debugger.enable");
      bridge.#event("initialized");
      bridge.#event("process", {
        name: argv[0] ?? "node",
        systemProcessId: inspected.pid,
        isLocalProcess: true,
        startMethod: "launch",
      });
      await bridge.#said;
      return bridge;
    } catch (error) {
      inspected.kill("SIGKILL");
      await inspected.ended.catch(() => undefined);
      throw error;
    }
  }

  private constructor(
    store: DebugStore,
    inspector: Inspector,
    inspected: Inspected,
    debugSession: DebugSession,
    secretNames: readonly string[] | undefined,
  ) {
    this.#store = store;
    this.#inspector = inspector;
    this.#inspected = inspected;
    this.debugSession = debugSession;
    this.pid = inspected.pid;
    this.#masking = secretNames === undefined ? {} : { secretNames: [...secretNames] };
    inspector.on<{ scriptId: string; url: string }>(
      "Debugger.scriptParsed",
      ({ scriptId, url }) => void this.#urls.set(scriptId, url),
    );
    inspector.on<Paused>("Debugger.paused", (paused) => this.#say(() => this.#paused(paused)));
    inspector.on("Debugger.resumed", () => this.#event("continued", { threadId, allThreadsContinued: true }));
    inspector.on<{ breakpointId: string; location: Location }>(
      "Debugger.breakpointResolved",
      ({ breakpointId, location }) => this.#say(() => this.#resolved(breakpointId, location)),
    );
    // The program is done, and stays only because somebody debugs it.
    inspector.on("Runtime.executionContextDestroyed", () => inspector.close());
    this.ended = inspected.ended.then(async (ending) => {
      inspector.close();
      this.#event("exited", { exitCode: ending.exitCode });
      this.#event("terminated");
      await this.#said;
      this.#over = true;
      this.#stop.resolve(undefined);
      return ending;
    });
    this.ended.catch(() => undefined);
  }

  get #of() {
    return { debugSessionId: this.debugSession.id, adapterRun: this.debugSession.adapterRun };
  }

  /** Replaces the breakpoints of a file; the program may be stopped, or run. */
  async setBreakpoints(path: string, breakpoints: readonly SourceBreakpoint[]): Promise<DebugBreakpoint[]> {
    const { debugSessionId, adapterRun } = this.#of;
    const rows = await this.#store.debug.setBreakpoints({
      debugSessionId,
      sourcePath: path,
      breakpoints: [...breakpoints],
    });
    const before = this.#bound.get(path) ?? [];
    const kept = before.filter(({ row }) => rows.some(({ id }) => id === row.id));
    for (const { breakpointId } of before.filter((one) => !kept.includes(one))) {
      if (breakpointId !== undefined) await this.#inspector.send("Debugger.removeBreakpoint", { breakpointId });
    }
    this.#bound.set(path, kept);
    for (const row of rows.filter(({ id }) => !kept.some((one) => one.row.id === id))) {
      const adapterId = ++this.#lastAdapterId;
      const { breakpointId, breakpoint } = await this.#set(path, row.requested as SourceBreakpoint, adapterId);
      this.#bound.get(path)?.push({ row, adapterId, breakpointId });
      await this.#store.debug.bindBreakpoints({
        debugSessionId,
        adapterRun,
        bound: [{ breakpointId: row.id, breakpoint }],
        ...this.#masking,
      });
    }
    const { breakpoints: stored } = await this.#store.debug.get({ debugSessionId, events: 0 });
    return stored.filter(({ sourcePath }) => sourcePath === path);
  }

  async #set(path: string, { line, column, condition, hitCondition, logMessage }: SourceBreakpoint, id: number) {
    if (hitCondition !== undefined) {
      return {
        breakpointId: undefined,
        breakpoint: { id, verified: false, message: "Node's inspector has no hit conditions", reason: "failed" },
      };
    }
    try {
      const asked = {
        url: pathToFileURL(path).href,
        lineNumber: line - 1,
        ...(column === undefined ? {} : { columnNumber: column - 1 }),
        condition: logMessage === undefined ? (condition ?? "") : logpoint(logMessage, condition),
      };
      const { breakpointId, locations } = await this.#inspector.send<{
        breakpointId: string;
        locations: readonly Location[];
      }>("Debugger.setBreakpointByUrl", asked);
      const [location] = locations;
      return {
        breakpointId,
        breakpoint: location === undefined ? { id, verified: false, reason: "pending" } : placeOf(path, id, location),
      };
    } catch (error) {
      if (!(error instanceof InspectorError)) throw error;
      return { breakpointId: undefined, breakpoint: { id, verified: false, message: error.message, reason: "failed" } };
    }
  }

  /** configurationDone: the program begins. Resolves with its first stop, at its first line. */
  async start(): Promise<Stop | undefined> {
    const { stopEpoch: expectedEpoch } = this.debugSession;
    await this.#store.debug.patchState({ ...this.#of, expectedEpoch, expectedState: "configuring", state: "running" });
    const stop = this.#stop.promise;
    await this.#inspector.send("Runtime.runIfWaitingForDebugger");
    return await stop;
  }

  /** Resolves with the next stop, or with undefined when the program has ended instead. */
  async move(move: Move): Promise<Stop | undefined> {
    if (this.#over) return undefined;
    this.#stop = awaited();
    const stop = this.#stop.promise;
    this.#move = move;
    await this.#inspector.send(methods[move]);
    return await stop;
  }

  kill(signal: NodeJS.Signals = "SIGKILL"): void {
    this.#inspected.kill(signal);
  }

  #event(event: string, body?: Record<string, unknown>): void {
    this.#say(() => this.#apply(event, body));
  }

  #apply(event: string, body?: Record<string, unknown>) {
    const seq = ++this.#lastSeq;
    return this.#store.debug.applyEvent({
      ...this.#of,
      ...this.#masking,
      seq,
      event,
      ...(body === undefined ? {} : { body }),
    });
  }

  /** A program that is gone says nothing more, and a debug session that was closed by others takes nothing more. */
  #say(tell: () => Promise<unknown>): void {
    this.#said = this.#said.then(tell).catch((error: unknown) => {
      if (error instanceof InspectorError) return;
      if (error instanceof StoreError && ["conflict", "invalid_transition", "not_found", "closed"].includes(error.code))
        return;
      this.#stop.reject(error);
    });
  }

  async #paused({ callFrames, reason, data, hitBreakpoints = [] }: Paused): Promise<void> {
    const bound = [...this.#bound.values()].flat();
    const hitBreakpointIds = hitBreakpoints.flatMap(
      (id) => bound.find(({ breakpointId }) => breakpointId === id)?.adapterId ?? [],
    );
    const why = reasonOf(reason, hitBreakpointIds.length > 0, this.#move);
    const text =
      reason === "exception" || reason === "promiseRejection" ? { text: data?.description ?? String(data?.value) } : {};
    const { stopEpoch } = await this.#apply("stopped", {
      reason: why,
      threadId,
      allThreadsStopped: true,
      hitBreakpointIds,
      ...text,
    });
    const frames = await readFrames(this.#inspector, callFrames, this.#urls);
    const threads = [{ id: threadId, name: "main", totalFrames: callFrames.length, frames }];
    await this.#store.debug.putStop({ ...this.#of, ...this.#masking, stopEpoch, threads });
    this.#stop.resolve({ stopEpoch, reason: why, line: frames[0]?.line ?? 0, functionName: frames[0]?.name ?? "" });
  }

  async #resolved(breakpointId: string, location: Location): Promise<void> {
    for (const [path, bound] of this.#bound) {
      const one = bound.find((other) => other.breakpointId === breakpointId);
      if (one !== undefined)
        await this.#apply("breakpoint", { reason: "changed", breakpoint: placeOf(path, one.adapterId, location) });
    }
  }
}

/** Nobody may be waiting when it fails. */
function awaited(): PromiseWithResolvers<Stop | undefined> {
  const stop = Promise.withResolvers<Stop | undefined>();
  stop.promise.catch(() => undefined);
  return stop;
}

function placeOf(path: string, id: number, { lineNumber, columnNumber }: Location): Breakpoint {
  const source = sourceOf(pathToFileURL(path).href);
  return {
    id,
    verified: true,
    source,
    line: lineNumber + 1,
    ...(columnNumber === undefined ? {} : { column: columnNumber + 1 }),
  };
}

function reasonOf(reason: string, hit: boolean, move: Move | "entry"): string {
  if (reason === "exception" || reason === "promiseRejection") return "exception";
  if (hit) return "breakpoint";
  if (reason.startsWith("Break on start")) return "entry";
  return move === "continue" ? "pause" : "step";
}

/** Prints instead of stopping: the condition of a breakpoint that is never true. What stands in braces is evaluated. */
function logpoint(message: string, condition: string | undefined): string {
  const parts = message
    .split(/(\{[^{}]*\})/)
    .map((part) => (/^\{.*\}$/s.test(part) ? `(${part.slice(1, -1)})` : JSON.stringify(part)));
  const print = `(console.log([${parts.join(", ")}].join("")), false)`;
  return condition === undefined ? print : `(${condition}) && ${print}`;
}
