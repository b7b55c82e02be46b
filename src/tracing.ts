// The tracing channels of the store, for `node:diagnostics_channel`: one for calls on the caller's side, one for calls on the
// side of the database, and one for the groups in which they run. Without subscribers, nothing is built or sent.
import { tracingChannel } from "node:diagnostics_channel";
import { performance } from "node:perf_hooks";
import { type ErrorCode, type Outcome, StoreError } from "./errors.ts";
import { realTime } from "./realTime.ts";

/** A call, as far as both sides know it. Times are milliseconds since 1970, with fractions. */
interface TracedCall {
  /** The name of the operation, such as "sessions.create", or "atomically". */
  readonly operation: string;
  /** The names of the calls that `atomically` runs, once they are known. For another call it is empty. */
  operations: readonly string[];
  readonly actor: string | undefined;
  readonly requestId: string | undefined;
  /** The time at which the call was made, or has arrived. */
  readonly startedAtMs: number;
  /** The time at which it was answered; set before `asyncEnd`. */
  endedAtMs: number | undefined;
  /** `done`, or the outcome of the error. Set before `error` and `asyncEnd`, as `code` is. */
  outcome: "done" | Outcome | undefined;
  code: ErrorCode | undefined;
}

/** The message of `tracing:debug-server-db:call:*`: a call in the thread that makes it. */
export interface CallTrace extends TracedCall {
  /**
   * The trace context that is sent with the call, by https://www.w3.org/TR/trace-context/. A subscriber of `start` may set
   * it.
   */
  traceparent: string | undefined;
  /** The error with which the call failed; set before `error`. */
  error: unknown;
}

/** The message of `tracing:debug-server-db:serve:*`: a call from its arrival in a queue of the database to its answer. */
export interface ServeTrace extends TracedCall {
  readonly traceparent: string | undefined;
  /** The number of groups that the call was part of. One that waits runs again each time it is woken. */
  runs: number;
  /** The last of them. Undefined when there was none. */
  group: GroupTrace | undefined;
}

/** The message of `tracing:debug-server-db:group:*`: a transaction, and the calls that share it. */
export interface GroupTrace {
  readonly engine: "sqlite" | "postgres";
  /** True on a connection that only reads, beside the one that writes. */
  readonly onReader: boolean;
  /** The time before BEGIN. */
  readonly startedAtMs: number;
  /** The time at which the transaction had ended; set before `asyncEnd`, as all that follows is. */
  endedAtMs: number | undefined;
  /** The number of calls that it ran; those of `atomically` count as one. */
  size: number;
  /** The calls whose arrival had a subscriber. */
  calls: readonly ServeTrace[];
  /** True when it changed rows. */
  wrote: boolean;
  /** The time that COMMIT took, in milliseconds. Undefined when no rows were changed. */
  commitMs: number | undefined;
  /** The time at which COMMIT had returned. */
  committedAtMs: number | undefined;
  /** The code with which it failed as a whole. */
  code: ErrorCode | undefined;
}

/** The calls of the thread that makes them. */
export const callChannel = tracingChannel<CallTrace>("debug-server-db:call");
/** The calls on the side of the database: in its thread, and in the thread that opened the store. */
export const serveChannel = tracingChannel<ServeTrace>("debug-server-db:serve");
/** The groups on the side of the database. */
export const groupChannel = tracingChannel<GroupTrace>("debug-server-db:group");

/** Returns the milliseconds since 1970, with fractions. */
export function traceNow(): number {
  return performance.timeOrigin + realTime.elapsed();
}

/** Runs a call, and publishes it. `run` reads the trace context that it sends from the message. */
export async function tracedCall<Result>(trace: CallTrace, run: () => Promise<Result>): Promise<Result> {
  try {
    const running = callChannel.start.runStores(trace, run);
    callChannel.end.publish(trace);
    const result = await running;
    trace.outcome = "done";
    return result;
  } catch (error) {
    const { code, outcome } = error instanceof StoreError ? error : { code: undefined, outcome: undefined };
    Object.assign(trace, { error, code, outcome });
    callChannel.error.publish(trace);
    throw error;
  } finally {
    trace.endedAtMs = traceNow();
    callChannel.asyncStart.publish(trace);
    callChannel.asyncEnd.publish(trace);
  }
}

/** Publishes the arrival of a call, and returns its message. */
export function traceArrival(
  call: Pick<ServeTrace, "operation" | "operations" | "actor" | "requestId" | "traceparent">,
): ServeTrace {
  const trace: ServeTrace = {
    ...call,
    startedAtMs: traceNow(),
    endedAtMs: undefined,
    outcome: undefined,
    code: undefined,
    runs: 0,
    group: undefined,
  };
  serveChannel.start.publish(trace);
  serveChannel.end.publish(trace);
  return trace;
}

/** Publishes the answer to a call: its failure, if it failed. */
export function traceAnswer(
  trace: ServeTrace,
  failure?: { readonly code: ErrorCode; readonly outcome: Outcome },
): void {
  trace.endedAtMs = traceNow();
  trace.outcome = failure?.outcome ?? "done";
  trace.code = failure?.code;
  endServe(trace);
}

function endServe(trace: ServeTrace): void {
  if (trace.code !== undefined) serveChannel.error.publish(trace);
  serveChannel.asyncStart.publish(trace);
  serveChannel.asyncEnd.publish(trace);
}

/** Publishes the transactions of one group of calls, one after the other. */
export class GroupTracing {
  readonly #engine: GroupTrace["engine"];
  readonly #onReader: boolean;
  #open: GroupTrace | undefined;

  constructor(engine: GroupTrace["engine"], onReader: boolean) {
    this.#engine = engine;
    this.#onReader = onReader;
    this.#open = this.#begin();
  }

  /** Notes a COMMIT of rows. A transaction that had to be run call by call has several. */
  committed(ms: number): void {
    this.#open ??= this.#begin();
    this.#open.commitMs = (this.#open.commitMs ?? 0) + ms;
    this.#open.committedAtMs = traceNow();
  }

  /** Ends a transaction that ran these calls, of which some may not be traced. */
  end(calls: readonly { readonly trace: ServeTrace | undefined }[], wrote: boolean, code?: ErrorCode): void {
    if (calls.length === 0 && this.#open === undefined) return;
    const group = this.#open ?? this.#begin();
    this.#open = undefined;
    const traces: ServeTrace[] = [];
    for (const { trace } of calls) {
      if (trace === undefined) continue;
      trace.runs++;
      trace.group = group;
      traces.push(trace);
    }
    Object.assign(group, { size: calls.length, calls: traces, wrote, code, endedAtMs: traceNow() });
    endGroup(group);
  }

  #begin(): GroupTrace {
    const group: GroupTrace = {
      engine: this.#engine,
      onReader: this.#onReader,
      startedAtMs: traceNow(),
      endedAtMs: undefined,
      size: 0,
      calls: [],
      wrote: false,
      commitMs: undefined,
      committedAtMs: undefined,
      code: undefined,
    };
    groupChannel.start.publish(group);
    groupChannel.end.publish(group);
    return group;
  }
}

function endGroup(group: GroupTrace): void {
  if (group.code !== undefined) groupChannel.error.publish(group);
  groupChannel.asyncStart.publish(group);
  groupChannel.asyncEnd.publish(group);
}

/** Checks whether anybody in this thread listens to the side of the database. */
export function isServeTraced(): boolean {
  return serveChannel.hasSubscribers || groupChannel.hasSubscribers;
}

/** The groups and calls that have ended in another thread. */
export interface EndedTraces {
  readonly groups: readonly GroupTrace[];
  readonly calls: readonly ServeTrace[];
}

/** Publishes what has ended in another thread: each with all its events at once, and a group before its calls. */
export function republish({ groups, calls }: EndedTraces): void {
  for (const group of groups) {
    groupChannel.start.publish(group);
    groupChannel.end.publish(group);
    endGroup(group);
  }
  for (const call of calls) {
    serveChannel.start.publish(call);
    serveChannel.end.publish(call);
    endServe(call);
  }
}

/**
 * Collects what ends in this thread, and passes it on in the next turn of the event loop. Returns a function that stops
 * it.
 */
export function collectTraces(pass: (ended: EndedTraces) => void): () => void {
  let groups: GroupTrace[] = [];
  let calls: ServeTrace[] = [];
  const flush = (): void => {
    const ended = { groups, calls };
    [groups, calls] = [[], []];
    pass(ended);
  };
  const noteFirst = (): void => {
    if (groups.length + calls.length === 1) realTime.setImmediate(flush);
  };
  const onGroup = (message: unknown): void => {
    groups.push(message as GroupTrace);
    noteFirst();
  };
  const onCall = (message: unknown): void => {
    calls.push(message as ServeTrace);
    noteFirst();
  };
  groupChannel.asyncEnd.subscribe(onGroup);
  serveChannel.asyncEnd.subscribe(onCall);
  return () => {
    groupChannel.asyncEnd.unsubscribe(onGroup);
    serveChannel.asyncEnd.unsubscribe(onCall);
  };
}
