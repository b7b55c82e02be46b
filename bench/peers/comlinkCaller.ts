// A thread of the Comlink peer: calls the database thread.
import { type MessagePort, workerData } from "node:worker_threads";
import { type Endpoint, wrap } from "comlink";
import { keepInFlight } from "../load.ts";
import { serveLoads } from "../threads.ts";
import type { Append } from "./comlinkDatabase.ts";

const { port } = workerData as { port: MessagePort };
const append = wrap<Append>(port as unknown as Endpoint);
port.start();

serveLoads((load) =>
  keepInFlight(load, async (slot) => {
    await append(slot.commandId, slot.fence, slot.offset);
    slot.offset += load.size;
  }),
);
