// Peer: what one writes next. One thread has the connection and exposes a function with Comlink; each call is a message and a transaction.
import { type MessagePort, workerData } from "node:worker_threads";
import { type Endpoint, expose } from "comlink";
import { connect, prepareAppend } from "../statements.ts";
import { serveLoads } from "../threads.ts";

const { path, line, ports } = workerData as { path: string; line: Uint8Array; ports: MessagePort[] };
const db = connect(path, 50);
const append = db.transaction(prepareAppend(db, line)).immediate;

export type Append = typeof append;

for (const port of ports) {
  expose(append, port as unknown as Endpoint);
  port.start();
}
serveLoads();
