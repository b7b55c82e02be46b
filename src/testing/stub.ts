// A store that is given functions, for tests of code that uses one: what is not given throws, and every call is
// recorded.
import type { CallOptions } from "../client.ts";
import { StoreError } from "../errors.ts";
import { defaultLimits } from "../limits.ts";
import type { AnyOperation, OperationTable } from "../operation.ts";
import { operations } from "../operations/table.ts";
import { isPaged, type Page, rowsOfPages } from "../pages.ts";
import type { OwnedStore } from "../storeTypes.ts";

type Entity = keyof typeof operations;
// biome-ignore lint/suspicious/noExplicitAny: a stub answers with what its test needs, which may be less than a whole row.
type StubMethod = (input: any, options?: CallOptions) => unknown;

export type StubMethods = {
  readonly [Name in Entity]?: { readonly [Verb in keyof OwnedStore[Name]]?: StubMethod };
};

export interface StubCall {
  /** Such as "worktrees.reserve". */
  readonly name: string;
  readonly input: unknown;
  readonly options: CallOptions | undefined;
}

export type StubStore = OwnedStore & { readonly calls: readonly StubCall[] };

/**
 * Creates a stub. A stream (`logs.follow`, `changes.watch`) and `all` are given as functions that return any iterable.
 * An `all` that is not given iterates over the pages of the `list` that is.
 */
export function stubStore(given: StubMethods = {}): StubStore {
  const calls: StubCall[] = [];
  const methods: Record<string, Record<string, StubMethod>> = {};
  for (const [entity, verbs] of Object.entries<OperationTable[string]>(operations)) {
    const answers = given[entity as Entity] as Record<string, StubMethod> | undefined;
    const recorded =
      (verb: string): StubMethod =>
      (input, options) => {
        const name = `${entity}.${verb}`;
        calls.push({ name, input, options });
        const answer = answers?.[verb];
        if (answer === undefined) throw new Error(`stubStore: ${name} was called and is not given`);
        return answer(input, options);
      };
    const own: Record<string, StubMethod> = {};
    for (const [verb, { stream }] of Object.entries(verbs))
      own[verb] = stream === undefined ? promised(recorded(verb)) : iterated(recorded(verb));
    const { list } = own;
    if (list !== undefined && isPaged(verbs.list as AnyOperation))
      own.all = answers?.all === undefined ? walking(`${entity}.list`, list) : iterated(recorded("all"));
    methods[entity] = own;
  }
  const refuse = (name: string) => () => {
    throw new Error(`stubStore: ${name} was called and is not given`);
  };
  const close = async (): Promise<void> => undefined;
  const rest = {
    atomically: atomically(methods),
    limits: defaultLimits,
    close,
    connect: refuse("connect"),
    serve: refuse("serve"),
    liveness: () => ({ state: "beating", beatAgoMs: 0 }),
    backup: refuse("backup"),
    [Symbol.asyncDispose]: close,
    calls,
  };
  return { ...methods, ...rest } as unknown as StubStore;
}

function promised(call: StubMethod): StubMethod {
  return async (input, options) => call(input, options);
}

function iterated(call: StubMethod): StubMethod {
  return async function* (input, options) {
    yield* call(input, options) as AsyncIterable<unknown>;
  };
}

function walking(name: string, list: StubMethod): StubMethod {
  return (input = {}, options = {}) =>
    rowsOfPages((pageInput) => list(pageInput, options) as Promise<Page<unknown>>, input, {
      name,
      signal: options.signal,
    });
}

/** Runs what was recorded one after the other; the first failure ends it, with its index. */
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
        const { code, message, outcome, details, operation } = error;
        throw new StoreError(code, message, {
          outcome,
          details: { ...details, index },
          cause: error,
          ...(operation === undefined ? {} : { operation }),
        });
      }
    }
    return results;
  };
}
