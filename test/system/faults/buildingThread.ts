// A thread that acquires an environment through its port, and builds it when it is told to.
import { once } from "node:events";
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { attachStore } from "../../../src/index.ts";
import { type Building, build } from "./builder.ts";

const { port, building } = workerData as { readonly port: MessagePort; readonly building: Building };
const parent = parentPort as MessagePort;
const store = attachStore(port);
await build(
  store,
  building,
  (line) => parent.postMessage(line),
  () => once(parent, "message"),
);
await store.close();
parent.close();
