// A debug adapter for Node: turns what its inspector reports into events, stops and breakpoints of a debug session.
import { constants } from "node:os";
import type { DebugBreakpoint, DebugSession, DebugView, Store } from "../../../index.ts";
import { present } from "../../../present.ts";
import type { CommandEnd, RunCommandOptions } from "../../process/runCommand.ts";
import type { DrivenProgram, Move, SourceBreakpoint, Stop } from "../debugger.ts";
import { isOutdated, Reports } from "../reports.ts";
import { type Answer, type AskedProgram, refusal, serveRequests } from "../requests.ts";
import { Breakpoints, exceptionFilters } from "./breakpoints.ts";
import { type Debuggee, startDebuggee } from "./debuggee.ts";
import { Inspector, InspectorError, type Location, type Paused, type RemoteObject } from "./inspector.ts";
import { evaluateGlobally, mainThread, PausedProgram } from "./paused.ts";
import { Workers } from "./workers.ts";

export interface BridgeOptions extends RunCommandOptions {
  readonly sessionId: string;
  readonly commandId?: string;
  readonly name: string;
  /** The program and its arguments: the executable of Node, a JavaScript file, and so on. */
  readonly argv: readonly string[];
  /** The names whose values are masked. Default to those of the store. */
  readonly secretNames?: readonly string[];
  /** Stops at the first line. Defaults to true. */
  readonly stopOnEntry?: boolean;
}

const methods: Readonly<Record<Move, string>> = {
  continue: "Debugger.resume",
  stepIn: "Debugger.stepInto",
  next: "Debugger.stepOver",
  stepOut: "Debugger.stepOut",
};

type DebugStore = Pick<Store, "debug">;

const threadId = mainThread.id;

/** The output that the program writes before the debug session is open is kept for it up to this length. */
const earlyOutputMax = 8_192;

export class NodeBridge implements DrivenProgram, AskedProgram {
  readonly debugSession: DebugSession;
  /** The process id, known from the first stop on. */
  pid: number | undefined;
  /** Resolves when the program has ended and its end is stored. */
  readonly ended: Promise<CommandEnd>;
  readonly #store: DebugStore;
  readonly #inspector: Inspector;
  readonly #debuggee: Debuggee;
  readonly #reports: Reports;
  readonly #breakpoints: Breakpoints;
  readonly #workers: Workers;
  readonly #stopsOnEntry: boolean;
  readonly #name: string;
  readonly #urlsByScript = new Map<string, string>();
  #move: Move | "entry" = "entry";
  #nextStop = createNextStop();
  #isOver = false;
  /** The epoch of the stop at which the program waits. */
  #stoppedAt: number | undefined;
  #paused: PausedProgram | undefined;
  /** The resumptions to come that are no event of the debug session. */
  #silentResumptions = 0;

  /**
   * Starts the program, which waits before its first line, and opens the debug session in the state `configuring`.
   * Returns the end of a program that cannot be debugged because it has ended before.
   */
  static async launch(store: DebugStore, options: BridgeOptions): Promise<NodeBridge | CommandEnd> {
    const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
    let early: [string, string][] = [];
    let bridge: NodeBridge | undefined;
    const debuggee = startDebuggee(options.argv, {
      ...options,
      // The program is not read on before its output is stored: it cannot fill the memory.
      output: async (category, data) => {
        const output = decoders[category].decode(data, { stream: true });
        if (bridge === undefined)
          early = [...early, [category, output.slice(0, earlyOutputMax)] as [string, string]].slice(-10);
        else await Promise.all([options.output(category, data), bridge.#reports.event("output", { category, output })]);
        if (bridge === undefined) await options.output(category, data);
      },
    });
    try {
      const url = await debuggee.url;
      if (url === undefined) return await debuggee.ended;
      const inspector = await Inspector.connect(url);
      const { sessionId, commandId, name, argv, secretNames } = options;
      const reports = await Reports.open(store, {
        sessionId,
        name,
        adapter: "node-inspector",
        capabilities: {
          supportsConfigurationDoneRequest: true,
          supportsConditionalBreakpoints: true,
          supportsLogPoints: true,
          supportsRestartFrame: true,
          supportsSetVariable: true,
          exceptionBreakpointFilters: exceptionFilters,
        },
        payload: { argv },
        ...present({ commandId, secretNames }),
      });
      bridge = new NodeBridge(store, inspector, debuggee, reports, options);
      for (const [category, output] of early) void reports.event("output", { category, output });
      await inspector.send("Runtime.enable");
      await inspector.send("Debugger.enable");
      await bridge.#workers.follow(inspector);
      await reports.event("initialized");
      return bridge;
    } catch (error) {
      debuggee.kill();
      const end = await (bridge ?? debuggee).ended;
      if (!(error instanceof InspectorError)) throw error;
      // The program has ended while it was being prepared, perhaps because it had to.
      return options.signal?.aborted ? end : { ...end, reason: error.message };
    }
  }

  private constructor(
    store: DebugStore,
    inspector: Inspector,
    debuggee: Debuggee,
    reports: Reports,
    { argv, stopOnEntry = true }: BridgeOptions,
  ) {
    this.#store = store;
    this.#inspector = inspector;
    this.#debuggee = debuggee;
    this.#reports = reports;
    this.debugSession = reports.debugSession;
    this.#stopsOnEntry = stopOnEntry;
    this.#name = argv[1] ?? "node";
    this.#breakpoints = new Breakpoints(store, inspector, reports);
    this.#workers = new Workers(reports, threadId);
    this.#listen();
    this.ended = this.#reportEnd();
    this.ended.catch(() => undefined);
    reports.failed.catch((error) => this.#nextStop.reject(error));
  }

  #listen(): void {
    const inspector = this.#inspector;
    inspector.on<{ scriptId: string; url: string }>(
      "Debugger.scriptParsed",
      ({ scriptId, url }) => void this.#urlsByScript.set(scriptId, url),
    );
    inspector.on<Paused>("Debugger.paused", (paused) => {
      const program = new PausedProgram(inspector, paused.callFrames, this.#urlsByScript);
      this.#paused = program;
      this.#report(() => this.#reportStop(paused, program));
    });
    inspector.on("Debugger.resumed", () => {
      this.#stoppedAt = undefined;
      this.#paused = undefined;
      if (this.#silentResumptions > 0) this.#silentResumptions--;
      else void this.#reports.event("continued", { threadId, allThreadsContinued: true });
    });
    inspector.on<{ breakpointId: string; location: Location }>(
      "Debugger.breakpointResolved",
      ({ breakpointId, location }) => this.#report(() => this.#reportBreakpoint(breakpointId, location)),
    );
    // The program has finished, and waits only for its debugger to disconnect.
    inspector.on("Runtime.executionContextDestroyed", () => inspector.close());
  }

  async #reportEnd(): Promise<CommandEnd> {
    const end = await this.#debuggee.ended;
    this.#inspector.close();
    void this.#reports.event("exited", { exitCode: end.exitCode ?? 128 + signalNumber(end.signal) });
    await this.#reports.event("terminated");
    await this.#reports.send(() => this.#store.debug.close(this.#reports.run));
    this.#isOver = true;
    this.#nextStop.resolve(undefined);
    return end;
  }

  setBreakpoints(path: string, breakpoints: readonly SourceBreakpoint[]): Promise<DebugBreakpoint[]> {
    return this.#breakpoints.replace(path, breakpoints);
  }

  /** Ends the configuration, and starts the program. */
  async start(): Promise<Stop | undefined> {
    const { stopEpoch: expectedEpoch } = this.debugSession;
    const { run } = this.#reports;
    await this.#store.debug.patchState({ ...run, expectedEpoch, expectedState: "configuring", state: "running" });
    const stop = this.#nextStop.promise;
    await this.#go("Runtime.runIfWaitingForDebugger");
    return await stop;
  }

  async move(move: Move): Promise<Stop | undefined> {
    if (this.#isOver) return undefined;
    this.#nextStop = createNextStop();
    const stop = this.#nextStop.promise;
    this.#move = move;
    this.#stoppedAt = undefined;
    await this.#go(methods[move]);
    return await stop;
  }

  /** Lets the program go on. One that has ended meanwhile has no further stop, and that is no failure. */
  async #go(method: string): Promise<void> {
    try {
      await this.#inspector.send(method);
    } catch (error) {
      if (this.#inspector.isOpen || !(error instanceof InspectorError)) throw error;
    }
  }

  kill(): void {
    this.#debuggee.kill();
  }

  serve(over: AbortSignal): Promise<void> {
    return serveRequests(this.#store, this.#reports, this, over);
  }

  async answer(command: string, args: Readonly<Record<string, unknown>>): Promise<Answer> {
    try {
      return { success: true, body: await this.#answerTo(command, args) };
    } catch (error) {
      if (!(error instanceof InspectorError)) throw error;
      return refusal(error.message);
    }
  }

  async #answerTo(command: string, args: Readonly<Record<string, unknown>>): Promise<unknown> {
    const { expression, frameId, variablesReference } = args;
    if (args.threadId !== undefined && args.threadId !== threadId)
      throw new InspectorError(`only the main thread can be debugged, and not thread ${String(args.threadId)}`);
    if (Object.hasOwn(methods, command)) return await this.#moveOn(command as Move);
    switch (command) {
      case "pause":
        this.#move = "continue";
        return await this.#inspector.send("Debugger.pause");
      case "threads":
        return { threads: [mainThread, ...this.#workers.threads] };
      case "evaluate":
        return frameId === undefined
          ? await evaluateGlobally(this.#inspector, String(expression))
          : await this.#atStop().evaluate(String(expression), frameId);
      case "stackTrace":
        return await this.#atStop().stackTrace();
      case "scopes":
        return await this.#atStop().scopes(frameId);
      case "variables":
        return await this.#atStop().variables(variablesReference);
      case "setVariable":
        return await this.#atStop().setVariable(variablesReference, String(args.name), String(args.value));
      case "restartFrame":
        await this.#leaveStop("next", (program) => program.restartFrame(frameId));
        return {};
      default:
        throw new InspectorError(`${command} is not supported by Node's inspector`);
    }
  }

  #atStop(): PausedProgram {
    if (this.#paused === undefined) throw new InspectorError("the program is not stopped");
    return this.#paused;
  }

  /** Moves the program on, and does not wait for its next stop. */
  async #moveOn(move: Move): Promise<object> {
    await this.#leaveStop(move, () => this.#go(methods[move]));
    return move === "continue" ? { allThreadsContinued: true } : {};
  }

  /**
   * Lets the program leave its stop. The debug session may say that the program runs before Node does: the stop is over
   * from the first moment on, so that `follow` does not resume the program once more, at its next stop.
   */
  async #leaveStop(move: Move, leave: (program: PausedProgram) => Promise<unknown>): Promise<void> {
    const [program, stoppedAt] = [this.#atStop(), this.#stoppedAt];
    [this.#paused, this.#stoppedAt] = [undefined, undefined];
    this.#move = move;
    try {
      await leave(program);
    } catch (error) {
      // It is still stopped, for example because this frame cannot be restarted.
      if (this.#paused === undefined) [this.#paused, this.#stoppedAt] = [program, stoppedAt];
      throw error;
    }
  }

  /** Does what clients have asked for with a change of the debug session. */
  async follow({ debugSession }: DebugView): Promise<void> {
    const { state, stopEpoch, adapterRun } = debugSession;
    if (this.#isOver) return;
    if (state === "terminated" || state === "error" || adapterRun !== this.#reports.run.adapterRun)
      return this.#debuggee.stop();
    try {
      await this.#breakpoints.sync();
      // A client may have let the program go on before the store's answer to its stop has arrived here.
      if (state === "running" && this.#paused !== undefined) await this.#reports.settled;
      if (state === "running" && this.#stoppedAt !== undefined && stopEpoch > this.#stoppedAt) await this.#resume();
    } catch (error) {
      if (!(error instanceof InspectorError) && !isOutdated(error)) throw error;
    }
  }

  /** Resumes the program without an event: the debug session says that it runs. */
  async #resume(): Promise<void> {
    this.#stoppedAt = undefined;
    this.#silentResumptions++;
    this.#move = "continue";
    await this.#inspector.send(methods.continue);
  }

  /** Sends a report after those before it, unless the program is gone. */
  #report(send: () => Promise<unknown>): void {
    void this.#reports.send(async () => {
      try {
        await send();
      } catch (error) {
        if (!(error instanceof InspectorError)) throw error;
      }
    });
  }

  async #reportStop({ callFrames, reason, data, hitBreakpoints = [] }: Paused, program: PausedProgram): Promise<void> {
    const hitBreakpointIds = this.#breakpoints.adapterIdsOf(hitBreakpoints);
    const isException = reason === "exception" || reason === "promiseRejection";
    const stopReason = isException ? "exception" : stopReasonOf(reason, hitBreakpointIds.length > 0, this.#move);
    if (this.pid === undefined) await this.#reportProcess();
    if (stopReason === "entry" && !this.#stopsOnEntry) return await this.#resume();
    const { stopEpoch, applied } = await this.#reports.apply("stopped", {
      reason: stopReason,
      threadId,
      // Workers run on.
      allThreadsStopped: false,
      hitBreakpointIds,
      ...(isException ? { text: data?.description ?? String(data?.value) } : {}),
    });
    // A client may have moved the program on before this answer of the store has arrived.
    if (applied && this.#paused === program) this.#stoppedAt = stopEpoch;
    const frames = await program.frames();
    const threads = [{ ...mainThread, totalFrames: callFrames.length, frames }, ...this.#workers.threads];
    await this.#store.debug.putStop({ ...this.#reports.run, ...this.#reports.masking, stopEpoch, threads });
    const [top] = frames;
    this.#nextStop.resolve({ stopEpoch, reason: stopReason, line: top?.line ?? 0, functionName: top?.name ?? "" });
  }

  /** Reports the process. Node tells its id when it runs the program. */
  async #reportProcess(): Promise<void> {
    const { result } = await this.#inspector.send<{ result: RemoteObject }>("Runtime.evaluate", {
      expression: "process.pid",
    });
    this.pid = Number(result.value);
    await this.#reports.apply("process", {
      name: this.#name,
      systemProcessId: this.pid,
      isLocalProcess: true,
      startMethod: "launch",
    });
  }

  async #reportBreakpoint(breakpointId: string, location: Location): Promise<void> {
    const breakpoint = this.#breakpoints.at(breakpointId, location);
    if (breakpoint !== undefined) await this.#reports.apply("breakpoint", { reason: "changed", breakpoint });
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

function signalNumber(signal: NodeJS.Signals | null): number {
  return signal === null ? 0 : (constants.signals[signal] ?? 0);
}
