// The model of idempotency keys: a call that is repeated with its key gets the first answer.
import { isDeepStrictEqual } from "node:util";
import type { ModelOperation } from "./operation.ts";
import { Failure, limits, type State } from "./state.ts";

/** A call with a key. The key belongs to its operation and its actor. */
export interface KeyedCall {
  readonly name: string;
  readonly input: object;
  readonly actor: string;
  readonly key: string;
}

/** A keyed call that has run, with its answer. */
export interface Stored extends KeyedCall {
  readonly answer: unknown;
  readonly expiresAt: number;
}

const placeOf = ({ name, actor, key }: KeyedCall): string => JSON.stringify([name, actor, key]);

/** Returns the answer to a call, and changes the state; the stored answer when the call has run before. */
export function runKeyed(state: State, call: KeyedCall, operation: ModelOperation, run: () => unknown): unknown {
  const place = placeOf(call);
  const stored = state.keys.get(place);
  if (stored !== undefined && stored.expiresAt > state.now) {
    if (!isDeepStrictEqual(stored.input, call.input)) throw new Failure("idempotency_mismatch");
    return stored.answer;
  }
  const answer = run();
  const { name, input, actor, key } = call;
  if (operation.isStored(input, answer, state)) {
    const expiresAt = state.now + limits.idempotencyMs;
    const row: Stored = { name, input, actor, key, answer: operation.withoutSecret(answer), expiresAt };
    state.keys = new Map(state.keys).set(place, row);
  }
  return answer;
}

/** Ends the keys whose time is over, and returns their number. */
export function expireKeys(state: State): number {
  const all = [...state.keys];
  const left = all.filter(([, { expiresAt }]) => expiresAt > state.now);
  state.keys = new Map(left);
  return all.length - left.length;
}
