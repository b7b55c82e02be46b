// The messages between a pool and its threads.
import type { MessagePort } from "node:worker_threads";
import type { WireFailure } from "../errors.ts";
import type { Limits } from "../limits.ts";

/** The data that every thread of a pool starts with. */
export interface RunnerThreadData {
  /** The URL of the module whose default export runs the tasks. */
  readonly module: string;
  readonly limits: Partial<Limits>;
  readonly data: unknown;
}

/** A thread sends one end of its port to the store: when it starts, and each time the port is lost. */
export interface Attach {
  readonly type: "debug-server-db:attach";
  readonly store: MessagePort;
}

/** A thread sends one end of its control channel, once, when it starts. */
export interface Listen {
  readonly type: "debug-server-db:listen";
  readonly control: MessagePort;
}

export interface Assignment {
  readonly taskId: number;
  readonly task: unknown;
}

/** The pool sends this to all threads; the one that runs the task aborts its signal. */
export interface Abort {
  readonly taskId: number;
  readonly reason: unknown;
}

/**
 * A thread sends this when it begins a task. If the task was aborted earlier, when no thread had it, the pool sends the
 * abort again.
 */
export interface Begun {
  readonly taskId: number;
}

/** The result of a task. A failure travels as a value, because structured clone drops an error's own properties. */
export type TaskResult =
  | { readonly ok: true; readonly value: unknown }
  | {
      readonly ok: false;
      readonly name: string;
      readonly message: string;
      readonly stack: string | undefined;
      readonly code: string | number | undefined;
      /** Set when the task failed with a StoreError. */
      readonly failure: { readonly wire: WireFailure; readonly operation: string | undefined } | undefined;
    };
