// Decides whether the model allows what a store answered: whether there is an order in which the calls of a step, made
// one after the other, give these answers and these rows of the change feed.
import assert from "node:assert/strict";
import { inspect, isDeepStrictEqual } from "node:util";
import type { StoreError } from "../../../src/index.ts";
import { runKeyed } from "./keys.ts";
import { modelled } from "./operations.ts";
import { type Change, type Choices, Failure, type State, tickMs } from "./state.ts";

/** A call and what came of it. The outcome of a call whose answer was lost is undefined. */
export interface Made {
  readonly name: string;
  readonly input: object;
  readonly actor: string;
  readonly key?: string;
  /** For a call that waits: whether this run of it finds something. */
  readonly finds?: boolean;
  readonly outcome: { readonly answer: unknown } | { readonly error: StoreError } | undefined;
}

export interface FeedRow extends Change {
  readonly actor: string | null;
}

/** Returns a value of a store in the form of the model: times are ticks since `baseMs`, and bytes are text. */
export function inTicks(value: unknown, baseMs: number): unknown {
  if (value instanceof Date) return Math.floor((value.getTime() - baseMs) / tickMs) * tickMs;
  if (value instanceof Uint8Array) return new TextDecoder().decode(value);
  if (Array.isArray(value)) return value.map((item) => inTicks(item, baseMs));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, inTicks(item, baseMs)]));
}

/** Returns an input with times in place of the ticks of its dates. */
export function fromTicks(value: unknown, baseMs: number): unknown {
  if (value instanceof Date) return new Date(value.getTime() + baseMs);
  if (Array.isArray(value)) return value.map((item) => fromTicks(item, baseMs));
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fromTicks(item, baseMs)]));
}

/** Returns a value of the model without what the store does not return. */
export function shown(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shown);
  if (typeof value !== "object" || value === null) return value;
  const fields = Object.entries(value).filter(([key]) => key !== "hidden");
  return Object.fromEntries(fields.map(([key, item]) => [key, shown(item)]));
}

/** Tries the choices that the contract leaves open one after the other, those that the feed suggests first. */
class Enumeration implements Choices {
  readonly #feed: readonly FeedRow[];
  #path: number[] = [];
  #counts: number[] = [];
  constructor(feed: readonly FeedRow[]) {
    this.#feed = feed;
  }

  of<Row extends { readonly id: string }>(candidates: readonly Row[]): Row | undefined {
    if (candidates.length <= 1) return candidates[0];
    const place = this.#counts.push(candidates.length) - 1;
    const sorted = candidates.toSorted((one, other) => this.#placeOf(one) - this.#placeOf(other));
    return sorted[this.#path[place] ?? 0];
  }

  /** Moves on to the next choices. Returns false when all were tried. */
  next(): boolean {
    const path = this.#counts.map((_, place) => this.#path[place] ?? 0);
    let last = path.length - 1;
    while (last >= 0 && (path[last] as number) + 1 >= (this.#counts[last] as number)) last--;
    this.#counts = [];
    this.#path = path.slice(0, last + 1);
    if (last >= 0) this.#path[last] = (path[last] as number) + 1;
    return last >= 0;
  }

  #placeOf({ id }: { readonly id: string }): number {
    const place = this.#feed.findIndex(
      ({ entityId, entityVersion, sessionId, op, ids }) =>
        entityId === id ||
        (op === "claim" && sessionId === id) ||
        (op === "prune" && (ids?.includes(id) || id === `${entityId} ${entityVersion}`)),
    );
    return place === -1 ? this.#feed.length : place;
  }
}

/** The facts about a store that its answers do not tell. */
export interface Readings {
  /** The time at which the clock of the model began. */
  readonly baseMs: number;
  /** True for a store that runs one transaction at a time. */
  readonly isSerial: boolean;
}

/**
 * Returns the feed in the order of the calls. Where transactions run side by side, one may commit after another one
 * without having seen it.
 */
function byCall(feed: readonly FeedRow[], calls: readonly Made[]): readonly FeedRow[] {
  const placeOf = ({ actor }: FeedRow) => calls.findIndex((call) => call.actor === actor);
  return feed.toSorted((one, other) => placeOf(one) - placeOf(other));
}

/** The number of orders and choices that are tried for one step. */
const triesMax = 2_000;

/**
 * Yields the states that the calls may have led to, the likeliest one first. Fails with the first difference between the
 * store and the model when no order of the calls explains the answers and the feed.
 */
export function* explain(
  state: State,
  orders: Iterable<readonly Made[]>,
  feed: readonly FeedRow[],
  { baseMs, isSerial }: Readings,
): Generator<State, void, undefined> {
  let difference: unknown;
  let [tries, found] = [0, 0];
  for (const order of orders) {
    const choices = new Enumeration(feed);
    do {
      const after = state.copy();
      after.choices = choices;
      try {
        runInOrder(after, order, isSerial ? feed : byCall(feed, order), baseMs);
      } catch (error) {
        if (!(error instanceof assert.AssertionError)) throw error;
        difference ??= error;
        continue;
      }
      found++;
      yield after;
    } while (++tries < triesMax && choices.next());
  }
  if (found === 0) throw difference;
}

/** Yields all orders of the calls. One whose answer was lost may also not have run. */
export function* ordersOf(calls: readonly Made[]): Generator<readonly Made[]> {
  const [first] = calls;
  if (first === undefined) return yield [];
  for (const call of calls) for (const rest of ordersOf(calls.filter((other) => other !== call))) yield [call, ...rest];
  const answered = calls.filter(({ outcome }) => outcome !== undefined);
  if (answered.length === calls.length) return;
  for (const lost of calls.filter(({ outcome }) => outcome === undefined))
    yield* ordersOf(calls.filter((call) => call !== lost));
}

function runInOrder(state: State, calls: readonly Made[], feed: readonly FeedRow[], baseMs: number): void {
  let seen = 0;
  for (const call of calls) {
    const { name, input, actor, key, outcome } = call;
    const before = state.copy();
    state.changes = [];
    const operation = modelled[name] as (typeof modelled)[string];
    let expected: unknown;
    let isMiss = false;
    try {
      const run = () => {
        const answer = operation.run(input, state);
        isMiss = operation.isMiss(input, answer, state);
        return shown(operation.ordered(answer));
      };
      expected = { answer: key === undefined ? run() : runKeyed(state, { name, input, actor, key }, operation, run) };
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      isMiss = operation.isMiss(input, error, state);
      if (!error.keepsChanges) Object.assign(state, before, { changes: [] });
      expected = { code: error.code, details: error.details };
    }
    if (call.finds !== undefined) assert.equal(!isMiss, call.finds, `${name} found something, or nothing`);
    if (outcome !== undefined) {
      const observed =
        "error" in outcome
          ? { code: outcome.error.code, details: detailsLike(outcome.error, expected, baseMs) }
          : { answer: operation.ordered(inTicks(outcome.answer, baseMs)) };
      if (!isDeepStrictEqual(observed, expected))
        assert.deepEqual(
          observed,
          expected,
          `${name} ${inspect(input, { depth: 5 })}: the store differs from the model`,
        );
    }
    const changes = state.changes.map((change) => ({ ...change, actor }));
    const rows = feed.slice(seen, seen + changes.length);
    if (!isDeepStrictEqual(inOneOrder(rows), inOneOrder(changes)))
      assert.deepEqual(
        inOneOrder(feed.slice(seen)),
        inOneOrder(changes),
        `${name}: the change feed differs from the model`,
      );
    seen += changes.length;
  }
  assert.deepEqual(feed.slice(seen), [], "the change feed has rows that no call explains");
}

/** Returns those details of an error that the model names. */
function detailsLike(error: StoreError, expected: unknown, baseMs: number): unknown {
  const details = inTicks(error.details, baseMs) as Record<string, unknown>;
  const named = (expected as { details?: object }).details ?? {};
  return Object.fromEntries(Object.keys(named).map((name) => [name, details[name]]));
}

/** The rows of one call are written in an order that the contract leaves open, except that versions grow. */
function inOneOrder(rows: readonly FeedRow[]): readonly FeedRow[] {
  const keyOf = ({ entity, entityId, entityVersion }: FeedRow) =>
    `${entity} ${entityId} ${String(entityVersion).padStart(6, "0")}`;
  return rows.toSorted((one, other) => (keyOf(one) < keyOf(other) ? -1 : 1));
}
