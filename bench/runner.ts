// The task of a runner thread: appends through the store as a runner does that sends a program's output.
import type { RunnerTask } from "../src/index.ts";
import { keepInFlight, type Load, lineOf, type Tally } from "./load.ts";

const run: RunnerTask<Load, Tally> = (load, { store }) => {
  const data = lineOf(load.size);
  return keepInFlight(load, async (slot) => {
    const { ackOffset } = await store.logs.append({ commandId: slot.commandId, fence: slot.fence, offset: slot.offset, data });
    slot.offset = ackOffset;
  });
};

export default run;
