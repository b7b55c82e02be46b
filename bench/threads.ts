// Threads of the peers: each is started with its data, told its load, and answers with a tally.
import { once } from "node:events";
import { type MessagePort, parentPort, type Transferable, Worker } from "node:worker_threads";
import type { Load, Tally } from "./load.ts";

export interface LoadThread {
  run(load: Load): Promise<Tally>;
  close(): Promise<unknown>;
}

/** Resolves when the thread has begun to listen. */
export async function startThread(
  entry: URL,
  workerData: unknown,
  transferList: readonly Transferable[] = [],
): Promise<LoadThread> {
  const worker = new Worker(entry, { workerData, transferList: [...transferList] });
  await answer(worker);
  return {
    run(load) {
      worker.postMessage(load);
      return answer(worker) as Promise<Tally>;
    },
    close: () => worker.terminate(),
  };
}

/** Rejects when the thread fails. */
async function answer(worker: Worker): Promise<unknown> {
  const [message] = await once(worker, "message");
  return message;
}

/** The thread's side. Without `run` it only says that it is there. */
export function serveLoads(run?: (load: Load) => Tally | Promise<Tally>): void {
  const owner = parentPort as MessagePort;
  if (run !== undefined) owner.on("message", async (load: Load) => owner.postMessage(await run(load)));
  owner.postMessage("ready");
}
