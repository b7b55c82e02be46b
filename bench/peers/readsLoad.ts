// A thread that reads over and over what its data names, and counts the reads in shared memory.
import { type MessagePort, workerData } from "node:worker_threads";
import { defaultLimits } from "../../src/index.ts";
import { attachSlowStore } from "../../test/support/slowStore.ts";

export type ReadKind = "statement" | "stats" | "lists" | "logs";

const { port, kind, commandId, rows, shared } = workerData as {
  port: MessagePort;
  kind: ReadKind;
  commandId: string;
  rows: number;
  shared: SharedArrayBuffer;
};
const store = attachSlowStore(port, defaultLimits);
const reads: Record<ReadKind, () => Promise<unknown>> = {
  statement: () => store.slow.read({ statements: 1, rows }),
  stats: () => store.maintenance.stats(),
  lists: () => store.commands.list({ limit: 500 }),
  logs: () => store.logs.read({ commandId, maxBytes: 1024 * 1024 }),
};
const counts = new Int32Array(shared);
for (;;) {
  await reads[kind]();
  Atomics.add(counts, 0, 1);
}
