// The checks of a call: those that cost nothing when it arrives, and those that read its input when its turn comes.
import { anonymous, callerText, checkCaller, traceparentIn } from "../caller.ts";
import type { Dispatcher } from "../dispatch.ts";
import { type ErrorCode, StoreError, toWireFailure } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { callSizes, overloadOf } from "../load.ts";
import type { Call } from "../operation.ts";
import { isServeTraced, type ServeTrace, traceArrival } from "../tracing.ts";
import { type Answer, callWidth, type WireCaller } from "../wire.ts";
import { addAnswer, type Client, count, type Entry, type OpenEnvelope } from "./entry.ts";
import type { Queues } from "./queues.ts";

export class Admission {
  readonly #dispatcher: Pick<Dispatcher, "decodeCall" | "knows" | "orderOf">;
  readonly #limits: Limits;
  readonly #queues: Queues;

  constructor(dispatcher: Pick<Dispatcher, "decodeCall" | "knows" | "orderOf">, limits: Limits, queues: Queues) {
    this.#dispatcher = dispatcher;
    this.#limits = limits;
    this.#queues = queues;
  }

  /**
   * Adds entries for the calls of an envelope to the client's queues. Refuses what can be seen without reading their
   * inputs: an envelope that is too large, and operations that the client may not call. `arrivedAtMs` is the elapsed
   * time of the store's clock.
   */
  admit(client: Client, envelope: OpenEnvelope, atomic: boolean, calls: readonly unknown[], arrivedAtMs: number): void {
    const sizes = callSizes(calls, this.#limits.envelopeBytes);
    let bytes = 0;
    for (const size of sizes) bytes += size;
    const count = calls.length / callWidth;
    const refusal = this.#refusalOf(client, envelope.id, count, bytes);
    if (refusal !== undefined) {
      refuse(envelope, count, refusal);
      return;
    }
    const arrived = { client, envelope, arrived: calls, arrivedAtMs, isTraced: isServeTraced() };
    if (atomic) this.#enqueue({ ...arrived, slot: 0, width: count, bytes });
    else
      for (let slot = 0; slot < count; slot++)
        this.#enqueue({ ...arrived, slot, width: 1, bytes: sizes[slot] as number });
  }

  /**
   * Decodes the calls of an entry whose turn it is, unless that was done before. Returns the failure of the first one
   * that is refused, or undefined.
   */
  prepare(entry: Entry): Answer | undefined {
    const { client, arrived, envelope, slot, width } = entry;
    if (arrived === undefined) return undefined;
    entry.arrived = undefined;
    const calls: Call[] = [];
    try {
      for (let at = slot * callWidth; calls.length < width; at += callWidth) {
        const call = this.#decodeCall(client, arrived, at);
        if (envelope.isAtomic && call.waitMs > 0)
          throw new StoreError("invalid_input", `${call.name}: a call inside atomically cannot wait`);
        calls.push(call);
      }
      if (envelope.isAtomic) addEnvelopeKey(calls, arrived[2] as WireCaller);
      entry.calls = calls;
      entry.resultBytes = calls.reduce((sum, { operation, input }) => sum + operation.resultBytes(input), 0);
      return undefined;
    } catch (error) {
      const failed = failureOf(error);
      if (!envelope.isAtomic) return failed;
      const [, [code, message, outcome, details]] = failed;
      // A key that is refused came with the first call.
      return [false, [code, message, outcome, { ...details, index: calls.length % width }]];
    }
  }

  /** Returns the failure of an envelope that is refused as a whole, or undefined. */
  #refusalOf(client: Client, id: number, calls: number, bytes: number): Answer | undefined {
    // A second envelope with this id would replace the first in the client's map, so the calls of the first would not
    // be dropped with the client.
    if (client.envelopes.has(id)) return failure("invalid_input", `envelope ${id} is not answered yet: use another id`);
    if (bytes > this.#limits.envelopeBytes)
      return failure("invalid_input", `a message has at most ${this.#limits.envelopeBytes} bytes`);
    const overload = overloadOf(client, { calls, bytes }, this.#limits);
    return overload && failureOf(overload);
  }

  #decodeCall(client: Client, calls: readonly unknown[], at: number): Call {
    const name = calls[at];
    if (typeof name !== "string" || !client.mayCall(name))
      throw new StoreError(
        "unknown_operation",
        `no operation ${typeof name === "string" ? name.slice(0, 100) : typeof name} for this port`,
      );
    const [actor, requestId, key, request, , , tokenId] = (calls[at + 2] ?? []) as NonNullable<WireCaller>;
    const idempotency = key === undefined ? undefined : { key, request: request as string };
    return this.#dispatcher.decodeCall(name, calls[at + 1], { actor, requestId, tokenId, idempotency });
  }

  #enqueue({
    isTraced,
    ...admitted
  }: Pick<Entry, "client" | "envelope" | "slot" | "width" | "bytes" | "arrivedAtMs"> & {
    readonly arrived: readonly unknown[];
    readonly isTraced: boolean;
  }): void {
    const { client, envelope, arrived, slot, width } = admitted;
    let { lane, entities } = this.#dispatcher.orderOf(arrived[slot * callWidth]);
    if (width > 1) {
      const names = Array.from({ length: width }, (_, index) => arrived[index * callWidth]);
      entities = [...new Set(names.flatMap((name) => this.#dispatcher.orderOf(name).entities))];
      lane = "normal";
    }
    // An urgent call overtakes other calls of its client, but none that may change what it reads or writes.
    if (lane === "urgent" && entities.some((entity) => client.ordinary.has(entity))) lane = "normal";
    const entry: Entry = {
      ...admitted,
      entities,
      lane,
      calls: [],
      resultBytes: 0,
      spentMs: 0,
      chargedMs: 0,
      place: "queue",
      stays: false,
      wokenFor: undefined,
      cancelled: false,
      done: false,
      queuedAtMs: 0,
      parkUntilMs: undefined,
      trace: isTraced ? this.#traceOf(arrived, slot, width, envelope.isAtomic) : undefined,
    };
    entry.envelope.entries.push(entry);
    entry.envelope.unanswered++;
    count(entry);
    this.#queues.push(entry);
  }

  /** Publishes the arrival of an entry. Its parts are not checked yet. */
  #traceOf(arrived: readonly unknown[], slot: number, width: number, isAtomic: boolean): ServeTrace {
    const at = slot * callWidth;
    const names = Array.from({ length: width }, (_, index) => arrived[at + index * callWidth]).map((name) =>
      this.#dispatcher.knows(name) ? (name as string) : unknownOperation,
    );
    const caller: readonly unknown[] = Array.isArray(arrived[at + 2]) ? (arrived[at + 2] as unknown[]) : [];
    return traceArrival({
      operation: isAtomic ? "atomically" : (names[0] as string),
      operations: isAtomic ? names : [],
      actor: callerText(caller[0]),
      requestId: callerText(caller[1]),
      traceparent: traceparentIn(caller[5]),
    });
  }
}

/** The operation of a call that no operation answers: a port may send any text, and those who listen count by name. */
const unknownOperation = "unknown";

/** Answers every call of an envelope with the same failure. */
export function refuse(envelope: OpenEnvelope, calls: number, answer: Answer): void {
  for (let slot = 0; slot < calls; slot++) addAnswer(envelope, slot, answer);
}

export function failure(code: ErrorCode, message: string): Answer {
  return [false, [code, message, "not_run", {}]];
}

function failureOf(error: unknown): Extract<Answer, readonly [false, unknown]> {
  return [
    false,
    toWireFailure(error instanceof StoreError ? error : new StoreError("internal", String(error), { cause: error })),
  ];
}

/** Gives the first call the idempotency key that stands for all calls, if there is one. Fails with `invalid_input`. */
function addEnvelopeKey(calls: Call[], caller: WireCaller): void {
  const envelope = caller?.[4] as unknown;
  if (envelope === undefined) return;
  const [actor, key, request] = Array.isArray(envelope) ? envelope : [];
  checkCaller({ ...anonymous, actor, idempotency: { key, request } });
  calls[0] = { ...(calls[0] as Call), envelopeKey: { actor, key, request } };
}
