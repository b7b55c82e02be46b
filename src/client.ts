// Operations and a backend become an object with one async method for each operation. Validation and decoding happen here, on the caller's
// thread. Knows no thread, port or database.
import type { AnyOperation, OperationTable } from "./dispatch.ts";
import { type ErrorCode, fromWireFailure, type Outcome, StoreError } from "./errors.ts";
import type { Limits } from "./limits.ts";
import { hashRequest } from "./model/requestHash.ts";
import { checkCaller, type Idempotency, type Operation } from "./operation.ts";
import type { Answer, Backend, Envelope, Reply, WireCaller } from "./wire.ts";

export interface CallOptions {
  /** Stops waiting for the call; it is cancelled if it has not run yet, and the error's outcome says so. */
  readonly signal?: AbortSignal;
  /** Fails deadline_exceeded after so many milliseconds; 30 000 unless set, plus what the input says to wait. */
  readonly timeoutMs?: number;
  /** For the audit rows. */
  readonly actor?: string;
  readonly requestId?: string;
  /**
   * Of a call that writes: made again with the same key and input within 24 hours it is not run again, and answers what it answered then; with
   * other input it fails idempotency_mismatch. A failure is not kept. Of `atomically`, it stands for all calls together.
   */
  readonly idempotencyKey?: string;
}

type Method<Input, Result> =
  Record<never, never> extends Input ? (input?: Input, options?: CallOptions) => Result : (input: Input, options?: CallOptions) => Result;

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
  atomically<Results extends unknown[] = any[]>(record: (tx: RecordersOf<Table>) => void, options?: CallOptions): Promise<Results>;
};

/** A call on its way. */
interface Outgoing {
  readonly name: string;
  readonly operation: AnyOperation;
  readonly wire: readonly unknown[];
  readonly caller: WireCaller;
  /** What the operation wants back with the answer; it never travels. */
  readonly kept: unknown;
}

/** What was sent, or will be, as one unit of an envelope: one call, or all of an atomic one. */
interface Parcel {
  readonly calls: readonly Outgoing[];
  readonly atomic: boolean;
  readonly alone: boolean;
  /** It has a deadline of its own. */
  readonly guarded: boolean;
  readonly bytes: number;
  readonly settle: (answers: readonly Answer[]) => void;
  /** Why it was given up, while it is not settled. */
  givenUp: ErrorCode | undefined;
  settled: boolean;
  envelopeId: number | undefined;
  slot: number;
  stop: () => void;
}

export interface Client<Table extends OperationTable> {
  readonly methods: ClientOf<Table>;
  /** Refuses new calls, and resolves when those that were made are answered; calls that wait for something are not waited for. */
  drain(): Promise<void>;
}

export function createClient<const Table extends OperationTable>(operations: Table, backend: Backend, limits: Limits): Client<Table> {
  const courier = new Courier(backend, limits);
  const methods = mapTable(operations, (name, operation) => {
    if (operation.stream !== undefined) return (input: unknown = {}, options: CallOptions = {}) => stream(courier, name, operation, input, options);
    return (input: unknown = {}, options: CallOptions = {}) => call(courier, name, operation, input, options);
  });
  const atomically = async (record: (tx: RecordersOf<Table>) => unknown, options: CallOptions = {}) => {
    const calls: Outgoing[] = [];
    const inputs: unknown[] = [];
    const tx = mapTable(operations, (name, operation) => (input: unknown = {}, own: CallOptions = {}) => {
      if (operation.again !== undefined) throw new StoreError("invalid_input", `${name} works in steps, and cannot be part of atomically`, { operation: name });
      const one = outgoing(name, operation, input, { ...options, idempotencyKey: undefined, ...own });
      calls.push(one);
      inputs.push(name, input);
    });
    const returned = record(tx as RecordersOf<Table>);
    if (returned instanceof Promise) {
      returned.catch(() => undefined);
      throw new StoreError("invalid_input", "atomically: the calls are recorded synchronously, so the function must not be async");
    }
    if (calls.length === 0) return [];
    const answers = await courier.send(keyedTogether(calls, inputs, options), true, options);
    return calls.map(({ name, operation, kept }, index) => {
      const [ok, wire] = answers[index] ?? (answers[0] as Answer);
      if (!ok) throw fromWireFailure(wire, (wire[3] as { operation?: string }).operation ?? name);
      return operation.open(operation.output.fromWire(wire), kept);
    });
  };
  return { methods: { ...methods, atomically } as unknown as ClientOf<Table>, drain: () => courier.drain() };
}

function mapTable<Value>(table: OperationTable, make: (name: string, operation: AnyOperation) => Value): Record<string, Record<string, Value>> {
  return Object.fromEntries(
    Object.entries(table).map(([entity, verbs]) => [
      entity,
      Object.fromEntries(Object.entries(verbs).map(([verb, operation]) => [verb, make(`${entity}.${verb}`, operation)])),
    ]),
  );
}

/** The error is made here, after an await, so that V8's async stack trace names the caller without a capture for every call. */
async function call(courier: Courier, name: string, operation: AnyOperation, input: unknown, options: CallOptions): Promise<unknown> {
  for (let next = input; ; ) {
    const sent = outgoing(name, operation, next, options);
    const [answer] = await courier.send([sent], false, options);
    const [ok, wire] = answer as Answer;
    if (!ok) throw fromWireFailure(wire, name);
    const output = operation.open(operation.output.fromWire(wire), sent.kept);
    const more = operation.again?.(next, output);
    if (more === undefined) return output;
    next = more;
  }
}

async function* stream(
  courier: Courier,
  name: string,
  operation: AnyOperation,
  input: unknown,
  options: CallOptions,
): AsyncGenerator<unknown, void, undefined> {
  for (let next: unknown = input; next !== undefined; ) {
    const page = await call(courier, name, operation, next, options);
    yield* operation.stream?.items(page) ?? [];
    next = operation.stream?.next(next, page);
  }
}

type OutgoingOptions = { readonly [Name in keyof CallOptions]?: CallOptions[Name] | undefined };

function outgoing(name: string, operation: AnyOperation, input: unknown, { actor, requestId, idempotencyKey: key }: OutgoingOptions): Outgoing {
  try {
    const { sent, kept } = operation.seal(input);
    const wire = operation.encode(sent).map(compact);
    // Reads need no key, and every step of what works in steps is the same request.
    const keyed = key !== undefined && operation.access === "write" && operation.again === undefined;
    const idempotency = keyed ? { key, request: hashRequest(input) } : undefined;
    checkCaller({ actor, requestId, idempotency });
    return { name, operation, wire, caller: callerOf(actor, requestId, idempotency), kept };
  } catch (error) {
    if (error instanceof StoreError) throw new StoreError(error.code, `${name}: ${error.message}`, { details: error.details, operation: name });
    // A getter or a proxy of the caller's threw.
    throw new StoreError("invalid_input", `${name}: the input cannot be read: ${error instanceof Error ? error.message : "it throws"}`, {
      operation: name,
      cause: error,
    });
  }
}

function callerOf(actor: string | undefined, requestId: string | undefined, idempotency: Idempotency | undefined): WireCaller {
  if (idempotency !== undefined) return [actor, requestId, idempotency.key, idempotency.request];
  return actor === undefined && requestId === undefined ? undefined : [actor, requestId];
}

/** The key of an atomic envelope stands for all its calls: each carries it with its place, and the hash of them all. */
function keyedTogether(calls: readonly Outgoing[], inputs: readonly unknown[], { idempotencyKey }: CallOptions): readonly Outgoing[] {
  if (idempotencyKey === undefined) return calls;
  const request = hashRequest(inputs);
  return calls.map((call, index) => {
    const [actor, requestId, own] = call.caller ?? [];
    const idempotency = { key: `${idempotencyKey} ${index}`, request };
    if (own !== undefined) return call;
    checkCaller({ actor, requestId, idempotency });
    return { ...call, caller: callerOf(actor, requestId, idempotency) };
  });
}

/** Gathers the calls of one tick into messages, keeps count of what is under way, and settles every call exactly once. */
class Courier {
  readonly #backend: Backend;
  readonly #limits: Limits;
  readonly #underWay = new Set<Parcel>();
  #waiting: Parcel[] = [];
  #calls = 0;
  #bytes = 0;
  #nextEnvelopeId = 1;
  #draining = false;
  #onDrained: (() => void) | undefined;
  #lost: string | undefined;

  constructor(backend: Backend, limits: Limits) {
    this.#backend = backend;
    this.#limits = limits;
    backend.onLost((reason) => this.#lose(reason));
  }

  send(calls: readonly Outgoing[], atomic: boolean, { signal, timeoutMs }: CallOptions): Promise<readonly Answer[]> {
    const bytes = calls.reduce((sum, { wire }) => sum + weigh(wire), 0);
    this.#refuse(calls, bytes, signal);
    return new Promise((settle) => {
      const alone = atomic || (calls[0] as Outgoing).operation.waits;
      const guarded = signal !== undefined || timeoutMs !== undefined || alone;
      const parcel: Parcel = {
        calls,
        atomic,
        alone,
        guarded,
        bytes,
        settle,
        givenUp: undefined,
        settled: false,
        envelopeId: undefined,
        slot: 0,
        stop: () => undefined,
      };
      const afterMs = timeoutMs ?? this.#limits.callMs + waitMsOf(calls);
      if (guarded) parcel.stop = this.#guard(parcel, signal, afterMs);
      this.#calls += calls.length;
      this.#bytes += bytes;
      if (this.#waiting.length === 0) process.nextTick(() => this.#flush());
      this.#waiting.push(parcel);
    });
  }

  drain(): Promise<void> {
    this.#draining = true;
    return new Promise((resolve) => {
      this.#onDrained = resolve;
      this.#checkDrained();
    });
  }

  #checkDrained(): void {
    const open = [...this.#waiting, ...this.#underWay].some(({ calls, settled }) => !settled && !calls.some(({ operation }) => operation.waits));
    if (!open) this.#onDrained?.();
  }

  #refuse(calls: readonly Outgoing[], bytes: number, signal: AbortSignal | undefined): void {
    const operation = (calls[0] as Outgoing).name;
    if (this.#draining) throw new StoreError("closed", "the store is closed", { operation });
    if (this.#lost !== undefined) throw new StoreError("closed", this.#lost, { operation });
    if (signal?.aborted) throw new StoreError("aborted", undefined, { operation, cause: signal.reason });
    const { queueCalls, queueBytes, groupCalls, groupMs, envelopeBytes } = this.#limits;
    if (bytes > envelopeBytes) throw new StoreError("invalid_input", `one message may hold ${envelopeBytes} bytes, not ${bytes}`, { operation });
    if (this.#calls + calls.length <= queueCalls && this.#bytes + bytes <= queueBytes) return;
    const retryAfterMs = Math.ceil((this.#calls / groupCalls + 1) * groupMs);
    throw new StoreError("overloaded", undefined, { operation, details: { retryAfterMs, queuedCalls: this.#calls, queuedBytes: this.#bytes } });
  }

  /** Runs after everything that this tick set off, so that calls made by the receivers of one reply share the next message. */
  #flush(): void {
    const parcels = this.#waiting;
    this.#waiting = [];
    let together: Parcel[] = [];
    let bytes = 0;
    for (const parcel of parcels) {
      const full = together.length >= this.#limits.groupCalls || bytes + parcel.bytes > this.#limits.envelopeBytes;
      if (together.length > 0 && (parcel.alone || full)) {
        this.#dispatch(together);
        together = [];
        bytes = 0;
      }
      if (parcel.settled) continue;
      if (parcel.alone) this.#dispatch([parcel]);
      else {
        together.push(parcel);
        bytes += parcel.bytes;
      }
    }
    if (together.length > 0) this.#dispatch(together);
  }

  #dispatch(parcels: readonly Parcel[]): void {
    const id = this.#nextEnvelopeId++;
    const calls: unknown[] = [];
    if (this.#underWay.size === 0) this.#backend.hold(true);
    for (const [slot, run] of runsOf(parcels).entries()) {
      for (const parcel of run) {
        parcel.envelopeId = id;
        parcel.slot = slot;
        this.#underWay.add(parcel);
      }
      for (const { name, wire, caller } of joined(run)) calls.push(name, wire, caller);
    }
    const atomic = (parcels[0] as Parcel).atomic;
    const envelope: Envelope = [id, atomic, calls];
    // One timer for the calls that named no deadline of their own.
    const timer = setTimeout(() => {
      for (const parcel of parcels) if (!parcel.guarded) this.#giveUp(parcel, "deadline_exceeded");
    }, this.#limits.callMs);
    // The backend holds the event loop while calls are under way; when it is lost, nothing is left to wait for.
    timer.unref();
    this.#backend.send(envelope).then(
      (reply) => {
        clearTimeout(timer);
        this.#receive(parcels, reply);
      },
      (error: unknown) => {
        clearTimeout(timer);
        this.#unsent(parcels, error);
      },
    );
  }

  #receive(parcels: readonly Parcel[], [, , answers]: Reply): void {
    for (const parcel of parcels) {
      const own: Answer[] = [];
      const end = Math.min(parcel.slot + parcel.calls.length, answers.length / 2);
      for (let at = parcel.slot; at < end; at++) own.push([answers[at * 2], answers[at * 2 + 1]] as unknown as Answer);
      this.#settle(parcel, own);
    }
  }

  /** The message could not be cloned. Sent one by one, the calls that can be are not held up by the one that cannot. */
  #unsent(parcels: readonly Parcel[], error: unknown): void {
    if (parcels.length > 1) {
      for (const parcel of parcels) this.#dispatch([parcel]);
      return;
    }
    const message = `the input cannot be sent: ${error instanceof Error ? error.message : String(error)}`;
    for (const parcel of parcels) this.#fail(parcel, "invalid_input", message, "not_run");
  }

  #settle(parcel: Parcel, answers: readonly Answer[]): void {
    if (this.#underWay.delete(parcel)) {
      if (this.#underWay.size === 0) this.#backend.hold(false);
    }
    this.#calls -= parcel.calls.length;
    this.#bytes -= parcel.bytes;
    if (parcel.settled) return;
    parcel.settled = true;
    if (this.#draining) this.#checkDrained();
    parcel.stop();
    const [first] = answers;
    // The other side confirms that the call has not run.
    if (parcel.givenUp !== undefined && first !== undefined && !first[0] && first[1][0] === "aborted") {
      parcel.settle([[false, [parcel.givenUp, givenUpMessage(parcel.givenUp), "not_run", {}]]]);
    } else parcel.settle(answers);
  }

  #fail(parcel: Parcel, code: ErrorCode, message: string, outcome: Outcome): void {
    this.#settle(parcel, [[false, [code, message, outcome, {}]]]);
  }

  #guard(parcel: Parcel, signal: AbortSignal | undefined, afterMs: number): () => void {
    const abort = () => this.#giveUp(parcel, "aborted");
    signal?.addEventListener("abort", abort, { once: true });
    const timer = setTimeout(() => this.#giveUp(parcel, "deadline_exceeded"), afterMs);
    return () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    };
  }

  /** Asks the other side to drop the call, and waits a moment to learn whether it had run. */
  #giveUp(parcel: Parcel, code: ErrorCode): void {
    if (parcel.settled || parcel.givenUp !== undefined) return;
    parcel.givenUp = code;
    if (parcel.envelopeId === undefined) {
      this.#fail(parcel, code, givenUpMessage(code), "not_run");
      return;
    }
    this.#backend.cancel(parcel.envelopeId, parcel.slot);
    const timer = setTimeout(() => {
      if (parcel.settled) return;
      // It stays counted until its answer arrives: a side that answers nothing must not be sent ever more.
      parcel.settled = true;
      parcel.settle([[false, [code, givenUpMessage(code), outcomeOf(parcel), {}]]]);
    }, this.#limits.settleGraceMs);
    parcel.stop();
    parcel.stop = () => clearTimeout(timer);
  }

  #lose(reason: string): void {
    if (this.#lost !== undefined) return;
    this.#lost = reason;
    for (const parcel of this.#waiting) if (!parcel.settled) this.#fail(parcel, "closed", reason, "not_run");
    this.#waiting = [];
    for (const parcel of [...this.#underWay]) this.#fail(parcel, "closed", reason, outcomeOf(parcel));
  }
}

/** Neighbours that can be sent as one call, together; never one past another, because the calls of a client run in order. */
function runsOf(parcels: readonly Parcel[]): Parcel[][] {
  const runs: Parcel[][] = [];
  for (const parcel of parcels) {
    const run = runs.at(-1);
    if (run !== undefined && continues(run, parcel)) run.push(parcel);
    else runs.push([parcel]);
  }
  return runs;
}

/** A call with a deadline or a signal of its own can be given up alone, so it goes alone. */
function continues(run: readonly Parcel[], { calls, guarded }: Parcel): boolean {
  const [first, last, next] = [run[0]?.calls[0], run.at(-1)?.calls[0], calls[0]] as [Outgoing, Outgoing, Outgoing];
  const { joining } = next.operation;
  // A key stands for one call.
  if (last.caller?.[2] !== undefined || next.caller?.[2] !== undefined) return false;
  if (joining === undefined || last.operation !== next.operation || guarded || run[0]?.guarded) return false;
  if (last.caller?.[0] !== next.caller?.[0] || last.caller?.[1] !== next.caller?.[1]) return false;
  return joining.follows(next.wire, last.wire, first.wire);
}

function joined(run: readonly Parcel[]): readonly Outgoing[] {
  const { calls } = run[0] as Parcel;
  const [head] = calls as readonly [Outgoing];
  if (run.length === 1 || head.operation.joining === undefined) return calls;
  return [{ ...head, wire: head.operation.joining.join(run.map((parcel) => (parcel.calls[0] as Outgoing).wire)) }];
}

/** Of a call whose answer is lost. A read changes nothing, whether it ran or not. */
function outcomeOf({ calls }: Parcel): Outcome {
  return calls.every(({ operation }) => operation.access === "read") ? "not_run" : "unknown";
}

function givenUpMessage(code: ErrorCode): string {
  return code === "aborted" ? "the caller's signal fired" : "the time given to the call is over";
}

function waitMsOf(calls: readonly Outgoing[]): number {
  return calls.reduce((sum, { operation, wire }) => sum + (operation.waits ? operation.waitMs(operation.decode(wire)) : 0), 0);
}

/** Structured clone copies the whole buffer below a view, and small Buffers are views into a shared one. */
function compact(value: unknown): unknown {
  return value instanceof Uint8Array && value.byteLength < value.buffer.byteLength ? new Uint8Array(value) : value;
}

/** Roughly what travels: strings and bytes. */
function weigh(wire: readonly unknown[]): number {
  let sum = 16;
  for (const value of wire) {
    if (typeof value === "string") sum += value.length;
    else if (value instanceof Uint8Array) sum += value.byteLength;
    else if (Array.isArray(value)) sum += weigh(value);
    else if (value !== null && typeof value === "object") sum += weigh(Object.values(value));
  }
  return sum;
}
