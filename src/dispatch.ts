// From a request to its answer: look the operation up, check the input, make a body of it, tell what came out. Knows no thread, port or database.

import type { Driver, Job, Runnable, Settled } from "./drivers/driver.ts";
import { StoreError, toWireFailure } from "./errors.ts";
import type { Limits } from "./limits.ts";
import { type Caller, type Change, type Context, checkCaller, Later, type Operation } from "./operation.ts";
import { recordChanges } from "./operations/changes.ts";
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
  /** Figures for maintenance.stats. */
  serving(): Readonly<Record<string, number>>;
  /** Told of every failure that is a fault of ours, with its cause. */
  onInternal(error: StoreError): void;
}

export function createDispatcher({ operations, driver, limits, serving, onInternal }: DispatcherOptions): Dispatcher {
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
      const touched = jobs.map(() => new Set<string>());
      const prepared = jobs.map((calls, index) => prepare(calls, touched[index] as Set<string>, limits, serving));
      const group = await driver.transact(prepared, budgetMs);
      const topics = new Set<string>();
      const outcomes = group.settled.map((settled, index) => {
        if (settled.ok) for (const topic of touched[index] as Set<string>) topics.add(topic);
        return outcomeOf(jobs[index] as readonly Call[], settled, onInternal);
      });
      return { outcomes, topics, wrote: group.wrote };
    },
  };
}

/** Changes are written last, so a call that reads them cannot share a transaction with a write before it. */
function endOf(jobs: readonly (readonly Call[])[]): number {
  let wrote = false;
  for (const [index, calls] of jobs.entries()) {
    if (wrote && calls.some(({ operation }) => operation.readsChanges)) return index;
    wrote ||= calls.some(({ operation }) => operation.access === "write");
  }
  return jobs.length;
}

function prepare(calls: readonly Call[], topics: Set<string>, limits: Limits, serving: DispatcherOptions["serving"]): Job {
  return calls.map((call, index): Runnable => {
    let context: RunContext | undefined;
    return {
      access: call.operation.access,
      touches: call.operation.touches(call.input),
      start(now) {
        if (index === 0) topics.clear();
        context = new RunContext(now, limits, serving, topics);
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
  readonly #topics: Set<string>;

  constructor(now: Date, limits: Limits, serving: DispatcherOptions["serving"], topics: Set<string>) {
    this.now = now;
    this.limits = limits;
    this.#serving = serving;
    this.#topics = topics;
    this.wake = (topic) => void this.#topics.add(topic);
    this.changed = (change) => void this.changes.push(change);
  }

  get serving(): Readonly<Record<string, number>> {
    return this.#serving();
  }

  readonly wake: (topic: string) => void;
  readonly changed: (change: Change) => void;
}

function* runCall({ operation, input }: Call, alone: boolean, context: RunContext): Body<unknown> {
  const result = yield* operation.run(input, context);
  if (!(result instanceof Later)) return operation.output.toWire(result);
  // Nothing waits among others: "nothing yet" is final, and a failure undoes them all.
  if (!alone && result.whenOver instanceof StoreError) throw result.whenOver;
  const whenOver = result.whenOver instanceof StoreError ? result.whenOver : operation.output.toWire(result.whenOver);
  return new Later(result.topics, whenOver);
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
  const declared = universal.has(error.code) || call.operation.errors.includes(error.code);
  const fault = declared ? error : new StoreError("internal", `${call.name} does not declare ${error.code}`, { cause: error, outcome: error.outcome });
  if (fault.code === "internal" || fault.code === "constraint" || fault.code === "corrupt") onInternal(fault);
  const details = calls.length > 1 ? { ...fault.details, index, operation: call.name } : fault.details;
  const outcome = call.operation.access === "read" && calls.length === 1 ? "not_run" : fault.outcome;
  return [false, [fault.code, fault.message, outcome, details]];
}
