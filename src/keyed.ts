// Runs a body under an idempotency key: a call that is repeated with its key gets the first answer and does not run
// again. Key, effect and stored answer are written in one transaction. Knows no thread, port or database.
import type { Idempotency } from "./caller.ts";
import type { Context } from "./context.ts";
import { shapeOf } from "./model/replyShape.ts";
import { type Call, NotYet } from "./operation.ts";
import { claimKey, type KeyedRequest, releaseKey, storeReply } from "./operations/idempotency.ts";
import type { Body } from "./sql.ts";

/** Checks whether a call runs under an idempotency key. The key of a read is ignored: reads can be repeated anyway. */
export function isKeyed({ operation, caller }: Call): boolean {
  return caller.idempotency !== undefined && operation.access === "write";
}

/**
 * Runs the body of a keyed call, unless an earlier call with the same key has stored its answer. `body` returns the
 * encoded result. A body that fails or finds nothing yet stores nothing, so the key is free for the next try.
 */
export function* keyed(call: Call, body: Body<unknown>, context: Context): Body<unknown> {
  const { actor, idempotency } = call.caller;
  const request: KeyedRequest = {
    ...(idempotency as Idempotency),
    operation: call.name,
    actor: actor ?? "",
    shape: shapeOf([call.operation.output]),
  };
  const stored = yield* claimKey(request, context);
  if (stored !== undefined) return stored.reply;
  const result = yield* body;
  if (result instanceof NotYet || hasNextStep(call, result)) yield* releaseKey(request);
  else yield* storeReply(request, result);
  return result;
}

/** Checks whether another step follows under the same key. Only the reply of the last step is stored (D-053). */
function hasNextStep({ operation: { again, output }, input }: Call, result: unknown): boolean {
  return again !== undefined && again(input, output.fromWire(result)) !== undefined;
}

/** The calls of a job that share one key, with the replies that are stored under it or that this run collects. */
export class KeyedEnvelope {
  readonly #calls: readonly Call[];
  readonly #request: KeyedRequest;
  #replies: unknown[] = [];
  #isStored = false;

  private constructor(calls: readonly Call[], request: KeyedRequest) {
    this.#calls = calls;
    this.#request = request;
  }

  /** Creates the keyed envelope of a job, or returns undefined when the job has no key of its own. */
  static of(calls: readonly Call[]): KeyedEnvelope | undefined {
    const key = calls[0]?.envelopeKey;
    if (key === undefined) return undefined;
    const shape = shapeOf(calls.map(({ operation }) => operation.output));
    return new KeyedEnvelope(calls, { ...key, operation: "atomically", actor: key.actor ?? "", shape });
  }

  /**
   * Checks whether the call at `index` writes to the row of the key: the first claims it, the last stores the replies.
   */
  writesAt(index: number): boolean {
    return index === 0 || index === this.#calls.length - 1;
  }

  /**
   * Runs the body of the call at `index`, unless its reply is stored. The key is looked up once, before the first call,
   * and all replies are stored once, after the last. Reads are never stored and always run: their answers can be large,
   * and running them changes nothing (D-054).
   */
  *run(index: number, body: Body<unknown>, context: Context): Body<unknown> {
    const writes = (this.#calls[index] as Call).operation.access === "write";
    if (index === 0) {
      const stored = yield* claimKey(this.#request, context);
      this.#isStored = stored !== undefined;
      this.#replies = stored === undefined ? [] : (stored.reply as unknown[]);
    }
    if (this.#isStored && writes) return this.#replies[index];
    const result = yield* body;
    // Nothing waits inside an envelope: "not yet" is a final answer like any other.
    const reply = result instanceof NotYet ? result.atTimeout : result;
    if (this.#isStored) return reply;
    this.#replies.push(writes ? reply : undefined);
    if (index === this.#calls.length - 1) yield* storeReply(this.#request, this.#replies);
    return reply;
  }
}
