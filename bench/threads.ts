// The threads of the peers. Each starts with its data, receives a load, and answers with a tally.
import { once } from "node:events";
import { type MessagePort, parentPort, type Transferable, Worker } from "node:worker_threads";
import type { Load, Tally } from "./load.ts";

export interface LoadThread {
  run(load: Load): Promise<Tally>;
  close(): Promise<unknown>;
}

/** Starts a thread, and resolves when it listens for loads. */
export async function startThread(
  entry: URL,
  workerData: unknown,
  transferList: readonly Transferable[] = [],
): Promise<LoadThread> {
  const worker = new Worker(entry, { workerData, transferList: [...transferList] });
  await nextMessage(worker);
  return {
    run(load) {
      worker.postMessage(load);
      return nextMessage(worker) as Promise<Tally>;
    },
    close: () => worker.terminate(),
  };
}

/** Resolves to the next message of the thread, and rejects when the thread fails. */
async function nextMessage(worker: Worker): Promise<unknown> {
  const [message] = await once(worker, "message");
  return message;
}

/** Serves loads on the thread's side. Without `run`, it only reports that the thread has started. */
export function serveLoads(run?: (load: Load) => Tally | Promise<Tally>): void {
  const owner = parentPort as MessagePort;
  if (run !== undefined) owner.on("message", async (load: Load) => owner.postMessage(await run(load)));
  owner.postMessage("ready");
}
