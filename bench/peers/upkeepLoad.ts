// A thread that prunes a store, or checks it over and over and counts the rows in shared memory.
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { attachStore } from "../../src/index.ts";

const { port, kind, counts } = workerData as { port: MessagePort; kind: "prune" | "fsck"; counts: Int32Array };
const store = attachStore(port);
if (kind === "prune") {
  parentPort?.postMessage("begun");
  await store.maintenance.prune();
  Atomics.store(counts, 1, 1);
}
while (kind === "fsck") {
  for (let from: string | undefined, more = true; more; more = from !== undefined) {
    const step = await store.maintenance.fsck(from === undefined ? {} : { from });
    Atomics.add(counts, 0, step.rows);
    from = step.next;
    parentPort?.postMessage("begun");
  }
}
