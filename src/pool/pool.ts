// A pool of runner threads, each with its own port to the store. Only this file knows Piscina.
import { availableParallelism } from "node:os";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { MessagePort } from "node:worker_threads";
import { Piscina } from "piscina";
import { fromWireFailure, StoreError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { operationFilter } from "../operations/patterns.ts";
import { workerUrl } from "../package.ts";
import { present } from "../present.ts";
import type { OwnedStore } from "../storeTypes.ts";
import { threadOptions } from "../threadOptions.ts";
import type { Abort, Assignment, Attach, Begun, Listen, RunnerThreadData, TaskResult } from "./messages.ts";

export interface RunnerPoolOptions {
  /**
   * The module whose default export runs the tasks, as a path or file URL. It is called with the task and a
   * `RunnerContext`.
   */
  readonly filename: string | URL;
  /** The number of threads, all started at once. Defaults to the number of cores. */
  readonly threads?: number;
  /** The number of tasks that one thread runs at a time. Defaults to 1. */
  readonly tasksPerThread?: number;
  /** The operations that the threads may call: names such as "commands.claim", or "commands.*". Defaults to all. */
  readonly operations?: readonly string[];
  /** The data that each task receives; structured clone must be able to copy it. */
  readonly workerData?: unknown;
  /** The limits of each thread's client. Default to the store's own. */
  readonly limits?: Partial<Limits>;
}

export interface RunnerPool {
  readonly threads: number;
  /** Runs a task as soon as a thread is free. An error of the task arrives with its name, message, stack and code. */
  run<Result = unknown>(task: unknown, options?: { readonly signal?: AbortSignal }): Promise<Result>;
  /** Waits for the running tasks; with `abort`, aborts their signals first. */
  close(options?: { readonly abort?: boolean }): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export function createRunnerPool(store: Pick<OwnedStore, "serve" | "limits">, options: RunnerPoolOptions): RunnerPool {
  const threads = options.threads ?? availableParallelism();
  const { operations, tasksPerThread = 1 } = options;
  // A pattern that matches nothing fails here, where the caller can catch it, and not when a thread asks for its port.
  operationFilter(operations);
  const data: RunnerThreadData = {
    module: moduleUrl(options.filename),
    limits: { ...store.limits, ...options.limits },
    data: options.workerData,
  };
  const pool = new Piscina({
    filename: fileURLToPath(workerUrl("runner")),
    minThreads: threads,
    maxThreads: threads,
    concurrentTasksPerWorker: tasksPerThread,
    workerData: data,
    // In "sync" mode, an idle thread sleeps in Atomics.wait and receives no messages from its port (D-022).
    atomics: "async",
    idleTimeout: Number.POSITIVE_INFINITY,
    ...threadOptions(),
  });
  const controls = new Set<MessagePort>();
  const aborted = new Map<number, Abort>();
  const listen = (control: MessagePort): void => {
    controls.add(control);
    control.on("message", ({ taskId }: Begun) => {
      const message = aborted.get(taskId);
      if (message !== undefined) control.postMessage(message);
    });
    control.on("close", () => controls.delete(control));
    control.unref();
  };
  pool.on("message", (message: Attach | Listen) => {
    if (message?.type === "debug-server-db:attach") store.serve(message.store, present({ operations }));
    if (message?.type === "debug-server-db:listen") listen(message.control);
  });
  // A thread that fails between tasks is replaced. The errors of tasks reach their callers instead.
  pool.on("error", (error: Error) => process.emitWarning(error));
  const running = new Map<number, Promise<unknown>>();
  let lastTaskId = 0;
  let closing = false;

  const abort = (taskId: number, reason: unknown): void => {
    const message: Abort = { taskId, reason: String(reason) };
    aborted.set(taskId, message);
    for (const control of controls) control.postMessage(message);
  };

  return {
    threads,
    async run<Result>(task: unknown, { signal }: { readonly signal?: AbortSignal } = {}): Promise<Result> {
      if (closing) throw new StoreError("closed", "the runner pool is closed");
      signal?.throwIfAborted();
      const taskId = ++lastTaskId;
      // Piscina's own signal is not used, because it would terminate the thread (D-022).
      const onAbort = (): void => abort(taskId, signal?.reason);
      signal?.addEventListener("abort", onAbort, { once: true });
      const assignment: Assignment = { taskId, task };
      const result: Promise<TaskResult> = pool.run(assignment);
      running.set(taskId, result);
      try {
        return unwrap(await result) as Result;
      } finally {
        running.delete(taskId);
        aborted.delete(taskId);
        signal?.removeEventListener("abort", onAbort);
      }
    },
    async close({ abort: abortTasks = false } = {}) {
      closing = true;
      if (abortTasks) for (const taskId of running.keys()) abort(taskId, "the runner pool is closing");
      // Piscina's close is not used: with several threads it miscounts finished tasks, and then waits for its timeout.
      await Promise.allSettled(running.values());
      await pool.destroy();
      for (const control of controls) control.close();
    },
    [Symbol.asyncDispose]() {
      return this.close();
    },
  };
}

function moduleUrl(filename: string | URL): string {
  if (typeof filename !== "string") return filename.href;
  return filename.startsWith("file:") ? filename : pathToFileURL(filename).href;
}

function unwrap(result: TaskResult): unknown {
  if (result.ok) return result.value;
  const { name, message, stack, code, failure } = result;
  const error = failure === undefined ? new Error(message) : fromWireFailure(failure.wire, failure.operation);
  if (failure === undefined) Object.assign(error, present({ name, code }));
  if (stack !== undefined) error.stack = stack;
  throw error;
}
