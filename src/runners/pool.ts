// A pool of runner threads, each with its own way to the store. The only file that knows Piscina.
import { availableParallelism } from "node:os";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { MessagePort } from "node:worker_threads";
import { Piscina } from "piscina";
import { fromWireFailure, StoreError, type WireFailure } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { operationFilter } from "../operations/patterns.ts";
import { workerUrl } from "../package.ts";
import type { OwnedStore } from "../storeTypes.ts";
import type { Abort, Assignment, Attach, Begun, Listen, RunnerThreadData, TaskResult } from "./messages.ts";

export interface RunnerPoolOptions {
  /** The module whose default export runs tasks: `(task, { store, signal, workerData }) => result`. A path or file URL. */
  readonly filename: string | URL;
  /** Threads, all started at once; as many as the machine has cores unless given. */
  readonly threads?: number;
  /** Tasks that one thread runs at a time; 1 unless given. */
  readonly tasksPerThread?: number;
  /** What the threads may reach: names such as "commands.claim", or "commands.*". All unless given. */
  readonly operations?: readonly string[];
  /** Handed to each task; structured clone must be able to copy it. */
  readonly workerData?: unknown;
  /** Of each thread's way to the store; as the store's own unless given. */
  readonly limits?: Partial<Limits>;
}

export interface RunnerPool {
  readonly threads: number;
  /** Runs a task in a free thread, or as soon as one is free. Its error comes back with name, message, stack and code. */
  run<Result = unknown>(task: unknown, options?: { readonly signal?: AbortSignal }): Promise<Result>;
  /** Waits for the tasks that run; with `abort`, fires their signals first. */
  close(options?: { readonly abort?: boolean }): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export function createRunnerPool(store: Pick<OwnedStore, "serve" | "limits">, options: RunnerPoolOptions): RunnerPool {
  const threads = options.threads ?? availableParallelism();
  const { operations, tasksPerThread = 1 } = options;
  // Now, because later, when a thread asks for its port, nobody could catch it.
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
    // With "sync", an idle thread sleeps in Atomics.wait and receives no message of its port (D-022).
    atomics: "async",
    idleTimeout: Number.POSITIVE_INFINITY,
  });
  const controls = new Set<MessagePort>();
  const aborted = new Map<number, Abort>();
  pool.on("message", (message: Attach | Listen) => {
    if (message?.type === "debug-server-db:attach")
      store.serve(message.store, operations === undefined ? {} : { operations });
    if (message?.type === "debug-server-db:listen") listen(message.control);
  });
  const listen = (control: MessagePort): void => {
    controls.add(control);
    control.on("message", ({ taskId }: Begun) => {
      const abort = aborted.get(taskId);
      if (abort !== undefined) control.postMessage(abort);
    });
    control.on("close", () => controls.delete(control));
    control.unref();
  };
  // A thread that fails between tasks is replaced; its tasks' errors go to their callers.
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
      // Not Piscina's own signal: that one would kill the thread (D-022).
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
    async close({ abort: hurry = false } = {}) {
      closing = true;
      if (hurry) for (const taskId of running.keys()) abort(taskId, "the runner pool is closing");
      // Not Piscina's close, which counts finished tasks wrongly with several threads, and then waits for its time-out.
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
  if (filename instanceof URL) return filename.href;
  return filename.startsWith("file:") ? filename : pathToFileURL(filename).href;
}

function unwrap(result: TaskResult): unknown {
  if (result.ok) return result.value;
  const { name, message, stack, code, failure } = result;
  const error =
    failure === undefined
      ? new Error(message)
      : fromWireFailure((failure as { wire: WireFailure }).wire, (failure as { operation: string }).operation);
  if (failure === undefined) Object.assign(error, { name, ...(code === undefined ? {} : { code }) });
  if (stack !== undefined) error.stack = stack;
  throw error;
}
