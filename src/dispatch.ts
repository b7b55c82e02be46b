// From a request to its answer: look the operation up, check the input, make a body of it, tell what came out. Knows no thread, port or database.

import type { Driver, Job, Runnable, Settled } from "./drivers/driver.ts";
import { StoreError, toWireFailure } from "./errors.ts";
import type { Limits } from "./limits.ts";
import { type Caller, type Change, type Context, checkCaller, Later, type Operation, type Serving } from "./operation.ts";
import { recordChanges } from "./operations/changes.ts";
import { claimKey, releaseKey, storeReply } from "./operations/idempotency.ts";
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
  /** Fails unknown_operation or invalid_input. */
  admit(name: unknown, wire: unknown, caller: Caller): Call;
  /** Runs jobs, each of calls that succeed or fail together, in one transaction. */
  run(jobs: readonly (readonly Call[])[], budgetMs: number): Promise<Dispatched>;
}

interface DispatcherOptions {
  readonly operations: OperationTable;
  readonly driver: Driver;
  readonly limits: Limits;
  serving(): Serving;
  /** Told of every failure that is a fault of ours, with its cause. */
  onInternal(error: StoreError): void;
  /** Told of the tokens that committed calls have used. */
  onUsed?(tokenId: string, at: Date): void;
}

export function createDispatcher({ operations, driver, limits, serving, onInternal, onUsed }: DispatcherOptions): Dispatcher {
  const table = new Map(Object.entries(operations).flatMap(([entity, verbs]) => Object.entries(verbs).map(([verb, one]) => [`${entity}.${verb}`, one])));

  return {
    admit(name, wire, caller) {
      const operation = typeof name === "string" ? table.get(name) : undefined;
      if (operation === undefined) throw new StoreError("unknown_operation", `there is no operation ${String(name).slice(0, 100)}`);
      checkCaller(caller);
      const input = operation.decode(wire);
      return { name: name as string, operation, input, caller, waitMs: operation.waitMs(input) };
    },

    async run(all, budgetMs) {
      const jobs = all.slice(0, endOf(all));
      const traces = jobs.map(() => new Trace());
      const prepared = jobs.map((calls, index) => prepare(calls, traces[index] as Trace, limits, serving));
      const group = await driver.transact(prepared, budgetMs);
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
 * Changes are written last, so a call that reads them cannot share a transaction with a write before it. And reads that belong together, rows and a
 * cursor for one, are to see one moment, which a transaction has only if all of it reads.
 */
function endOf(jobs: readonly (readonly Call[])[]): number {
  let [writes, atOneMoment] = [false, false];
  for (const [index, calls] of jobs.entries()) {
    const reads = calls.every(({ operation }) => operation.access === "read");
    const together = reads && (calls.length > 1 || calls.some(({ operation }) => operation.readsChanges));
    if ((together && writes) || (!reads && atOneMoment)) return index;
    writes ||= !reads;
    atOneMoment ||= together;
  }
  return jobs.length;
}

function prepare(calls: readonly Call[], trace: Trace, limits: Limits, serving: DispatcherOptions["serving"]): Job {
  return calls.map((call, index): Runnable => {
    let context: RunContext | undefined;
    return {
      access: call.operation.access,
      // With a key it touches that too.
      touches: isKeyed(call) ? undefined : call.operation.touches(call.input),
      start(now) {
        if (index === 0) trace.clear();
        context = new RunContext(now, limits, serving, trace);
        return runCall(call, calls.length === 1, context);
      },
      finish: () => (context === undefined || context.changes.length === 0 ? undefined : recordChanges(context.changes, call.caller, context)),
    };
  });
}

class RunContext implements Context {
  readonly now: Date;
  readonly limits: Limits;
  readonly changes: Change[] = [];
  readonly #serving: DispatcherOptions["serving"];

  constructor(now: Date, limits: Limits, serving: DispatcherOptions["serving"], trace: Trace) {
    this.now = now;
    this.limits = limits;
    this.#serving = serving;
    this.wake = (topic) => void trace.topics.add(topic);
    this.changed = (change) => void this.changes.push(change);
    this.used = (tokenId) => void trace.used.set(tokenId, now);
  }

  get serving(): Serving {
    return this.#serving();
  }

  readonly wake: (topic: string) => void;
  readonly changed: (change: Change) => void;
  readonly used: (tokenId: string) => void;
}

/** With an idempotency key, look-up, run and storing of the reply are one transaction; what found nothing yet, or failed, stores nothing. */
function* runCall(call: Call, alone: boolean, context: RunContext): Body<unknown> {
  const { operation, input, caller, name } = call;
  const idempotency = caller.idempotency && isKeyed(call) ? { ...caller.idempotency, operation: name, actor: caller.actor ?? "" } : undefined;
  if (idempotency !== undefined) {
    const stored = yield* claimKey(idempotency, context);
    if (stored !== undefined) return stored.reply;
  }
  const result = yield* operation.run(input, context);
  if (idempotency !== undefined) {
    if (result instanceof Later) yield* releaseKey(idempotency);
    else yield* storeReply(idempotency, operation.output.toWire(result));
  }
  if (!(result instanceof Later)) return operation.output.toWire(result);
  // Nothing waits among others: "nothing yet" is final, and a failure undoes them all.
  if (!alone && result.whenOver instanceof StoreError) throw result.whenOver;
  const whenOver = result.whenOver instanceof StoreError ? result.whenOver : operation.output.toWire(result.whenOver);
  return new Later(result.topics, whenOver);
}

/** A read needs no key. What works in steps is made to be repeated, and its steps are all the same request. */
function isKeyed({ operation, caller }: Call): boolean {
  return caller.idempotency !== undefined && operation.access === "write" && operation.again === undefined;
}

function outcomeOf(calls: readonly Call[], settled: Settled, onInternal: (error: StoreError) => void): Outcome {
  if (!settled.ok) return { answers: [failed(calls, settled, onInternal)], parkOn: undefined };
  const [head] = settled.results;
  if (calls.length === 1 && head instanceof Later) return { answers: [over(head)], parkOn: head.topics };
  return { answers: settled.results.map((result) => (result instanceof Later ? over(result) : [true, result])), parkOn: undefined };
}

/** The answer of a call that found nothing. */
function over({ whenOver }: Later<unknown>): Answer {
  return whenOver instanceof StoreError ? [false, toWireFailure(whenOver)] : [true, whenOver];
}

/** Codes that any operation may answer with, besides its own. */
const universal = new Set<string>(["invalid_input", "constraint", "busy", "deadline_exceeded", "storage_full", "corrupt", "internal"]);

function failed(calls: readonly Call[], { error, index }: Extract<Settled, { ok: false }>, onInternal: (error: StoreError) => void): Answer {
  const call = calls[index] as Call;
  const declared = universal.has(error.code) || call.operation.errors.includes(error.code) || (error.code === "idempotency_mismatch" && isKeyed(call));
  const fault = declared ? error : new StoreError("internal", `${call.name} does not declare ${error.code}`, { cause: error, outcome: error.outcome });
  if (fault.code === "internal" || fault.code === "constraint" || fault.code === "corrupt") onInternal(fault);
  const details = calls.length > 1 ? { ...fault.details, index, operation: call.name } : fault.details;
  const outcome = call.operation.access === "read" && calls.length === 1 ? "not_run" : fault.outcome;
  return [false, [fault.code, fault.message, outcome, details]];
}
