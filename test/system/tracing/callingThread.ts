// Attaches to a store, makes a call whose context a subscriber sets, and reports what it hears.
import { parentPort, workerData } from "node:worker_threads";
import { attachStore } from "../../../src/index.ts";
import { type CallTrace, callChannel, groupChannel, serveChannel } from "../../../src/tracing.ts";

const { port, traceparent } = workerData;
const heard: string[] = [];
callChannel.start.subscribe((message) => {
  (message as CallTrace).traceparent = traceparent;
});
callChannel.asyncEnd.subscribe((message) => void heard.push(`call ${(message as CallTrace).operation}`));
serveChannel.asyncEnd.subscribe(() => void heard.push("serve"));
groupChannel.asyncEnd.subscribe(() => void heard.push("group"));
const store = attachStore(port);
await store.repositories.upsert({ name: "demo" }, { actor: "thread", traceparent: "not well formed" });
await store.close();
parentPort?.postMessage(heard);
