// The task of the runner threads of the conformance suite: calls on the store that their thread is attached to.
import type { CallOptions, RunnerContext, Store } from "../../src/index.ts";

/** One call: operation name, input, and the options that structured clone can copy. */
export type SentCall = readonly [name: string, input: unknown, options: Omit<CallOptions, "signal"> | undefined];

export type Task =
  | { readonly type: "call"; readonly call: SentCall; readonly aborted: boolean }
  | {
      readonly type: "atomically";
      readonly calls: readonly SentCall[];
      readonly async: boolean;
      readonly options: SentCall[2];
    }
  /** Items go out on the channel as they come; a message on it ends the stream. */
  | { readonly type: "stream"; readonly call: SentCall; readonly channel: string }
  | { readonly type: "close" };

// biome-ignore lint/suspicious/noExplicitAny: the names are known at run time only.
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
      return replay(store, task, signal);
    case "stream":
      return pour(store, task.call, task.channel);
    case "close":
      return store.close();
  }
}

function replay(
  store: Store,
  { calls, async, options }: Extract<Task, { type: "atomically" }>,
  signal: AbortSignal,
): Promise<unknown> {
  const record = (tx: unknown): void => {
    for (const [name, input, own] of calls) methodOf(tx, name)(input, own);
  };
  return store.atomically(async ? async (tx) => record(tx) : record, { ...options, signal });
}

async function pour(store: Store, [name, input, options]: SentCall, channelName: string): Promise<number> {
  const channel = new BroadcastChannel(channelName);
  const stop = new AbortController();
  channel.onmessage = () => stop.abort();
  let count = 0;
  try {
    for await (const item of methodOf(store, name)(input, { ...options, signal: stop.signal })) {
      channel.postMessage(item);
      count++;
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  } finally {
    channel.close();
  }
  return count;
}
