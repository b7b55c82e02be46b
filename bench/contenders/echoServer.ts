// The worker of the echo: exposes a function that returns a number, with Comlink.
import { type MessagePort, parentPort } from "node:worker_threads";
import { type Endpoint, expose } from "comlink";

export type Echo = (commandId: string, fence: number, offset: number, data: Uint8Array) => number;
const echo: Echo = (_commandId, _fence, offset, data) => offset + data.byteLength;

(parentPort as MessagePort).on("message", (port: MessagePort) => {
  expose(echo, port as unknown as Endpoint);
  port.start();
});
