// Turns requests into answers: finds the operation, checks the input, creates the body and encodes its result. Knows no
// thread, port or database.
import { type Caller, checkCaller } from "./caller.ts";
import type { Change, Context, CountedEntity, CountOf, Measure, ServerState, Use } from "./context.ts";
import type { Driver, Group, Job, Runnable, Settled } from "./driver.ts";
import { bodyErrors, faults, StoreError, tokenErrors, toWireFailure } from "./errors.ts";
import { isKeyed, KeyedEnvelope, keyed } from "./keyed.ts";
import type { Limits } from "./limits.ts";
import { valueBytes } from "./load.ts";
import {
  type AnyOperation,
  BlocksNeeded,
  type Call,
  Held,
  type Lane,
  NotYet,
  type OperationTable,
  type Parked,
} from "./operation.ts";
import { findAuthority, requireAuthority } from "./operations/authority.ts";
import { type MadeChange, recordChanges, topicsOfChange } from "./operations/changes.ts";
import type { Body } from "./sql.ts";
import type { Answer } from "./wire.ts";

/** The outcome of a job. */
export interface JobOutcome extends Parked {
  /** One answer for each call, or a single failure for all of them. None if the job was not begun. */
  readonly answers: readonly Answer[];
  /**
   * The topics to park on; set when a job of one call found nothing yet. `answers` then holds the answer to give when
   * the wait is over.
   */
  readonly parkOn: readonly string[] | undefined;
  /** True when the job is parked because it found only what other transactions have locked. */
  readonly isHeld?: boolean;
  /** The blocks of archived logs that the job needs to run; it has changed nothing. `answers` is for a store without. */
  readonly blocksNeeded?: BlocksNeeded | undefined;
  /** True when the job was not begun because none may begin now. One without answers was dropped otherwise. */
  readonly refused?: boolean;
  /** The time that the job has used, in milliseconds. */
  readonly usedMs: number;
}

/** The lane of a call, and the calls with which it keeps its order. */
export interface CallOrder {
  readonly lane: Lane;
  /** The entities on which it overtakes no earlier call of its client, and on which no urgent call overtakes it. */
  readonly entities: readonly string[];
}

/** The order of a call that no operation answers. */
const anyOrder: CallOrder = { lane: "normal", entities: [] };

/** The outcome of a transaction. */
export interface TransactionOutcome {
  /** One outcome for each job that was started. */
  readonly outcomes: readonly JobOutcome[];
  /** The topics that the committed jobs touched. */
  readonly topics: ReadonlySet<string>;
  readonly wrote: boolean;
}

export interface Dispatcher {
  /** Returns the lane of an operation, and the entities whose calls keep their order. Reads nothing but the name. */
  orderOf(name: unknown): CallOrder;
  /** Checks whether there is an operation of this name. */
  knows(name: unknown): boolean;
  /** Finds the operation of a call and checks its input. Fails with `unknown_operation` or `invalid_input`. */
  decodeCall(name: unknown, wire: unknown, caller: Caller): Call;
  /**
   * Runs jobs in one transaction; the calls of a job succeed or fail together. Starts no further job when `budgetMs`
   * have passed, so there may be fewer outcomes than jobs.
   */
  runTransaction(
    jobs: readonly (readonly Call[])[],
    budgetMs: number,
    conditions?: Conditions,
  ): Promise<TransactionOutcome>;
}

/** The conditions under which a job begins, asked at that time, and the receiver of what is committed before the rest. */
export interface Conditions {
  /** Returns false when no further job may begin at this time of the transaction. */
  mayBegin?(now: Date): boolean;
  /** Returns true when the job with this index is not wanted any more. */
  isDropped?(index: number): boolean;
  /** Receives the outcomes of the first jobs when they are committed before the others. The result holds the rest. */
  onPart?(part: TransactionOutcome): void;
  /** Receives the time that each COMMIT of rows took, in milliseconds. */
  onCommitted?(ms: number): void;
}

interface DispatcherOptions {
  readonly operations: OperationTable;
  readonly driver: Driver;
  readonly limits: Limits;
  serverState(): ServerState;
  /** Returns the chunks in a block that was fetched lately, by its name. */
  readonly block?: Context["block"] | undefined;
  /** Receives each failure that means a bug in this package or a damaged database, with its cause. */
  onInternal(error: StoreError): void;
  /** Receives each token that a committed call has used, and whether no use of it was on record. */
  onUsed?(tokenId: string, at: Date, isFirst: boolean): void;
  /** Receives what the committed calls have measured. */
  onMeasured?(measure: Measure): void;
  /** Receives the number of commands or sessions that committed calls have moved to another state. */
  onMoved?(moved: CountOf): void;
}

export function createDispatcher({
  operations,
  driver,
  limits,
  serverState,
  block = () => undefined,
  onInternal,
  onUsed,
  onMeasured,
  onMoved,
}: DispatcherOptions): Dispatcher {
  const table = new Map(
    Object.entries(operations).flatMap(([entity, verbs]) =>
      Object.entries(verbs).map(([verb, one]) => [`${entity}.${verb}`, one]),
    ),
  );

  const orders = callOrders(table);

  return {
    orderOf: (name) => (typeof name === "string" ? (orders.get(name) ?? anyOrder) : anyOrder),

    knows: (name) => typeof name === "string" && table.has(name),

    decodeCall(name, wire, caller) {
      const operation = typeof name === "string" ? table.get(name) : undefined;
      if (operation === undefined)
        throw new StoreError("unknown_operation", `there is no operation ${String(name).slice(0, 100)}`);
      checkCaller(caller);
      const input = operation.decode(wire);
      return { name: name as string, operation, input, caller, waitMs: operation.waitMs(input) };
    },

    async runTransaction(all, budgetMs, { mayBegin, isDropped, onPart, onCommitted } = {}) {
      const jobs = sharablePrefix(all);
      // Once a job was refused, no later one may overtake it.
      let refuses = false;
      const effects = jobs.map(() => new SideEffects());
      const feedReads = new Map<string, unknown>();
      const driverJobs = jobs.map((calls, index) =>
        driverJob(calls, effects[index] as SideEffects, { limits, serverState, block, feedReads }, (now) => {
          refuses ||= mayBegin?.(now) === false;
          return refuses ? "refused" : isDropped?.(index) ? "dropped" : undefined;
        }),
      );
      let ended = 0;
      const outcomeOfGroup = (group: Group): TransactionOutcome => {
        const topics = new Set<string>();
        const outcomes = group.settled.map((settled, place) => {
          const index = ended++;
          const { topics: touched, used, measured, moved, notBegun } = effects[index] as SideEffects;
          const usedMs = group.usedMs[place] as number;
          if (notBegun !== undefined)
            return { answers: [], parkOn: undefined, refused: notBegun === "refused", usedMs };
          if (settled.ok) {
            for (const topic of touched) topics.add(topic);
            for (const { tokenId, at, isFirst } of used) onUsed?.(tokenId, at, isFirst);
            if (measured !== undefined) for (const measure of measured) onMeasured?.(measure);
            if (moved !== undefined) for (const count of moved) onMoved?.(count);
          }
          return { ...outcomeOf(jobs[index] as readonly Call[], settled, onInternal), usedMs };
        });
        return { outcomes, topics, wrote: group.wrote };
      };
      return outcomeOfGroup(
        await driver.transact(driverJobs, budgetMs, {
          writeChanges,
          ...(onPart === undefined ? {} : { onPart: (part) => onPart(outcomeOfGroup(part)) }),
          ...(onCommitted === undefined ? {} : { onCommitted }),
        }),
      );
    },
  };
}

/** The reason why a job was not begun, if it was not. */
type NotBegun = "refused" | "dropped" | undefined;

/** Returns the order of each operation. Entities matter only where an urgent call could overtake others. */
function callOrders(table: ReadonlyMap<string, AnyOperation>): ReadonlyMap<string, CallOrder> {
  const entitiesOf = (name: string, { follows }: AnyOperation) => [name.slice(0, name.indexOf(".")), ...follows];
  const operations = [...table];
  const followed = new Set(operations.flatMap(([name, one]) => (one.lane === "urgent" ? entitiesOf(name, one) : [])));
  return new Map(
    operations.map(([name, one]): [string, CallOrder] => [
      name,
      { lane: one.lane, entities: entitiesOf(name, one).filter((entity) => followed.has(entity)) },
    ]),
  );
}

/** The effects of a job besides its rows; they take place once it is committed. */
class SideEffects {
  topics: string[] = [];
  used: { readonly tokenId: string; readonly at: Date; readonly isFirst: boolean }[] = [];
  /** Undefined as long as there are none, as in most jobs. */
  measured: Measure[] | undefined;
  moved: CountOf[] | undefined;
  notBegun: NotBegun;

  clear(): void {
    this.notBegun = undefined;
    this.topics = [];
    this.used = [];
    this.measured = undefined;
    this.moved = undefined;
  }
}

/**
 * Returns the longest prefix of the jobs that may share one transaction. Change rows are written last, so a call that
 * reads them cannot share a transaction with a write before it (D-044). Reads that belong together, such as rows and a
 * cursor, must see one moment, and only a transaction that writes nothing shows one.
 */
function sharablePrefix(jobs: readonly (readonly Call[])[]): readonly (readonly Call[])[] {
  let [writes, atOneMoment] = [false, false];
  for (let index = 0; index < jobs.length; index++) {
    const calls = jobs[index] as readonly Call[];
    const reads = calls.every(isRead);
    const readsChanges = calls.some(({ operation }) => operation.readsChanges);
    const together = reads && (calls.length > 1 || readsChanges);
    if (((together || readsChanges) && writes) || (!reads && atOneMoment)) return jobs.slice(0, index);
    writes ||= !reads;
    atOneMoment ||= together;
  }
  return jobs;
}

function isRead({ operation }: Call): boolean {
  return operation.access === "read";
}

/** A call as a driver runs it, and the changes and counts that it has made. */
interface DispatchedCall extends Runnable {
  madeChanges(): readonly MadeChange[];
  counts(): readonly CountOf[];
  uses(): readonly Use[];
}

/** Returns the body that writes the changes, counts and sums of these jobs, or undefined when they have made none. */
function writeChanges(jobs: readonly Job[]): Body<unknown> | undefined {
  const made = jobs.flatMap((job) => job.flatMap((call) => (call as DispatchedCall).madeChanges()));
  const counts = jobs.flatMap((job) => job.flatMap((call) => (call as DispatchedCall).counts()));
  const uses = jobs.flatMap((job) => job.flatMap((call) => (call as DispatchedCall).uses()));
  return made.length + counts.length + uses.length === 0 ? undefined : recordChanges(made, counts, uses);
}

/** Turns the calls of a job into what a driver runs: bodies to start in order, and change rows to write last. */
function driverJob(
  calls: readonly Call[],
  effects: SideEffects,
  group: GroupContext,
  whyNot: (now: Date) => NotBegun,
): Job {
  const envelope = KeyedEnvelope.of(calls);
  const totals = new JobTotals(group.limits);
  return calls.map((call, index): DispatchedCall => {
    let context: RunContext | undefined;
    return {
      access: envelope?.writesAt(index) ? "write" : call.operation.access,
      // A call under a key also touches the row of the key, which its name does not cover.
      touches: isKeyed(call) || envelope !== undefined ? undefined : call.operation.touches(call.input),
      startBody(now) {
        // The driver may run a job again, from its first call.
        if (index === 0) {
          totals.clear();
          effects.clear();
          effects.notBegun = whyNot(now);
        }
        // The failure only keeps the job from running; `notBegun` tells what it means.
        if (effects.notBegun !== undefined) throw new StoreError("busy", "not begun");
        context = new RunContext(now, group, effects, call);
        const body =
          calls.length === 1
            ? runCall(call, envelope === undefined, context)
            : totals.count(runCall(call, false, context));
        return envelope === undefined ? body : envelope.run(index, body, context);
      },
      madeChanges: () =>
        context?.changes.map((change) => ({ change, caller: call.caller, at: context?.now as Date })) ?? [],
      counts: () => context?.counts ?? [],
      uses: () => context?.uses ?? [],
    };
  });
}

/** The part of a context that the calls of a group share. */
interface GroupContext {
  readonly limits: Limits;
  readonly serverState: DispatcherOptions["serverState"];
  readonly block: Context["block"];
  /** The results of reads of the feed, by call and input. All of them see the same moment, so equal ones run once. */
  readonly feedReads: Map<string, unknown>;
}

class RunContext implements Context {
  readonly now: Date;
  readonly limits: Limits;
  readonly actor: Context["actor"];
  readonly changes: Change[] = [];
  readonly counts: CountOf[] = [];
  readonly uses: Use[] = [];
  readonly wake: (topic: string) => void;
  readonly changed: (change: Change) => void;
  readonly counted: Context["counted"];
  readonly used: Context["used"];
  readonly spent: Context["spent"];
  readonly measured: Context["measured"];
  readonly block: Context["block"];
  readonly examined: Context["examined"];
  readonly feedReads: GroupContext["feedReads"];
  readonly #serverState: DispatcherOptions["serverState"];

  constructor(
    now: Date,
    { limits, serverState, block, feedReads }: GroupContext,
    effects: SideEffects,
    { blocks, examined, caller }: Call,
  ) {
    this.now = now;
    this.actor = caller.actor;
    this.limits = limits;
    this.feedReads = feedReads;
    this.examined = examined;
    this.block = blocks === undefined ? block : (name) => blocks.get(name) ?? block(name);
    this.#serverState = serverState;
    this.wake = (topic) => void effects.topics.push(topic);
    this.changed = (change) => {
      this.changes.push(change);
      for (const topic of topicsOfChange(change)) this.wake(topic);
    };
    this.counted = (entity: CountedEntity, from, to, amount = 1) => {
      if (from === to || amount === 0) return;
      if (from !== undefined) this.counts.push({ entity, state: from, amount: -amount });
      if (to === undefined) return;
      const count = { entity, state: to, amount };
      this.counts.push(count);
      if (from !== undefined && (entity === "command" || entity === "session")) {
        effects.moved ??= [];
        effects.moved.push(count);
      }
    };
    this.spent = (use) => void this.uses.push(use);
    this.measured = (measure) => {
      effects.measured ??= [];
      effects.measured.push(measure);
    };
    this.used = (tokenId, isFirst) => void effects.used.push({ tokenId, at: now, isFirst });
  }

  get serverState(): ServerState {
    return this.#serverState();
  }
}

/**
 * Runs one call under its idempotency key. No call waits inside a job of several calls, so a `NotYet` whose answer is a
 * failure fails the job.
 */
function* runCall(call: Call, isAlone: boolean, context: RunContext): Body<unknown> {
  const { tokenId } = call.caller;
  if (tokenId !== undefined) requireAuthority(yield* findAuthority(tokenId, call.name, call.input, context.now));
  const body = isRead(call) && call.operation.readsChanges ? feedRead(call, context) : ranAndEncoded(call, context);
  const result = yield* isKeyed(call) ? keyed(call, body, context) : body;
  if (!isAlone && result instanceof NotYet && result.atTimeout instanceof StoreError) throw result.atTimeout;
  return result;
}

/**
 * The totals of a job of several calls. Such a job runs in one piece and keeps its results until its last call has run,
 * so what it does and returns has bounds.
 */
class JobTotals {
  readonly #limits: Limits;
  #statements = 0;
  #resultBytes = 0;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  clear(): void {
    [this.#statements, this.#resultBytes] = [0, 0];
  }

  /** Runs the body of a call, and fails with `invalid_input` when the job exceeds a bound. */
  *count(body: Body<unknown>): Body<unknown> {
    const { transactionStatements, resultBytes } = this.#limits;
    let next = body.next();
    while (!next.done) {
      this.#statements += next.value.weight;
      if (this.#statements > transactionStatements)
        throw new StoreError(
          "invalid_input",
          `the calls of one transaction run at most ${transactionStatements} statements (limits.transactionStatements): split them, and do what takes many rows in several transactions`,
        );
      try {
        next = body.next(yield next.value);
      } catch (error) {
        next = body.throw(error);
      }
    }
    this.#resultBytes += valueBytes(next.value);
    if (this.#resultBytes > resultBytes)
      throw new StoreError(
        "invalid_input",
        `the results of one transaction exceed ${resultBytes} bytes (limits.resultBytes): ask for fewer rows, or in several calls`,
      );
    return next.value;
  }
}

/** Runs a read of the feed, unless an equal one has run in this group. */
function* feedRead(call: Call, context: RunContext): Body<unknown> {
  const key = JSON.stringify([call.name, call.input]);
  const known = context.feedReads.get(key);
  if (known !== undefined) return known;
  const result = yield* ranAndEncoded(call, context);
  context.feedReads.set(key, result);
  return result;
}

function* ranAndEncoded({ operation: { run, output }, input }: Call, context: RunContext): Body<unknown> {
  const result = yield* run(input, context);
  if (!(result instanceof NotYet)) return output.toWire(result);
  if (result instanceof Held) return result;
  const { topics, atTimeout, parked } = result;
  return new NotYet(topics, atTimeout instanceof StoreError ? atTimeout : output.toWire(atTimeout), parked);
}

function outcomeOf(
  calls: readonly Call[],
  settled: Settled,
  onInternal: (error: StoreError) => void,
): Omit<JobOutcome, "usedMs"> {
  if (!settled.ok) {
    const { cause } = settled.error;
    return cause instanceof BlocksNeeded
      ? { answers: [failed(calls, settled, () => undefined)], parkOn: undefined, blocksNeeded: cause }
      : { answers: [failed(calls, settled, onInternal)], parkOn: undefined };
  }
  const [head] = settled.results;
  if (calls.length === 1 && head instanceof NotYet)
    return { answers: [timeoutAnswer(head)], parkOn: head.topics, ...head.parked, isHeld: head instanceof Held };
  return {
    answers: settled.results.map((result) => (result instanceof NotYet ? timeoutAnswer(result) : [true, result])),
    parkOn: undefined,
  };
}

/** Returns the answer to a call that found nothing until its wait was over. */
function timeoutAnswer({ atTimeout }: NotYet<unknown>): Answer {
  return atTimeout instanceof StoreError ? [false, toWireFailure(atTimeout)] : [true, atTimeout];
}

const undeclared: ReadonlySet<string> = new Set(bodyErrors);
/** The codes with which a call fails that its token may not make. */
const authorityErrors: ReadonlySet<string> = new Set(tokenErrors);

function failed(
  calls: readonly Call[],
  { error, index }: Extract<Settled, { ok: false }>,
  onInternal: (error: StoreError) => void,
): Answer {
  const call = calls[index] as Call;
  const declared =
    undeclared.has(error.code) ||
    (call.caller.tokenId !== undefined && authorityErrors.has(error.code)) ||
    call.operation.errors.includes(error.code) ||
    (error.code === "idempotency_mismatch" && (isKeyed(call) || call.envelopeKey !== undefined));
  const fault = declared
    ? error
    : new StoreError("internal", `${call.name} does not declare ${error.code}`, {
        cause: error,
        outcome: error.outcome,
      });
  if (faults.has(fault.code)) onInternal(fault);
  const details = calls.length > 1 ? { ...fault.details, index, operation: call.name } : fault.details;
  // A read changes nothing, whether it ran or not.
  const outcome = call.operation.access === "read" && calls.length === 1 ? "not_run" : fault.outcome;
  return [false, toWireFailure(fault, outcome, details)];
}
