// Turns operations and a backend into an object with one async method for each operation. Validates and decodes on the
// caller's thread. Knows no thread, port or database.

import { traceparentIn } from "./caller.ts";
import { Courier } from "./courier.ts";
import { type ErrorCode, fromWireFailure, StoreError } from "./errors.ts";
import { Iteration } from "./iteration.ts";
import type { Limits } from "./limits.ts";
import type { AnyOperation, FollowingCall, Operation, OperationTable, Stream } from "./operation.ts";
import { outgoing, withEnvelopeKey, withTraceparent } from "./outgoing.ts";
import { isPaged, type Page, rowsOfPages } from "./pages.ts";
import { present } from "./present.ts";
import { realTime } from "./realTime.ts";
import { mapTable, recordCalls } from "./recording.ts";
import { type CallTrace, callChannel, tracedCall, traceNow } from "./tracing.ts";
import type { Answer, Backend } from "./wire.ts";

export interface CallOptions {
  /**
   * Ends the call with `aborted` when it fires. The `outcome` of the error shows whether the call had run by then. An
   * iteration fails before its next item.
   */
  readonly signal?: AbortSignal;
  /**
   * The time after which the call fails with `deadline_exceeded`, in milliseconds. The default is `limits.callMs` plus
   * the wait that the input asks for. In an iteration it applies to each page. The largest effective value is
   * 2_147_483_647.
   */
  readonly timeoutMs?: number;
  /** The caller's name in audit rows. Idempotency keys are scoped to it. */
  readonly actor?: string;
  /** The id of the request that the call is part of, for audit rows. */
  readonly requestId?: string;
  /**
   * Makes a write safe to repeat: a call with the same key and input within `limits.idempotencyMs` does not run again
   * and returns the first answer. It fails with `idempotency_mismatch` when its input differs, or when the answer was
   * stored by a release in which results have other fields. Failures are not stored. On `atomically` the key covers all
   * calls together.
   */
  readonly idempotencyKey?: string;
  /**
   * The id of the token under whose authority the call runs. The call fails, in its own transaction, as `tokens.check` says:
   * when the token has ended, when it does not cover the scopes of the operation, when the rows that the input names are not
   * within its limits, or when they belong to another account. Without it, a store lets its caller do everything.
   */
  readonly tokenId?: string;
  /**
   * The trace context that the call is part of, by https://www.w3.org/TR/trace-context/. It reaches the tracing channels of
   * the server, and is not stored. A malformed one is ignored.
   */
  readonly traceparent?: string;
}

/** An input as callers may give it: its lists may be readonly, such as `runnerScopes`, and nothing in it is changed. */
type Given<Value> = Value extends Uint8Array | Date | ((...args: never) => unknown)
  ? Value
  : Value extends object
    ? { readonly [Key in keyof Value]: Given<Value[Key]> }
    : Value;

type Method<Input, Result> =
  Record<never, never> extends Input
    ? (input?: Given<Input>, options?: CallOptions) => Result
    : (input: Given<Input>, options?: CallOptions) => Result;

type MethodOf<One> =
  One extends Operation<infer Input, infer Output, infer Item>
    ? [Item] extends [never]
      ? Method<Input, Promise<Output>>
      : Method<Input, AsyncGenerator<Item, void, undefined>>
    : never;

/** The iterator over all pages, for entities that have a paged `list`. */
type AllOf<Verbs> = Verbs extends { readonly list: Operation<infer Input, infer Output, infer _Item> }
  ? Output extends Page<infer Row>
    ? {
        /**
         * Iterates over the rows of all pages of `list`, in its order and with its filters, in a `for await` loop.
         * Reads a page of `limit` rows when the loop reaches it; rows that are created meanwhile come last. Fails as
         * `list` does, and with `aborted` before the next row when the signal has fired.
         */
        readonly all: Method<Input, AsyncGenerator<Row, void, undefined>>;
      }
    : unknown
  : unknown;

type RecorderOf<One> = One extends Operation<infer Input, infer _Output, infer _Item> ? Method<Input, void> : never;

export type MethodsOf<Table extends OperationTable> = {
  readonly [Entity in keyof Table]: { readonly [Verb in keyof Table[Entity]]: MethodOf<Table[Entity][Verb]> } & AllOf<
    Table[Entity]
  >;
};

export type RecordersOf<Table extends OperationTable> = {
  readonly [Entity in keyof Table]: { readonly [Verb in keyof Table[Entity]]: RecorderOf<Table[Entity][Verb]> };
};

export type ClientOf<Table extends OperationTable> = MethodsOf<Table> & {
  /**
   * Runs several calls in one transaction, all or nothing. `record` makes the calls on `tx`, synchronously; they travel
   * in one message and run in that order. Resolves to their results in order. When a call fails, `details.index` of the
   * error is its position.
   */
  // biome-ignore lint/suspicious/noExplicitAny: callers name the results of recorded calls freely.
  atomically<Results extends unknown[] = any[]>(
    record: (tx: RecordersOf<Table>) => void,
    options?: CallOptions,
  ): Promise<Results>;
};

export interface Client<Table extends OperationTable> {
  readonly methods: ClientOf<Table>;
  /** Refuses new calls, and resolves when the earlier ones are settled, except for calls that may be parked. */
  drain(): Promise<void>;
}

/**
 * Creates a client on a backend. When the backend is lost, `reconnect` supplies the next one; without `reconnect`,
 * every later call fails with `closed`.
 */
export function createClient<const Table extends OperationTable>(
  operations: Table,
  backend: Backend,
  limits: Limits,
  reconnect?: () => Backend,
): Client<Table> {
  let current = new Courier(backend, limits);
  let draining = false;
  const courier = (): Courier => {
    if (current.lost && !draining && reconnect !== undefined) current = new Courier(reconnect(), limits);
    return current;
  };
  const methods: Record<string, Record<string, unknown>> = mapTable(operations, (name, operation) => {
    const calling: Calling = { courier, limits, name, operation, table: operations };
    const invoke = operation.stream !== undefined ? stream : operation.again !== undefined ? callInSteps : call;
    return (input: unknown = {}, options: CallOptions = {}) => invoke(calling, input, options);
  });
  for (const [entity, { list }] of Object.entries<OperationTable[string]>(operations)) {
    if (list === undefined || !isPaged(list)) continue;
    const calling: Calling = { courier, limits, name: `${entity}.list`, operation: list, table: operations };
    (methods[entity] as Record<string, unknown>).all = (input: unknown = {}, options: CallOptions = {}) =>
      rows(calling, input, options);
  }
  const sendTogether = async (
    record: (tx: RecordersOf<Table>) => unknown,
    options: CallOptions,
    trace: Pick<CallTrace, "operations" | "traceparent">,
  ) => {
    const recorded = recordCalls(operations, record as (tx: never) => unknown, options);
    const inputs = recorded.flatMap(({ call: { name }, input }) => [name, input]);
    const made = recorded.map(({ call }) => call);
    trace.operations = made.map(({ name }) => name);
    const calls = withTraceparent(withEnvelopeKey(made, inputs, options), trace.traceparent);
    if (calls.length === 0) return [];
    const answers = await courier().send(calls, true, options);
    return calls.map(({ name, operation, localPart }, index) => {
      // An envelope that failed has one answer for all its calls.
      const [ok, wire] = answers[index] ?? (answers[0] as Answer);
      if (!ok) throw fromWireFailure(wire, (wire[3] as { operation?: string }).operation ?? name);
      return operation.open(operation.output.fromWire(wire), localPart);
    });
  };
  const atomically = (record: (tx: RecordersOf<Table>) => unknown, options: CallOptions = {}) => {
    const trace = callTrace("atomically", options);
    return trace === undefined
      ? sendTogether(record, options, { operations: [], traceparent: options.traceparent })
      : tracedCall(trace, () => sendTogether(record, options, trace));
  };
  const drain = (): Promise<void> => {
    draining = true;
    return current.drain();
  };
  return { methods: { ...methods, atomically } as unknown as ClientOf<Table>, drain };
}

/** The parts that all calls of one method share. */
interface Calling {
  /** Returns the current courier, a new one after the backend was lost. */
  readonly courier: () => Courier;
  readonly limits: Limits;
  readonly name: string;
  readonly operation: AnyOperation;
  readonly table: OperationTable;
  /** The input for which an idempotency key stands, when it is not that of the call. */
  readonly request?: unknown;
}

/** Makes one call, which is published to those who listen to calls. */
function call(calling: Calling, input: unknown, options: CallOptions): Promise<unknown> {
  const trace = callTrace(calling.name, options);
  if (trace === undefined) return send(calling, input, options);
  return tracedCall(trace, () => send(calling, input, { ...options, ...present({ traceparent: trace.traceparent }) }));
}

/** Returns the message that describes a call, or undefined when nobody listens. */
function callTrace(operation: string, { actor, requestId, traceparent }: CallOptions): CallTrace | undefined {
  if (!callChannel.hasSubscribers) return undefined;
  return {
    operation,
    operations: [],
    actor,
    requestId,
    traceparent: traceparentIn(traceparent),
    startedAtMs: traceNow(),
    endedAtMs: undefined,
    outcome: undefined,
    code: undefined,
    error: undefined,
  };
}

/**
 * Sends one call. Its error is created after an await, so that V8's async stack trace names the caller, and successful
 * calls pay nothing for it (D-017).
 */
async function send(calling: Calling, input: unknown, options: CallOptions): Promise<unknown> {
  const { courier, name, operation, request } = calling;
  const outgoingCall = outgoing(name, operation, input, options, request);
  const [answer] = await courier().send([outgoingCall], false, options);
  const [ok, wire] = answer as Answer;
  if (!ok) {
    const error = fromWireFailure(wire, name);
    if (operation.givenUp !== undefined && givenUpCodes.includes(error.code))
      takeBack(calling, operation.givenUp(operation.decode([...outgoingCall.wire])), options);
    throw error;
  }
  return operation.open(operation.output.fromWire(wire), outgoingCall.localPart);
}

/** The codes with which a call ends whose caller has stopped waiting. */
const givenUpCodes: readonly ErrorCode[] = ["aborted", "deadline_exceeded"];

/** Takes back what a call has left behind that was given up. Its caller has gone, so nobody learns whether that fails. */
function takeBack({ courier, table }: Calling, [name, input]: FollowingCall, { actor, requestId }: CallOptions): void {
  const [entity = "", verb = ""] = name.split(".");
  try {
    const call = outgoing(name, table[entity]?.[verb] as AnyOperation, input, { actor, requestId });
    void courier().send([call], false, {});
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
  }
}

/**
 * Calls step after step under one deadline. A key stands for the input of the first step, as its caller knows it. When a
 * later step fails, the effects of the earlier ones remain, so the outcome of the error is `unknown`.
 */
async function callInSteps(calling: Calling, input: unknown, options: CallOptions): Promise<unknown> {
  const { timeoutMs = calling.limits.callMs } = options;
  const endsAtMs = realTime.elapsed() + timeoutMs;
  for (let [step, next, leftMs] = [1, input, timeoutMs]; ; step++) {
    try {
      const output = await call({ ...calling, request: input }, next, { ...options, timeoutMs: leftMs });
      next = calling.operation.again?.(next, output);
      if (next === undefined) return output;
    } catch (error) {
      if (step === 1 || !(error instanceof StoreError)) throw error;
      const { code, message, details, retryable, operation } = error;
      throw new StoreError(code, message, { outcome: "unknown", details, retryable, operation, cause: error });
    }
    leftMs = Math.max(0, endsAtMs - realTime.elapsed());
  }
}

function rows(calling: Calling, input: unknown, options: CallOptions): AsyncGenerator<unknown, void, undefined> {
  const list = (pageInput: unknown, signal: AbortSignal) =>
    call(calling, pageInput, { ...options, signal }) as Promise<Page<unknown>>;
  return rowsOfPages(list, input, { name: calling.name, signal: options.signal });
}

function stream(calling: Calling, input: unknown, options: CallOptions): AsyncGenerator<unknown, void, undefined> {
  const { items, next } = calling.operation.stream as Stream<unknown, unknown, unknown>;
  let nextInput = input;
  const load = async (signal: AbortSignal) => {
    const page = await call(calling, nextInput, { ...options, signal });
    nextInput = next(nextInput, page);
    return { items: items(page), isLast: nextInput === undefined };
  };
  return new Iteration(load, { name: calling.name, signal: options.signal });
}
