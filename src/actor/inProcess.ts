// A store whose server runs in the thread that opened it: for PostgreSQL, whose work is done elsewhere (D-040), and in
// tests.
import { MessageChannel } from "node:worker_threads";
import { createClient } from "../client.ts";
import type { Limits } from "../limits.ts";
import { operations } from "../operations/table.ts";
import type { OwnedStore } from "../storeTypes.ts";
import type { Backend } from "../wire.ts";
import { within } from "./deadline.ts";
import type { Inbox } from "./mailbox.ts";
import { ownedStore } from "./owner.ts";
import type { Server } from "./server.ts";

export function localStore(server: Server, limits: Limits, backup: OwnedStore["backup"]): OwnedStore {
  const { backend, lose } = localBackend(server.connect());
  const client = createClient(operations, backend, limits);
  let open = true;
  const serve: OwnedStore["serve"] = (port, { operations: patterns } = {}) => server.serve(port, patterns);
  return ownedStore(client.methods, {
    limits,
    serve,
    backup,
    // Its thread is the caller's own, which is running this.
    liveness: () => ({ state: open ? "beating" : "dead", beatAgoMs: 0 }),
    connect(connectOptions) {
      const { port1, port2 } = new MessageChannel();
      serve(port2, connectOptions);
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
 * Copies both ways as a port does: what cannot travel between threads does not here either, and nobody changes a call
 * that was made (D-024).
 */
function localBackend(inbox: Inbox): { backend: Backend; lose(reason: string): void } {
  const lost = Promise.withResolvers<string>();
  const backend: Backend = {
    send: async (envelope) => structuredClone(await inbox.post(structuredClone(envelope))),
    cancel: (envelopeId, slot) => inbox.cancel(envelopeId, slot),
    hold: () => undefined,
    onLost: (listener) => void lost.promise.then(listener),
    async close() {
      inbox.disconnect();
    },
  };
  return { backend, lose: lost.resolve };
}
