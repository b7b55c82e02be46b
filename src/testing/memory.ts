// The real operations on SQLite in memory, in the caller's thread: same encoding, same constraints, no file, and time that tests move.
import { MessageChannel } from "node:worker_threads";
import type { Inbox } from "../actor/mailbox.ts";
import { createServer } from "../actor/server.ts";
import { createClient } from "../client.ts";
import { type TestClock, testClock } from "../clock.ts";
import { openSqlite } from "../drivers/sqliteFile.ts";
import { StoreError } from "../errors.ts";
import type { StoreEvent } from "../events.ts";
import type { Limits } from "../limits.ts";
import { operations } from "../operations/table.ts";
import { checkLimits, checkMaxBytes, type OwnedStore, ownedStore } from "../store.ts";
import type { Backend } from "../wire.ts";

export interface TestStoreOptions {
  /** Makes expiry a matter of `clock.advance(ms)`. */
  readonly clock?: TestClock;
  /** The reaper runs only when called, unless `reapEveryMs` is set. */
  readonly limits?: Partial<Limits>;
  readonly maxBytes?: number;
  readonly onEvent?: (event: StoreEvent) => void;
}

export async function openTestStore(options: TestStoreOptions = {}): Promise<OwnedStore> {
  const clock = options.clock ?? testClock();
  const limits = checkLimits({ reapEveryMs: 0, ...options.limits });
  const onEvent = options.onEvent ?? (() => undefined);
  const file = { path: ":memory:", migrate: "create", synchronous: "full", maxBytes: checkMaxBytes(options.maxBytes) } as const;
  const driver = openSqlite({ ...file, clock, limits, onSecondServer: () => undefined });
  const server = createServer({ driver, clock, limits, shared: false, onEvent });
  const { backend, lose } = memoryBackend(server.connect());
  const serve: OwnedStore["serve"] = (port, { operations: patterns } = {}) => server.serve(port, patterns);
  let closed: Promise<void> | undefined;
  const client = createClient(operations, backend, limits);
  return ownedStore(client.methods, {
    serve,
    connect(connectOptions) {
      if (closed !== undefined) throw new StoreError("closed", "the store is closed");
      const { port1, port2 } = new MessageChannel();
      serve(port2, connectOptions);
      return port1;
    },
    close() {
      closed ??= client
        .drain()
        .then(() => server.close())
        .then(() => lose("the store is closed"));
      return closed;
    },
  });
}

/** Copies both ways as a port does, so that what cannot travel between threads does not here either. */
function memoryBackend(inbox: Inbox): { backend: Backend; lose(reason: string): void } {
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
