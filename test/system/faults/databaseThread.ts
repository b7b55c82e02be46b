// A database thread that a test can terminate at any time: the same entry point and messages as the supervisor's.
import { once } from "node:events";
import { MessageChannel, Worker } from "node:worker_threads";
import { controlOf, moved, type RemoteControl } from "../../../src/actor/control.ts";
import type { DatabaseThreadData, Report } from "../../../src/actor/thread.ts";
import { checkLimits, type Limits } from "../../../src/limits.ts";
import { workerUrl } from "../../../src/package.ts";
import { attachStore } from "../../../src/store.ts";
import type { Store } from "../../../src/storeTypes.ts";

export interface DatabaseThread {
  readonly worker: Worker;
  readonly control: RemoteControl;
  readonly exited: Promise<unknown>;
  connect(): Store;
}

interface ThreadOptions {
  readonly limits?: Partial<Limits>;
  /** The memory of a test clock. */
  readonly clock?: SharedArrayBuffer;
}

export async function startThread(path: string, options: ThreadOptions = {}): Promise<DatabaseThread> {
  const data: DatabaseThreadData = {
    path,
    limits: checkLimits(options.limits),
    migrate: "create",
    synchronous: "full",
    maxBytes: undefined,
    clock: options.clock,
  };
  const worker = new Worker(workerUrl("database"), { workerData: data });
  const exited = new Promise((resolve) => worker.once("exit", resolve));
  for (;;) {
    const [report] = (await once(worker, "message")) as [Report];
    if (report.type === "ready") break;
  }
  const control = controlOf(worker);
  return {
    worker,
    control,
    exited,
    connect() {
      const { port1, port2 } = new MessageChannel();
      void control.serve(moved(port2), undefined);
      return attachStore(port1);
    },
  };
}
