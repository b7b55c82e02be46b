// A program under a debug adapter: passes on what the adapter reports, and asks it for what clients want.
import {
  type DebugBreakpoint,
  type DebugSession,
  type DebugView,
  isDebugMove,
  type Store,
  StoreError,
} from "../../../index.ts";
import { sleep } from "../../../realTime.ts";
import type { CommandEnd, RunCommandOptions } from "../../process/runCommand.ts";
import type { Move, SourceBreakpoint, Stop } from "../debugger.ts";
import type { FollowingProgram } from "../drive.ts";
import { isOutdated, type Reports } from "../reports.ts";
import { type Answer, type AskedProgram, refusal, serveRequests } from "../requests.ts";
import { Breakpoints } from "./breakpoints.ts";
import { type Capabilities, lackedFor } from "./capabilities.ts";
import type { Connection } from "./connection.ts";
import { AdapterError, type AdapterEvent } from "./messageReader.ts";
import { readThreads } from "./stop.ts";

type DebugStore = Pick<Store, "debug">;

/** A stop of a thread, with the event that has reported it. */
interface ReportedStop {
  readonly epoch: number;
  readonly threadId: number | undefined;
  readonly body: Record<string, unknown> | undefined;
}

/** The time that an adapter has to end by itself when its program has ended. */
const endMs = 1_000;

export class DapBridge implements FollowingProgram, AskedProgram {
  readonly debugSession: DebugSession;
  readonly ended: Promise<CommandEnd>;
  readonly #store: DebugStore;
  readonly #connection: Connection;
  readonly #reports: Reports;
  readonly #breakpoints: Breakpoints;
  readonly #capabilities: Capabilities;
  readonly #output: RunCommandOptions["output"];
  readonly #initialized = Promise.withResolvers<void>();
  readonly #terminated = Promise.withResolvers<void>();
  #launched: Promise<unknown> = Promise.resolve();
  #nextStop = createNextStop();
  #exitCode: number | undefined;
  #failure: string | undefined;
  #isOver = false;
  #isStopping = false;
  #isTerminated = false;
  /** The stops at which threads wait, by the thread that each event has named; the last one is moved. */
  readonly #stops = new Map<number | undefined, ReportedStop>();

  constructor(
    store: DebugStore,
    connection: Connection,
    reports: Reports,
    capabilities: Capabilities,
    output: RunCommandOptions["output"],
  ) {
    this.#store = store;
    this.#connection = connection;
    this.#reports = reports;
    this.#capabilities = { ...capabilities };
    this.#output = output;
    this.debugSession = reports.debugSession;
    this.#breakpoints = new Breakpoints(store, connection, reports, this.#capabilities);
    connection.listen((event) => this.#receive(event));
    this.ended = this.#reportEnd();
    this.ended.catch(() => undefined);
    reports.failed.catch((error) => this.#nextStop.reject(error));
  }

  /** Sends launch or attach. Resolves when the adapter takes breakpoints. */
  async launch(request: "launch" | "attach", args: object, timeoutMs: number): Promise<void> {
    // Some adapters answer only after configurationDone.
    this.#launched = this.#connection.request(request, args, 2 ** 31 - 1);
    const refused = this.#launched.then(() => this.#initialized.promise);
    refused.catch(() => undefined);
    const late = new AbortController();
    const tooLate = sleep(timeoutMs, { signal: late.signal }).then(() => {
      if (!late.signal.aborted) throw new AdapterError(`${request}: no event initialized within ${timeoutMs} ms`);
    });
    try {
      await Promise.race([this.#initialized.promise, refused, tooLate]);
    } finally {
      late.abort();
    }
  }

  async setBreakpoints(path: string, breakpoints: readonly SourceBreakpoint[]): Promise<DebugBreakpoint[]> {
    const { debugSessionId } = this.#reports.run;
    const input = { debugSessionId, sourcePath: path, breakpoints: [...breakpoints] };
    const set = new Set((await this.#store.debug.setBreakpoints(input)).map(({ id }) => id));
    return (await this.#breakpoints.sync()).filter(({ id }) => set.has(id));
  }

  async start(): Promise<Stop | undefined> {
    await this.#setRunning();
    const stop = this.#nextStop.promise;
    try {
      if (this.#capabilities.supportsConfigurationDoneRequest) await this.#connection.request("configurationDone");
      await this.#launched;
    } catch (error) {
      if (!(error instanceof AdapterError)) throw error;
      this.fail(error.message);
    }
    return await stop;
  }

  /** Lets the store know that the program runs, unless it has stopped before, as one that is attached to may have. */
  async #setRunning(): Promise<void> {
    const { stopEpoch: expectedEpoch } = this.debugSession;
    const { run } = this.#reports;
    try {
      await this.#store.debug.patchState({ ...run, expectedEpoch, expectedState: "configuring", state: "running" });
    } catch (error) {
      if (!(error instanceof StoreError && error.details.reason === "epoch")) throw error;
    }
  }

  async move(move: Move): Promise<Stop | undefined> {
    const stopped = this.#lastStop;
    if (this.#isOver || stopped === undefined) return undefined;
    const others = this.#takeStops(stopped);
    this.#nextStop = createNextStop();
    const stop = this.#nextStop.promise;
    // The state changes before the request, because the adapter may report the next stop before it answers.
    await this.#store.debug.patchState({ ...this.#reports.run, expectedEpoch: stopped.epoch, state: "running" });
    await this.#request(move, stopped, others);
    return await stop;
  }

  serve(over: AbortSignal): Promise<void> {
    return serveRequests(this.#store, this.#reports, this, over);
  }

  /** Passes a request on, if the adapter is capable of it. It has as long as the client waits. */
  async answer(command: string, args: Readonly<Record<string, unknown>>, signal: AbortSignal): Promise<Answer> {
    const lacked = lackedFor(command, this.#capabilities);
    if (lacked !== undefined) return refusal(`the debug adapter is not capable of ${command}: it has no ${lacked}`);
    const moves = isDebugMove(command);
    // A client sees a stop in the store, and may leave it, before the store's answer to that stop has arrived here.
    if (moves || command === "stackTrace") await this.#reports.settled;
    const stopped = this.#lastStop;
    const stops = [...this.#stops];
    if (moves) this.#stops.clear();
    const cancels = this.#capabilities.supportsCancelRequest === true;
    try {
      const given = await this.#withThread(command, args, stopped?.threadId);
      const body = await this.#connection.request(command, given, 2 ** 31 - 1, { signal, cancels });
      // Only the thread that was named has gone on (sections Requests, Continue and Next).
      const isAlone =
        command === "continue"
          ? (body as { allThreadsContinued?: boolean })?.allThreadsContinued === false
          : given.singleThread === true && this.#capabilities.supportsSingleThreadExecutionRequests === true;
      if (moves && isAlone) this.#restore(stops.filter(([threadId]) => threadId !== given.threadId));
      return { success: true, body };
    } catch (error) {
      if (!(error instanceof AdapterError)) throw error;
      if (moves) this.#restore(stops);
      return refusal(error.message);
    }
  }

  /** Fills in the thread that stopped, which people need not name; for a pause, or when none has stopped, the first one. */
  async #withThread(command: string, args: Readonly<Record<string, unknown>>, threadId: number | undefined) {
    const isOfThread = isDebugMove(command) || command === "stackTrace" || command === "pause";
    if (args.threadId !== undefined || !isOfThread) return args;
    if (threadId !== undefined && command !== "pause") return { threadId, ...args };
    const { threads } = await this.#connection.request<{ threads?: readonly { readonly id: number }[] }>("threads");
    return { threadId: threads?.[0]?.id, ...args };
  }

  /** Notes stops that are not over after all, unless their threads have stopped again. */
  #restore(stops: readonly (readonly [number | undefined, ReportedStop])[]): void {
    const newer = [...this.#stops];
    this.#stops.clear();
    for (const [threadId, stop] of [...stops, ...newer]) this.#stops.set(threadId, stop);
  }

  get #lastStop(): ReportedStop | undefined {
    return [...this.#stops.values()].at(-1);
  }

  /** Forgets the stops of all threads, and returns those of the threads other than one. */
  #takeStops(stopped: ReportedStop): ReportedStop[] {
    const others = [...this.#stops.values()].filter((stop) => stop !== stopped);
    this.#stops.clear();
    return others;
  }

  /** Moves a thread, and all threads with it unless the adapter says that they stay: then their stops are reported again. */
  async #request(move: Move, { threadId }: ReportedStop, others: readonly ReportedStop[]): Promise<void> {
    const answer = await this.#connection.request<{ allThreadsContinued?: boolean } | undefined>(move, { threadId });
    if (move !== "continue" || answer?.allThreadsContinued !== false) return;
    for (const { body } of others) await this.#reports.send(() => this.#applied("stopped", body));
  }

  kill(): void {
    this.#isStopping = true;
    this.#connection.kill();
  }

  /** Ends the program in the way of the protocol, and then by the signals of the system. */
  async stop(): Promise<void> {
    if (this.#isStopping) return;
    this.#isStopping = true;
    await this.#disconnect();
    this.#connection.stop();
  }

  /** Ends the run with an error of the adapter. */
  fail(reason: string): void {
    // The end of the adapter says more than the request that it has not answered.
    if (!this.#connection.isOver) this.#failure ??= reason;
    this.#terminated.resolve();
  }

  async follow({ debugSession: { state, stopEpoch, adapterRun } }: DebugView): Promise<void> {
    if (this.#isOver) return;
    if (state === "terminated" || state === "error" || adapterRun !== this.#reports.run.adapterRun)
      return await this.stop();
    try {
      await this.#breakpoints.sync();
      // A client may have let the program go on before the store's answer to its stop has arrived here.
      if (state === "running") await this.#reports.settled;
      const stopped = this.#lastStop;
      if (state !== "running" || stopped === undefined || stopEpoch <= stopped.epoch) return;
      await this.#request("continue", stopped, this.#takeStops(stopped));
    } catch (error) {
      if (!(error instanceof AdapterError) && !isOutdated(error)) throw error;
    }
  }

  async #receive({ event, body }: AdapterEvent): Promise<void> {
    if (event === "output") await this.#passOn(body);
    if (event === "exited") this.#exited(body?.exitCode);
    // The others keep their values (section Events, Capabilities).
    if (event === "capabilities") Object.assign(this.#capabilities, body?.capabilities);
    // A stop is read beside the events after it, because they come before the answers of the adapter.
    await this.#reports.send(() => this.#applied(event, body));
    if (event === "initialized") this.#initialized.resolve();
    if (event !== "terminated") return;
    this.#isTerminated = true;
    this.#terminated.resolve();
  }

  /** Applies an event. One that the store cannot take is noted, so that an odd adapter does not end its program. */
  async #applied(event: string, body: Record<string, unknown> | undefined): Promise<void> {
    try {
      const threadId = typeof body?.threadId === "number" ? body.threadId : undefined;
      if (event === "continued" && body?.allThreadsContinued !== false) this.#stops.clear();
      if (event === "continued" || (event === "thread" && body?.reason === "exited")) this.#stops.delete(threadId);
      const { stopEpoch: epoch, state } = await this.#reports.apply(event, body);
      if (event !== "stopped" || state !== "stopped") return;
      this.#stops.delete(threadId);
      this.#stops.set(threadId, { epoch, threadId, body });
      this.#readStop(epoch, threadId, String(body?.reason)).catch((error) => this.#nextStop.reject(error));
    } catch (error) {
      if (!(error instanceof StoreError && error.code === "invalid_input")) throw error;
      const output = `the event ${event} of the debug adapter was refused: ${error.message}\n`;
      await this.#reports.apply("output", { category: "console", output });
    }
  }

  async #passOn(body: Record<string, unknown> | undefined): Promise<void> {
    const { category, output } = body ?? {};
    if (typeof output !== "string" || output === "") return;
    if (category === "stdout" || category === "stderr") await this.#output(category, Buffer.from(output));
  }

  async #readStop(stopEpoch: number, threadId: number | undefined, reason: string): Promise<void> {
    let [line, functionName] = [0, ""];
    try {
      const threads = await readThreads(this.#connection, threadId);
      const [top] = threads[0]?.frames ?? [];
      if (top !== undefined) [line, functionName] = [top.line, top.name];
      if (threads.length > 0)
        await this.#store.debug.putStop({ ...this.#reports.run, ...this.#reports.masking, stopEpoch, threads });
    } catch (error) {
      const isRefused = error instanceof StoreError && error.code === "invalid_input";
      if (!(error instanceof AdapterError) && !isOutdated(error) && !isRefused) throw error;
    }
    this.#nextStop.resolve({ stopEpoch, reason, line, functionName });
  }

  /** Notes the exit code. An adapter that does not report the end of debugging is not waited for. */
  #exited(exitCode: unknown): void {
    if (typeof exitCode === "number") this.#exitCode = exitCode;
    void sleep(endMs, { ref: false }).then(() => this.#terminated.resolve());
  }

  async #reportEnd(): Promise<CommandEnd> {
    await Promise.race([this.#terminated.promise, this.#connection.ended]);
    // The adapter may report the exit code after the end of debugging.
    await this.#disconnect();
    this.#connection.stop();
    const { exitCode, signal, reason, ...end } = await this.#connection.ended;
    this.#isOver = true;
    this.#isStopping ||= end.timedOut;
    const problem = this.#problemOf(exitCode, signal);
    if (problem === undefined && !this.#isTerminated) await this.#reports.event("terminated");
    await this.#reports.send(() => this.#close(problem));
    this.#nextStop.resolve(undefined);
    this.#initialized.resolve();
    if (this.#exitCode !== undefined) return { ...end, exitCode: this.#exitCode, signal: null };
    if (this.#isStopping) return { ...end, exitCode: null, signal: signal ?? "SIGTERM" };
    return { ...end, exitCode: null, signal: null, reason: problem ?? "the debug adapter has reported no exit code" };
  }

  /** Returns the reason of an end that is not that of the program. */
  #problemOf(exitCode: number | null, signal: NodeJS.Signals | null): string | undefined {
    if (this.#failure !== undefined) return this.#failure;
    if (this.#isTerminated || this.#isStopping || this.#exitCode !== undefined) return undefined;
    return this.#connection.problemOf({ exitCode, signal });
  }

  async #close(problem: string | undefined): Promise<void> {
    const failed = { outcome: "error", reason: problem?.slice(0, 1_000) } as const;
    await this.#store.debug.close({ ...this.#reports.run, ...(problem === undefined ? {} : failed) });
  }

  async #disconnect(): Promise<void> {
    try {
      await this.#connection.request("disconnect", { terminateDebuggee: true }, endMs);
    } catch (error) {
      if (!(error instanceof AdapterError)) throw error;
    }
  }
}

/** Marks a promise as handled: it may be rejected while no caller waits for it. */
function createNextStop(): PromiseWithResolvers<Stop | undefined> {
  const stop = Promise.withResolvers<Stop | undefined>();
  stop.promise.catch(() => undefined);
  return stop;
}
