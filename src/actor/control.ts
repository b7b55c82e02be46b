// The control of the database thread by its owner, over Comlink, which no other file knows. The owner started the thread,
// so both ends are trusted. Clients have ports of their own (ports.ts), and cannot reach it.
import type { MessagePort, Transferable, Worker } from "node:worker_threads";
import { type Endpoint, expose, type Remote, transfer, wrap } from "comlink";
import type { WireFailure } from "../errors.ts";

/** The requests of the owner to the thread. */
export interface Control {
  /** Adds a client at the other end of the port, which has to be transferred. */
  serve(port: MessagePort, patterns: readonly string[] | undefined): void;
  /** Copies the database to an existing empty file. Resolves to its failure, if any: Comlink keeps no code of an error. */
  backUp(id: number, target: string): Promise<WireFailure | undefined>;
  stopBackup(id: number): void;
  /** Answers a request of the thread to the log archive of its owner: with the bytes, if any, or with the failure. */
  answerArchive(id: number, bytes: Uint8Array | undefined, failed: string | undefined): void;
  /** Reports calls and groups that have ended, for as long as the owner listens. */
  trace(isOn: boolean): void;
  /** Runs the queued calls, closes the database, and ends the thread. */
  close(): void;
}

/** The requests as the owner makes them. */
export type RemoteControl = Remote<Control>;

/** Lets the owner make requests, in the thread. */
export function exposeControl(owner: MessagePort, control: Control): void {
  expose(control, endpointOf(owner));
}

/** Returns the requests of the owner to its thread. No request settles after the thread has ended. */
export function controlOf(worker: Worker): RemoteControl {
  return wrap<Control>(endpointOf(worker));
}

/** Marks a port, so that it moves to the other side with the request that names it. */
export function moved(port: MessagePort): MessagePort {
  return transfer(port, [port] as never);
}

type Listener = (event: { data: unknown }) => void;

/** Adapts a thread, or the port to its parent, to Comlink's endpoint, which hears events instead of messages. */
function endpointOf(other: MessagePort | Worker): Endpoint {
  const deliveries = new Map<unknown, (data: unknown) => void>();
  return {
    postMessage: (message: unknown, moving?: readonly unknown[]) =>
      other.postMessage(message, moving as readonly Transferable[] as Transferable[]),
    addEventListener(_type, listener) {
      const deliver = (data: unknown): void => (listener as unknown as Listener)({ data });
      deliveries.set(listener, deliver);
      other.on("message", deliver);
    },
    removeEventListener(_type, listener) {
      other.off("message", deliveries.get(listener) as (data: unknown) => void);
      deliveries.delete(listener);
    },
  };
}
