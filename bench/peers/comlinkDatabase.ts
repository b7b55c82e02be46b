// The database thread of the Comlink peer, which is the usual second attempt: one thread owns the connection, and
// exposes a function with Comlink, so each call is one message and one transaction.
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
