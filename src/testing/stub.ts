// A store made of the functions that a test supplies, for tests of code that uses a store. It records every call, and a
// method without a function throws.
import type { CallOptions } from "../client.ts";
import { StoreError } from "../errors.ts";
import { Iteration } from "../iteration.ts";
import { defaultLimits } from "../limits.ts";
import type { AnyOperation, OperationTable } from "../operation.ts";
import { operations } from "../operations/table.ts";
import { isPaged, type Page, rowsOfPages } from "../pages.ts";
import type { OwnedStore } from "../storeTypes.ts";

type Entity = keyof typeof operations;
// biome-ignore lint/suspicious/noExplicitAny: a stub returns what its test needs, which may be less than a whole row.
type StubMethod = (input: any, options?: CallOptions) => unknown;

export type StubMethods = {
  readonly [Name in Entity]?: { readonly [Verb in keyof OwnedStore[Name]]?: StubMethod };
};

export interface StubCall {
  /** The name of the method, such as "worktrees.reserve". */
  readonly name: string;
  readonly input: unknown;
  readonly options: CallOptions | undefined;
}

export type StubStore = OwnedStore & { readonly calls: readonly StubCall[] };

/**
 * Creates a stub of the methods that have a function in `stubs`. The function of a stream (`logs.follow`,
 * `changes.watch`) or of `all` returns any iterable. By default `all` iterates over the pages of `list`.
 */
export function stubStore(stubs: StubMethods = {}): StubStore {
  const calls: StubCall[] = [];
  const methods: Record<string, Record<string, StubMethod>> = {};
  for (const [entity, verbs] of Object.entries<OperationTable[string]>(operations)) {
    const functions = stubs[entity as Entity] as Record<string, StubMethod> | undefined;
    const recorded =
      (verb: string): StubMethod =>
      (input, options) => {
        const name = `${entity}.${verb}`;
        calls.push({ name, input, options });
        const answer = functions?.[verb];
        return answer === undefined ? refuse(name) : answer(input, options);
      };
    const entityMethods: Record<string, StubMethod> = {};
    for (const [verb, { stream }] of Object.entries(verbs))
      entityMethods[verb] =
        stream === undefined ? promised(recorded(verb)) : iterated(`${entity}.${verb}`, recorded(verb));
    const { list } = entityMethods;
    if (list !== undefined && isPaged(verbs.list as AnyOperation))
      entityMethods.all =
        functions?.all === undefined ? iterateList(`${entity}.list`, list) : iterated(`${entity}.all`, recorded("all"));
    methods[entity] = entityMethods;
  }
  const close = async (): Promise<void> => undefined;
  const rest = {
    atomically: atomically(methods),
    limits: defaultLimits,
    close,
    connect: () => refuse("connect"),
    serve: () => refuse("serve"),
    liveness: () => ({ state: "beating", beatAgoMs: 0 }),
    backup: () => refuse("backup"),
    [Symbol.asyncDispose]: close,
    calls,
  };
  return { ...methods, ...rest } as unknown as StubStore;
}

function refuse(name: string): never {
  throw new Error(`stubStore: ${name} was called, but the test supplies no function for it`);
}

/** Returns a method that rejects when the function throws. */
function promised(call: StubMethod): StubMethod {
  return async (input, options) => call(input, options);
}

/**
 * Returns a method that calls the function when its iteration begins. As in a real store, the caller can leave the
 * iteration while it waits for an item, whatever the function returned.
 */
function iterated(name: string, call: StubMethod): StubMethod {
  return (input, options) => {
    let items: AsyncIterator<unknown> | undefined;
    const load = async (signal: AbortSignal) => {
      items ??= iteratorOf(call(input, options));
      const { done, value } = await Promise.race([items.next(), failureWhenAborted(name, signal)]);
      return { items: done ? [] : [value], isLast: done === true };
    };
    // A function that waits for its next item would answer only after it.
    const onEnd = () => void items?.return?.().catch(() => undefined);
    return new Iteration(load, { name, signal: options?.signal, onEnd });
  };
}

async function* iteratorOf(iterable: unknown): AsyncGenerator<unknown, void, undefined> {
  yield* iterable as AsyncIterable<unknown>;
}

/** Rejects with `aborted` when the signal fires. */
function failureWhenAborted(name: string, signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const fail = () => reject(new StoreError("aborted", undefined, { operation: name, cause: signal.reason }));
    signal.addEventListener("abort", fail, { once: true });
  });
}

/** Returns a method that iterates over the rows of all pages of `list`, like `all` of a real store. */
function iterateList(name: string, list: StubMethod): StubMethod {
  return (input = {}, options = {}) =>
    rowsOfPages((pageInput) => list(pageInput, options) as Promise<Page<unknown>>, input, {
      name,
      signal: options.signal,
    });
}

/** Runs the recorded calls one after the other, and stops at the first failure, with its index in the details. */
function atomically(methods: Record<string, Record<string, StubMethod>>) {
  return async (record: (tx: unknown) => void): Promise<unknown[]> => {
    const recorded: (() => unknown)[] = [];
    const tx = Object.fromEntries(
      Object.entries(methods).map(([entity, verbs]) => [
        entity,
        Object.fromEntries(
          Object.entries(verbs).map(([verb, call]): [string, StubMethod] => [
            verb,
            (input, options) => void recorded.push(() => call(input, options)),
          ]),
        ),
      ]),
    );
    record(tx);
    const results: unknown[] = [];
    for (const [index, call] of recorded.entries()) {
      try {
        results.push(await call());
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        const { code, message, outcome, details, retryable, operation } = error;
        const placed = { ...details, index };
        throw new StoreError(code, message, { outcome, details: placed, retryable, operation, cause: error });
      }
    }
    return results;
  };
}
