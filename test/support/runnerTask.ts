// The task of the runner threads in the conformance suite: calls the store that the thread is attached to.
import type { CallOptions, RunnerContext, Store } from "../../src/index.ts";

/** A call: the operation name, the input, and the options that structured clone can copy. */
export type CallMessage = readonly [name: string, input: unknown, options: Omit<CallOptions, "signal"> | undefined];

export type Task =
  | { readonly type: "call"; readonly call: CallMessage; readonly aborted: boolean }
  | {
      readonly type: "atomically";
      readonly calls: readonly CallMessage[];
      readonly async: boolean;
      readonly options: CallMessage[2];
    }
  /** Sends the items of a stream on the channel, until a message on the channel says that the caller has left. */
  | { readonly type: "stream"; readonly call: CallMessage; readonly channel: string }
  | { readonly type: "close" };

// biome-ignore lint/suspicious/noExplicitAny: the names are known only at run time.
type AnyMethod = (input: unknown, options?: CallOptions) => any;

function methodOf(store: unknown, name: string): AnyMethod {
  const [entity, verb] = name.split(".") as [string, string];
  return (store as Record<string, Record<string, AnyMethod>>)[entity]?.[verb] as AnyMethod;
}

export default async function run(task: Task, { store, signal }: RunnerContext): Promise<unknown> {
  switch (task.type) {
    case "call": {
      const [name, input, options] = task.call;
      return methodOf(store, name)(input, { ...options, signal: task.aborted ? AbortSignal.abort() : signal });
    }
    case "atomically":
      return repeatCalls(store, task, signal);
    case "stream":
      return sendItems(store, task, signal);
    case "close":
      return store.close();
  }
}

/** Repeats the calls inside a transaction of the thread's own store. */
function repeatCalls(
  store: Store,
  { calls, async, options }: Extract<Task, { type: "atomically" }>,
  signal: AbortSignal,
): Promise<unknown> {
  const record = (tx: unknown): void => {
    for (const [name, input, callOptions] of calls) methodOf(tx, name)(input, callOptions);
  };
  return store.atomically(async ? async (tx) => record(tx) : record, { ...options, signal });
}

async function sendItems(
  store: Store,
  { call: [name, input, options], channel: channelName }: Extract<Task, { type: "stream" }>,
  signal: AbortSignal,
): Promise<number> {
  const channel = new BroadcastChannel(channelName);
  const items: AsyncGenerator<unknown, void, undefined> = methodOf(store, name)(input, { ...options, signal });
  channel.onmessage = () => void items.return();
  let count = 0;
  try {
    for await (const item of items) {
      channel.postMessage(item);
      count++;
    }
  } finally {
    channel.close();
  }
  return count;
}
