// A store made of the functions that a test supplies, for tests of code that uses a store. It records every call, and a
// method without a function throws.
import type { MessagePort } from "node:worker_threads";
import type { CallOptions } from "../client.ts";
import { bytesOf, refuseUnsendable } from "../courier.ts";
import { StoreError } from "../errors.ts";
import { Iteration } from "../iteration.ts";
import { defaultLimits } from "../limits.ts";
import type { AnyOperation, OperationTable } from "../operation.ts";
import { operations } from "../operations/table.ts";
import { type Outgoing, outgoing, withEnvelopeKey } from "../outgoing.ts";
import { isPaged, type Page, rowsOfPages } from "../pages.ts";
import { recordCalls } from "../recording.ts";
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
 * `changes.watch`) or of `all` returns any iterable. By default `all` iterates over the pages of `list`. What a store
 * refuses before it asks its database, the stub refuses too: inputs and options that are not valid, calls that cannot be
 * part of `atomically`, signals that have fired, and all calls after `close`.
 */
export function stubStore(stubs: StubMethods = {}): StubStore {
  const calls: StubCall[] = [];
  let closed = false;
  const lost = () => (closed ? "the store is closed" : undefined);
  const methods: Record<string, Record<string, StubMethod>> = {};
  for (const [entity, verbs] of Object.entries<OperationTable[string]>(operations)) {
    const functions = stubs[entity as Entity] as Record<string, StubMethod> | undefined;
    const recorded =
      (verb: string, operation: AnyOperation): StubMethod =>
      (input, options) => {
        const name = `${entity}.${verb}`;
        calls.push({ name, input, options });
        const answer = functions?.[verb];
        if (answer === undefined) refuse(name);
        // `all` makes the calls of its `list`, and its errors name them.
        const sentName = verb === "all" ? `${entity}.list` : name;
        const { signal, timeoutMs, ...callerOptions } = options ?? {};
        const sent = checkedCalls(sentName, operation, input, callerOptions);
        refuseUnsendable(sentName, bytesOf(sent), { signal, timeoutMs }, defaultLimits, lost());
        return answer(input, options);
      };
    const entityMethods: Record<string, StubMethod> = {};
    for (const [verb, operation] of Object.entries(verbs))
      entityMethods[verb] =
        operation.stream === undefined
          ? promised(recorded(verb, operation))
          : iterated(`${entity}.${verb}`, recorded(verb, operation), lost);
    const { list } = entityMethods;
    const listed = verbs.list;
    if (list !== undefined && listed !== undefined && isPaged(listed))
      entityMethods.all =
        functions?.all === undefined
          ? iterateList(`${entity}.list`, list)
          : iterated(`${entity}.list`, recorded("all", listed), lost);
    methods[entity] = entityMethods;
  }
  /** Runs the recorded calls one after the other, and stops at the first failure, with its index in the details. */
  const atomically = async (record: (tx: never) => unknown, options: CallOptions = {}): Promise<unknown[]> => {
    const recorded = recordCalls(operations, record, options);
    const sent = recorded.map(({ call }) => call);
    if (sent[0] === undefined) return [];
    const inputs = recorded.flatMap(({ call: { name }, input }) => [name, input]);
    const { signal, timeoutMs } = options;
    const bytes = bytesOf(withEnvelopeKey(sent, inputs, options));
    refuseUnsendable(sent[0].name, bytes, { signal, timeoutMs }, defaultLimits, lost());
    const results: unknown[] = [];
    for (const [index, { call, input, options: callOptions }] of recorded.entries()) {
      const [entity, verb] = call.name.split(".") as [Entity, string];
      calls.push({ name: call.name, input, options: callOptions });
      const answer = (stubs[entity] as Record<string, StubMethod> | undefined)?.[verb];
      try {
        results.push(await (answer === undefined ? refuse(call.name) : answer(input, callOptions)));
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        const { code, message, outcome, details, retryable } = error;
        const placed = recorded.length > 1 ? { ...details, index, operation: call.name } : details;
        throw new StoreError(code, message, {
          outcome,
          details: placed,
          retryable,
          operation: call.name,
          cause: error,
        });
      }
    }
    return results;
  };
  const close = async (): Promise<void> => {
    closed = true;
  };
  const unlessClosed = (name: string): never => {
    if (closed) throw new StoreError("closed", lost());
    return refuse(name);
  };
  const rest = {
    atomically,
    limits: defaultLimits,
    close,
    connect: () => unlessClosed("connect"),
    // A port that is served after the end is closed, so that its other end expects no answer.
    serve: (port: MessagePort) => (closed ? port.close() : refuse("serve")),
    liveness: () => ({ state: closed ? "dead" : "beating", beatAgoMs: 0 }),
    backup: async () => unlessClosed("backup"),
    [Symbol.asyncDispose]: close,
    calls,
  };
  return { ...methods, ...rest } as unknown as StubStore;
}

/**
 * Checks a call as the client of a store does. Cursors and tokens may be any text: a cursor is what the stub's own `list`
 * returned, and a token is what the stub's own `verify` accepts.
 */
function checkedCalls(
  name: string,
  operation: AnyOperation,
  input: unknown = {},
  options: CallOptions = {},
): readonly Outgoing[] {
  try {
    const { cursor: _, ...fields } = Object(input) as Record<string, unknown>;
    return [outgoing(name, operation, isPaged(operation) && typeof input === "object" ? fields : input, options)];
  } catch (error) {
    if (error instanceof StoreError && error.code === "token_malformed") return [];
    throw error;
  }
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
function iterated(name: string, call: StubMethod, lost: () => string | undefined): StubMethod {
  return (input, options) => {
    let items: AsyncIterator<unknown> | undefined;
    const load = async (signal: AbortSignal) => {
      if (items !== undefined && lost() !== undefined) throw new StoreError("closed", lost(), { operation: name });
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
