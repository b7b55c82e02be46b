// Records the calls of an atomic envelope, and refuses those that cannot be part of one. Shared by the client and by the
// stub for tests, so that both refuse the same.
import { StoreError } from "./errors.ts";
import type { AnyOperation, OperationTable } from "./operation.ts";
import { type Outgoing, outgoing } from "./outgoing.ts";

/** The options of a call that recording needs. */
interface RecordingOptions {
  readonly actor?: string | undefined;
  readonly requestId?: string | undefined;
  readonly idempotencyKey?: string | undefined;
  readonly traceparent?: string | undefined;
  readonly tokenId?: string | undefined;
}

export interface RecordedCall<Options> {
  readonly call: Outgoing;
  /** The input as the caller gave it. */
  readonly input: unknown;
  /** The options of this call alone. */
  readonly options: Options | undefined;
}

/**
 * Records the calls that `record` makes on its argument, synchronously. A call on it after `record` has returned
 * throws, because it would never be sent. `options` are those of the envelope; its key covers all calls, and a single
 * call may have a key of its own.
 */
export function recordCalls<Options extends RecordingOptions>(
  operations: OperationTable,
  record: (tx: never) => unknown,
  options: Options,
): readonly RecordedCall<Options>[] {
  const recorded: RecordedCall<Options>[] = [];
  let closed = false;
  const tx = mapTable(operations, (name, operation) => (input: unknown = {}, callOptions?: Options) => {
    if (closed)
      throw refusal(
        name,
        ": this transaction has been recorded; call tx only inside the function passed to atomically",
      );
    if (operation.again !== undefined)
      throw refusal(name, " runs in several transactions, so it cannot be part of atomically: call it by itself");
    const call = outgoing(name, operation, input, {
      ...options,
      idempotencyKey: undefined,
      ...callOptions,
      traceparent: undefined,
    });
    if (waitMsOf(call) > 0) throw refusal(name, ": a call inside atomically cannot wait", { index: recorded.length });
    recorded.push({ call, input, options: callOptions });
  });
  try {
    const returned = record(tx as never) as { then?: unknown; catch?: (ignore: () => void) => unknown } | undefined;
    if (typeof returned?.then !== "function") return recorded;
    // The error below is the one to report, so a rejection of the promise must not count as unhandled.
    returned.catch?.(() => undefined);
  } finally {
    closed = true;
  }
  throw new StoreError(
    "invalid_input",
    "atomically: the function must not be async, because it records the calls before they are sent",
  );
}

/** Returns the time for which a call may be parked. It depends on the input, which is encoded by now. */
export function waitMsOf({ operation, wire }: Outgoing): number {
  return operation.waits ? operation.waitMs(operation.decode(wire)) : 0;
}

/** Returns a table with a value for each operation. */
export function mapTable<Value>(
  table: OperationTable,
  toValue: (name: string, operation: AnyOperation) => Value,
): Record<string, Record<string, Value>> {
  return Object.fromEntries(
    Object.entries(table).map(([entity, verbs]) => [
      entity,
      Object.fromEntries(
        Object.entries(verbs).map(([verb, operation]) => [verb, toValue(`${entity}.${verb}`, operation)]),
      ),
    ]),
  );
}

function refusal(operation: string, message: string, details = {}): StoreError {
  return new StoreError("invalid_input", `${operation}${message}`, { operation, details });
}
