// A runner thread that consumes the change feed, and reports each page before it acknowledges it. A thread that is told to
// die ends with a page in its hands.
import type { RunnerTask } from "../../../src/index.ts";

export interface Consuming {
  readonly dies: boolean;
  /** The number of the last change to consume. */
  readonly until: number;
  /** The numbers of all changes that were handed out, in this order; the first value is how many there are. */
  readonly seen: SharedArrayBuffer;
}

const run: RunnerTask<Consuming> = async ({ dies, until, seen }, { store }) => {
  const numbers = new Int32Array(seen);
  for (let held: { fence?: number | null; handled?: number } = {}; numbers[numbers[0] as number] !== until; ) {
    const input = { consumer: "threads", entity: "event", limit: 3, ttlMs: 1_500, waitMs: 600_000, ...held };
    const { changes, fence, nextSeq } = await store.changes.consume(input);
    // Only one thread at a time holds the consumer, so nobody else writes here.
    for (const { seq } of changes) numbers[Atomics.add(numbers, 0, 1) + 1] = seq;
    if (dies && changes.length > 0) process.exit(1);
    held = { fence, handled: nextSeq };
  }
};

export default run;
