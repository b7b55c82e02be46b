// The checks of a call before it enters a queue. A call that passes becomes an entry; any other is answered at once.
import { anonymous, checkCaller, type EnvelopeKey } from "../caller.ts";
import type { Dispatcher } from "../dispatch.ts";
import { type ErrorCode, StoreError, toWireFailure } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { callBytes, envelopeBytes, overloadOf } from "../load.ts";
import type { Call } from "../operation.ts";
import { type Answer, callWidth, type WireCaller } from "../wire.ts";
import { type Client, count, type Entry, type OpenEnvelope } from "./entry.ts";
import type { Queues } from "./queues.ts";

export class Admission {
  readonly #dispatcher: Pick<Dispatcher, "decodeCall">;
  readonly #limits: Limits;
  readonly #queues: Queues;

  constructor(dispatcher: Pick<Dispatcher, "decodeCall">, limits: Limits, queues: Queues) {
    this.#dispatcher = dispatcher;
    this.#limits = limits;
    this.#queues = queues;
  }

  /**
   * Adds entries for the calls of an envelope to the client's queues, and answers the calls that it refuses.
   * `arrivedAtMs` is the elapsed time of the store's clock.
   */
  admit(client: Client, envelope: OpenEnvelope, atomic: boolean, calls: readonly unknown[], arrivedAtMs: number): void {
    const bytes = envelopeBytes(calls, this.#limits.envelopeBytes);
    const refusal = this.#refusalOf(client, envelope.id, calls.length / callWidth, bytes);
    if (refusal !== undefined) refuse(envelope, refusal);
    else if (atomic) this.#admitAtomic(client, envelope, calls, bytes, arrivedAtMs);
    else
      for (let at = 0; at < calls.length; at += callWidth) this.#admitSingle(client, envelope, calls, at, arrivedAtMs);
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

  /** Admits the call that begins at this index. */
  #admitSingle(
    client: Client,
    envelope: OpenEnvelope,
    calls: readonly unknown[],
    at: number,
    arrivedAtMs: number,
  ): void {
    const slot = at / callWidth;
    try {
      const call = this.#decodeCall(client, calls, at);
      const bytes = callBytes(calls[at], calls[at + 1], calls[at + 2]);
      const reservesResults = call.waitMs === 0 || calls.length > callWidth;
      const resultBytes = this.#resultBytes(client, [call], reservesResults);
      this.#enqueue({ client, envelope, slot, calls: [call], bytes, resultBytes, reservesResults, arrivedAtMs });
    } catch (error) {
      [envelope.answers[slot * 2], envelope.answers[slot * 2 + 1]] = failureOf(error);
    }
  }

  /** Admits all calls as one entry, or answers all of them with the failure of the first that is refused. */
  #admitAtomic(
    client: Client,
    envelope: OpenEnvelope,
    calls: readonly unknown[],
    bytes: number,
    arrivedAtMs: number,
  ): void {
    const admitted: Call[] = [];
    try {
      for (let at = 0; at < calls.length; at += callWidth) {
        const call = this.#decodeCall(client, calls, at);
        if (call.waitMs > 0)
          throw new StoreError("invalid_input", `${call.name}: a call inside atomically cannot wait`);
        admitted.push(call);
      }
      const envelopeKey = envelopeKeyOf(calls[2] as WireCaller);
      if (envelopeKey !== undefined) admitted[0] = { ...(admitted[0] as Call), envelopeKey };
      const resultBytes = this.#resultBytes(client, admitted, true);
      this.#enqueue({
        client,
        envelope,
        slot: 0,
        calls: admitted,
        bytes,
        resultBytes,
        reservesResults: true,
        arrivedAtMs,
      });
    } catch (error) {
      const [, [code, message, outcome, details]] = failureOf(error);
      const indexedFailure = [code, message, outcome, { ...details, index: admitted.length }];
      envelope.answers.splice(0, envelope.answers.length, false, indexedFailure);
    }
  }

  #decodeCall(client: Client, calls: readonly unknown[], at: number): Call {
    const name = calls[at];
    if (typeof name !== "string" || !client.mayCall(name))
      throw new StoreError(
        "unknown_operation",
        `no operation ${typeof name === "string" ? name.slice(0, 100) : typeof name} for this port`,
      );
    const [actor, requestId, key, request] = (calls[at + 2] ?? []) as NonNullable<WireCaller>;
    const idempotency = key === undefined ? undefined : { key, request: request as string };
    return this.#dispatcher.decodeCall(name, calls[at + 1], { actor, requestId, idempotency });
  }

  /**
   * Returns the size that the results of these calls may have. If they reserve it, fails with `overloaded` when it is
   * too large together with that of the client's other calls. With no others it always passes.
   */
  #resultBytes(client: Client, calls: readonly Call[], reservesResults: boolean): number {
    const { resultBytes, groupMs } = this.#limits;
    const bytes = calls.reduce((sum, { operation, input }) => sum + operation.resultBytes(input), 0);
    if (reservesResults && client.resultBytes > 0 && client.resultBytes + bytes > resultBytes) {
      const details = { retryAfterMs: groupMs, resultBytes: client.resultBytes };
      throw new StoreError("overloaded", undefined, { details });
    }
    return bytes;
  }

  #enqueue(admitted: Omit<Entry, "place" | "cancelled" | "done" | "queuedAtMs" | "parkUntilMs">): void {
    const entry: Entry = {
      ...admitted,
      place: "queue",
      cancelled: false,
      done: false,
      queuedAtMs: 0,
      parkUntilMs: undefined,
    };
    entry.envelope.entries.push(entry);
    entry.envelope.unanswered++;
    count(entry);
    this.#queues.push(entry);
  }
}

/** Answers every call of an envelope with the same failure. */
export function refuse(envelope: OpenEnvelope, answer: Answer): void {
  for (let at = 0; at < envelope.answers.length; at += 2) [envelope.answers[at], envelope.answers[at + 1]] = answer;
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

/** Returns the idempotency key that stands for all calls of an atomic envelope. Fails with `invalid_input`. */
function envelopeKeyOf(caller: WireCaller): EnvelopeKey | undefined {
  const envelope = caller?.[4] as unknown;
  if (envelope === undefined) return undefined;
  const [actor, key, request] = Array.isArray(envelope) ? envelope : [];
  checkCaller({ ...anonymous, actor, idempotency: { key, request } });
  return { actor, key, request };
}
