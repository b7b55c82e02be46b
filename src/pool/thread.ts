// The main function of a runner thread: attaches to the store once, then passes each task to the user's module.
import { MessageChannel, type MessagePort, parentPort, workerData } from "node:worker_threads";
import { StoreError, toWireFailure } from "../errors.ts";
import { attachStore } from "../store.ts";
import type { Store } from "../storeTypes.ts";
import type { Abort, Assignment, Attach, Begun, Listen, RunnerThreadData, TaskResult } from "./messages.ts";

export interface RunnerContext<Data = unknown> {
  /** The store, with the operations that the pool allows. All tasks of the thread share it. */
  readonly store: Store;
  /** Aborts when the caller's signal aborts, or when the pool is closed with `abort`. */
  readonly signal: AbortSignal;
  /** The pool's `workerData`. */
  readonly workerData: Data;
}

/** The default export of a runner module. */
export type RunnerTask<Task = never, Result = unknown, Data = unknown> = (
  task: Task,
  context: RunnerContext<Data>,
) => Result | Promise<Result>;

export function startRunnerThread(): (assignment: Assignment) => Promise<TaskResult> {
  const { module, limits, data } = workerData as RunnerThreadData;
  const control = new MessageChannel();
  parentPort?.postMessage({ type: "debug-server-db:listen", control: control.port2 } satisfies Listen, [control.port2]);
  const store = attachStore(openPort(), { limits, reconnect: openPort });
  const running = new Map<number, AbortController>();
  listenForAborts(control.port1, running);
  const loaded = import(module) as Promise<{ default?: unknown }>;
  // A module that fails to load fails the first task, which waits for the same promise.
  loaded.catch(() => undefined);

  return async ({ taskId, task }) => {
    const aborter = new AbortController();
    running.set(taskId, aborter);
    control.port1.postMessage({ taskId } satisfies Begun);
    try {
      const { default: run } = await loaded;
      if (typeof run !== "function") throw new TypeError(`${module} has no default export that is a function`);
      const value: unknown = await (run as RunnerTask<unknown>)(task, {
        store,
        signal: aborter.signal,
        workerData: data,
      });
      return sendable({ ok: true, value });
    } catch (error) {
      return sendableFailureOf(error);
    } finally {
      running.delete(taskId);
    }
  };
}

/** Opens a port to the store. The pool serves its other end, or closes it when the store is closed (D-023). */
function openPort(): MessagePort {
  const { port1, port2 } = new MessageChannel();
  parentPort?.postMessage({ type: "debug-server-db:attach", store: port2 } satisfies Attach, [port2]);
  return port1;
}

function listenForAborts(control: MessagePort, running: ReadonlyMap<number, AbortController>): void {
  control.on("message", ({ taskId, reason }: Abort) => running.get(taskId)?.abort(reason));
  control.unref();
}

/** Fails when structured clone cannot copy the result. Piscina would end the thread for it, with all its tasks. */
function sendable(result: TaskResult): TaskResult {
  structuredClone(result);
  return result;
}

/** Falls back to the failure to clone when a failure cannot be sent: the details of an error may hold any value. */
function sendableFailureOf(error: unknown): TaskResult {
  try {
    return sendable(failureOf(error));
  } catch (cloneError) {
    return failureOf(cloneError);
  }
}

function failureOf(error: unknown): TaskResult {
  const { name = "Error", message = String(error), stack, code } = (error ?? {}) as Partial<Error> & { code?: unknown };
  const failure = error instanceof StoreError ? { wire: toWireFailure(error), operation: error.operation } : undefined;
  return {
    ok: false,
    name,
    message,
    stack,
    code: typeof code === "string" || typeof code === "number" ? code : undefined,
    failure,
  };
}
