// A store on a file whose server runs in the thread of the test, with real reader threads that the test can end, and with
// slow reads.
import { join } from "node:path";
import { MessageChannel, type MessagePort, type Worker } from "node:worker_threads";
import { portBackend } from "../../src/actor/ports.ts";
import { createServer } from "../../src/actor/server.ts";
import { startReaderThread } from "../../src/actor/threadReader.ts";
import { type CallOptions, createClient } from "../../src/client.ts";
import { systemClock } from "../../src/clock.ts";
import type { StoreEvent } from "../../src/events.ts";
import { checkLimits, type Limits } from "../../src/limits.ts";
import { openSqlite } from "../../src/sqlite/open.ts";
import type { Store } from "../../src/storeTypes.ts";
import { slowOperations } from "./slowOperations.ts";
import { temporaryFolder } from "./temporaryFolder.ts";

export type SlowStore = Omit<Store, "close"> & {
  readonly slow: {
    read(input: { statements: number; rows: number }, options?: CallOptions): Promise<{ rows: number }>;
  };
};

export interface SlowServer {
  readonly path: string;
  readonly store: SlowStore;
  readonly events: readonly StoreEvent[];
  /** The reader threads, the first one first. */
  readonly threads: readonly Worker[];
  connect(): SlowStore;
  /** Serves a client at the other end of the port. */
  serve(port: MessagePort): void;
  close(): Promise<void>;
}

interface SlowOptions {
  readonly readers?: number;
  readonly limits?: Partial<Limits>;
  /** The path of the file; by default one of its own. */
  readonly path?: string;
}

export function openSlowStore({
  readers = 1,
  limits: given = {},
  path = join(temporaryFolder(), "store.db"),
}: SlowOptions = {}) {
  const limits = checkLimits({ reapEveryMs: 0, readerAfterMs: 0, callMs: 120_000, ...given });
  const events: StoreEvent[] = [];
  const onEvent = (event: StoreEvent) => void events.push(event);
  const driver = openSqlite({
    path,
    clock: systemClock,
    limits,
    migrate: "create",
    synchronous: "full",
    maxBytes: undefined,
    onEvent,
  });
  const { epoch, files = [] } = driver;
  const threads: Worker[] = [];
  const server = createServer({
    operations: slowOperations,
    drivers: [driver],
    readers: {
      count: readers,
      async start(options) {
        const onWorker = (worker: Worker) => void threads.push(worker);
        process.once("worker", onWorker);
        const url = new URL("./slowReader.ts", import.meta.url);
        return startReaderThread({ path, limits, clock: undefined, epoch, files }, options, url);
      },
    },
    clock: systemClock,
    limits,
    shared: true,
    onEvent,
  });
  const serve = (port: MessagePort) => server.serve(port);
  const connect = (): SlowStore => {
    const { port1, port2 } = new MessageChannel();
    serve(port2);
    return attachSlowStore(port1, limits);
  };
  return { path, store: connect(), events, threads, connect, serve, close: () => server.close() } satisfies SlowServer;
}

/** Attaches to a slow store over a port that it serves. */
export function attachSlowStore(port: MessagePort, limits: Limits): SlowStore {
  const { methods } = createClient(slowOperations, portBackend(port), limits);
  return { ...methods, slow: { read: methods.tokens.list } } as unknown as SlowStore;
}
