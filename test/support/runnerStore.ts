// A store whose calls run in a runner thread of a pool. Each call is a task, and the pool returns its result or error.
import {
  type CallOptions,
  createRunnerPool,
  type Limits,
  newId,
  type OwnedStore,
  type RunnerPool,
  type Store,
  StoreError,
} from "../../src/index.ts";
import { Iteration } from "../../src/iteration.ts";
import { operations } from "../../src/operations/table.ts";
import { type Page, rowsOfPages } from "../../src/pages.ts";
import { present } from "../../src/present.ts";
import type { CallMessage, Task } from "./runnerTask.ts";

interface Options {
  readonly operations?: readonly string[] | undefined;
  readonly limits: Partial<Limits>;
}

export async function openRunnerStore(owned: OwnedStore, options: Options) {
  const pool = createRunnerPool(owned, {
    filename: new URL("./runnerTask.ts", import.meta.url),
    threads: 1,
    tasksPerThread: 1_000,
    limits: options.limits,
    ...present({ operations: options.operations }),
  });
  return { store: runnerStore(pool), close: () => pool.close() };
}

function runnerStore(pool: RunnerPool): Store {
  const entities = Object.entries(operations).map(([entity, verbs]) => {
    const methods = Object.entries(verbs).map(([verb, { stream }]) => {
      const name = `${entity}.${verb}`;
      return [verb, stream === undefined ? callOf(pool, name) : streamOf(pool, name)];
    });
    const all = "list" in verbs ? { all: allOf(pool, `${entity}.list`) } : {};
    return [entity, { ...Object.fromEntries(methods), ...all }];
  });
  const close = () => pool.run<void>({ type: "close" } satisfies Task);
  return {
    ...Object.fromEntries(entities),
    atomically: atomicallyOn(pool),
    close,
    [Symbol.asyncDispose]: close,
  } as Store;
}

function callOf(pool: RunnerPool, name: string) {
  return async (input?: unknown, { signal, ...options }: CallOptions = {}) => {
    const task: Task = { type: "call", call: [name, input, options], aborted: signal?.aborted ?? false };
    return pool.run(task, signal === undefined || signal.aborted ? {} : { signal });
  };
}

/** Iterates over pages. Each page is a task, so that the test decides when the next one is read. */
function allOf(pool: RunnerPool, name: string) {
  const list = callOf(pool, name);
  return (input: unknown = {}, options: CallOptions = {}) =>
    rowsOfPages((pageInput) => list(pageInput, options) as Promise<Page<unknown>>, input, {
      name,
      signal: options.signal,
    });
}

function atomicallyOn(pool: RunnerPool) {
  return async (record: (tx: unknown) => unknown, { signal, ...options }: CallOptions = {}) => {
    const calls: CallMessage[] = [];
    let recorded = false;
    // A client refuses later calls itself, but the client of the task never sees them.
    const recorder = (name: string) => (input?: unknown, callOptions?: CallOptions) => {
      if (recorded)
        throw new StoreError("invalid_input", `${name}: the calls of this transaction are recorded already`);
      calls.push([name, input, callOptions]);
    };
    const tx = Object.fromEntries(
      Object.entries(operations).map(([entity, verbs]) => [
        entity,
        Object.fromEntries(Object.keys(verbs).map((verb) => [verb, recorder(`${entity}.${verb}`)])),
      ]),
    );
    const returned = record(tx);
    recorded = true;
    const async = returned instanceof Promise;
    if (async) returned.catch(() => undefined);
    return pool.run(
      { type: "atomically", calls, async, options } satisfies Task,
      signal === undefined ? {} : { signal },
    );
  };
}

/** Returns a stream method. Its items arrive on a separate channel, because a task has only one result. */
function streamOf(pool: RunnerPool, name: string) {
  return (input?: unknown, { signal, ...options }: CallOptions = {}) => {
    let items: StreamedItems | undefined;
    const load = async () => {
      items ??= streamItems(pool, { type: "stream", call: [name, input, options], channel: newId() }, signal);
      const item = await items.next();
      return { items: item === undefined ? [] : [item], isLast: item === undefined };
    };
    return new Iteration(load, { name, signal, onEnd: () => items?.leave() });
  };
}

interface StreamedItems {
  /** Resolves to the next item, or to undefined after the last one. Fails as the iteration in the thread. */
  next(): Promise<unknown>;
  /** Leaves the iteration in the thread. */
  leave(): void;
}

function streamItems(
  pool: RunnerPool,
  task: Extract<Task, { type: "stream" }>,
  signal: AbortSignal | undefined,
): StreamedItems {
  const channel = new BroadcastChannel(task.channel);
  const received: unknown[] = [];
  let arrival = Promise.withResolvers<void>();
  channel.onmessage = (event) => {
    received.push((event as MessageEvent).data);
    arrival.resolve();
    arrival = Promise.withResolvers();
  };
  let [count, taken] = [Number.POSITIVE_INFINITY, 0];
  const ended = pool.run<number>(task, present({ signal })).then((total) => {
    count = total;
  });
  ended.catch(() => undefined);
  return {
    async next() {
      while (received.length === 0) {
        if (taken === count) return undefined;
        await Promise.race(count === Number.POSITIVE_INFINITY ? [arrival.promise, ended] : [arrival.promise]);
      }
      taken++;
      return received.shift();
    },
    leave() {
      channel.postMessage("leave");
      void ended.catch(() => undefined).finally(() => channel.close());
    },
  };
}
