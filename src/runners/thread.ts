// What a runner thread runs: attaches to the store once, then hands each task to the user's module.
import { MessageChannel, type MessagePort, parentPort, workerData } from "node:worker_threads";
import { StoreError, toWireFailure } from "../errors.ts";
import { attachStore } from "../store.ts";
import type { Store } from "../storeTypes.ts";
import type { Abort, Assignment, Attach, Begun, Listen, RunnerThreadData, TaskResult } from "./messages.ts";

export interface RunnerContext<Data = unknown> {
  /** This thread's way to the store, with the operations that the pool allows. */
  readonly store: Store;
  /** Fires when the caller's signal fires, or the pool is closed in a hurry. */
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
  const attached = attachStore(newWay(), { limits, reconnect: newWay });
  const running = new Map<number, AbortController>();
  listenForAborts(control.port1, running);
  const loaded = import(module) as Promise<{ default?: unknown }>;
  // Reported by the first task.
  loaded.catch(() => undefined);

  return async ({ taskId, task }) => {
    const aborter = new AbortController();
    running.set(taskId, aborter);
    control.port1.postMessage({ taskId } satisfies Begun);
    try {
      const { default: run } = await loaded;
      if (typeof run !== "function") throw new TypeError(`${module} has no default export that is a function`);
      const value: unknown = await (run as RunnerTask<unknown>)(task, {
        store: attached,
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

/** The pool serves the other end, or closes it when the store is closed (D-023). */
function newWay(): MessagePort {
  const { port1, port2 } = new MessageChannel();
  parentPort?.postMessage({ type: "debug-server-db:attach", store: port2 } satisfies Attach, [port2]);
  return port1;
}

function listenForAborts(control: MessagePort, running: ReadonlyMap<number, AbortController>): void {
  control.on("message", ({ taskId, reason }: Abort) => running.get(taskId)?.abort(reason));
  control.unref();
}

/** Tried here, because Piscina ends the thread over a result that cannot be cloned, and with it all its tasks. */
function sendable(result: TaskResult): TaskResult {
  structuredClone(result);
  return result;
}

/** Details are the only part that may hold anything. */
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
