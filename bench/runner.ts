// The task of a runner thread: appends through the store as a runner does that sends a program's output.
import type { RunnerTask } from "../src/index.ts";
import { keepInFlight, type Load, lineOf, type Tally } from "./load.ts";

const run: RunnerTask<Load, Tally> = (load, { store }) => {
  const data = lineOf(load.size);
  return keepInFlight(load, async (slot) => {
    const { commandId, fence, offset } = slot;
    // Before the answer: calls of one client run in the order in which it made them.
    slot.offset += load.size;
    await store.logs.append({ commandId, fence, offset, data });
  });
};

export default run;
