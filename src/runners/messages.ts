// What the pool and its threads say to each other besides tasks.
import type { MessagePort } from "node:worker_threads";
import type { Limits } from "../limits.ts";

/** What every thread of a pool is started with. */
export interface RunnerThreadData {
  /** The URL of the module whose default export runs tasks. */
  readonly module: string;
  readonly limits: Partial<Limits>;
  readonly data: unknown;
}

/** From a thread: the far end of its way to the store; once more when that was lost. */
export interface Attach {
  readonly type: "debug-server-db:attach";
  readonly store: MessagePort;
}

/** From a thread, once, when it starts: the far end of its control channel. */
export interface Listen {
  readonly type: "debug-server-db:listen";
  readonly control: MessagePort;
}

export interface Assignment {
  readonly taskId: number;
  readonly task: unknown;
}

/** To all threads: whoever has this task aborts its signal. */
export interface Abort {
  readonly taskId: number;
  readonly reason: unknown;
}

/** From a thread: it begins this task. An abort that was sent before found nobody, and is sent again. */
export interface Begun {
  readonly taskId: number;
}

/** Errors lose their own properties on the way, so a failure travels as a value. */
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
