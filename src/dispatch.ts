// From a request to its answer: look the operation up, check the input, make a body of it, tell what came out. Knows no thread, port or database.

import type { Driver, Job, Runnable, Settled } from "./driver.ts";
import { StoreError, toWireFailure } from "./errors.ts";
import type { Limits } from "./limits.ts";
import { shapeOf } from "./model/replyShape.ts";
import {
  type Caller,
  type Change,
  type Context,
  checkCaller,
  type Idempotency,
  NotYet,
  type Operation,
  type ServerState,
} from "./operation.ts";
import { recordChanges } from "./operations/changes.ts";
import { claimKey, type KeyedRequest, releaseKey, storeReply } from "./operations/idempotency.ts";
import type { Body } from "./sql.ts";
import type { Answer } from "./wire.ts";

export type OperationTable = Readonly<Record<string, Readonly<Record<string, AnyOperation>>>>;
// biome-ignore lint/suspicious/noExplicitAny: an operation is invariant in its input; only `any` admits every one.
export type AnyOperation = Operation<any, any, any>;

/** A call whose input has been checked. */
export interface Call {
  readonly name: string;
  readonly operation: AnyOperation;
  readonly input: never;
  readonly caller: Caller;
  /** How long it may be parked. */
  readonly waitMs: number;
  /** Of the first call of a job: the idempotency key that stands for all its calls. */
  readonly envelopeKey?: EnvelopeKey | undefined;
}

export interface EnvelopeKey extends Idempotency {
  readonly actor: string | undefined;
}

/** What became of a job: an answer for each call, or one answer for all, or a reason to wait. */
export interface Outcome {
  readonly answers: readonly Answer[];
  /** Set when the job's only call found nothing yet: park it on these topics; `answers` holds what to say when its time is over. */
  readonly parkOn: readonly string[] | undefined;
}

export interface Dispatched {
  /** One for each job that was begun. */
  readonly outcomes: readonly Outcome[];
  /** What the committed jobs have touched. */
  readonly topics: ReadonlySet<string>;
  readonly wrote: boolean;
}

export interface Dispatcher {
  /** Looks up the operation and checks its input: the admission of a call. Fails with unknown_operation or invalid_input. */
  decodeCall(name: unknown, wire: unknown, caller: Caller): Call;
  /** Runs jobs, each of calls that succeed or fail together, in one transaction. */
  runTransaction(jobs: readonly (readonly Call[])[], budgetMs: number): Promise<Dispatched>;
}

interface DispatcherOptions {
  readonly operations: OperationTable;
  readonly driver: Driver;
  readonly limits: Limits;
  serverState(): ServerState;
  /** Told of every failure that is a fault of ours, with its cause. */
  onInternal(error: StoreError): void;
  /** Told of the tokens that committed calls have used. */
  onUsed?(tokenId: string, at: Date): void;
}

export function createDispatcher({
  operations,
  driver,
  limits,
  serverState,
  onInternal,
  onUsed,
}: DispatcherOptions): Dispatcher {
  const table = new Map(
    Object.entries(operations).flatMap(([entity, verbs]) =>
      Object.entries(verbs).map(([verb, one]) => [`${entity}.${verb}`, one]),
    ),
  );

  return {
    decodeCall(name, wire, caller) {
      const operation = typeof name === "string" ? table.get(name) : undefined;
      if (operation === undefined)
        throw new StoreError("unknown_operation", `there is no operation ${String(name).slice(0, 100)}`);
      checkCaller(caller);
      const input = operation.decode(wire);
      return { name: name as string, operation, input, caller, waitMs: operation.waitMs(input) };
    },

    async runTransaction(all, budgetMs) {
      const jobs = sharablePrefix(all);
      const traces = jobs.map(() => new Trace());
      const driverJobs = jobs.map((calls, index) => driverJob(calls, traces[index] as Trace, limits, serverState));
      const group = await driver.transact(driverJobs, budgetMs);
      const topics = new Set<string>();
      const outcomes = group.settled.map((settled, index) => {
        const trace = traces[index] as Trace;
        if (settled.ok) {
          for (const topic of trace.topics) topics.add(topic);
          for (const [tokenId, at] of trace.used) onUsed?.(tokenId, at);
        }
        return outcomeOf(jobs[index] as readonly Call[], settled, onInternal);
      });
      return { outcomes, topics, wrote: group.wrote };
    },
  };
}

/** What a job leaves besides rows, once it is committed. */
class Trace {
  readonly topics = new Set<string>();
  readonly used = new Map<string, Date>();

  clear(): void {
    this.topics.clear();
    this.used.clear();
  }
}

/**
 * Returns the first jobs, as many as one transaction may hold. Change rows are written last, so a call that reads them
 * cannot share a transaction with a write before it (D-044). Reads that belong together, such as rows and a cursor, must
 * see one moment, and only a transaction that writes nothing shows one.
 */
function sharablePrefix(jobs: readonly (readonly Call[])[]): readonly (readonly Call[])[] {
  let [writes, atOneMoment] = [false, false];
  for (const [index, calls] of jobs.entries()) {
    const reads = calls.every(({ operation }) => operation.access === "read");
    const together = reads && (calls.length > 1 || calls.some(({ operation }) => operation.readsChanges));
    if ((together && writes) || (!reads && atOneMoment)) return jobs.slice(0, index);
    writes ||= !reads;
    atOneMoment ||= together;
  }
  return jobs;
}

/** Turns the calls of a job into what a driver runs: bodies to start, and change rows to write last. */
function driverJob(
  calls: readonly Call[],
  trace: Trace,
  limits: Limits,
  serverState: DispatcherOptions["serverState"],
): Job {
  const envelope = keyedEnvelope(calls);
  return calls.map((call, index): Runnable => {
    let context: RunContext | undefined;
    return {
      // The first call takes the envelope's key, and the last one stores under it.
      access: envelope !== undefined && (index === 0 || index === calls.length - 1) ? "write" : call.operation.access,
      // With a key it touches that too.
      touches: isKeyed(call) || envelope !== undefined ? undefined : call.operation.touches(call.input),
      startBody(now) {
        if (index === 0) trace.clear();
        context = new RunContext(now, limits, serverState, trace);
        return envelope === undefined
          ? runCall(call, calls.length === 1, context)
          : runWithin(envelope, index, context);
      },
      writeChanges: () =>
        context === undefined || context.changes.length === 0
          ? undefined
          : recordChanges(context.changes, call.caller, context),
    };
  });
}

class RunContext implements Context {
  readonly now: Date;
  readonly limits: Limits;
  readonly changes: Change[] = [];
  readonly #serverState: DispatcherOptions["serverState"];

  constructor(now: Date, limits: Limits, serverState: DispatcherOptions["serverState"], trace: Trace) {
    this.now = now;
    this.limits = limits;
    this.#serverState = serverState;
    this.wake = (topic) => void trace.topics.add(topic);
    this.changed = (change) => void this.changes.push(change);
    this.used = (tokenId) => void trace.used.set(tokenId, now);
  }

  get serverState(): ServerState {
    return this.#serverState();
  }

  readonly wake: (topic: string) => void;
  readonly changed: (change: Change) => void;
  readonly used: (tokenId: string) => void;
}

/** With an idempotency key, look-up, run and storing of the reply are one transaction; what found nothing yet, or failed, stores nothing. */
function* runCall(call: Call, alone: boolean, context: RunContext): Body<unknown> {
  const { operation, input, caller, name } = call;
  const idempotency =
    caller.idempotency && isKeyed(call)
      ? { ...caller.idempotency, operation: name, actor: caller.actor ?? "", shape: shapeOf([operation.output]) }
      : undefined;
  if (idempotency !== undefined) {
    const stored = yield* claimKey(idempotency, context);
    if (stored !== undefined) return stored.reply;
  }
  const result = yield* operation.run(input, context);
  if (idempotency !== undefined) {
    if (result instanceof NotYet || isStep(operation, input, result)) yield* releaseKey(idempotency);
    else yield* storeReply(idempotency, operation.output.toWire(result));
  }
  if (!(result instanceof NotYet)) return operation.output.toWire(result);
  // Nothing waits among others: "nothing yet" is final, and a failure undoes them all.
  if (!alone && result.atTimeout instanceof StoreError) throw result.atTimeout;
  const atTimeout =
    result.atTimeout instanceof StoreError ? result.atTimeout : operation.output.toWire(result.atTimeout);
  return new NotYet(result.topics, atTimeout);
}

/** The calls of a job that have one key together, and the replies under it: those of earlier, or those that this run makes. */
interface KeyedEnvelope {
  readonly calls: readonly Call[];
  readonly request: KeyedRequest;
  replies: unknown[];
  stored: boolean;
}

function keyedEnvelope(calls: readonly Call[]): KeyedEnvelope | undefined {
  const key = calls[0]?.envelopeKey;
  if (key === undefined) return undefined;
  const shape = shapeOf(calls.map(({ operation }) => operation.output));
  return {
    calls,
    request: { ...key, operation: "atomically", actor: key.actor ?? "", shape },
    replies: [],
    stored: false,
  };
}

/** One look-up, before the first call, and one reply, after the last. Reads are run again: what they answer can be large, and changes nothing (D-054). */
function* runWithin(envelope: KeyedEnvelope, index: number, context: RunContext): Body<unknown> {
  const { calls, request } = envelope;
  const call = calls[index] as Call;
  if (index === 0) {
    const stored = yield* claimKey(request, context);
    envelope.stored = stored !== undefined;
    envelope.replies = stored === undefined ? [] : (stored.reply as unknown[]);
  }
  if (envelope.stored && call.operation.access === "write") return envelope.replies[index];
  const result = yield* runCall(call, false, context);
  // "Nothing yet" is final here, so it is an answer like any other.
  const wire = result instanceof NotYet ? result.atTimeout : result;
  if (envelope.stored) return wire;
  envelope.replies.push(call.operation.access === "write" ? wire : undefined);
  if (index === calls.length - 1) yield* storeReply(request, envelope.replies);
  return wire;
}

/**
 * The client makes this call again, as a part of the same request: only the last step's reply is the request's (D-053).
 */
function isStep({ again, output }: AnyOperation, input: never, result: unknown): boolean {
  return again !== undefined && again(input, output.fromWire(output.toWire(result))) !== undefined;
}

/** A read needs no key. */
function isKeyed({ operation, caller }: Call): boolean {
  return caller.idempotency !== undefined && operation.access === "write";
}

function outcomeOf(calls: readonly Call[], settled: Settled, onInternal: (error: StoreError) => void): Outcome {
  if (!settled.ok) return { answers: [failed(calls, settled, onInternal)], parkOn: undefined };
  const [head] = settled.results;
  if (calls.length === 1 && head instanceof NotYet) return { answers: [timeoutAnswer(head)], parkOn: head.topics };
  return {
    answers: settled.results.map((result) => (result instanceof NotYet ? timeoutAnswer(result) : [true, result])),
    parkOn: undefined,
  };
}

/** Returns the answer to give when the wait is over. */
function timeoutAnswer({ atTimeout }: NotYet<unknown>): Answer {
  return atTimeout instanceof StoreError ? [false, toWireFailure(atTimeout)] : [true, atTimeout];
}

/** Codes that any operation may answer with, besides its own. */
const universal = new Set<string>([
  "invalid_input",
  "constraint",
  "busy",
  "deadline_exceeded",
  "storage_full",
  "corrupt",
  "internal",
]);

function failed(
  calls: readonly Call[],
  { error, index }: Extract<Settled, { ok: false }>,
  onInternal: (error: StoreError) => void,
): Answer {
  const call = calls[index] as Call;
  const declared =
    universal.has(error.code) ||
    call.operation.errors.includes(error.code) ||
    (error.code === "idempotency_mismatch" && (isKeyed(call) || call.envelopeKey !== undefined));
  const fault = declared
    ? error
    : new StoreError("internal", `${call.name} does not declare ${error.code}`, {
        cause: error,
        outcome: error.outcome,
      });
  if (fault.code === "internal" || fault.code === "constraint" || fault.code === "corrupt") onInternal(fault);
  const details = calls.length > 1 ? { ...fault.details, index, operation: call.name } : fault.details;
  const outcome = call.operation.access === "read" && calls.length === 1 ? "not_run" : fault.outcome;
  return [false, [fault.code, fault.message, outcome, details]];
}
