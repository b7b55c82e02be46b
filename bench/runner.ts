// The task of a runner thread. It appends through the store, like a runner that sends the output of a program.
import type { RunnerTask } from "../src/index.ts";
import { keepInFlight, type Load, lineOf, type Tally } from "./load.ts";

const run: RunnerTask<Load, Tally> = (load, { store }) => {
  const data = lineOf(load.size);
  return keepInFlight(load, async (slot) => {
    const { commandId, fence, offset } = slot;
    // The offset may move before the answer arrives, because the calls of one client run in order.
    slot.offset += load.size;
    await store.logs.append({ commandId, fence, offset, data });
  });
};

export default run;
