// The messages between a pool and its threads.
import type { MessagePort } from "node:worker_threads";
import type { Limits } from "../limits.ts";

/** The data that every thread of a pool starts with. */
export interface RunnerThreadData {
  /** The URL of the module whose default export runs the tasks. */
  readonly module: string;
  readonly limits: Partial<Limits>;
  readonly data: unknown;
}

/** Sent by a thread with one end of its port to the store, when it starts and each time the port is lost. */
export interface Attach {
  readonly type: "debug-server-db:attach";
  readonly store: MessagePort;
}

/** Sent by a thread once, when it starts, with one end of its control channel. */
export interface Listen {
  readonly type: "debug-server-db:listen";
  readonly control: MessagePort;
}

export interface Assignment {
  readonly taskId: number;
  readonly task: unknown;
}

/** Sent to all threads: the thread that runs this task aborts its signal. */
export interface Abort {
  readonly taskId: number;
  readonly reason: unknown;
}

/**
 * Sent by a thread when it begins a task. The pool then repeats an abort that came too early for the thread to have the
 * task.
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
      readonly code: unknown;
      readonly failure: unknown;
    };
