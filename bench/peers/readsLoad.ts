// A thread that reads over and over what its data names, and counts the reads in shared memory.
import { type MessagePort, workerData } from "node:worker_threads";
import { defaultLimits } from "../../src/index.ts";
import { attachSlowStore } from "../../test/support/slowStore.ts";
import { readsOf } from "./readsOf.ts";

export type ReadKind = "burner" | "statement" | "stats" | "lists" | "logs";

const { port, kind, commandId, rows, shared } = workerData as {
  port: MessagePort;
  kind: ReadKind;
  commandId: string;
  rows: number;
  shared: SharedArrayBuffer;
};
const store = attachSlowStore(port, defaultLimits);
const reads: Record<ReadKind, () => unknown> = {
  burner: () => burn(),
  statement: () => store.slow.read({ statements: 1, rows }),
  ...readsOf(store, commandId),
};
const counts = new Int32Array(shared);
for (;;) {
  await reads[kind]();
  Atomics.add(counts, 0, 1);
}

/** Uses a processor for two seconds. */
function burn(): void {
  const endAtMs = performance.now() + 2_000;
  while (performance.now() < endAtMs);
}
