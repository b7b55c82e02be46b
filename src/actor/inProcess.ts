// A store whose server runs in the thread that opened it: for PostgreSQL, where another process does the work (D-040),
// and in tests.
import { MessageChannel } from "node:worker_threads";
import { createClient } from "../client.ts";
import type { Limits } from "../limits.ts";
import { operations } from "../operations/table.ts";
import type { OwnedStore } from "../storeTypes.ts";
import type { Backend, Reply } from "../wire.ts";
import { within } from "./deadline.ts";
import type { Inbox } from "./mailbox.ts";
import { assembleOwnedStore } from "./ownedStore.ts";
import type { Server } from "./server.ts";

export function inProcessStore(server: Server, limits: Limits, backup: OwnedStore["backup"]): OwnedStore {
  const { backend, lose } = inProcessBackend(server.connect());
  const client = createClient(operations, backend, limits);
  let open = true;
  const serve: OwnedStore["serve"] = (port, { operations: patterns } = {}) => server.serve(port, patterns);
  return assembleOwnedStore(client.methods, {
    limits,
    serve,
    backup,
    // The server shares the thread that runs this line, so its event loop runs too.
    liveness: () => ({ state: open ? "beating" : "dead", beatAgoMs: 0 }),
    connect(options) {
      const { port1, port2 } = new MessageChannel();
      serve(port2, options);
      return port1;
    },
    async close() {
      open = false;
      await within(limits.closeMs, client.drain());
      await server.close();
      lose("the store is closed");
    },
  });
}

/**
 * Copies every message both ways, as a port does (D-024). So a value that cannot travel between threads fails here too,
 * and a caller that changes its input after the call changes nothing.
 */
function inProcessBackend(inbox: Inbox): { backend: Backend; lose(reason: string): void } {
  const lost = Promise.withResolvers<string>();
  const backend: Backend = {
    send(envelope, { receive }) {
      const receiveCopy = (reply: Reply): void => receive(structuredClone(reply));
      void inbox.post(structuredClone(envelope), receiveCopy).then(receiveCopy);
    },
    cancel: (envelopeId, slot) => inbox.cancel(envelopeId, slot),
    hold: () => undefined,
    onLost: (listener) => void lost.promise.then(listener),
    async close() {
      inbox.disconnect();
    },
  };
  return { backend, lose: lost.resolve };
}
