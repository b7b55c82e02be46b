// Operations and a backend become an object with one async method for each operation. Validation and decoding happen here, on the caller's
// thread. Knows no thread, port or database.

import { Courier } from "./courier.ts";
import { fromWireFailure, StoreError } from "./errors.ts";
import type { Limits } from "./limits.ts";
import type { AnyOperation, Operation, OperationTable } from "./operation.ts";
import { type Outgoing, outgoing, withEnvelopeKey } from "./outgoing.ts";
import type { Answer, Backend } from "./wire.ts";

export interface CallOptions {
  /** Stops waiting for the call; it is cancelled if it has not run yet, and the error's outcome says so. */
  readonly signal?: AbortSignal;
  /**
   * Fails deadline_exceeded after so many milliseconds; 30 000 unless set, plus what the input says to wait. Of an iteration: for each of its
   * pages. More than 2 147 483 647 are as many.
   */
  readonly timeoutMs?: number;
  /** For the audit rows. */
  readonly actor?: string;
  readonly requestId?: string;
  /**
   * Of a call that writes: made again with the same key and input within 24 hours it is not run again, and answers what it answered then; with
   * other input, or when another release stored an answer of another shape, it fails idempotency_mismatch. A failure is not kept. Of `atomically`, it stands for all calls together.
   */
  readonly idempotencyKey?: string;
}

type Method<Input, Result> =
  Record<never, never> extends Input
    ? (input?: Input, options?: CallOptions) => Result
    : (input: Input, options?: CallOptions) => Result;

type MethodOf<One> =
  One extends Operation<infer Input, infer Output, infer Item>
    ? [Item] extends [never]
      ? Method<Input, Promise<Output>>
      : Method<Input, AsyncGenerator<Item, void, undefined>>
    : never;

type Recorder<One> = One extends Operation<infer Input, infer _Output, infer _Item> ? Method<Input, void> : never;

export type MethodsOf<Table extends OperationTable> = {
  readonly [Entity in keyof Table]: { readonly [Verb in keyof Table[Entity]]: MethodOf<Table[Entity][Verb]> };
};

export type RecordersOf<Table extends OperationTable> = {
  readonly [Entity in keyof Table]: { readonly [Verb in keyof Table[Entity]]: Recorder<Table[Entity][Verb]> };
};

export type ClientOf<Table extends OperationTable> = MethodsOf<Table> & {
  /**
   * All or nothing, in one message: `record` makes calls on `tx`, synchronously, and they run in that order in one transaction.
   * Resolves to their results in order. A failure names the first call that failed, by `details.index`.
   */
  // biome-ignore lint/suspicious/noExplicitAny: the calls are recorded at run time; a caller names the results, or destructures freely.
  atomically<Results extends unknown[] = any[]>(
    record: (tx: RecordersOf<Table>) => void,
    options?: CallOptions,
  ): Promise<Results>;
};

export interface Client<Table extends OperationTable> {
  readonly methods: ClientOf<Table>;
  /** Refuses new calls, and resolves when those that were made are settled; calls that wait for something are not waited for. */
  drain(): Promise<void>;
}

/** `reconnect` gives another backend when the one before is lost; without it the client is lost too. */
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
  const methods = mapTable(operations, (name, operation) => {
    const calling: Calling = { courier, limits, name, operation };
    const make = operation.stream !== undefined ? stream : operation.again !== undefined ? callInSteps : call;
    return (input: unknown = {}, options: CallOptions = {}) => make(calling, input, options);
  });
  const atomically = async (record: (tx: RecordersOf<Table>) => unknown, options: CallOptions = {}) => {
    const calls = recordCalls(operations, record, options);
    if (calls.length === 0) return [];
    const answers = await courier().send(calls, true, options);
    return calls.map(({ name, operation, localPart }, index) => {
      const [ok, wire] = answers[index] ?? (answers[0] as Answer);
      if (!ok) throw fromWireFailure(wire, (wire[3] as { operation?: string }).operation ?? name);
      return operation.open(operation.output.fromWire(wire), localPart);
    });
  };
  const drain = (): Promise<void> => {
    draining = true;
    return current.drain();
  };
  return { methods: { ...methods, atomically } as unknown as ClientOf<Table>, drain };
}

/** A call that is made after the recorder has returned would be sent by nobody, so it throws. */
function recordCalls<Table extends OperationTable>(
  operations: Table,
  record: (tx: RecordersOf<Table>) => unknown,
  options: CallOptions,
): readonly Outgoing[] {
  const calls: Outgoing[] = [];
  const inputs: unknown[] = [];
  let over = false;
  const tx = mapTable(operations, (name, operation) => (input: unknown = {}, own: CallOptions = {}) => {
    if (over)
      throw new StoreError("invalid_input", `${name} was called on a transaction that is over`, { operation: name });
    if (operation.again !== undefined)
      throw new StoreError("invalid_input", `${name} works in steps, and cannot be part of atomically`, {
        operation: name,
      });
    calls.push(outgoing(name, operation, input, { ...options, idempotencyKey: undefined, ...own }));
    inputs.push(name, input);
  });
  try {
    const returned = record(tx as RecordersOf<Table>);
    if (!(returned instanceof Promise)) return withEnvelopeKey(calls, inputs, options);
    returned.catch(() => undefined);
    throw new StoreError(
      "invalid_input",
      "atomically: the calls are recorded synchronously, so the function must not be async",
    );
  } finally {
    over = true;
  }
}

function mapTable<Value>(
  table: OperationTable,
  make: (name: string, operation: AnyOperation) => Value,
): Record<string, Record<string, Value>> {
  return Object.fromEntries(
    Object.entries(table).map(([entity, verbs]) => [
      entity,
      Object.fromEntries(
        Object.entries(verbs).map(([verb, operation]) => [verb, make(`${entity}.${verb}`, operation)]),
      ),
    ]),
  );
}

/** One method: what it calls, and by whom. */
interface Calling {
  readonly courier: () => Courier;
  readonly limits: Limits;
  readonly name: string;
  readonly operation: AnyOperation;
}

/** The error is made here, after an await, so that V8's async stack trace names the caller without a capture for every call (D-017). */
async function call({ courier, name, operation }: Calling, input: unknown, options: CallOptions): Promise<unknown> {
  const outgoingCall = outgoing(name, operation, input, options);
  const [answer] = await courier().send([outgoingCall], false, options);
  const [ok, wire] = answer as Answer;
  if (!ok) throw fromWireFailure(wire, name);
  return operation.open(operation.output.fromWire(wire), outgoingCall.localPart);
}

/** All steps together have one deadline, and a failure of a later one leaves what the earlier ones did. */
async function callInSteps(calling: Calling, input: unknown, options: CallOptions): Promise<unknown> {
  const { timeoutMs = calling.limits.callMs } = options;
  const overAtMs = performance.now() + timeoutMs;
  for (let [step, next, leftMs] = [1, input, timeoutMs]; ; step++) {
    try {
      const output = await call(calling, next, { ...options, timeoutMs: leftMs });
      next = calling.operation.again?.(next, output);
      if (next === undefined) return output;
    } catch (error) {
      if (step === 1 || !(error instanceof StoreError)) throw error;
      const { code, message, details, operation } = error;
      throw new StoreError(code, message, {
        outcome: "unknown",
        details,
        cause: error,
        ...(operation === undefined ? {} : { operation }),
      });
    }
    leftMs = Math.max(0, overAtMs - performance.now());
  }
}

async function* stream(
  calling: Calling,
  input: unknown,
  options: CallOptions,
): AsyncGenerator<unknown, void, undefined> {
  for (let next: unknown = input; next !== undefined; ) {
    const page = await call(calling, next, options);
    yield* calling.operation.stream?.items(page) ?? [];
    next = calling.operation.stream?.next(next, page);
  }
}
