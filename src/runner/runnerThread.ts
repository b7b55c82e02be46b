// The task of a runner's thread in a pool: runs one place of the runner with the thread's own port to the store.
import { BroadcastChannel } from "node:worker_threads";
import type { RunnerTask, StoreServerAddress } from "../index.ts";
import { present } from "../present.ts";
import type { RunnerEvent } from "./events.ts";
import type { RunnerHooks, RunnerParts, RunnerSettings } from "./options.ts";
import { type ProcessGuard, startGuard } from "./process/guard.ts";
import { runLoop } from "./runLoop.ts";

/** One place of a runner, as it travels to its thread. */
export interface ThreadTask {
  readonly name: string;
  readonly settings: RunnerSettings;
  /** The file URL of a module that exports `hooks` and perhaps `sink`. */
  readonly module: string | undefined;
  /** The server of a remote store. */
  readonly server: StoreServerAddress | undefined;
  /** The name of the channel for events. */
  readonly channel: string;
}

/** The reason with which a thread's task is aborted. */
export type ThreadStop = "drain" | "interrupt";

/** The exports of a module that is named as `module`. */
export interface RunnerModule {
  readonly hooks?: RunnerHooks;
  readonly sink?: RunnerParts["sink"];
}

/** The guardian of all places in this thread. */
let guard: Promise<ProcessGuard> | undefined;

const run: RunnerTask<ThreadTask> = async (
  { name, settings, module, server, channel: channelName },
  { store, signal },
) => {
  const channel = new BroadcastChannel(channelName);
  channel.unref();
  const [draining, interrupted] = [new AbortController(), new AbortController()];
  channel.onmessage = ({ data }: { data: unknown }) => {
    if (data === ("interrupt" satisfies ThreadStop)) interrupted.abort("interrupted");
  };
  signal.addEventListener("abort", () => draining.abort("drain"), { once: true });
  if (signal.aborted) draining.abort("drain");
  try {
    const { hooks, sink }: RunnerModule = module === undefined ? {} : await import(module);
    await runLoop(store, {
      name,
      server,
      parts: {
        ...settings,
        ...present({ hooks, sink }),
        onEvent: (event: RunnerEvent) => channel.postMessage(event),
      },
      guard: await guardOfThread(),
      draining: draining.signal,
      interrupted: interrupted.signal,
    });
  } finally {
    channel.close();
  }
};

/** Starts the guardian for the first task. One that could not be started is tried again for the next. */
function guardOfThread(): Promise<ProcessGuard> {
  guard ??= startGuard();
  guard.catch(() => {
    guard = undefined;
  });
  return guard;
}

export default run;
